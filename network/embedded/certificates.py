"""X.509 as Fabric reads it: PEM, low-S signatures, chains to a root, revocation.

What Go's crypto/x509 `Verify` and Fabric's msp package decide together (msp/cert.go,
msp/mspimpl.go, msp/mspimplvalidate.go, bccsp/sw/ecdsa.go), over `cryptography` primitives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from network.embedded import gopem

CURVE_ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
        "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
        16,
    ),
    "secp521r1": int(
        "01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA"
        "51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409",
        16,
    ),
}

_ECDSA_SIGNED = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA1,
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
}


class CertificateError(ValueError):
    """A certificate, chain or signature that Fabric wouldn't take; the text says why."""


def from_pem(data: bytes) -> x509.Certificate:
    """The certificate of the first PEM block, whatever the block's type says, as Fabric reads it.

    Raises CertificateError.
    """
    content = gopem.decode(data)
    if content is None:
        raise CertificateError("could not decode the PEM structure")
    try:
        return x509.load_der_x509_certificate(content)
    except (ValueError, x509.InvalidVersion) as error:
        raise CertificateError(f"parseCertificate failed: {error}") from error


def der(certificate: x509.Certificate) -> bytes:
    """The certificate's bytes."""
    return certificate.public_bytes(Encoding.DER)


def split_signature(signature: bytes) -> tuple[int, int]:
    """r and s of an ECDSA signature in DER.

    As lenient as Go's encoding/asn1: bytes after s, inside or after the sequence, are ignored.
    Raises CertificateError; r and s are positive.
    """
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:
        r, s = _split_leniently(signature)
    if r <= 0 or s <= 0:
        raise CertificateError("invalid signature, R and S must be larger than zero")
    return r, s


def _split_leniently(signature: bytes) -> tuple[int, int]:
    content, _ = _element(signature, 0x30)
    r, rest = _element(content, 0x02)
    s, _ = _element(rest, 0x02)
    return _integer(r), _integer(s)


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the DER element that `data` starts with, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise CertificateError("failed unmarshalling signature")
    length, start = data[1], 2
    if length & 0x80:
        size = length & 0x7F
        start = 2 + size
        length = int.from_bytes(data[2:start], "big")
        # Go refuses the indefinite form, leading zeros and lengths that fit a shorter form.
        if not 1 <= size <= 4 or len(data) < start or data[2] == 0 or length < 0x80:
            raise CertificateError("failed unmarshalling signature: bad length")
    if len(data) < start + length:
        raise CertificateError("failed unmarshalling signature: truncated")
    return data[start : start + length], data[start + length :]


def _integer(content: bytes) -> int:
    padded = len(content) > 1 and (
        (content[0] == 0 and content[1] < 0x80) or (content[0] == 0xFF and content[1] >= 0x80)
    )
    if not content or padded:
        raise CertificateError("failed unmarshalling signature: integer not minimally-encoded")
    return int.from_bytes(content, "big", signed=True)


def is_ca(certificate: x509.Certificate) -> bool:
    """Whether BasicConstraints say CA."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """The SubjectKeyIdentifier extension's bytes. Raises CertificateError."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        raise CertificateError("subjectKeyIdentifier not found in certificate") from error
    return extension.value.digest


def sanitize(certificate: x509.Certificate, issuer: x509.Certificate) -> x509.Certificate:
    """The same certificate with its ECDSA signature in low-S form (msp/cert.go).

    A certificate's signature can be altered by anybody without becoming invalid; identities are
    compared by these bytes, so that nobody becomes two.
    """
    key = issuer.public_key()
    if certificate.signature_algorithm_oid not in _ECDSA_SIGNED:
        return certificate
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return certificate
    r, s = split_signature(certificate.signature)
    order = CURVE_ORDERS[key.curve.name]
    signature = encode_dss_signature(r, min(s, order - s))
    if signature == certificate.signature:
        return certificate
    tbs = certificate.tbs_certificate_bytes
    body, _ = _element(der(certificate), 0x30)
    algorithm_content, _ = _element(body[len(tbs) :], 0x30)
    algorithm = _encode(0x30, algorithm_content)
    return x509.load_der_x509_certificate(
        _encode(0x30, tbs + algorithm + _encode(0x03, b"\x00" + signature))
    )


def _encode(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(size))) + size + content


@dataclass(frozen=True)
class Pool:
    """CAs: trusted roots and intermediates."""

    roots: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()


Chain = tuple[x509.Certificate, ...]


def unique_chain(certificate: x509.Certificate, pool: Pool) -> Chain:
    """The one chain from `certificate` to a root, both included.

    Time is one second after the certificate's start, so that expiry never decides
    (msp/mspimplvalidate.go getValidityOptsForCert, FAB-3678): a CA must be valid *then*.
    Raises CertificateError when there is none, or more than one.
    """
    moment = certificate.not_valid_before_utc + timedelta(seconds=1)
    _check_alone(certificate, moment)
    if certificate in pool.roots:
        return (certificate,)
    chains = list(_extend((certificate,), pool, moment))
    if not chains:
        raise CertificateError("the supplied identity is not valid: signed by unknown authority")
    if len(chains) != 1:
        raise CertificateError(
            f"this MSP only supports a single validation chain, got {len(chains)}"
        )
    return chains[0]


def _extend(chain: Chain, pool: Pool, moment: datetime) -> list[Chain]:
    found: list[Chain] = []
    for root in pool.roots:
        if root not in chain and _issued(root, chain, moment):
            found.append((*chain, root))
    for intermediate in pool.intermediates:
        if intermediate not in chain and _issued(intermediate, chain, moment):
            found.extend(_extend((*chain, intermediate), pool, moment))
    return found


def _check_alone(certificate: x509.Certificate, moment: datetime) -> None:
    if moment > certificate.not_valid_after_utc:
        raise CertificateError("the supplied identity is not valid: it has expired at its start")
    for extension in certificate.extensions:
        if extension.critical and isinstance(extension.value, x509.UnrecognizedExtension):
            raise CertificateError(
                "the supplied identity is not valid: unhandled critical extension "
                + extension.oid.dotted_string
            )
    if not _usable_for_servers(certificate):
        raise CertificateError(
            "the supplied identity is not valid: incompatible extended key usage"
        )


def _usable_for_servers(certificate: x509.Certificate) -> bool:
    """Go's Verify asks for server authentication unless told otherwise, and Fabric doesn't."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage or (
        ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in usage
    )


def _issued(issuer: x509.Certificate, chain: Chain, moment: datetime) -> bool:
    """Whether `issuer` may have issued, and did issue, the last certificate of `chain`."""
    if not issuer.not_valid_before_utc <= moment <= issuer.not_valid_after_utc:
        return False
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    below = len(chain) - 1
    if not constraints.ca or (
        constraints.path_length is not None and below > constraints.path_length
    ):
        return False
    try:
        if not issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign:
            return False
    except x509.ExtensionNotFound:
        pass
    if not _usable_for_servers(issuer):
        return False
    try:
        chain[-1].verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def load_crl(data: bytes) -> x509.CertificateRevocationList:
    """A revocation list in PEM or DER. Raises CertificateError."""
    try:
        if data.startswith(b"-----BEGIN"):
            return x509.load_pem_x509_crl(data)
        return x509.load_der_x509_crl(data)
    except ValueError as error:
        raise CertificateError(f"could not parse RevocationList: {error}") from error


def check_revocation(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
) -> None:
    """Raise CertificateError when a list that `issuer` signed names the certificate.

    Dates in the list don't matter: it counts from the configuration that carries it
    (msp/mspimplvalidate.go validateCertAgainstChain).
    """
    issuer_id = subject_key_identifier(issuer)
    for revocations in lists:
        try:
            authority = revocations.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        except x509.ExtensionNotFound as error:
            raise CertificateError("authorityKeyIdentifier not found in certificate") from error
        if authority.value.key_identifier != issuer_id:
            continue
        if revocations.get_revoked_certificate_by_serial_number(certificate.serial_number) is None:
            continue
        key = issuer.public_key()
        try:
            signed = revocations.is_signature_valid(key)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            signed = False
        if signed:
            raise CertificateError("The certificate has been revoked")


def trusted_pool(
    roots: Sequence[bytes],
    intermediates: Sequence[bytes],
    revocations: Sequence[x509.CertificateRevocationList],
) -> Pool:
    """The CAs of an MSP from PEM, in low-S form (msp/mspimplsetup.go setupCAs, finalizeSetupCAs).

    Each must be a CA with a SubjectKeyIdentifier that chains to a root and isn't revoked. Raises
    CertificateError.
    """
    if not roots:
        raise CertificateError("expected at least one CA certificate")
    raw = Pool(tuple(map(from_pem, roots)), tuple(map(from_pem, intermediates)))
    pool = Pool(
        tuple(sanitized_ca(item, raw) for item in raw.roots),
        tuple(sanitized_ca(item, raw) for item in raw.intermediates),
    )
    for ca in (*pool.roots, *pool.intermediates):
        if not is_ca(ca):
            raise CertificateError(
                f"CA Certificate did not have the CA attribute, (SN: {ca.serial_number:x})"
            )
        subject_key_identifier(ca)
        chain = unique_chain(ca, pool)
        if len(chain) > 1:
            check_revocation(ca, chain[1], revocations)
    return pool


def sanitized_ca(ca: x509.Certificate, pool: Pool) -> x509.Certificate:
    """A root or intermediate of `pool` in low-S form. Raises CertificateError."""
    chain = unique_chain(ca, pool)
    return sanitize(ca, chain[1] if len(chain) > 1 else ca)


def internal_nodes(pool: Pool) -> frozenset[bytes]:
    """CAs that issued another CA of the pool: they may not issue identities."""
    return frozenset(
        der(parent) for ca in pool.intermediates for parent in unique_chain(ca, pool)[1:]
    )
