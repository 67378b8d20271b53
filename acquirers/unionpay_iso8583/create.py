"""A new acquirer in a folder: its own authority, TLS certificate, MAC key, settings.

`partner.json` with the files it names is what a connecting bank is given. All files are 0600.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from acquirers.settings import ACQUIRING_INSTITUTION, FORWARDING_INSTITUTION

SERVER_NAME: Final = "localhost"
_NAME: Final = "unionpay-sandbox"
_LIFE: Final = timedelta(days=1096)


class FolderTakenError(Exception):
    """The folder holds an acquirer already; nothing was changed."""


def create(folder: Path, host: str, port: int, network: str) -> Path:
    """Write everything a new acquirer needs; answers the path of its settings.json.

    Raises FolderTakenError when the folder has one, OSError when it can't be written.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = folder / "settings.json"
    if settings.exists():
        raise FolderTakenError(f"{settings} exists; choose another folder or remove it")
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(f"{_NAME} CA", authority_key, None)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(_NAME, key, (authority, authority_key))
    _write(folder / "ca.pem", authority.public_bytes(Encoding.PEM))
    _write(folder / "ca-key.pem", _pem(authority_key))
    _write(folder / "tls.pem", certificate.public_bytes(Encoding.PEM))
    _write(folder / "tls-key.pem", _pem(key))
    _write(folder / "mac.key", secrets.token_hex(16).encode() + b"\n")
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
    _write(folder / "partner.json", json.dumps(partner, indent=2).encode() + b"\n")
    own = {
        "name": "unionpay",
        "network": network,
        "listen": f"{host}:{port}",
        "tls": {"certificate": "tls.pem", "private_key": "tls-key.pem"},
        "mac_key_file": "mac.key",
        "data_dir": "data",
    }
    _write(settings, json.dumps(own, indent=2).encode() + b"\n")  # last: its presence means done
    return settings


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _LIFE)
        .add_extension(x509.BasicConstraints(issuer is None, None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if issuer is None:
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        return builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    names = [x509.DNSName(SERVER_NAME), x509.IPAddress(ip_address("127.0.0.1"))]
    parent = issuer[1].public_key()
    return (
        builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(parent), critical=False)
        .sign(issuer[1], hashes.SHA256())
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(data)
