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
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

_PART: Final = re.compile(r"[A-Za-z0-9_-]+")


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
    parts = compact.split(".")
    if len(parts) != 3:
        raise JoseError("not three parts")
    header, payload = _json(_bytes(parts[0])), _json(_bytes(parts[1]))
    if set(header) != {"alg", "kid", "typ"} or header["typ"] != typ:
        raise JoseError(f"the header is not alg, kid and typ {typ}")
    return Signed(header, payload, f"{parts[0]}.{parts[1]}".encode(), _bytes(parts[2]))


def verify(token: Signed, key: dict[str, Any]) -> None:
    """Hold the signature against a ledger key record {"algorithm", "jwk"}. Raises JoseError."""
    if token.header["alg"] != key["algorithm"]:
        raise JoseError(f"signed with {token.header['alg']}, the key is for {key['algorithm']}")
    if len(token.signature) != 64:
        raise JoseError("a signature has 64 bytes")
    jwk = key["jwk"]
    if thumbprint(jwk) != token.key_id:
        raise JoseError("the key's thumbprint is not its id")
    try:
        if key["algorithm"] == "Ed25519":
            public = ed25519.Ed25519PublicKey.from_public_bytes(_bytes(jwk["x"]))
            public.verify(token.signature, token.signed)
        elif key["algorithm"] == "ES256":
            x, y = (int.from_bytes(_bytes(jwk[name]), "big") for name in ("x", "y"))
            r, s = token.signature[:32], token.signature[32:]
            signature = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
            point = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
            point.verify(signature, token.signed, ec.ECDSA(hashes.SHA256()))
        else:
            raise JoseError(f"unknown algorithm {key['algorithm']}")
    except InvalidSignature:
        raise JoseError("the signature does not match") from None
    except (ValueError, KeyError, TypeError) as error:
        raise JoseError(f"the key can't be used: {error}") from None


def digest(value: Any) -> str:
    """SHA-256 (hex) of the RFC 8785 form; the ledger's member names are ASCII, numbers integers."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def thumbprint(jwk: dict[str, Any]) -> str:
    """RFC 7638, of a JWK that has its required members only."""
    raw = hashlib.sha256(
        json.dumps(jwk, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    ).digest()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def strict_json(data: bytes) -> Any:
    """JSON without duplicate members and without fractions. Raises JoseError."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise JoseError("a member stands twice")
        return found

    def refuse(text: str) -> Any:
        raise JoseError(f"{text} is not an integer")

    try:
        return json.loads(
            data.decode(), object_pairs_hook=members, parse_float=refuse, parse_constant=refuse
        )
    except JoseError:
        raise
    except (ValueError, RecursionError):
        raise JoseError("not JSON") from None


def _json(data: bytes) -> dict[str, Any]:
    value = strict_json(data)
    if not isinstance(value, dict):
        raise JoseError("not an object")
    return value


def _bytes(text: str) -> bytes:
    if not _PART.fullmatch(text):
        raise JoseError("not base64url")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise JoseError("not base64url") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise JoseError("another spelling of the same bytes")
    return data
