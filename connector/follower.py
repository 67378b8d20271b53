"""Follows the own peer's blocks: what is newly requested of this acquirer enters the outbox.

Effects of a block and its position are stored in one transaction, so the checkpoint can neither
run ahead of them nor fall behind.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from functools import partial

from clearline import intents, records, times
from clearline.codes import Code, Refusal
from clearline.fabric.blocks import Block, Write
from clearline.fabric.blockstream import Position
from clearline.intents import PayIntent
from clearline.logs import get_logger
from clearline.records import Kind, Payment
from clearline.reports import acquirer_reference
from clearline.statuses import Reason, Status
from connector import memory, outbox, refunding
from connector.adapter import Order
from connector.database import Database
from connector.entries import Ending, Entry, Said, SeenPayment, Telling
from connector.lease import Candidate, Claims, Standing
from connector.ledger import BlockSource
from connector.projection import Projection
from connector.states import Phase
from connector.verification import ACTIVE, Place, verify, verify_close

_log = get_logger("connector.follower")
_A_LINE = 100  # payments
_BLOCK, _HASH = "block", "header_hash"
_PAYMENTS = f"{Kind.PAYMENT}/"


@dataclass(slots=True)
class Effects:
    """What a block means for this connector; `now` is when it was taken."""

    now: str
    records: list[tuple[str, bytes]] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    seen: list[SeenPayment] = field(default_factory=list)
    closes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a block left to do: payments that are new to the outbox, and those to be closed."""

    added: list[Entry] = field(default_factory=list)
    closing: list[Entry] = field(default_factory=list)


class StoredPosition:
    """The follower's checkpoint: it lies beside the effects and moves with them (BlockCheckpoint
    of clearline.fabric.blockstream)."""

    def __init__(self, position: Position | None) -> None:
        self._position = position

    def load(self) -> Position | None:
        """The position found at the start."""
        return self._position

    def save(self, position: Position) -> None:
        """Stored already, with the effects of its block."""


def stored_position(db: sqlite3.Connection) -> Position | None:
    """The last block whose effects are stored; None to begin with the first.

    A torn checkpoint is a lost one: the effects say what was done, so every block may come again.
    """
    number, header_hash = outbox.get_meta(db, _BLOCK), outbox.get_meta(db, _HASH)
    if number is None and header_hash is None:
        return None
    if not number or not number.isdecimal() or not header_hash:
        _log.warning("the checkpoint is torn: every block is read again",
                     extra={"block": number, "header_hash": header_hash})  # fmt: skip
        return None
    return Position(int(number), header_hash)


class Follower:
    """Takes blocks; `tip` is the newest block at the start, `caught_up` is set once it is done.

    `gate` is set while the ledger lists our signing key for our acquirer: what can't be reported
    must not be forwarded. `standing` says under which epoch to act, and which to take first.
    """

    def __init__(
        self,
        database: Database,
        projection: Projection,
        place: Place,
        chaincode: str,
        key_id: str,
        candidate: Candidate,
        claims: Claims,
    ) -> None:
        self._database = database
        self._projection = projection
        self._place = place
        self._chaincode = chaincode
        self._key_id = key_id
        # Records are canonical JSON, so that one without this text is not ours, unparsed.
        self._ours = f'"acquirer_id":"{place.acquirer_id}"'.encode()
        self._candidate = candidate
        self._claims = claims
        self._forgot: int | None = None
        self._is_new = False
        self.standing = Standing(None)
        self.gate = asyncio.Event()
        self.caught_up = asyncio.Event()
        self._look_at_key()
        self._look_at_lease()

    async def follow(self, blocks: BlockSource, tip: int) -> AsyncIterator[Taken]:
        """Take blocks for ever; yields what each one left to do, and first what was stored."""
        position = await self._database.run(stored_position)
        if await self._database.run(partial(outbox.get_meta, name=memory.STOOD_BY)):
            # Others have acted on what lies here as pending: only a takeover makes it ours.
            self._candidate = replace(self._candidate, stands_by=True)
        self._forgot = await self._database.run(memory.forgotten_epoch)
        self._is_new = await self._database.run(memory.is_new)
        self._look_at_lease()
        await self._database.run(partial(_stand, epoch=self.standing.epoch))
        await self._reached(-1 if position is None else position.block, tip)
        yield Taken()
        async for block in blocks:
            taken = await self.take(block)
            await blocks.done(block)
            await self._reached(block.number, tip)
            yield taken

    async def take(self, block: Block) -> Taken:
        """Store what a block means."""
        effects = Effects(times.now())
        for transaction in block.transactions:
            if not transaction.is_valid:
                continue
            heard = len(effects.entries)
            for write in transaction.writes:
                if write.namespace == self._chaincode:
                    self._consider(write, effects)
            if self.caught_up.is_set() and len(effects.entries) > heard:
                _say_heard(effects.entries[heard:], transaction.tx_id, block.number)
        self._look_at_key()
        self._look_at_lease()
        position = Position(block.number, block.header_hash.hex())
        store = partial(_store, effects=effects, position=position, epoch=self.standing.epoch)
        return await self._database.run(store)

    def _consider(self, write: Write, effects: Effects) -> None:
        if self._projection.apply(write):
            effects.records.append((write.key, write.value))
            return
        if self._ours not in write.value:
            return
        if write.key.startswith(refunding.PREFIX):
            self._consider_refund(write, effects)
        elif write.key.startswith(_PAYMENTS):
            self._consider_payment(write, effects)

    def _consider_refund(self, write: Write, effects: Effects) -> None:
        found = refunding.found(write.key, write.value, self._place, self._projection, effects.now)
        if isinstance(found, Entry):
            effects.entries.append(found)
        elif found is not None:
            effects.seen.append(found)

    def _consider_payment(self, write: Write, effects: Effects) -> None:
        try:
            payment = records.load(Payment, write.value)
            status = Status(payment.status)
        except ValueError as error:
            _log.error("not a payment", extra={"key": write.key, "reason": str(error)})
            return
        if payment.acquirer_id != self._place.acquirer_id:
            return
        if payment.reports:
            unknown_here = partial(self._forgotten, write.key, payment)
            seen = SeenPayment(write.key, status, payment.sequence, payment.excepted, unknown_here)
            effects.seen.append(seen)
        elif status is Status.REQUESTED:
            effects.entries.append(self._requested(write.key, payment, effects.now))
        if payment.close and payment.close_tx in payment.txs[-1:]:
            self._consider_close(write.key, payment, effects)

    def _consider_close(self, key: str, payment: Payment, effects: Effects) -> None:
        try:
            verify_close(payment, self._place, self._projection)
        except Refusal as refusal:
            _log.error(
                "a close that is not the merchant's",
                extra={"payment": str(payment.key), "code": refusal.code, "why": refusal.detail},
            )
        else:
            effects.closes.append(key)

    def _requested(self, key: str, payment: Payment, now: str) -> Entry:
        """A request: pending, or with its end already when it is not to be forwarded."""
        try:
            verified = verify(key, payment, self._place, self._projection, now)
        except Refusal as refusal:
            if refusal.code is Code.EXPIRED:
                # The forwarder ends it, once the ledger agrees that it is that late.
                return self._entry(key, payment, _readable(payment), Phase.PENDING)
            _log.warning(
                "not forwarded",
                extra={"payment": str(payment.key), "code": refusal.code, "why": refusal.detail},
            )
            ending = Ending(Status.DECLINED, Reason.REFUSED_BY_CONNECTOR, ended_at=now)
            entry = self._entry(key, payment, _readable(payment), Phase.ANSWERED)
            return replace(entry, said={Telling.RESULT: Said(ending)})
        return self._entry(key, payment, verified.intent, Phase.PENDING)

    def _forgotten(self, key: str, payment: Payment) -> Entry:
        """A payment that another self reported on: while it is open it may have been charged."""
        intent = _readable(payment)
        if payment.excepted:
            entry = self._entry(key, payment, intent, Phase.LATE)
            return replace(entry, said={Telling.LATE: Said(_late_ending(payment))})
        if payment.final:
            return self._entry(key, payment, intent, Phase.REPORTED)
        entry = self._entry(key, payment, intent, Phase.DOUBTFUL)
        return replace(entry, doubt=Reason.CONNECTION_LOST)

    def _entry(self, key: str, payment: Payment, intent: PayIntent | None, phase: Phase) -> Entry:
        """The outbox's view of a payment; without an intent its order holds what the record says,
        enough for reports and reversals."""
        route = intent.route(self._place.acquirer_id) if intent is not None else None
        order = Order(
            reference=acquirer_reference(payment.key, self._place.network),
            amount=payment.amount,
            currency=payment.currency,
            merchant_code=payment.merchant_code,
            payer_token=route.payer_token if route is not None else "",
            mcc=intent.mcc if intent is not None else "",
            terminal=intent.terminal if intent is not None else "",
            product=intent.product if intent is not None else "",
            expires_at=payment.expires_at,
        )
        return Entry(
            key=key,
            payment=payment.key,
            phase=phase,
            intent_digest=payment.intent_digest,
            expires_at=payment.expires_at,
            order=order,
            ledger_status=payment.status,
            ledger_sequence=payment.sequence,
            excepted=int(payment.excepted),
        )

    def _look_at_key(self) -> None:
        acquirer = self._projection.acquirer(self._place.acquirer_id)
        key = acquirer.keys.get(self._key_id) if acquirer is not None else None
        if key is not None and key.status == ACTIVE:
            self.gate.set()
            return
        if self.gate.is_set():
            _log.error("our signing key is not active on the ledger: forwarding stops")
        self.gate.clear()

    def _look_at_lease(self) -> None:
        lease = self._projection.lease(self._place.acquirer_id)
        standing = self._candidate.standing(lease, self._claims.read(), self._forgot)
        if standing.epoch != self.standing.epoch and lease is not None:
            _log.warning("the lease", extra={"epoch": lease.epoch, "holder": lease.holder,
                                             "ours": standing.epoch is not None})  # fmt: skip
        self.standing = standing

    async def _look_back(self) -> None:
        """Level with the ledger for the first time: from here on nobody acts unknown to it."""
        if not self._is_new or self._projection.acquirer(self._place.acquirer_id) is None:
            return
        lease = self._projection.lease(self._place.acquirer_id)
        epoch = lease.epoch if lease is not None else 0
        await self._database.run(partial(memory.look_back, epoch=epoch))
        self._forgot, self._is_new = epoch, False
        self._look_at_lease()

    async def _reached(self, number: int, tip: int) -> None:
        if number < tip:
            return
        await self._look_back()
        if self.caught_up.is_set():
            return
        doubted = await self._database.run(memory.leave_amnesia)
        if doubted:
            _log.error("the outbox has lost its memory: nothing pending is proved unsent",
                       extra={"payments": doubted})  # fmt: skip
        self.caught_up.set()
        _log.info("caught up", extra={"block": number})


def _late_ending(payment: Payment) -> Ending:
    """The success after its end that another self or connector has reported."""
    paid = next(one for one in payment.exceptions if one["status"] == "open")
    amount, currency = paid["amount"], paid["currency"]
    return Ending(Status.SUCCEEDED, Reason.OTHER, amount=amount, currency=currency)


def _readable(payment: Payment) -> PayIntent | None:
    """What the merchant asked for, as far as it can be read: not verified."""
    try:
        return intents.parse(payment.intent).intent
    except Refusal:
        return None


def _store(
    db: sqlite3.Connection, effects: Effects, position: Position, epoch: int | None
) -> Taken:
    outbox.put_records(db, effects.records)
    added = [entry for entry in effects.entries if outbox.insert(db, entry)]
    if [item for item in effects.seen if memory.see(db, item)]:
        memory.remember_amnesia(db)
    if _stand(db, epoch):
        # What the predecessor may have seen too is in doubt, this block's requests included, and
        # is then not closed as never sent: so the closes come after.
        added = []
    asked = [outbox.ask_close(db, key, Reason.CLOSED_BY_MERCHANT) for key in effects.closes]
    outbox.put_meta(db, _BLOCK, str(position.block))
    outbox.put_meta(db, _HASH, position.header_hash)
    return Taken(added, [entry for entry in asked if entry is not None])


def _stand(db: sqlite3.Connection, epoch: int | None) -> bool:
    """Note under which epoch this connector acts; whether it has just taken over."""
    stored = outbox.get_meta(db, memory.EPOCH) or "0"
    if epoch is None:
        outbox.put_meta(db, memory.STOOD_BY, "1")
        return False
    if str(epoch) == stored:
        return False
    doubtful = memory.take_over(db, epoch)
    _log.warning("took over", extra={"epoch": epoch, "in_doubt": doubtful})
    return True


def _say_heard(entries: list[Entry], tx_id: str, block_number: int) -> None:
    """A line a transaction: see clearline.fabric.queue_log."""
    for first in range(0, len(entries), _A_LINE):
        names = [str(entry.payment) for entry in entries[first : first + _A_LINE]]
        _log.info("requested", extra={"tx_id": tx_id, "block": block_number, "payments": names})
