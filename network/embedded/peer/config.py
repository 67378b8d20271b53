"""A peer's settings: the typed shape of `node.json`.

    {
      "name": "peer0.bankone",                    node name, for logs
      "msp_id": "BankOne",
      "msp_dir": "../../crypto/BankOne/nodes/peer0.bankone/msp",   the node's own MSP folder
      "listen": "127.0.0.1:7051",
      "external_endpoint": "127.0.0.1:7051",      how other nodes reach it; default: `listen`
      "tls": {"certificate": "...pem", "private_key": "...pem",
              "client_roots": ["...pem", ...]},   CAs whose clients may connect before a join
      "data_dir": "data",
      "chaincode": {"clearline": "../../chaincode/BankOne/connection.json"},
      "execute_timeout_seconds": 30               one chaincode call, default 30
    }

Paths are absolute or relative to the folder of `node.json`. The keys of `chaincode` are package
labels or whole package ids; an installed package without an entry uses the `connection.json` in
its own `code.tar.gz`. Orderer and peer addresses come from the channel configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from network.embedded import settings


@dataclass(frozen=True)
class PeerConfig:
    """Settings of one peer process; every path is absolute."""

    name: str
    msp_id: str
    msp_dir: Path
    listen: str
    external_endpoint: str
    tls: settings.TlsFiles
    data_dir: Path
    chaincode: Mapping[str, Path] = field(default_factory=dict)
    execute_timeout_seconds: float = 30.0
    ledger_map_bytes: int = settings.MAP_BYTES


_KEYS = {
    "name",
    "msp_id",
    "msp_dir",
    "listen",
    "external_endpoint",
    "tls",
    "data_dir",
    "chaincode",
    "execute_timeout_seconds",
    "ledger_map_bytes",
}


def load(path: Path) -> PeerConfig:
    """Read `node.json`.

    Raises ConfigError with the file and the setting that is wrong.
    """
    return settings.load(path, _from_mapping)


def _from_mapping(raw: Mapping[str, Any], base: Path) -> PeerConfig:
    """Build the settings from decoded JSON; relative paths are taken from `base`."""
    settings.only(_KEYS, raw)
    listen = settings.endpoint(raw["listen"], "listen")
    external = settings.endpoint(raw.get("external_endpoint", listen), "external_endpoint")
    return PeerConfig(
        name=str(raw["name"]),
        msp_id=str(raw["msp_id"]),
        msp_dir=base / raw["msp_dir"],
        listen=listen,
        external_endpoint=external,
        tls=settings.tls_files(raw["tls"], base),
        data_dir=base / raw["data_dir"],
        chaincode={str(key): base / value for key, value in raw.get("chaincode", {}).items()},
        execute_timeout_seconds=float(raw.get("execute_timeout_seconds", 30.0)),
        ledger_map_bytes=int(raw.get("ledger_map_bytes", settings.MAP_BYTES)),
    )
