"""A process that commits blocks until it is killed: `python ledger_writer.py FOLDER`."""

import hashlib
import sys
from pathlib import Path

from network.embedded.peer.ledger import BlockCommit, Ledger
from network.embedded.peer.statedb import VersionedValue

KEYS = 40


def commit_of(number: int, previous: bytes) -> BlockCommit:
    """Block `number`: every key gets the number as its value, one transaction id and history."""
    digest = hashlib.sha256(b"block %d" % number).digest()
    value = VersionedValue(b"%d" % number, b"", (number, 0))
    return BlockCommit(
        number=number,
        header_hash=digest,
        previous_hash=previous,
        block=b"bytes of %d " % number * 2000,
        commit_hash=hashlib.sha256(digest).digest(),
        tx_ids=[(f"tx{number}", 0, 0)],
        state={("cc", b"key%d" % key): value for key in range(KEYS)},
        history=[("cc", b"key0", number)],
        is_config=number == 0,
    )


def main() -> None:
    ledger = Ledger(Path(sys.argv[1]))
    while True:
        ledger.commit(commit_of(ledger.height, ledger.info.current_hash))
        sys.stdout.write(f"{ledger.height}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
