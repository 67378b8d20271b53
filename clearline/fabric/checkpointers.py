"""Where a stream of events got to, in memory or in a file.

The official client's checkpointers (fabric-gateway, node/src/filecheckpointer.ts), made durable:
a file is replaced atomically and carries a digest, so that a torn one is noticed.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from clearline.durable import replace_file


class CheckpointError(ValueError):
    """A checkpoint file that is torn or foreign; the text names it."""


class Checkpoint(Protocol):
    """The position a stream resumes from."""

    @property
    def block_number(self) -> int | None:
        """The block in which the next event is expected; None when there is no position."""

    @property
    def transaction_id(self) -> str | None:
        """The last transaction done within that block, None when none is."""


class Happened(Protocol):
    """Something that has a place on the ledger, as a chaincode event does."""

    @property
    def block_number(self) -> int:
        """Its block."""

    @property
    def transaction_id(self) -> str:
        """Its transaction."""


class InMemoryCheckpointer:
    """A position that ends with the process."""

    def __init__(self) -> None:
        self.block_number: int | None = None
        self.transaction_id: str | None = None

    def checkpoint_block(self, block_number: int) -> None:
        """A whole block is done."""
        self._move(block_number + 1, None)

    def checkpoint_transaction(self, block_number: int, transaction_id: str) -> None:
        """A block is done up to and including this transaction."""
        self._move(block_number, transaction_id)

    def checkpoint_chaincode_event(self, event: Happened) -> None:
        """A chaincode event is done."""
        self._move(event.block_number, event.transaction_id)

    def _move(self, block_number: int, transaction_id: str | None) -> None:
        self.block_number = block_number
        self.transaction_id = transaction_id


class FileCheckpointer:
    """A position in a file, on stable storage when a method returns."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError when the file is there and isn't a whole checkpoint."""
        self._path = path
        self._state = InMemoryCheckpointer()
        stored = read_checked(path)
        if stored is None:
            return
        block, transaction = stored.get("block"), stored.get("transaction")
        if not isinstance(block, int) or not isinstance(transaction, str | None):
            raise CheckpointError(f"{path} is not a checkpoint of chaincode events")
        self._state.block_number, self._state.transaction_id = block, transaction

    @property
    def block_number(self) -> int | None:
        """See Checkpoint."""
        return self._state.block_number

    @property
    def transaction_id(self) -> str | None:
        """See Checkpoint."""
        return self._state.transaction_id

    def checkpoint_block(self, block_number: int) -> None:
        """A whole block is done."""
        self._state.checkpoint_block(block_number)
        self._save()

    def checkpoint_transaction(self, block_number: int, transaction_id: str) -> None:
        """A block is done up to and including this transaction."""
        self._state.checkpoint_transaction(block_number, transaction_id)
        self._save()

    def checkpoint_chaincode_event(self, event: Happened) -> None:
        """A chaincode event is done."""
        self.checkpoint_transaction(event.block_number, event.transaction_id)

    def _save(self) -> None:
        state = {"block": self._state.block_number, "transaction": self._state.transaction_id}
        write_checked(self._path, state)


def write_checked(path: Path, values: Mapping[str, object]) -> None:
    """Replace a file by JSON with a digest, atomically and durably."""
    text = json.dumps(values, sort_keys=True)
    document = json.dumps({"values": text, "sha256": _digest(text)})
    replace_file(path, document.encode())


def read_checked(path: Path) -> dict[str, object] | None:
    """What write_checked wrote; None when there is no file. Raises CheckpointError when torn."""
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CheckpointError(f"{path} is torn: not JSON") from error
    text = document.get("values") if isinstance(document, dict) else None
    if not isinstance(text, str) or document.get("sha256") != _digest(text):
        raise CheckpointError(f"{path} is torn: its digest doesn't fit")
    values: dict[str, object] = json.loads(text)
    return values


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
