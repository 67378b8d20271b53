"""Intents in, what became of each out: admission, committer, projection. One way for a single
intent and for a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from clearline import times
from clearline.answers import PaymentAnswer
from clearline.cards import redact
from clearline.codes import Code, Refusal
from clearline.intents import CloseIntent, PaymentKey
from clearline.statuses import Status
from gateway import door
from gateway.courier import Courier
from gateway.crowding import Crowding
from gateway.door import Admitted, Known, Verified
from gateway.messages import State, Submit, Submitted, Until
from gateway.reader import Reader, Snapshot, received_answer, requested_answer
from gateway.routing import Judge, Unavailable

RECEIVED_STATUS = 202


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of one intent: its HTTP status; the payment, or the code and detail of a
    refusal. `code` is None for an intent that is received and not decided. `limits`: what the
    committer, or an acquirer that is behind, said of rates and pauses."""

    status: int
    code: Code | None
    detail: str = ""
    payment: PaymentAnswer | None = None
    limits: Submitted | None = None


class Intake:
    """Safe to use from many threads."""

    def __init__(
        self,
        network: str,
        reader: Reader,
        courier: Courier,
        judge: Judge,
        crowding: Crowding,
        longest: int,
    ) -> None:
        """`longest`: characters of one intent."""
        self._judge = judge
        self._crowding = crowding
        self._network = network
        self._reader = reader
        self._courier = courier
        self._longest = longest

    def take(self, compacts: Sequence[object], until: Until, wait: float) -> list[Entry]:
        """What became of each, in order; one that is refused spoils no other.

        Raises Refusal `ledger_unavailable` when nobody can say what became of them.
        """
        entries: dict[int, Entry] = {}
        admitted: dict[int, Admitted] = {}
        with self._reader.snapshot() as snapshot:
            verified: dict[int, Verified] = {}
            for place, compact in enumerate(compacts):
                try:
                    verified[place] = self._verify(compact, snapshot)
                except Refusal as refusal:
                    entries[place] = _refused(refusal)
            before = snapshot.payments([item.intent.key for item in verified.values()])
            today = times.now()[:10]
            for place, item in verified.items():
                payment = before.get(item.intent.key)
                try:
                    found = door.admit(item, payment, snapshot.acquirer, self._judge, today)
                except Refusal as refusal:
                    entries[place] = _refused(refusal)
                    continue
                if isinstance(found, Known):
                    entries[place] = _taken(Code.DUPLICATE, found.answer)
                else:
                    admitted[place] = found
        if admitted:
            submissions = tuple(item.submission for item in admitted.values())
            answers = self._courier.submit(Submit(submissions, until, wait))
            entries |= self._entries(admitted, answers)
        return [entries[place] for place in range(len(compacts))]

    def _entries(
        self, admitted: Mapping[int, Admitted], answers: Sequence[Submitted]
    ) -> dict[int, Entry]:
        """What became of what the committer was asked for, by place."""
        entries: dict[int, Entry] = {}
        to_read: dict[int, Submitted] = {}
        for (place, item), answer in zip(admitted.items(), answers, strict=True):
            known = _known(item, answer)
            if known is None:
                to_read[place] = answer
            else:
                entries[place] = known
        if to_read:
            with self._reader.snapshot() as snapshot:
                for place, answer in to_read.items():
                    entries[place] = _read(admitted[place], answer, snapshot)
        seen: set[str] = set()
        for place, item in admitted.items():
            if entries[place].code is Code.OK and item.submission.item_id in seen:
                # The same intent stands earlier in this batch: that one took effect.
                entries[place] = replace(entries[place], code=Code.DUPLICATE, status=200)
            seen.add(item.submission.item_id)
        return entries

    def _verify(self, compact: object, snapshot: Snapshot) -> Verified:
        if not isinstance(compact, str | bytes):
            raise Refusal(Code.MALFORMED, "an intent is a JWS compact text")
        if (crowded := self._crowding.refusal(compact, snapshot)) is not None:
            raise crowded
        if len(compact) > self._longest:
            raise Refusal(Code.PAYLOAD_TOO_LARGE, f"an intent has at most {self._longest} bytes")
        return door.verify(compact, self._network, snapshot)


def _known(item: Admitted, answer: Submitted) -> Entry | None:
    """What the committer's answer says by itself; None when the projection must be read."""
    if answer.state is State.REFUSED:
        code = answer.code or Code.LEDGER_UNAVAILABLE
        return Entry(code.http_status, code, redact(answer.detail), limits=answer)
    if isinstance(item.intent, CloseIntent):
        return None  # what is told of it is the payment
    if answer.state is State.RECEIVED:
        submission = item.submission
        return Entry(
            RECEIVED_STATUS,
            None,
            payment=received_answer(
                item.intent, submission.intent_digest, submission.acquirer_id, answer.receipt
            ),
            limits=answer,
        )
    if answer.state is State.COMMITTED and answer.status == Status.REQUESTED:
        payment = requested_answer(
            item.intent,
            item.submission.intent_digest,
            answer.acquirer_id,
            answer.tx_id,
            answer.block_number,
        )
        return _taken(Code.OK, payment, answer)
    return None


def _read(item: Admitted, answer: Submitted, snapshot: Snapshot) -> Entry:
    key = item.intent.key
    payment = snapshot.payment(key)
    if answer.state is State.RECEIVED:
        return _close_received(item, answer, payment or _held(key, snapshot))
    if payment is None:  # the committer answers when the projection has it
        raise Refusal(Code.LEDGER_UNAVAILABLE, "the payment is committed and not yet readable")
    return _taken(Code.OK if answer.state is State.COMMITTED else Code.DUPLICATE, payment, answer)


def _close_received(item: Admitted, answer: Submitted, payment: PaymentAnswer | None) -> Entry:
    """A close that is stored here: the payment as it is, with the close's receipt."""
    if payment is None:
        detail = f"the close is stored here, and {item.submission.key} is not to be seen yet"
        return Entry(Code.LEDGER_UNAVAILABLE.http_status, Code.LEDGER_UNAVAILABLE, detail)
    held = replace(payment, receipt=answer.receipt)
    return Entry(RECEIVED_STATUS, None, payment=held, limits=answer)


def _held(key: PaymentKey, snapshot: Snapshot) -> PaymentAnswer | None:
    received = snapshot.received(key.merchant_id, key.order_no, key.attempt)
    return None if received is None or received.refusal is not None else received.answer


def _taken(code: Code, payment: PaymentAnswer, limits: Submitted | None = None) -> Entry:
    return Entry(code.http_status, code, payment=payment, limits=limits)


def _refused(refusal: Refusal) -> Entry:
    code, detail = refusal.code, redact(refusal.detail)
    limits = None
    if isinstance(refusal, Unavailable):
        limits = Submitted(State.REFUSED, code, detail, retry_after=refusal.retry_after)
    return Entry(code.http_status, code, detail, limits=limits)
