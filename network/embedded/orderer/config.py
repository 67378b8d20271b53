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

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from network.embedded import settings


@dataclass(frozen=True)
class OrdererConfig:
    """Settings of one orderer process; every path is absolute."""

    name: str
    msp_id: str
    msp_dir: Path
    listen: str
    tls: settings.TlsFiles
    data_dir: Path
    genesis_block: Path
    ledger_map_bytes: int = settings.MAP_BYTES


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
    return settings.load(path, _from_mapping)


def _from_mapping(raw: Mapping[str, Any], base: Path) -> OrdererConfig:
    """Build the settings from decoded JSON; relative paths are taken from `base`.

    Raises KeyError, TypeError or ValueError for what is missing or can't be used.
    """
    settings.only(_KEYS, raw)
    return OrdererConfig(
        name=str(raw["name"]),
        msp_id=str(raw["msp_id"]),
        msp_dir=base / raw["msp_dir"],
        listen=settings.endpoint(raw["listen"], "listen"),
        tls=settings.tls_files(raw["tls"], base),
        data_dir=base / raw["data_dir"],
        genesis_block=base / raw["genesis_block"],
        ledger_map_bytes=int(raw.get("ledger_map_bytes", settings.MAP_BYTES)),
    )
