"""What a commit queue did with its envelopes, held against its rule (docs/architecture.md).

The signed envelope is stored before it is submitted. While its fate is unknown the same bytes are
submitted again; the same items are endorsed anew only when its id is in a block with an invalid
code, when no orderer can have it, or when the bound has passed. At most one of an item's envelopes
is valid.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from clearline.fabric.commit import Commit
from clearline.fabric.errors import SubmitError
from clearline.fabric.store import QueueStore, StoredBatch, StoredItem
from clearline.fabric.transaction import Transaction

VALID = 0


@dataclass(frozen=True)
class Envelope:
    """Stored at this moment (time.monotonic())."""

    tx_id: str
    item_ids: tuple[str, ...]
    stored: float
    digest: bytes


@dataclass(frozen=True)
class Submission:
    """An envelope sent at this moment. reached: an orderer has it or may have it."""

    tx_id: str
    sent: float
    digest: bytes
    reached: bool


@dataclass
class Witness:
    """What was seen, in order."""

    envelopes: list[Envelope] = field(default_factory=list)
    submissions: list[Submission] = field(default_factory=list)

    def store(self, batch: StoredBatch) -> None:
        """An envelope is on stable storage."""
        digest = hashlib.sha256(batch.prepared).digest()
        self.envelopes.append(Envelope(batch.tx_id, batch.item_ids, time.monotonic(), digest))

    def resolved(self, codes: Mapping[str, int]) -> int:
        """How many envelopes were sent more than once and are valid in a block."""
        sent = Counter(item.tx_id for item in self.submissions)
        return sum(many > 1 and codes.get(tx_id) == VALID for tx_id, many in sent.items())

    def broken(self, codes: Mapping[str, int], bound: float) -> list[str]:
        """Where the rule was not kept. codes: of each id's first appearance in a block."""
        stored = {item.tx_id: item for item in self.envelopes}
        findings = []
        for one in self.submissions:
            own = stored.get(one.tx_id)
            if own is None or own.stored > one.sent:
                findings.append(f"{one.tx_id} was submitted before it was stored")
            elif own.digest != one.digest:
                findings.append(f"{one.tx_id} was submitted with other bytes than were stored")
        by_item: dict[str, list[Envelope]] = {}
        for envelope in self.envelopes:
            for item_id in envelope.item_ids:
                by_item.setdefault(item_id, []).append(envelope)
        for item_id, envelopes in by_item.items():
            if sum(codes.get(item.tx_id) == VALID for item in envelopes) > 1:
                findings.append(f"{item_id} is valid twice")
            for before, after in pairwise(envelopes):
                if not self._settled(before, after.stored, codes, bound):
                    findings.append(
                        f"{item_id} was endorsed anew while the fate of {before.tx_id} was open"
                    )
        return findings

    def _settled(
        self, envelope: Envelope, moment: float, codes: Mapping[str, int], bound: float
    ) -> bool:
        """Whether an envelope could do no harm any more, or the bound had passed."""
        if codes.get(envelope.tx_id, VALID) != VALID:
            return True
        sent = [item for item in self.submissions if item.tx_id == envelope.tx_id]
        reached = any(item.reached for item in sent)
        return not reached or moment - envelope.stored >= bound


class WitnessedStore(QueueStore):
    """A store whose envelopes are seen."""

    def __init__(self, path: Path, witness: Witness) -> None:
        super().__init__(path)
        self._witness = witness

    def put_batch(self, batch: StoredBatch, items: Sequence[StoredItem]) -> asyncio.Future[None]:
        """As the store's; seen once it is done."""
        done = super().put_batch(batch, items)
        done.add_done_callback(lambda _: self._witness.store(batch))
        return done


@contextmanager
def witnessed(witness: Witness) -> Iterator[None]:
    """Every submission of this process is seen inside the block."""
    submit = Transaction.submit

    async def watched(self: Transaction, deadline: float | None = None) -> Commit:
        sent, reached = time.monotonic(), True
        try:
            return await submit(self, deadline)
        except SubmitError as error:
            reached = error.outcome == "unknown"
            raise
        finally:
            digest = hashlib.sha256(self.to_bytes()).digest()
            witness.submissions.append(Submission(self.transaction_id, sent, digest, reached))

    Transaction.submit = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        Transaction.submit = submit  # type: ignore[method-assign]
