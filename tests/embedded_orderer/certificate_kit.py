"""Certificates that the product's own issuing wouldn't make: expired, odd OUs, high S, CRLs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID
from fabric_protos.msp import msp_config_pb2

from clearline.fabric.identity import X509Signer

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def start(self) -> datetime:
        return self.certificate.not_valid_before_utc


@dataclass(frozen=True)
class Leaf:
    """What to put into a certificate."""

    units: tuple[str, ...] = ("client",)
    name: str = "someone"
    start: datetime | None = None
    end: datetime | None = None
    ca: bool = False
    usages: tuple[x509.ObjectIdentifier, ...] = ()
    critical_oid: str | None = None


def high_s(signature: bytes) -> bytes:
    """The other signature with the same meaning."""
    r, s = decode_dss_signature(signature)
    assert s <= P256_ORDER // 2
    return encode_dss_signature(r, P256_ORDER - s)


def make_authority(name: str, parent: Authority | None = None, days: int = 30) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"ca.{name}")])
    issuer = parent.certificate.subject if parent else subject
    start = (parent.start if parent else datetime.now(UTC) - timedelta(days=days)).replace(
        microsecond=0
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(parent.key if parent else key, hashes.SHA256())
    )
    return Authority(certificate, key)


def stored_authority(folder: Path) -> Authority:
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    return Authority(certificate, key)


def issue(authority: Authority, leaf: Leaf) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    start = leaf.start or datetime.now(UTC) - timedelta(minutes=1)
    end = leaf.end or datetime.now(UTC) + timedelta(days=1)
    if end <= start:
        end = start + timedelta(seconds=2)
    units = [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit) for unit in leaf.units]
    name = x509.Name([*units, x509.NameAttribute(NameOID.COMMON_NAME, leaf.name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=leaf.ca, path_length=None), critical=True)
    )
    if leaf.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(leaf.usages), critical=False)
    if leaf.critical_oid:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(leaf.critical_oid), b"\x05\x00")
        builder = builder.add_extension(unknown, critical=True)
    return builder.sign(authority.key, hashes.SHA256()), key


def signer(authority: Authority, msp_id: str, leaf: Leaf) -> X509Signer:
    certificate, key = issue(authority, leaf)
    return X509Signer(msp_id, certificate.public_bytes(Encoding.PEM), key)


def revocation_list(authority: Authority, certificates: Sequence[x509.Certificate]) -> bytes:
    now = datetime.now(UTC)
    identifier = authority.certificate.extensions.get_extension_for_class(
        x509.SubjectKeyIdentifier
    ).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now)
        .next_update(now + timedelta(days=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
    )
    for certificate in certificates:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(certificate.serial_number)
            .revocation_date(now)
            .build()
        )
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def msp_config(name: str, *roots: Authority, **fields: Any) -> Any:
    """A FabricMSPConfig with the four NodeOUs; `fields` replace or add."""

    def unit(text: str) -> Any:
        return msp_config_pb2.FabricOUIdentifier(organizational_unit_identifier=text)

    values: dict[str, Any] = {
        "root_certs": [root.pem for root in roots],
        "fabric_node_ous": msp_config_pb2.FabricNodeOUs(
            enable=True,
            client_ou_identifier=unit("client"),
            peer_ou_identifier=unit("peer"),
            admin_ou_identifier=unit("admin"),
            orderer_ou_identifier=unit("orderer"),
        ),
    }
    return msp_config_pb2.FabricMSPConfig(name=name, **(values | fields))
