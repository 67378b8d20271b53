"""A new wallet in a folder: its own authority, TLS certificate, signing keys, settings.

`partner.json` with the files it names is what a connecting bank is given. A sandbox makes the
bank's key and the certificate of its notice listener too; elsewhere the bank brings its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from acquirers import authority
from acquirers.authority import SERVER_NAME, write

PARTNER_ID: Final = "bank-sandbox"
_NAME: Final = "qr-wallet-sandbox"


def create(folder: Path, host: str, port: int, network: str) -> Path:
    """Write everything a new wallet needs; answers the path of its settings.json.

    Raises FolderTakenError when the folder has one, OSError when it can't be written.
    """
    settings = authority.new_folder(folder)
    root = authority.authority(_NAME)
    root.save(folder / "ca.pem", folder / "ca-key.pem")
    authority.server(_NAME, root).save(folder / "tls.pem", folder / "tls-key.pem")
    authority.server("notices of a partner", root).save(
        folder / "notice-tls.pem", folder / "notice-tls-key.pem"
    )
    wallet_key = _new_key(folder / "wallet-key.pem")
    partner_key = _new_key(folder / "partner-key.pem")
    url = f"https://{host}:{port}"
    partner = {
        "name": "qr_wallet",
        "url": url,
        "tls_ca": "ca.pem",
        "server_name": SERVER_NAME,
        "partner_id": PARTNER_ID,
        "private_key": "partner-key.pem",
        "wallet_key": wallet_key,
        "pay_url": f"{url}/pay/{{reference}}",
        "notice_certificate": "notice-tls.pem",
        "notice_private_key": "notice-tls-key.pem",
    }
    write(folder / "partner.json", json.dumps(partner, indent=2).encode() + b"\n")
    own = {
        "name": "qr_wallet",
        "network": network,
        "listen": f"{host}:{port}",
        "tls": {"certificate": "tls.pem", "private_key": "tls-key.pem"},
        "private_key": "wallet-key.pem",
        "partners": {PARTNER_ID: partner_key},
        "notice_ca": "ca.pem",
        "data_dir": "data",
    }
    write(settings, json.dumps(own, indent=2).encode() + b"\n")  # last: its presence means done
    return settings


def _new_key(path: Path) -> str:
    """Save a new key; answers the public one, 64 hex digits."""
    key = Ed25519PrivateKey.generate()
    write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
