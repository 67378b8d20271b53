"""Signatures over messages: Ed25519 (RFC 8032) over a text that names all that matters.

    QRW1 <line feed> kind <line feed> subject <line feed> time <line feed> nonce <line feed> digest

`kind` is `request` (subject: method, space, path), `answer` (subject: status, space, the request's
nonce) or `notice` (subject: POST, space, path); `time` Unix seconds; `nonce` 32 hex digits;
`digest` SHA-256 of the body, 64 hex digits. The table of headers is in docs/acquirers.md.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY, TIME, NONCE, SIGNATURE = "Qrw-Partner", "Qrw-Time", "Qrw-Nonce", "Qrw-Signature"
MOST_SECONDS: Final = 300
_FORMS: Final = {
    TIME: re.compile("[0-9]{1,11}"),
    NONCE: re.compile("[0-9a-f]{32}"),
    SIGNATURE: re.compile("[0-9a-f]{128}"),
}


class SignatureWrongError(Exception):
    """`code` is signature_wrong or time_wrong."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Mark:
    """Time and nonce of a signed message."""

    time: int
    nonce: str


def headers(
    kind: str, subject: str, body: bytes, key: Ed25519PrivateKey, now: float
) -> dict[str, str]:
    """The headers that sign a message."""
    mark = Mark(int(now), secrets.token_hex(16))
    signature = key.sign(_text(kind, subject, mark, body)).hex()
    return {TIME: str(mark.time), NONCE: mark.nonce, SIGNATURE: signature}


def check(
    kind: str,
    subject: str,
    body: bytes,
    received: Mapping[str, str],
    key: Ed25519PublicKey,
    now: float,
) -> Mark:
    """Verify a message by its headers. Raises SignatureWrongError."""
    texts = {name: received.get(name) or "" for name in _FORMS}
    if not all(form.fullmatch(texts[name]) for name, form in _FORMS.items()):
        raise SignatureWrongError("signature_wrong")
    mark = Mark(int(texts[TIME]), texts[NONCE])
    try:
        key.verify(bytes.fromhex(texts[SIGNATURE]), _text(kind, subject, mark, body))
    except InvalidSignature:
        raise SignatureWrongError("signature_wrong") from None
    if abs(now - mark.time) > MOST_SECONDS:
        raise SignatureWrongError("time_wrong")
    return mark


def _text(kind: str, subject: str, mark: Mark, body: bytes) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    return "\n".join(("QRW1", kind, subject, str(mark.time), mark.nonce, digest)).encode()
