"""A ledger in one SQLite file behind the connector's own protocols: blocks out, reports in.

Several processes may open it, so that a connector can be killed and the ledger looked at. It
checks reports as the contract does, as far as a connector can get it wrong.
"""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from clearline import records, reports
from clearline.codes import Code, Outcome
from clearline.fabric.blocks import Block, BlockTransaction, Write
from clearline.fabric.blockstream import Position
from clearline.fabric.queue_items import ItemResult, QueueItem
from clearline.intents import PaymentKey
from clearline.jws import PublicKey
from clearline.records import Payment, payment_key
from clearline.reports import Report
from clearline.statuses import ReportKind, Status, may_follow
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
        compact = json.loads(item.payload)
        signed = reports.parse(compact)
        self._key.verify(signed.token)
        assert item.keys == (payment_key(signed.report.key),)
        self.submitted.append(compact)
        await asyncio.sleep(0)
        self._db.execute("BEGIN IMMEDIATE")
        payment = self.payment(signed.report.key)
        code = judge(payment, signed.report)
        number: int | None = None
        if code is Code.OK:
            payment = applied(payment, signed.report, compact)
            write = (payment_key(payment.key), records.dump(payment))
            number = self._append([Stored(0, (write,))])
        self._db.execute("COMMIT")
        outcome = Outcome(code, signed.report.key, payment.status)
        return ItemResult(item.item_id, outcome.to_json(), f"tx-{number}", number)

    # what a Connector is given

    @asynccontextmanager
    async def opened(self, position: Position | None) -> AsyncIterator[Ledger]:
        """An OpenLedger."""
        self.start = 0 if position is None else position.block + 1
        yield Ledger(self, self, self.tip())


def judge(payment: Payment, report: Report) -> Code:
    """As chaincode/contract/reports.py, checks 10 to 17."""
    digests = {entry[0]: entry[3] for entry in payment.reports}
    if digests.get(report.sequence) == report.digest():
        return Code.DUPLICATE
    if report.intent_digest != payment.intent_digest:
        return Code.INTENT_MISMATCH
    if report.sequence in digests:
        return Code.EQUIVOCATION
    if report.sequence != payment.sequence + 1:
        return Code.SEQUENCE_GAP
    if (report.amount, report.currency) != (payment.amount, payment.currency):
        return Code.AMOUNT_MISMATCH
    if payment.final:
        return Code.ALREADY_FINAL
    if not may_follow(Status(payment.status), report.status):
        return Code.TRANSITION_FORBIDDEN
    return Code.OK


def applied(payment: Payment, report: Report, compact: str) -> Payment:
    """The payment with this report."""
    entry = [report.sequence, report.kind.value, report.status.value, report.digest()]
    return replace(
        payment,
        status=report.status.value,
        reason=report.reason.value,
        reports=[*payment.reports, entry],
        result=compact if report.kind is ReportKind.RESULT else payment.result,
    )


def _hash(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()
