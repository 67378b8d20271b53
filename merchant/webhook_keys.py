"""webhooks.json: the keys each gateway signs webhooks with, and how far events were fetched.

Keys are taken over the TLS connection to a gateway of the profile, when a webhook is registered,
and trusted from then on; a message can't bring its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clearline import canonical
from clearline.canonical import CanonicalError
from clearline.schema import Listed, Mapped, Members, SchemaError, Text
from clearline.webhook_signatures import public_key
from clearline.webhooks import WEBHOOK_ID
from merchant.profile import ProfileError

FILE: Final = "webhooks.json"
KEYS: Final = Listed(Text(r"whpk_[A-Za-z0-9+/]{43}=", "must be a whpk_ key"), 1, 8)
_SHAPE: Final = Members(
    {
        "keys": Mapped(Text(r"https?://[!-~]{1,256}"), Mapped(WEBHOOK_ID, KEYS, 64), 16),
        "cursor": Text("[A-Za-z0-9_-]{0,128}"),
    }
)


@dataclass(slots=True)
class WebhookFile:
    """What the file holds: keys by gateway URL and webhook id; the cursor of the last replay."""

    keys: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    cursor: str = ""

    @classmethod
    def load(cls, home: Path) -> WebhookFile:
        """The folder's file; an empty one when there is none. Raises ProfileError."""
        path = home / FILE
        try:
            document = canonical.loads(path.read_bytes())
            _SHAPE.check(document, "")
        except FileNotFoundError:
            return cls()
        except (OSError, CanonicalError, SchemaError) as error:
            raise ProfileError(f"can't use {path}: {error}") from None
        return cls(document["keys"], document["cursor"])

    def save(self, home: Path) -> None:
        """Write it, whole or not at all. Raises OSError."""
        path = home / FILE
        draft = path.with_name(f".{FILE}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(canonical.dumps({"keys": self.keys, "cursor": self.cursor}) + b"\n")
        draft.replace(path)

    def trusted(self) -> tuple[Ed25519PublicKey, ...]:
        """Every key that is trusted. Raises ProfileError for one that is none."""
        texts = [text for held in self.keys.values() for listed in held.values() for text in listed]
        try:
            return tuple(public_key(text) for text in dict.fromkeys(texts))
        except ValueError as error:
            raise ProfileError(f"{FILE}: {error}") from None
