"""The keys a gateway signs webhooks with: one a webhook, derived from the gateway's secret.

Standard Webhooks asks for a key of its own for each endpoint, so that what one merchant was sent
is nothing to another. Deriving them (HKDF, RFC 5869) leaves one file to keep and nothing to store.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clearline import canonical
from clearline.durable import sync_folder
from clearline.webhook_signatures import public_text

_SECRET: Final = re.compile("[0-9a-f]{64}")
_MOST: Final = 4


class WebhookKeyError(Exception):
    """The file of secrets can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """Derives keys from `secrets`, 32 bytes each, the newest first: every one of them signs."""

    network: str
    gateway: str
    secrets: tuple[bytes, ...]

    @classmethod
    def load(cls, path: Path, network: str, gateway: str) -> WebhookKeys:
        """The secrets in a file, one a line in hex; makes the file when there is none.

        To change keys, put a new line on top and restart; take the old one away when merchants
        have fetched the new public key. Raises WebhookKeyError.
        """
        try:
            if not path.exists():
                _create(path)
            lines = path.read_text(encoding="ascii").split()
        except (OSError, ValueError) as error:
            raise WebhookKeyError(f"can't read webhook secrets in {path}: {error}") from None
        if not 1 <= len(lines) <= _MOST or not all(_SECRET.fullmatch(line) for line in lines):
            raise WebhookKeyError(
                f"{path} must hold 1 to {_MOST} secrets, 64 lower-case hex digits a line"
            )
        return cls(network, gateway, tuple(bytes.fromhex(line) for line in lines))

    def private(self, merchant_id: str, webhook_id: str) -> tuple[Ed25519PrivateKey, ...]:
        """The keys that sign for one webhook of one merchant."""
        info = canonical.dumps(
            ["clearline webhook key", self.network, self.gateway, merchant_id, webhook_id]
        )
        return tuple(
            Ed25519PrivateKey.from_private_bytes(HKDF(SHA256(), 32, None, info).derive(secret))
            for secret in self.secrets
        )

    def public(self, merchant_id: str, webhook_id: str) -> list[str]:
        """Their public halves, as they are handed out (`whpk_...`)."""
        keys = self.private(merchant_id, webhook_id)
        return [public_text(key.public_key()) for key in keys]


def _create(path: Path) -> None:
    """Write a new secret, whole or not at all; of two processes that do, one wins."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(32) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was first
            path.hardlink_to(draft)
        # Keys that were handed out must be the same after a power failure.
        sync_folder(path.parent)
    finally:
        draft.unlink()
