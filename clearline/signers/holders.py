"""What a holder of a private key is, and how it fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from clearline import canonical, jws
from clearline.canonical import CanonicalError
from clearline.jws import JwsError, KeySigner, PublicKey
from clearline.schema import KEY_ID, Members, Printable, SchemaError

_PUBLIC: Final = Members({"kid": KEY_ID, "jwk": Members(
    {"kty": Printable(3), "crv": Printable(10), "x": Printable(64), "y": Printable(64)},
    frozenset({"y"}),
)})  # fmt: skip


class SignerError(Exception):
    """No signature now; whoever asks again may get one. The message says why, for people."""


class SignerDownError(SignerError):
    """The holder can't be reached or can't sign anything."""


class SignerRefusedError(SignerError):
    """The holder answers, and does not sign this one."""


Answer = bytes | SignerError


class Holder(Protocol):
    """A private key somewhere, asked by blocking calls, one at a time."""

    def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        """For each message its 64-byte JWS signature, or why there is none. Raises
        SignerDownError when there is none for any."""

    def interrupt(self) -> None:
        """From another thread: let a call that is under way end, where that can be."""

    def close(self) -> None:
        """Let go of what is open; a later call may open it again."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """The public half of a key that somebody else holds: what it signs is held against this."""

    key: PublicKey
    key_id: str

    @classmethod
    def load(cls, path: Path) -> KnownKey:
        """From what `clearline bank keygen` and `signer public-key` print. Raises JwsError."""
        try:
            document = canonical.loads(path.read_bytes().strip())
            _PUBLIC.check(document, "")
        except OSError as error:
            raise JwsError(f"{path}: {error.strerror or error}") from None
        except (CanonicalError, SchemaError) as error:
            raise JwsError(f"{path} is not a public key as keygen prints it: {error}") from None
        jwk = document["jwk"]
        key = jws.public_key(jwk, jws.algorithm_of(jwk))
        if jws.thumbprint(jwk) != document["kid"]:
            raise JwsError(f"{path}: kid is not the thumbprint of jwk")
        return cls(key, document["kid"])


class FileHolder:
    """A key in this process's memory, behind the holder's face."""

    def __init__(self, signer: KeySigner) -> None:
        self._signer = signer

    def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        """See Holder."""
        return [self._signer.sign(message) for message in messages]

    def interrupt(self) -> None:
        """Nothing here waits."""

    def close(self) -> None:
        """Nothing is open."""
