"""A key that stays in a PKCS#11 token (OASIS PKCS #11 v3.0), through the library python-pkcs11.

Ed25519 is CKM_EDDSA over the message, ES256 CKM_ECDSA over its SHA-256; both answer the 64 bytes
that a JWS holds (RFC 7518 section 3.4, RFC 8037 section 3.1).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from clearline import jws
from clearline.jws import Algorithm
from clearline.signers.holders import Answer, SignerDownError
from clearline.signers.settings import SignerSettingsError, TokenKey

_OCTET_STRING: Final = 0x04  # DER; an uncompressed point of P-256 begins with it too
_POINTS: Final = {"EC_EDWARDS": 32, "EC": 65}  # bytes of an encoded point


class TokenHolder:
    """One session, opened when it is needed and opened anew after any error; one thread."""

    def __init__(self, settings: TokenKey, algorithm: Algorithm = Algorithm.ED25519) -> None:
        """`algorithm` is what `sign` signs with. Raises SignerSettingsError when python-pkcs11 is
        not installed."""
        self._settings = settings
        self._algorithm = algorithm
        self._pkcs11 = _library()
        self._session: Any = None
        self._private: Any = None
        self._refused_pin = ""

    def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        """See Holder."""
        try:
            if self._private is None:
                self._open()
            return [self._sign(message) for message in messages]
        except (self._pkcs11.PKCS11Error, RuntimeError, OSError, UnicodeError) as error:
            self.close()
            said = f"{type(error).__name__} {error}".strip()
            raise SignerDownError(f"token {self._settings.token}: {said}") from None

    def interrupt(self) -> None:
        """A token's call can't be interrupted."""

    def close(self) -> None:
        """Log out."""
        session, self._session, self._private = self._session, None, None
        if session is not None:
            with suppress(self._pkcs11.PKCS11Error):
                session.close()

    def public_jwk(self) -> dict[str, str]:
        """The public half as the token has it. Raises SignerDownError, JwsError."""
        try:
            self._open()
            found = self._session.get_key(
                object_class=self._pkcs11.ObjectClass.PUBLIC_KEY, label=self._settings.key_label
            )
            kind, point = found.key_type.name, found[self._pkcs11.Attribute.EC_POINT]
        except (self._pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            said = f"{type(error).__name__} {error}".strip()
            raise SignerDownError(f"token {self._settings.token}: {said}") from None
        finally:
            self.close()
        return _jwk(kind, point)

    def _open(self) -> None:
        settings, pkcs11 = self._settings, self._pkcs11
        pin = settings.pin_file.read_text(encoding="utf-8").rstrip("\r\n")
        if pin == self._refused_pin:
            # Another try or two would lock the token.
            raise SignerDownError(
                f"token {settings.token}: the PIN was refused; it is not tried again until "
                f"{settings.pin_file} has another"
            )
        token = pkcs11.lib(str(settings.module)).get_token(token_label=settings.token)
        try:
            self._session = token.open(user_pin=pin)
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked):
            self._refused_pin = pin
            raise
        self._private = self._session.get_key(
            object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=settings.key_label
        )

    def _sign(self, message: bytes) -> bytes:
        mechanism = self._pkcs11.Mechanism
        if self._algorithm is Algorithm.ED25519:
            return bytes(self._private.sign(message, mechanism=mechanism.EDDSA))
        digest = hashlib.sha256(message).digest()
        return bytes(self._private.sign(digest, mechanism=mechanism.ECDSA))


def _library() -> Any:
    try:
        import pkcs11
    except ImportError:
        raise SignerSettingsError(
            "signer/pkcs11 needs python-pkcs11: pip install 'clearline[pkcs11]' "
            "(from a checkout: make pkcs11)"
        ) from None
    return pkcs11


def _jwk(kind: str, encoded: bytes) -> dict[str, str]:
    """Of CKA_EC_POINT: a DER OCTET STRING, or the point as it is (tokens differ for Ed25519)."""
    length = _POINTS.get(kind)
    if length is None:
        raise jws.JwsError(f"the token's key is {kind}, neither Ed25519 nor P-256")
    point = encoded[2:] if encoded[:2] == bytes([_OCTET_STRING, length]) else encoded
    if len(point) != length:
        raise jws.JwsError("the token's key is neither Ed25519 nor P-256")
    if kind == "EC_EDWARDS":
        return jws.public_jwk(ed25519.Ed25519PublicKey.from_public_bytes(point))
    try:
        return jws.public_jwk(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
    except ValueError:
        raise jws.JwsError("the token's key is not on P-256") from None
