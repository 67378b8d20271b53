"""Signed objects: JWS compact (RFC 7515) with `Ed25519` (RFC 9864) or `ES256` (RFC 7518).

The header holds exactly `alg`, `kid`, `typ` and is parsed strictly: common JOSE libraries take a
duplicate `alg`. Which algorithm counts is what the key's record says, never what the header says.
A key's id is its RFC 7638 thumbprint, so a record can't hold two keys under one id.
"""

from __future__ import annotations

import binascii
import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from clearline import canonical
from clearline.canonical import CanonicalError, Json
from clearline.cards import holds_card_number
from clearline.schema import KEY_ID, Members, OneOf, SchemaError, Shape, Text

_TO_URL: Final = bytes.maketrans(b"+/", b"-_")
_FROM_URL: Final = bytes.maketrans(b"-_", b"+/")
MAX_COMPACT: Final = 16_384  # characters; the largest object we sign is under 3,000


class Algorithm(StrEnum):
    """Signature algorithms a key record can name."""

    ED25519 = "Ed25519"
    ES256 = "ES256"


class Typ(StrEnum):
    """What a signed object is (`typ` of the header), so that one can't stand in for another."""

    INTENT = "clearline-intent+jws"
    CHANGE = "clearline-change+jws"
    REPORT = "clearline-report+jws"
    CLEARING = "clearline-clearing+jws"
    RECEIPT = "clearline-receipt+jws"
    REFUSAL = "clearline-refusal+jws"
    WEBHOOK = "clearline-webhook+jws"
    BEARER = "JWT"


class JwsError(ValueError):
    """Not a JWS this network takes; the message says why."""


class SignatureInvalidError(JwsError):
    """The signature is not the key's over these bytes."""


_HEADER: Final = Members(
    {
        "alg": OneOf(tuple(Algorithm)),
        "kid": KEY_ID,
        "typ": OneOf(tuple(Typ)),
    }
)
_COORDINATE: Final = Text("[A-Za-z0-9_-]{43}", "must be 32 bytes in base64url")
_JWKS: Final[dict[Algorithm, Shape]] = {
    Algorithm.ED25519: Members(
        {"kty": OneOf(("OKP",)), "crv": OneOf(("Ed25519",)), "x": _COORDINATE}
    ),
    Algorithm.ES256: Members(
        {"kty": OneOf(("EC",)), "crv": OneOf(("P-256",)), "x": _COORDINATE, "y": _COORDINATE}
    ),
}
# Encodings of the eight points of small order (and the two non-canonical ones of order 1 and 2):
# with such a key a signature verifies for messages its owner never signed (RFC 8032 section 8.8
# leaves their refusal open).
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    )
)
_ED25519_PRIME: Final = 2**255 - 19


@dataclass(frozen=True, slots=True)
class Unverified:
    """A JWS taken apart, not yet verified: what it claims."""

    algorithm: Algorithm
    key_id: str
    typ: Typ
    payload: bytes
    signature: bytes
    signing_input: bytes


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A verification key with the algorithm its record names."""

    algorithm: Algorithm
    key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey

    def verify(self, token: Unverified) -> None:
        """Raise SignatureInvalidError unless `token` is signed by this key with this algorithm."""
        if token.algorithm is not self.algorithm:
            raise SignatureInvalidError(
                f"the key is for {self.algorithm}, the header says {token.algorithm}"
            )
        self.verify_bytes(token.signing_input, token.signature)

    def verify_bytes(self, message: bytes, signature: bytes) -> None:
        """Raise SignatureInvalidError unless `signature` is this key's over `message`."""
        if len(signature) != 64:
            raise SignatureInvalidError("a signature is 64 bytes")
        try:
            if isinstance(self.key, ed25519.Ed25519PublicKey):
                self.key.verify(signature, message)
            else:
                der = encode_dss_signature(
                    int.from_bytes(signature[:32], "big"),
                    int.from_bytes(signature[32:], "big"),
                )
                self.key.verify(der, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise SignatureInvalidError("the signature does not match") from None


class KeyName(Protocol):
    """Which key signs, and how."""

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm this key signs with."""

    @property
    def key_id(self) -> str:
        """The RFC 7638 thumbprint of its public key."""


class Signer(KeyName, Protocol):
    """Whoever signs at once: a key in memory. One that is elsewhere - a token, a service - is
    asked beside the event loop: clearline.signers."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte JWS signature of `message`."""


class KeySigner:
    """A Signer over a private key in memory; `load` reads it from a PKCS#8 PEM file."""

    def __init__(self, key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        if isinstance(key, ec.EllipticCurvePrivateKey) and not isinstance(key.curve, ec.SECP256R1):
            raise JwsError("an ES256 key is on the curve P-256")
        self._key = key
        self.algorithm: Algorithm = (
            Algorithm.ED25519 if isinstance(key, ed25519.Ed25519PrivateKey) else Algorithm.ES256
        )
        self.jwk = public_jwk(key.public_key())
        self.key_id: str = thumbprint(self.jwk)

    @property
    def public_key(self) -> PublicKey:
        """The public half."""
        return PublicKey(self.algorithm, self._key.public_key())

    @classmethod
    def generate(cls, algorithm: Algorithm = Algorithm.ED25519) -> KeySigner:
        """A new key of this algorithm."""
        if algorithm is Algorithm.ED25519:
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def load(cls, path: Path) -> KeySigner:
        """The key in a PKCS#8 PEM file. Raises JwsError when it is neither kind of key."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise JwsError(f"{path} is not an unencrypted PKCS#8 key: {error}") from None
        if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise JwsError(f"{path} holds neither an Ed25519 nor a P-256 key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Write the key as PKCS#8 PEM, readable by its owner only. Refuses to replace a file."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(pem)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte JWS signature of `message` (RFC 7518 section 3.4 for ES256)."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign(payload: Json, typ: Typ, signer: Signer) -> str:
    """The canonical JSON of `payload` as a JWS compact text."""
    text = signing_input(payload, typ, signer)
    return sealed(text, signer.sign(text.encode()))


def signing_input(payload: Json, typ: Typ, key: KeyName) -> str:
    """What is signed of the canonical JSON of `payload` (RFC 7515 section 5.1)."""
    return _header_of(key.algorithm, key.key_id, typ) + "." + encode(canonical.dumps(payload))


def sealed(text: str, signature: bytes) -> str:
    """A JWS compact text of a signing input and its 64-byte signature."""
    return f"{text}.{encode(signature)}"


@lru_cache(maxsize=256)
def _header_of(algorithm: Algorithm, key_id: str, typ: Typ) -> str:
    """The first part of every JWS that a key signs."""
    header = {"alg": algorithm.value, "kid": key_id, "typ": typ.value}
    return encode(canonical.dumps(header))


def take_apart(compact: str | bytes) -> Unverified:
    """Parse a JWS compact text strictly, without verifying. Raises JwsError."""
    text = compact.decode("ascii", "replace") if isinstance(compact, bytes) else compact
    if len(text) > MAX_COMPACT:
        raise JwsError(f"longer than {MAX_COMPACT} characters")
    parts = text.split(".")
    if len(parts) != 3:
        raise JwsError("a JWS compact text has three parts")
    algorithm, key_id, typ = _header(parts[0])
    return Unverified(
        algorithm,
        key_id,
        typ,
        decode(parts[1]),
        decode(parts[2]),
        f"{parts[0]}.{parts[1]}".encode(),
    )


@lru_cache(maxsize=4096)
def _header(part: str) -> tuple[Algorithm, str, Typ]:
    try:
        header = canonical.loads(decode(part))
        _HEADER.check(header, "")
        if holds_card_number(header["kid"]):
            raise JwsError("kid looks like a card number")
    except (CanonicalError, JwsError, SchemaError) as error:
        raise JwsError(f"header: {error}") from None
    return Algorithm(header["alg"]), header["kid"], Typ(header["typ"])


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515 section 2)."""
    text = binascii.b2a_base64(data, newline=False).rstrip(b"=")
    return text.translate(_TO_URL).decode("ascii")


def decode(text: str) -> bytes:
    """The bytes of base64url without padding; refuses every other spelling of the same bytes."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        # Not base64.b64decode: it looks at each text with a regular expression of its own.
        data = binascii.a2b_base64(padded.translate(_FROM_URL), strict_mode=True)
    except ValueError:
        raise JwsError("not base64url") from None
    if encode(data) != text:
        raise JwsError("not canonical base64url")
    return data


def public_jwk(key: ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey) -> dict[str, str]:
    """A public key as a JWK (RFC 7517, RFC 8037) with its required members only."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return {"kty": "OKP", "crv": "Ed25519", "x": encode(key.public_bytes_raw())}
    numbers = key.public_numbers()
    return {
        "kty": "EC",
        "crv": "P-256",
        "x": encode(numbers.x.to_bytes(32, "big")),
        "y": encode(numbers.y.to_bytes(32, "big")),
    }


def thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638 SHA-256 thumbprint, base64url, of a JWK of required members only."""
    return encode(hashlib.sha256(canonical.dumps(jwk)).digest())


def algorithm_of(jwk: Json) -> Algorithm:
    """The algorithm a JWK's key type is for. Raises JwsError for other types."""
    kind = jwk.get("kty") if isinstance(jwk, dict) else None
    if kind == "OKP":
        return Algorithm.ED25519
    if kind == "EC":
        return Algorithm.ES256
    raise JwsError("kty must be OKP (Ed25519) or EC (P-256)")


def public_key(jwk: Json, algorithm: Algorithm) -> PublicKey:
    """A JWK as a verification key. Raises JwsError for other members, curves, unsafe points."""
    try:
        _JWKS[algorithm].check(jwk, "")
    except SchemaError as error:
        raise JwsError(f"jwk{error}") from None
    return _public_key(algorithm, jwk["x"], jwk.get("y", ""))


@lru_cache(maxsize=4096)
def _public_key(algorithm: Algorithm, x: str, y: str) -> PublicKey:
    raw = decode(x)
    try:
        if algorithm is Algorithm.ED25519:
            if raw in _SMALL_ORDER:
                raise JwsError("the key is a point of small order")
            if int.from_bytes(raw, "little") & (2**255 - 1) >= _ED25519_PRIME:
                raise JwsError("the key is not canonically encoded")
            return PublicKey(algorithm, ed25519.Ed25519PublicKey.from_public_bytes(raw))
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(raw, "big"), int.from_bytes(decode(y), "big"), ec.SECP256R1()
        )
        return PublicKey(algorithm, numbers.public_key())
    except JwsError:
        raise
    except ValueError:
        raise JwsError("not a point on the curve") from None
