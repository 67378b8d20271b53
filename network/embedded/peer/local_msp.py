"""The peer's own organisation, from its MSP folder: who is local admin or member.

The folder is Fabric's (msp/configbuilder.go): cacerts, intermediatecerts, config.yaml with NodeOUs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from fabric_protos.msp import msp_config_pb2

from network.embedded.msp import MSP, MSPManager

_ROLES = ("client", "peer", "admin", "orderer")


def _pems(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*"))] if folder.is_dir() else []


def load(msp_id: str, folder: Path) -> MSPManager:
    """A manager with this one MSP. Raises OSError, ValueError or MSPError."""
    config = msp_config_pb2.FabricMSPConfig(
        name=msp_id,
        root_certs=_pems(folder / "cacerts"),
        intermediate_certs=_pems(folder / "intermediatecerts"),
        admins=_pems(folder / "admincerts"),
        revocation_list=_pems(folder / "crls"),
    )
    settings = folder / "config.yaml"
    if settings.is_file():
        _add_node_ous(config, yaml.safe_load(settings.read_text(encoding="utf-8")), folder)
    return MSPManager([MSP.from_config(config)])


def _add_node_ous(config: Any, settings: Any, folder: Path) -> None:
    units = (settings or {}).get("NodeOUs") or {}
    if not units.get("Enable"):
        return
    config.fabric_node_ous.enable = True
    for role in _ROLES:
        entry = units.get(f"{role.capitalize()}OUIdentifier")
        if not entry:
            continue
        target = getattr(config.fabric_node_ous, f"{role}_ou_identifier")
        target.organizational_unit_identifier = entry["OrganizationalUnitIdentifier"]
        if entry.get("Certificate"):
            target.certificate = (folder / entry["Certificate"]).read_bytes()
