"""A new acquirer in a folder: its own authority, TLS certificate, MAC key, settings.

`partner.json` with the files it names is what a connecting bank is given. All files are 0600.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Final

from acquirers import authority
from acquirers.authority import SERVER_NAME, write
from acquirers.unionpay_iso8583.settings import ACQUIRING_INSTITUTION, FORWARDING_INSTITUTION

_NAME: Final = "unionpay-sandbox"


def create(folder: Path, host: str, port: int, network: str) -> Path:
    """Write everything a new acquirer needs; answers the path of its settings.json.

    Raises FolderTakenError when the folder has one, OSError when it can't be written.
    """
    settings = authority.new_folder(folder)
    root = authority.authority(_NAME)
    root.save(folder / "ca.pem", folder / "ca-key.pem")
    authority.server(_NAME, root).save(folder / "tls.pem", folder / "tls-key.pem")
    write(folder / "mac.key", secrets.token_hex(16).encode() + b"\n")
    partner = {
        "name": "unionpay",
        "host": host,
        "port": port,
        "tls_ca": "ca.pem",
        "server_name": SERVER_NAME,
        "mac_key_file": "mac.key",
        "acquiring_institution": ACQUIRING_INSTITUTION,
        "forwarding_institution": FORWARDING_INSTITUTION,
    }
    write(folder / "partner.json", json.dumps(partner, indent=2).encode() + b"\n")
    own = {
        "name": "unionpay",
        "network": network,
        "listen": f"{host}:{port}",
        "tls": {"certificate": "tls.pem", "private_key": "tls-key.pem"},
        "mac_key_file": "mac.key",
        "data_dir": "data",
    }
    write(settings, json.dumps(own, indent=2).encode() + b"\n")  # last: its presence means done
    return settings
