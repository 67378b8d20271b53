"""What the state was after each block, so that a checkpoint of a block gone by can be held against
it: a digest of each value by key, and since when it has been there.

The digest of a state is SHA-256 over these lines in this order, each a canonical JSON list (RFC
8785) and a line feed:

    ["clearline state 1", <network>, <block>, <header hash of that block>]
    ["config", <SHA-256 of the envelope of the configuration in force after the block>]
    ["id", <transaction id>, <its block>]        of each valid transaction, by id
    ["hashed", <namespace>, <collection>, <key hash>, <block>, <index>, ""]
    ["key", <namespace>, <key>, <block>, <index>, <SHA-256 of the value>]

the last two of each key that has a value, in the order of the texts before the numbers; block and
index are those of the transaction that wrote it. Hashes are 64 lower-case hex digits. It covers
all that verification of the next block rests on: records and versions, who is a member, which ids
have been used. A value of the contract's namespace is a record, canonical as it was derived.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from audit.jose import canonical

FORMAT: Final = "clearline state 1"
# What names an entry: ("key", namespace, key) or ("hashed", namespace, collection, key hash).
Place = tuple[str, ...]
Version = tuple[int, int]
Written = tuple[Version, str | None]
_NONE: Final[Written] = ((0, 0), None)


@dataclass(frozen=True)
class Head:
    """Which state: of this network, after this block with this header hash (hex), under the
    configuration whose envelope has this SHA-256 (hex)."""

    network: str
    block: int
    header_hash: str
    config: str


@dataclass(frozen=True)
class Entry:
    """What one key holds: `digest` is its value's SHA-256 in hex, empty for a hashed one."""

    place: Place
    version: Version
    digest: str


def state_digest(head: Head, ids: Iterable[tuple[str, int]], entries: Iterable[Entry]) -> str:
    """The digest of a state, 64 hex digits."""
    found = hashlib.sha256()
    for line in _lines(head, ids, entries):
        found.update(canonical(line) + b"\n")
    return found.hexdigest()


def _lines(
    head: Head, ids: Iterable[tuple[str, int]], entries: Iterable[Entry]
) -> Iterator[list[Any]]:
    yield [FORMAT, head.network, head.block, head.header_hash]
    yield ["config", head.config]
    for tx_id, block in sorted(ids):
        yield ["id", tx_id, block]
    for entry in sorted(entries, key=lambda one: one.place):
        yield [*entry.place, *entry.version, entry.digest]


def value_digest(value: bytes) -> str:
    """SHA-256 of a value, in hex."""
    return hashlib.sha256(value).hexdigest()


class History:
    """Since when each key has held what it holds, and held before."""

    def __init__(self, network: str) -> None:
        self._network = network
        self._entries: dict[Place, list[Written]] = {}
        self._headers: dict[int, str] = {}
        self._configs: list[tuple[int, str]] = []
        self.ids: dict[str, int] = {}  # of valid transactions, and their blocks

    def note(self, place: Place, version: Version, digest: str | None) -> None:
        """A key was written; None: deleted."""
        self._entries.setdefault(place, []).append((version, digest))

    def configured(self, block: int, envelope: bytes) -> None:
        """A configuration is in force from this block on."""
        self._configs.append((block, value_digest(envelope)))

    def ended(self, block: int, header_hash: str) -> None:
        """The block's last transaction was taken."""
        self._headers[block] = header_hash

    @property
    def first(self) -> int:
        """The first block whose state can be told."""
        return min(self._headers, default=0)

    def header_hash(self, block: int) -> str:
        """Of a block that was taken."""
        return self._headers[block]

    def digest(self, block: int) -> str:
        """Of the state after a block that was taken."""
        config = [one for since, one in self._configs if since <= block][-1]
        head = Head(self._network, block, self._headers[block], config)
        ids = ((tx_id, of) for tx_id, of in self.ids.items() if of <= block)
        return state_digest(head, ids, self._after(block))

    def _after(self, block: int) -> Iterator[Entry]:
        for place, written in self._entries.items():
            version, digest = next((one for one in reversed(written) if one[0][0] <= block), _NONE)
            if digest is not None:
                yield Entry(place, version, digest)
