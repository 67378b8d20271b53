"""The auditor's own reading of signed objects: RFC 7515 compact, RFC 8785 digests.

Written a second time on purpose; the contract's reading is clearline/jws.py.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_ALGORITHMS: Final = ("Ed25519", "ES256")
_LONGEST: Final = 16_384  # characters of a signed object
_DEEPEST: Final = 32  # levels of objects and lists
_LARGEST: Final = 2**53


class JoseError(ValueError):
    """Not a signed object, or not signed by that key."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A compact JWS taken apart: header and payload as JSON, what was signed, the signature."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signed: bytes
    signature: bytes

    @property
    def key_id(self) -> str:
        """The header's `kid`."""
        return str(self.header["kid"])


def read(compact: str, typ: str) -> Signed:
    """Take a compact JWS of this `typ` apart. Raises JoseError."""
    if len(compact) > _LONGEST:
        raise JoseError(f"longer than {_LONGEST} characters")
    parts = compact.split(".")
    if len(parts) != 3:
        raise JoseError("not three parts")
    header, payload = _header(parts[0]), _object(decode(parts[1]))
    if header["typ"] != typ:
        raise JoseError(f"its typ is not {typ}")
    return Signed(header, payload, f"{parts[0]}.{parts[1]}".encode(), decode(parts[2]))


@lru_cache(maxsize=4096)
def _header(part: str) -> dict[str, Any]:
    """A header of exactly alg, kid and typ; a signer's is the same in all it signs."""
    header = _object(decode(part))
    if set(header) != {"alg", "kid", "typ"} or header["alg"] not in _ALGORITHMS:
        raise JoseError("the header is not alg, kid and typ of this network")
    if not isinstance(header["kid"], str) or not _KEY_ID.fullmatch(header["kid"]):
        raise JoseError("the header's kid is no thumbprint")
    return header


def verify(token: Signed, key: dict[str, Any]) -> None:
    """Hold the signature against a ledger key record {"algorithm", "jwk"}. Raises JoseError."""
    algorithm, jwk = key["algorithm"], key["jwk"]
    if token.header["alg"] != algorithm:
        raise JoseError(f"signed with {token.header['alg']}, the key is for {algorithm}")
    if len(token.signature) != 64:
        raise JoseError("a signature has 64 bytes")
    if thumbprint(jwk) != token.key_id:
        raise JoseError("the key's thumbprint is not its id")
    try:
        public = public_key(algorithm, jwk["x"], jwk.get("y", ""))
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(token.signature, token.signed)
        else:
            r, s = token.signature[:32], token.signature[32:]
            signature = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
            public.verify(signature, token.signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise JoseError("the signature does not match") from None
    except (ValueError, KeyError, TypeError) as error:
        raise JoseError(f"the key can't be used: {error}") from None


@lru_cache(maxsize=1024)
def public_key(
    algorithm: str, x: str, y: str
) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    """The key of these coordinates (base64url). Raises ValueError for what is no point."""
    if algorithm == "Ed25519":
        return ed25519.Ed25519PublicKey.from_public_bytes(decode(x))
    if algorithm != "ES256":
        raise JoseError(f"unknown algorithm {algorithm}")
    across, up = (int.from_bytes(decode(one), "big") for one in (x, y))
    return ec.EllipticCurvePublicNumbers(across, up, ec.SECP256R1()).public_key()


def canonical(value: Any) -> bytes:
    """The RFC 8785 form; the ledger's member names are ASCII, its numbers integers."""
    return _ENCODER.encode(value).encode()


def digest(value: Any) -> str:
    """SHA-256 (hex) of the RFC 8785 form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638, of a JWK that has its required members only."""
    return _thumbprint(tuple(sorted(jwk.items())))


@lru_cache(maxsize=1024)
def _thumbprint(members: tuple[tuple[str, Any], ...]) -> str:
    raw = hashlib.sha256(canonical(dict(members))).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def strict_json(data: bytes) -> Any:
    """JSON as the ledger takes it: no member twice, integers to 2^53 and no other numbers, member
    names of ASCII, 32 levels at most. Raises JoseError."""
    try:
        text = data.decode()
        value = _DECODER.decode(text)
    except JoseError:
        raise
    except (ValueError, RecursionError):
        raise JoseError("not JSON") from None
    # Only what is escaped or not ASCII can be odd, and only what has brackets can be deep.
    if not text.isascii() or "\\u" in text or text.count("{") + text.count("[") > _DEEPEST:
        _check(value, 0)
    return value


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise JoseError("a member stands twice")
    return found


def _integer(text: str) -> int:
    if len(text) > 17 or text == "-0" or abs(int(text)) > _LARGEST:
        raise JoseError(f"{text[:40]} is no integer to 2^53")
    return int(text)


def _refuse(text: str) -> Any:
    raise JoseError(f"{text[:40]} is not an integer")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_refuse, parse_constant=_refuse
)
_ENCODER: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= one <= "\udfff" for one in value):
            raise JoseError("a text holds a lone surrogate")
        return
    if not isinstance(value, dict | list):
        return
    if depth >= _DEEPEST:
        raise JoseError(f"more than {_DEEPEST} levels")
    if isinstance(value, dict) and not all(map(str.isascii, value)):
        raise JoseError("a member name is not ASCII")
    for one in value.values() if isinstance(value, dict) else value:
        _check(one, depth + 1)


def _object(data: bytes) -> dict[str, Any]:
    value = strict_json(data)
    if not isinstance(value, dict):
        raise JoseError("not an object")
    return value


def decode(text: str) -> bytes:
    """The bytes of base64url without padding, in its one spelling. Raises JoseError."""
    if not _BASE64URL.fullmatch(text):
        raise JoseError("not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise JoseError("not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise JoseError("another spelling of the same bytes")
    return data
