"""TLS CAs of organisations and client certificates by them, for the link's tests."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CONNECTOR = b'{"attrs":{"clearline.role":"connector"}}'
_ATTRIBUTES = x509.ObjectIdentifier("1.2.3.4.5.6.7.8.1")


@dataclass(frozen=True)
class Authority:
    """An organisation's TLS CA."""

    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, folder: Path, name: str) -> "Authority":
        """A new one; its certificate is in `folder`/`name`-ca.pem."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(name, key, name, key, ca=True)
        (folder / f"{name}-ca.pem").write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
        )
        return cls(folder, name, key, certificate)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}-ca.pem"

    def client(self, name: str, attributes: bytes = CONNECTOR) -> tuple[Path, Path]:
        """A client's certificate and key files; `attributes` is Fabric CA's extension's content,
        empty for none."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(name, key, self.name, self.key, ca=False, attributes=attributes)
        paths = self.folder / f"{self.name}-{name}.pem", self.folder / f"{self.name}-{name}.key"
        paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths


def _sign(
    subject: str, key: Any, issuer: str, issuer_key: Any, *, ca: bool, attributes: bytes = b""
) -> x509.Certificate:
    now = datetime.now(UTC)
    name, by = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (subject, issuer)
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if attributes:
        extension = x509.UnrecognizedExtension(_ATTRIBUTES, attributes)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
