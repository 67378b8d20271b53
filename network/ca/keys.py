"""Private keys made here, signing requests for them, and what a certificate must be to be ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from network.ca.client import issued_by
from network.ca.errors import Code, IdentityCommandError
from network.certificates import ATTRIBUTES_OID, ROLE_ATTRIBUTE, is_low_s
from network.identities import NODE_UNITS


@dataclass(frozen=True)
class Description:
    """What a certificate says. unit: the NodeOU, "" unless there is exactly one."""

    name: str
    unit: str
    attributes: Mapping[str, str]
    serial: int
    expires: datetime

    @property
    def role(self) -> str | None:
        return self.attributes.get(ROLE_ATTRIBUTE)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key: the curve of every certificate of the network."""
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8 without a password: nodes start without anybody typing."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises IdentityCommandError `unreadable_identity`."""
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise IdentityCommandError(Code.UNREADABLE, "not a plain PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityCommandError(Code.UNREADABLE, "not an ECDSA private key")
    return key


def load_certificate(pem: bytes) -> x509.Certificate:
    """Raises IdentityCommandError `unreadable_identity`."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IdentityCommandError(Code.UNREADABLE, "not a PEM certificate") from error


def signing_request(
    key: ec.EllipticCurvePrivateKey, organization: str, name: str, hosts: Sequence[str]
) -> x509.CertificateSigningRequest:
    """PKCS #10 with the enrolment id as common name, as Fabric CA wants it; units are the CA's
    to set (fabric-ca lib/serverenroll.go setRequestOUs). hosts: alternative names, for TLS."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if hosts:
        names = [_alternative(host) for host in dict.fromkeys(hosts)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256())


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def describe(certificate: x509.Certificate) -> Description:
    """Raises IdentityCommandError `unreadable_identity` for an attribute extension of no sense."""
    units = [
        str(item.value)
        for item in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
        if item.value in NODE_UNITS
    ]
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return Description(
        name=str(names[0].value) if names else "",
        unit=units[0] if len(units) == 1 else "",
        attributes=_attributes(certificate),
        serial=certificate.serial_number,
        expires=certificate.not_valid_after_utc,
    )


def _attributes(certificate: x509.Certificate) -> dict[str, str]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ATTRIBUTES_OID).value
    except x509.ExtensionNotFound:
        return {}
    try:
        if isinstance(extension, x509.UnrecognizedExtension):
            found = json.loads(extension.value)["attrs"]
            return {str(name): str(value) for name, value in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise IdentityCommandError(Code.UNREADABLE, "the certificate's attributes can't be read")


@dataclass(frozen=True)
class Expected:
    """What an issued certificate must be. authorities: the organisation's CAs for its purpose."""

    name: str
    key: ec.EllipticCurvePrivateKey
    authorities: tuple[x509.Certificate, ...]
    hosts: tuple[str, ...]


def check_issued(certificate: x509.Certificate, expected: Expected) -> None:
    """Hold what a CA answered against what was asked: it is written only when it fits.

    Raises IdentityCommandError `untrusted_ca` or `wrong_certificate`.
    """
    if certificate.public_key() != expected.key.public_key():
        raise _wrong("is for another key than the one that was sent")
    if not any(issued_by(certificate, item) for item in expected.authorities):
        raise IdentityCommandError(
            Code.UNTRUSTED_CA, "the certificate is not from a CA of the organisation's MSP"
        )
    found = describe(certificate)
    if found.name != expected.name:
        raise _wrong(f"names {found.name!r}")
    if not is_low_s(certificate):
        # Fabric compares identities by bytes it made low-S; others would be somebody else's.
        raise _wrong("has a signature that Fabric doesn't take as it is (high S)")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and usage.ca:
        raise _wrong("is for a CA")
    missing = set(expected.hosts) - _hosts(certificate)
    if missing:
        raise _wrong(f"lacks the names {', '.join(sorted(missing))}")


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Its DNS names and addresses, sorted."""
    return tuple(sorted(_hosts(certificate)))


def _hosts(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    addresses = {str(item) for item in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))


def _wrong(what: str) -> IdentityCommandError:
    return IdentityCommandError(
        Code.WRONG_CERTIFICATE, f"the certificate that the CA answered {what}: it was not kept"
    )
