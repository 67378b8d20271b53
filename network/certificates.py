"""X.509 as Fabric wants it: authorities, MSP certificates, TLS certificates.

What a real peer insists on (docs/fabric.md; msp/mspimplsetup.go, bccsp/sw/ecdsa.go): P-256, a
SubjectKeyIdentifier on authorities, exactly one organisational unit that names the kind of node or
user, no extended key usage outside TLS, and signatures with a low S, so that the bytes on disk
are the bytes Fabric's sanitised copy has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

# Fabric CA's attribute extension: JSON {"attrs": {...}} (fabric-ca lib/attrmgr/attrmgr.go).
ATTRIBUTES_OID: Final = ObjectIdentifier("1.2.3.4.5.6.7.8.1")
ROLE_ATTRIBUTE: Final = "clearline.role"

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_AUTHORITY_LIFE: Final = timedelta(days=3652)
_LEAF_LIFE: Final = timedelta(days=1096)
# Clocks of different machines differ: Fabric CA backdates by five minutes too.
_BACKDATE: Final = timedelta(minutes=5)


@dataclass(frozen=True)
class Credential:
    """A certificate and its key, both PEM, the key PKCS #8 without a password."""

    certificate: bytes
    private_key: bytes


@dataclass(frozen=True)
class Authority:
    """A certificate authority that can issue."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def credential(self) -> Credential:
        return _credential(self.certificate, self.private_key)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def create_authority(organization: str, name: str) -> Authority:
    """A self-signed P-256 authority: CA, keyCertSign and cRLSign, SubjectKeyIdentifier."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(organization, None, name)
    builder = (
        _builder(subject, subject, key.public_key(), _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(_AUTHORITY_USAGE), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return Authority(_sign_low_s(builder, key), key)


def issue_identity(
    authority: Authority,
    organization: str,
    unit: str,
    name: str,
    attributes: Mapping[str, str] | None = None,
) -> Credential:
    """An MSP certificate. `unit` is one of peer, orderer, admin, client; attributes are signed
    into it as Fabric CA does."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _leaf(authority, _subject(organization, unit, name), key.public_key())
    builder = _with_attributes(builder, attributes)
    return _credential(_sign_low_s(builder, authority.private_key), key)


def issue_tls(
    authority: Authority,
    organization: str,
    name: str,
    hosts: tuple[str, ...],
    attributes: Mapping[str, str] | None = None,
) -> Credential:
    """A TLS certificate for both ends of a connection: `name`, localhost and the hosts as
    subject alternative names (a host that is an IP address as such); attributes as in an
    identity's, for whoever asks a TLS client for its role."""
    key = ec.generate_private_key(ec.SECP256R1())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _leaf(authority, _subject(organization, None, name), key.public_key())
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(name, hosts)), critical=False)
    )
    builder = _with_attributes(builder, attributes)
    return _credential(_sign_low_s(builder, authority.private_key), key)


def _with_attributes(
    builder: x509.CertificateBuilder, attributes: Mapping[str, str] | None
) -> x509.CertificateBuilder:
    if not attributes:
        return builder
    value = json.dumps({"attrs": dict(attributes)}, separators=(",", ":")).encode()
    return builder.add_extension(x509.UnrecognizedExtension(ATTRIBUTES_OID, value), critical=False)


def _alternatives(name: str, hosts: tuple[str, ...]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for item in dict.fromkeys((name, "localhost", "127.0.0.1", *hosts)):
        try:
            names.append(x509.IPAddress(ip_address(item)))
        except ValueError:
            names.append(x509.DNSName(item))
    return names


def _leaf(
    authority: Authority, subject: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    issuer = authority.certificate
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, issuer.subject, public_key, _LEAF_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(_LEAF_USAGE), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
            critical=False,
        )
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    life: timedelta,
) -> x509.CertificateBuilder:
    start = datetime.now(UTC).replace(microsecond=0) - _BACKDATE
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + life)
    )


def _subject(organization: str, unit: str | None, name: str) -> x509.Name:
    units = [] if unit is None else [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            *units,
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )


_AUTHORITY_USAGE: Final = frozenset({"digital_signature", "key_cert_sign", "crl_sign"})
_LEAF_USAGE: Final = frozenset({"digital_signature"})


def _key_usage(granted: frozenset[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in granted,
        key_cert_sign="key_cert_sign" in granted,
        crl_sign="crl_sign" in granted,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign_low_s(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Sign until S is in the lower half: each try has even odds, two on average."""
    while True:
        certificate = builder.sign(key, hashes.SHA256())
        if is_low_s(certificate):
            return certificate


def is_low_s(certificate: x509.Certificate) -> bool:
    """Whether the certificate's P-256 signature is the one of the two that Fabric keeps."""
    _, s = decode_dss_signature(certificate.signature)
    return s <= _P256_ORDER // 2


def _credential(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Credential:
    return Credential(
        certificate=certificate.public_bytes(Encoding.PEM),
        private_key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
