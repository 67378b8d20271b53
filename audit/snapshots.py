"""A state as a file, from which verification can go on where a checkpoint stands.

A text of lines, each a canonical JSON list (RFC 8785), in the order of the digest's own
(audit/history.py), with the bytes that its hashes stand for, in base64:

    ["clearline snapshot 1", <network>, <block>, <header hash>]
    ["config", <envelope>]
    ["id", <transaction id>, <its block>]
    ["hashed", <namespace>, <collection>, <key hash>, <block>, <index>]
    ["key", <namespace>, <key>, <block>, <index>, <value>]

The file proves nothing by itself: its digest must be the one that a checkpoint states.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from audit.history import Entry, Head, Version, state_digest, value_digest
from audit.jose import JoseError, canonical, strict_json
from audit.shapes import integer, text

FORMAT: Final = "clearline snapshot 1"
_NUMBER: Final = integer(0, 2**53 - 1)
_HASH: Final = text("[0-9a-f]{64}")


class SnapshotError(ValueError):
    """A file that is no snapshot; the text says where and why."""


@dataclass(frozen=True)
class Snapshot:
    """A channel's state after a block. `header_hash` is hex, `config` the envelope of the
    configuration in force; `values` are namespace, key, value and version, `hashed` namespace,
    collection, key hash and version."""

    network: str
    block: int
    header_hash: str
    config: bytes
    ids: dict[str, int]
    values: tuple[tuple[str, str, bytes, Version], ...]
    hashed: tuple[tuple[str, str, bytes, Version], ...]

    def digest(self) -> str:
        """The state's digest, as checkpoints state it."""
        head = Head(self.network, self.block, self.header_hash, value_digest(self.config))
        entries = [
            *(Entry(("key", space, key), at, value_digest(v)) for space, key, v, at in self.values),
            *(Entry(("hashed", space, of, h.hex()), at, "") for space, of, h, at in self.hashed),
        ]
        return state_digest(head, self.ids.items(), entries)


def write(snapshot: Snapshot, path: Path) -> None:
    """Write a new file. Raises OSError, FileExistsError when it is there."""
    with path.open("xb") as file:
        for line in _lines(snapshot):
            file.write(canonical(line) + b"\n")


def _lines(snapshot: Snapshot) -> Iterator[list[Any]]:
    yield [FORMAT, snapshot.network, snapshot.block, snapshot.header_hash]
    yield ["config", _text(snapshot.config)]
    for tx_id, block in sorted(snapshot.ids.items()):
        yield ["id", tx_id, block]
    for space, of, key_hash, version in sorted(snapshot.hashed):
        yield ["hashed", space, of, key_hash.hex(), *version]
    for space, key, value, version in sorted(snapshot.values):
        yield ["key", space, key, *version, _text(value)]


def read(path: Path) -> Snapshot:
    """The snapshot in a file. Raises OSError, SnapshotError."""
    ids: dict[str, int] = {}
    values: list[tuple[str, str, bytes, Version]] = []
    hashed: list[tuple[str, str, bytes, Version]] = []
    with path.open("rb") as file:
        try:
            head = _head(strict_json(file.readline()))
            kind, config = strict_json(file.readline())
            if kind != "config":
                raise SnapshotError("line 2 is no configuration")
            for raw in file:
                line = strict_json(raw)
                if line[0] == "id":
                    ids[_of(_HASH, line[1])] = _of(_NUMBER, line[2])
                elif line[0] == "hashed":
                    _, space, of, key_hash, *at = line
                    hashed.append((space, of, bytes.fromhex(key_hash), _version(at)))
                else:
                    _, space, key, block, index, value = line
                    values.append((space, key, _bytes(value), _version([block, index])))
            found = Snapshot(*head, _bytes(config), ids, tuple(values), tuple(hashed))
            _check_whole(found)
            return found
        except (JoseError, LookupError, TypeError, ValueError) as error:
            raise SnapshotError(f"{path} is no snapshot: {error}") from None


def _check_whole(snapshot: Snapshot) -> None:
    """Nothing twice, and nothing of a later block: a checkpoint's digest would not cover it."""
    places = [(space, key) for space, key, _, _ in snapshot.values]
    private = [(space, of, key_hash) for space, of, key_hash, _ in snapshot.hashed]
    if len({*places}) < len(places) or len({*private}) < len(private):
        raise SnapshotError("a key stands in it twice")
    blocks = [*snapshot.ids.values(), *(at[0] for *_, at in (*snapshot.values, *snapshot.hashed))]
    if max(blocks, default=0) > snapshot.block:
        raise SnapshotError(f"something in it is of a block after {snapshot.block}")


def _head(line: Any) -> tuple[str, int, str]:
    if line[0] != FORMAT:
        raise SnapshotError(f"its first line is not {FORMAT!r}")
    _, network, block, header_hash = line
    named = text("[a-z0-9.-]{1,64}")
    return _of(named, network), _of(_NUMBER, block), _of(_HASH, header_hash)


def _version(at: list[Any]) -> Version:
    block, index = (_of(_NUMBER, one) for one in at)
    return block, index


def _of(shape: Any, value: Any) -> Any:
    if not shape(value):
        raise SnapshotError(f"{value!r:.40} is not of its form")
    return value


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise SnapshotError(f"a value is {error}") from None
