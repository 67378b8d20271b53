"""Identities that sign for Fabric: low-S ECDSA over SHA-256 with an X.509 certificate.

Fabric refuses high-S signatures (bccsp/sw/ecdsa.go verifyECDSA) with nothing but "access denied".
"""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)

from clearline.fabric.protoutil import serialized_identity

if TYPE_CHECKING:
    from clearline.fabric.profile import Profile

_CURVE_ORDERS = {
    "secp256r1": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    "secp384r1": int(
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
        "C7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973",
        16,
    ),
}


class Signer(Protocol):
    """What a client needs to speak to Fabric as somebody."""

    @property
    def msp_id(self) -> str:
        """The organisation's MSP id."""

    @property
    def identity(self) -> bytes:
        """Serialised msp.SerializedIdentity: the creator of headers."""

    def sign(self, message: bytes) -> bytes:
        """A low-S DER ECDSA signature over SHA-256 of message."""


class IdentityError(ValueError):
    """A certificate or key that can't be used as a Fabric identity; the text says why."""


def curve_order(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> int:
    """The order n of the key's curve. Raises IdentityError for a curve Fabric doesn't take."""
    order = _CURVE_ORDERS.get(key.curve.name)
    if order is None:
        raise IdentityError(f"curve {key.curve.name} is not supported: use P-256 or P-384")
    return order


def to_low_s(signature: bytes, order: int) -> bytes:
    """The same DER signature with s in the lower half of the order."""
    r, s = decode_dss_signature(signature)
    if s <= order // 2:
        return signature
    return encode_dss_signature(r, order - s)


class X509Signer:
    """A Signer over an ECDSA private key and its PEM certificate, both in memory."""

    def __init__(
        self, msp_id: str, certificate_pem: bytes, private_key: ec.EllipticCurvePrivateKey
    ) -> None:
        """Raises IdentityError when certificate and key don't belong together."""
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
        except ValueError as error:
            raise IdentityError(f"not a PEM certificate: {error}") from error
        if certificate.public_key() != private_key.public_key():
            raise IdentityError("the certificate is not the private key's")
        self._msp_id = msp_id
        self._identity = serialized_identity(msp_id, certificate_pem)
        self._key = private_key
        self._order = curve_order(private_key)
        self.certificate_pem = certificate_pem

    @classmethod
    def from_files(cls, msp_id: str, certificate: Path, private_key: Path) -> Self:
        """Read a PEM certificate and an unencrypted PEM private key.

        Raises IdentityError when a file is missing or holds something else.
        """
        try:
            certificate_pem = certificate.read_bytes()
            key_pem = private_key.read_bytes()
        except OSError as error:
            raise IdentityError(f"can't read the identity: {error}") from error
        try:
            key = serialization.load_pem_private_key(key_pem, None)
        except (ValueError, TypeError) as error:
            raise IdentityError(f"{private_key} is not a plain PEM private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentityError(f"{private_key} is not an ECDSA key")
        return cls(msp_id, certificate_pem, key)

    @classmethod
    def from_profile(cls, profile: "Profile") -> Self:
        """The signer that a connection profile names. Raises IdentityError."""
        return cls.from_files(profile.msp_id, profile.certificate, profile.private_key)

    @property
    def msp_id(self) -> str:
        return self._msp_id

    @property
    def identity(self) -> bytes:
        return self._identity

    def sign(self, message: bytes) -> bytes:
        return to_low_s(self._key.sign(message, ec.ECDSA(hashes.SHA256())), self._order)

    def sign_digest(self, digest: bytes) -> bytes:
        """Low-S signature over a 32-byte SHA-256 digest: offline signing."""
        algorithm = ec.ECDSA(Prehashed(hashes.SHA256()))
        return to_low_s(self._key.sign(digest, algorithm), self._order)
