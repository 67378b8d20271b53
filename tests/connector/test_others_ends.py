"""What another connector did, or this one before it lost its memory, is never contradicted by what
this one remembers. Each was found by the simulation (docs/simulation.md)."""

import asyncio
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from fake_ledger import Called, FakeLedger, Stored
from helpers_connector import World, connected, record_of, until
from scripted import APPROVED, REVERSED, ScriptedAdapter

from clearline import intents, times
from clearline.fabric.queue_items import ItemResult, QueueItem
from clearline.intents import CloseIntent, PaymentKey
from clearline.records import Kind, Lease, dump, record_key
from clearline.statuses import Reason, Status
from connector import outbox
from connector.adapter import Answer, Capability, Order, held_against
from connector.clock import LedgersClock
from connector.database import Database
from connector.duty import Duty, Work
from connector.entries import Ending, Entry, Said, Telling
from connector.states import Phase
from connector.watcher import Pace

CLOSED = Said(Ending(Status.CLOSED, Reason.OTHER), b"native", b"salt")
ASK, CLOSE, UNDO = Capability.INQUIRY, Capability.CLOSE, Capability.REVERSAL


class NoQueue:
    """Nothing is to be reported."""

    async def submit(self, item: QueueItem) -> ItemResult:
        raise AssertionError(item)


def test_a_success_that_another_reported_is_not_given_back(tmp_path: Path) -> None:
    """We heard that it was closed; it was paid late, and who had taken over reported that."""
    world = World.make(tmp_path)
    order = Order("0a" * 20, 2933, "CNY", "898310148990001", "tok", "5411", "T1", "card")
    entry = Entry(
        "payment/M/O/0001", PaymentKey("M", "O", 1), Phase.REPORTED, "d" * 64,
        times.after(times.now(), 60), order, ledger_status=Status.SUCCEEDED, ledger_sequence=2,
        said={Telling.RESULT: CLOSED},
    )  # fmt: skip
    adapter = ScriptedAdapter(
        frozenset({ASK, CLOSE, UNDO}), inquiries=[APPROVED], reversals=[REVERSED]
    )

    async def go() -> bool:
        database = Database(tmp_path / "outbox.db", outbox.SCHEMA)
        database.open()
        await database.run(partial(outbox.insert, entry=entry))
        duty = Duty(
            Work(database, adapter, NoQueue(), world.bank_signer, world.place, asyncio.Event(),
                 1, 1.0, 1.0, Pace(), LedgersClock(Called(world.ledger()), "wallet")), 0,
        )  # fmt: skip
        await duty.begin(lambda: None)
        assert adapter.heard is not None
        paid = replace(APPROVED, amount=2933, currency="CNY", merchant_code=order.merchant_code,
                       payer_token="tok")  # fmt: skip
        taken = await adapter.heard.notice(order.reference, paid)
        await duty.end()
        await database.close()
        return taken

    assert asyncio.run(go())
    assert adapter.asked == ["start", "stop"]


def test_closed_in_the_block_of_the_takeover(tmp_path: Path) -> None:
    """The predecessor may have sent it: it is asked about, not closed as never sent."""
    world = World.make(tmp_path)
    ledger = world.ledger()
    ledger.append(world.registered())
    adapter = ScriptedAdapter(frozenset({ASK, CLOSE}), inquiries=[APPROVED])
    parts = world.named(world.parts(ledger, adapter), "second", stands_by="yes")
    parts.outbox.parent.mkdir(parents=True, exist_ok=True)
    parts.claims.write(1)

    async def go() -> PaymentKey:
        (key,) = world.request(ledger, world.intent(1))
        async with connected(parts):
            assert parts.standby_file is not None
            await until(parts.standby_file.exists)
            ledger.append(Stored(0, (lease(world, "second"), closed(world, ledger, key))))
            await ledger.until_final([key])
        return key

    key = asyncio.run(go())
    assert "inquire" in adapter.asked
    assert ledger.payment(key).status == Status.SUCCEEDED
    ledger.close()


def lease(world: World, holder: str) -> tuple[str, bytes]:
    """The write of a first takeover."""
    acquirer_id = world.place.acquirer_id
    record = Lease(acquirer_id, 1, holder, "BankOne")
    return record_key(Kind.LEASE, acquirer_id), dump(record)


def closed(world: World, ledger: FakeLedger, key: PaymentKey) -> tuple[str, bytes]:
    """The write of a merchant's close."""
    payment = ledger.payment(key)
    compact = intents.sign(CloseIntent(world.place.network, *key, times.now()),
                           world.merchant_signer)  # fmt: skip
    tx_id = f"tx-{ledger.tip() + 1}-0"
    return record_of(replace(payment, close=compact, close_tx=tx_id, txs=[*payment.txs, tx_id]))


def test_expired_while_the_outbox_was_lost(tmp_path: Path) -> None:
    """An earlier self may have sent it in time: it is asked about before it is called expired."""
    world = World.make(tmp_path)
    ledger = world.ledger()
    ledger.append(world.registered())
    before = ScriptedAdapter(frozenset({ASK, UNDO}))
    paid = replace(APPROVED, amount=2933, currency="CNY", payer_token="tok_approve",
                   merchant_code=world.bench.merchant_code)  # fmt: skip
    after = Holding(frozenset({ASK, UNDO}), inquiries=[paid])

    async def go() -> PaymentKey:
        async with connected(world.parts(ledger, before)):
            (known,) = world.request(ledger, world.intent(1))
            await ledger.until_final([known])
        shutil.rmtree(world.folder / "connector")
        now = times.now()
        past: Any = {"created": times.after(now, -900), "expires_at": times.after(now, -600)}
        (key,) = world.request(ledger, replace(world.intent(2), **past))
        async with connected(world.parts(ledger, after)):
            await ledger.until_final([key])
        return key

    key = asyncio.run(go())
    assert ledger.payment(key).status == Status.SUCCEEDED
    assert after.asked == ["start", "inquire", "stop"]
    ledger.close()


class Holding(ScriptedAdapter):
    """Holds what it hears against what was asked for, as adapters do."""

    async def inquire(self, order: Order, trace: str) -> Answer:
        return held_against(order, await super().inquire(order, trace))
