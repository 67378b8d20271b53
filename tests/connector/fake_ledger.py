"""A ledger in one SQLite file behind the connector's own protocols: blocks out, reports in.

Several processes may open it, so that a connector can be killed and the ledger looked at. What is
submitted is decided by the contract itself, one transaction a block.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaincode.contract.context import Role, Submitter, Transaction
from chaincode.contract.functions import FUNCTIONS, Writer
from clearline import canonical, records, reports
from clearline.codes import Outcome
from clearline.fabric.blocks import Block, BlockTransaction, Write
from clearline.fabric.blockstream import Position
from clearline.fabric.queue_items import ItemResult, QueueItem
from clearline.intents import PaymentKey
from clearline.jws import PublicKey
from clearline.records import Payment, payment_key
from clearline.refunds import Refund, RefundKey, refund_key
from clearline.statuses import Status
from connector.ledger import Ledger

CHAINCODE = "clearline"


@dataclass(frozen=True)
class Stored:
    """A transaction of a block."""

    code: int
    writes: tuple[tuple[str, bytes], ...]


class FakeLedger:
    """Both protocols at once: BlockSource from `start` on, and ReportQueue."""

    def __init__(self, path: Path, key: PublicKey) -> None:
        self._path = path
        self._key = key
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = OFF")  # processes are killed here, not machines
        self._db.executescript(
            "CREATE TABLE IF NOT EXISTS block (number INTEGER PRIMARY KEY, transactions TEXT);"
            "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB);"
        )
        self.start = 0
        self.submitted: list[str] = []

    def close(self) -> None:
        self._db.close()

    # what a network would do

    def append(self, *transactions: Stored) -> int:
        """One block; the writes of valid transactions become state."""
        self._db.execute("BEGIN IMMEDIATE")
        number = self._append(transactions)
        self._db.execute("COMMIT")
        return number

    def _append(self, transactions: Sequence[Stored]) -> int:
        number = self.tip() + 1
        for transaction in transactions:
            if transaction.code == 0:
                self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)",
                                     transaction.writes)  # fmt: skip
        text = json.dumps([[item.code, [[k, v.decode()] for k, v in item.writes]]
                           for item in transactions])  # fmt: skip
        self._db.execute("INSERT INTO block VALUES (?, ?)", (number, text))
        return number

    def tip(self) -> int:
        """The newest block's number, -1 for none."""
        return int(self._db.execute("SELECT coalesce(max(number), -1) FROM block").fetchone()[0])

    def payment(self, key: PaymentKey) -> Payment:
        """A payment as the ledger has it."""
        (value,) = self._db.execute("SELECT value FROM state WHERE key = ?",
                                    (payment_key(key),)).fetchone()  # fmt: skip
        return records.load(Payment, value)

    def payments(self) -> list[Payment]:
        """All payments."""
        rows = self._db.execute("SELECT value FROM state WHERE key LIKE 'payment/%' ORDER BY key")
        return [records.load(Payment, row[0]) for row in rows]

    def refund(self, key: RefundKey) -> Refund:
        """A refund as the ledger has it."""
        value = self._state(refund_key(key))
        assert value is not None, key
        return records.load(Refund, value)

    def refunds(self) -> list[Refund]:
        """All refunds."""
        rows = self._db.execute("SELECT value FROM state WHERE key LIKE 'refund/%' ORDER BY key")
        return [records.load(Refund, row[0]) for row in rows]

    def block(self, number: int) -> Block | None:
        """A block as a peer shows it."""
        row = self._db.execute("SELECT transactions FROM block WHERE number = ?",
                               (number,)).fetchone()  # fmt: skip
        if row is None:
            return None
        transactions = tuple(
            BlockTransaction(
                index=index,
                code=code,
                tx_id=f"tx-{number}-{index}",
                writes=tuple(Write(CHAINCODE, key, value.encode(), value == "")
                             for key, value in writes),
            )
            for index, (code, writes) in enumerate(json.loads(row[0]))
        )  # fmt: skip
        return Block(number, _hash(number - 1), b"", _hash(number), b"", transactions)

    async def until_final(self, keys: Sequence[PaymentKey], seconds: float = 15) -> None:
        """Wait until all these payments have ended."""
        async with asyncio.timeout(seconds):
            for key in keys:
                while not self.payment(key).final:  # noqa: ASYNC110 - another process's
                    await asyncio.sleep(0.02)

    async def until_refunded(self, keys: Sequence[RefundKey], seconds: float = 15) -> None:
        """Wait until all these refunds have ended."""
        async with asyncio.timeout(seconds):
            for key in keys:
                while not self.refund(key).final:  # noqa: ASYNC110 - another process's
                    await asyncio.sleep(0.02)

    async def until_status(self, key: PaymentKey, status: Status, seconds: float = 10) -> None:
        """Wait until a payment has this status."""
        async with asyncio.timeout(seconds):
            while self.payment(key).status != status:  # noqa: ASYNC110 - another process's
                await asyncio.sleep(0.01)

    # BlockSource

    async def __aiter__(self) -> AsyncIterator[Block]:
        number = self.start
        while True:
            block = self.block(number)
            if block is None:
                await asyncio.sleep(0.005)
                continue
            yield block
            number += 1

    async def done(self, block: Block) -> None:
        assert block.number >= self.start

    # ReportQueue

    async def submit(self, item: QueueItem) -> ItemResult:
        assert item.function == "SubmitReports"
        compact = json.loads(item.payload)["report"]
        signed = reports.parse_any(compact)
        self._key.verify(signed.token)
        written = [payment_key(signed.report.key)]
        if signed.report.refund_no:
            written.insert(0, refund_key(signed.report.refund_key))
        assert item.keys == tuple(written)
        self.submitted.append(compact)
        await asyncio.sleep(0)
        (outcome,) = self.call("SubmitReports", [json.loads(item.payload)], Role.CONNECTOR)
        return ItemResult(item.item_id, outcome.to_json(), outcome.tx_id, self.tip())

    # the contract

    def call(self, name: str, items: Sequence[Any], role: Role) -> tuple[Outcome, ...]:
        """One transaction, decided by the contract and committed in a block of its own."""
        writer = FUNCTIONS[name]
        assert isinstance(writer, Writer)
        batch = writer.batch(canonical.dumps(list(items)))
        self._db.execute("BEGIN IMMEDIATE")
        try:
            committed: dict[str, bytes | None] = {}
            while missing := batch.missing(committed):
                committed |= {key: self._state(key) for key in missing}
            number = self.tip() + 1
            submitter = Submitter("BankOne", role, f"person-{role}")
            transaction = Transaction(
                f"tx-{number}-0", datetime.now(UTC), "clearline-dev", submitter
            )
            decision = batch.decide(transaction, committed)
            if decision.writes:
                self._append([Stored(0, tuple(decision.writes))])
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        return decision.outcomes

    async def evaluate(self, name: str, *args: bytes | str) -> bytes:
        """connector.takeover.Contract: a record by kind and id."""
        assert name == "GetRecords"
        return json.dumps([self.record(*key) for key in json.loads(args[0])]).encode()

    async def submit_call(self, name: str, *args: bytes | str) -> bytes:
        """connector.takeover.Contract: a transaction of a connector."""
        outcomes = self.call(name, json.loads(args[0]), Role.CONNECTOR)
        return json.dumps([outcome.to_json() for outcome in outcomes]).encode()

    def forge_close(self, key: PaymentKey) -> None:
        """What two lying banks could put there: a close that is signed by nobody."""
        payment = self.payment(key)
        tx_id = f"tx-{self.tip() + 1}-0"
        forged = replace(payment, close=payment.intent, close_tx=tx_id, txs=[*payment.txs, tx_id])
        self.append(Stored(0, ((payment_key(key), records.dump(forged)),)))

    def _state(self, key: str) -> bytes | None:
        row = self._db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return bytes(row[0]) if row else None

    def record(self, kind: records.Kind, record_id: str) -> Any:
        """A record as JSON, None when there is none."""
        value = self._state(records.record_key(kind, record_id))
        return None if value is None else json.loads(value)

    # what a Connector is given

    @asynccontextmanager
    async def opened(self, position: Position | None) -> AsyncIterator[Ledger]:
        """An OpenLedger."""
        self.start = 0 if position is None else position.block + 1
        yield Ledger(self, self, self.tip(), Called(self))


@dataclass
class Called:
    """connector.takeover.Contract over the ledger."""

    ledger: FakeLedger

    async def evaluate(self, name: str, *args: bytes | str) -> bytes:
        return await self.ledger.evaluate(name, *args)

    async def submit(self, name: str, *args: bytes | str) -> bytes:
        return await self.ledger.submit_call(name, *args)


def _hash(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()
