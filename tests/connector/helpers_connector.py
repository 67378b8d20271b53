"""A merchant, an acquirer's record, requests on a fake ledger, a connector over them."""

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benches import NETWORK, UNIONPAY, Bench
from fake_ledger import FakeLedger, Stored
from samples import INTENT

from acquirers.unionpay_iso8583.book import Entry as BookEntry
from acquirers.unionpay_iso8583.book import read_entries
from chaincode.contract.context import Role
from clearline import intents, jws, records, refunds, times
from clearline.intents import CloseIntent, PayIntent, PaymentKey, Route
from clearline.jws import KeySigner
from clearline.records import Acquirer, KeyRecord, Merchant, MerchantCode, Payment
from clearline.refunds import RefundIntent, RefundKey
from clearline.reports import acquirer_reference
from connector import outbox
from connector.adapter import Adapter
from connector.database import FORMAT
from connector.lease import Candidate
from connector.service import Connector, Parts
from connector.unionpay_iso8583.adapter import Timing, UnionPayAdapter, load_partner
from connector.verification import Place
from connector.watcher import Pace

PLACE = Place(INTENT.network, "unionpay")
CHILD = Path(__file__).with_name("connector_child.py")
CODE = INTENT.acquirers[0].merchant_code
PATIENT = Timing()


def key_record(signer: KeySigner, status: str = "active") -> KeyRecord:
    """The ledger's record of a signer's key."""
    return KeyRecord(signer.algorithm.value, signer.jwk, status)


@dataclass
class World:
    """Keys and records; `folder` keeps everything a killed connector must find again."""

    folder: Path
    merchant_signer: KeySigner
    bank_signer: KeySigner
    bench: Bench = UNIONPAY

    @property
    def place(self) -> Place:
        """Where its connectors stand."""
        return Place(NETWORK, self.bench.acquirer_id)

    @classmethod
    def make(cls, folder: Path, bench: Bench = UNIONPAY) -> "World":
        """In a new folder, or with the keys of one that was made before."""
        paths = [folder / "merchant.pem", folder / "bank.pem"]
        if not paths[0].exists():
            for path in paths:
                KeySigner.generate().save(path)
        merchant_signer, bank_signer = (KeySigner.load(path) for path in paths)
        return cls(folder, merchant_signer, bank_signer, bench)

    def ledger(self) -> FakeLedger:
        """The ledger in this folder."""
        algorithm = self.bank_signer.algorithm
        return FakeLedger(
            self.folder / "ledger.db", jws.public_key(self.bank_signer.jwk, algorithm)
        )

    def merchant(self, **changes: Any) -> Merchant:
        """The merchant's record."""
        keys = {self.merchant_signer.key_id: key_record(self.merchant_signer)}
        return replace(
            Merchant(
                INTENT.merchant_id, "E-1", "a" * 64, "Shop", "5411", ["groceries"],
                {self.bench.acquirer_id: [self.bench.merchant_code]}, keys, "active", "BankOne",
            ),
            **changes,
        )  # fmt: skip

    def acquirer(self, **changes: Any) -> Acquirer:
        """The acquirer's record."""
        keys = {self.bank_signer.key_id: key_record(self.bank_signer)}
        return replace(
            Acquirer(
                self.bench.acquirer_id,
                "Acquirer",
                "BankOne",
                ["CNY"],
                "L-1",
                "2099-12-31",
                keys,
                "active",
            ),
            **changes,
        )

    def registered(self) -> Stored:
        """The transaction that registers all of them."""
        merchant, acquirer = self.merchant(), self.acquirer()
        code = MerchantCode(self.bench.acquirer_id, self.bench.merchant_code, merchant.merchant_id)
        return Stored(0, (record_of(merchant), record_of(acquirer), record_of(code)))

    def intent(self, number: int, token: str = "tok_approve", **changes: Any) -> PayIntent:
        """An intent that was created now and lives for an hour."""
        now = datetime.now(UTC)
        return replace(
            INTENT,
            order_no=f"order-{number:05d}",
            acquirers=(Route(self.bench.acquirer_id, self.bench.merchant_code, token),),
            created=times.render(now),
            expires_at=times.render(now + timedelta(hours=1)),
            **changes,
        )

    def payment(self, intent: PayIntent, /, **changes: Any) -> Payment:
        """The ledger's record of a request."""
        return replace(
            Payment(
                *intent.key, "requested", self.bench.acquirer_id, self.bench.merchant_code,
                intent.amount, intent.currency,
                intents.sign(intent, self.merchant_signer), intent.digest(), intent.expires_at,
                "BankOne", intent.created,
            ),
            **changes,
        )  # fmt: skip

    def request(self, ledger: FakeLedger, *intents_: PayIntent) -> list[PaymentKey]:
        """Put requests on the ledger, in one block."""
        writes = tuple(record_of(self.payment(intent)) for intent in intents_)
        ledger.append(Stored(0, writes))
        return [intent.key for intent in intents_]

    def close(self, ledger: FakeLedger, key: PaymentKey) -> None:
        """The merchant closes a payment."""
        intent = CloseIntent(NETWORK, *key, times.now())
        item = {"intent": intents.sign(intent, self.merchant_signer)}
        (outcome,) = ledger.call("SubmitIntents", [item], Role.GATEWAY)
        assert outcome.code.taken, outcome

    def refund(
        self, ledger: FakeLedger, key: PaymentKey, amount: int, refund_no: int = 1
    ) -> RefundKey:
        """The merchant asks for a refund."""
        now = times.now()
        intent = RefundIntent(NETWORK, *key, refund_no, amount, "CNY", now, times.after(now, 3600))
        item = {"intent": refunds.sign(intent, self.merchant_signer)}
        (outcome,) = ledger.call("SubmitIntents", [item], Role.GATEWAY)
        assert outcome.code.taken, outcome
        return intent.key

    def parts(self, ledger: FakeLedger, adapter: Adapter, **changes: Any) -> Parts:
        """What a connector over this ledger is made of."""
        parts = Parts(
            place=self.place,
            chaincode="clearline",
            outbox=self.folder / "connector" / "outbox.db",
            adapter=adapter,
            signer=self.bank_signer,
            open_ledger=ledger.opened,
            stop_seconds=3.0,
            recovery_seconds=5.0,
            pace=Pace(first=0.3, longest=0.6),
            ready_file=self.folder / "ready",
            standby_file=self.folder / "standby",
        )
        return self._known(replace(parts, **changes))

    def named(self, parts: Parts, name: str, stands_by: str = "") -> Parts:
        """One of several connectors of the acquirer, with an outbox and files of its own."""
        home = self.folder / name
        named = replace(
            parts,
            outbox=home / "outbox.db",
            candidate=Candidate(name, stands_by=bool(stands_by)),
            ready_file=self.folder / f"ready-{name}",
            standby_file=self.folder / f"standby-{name}",
        )
        return self._known(named)

    def _known(self, parts: Parts) -> Parts:
        """With an outbox that was there before anything else, and so knows that nothing was sent;
        one that is lost later is not made again here."""
        folder = parts.outbox.parent
        if not folder.exists():
            folder.mkdir(parents=True)
            with closing(sqlite3.connect(parts.outbox)) as db, db:
                db.executescript(outbox.SCHEMA)
                db.execute(f"PRAGMA user_version = {FORMAT}")
                outbox.put_meta(db, "network", self.place.network)
                outbox.put_meta(db, "acquirer_id", self.place.acquirer_id)
        return parts

    def adapter(self, timing: Timing | None = None) -> Adapter:
        """To the acquirer that runs in this folder; `timing` of unionpay only."""
        if timing is None:
            return self.bench.adapter(self.folder)
        partner = load_partner(self.folder / "unionpay" / "partner.json")
        return UnionPayAdapter(partner, timing)

    def book(self) -> dict[str, BookEntry]:
        """The acquirer's book by reference."""
        folder = self.folder / "unionpay" / "data"
        return {item.reference: item for item in read_entries(folder / "book.db")}

    def booked(self, key: PaymentKey) -> BookEntry | None:
        """What the acquirer's book says of a payment."""
        return self.book().get(acquirer_reference(key, PLACE.network))


def setup(folder: Path, bench: Bench) -> tuple[World, FakeLedger]:
    """A world and its ledger, with merchant and acquirer registered."""
    world = World.make(folder, bench)
    ledger = world.ledger()
    ledger.append(world.registered())
    return world, ledger


def record_of(record: Any) -> tuple[str, bytes]:
    """Ledger key and bytes of a record."""
    if isinstance(record, Payment):
        key = records.payment_key(record.key)
    elif isinstance(record, MerchantCode):
        key = records.merchant_code_key(record.acquirer_id, record.code)
    elif isinstance(record, Merchant):
        key = records.record_key(records.Kind.MERCHANT, record.merchant_id)
    else:
        key = records.record_key(records.Kind.ACQUIRER, record.acquirer_id)
    return key, records.dump(record)


@asynccontextmanager
async def connected(parts: Parts) -> AsyncIterator[asyncio.Task[None]]:
    """A connector that runs, and is stopped in order afterwards."""
    stop = asyncio.Event()
    task = asyncio.create_task(Connector(parts).run(stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(15):
            await task


@asynccontextmanager
async def child(world: World, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A connector in a process of its own; killed at the end."""
    paths = os.pathsep.join([str(CHILD.parent), str(CHILD.parent.parent / "support")])
    words = [str(CHILD), str(world.folder), "never", world.bench.acquirer_id, name]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, env={"PYTHONPATH": paths}
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def child_dying(world: World, point: str) -> asyncio.subprocess.Process:
    """A connector over this world's files that dies at `point`."""
    paths = os.pathsep.join([str(CHILD.parent), str(CHILD.parent.parent / "support")])
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        str(world.folder),
        point,
        world.bench.acquirer_id,
        env={"PYTHONPATH": paths},
    )


async def ended(process: asyncio.subprocess.Process) -> int:
    """Its exit code; one that does not end is killed, and the test with it."""
    try:
        async with asyncio.timeout(15):
            return await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise


def soon() -> str:
    """An `expires_at` that a machine with other work, too, forwards before."""
    return times.after(times.now(), 2)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - another process's
            await asyncio.sleep(0.01)


def agree(world: World, ledger: FakeLedger) -> None:
    """Ledger and acquirer's book tell one story, and no money moved twice."""
    book = world.bench.book(world.folder)
    for payment in ledger.payments():
        assert [entry[0] for entry in payment.reports] == list(range(1, len(payment.reports) + 1))
        booked = book.get(acquirer_reference(payment.key, NETWORK))
        if payment.final:
            paid = 0 if booked is None else booked.charges - booked.reversals
            assert paid == (1 if payment.status == "succeeded" else 0), payment
    given: dict[str, int] = {}
    returned = world.bench.refunds(world.folder) if book else {}
    for refund in ledger.refunds():
        found = returned.get(refunds.reference(refund.key, NETWORK))
        if refund.final:
            paid_back = 0 if found is None else found.given
            assert paid_back == (refund.amount if refund.status == "succeeded" else 0), refund
    for one in returned.values():
        given[one.original] = given.get(one.original, 0) + one.given
    for payment in ledger.payments():
        if payment.status == "succeeded" and all(refund.final for refund in ledger.refunds()):
            reference = acquirer_reference(payment.key, NETWORK)
            assert payment.refunded_amount == given.get(reference, 0) <= payment.amount
    for item in book.values():
        assert item.requests_seen <= 1, item
        assert item.charges - item.reversals in (0, 1)
