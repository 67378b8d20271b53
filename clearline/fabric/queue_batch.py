"""One batch's way: endorse, store the signed envelope, submit, learn what became of it.

The guard against doing anything twice is not the transaction id but the key versions: two
envelopes made of the same items read the same versions of the keys they write, so at most one of
them can be VALID. That is why endorsing anew is safe whatever became of the first envelope.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import grpc
import orjson

from clearline.fabric.commit import Commit, CommitStatus
from clearline.fabric.contract import Contract
from clearline.fabric.errors import (
    DUPLICATE_TXID,
    CommitStatusError,
    EndorseError,
    SubmitError,
)
from clearline.fabric.queue_items import QueueItem, QueueLimits
from clearline.fabric.ready_queue import Entry
from clearline.fabric.store import QueueStore, StoredBatch, StoredItem, StoreError
from clearline.fabric.transaction import Transaction
from clearline.logs import get_logger

# unavailable: no fault of the batch. mismatch: endorsers disagree. refused: the contract or the
# orderer's door refuses it. conflict: another transaction was faster. invalid: any other code.
# expired: in no block within the bound.
Kind = Literal["unavailable", "mismatch", "refused", "conflict", "invalid", "expired"]

_MISMATCH = "ProposalResponsePayloads do not match"  # internal/pkg/gateway/endorsement.go
_CHAINCODE_ERROR = "chaincode response "  # internal/pkg/gateway/apiutils.go responseStatus
# Card data must not reach a transaction's arguments, so such an item fails its whole call
# (chaincode/contract/decision.py).
_CULPRIT = re.compile(r"chaincode response 4\d\d, card_data_refused: item ([0-9]{1,6})\b")
# A clock that is wrong, the submitter's or an endorser's, is no fault of the batch: the contract's
# server (chaincode/shim/stream.py) and the peer (core/handlers/auth/filter/timewindow.go).
_WRONG_CLOCK = (f"{_CHAINCODE_ERROR}400, timestamp_out_of_window:", "due to incorrect timestamp")
_TOO_SLOW = "timeout expired while executing transaction"  # core/chaincode/handler.go
_BAD_REQUEST = "status=BAD_REQUEST"  # internal/pkg/gateway/submit.go
_CONFLICTS = frozenset({11, 12})  # MVCC_READ_CONFLICT, PHANTOM_READ_CONFLICT
_UNSENT_STATUS_S = 1.0  # after a failed Submit a block is unlikely: don't wait long for one
_RETRY_S = 0.1
_LONGEST_RETRY_S = 1.0
_DUPLICATE_LOOKUPS = 3

_log = get_logger("clearline.fabric.queue")


@dataclass(frozen=True)
class Applied:
    """The batch is decided; outcomes in the items' order. block_number None: not ordered."""

    tx_id: str
    block_number: int | None
    outcomes: tuple[dict[str, object], ...]


@dataclass(frozen=True)
class NotApplied:
    """This attempt decided nothing, and what it left can do no harm to the next one.

    culprit: the place of the one item that it failed for, when the contract says so.
    """

    kind: Kind
    reason: str
    tx_id: str = ""
    culprit: int | None = None


Verdict = Applied | NotApplied


@dataclass
class BatchCounters:
    """What happened so far, for metrics."""

    endorsed: int = 0
    submitted: int = 0
    resubmitted: int = 0
    answered_unordered: int = 0


class BatchRunner:
    """Carries batches to their verdicts, one attempt at a time."""

    def __init__(self, contract: Contract, store: QueueStore, limits: QueueLimits) -> None:
        self._contract = contract
        self._store = store
        self._limits = limits
        self.counters = BatchCounters()

    async def run(self, entries: Sequence[Entry]) -> Verdict:
        """One new attempt for a non-empty batch of one function."""
        items = [entry.item for entry in entries]
        try:
            transaction = await self._endorse(items)
        except EndorseError as error:
            kind = classify_endorse(error)
            culprit = culprit_of(error) if kind == "refused" else None
            return NotApplied(kind, str(error), error.transaction_id, culprit)
        self.counters.endorsed += 1
        tx_id = transaction.transaction_id
        try:
            outcomes = parse_outcomes(transaction.result, len(items))
        except ValueError as error:
            return NotApplied("refused", str(error), tx_id)
        if not transaction.action.changes_ledger:
            self.counters.answered_unordered += 1
            return Applied(tx_id, None, outcomes)
        transaction.sign()
        new = [StoredItem(entry.item, entry.seq) for entry in entries if not entry.stored]
        batch = StoredBatch(
            tx_id, transaction.to_bytes(), tuple(item.item_id for item in items), time.time()
        )
        try:
            await self._store.put_batch(batch, new)
        except StoreError as error:
            return NotApplied("unavailable", str(error), tx_id)
        for entry in entries:
            entry.stored = True
        return await self._settle(transaction, outcomes, self._limits.resubmit_s, fresh=True)

    async def resume(self, batch: StoredBatch) -> Verdict:
        """What became of an envelope that an earlier process stored: the same bytes again."""
        try:
            transaction = self._contract.new_transaction(batch.prepared)
            outcomes = parse_outcomes(transaction.result, len(batch.item_ids))
        except ValueError as error:
            return NotApplied("invalid", str(error), batch.tx_id)
        # A clock that went back must not stretch the bound.
        age = max(0.0, time.time() - batch.stored_at)
        return await self._settle(transaction, outcomes, self._limits.resubmit_s - age, fresh=False)

    async def _endorse(self, items: Sequence[QueueItem]) -> Transaction:
        payloads = "[" + ",".join(item.payload for item in items) + "]"
        return await self._contract.new_proposal(items[0].function, (payloads,)).endorse()

    async def _settle(
        self,
        transaction: Transaction,
        outcomes: tuple[dict[str, object], ...],
        bound_s: float,
        *,
        fresh: bool,
    ) -> Verdict:
        """Submit the same bytes until their id is in a block or the bound has passed.

        fresh: no orderer can have this envelope yet, so that a refusal is final.
        """
        loop = asyncio.get_running_loop()
        tx_id = transaction.transaction_id
        end = loop.time() + bound_s
        pause = _RETRY_S
        while True:
            wait = self._limits.commit_status_s
            self.counters.submitted += 1
            try:
                await transaction.submit(deadline=self._limits.commit_status_s)
            except SubmitError as error:
                _log.warning("submit failed", extra=_fields(tx_id, error))
                if fresh and error.outcome == "not_applied":
                    return NotApplied(classify_submit(error), str(error), tx_id)
                wait = min(wait, _UNSENT_STATUS_S)
            fresh = False
            try:
                status = await _status(transaction.new_commit(), wait)
            except CommitStatusError as error:
                _log.warning("commit status unknown", extra=_fields(tx_id, error))
                if loop.time() >= end:
                    return NotApplied("expired", f"in no block within the bound: {error}", tx_id)
                if error.code is not grpc.StatusCode.DEADLINE_EXCEEDED:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _LONGEST_RETRY_S)
                self.counters.resubmitted += 1
                continue
            if status.successful:
                return Applied(tx_id, status.block_number, outcomes)
            return _invalid(status)


def parse_outcomes(payload: bytes, count: int) -> tuple[dict[str, object], ...]:
    """A contract's answer: a JSON list with an object for each of count items.

    Raises ValueError for anything else.
    """
    try:
        outcomes = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the contract's answer is not JSON: {error}") from error
    if not isinstance(outcomes, list) or not all(isinstance(o, dict) for o in outcomes):
        raise ValueError("the contract's answer is not a list of objects")
    if len(outcomes) != count:
        raise ValueError(f"the contract answered {len(outcomes)} outcomes for {count} items")
    return tuple(outcomes)


def classify_endorse(error: EndorseError) -> Kind:
    """Whether a failed endorsement is the batch's fault, the endorsers' or nobody's."""
    said = [error.message, *(detail.message for detail in error.details)]
    if any(_MISMATCH in text for text in said):
        return "mismatch"
    if any(words in text for text in said for words in _WRONG_CLOCK):
        return "unavailable"
    if any(text.startswith(_CHAINCODE_ERROR) or _TOO_SLOW in text for text in said):
        return "refused"
    if error.code is grpc.StatusCode.INVALID_ARGUMENT:
        return "refused"
    too_large = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in (
        error.message
    )
    return "refused" if too_large else "unavailable"


def culprit_of(error: EndorseError) -> int | None:
    """The place in the list of the item that the contract refuses the whole call for."""
    for text in (error.message, *(detail.message for detail in error.details)):
        found = _CULPRIT.search(text)
        if found is not None:
            return int(found[1])
    return None


def classify_submit(error: SubmitError) -> Kind:
    """Whether the orderer refused this batch (as too large) or would refuse any now."""
    return "refused" if _BAD_REQUEST in error.message else "unavailable"


async def _status(commit: Commit, deadline: float) -> CommitStatus:
    """The status of the first copy: a second copy of the same envelope is DUPLICATE_TXID."""
    status = await commit.status(deadline=deadline)
    for _ in range(_DUPLICATE_LOOKUPS):
        if status.code != DUPLICATE_TXID:
            break
        await asyncio.sleep(_RETRY_S)
        status = await commit.status(deadline=deadline)
    return status


def _invalid(status: CommitStatus) -> NotApplied:
    kind: Kind = "conflict" if status.code in _CONFLICTS else "invalid"
    reason = f"{status.code_name} in block {status.block_number}"
    _log.warning("transaction invalid", extra={"tx_id": status.transaction_id, "reason": reason})
    return NotApplied(kind, reason, status.transaction_id)


def _fields(tx_id: str, error: Exception) -> dict[str, object]:
    return {"tx_id": tx_id, "reason": str(error)}
