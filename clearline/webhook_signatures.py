"""Signatures of the Standard Webhooks specification, version 1.0.0, asymmetric scheme `v1a`.

What is signed is `webhook-id.webhook-timestamp.body`, with Ed25519; a public key is written
`whpk_` and its 32 bytes in base64. Several signatures may stand in the header, so that a key can be
changed while messages go out.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from clearline import jws
from clearline.jws import Algorithm, JwsError

ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
TOLERANCE: Final = 300  # seconds a message's timestamp may be from the receiver's clock
_PUBLIC: Final = "whpk_"
_SCHEME: Final = "v1a"
_MOST: Final = 16  # signatures looked at
# No full stop in it: what is signed could be read in two ways.
_ID_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TIMESTAMP_SHAPE: Final = re.compile(r"[1-9][0-9]{0,11}")


class WebhookSignatureError(ValueError):
    """The message is not from one who holds a trusted key, or not from now."""


@dataclass(frozen=True, slots=True)
class Headers:
    """The three headers of a message, as texts."""

    message_id: str
    timestamp: str
    signature: str

    def to_pairs(self) -> tuple[tuple[str, str], ...]:
        """Names and values, as they are sent."""
        return ((ID, self.message_id), (TIMESTAMP, self.timestamp), (SIGNATURE, self.signature))


def signed_content(message_id: str, timestamp: str, body: bytes) -> bytes:
    """`id.timestamp.body`."""
    return f"{message_id}.{timestamp}.".encode() + body


def sign(
    message_id: str, timestamp: int, body: bytes, keys: Sequence[Ed25519PrivateKey]
) -> Headers:
    """The headers of a message; `timestamp` is the attempt's, in seconds since 1970."""
    content = signed_content(message_id, str(timestamp), body)
    signatures = (base64.b64encode(key.sign(content)).decode() for key in keys)
    joined = " ".join(f"{_SCHEME},{signature}" for signature in signatures)
    return Headers(message_id, str(timestamp), joined)


def verify(headers: Headers, body: bytes, keys: Sequence[Ed25519PublicKey], now: float) -> None:
    """Hold a message against the trusted keys and the receiver's clock.

    Raises WebhookSignatureError at the first step that fails.
    """
    # 1. Id and timestamp are of their form, so that what was signed can be read in one way only.
    if not _ID_SHAPE.fullmatch(headers.message_id):
        raise WebhookSignatureError(f"{ID} is not of its form")
    if not _TIMESTAMP_SHAPE.fullmatch(headers.timestamp):
        raise WebhookSignatureError(f"{TIMESTAMP} is not of its form")
    # 2. It is from now: an old message is a replay.
    if abs(now - int(headers.timestamp)) > TOLERANCE:
        raise WebhookSignatureError(f"{TIMESTAMP} is more than {TOLERANCE} seconds from now")
    # 3. One of its signatures is one of the keys'.
    content = signed_content(headers.message_id, headers.timestamp, body)
    for part in headers.signature.split(" ")[:_MOST]:
        scheme, _, text = part.partition(",")
        if scheme == _SCHEME and _matches(text, content, keys):
            return
    raise WebhookSignatureError("no signature is one of a trusted key")


def _matches(text: str, content: bytes, keys: Sequence[Ed25519PublicKey]) -> bool:
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    for key in keys:
        try:
            key.verify(signature, content)
        except InvalidSignature:
            continue
        return True
    return False


def public_text(key: Ed25519PublicKey) -> str:
    """A public key as it is handed out."""
    return _PUBLIC + base64.b64encode(key.public_bytes_raw()).decode()


def public_key(text: str) -> Ed25519PublicKey:
    """The key of a `whpk_` text. Raises ValueError for another text, or a key that is unsafe."""
    if not text.startswith(_PUBLIC):
        raise ValueError("a webhook key begins with whpk_")
    try:
        raw = base64.b64decode(text.removeprefix(_PUBLIC), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != 32:
        raise ValueError("a webhook key is whpk_ and 32 bytes in base64")
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jws.encode(raw)}
    try:
        jws.public_key(jwk, Algorithm.ED25519)  # refuses points of small order
    except JwsError as error:
        raise ValueError(f"the webhook key can't be used: {error}") from None
    return Ed25519PublicKey.from_public_bytes(raw)
