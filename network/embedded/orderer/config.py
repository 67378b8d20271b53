"""An orderer's settings: the typed shape of `node.json`.

    {
      "name": "orderer0",                         node name, for logs
      "msp_id": "Supervisor",
      "msp_dir": "../../crypto/Supervisor/nodes/orderer0/msp",    the node's own MSP folder
      "listen": "127.0.0.1:7050",
      "tls": {"certificate": "...pem", "private_key": "...pem",
              "client_roots": ["...pem", ...]},   CAs whose clients may connect; those of the
                                                  channel's configuration are added by themselves
      "data_dir": "data",
      "genesis_block": "../../channel/genesis.block"
    }

Paths are absolute or relative to the folder of `node.json`. Batch size and time-out come from the
channel configuration. The genesis block is read only while the data folder is empty; afterwards
the ledger alone decides, and a genesis block that differs from the ledger's is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class ConfigError(ValueError):
    """`node.json` is missing, unreadable or says something that can't be used."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of the server's TLS identity and the CAs whose clients may connect."""

    certificate: Path
    private_key: Path
    client_roots: tuple[Path, ...]


@dataclass(frozen=True)
class OrdererConfig:
    """Settings of one orderer process; every path is absolute."""

    name: str
    msp_id: str
    msp_dir: Path
    listen: str
    tls: TlsFiles
    data_dir: Path
    genesis_block: Path
    ledger_map_bytes: int = 1 << 40


_KEYS = {
    "name",
    "msp_id",
    "msp_dir",
    "listen",
    "tls",
    "data_dir",
    "genesis_block",
    "ledger_map_bytes",
}


def load(path: Path) -> OrdererConfig:
    """Read `node.json`.

    Raises ConfigError with the file and the setting that is wrong.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a JSON object")
    try:
        return from_mapping(raw, path.resolve().parent)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"setting {error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{path}: {detail}") from error


def from_mapping(raw: Mapping[str, Any], base: Path) -> OrdererConfig:
    """Build the settings from decoded JSON; relative paths are taken from `base`.

    Raises KeyError, TypeError or ValueError for what is missing or can't be used.
    """
    unknown = set(raw) - _KEYS
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")
    tls = raw["tls"]
    return OrdererConfig(
        name=str(raw["name"]),
        msp_id=str(raw["msp_id"]),
        msp_dir=base / raw["msp_dir"],
        listen=_endpoint(raw["listen"], "listen"),
        tls=TlsFiles(
            certificate=base / tls["certificate"],
            private_key=base / tls["private_key"],
            client_roots=tuple(base / item for item in tls["client_roots"]),
        ),
        data_dir=base / raw["data_dir"],
        genesis_block=base / raw["genesis_block"],
        ledger_map_bytes=int(raw.get("ledger_map_bytes", 1 << 40)),
    )


def _endpoint(value: Any, key: str) -> str:
    text = str(value)
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'{key}: "{text}" is not host:port')
    return text
