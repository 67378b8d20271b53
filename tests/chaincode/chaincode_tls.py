"""Certificates for the chaincode's tests."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_START = datetime.now(UTC) - timedelta(days=1)
_END = datetime.now(UTC) + timedelta(days=30)


@dataclass(frozen=True)
class Leaf:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True)
class Authority:
    """A CA of one organisation."""

    name: x509.Name
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name)
        certificate = (
            _builder(subject, subject, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        return cls(subject, certificate, key)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def leaf(self, name: str, attributes: object = None, names: tuple[str, ...] = ()) -> Leaf:
        """A TLS leaf for `name`, as the network command issues them; with an identity's
        attributes when they are given."""
        key = ec.generate_private_key(ec.SECP256R1())
        hosts = [x509.DNSName(host) for host in (name, "localhost", *names)]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _builder(_name(name), self.name, key)
            .add_extension(
                x509.SubjectAlternativeName(
                    [*hosts, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
                ),
                critical=False,
            )
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if attributes is not None:
            builder = builder.add_extension(
                x509.UnrecognizedExtension(
                    ObjectIdentifier("1.2.3.4.5.6.7.8.1"), json.dumps(attributes).encode()
                ),
                critical=False,
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        return Leaf(
            certificate.public_bytes(serialization.Encoding.PEM),
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
        )

    def write(self, folder: Path, leaf: Leaf) -> None:
        """cert.pem, key.pem and client_ca.pem, as a server's settings name them."""
        (folder / "cert.pem").write_bytes(leaf.certificate)
        (folder / "key.pem").write_bytes(leaf.key)
        (folder / "client_ca.pem").write_bytes(self.pem)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_START)
        .not_valid_after(_END)
    )
