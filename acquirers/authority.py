"""A company's own authority: certificates for its servers, and files nobody else may read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER_NAME: Final = "localhost"
_LIFE: Final = timedelta(days=1096)


class FolderTakenError(Exception):
    """The folder holds an acquirer already; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def save(self, certificate: Path, key: Path) -> None:
        """Write both as PEM. Raises OSError."""
        write(certificate, self.certificate.public_bytes(Encoding.PEM))
        write(key, self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def new_folder(folder: Path) -> Path:
    """Make the folder; answers the path of its settings.json, which is not there yet.

    Raises FolderTakenError when it is, OSError.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    settings = folder / "settings.json"
    if settings.exists():
        raise FolderTakenError(f"{settings} exists; choose another folder or remove it")
    return settings


def authority(name: str) -> Pair:
    """A new authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_certificate(f"{name} CA", key, None), key)


def server(name: str, issuer: Pair) -> Pair:
    """A server's certificate for localhost and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    return Pair(_certificate(name, key, (issuer.certificate, issuer.key)), key)


def write(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read. Raises OSError."""
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_bytes(data)


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
