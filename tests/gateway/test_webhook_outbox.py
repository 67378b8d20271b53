"""The outbox by itself: blocks in, what is due out, the published schedule; the clock is ours."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from helpers_gateway import MERCHANT, OTHER_MERCHANT, OWNER
from helpers_webhooks import wish
from samples import INTENT

from clearline import canonical, records
from clearline.answers import EXCEPTION_MEMBERS, PaymentAnswer, RefundAnswer
from clearline.fabric.blocks import VALID, Block, BlockTransaction, Write
from clearline.fabric.blockstream import Position
from clearline.records import Payment
from clearline.refunds import Refund, refund_key
from clearline.webhooks import Event, EventType, event_id
from gateway.webhooks import schedule
from gateway.webhooks.outbox import Attempted, Due, Outbox
from gateway.webhooks.registry import Registry
from gateway.webhooks.store import StoreError, place

DOCS = Path(__file__).parents[2] / "docs" / "webhooks.md"
PAYMENT = Payment(
    merchant_id=MERCHANT, order_no="A-1", attempt=1, status="requested", acquirer_id="unionpay",
    merchant_code="898310148990001", amount=1, currency="CNY", intent="a.b.c",
    intent_digest=INTENT.digest(), expires_at=INTENT.expires_at, msp_id="BankOne",
    requested_at=INTENT.created,
)  # fmt: skip
WHEN = datetime(2026, 11, 23, 8, 0, 0, 500_000, UTC)


class Made:
    """An outbox, a registry beside it, a clock, and a chain of blocks."""

    def __init__(self, folder: Path) -> None:
        self.now = 1_000_000.0
        self.path = folder / "webhooks.db"
        self.outbox = self.open()
        self.registry = Registry(self.path, 8)
        self.blocks: list[Block] = []

    def open(self) -> Outbox:
        return Outbox(self.path, "clearline-dev", "clearline", lambda: self.now)

    def register(self, name: str = "till-1", *events: EventType) -> None:
        changes = {"events": events} if events else {}
        self.registry.put(wish("https://a.example.com/", name, **changes), OWNER.key_id, -1)

    def block(self, *payments: Payment, code: int = VALID, apply: bool = True) -> Block:
        """A block with one transaction a payment."""
        number = len(self.blocks)
        transactions = tuple(
            BlockTransaction(
                index, code, f"{number * 100 + index:064x}", timestamp=WHEN,
                writes=(self.write(payment),),
            )
            for index, payment in enumerate(payments)
        )  # fmt: skip
        previous = self.blocks[-1].header_hash if self.blocks else b""
        made = Block(number, previous, b"", number.to_bytes(32, "big"), b"", transactions)
        self.blocks.append(made)
        if apply:
            self.outbox.apply(made)
        return made

    def write(self, payment: Payment) -> Write:
        return Write("clearline", records.payment_key(payment.key), records.dump(payment), False)

    def due(self, *busy: tuple[int, str], slots: int = 100, each: int = 8) -> list[Due]:
        return self.outbox.due(busy, slots, each)

    def told(self) -> list[str]:
        events, _ = self.registry.events(MERCHANT, 0, 200)
        return [event.event_id for event in events]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    opened = Made(tmp_path)
    yield opened
    opened.outbox.close()


def payment(order_no: str = "A-1", status: str = "requested", **changes: str) -> Payment:
    return replace(PAYMENT, order_no=order_no, status=status, **changes)  # type: ignore[arg-type]


def test_a_block_twice_is_a_block_once(made: Made) -> None:
    made.register()
    block = made.block(payment(), payment("A-2"))
    before = made.told()
    assert made.outbox.apply(block) == 0
    made.outbox.close()
    made.outbox = made.open()
    position = made.outbox.position
    assert position is not None and position.block == 0
    assert made.outbox.apply(block) == 0
    assert made.told() == before
    assert len(made.due()) == 2
    assert before[0] == event_id("clearline-dev", f"{0:064x}", payment().key)


def test_the_time_told_is_the_transactions(made: Made) -> None:
    made.block(payment())
    (event,), last = made.registry.events(MERCHANT, 0, 9)
    assert b'"timestamp":"2026-11-23T08:00:00.500Z"' in event.body
    assert (event.seq, last) == (place(0, 0, 0), 0)


def test_what_is_not_valid_or_no_payment_tells_nothing(made: Made) -> None:
    made.register()
    made.block(payment(), code=11)
    good = made.block(payment("A-2"), apply=False)
    junk = Write("clearline", "payment/M/A/0001", b"{}", False)
    odd = Write("clearline", "payment/M/A/0002", b"\xff", False)
    foreign = made.write(payment("A-3"))._replace(namespace="other")
    gone = made.write(payment("A-4"))._replace(is_delete=True)
    broken = replace(good.transactions[0], writes=(junk, odd, foreign, gone))
    made.outbox.apply(replace(good, transactions=(broken, *good.transactions)))
    assert [due.payment for due in made.due()] == [f"{MERCHANT}/A-2/1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 2**60},
        {"amount": 0.5},
        {"status": "received"},
        {"status": 5},
        {"type": "refund"},
        {"attempt": None, "more": 1},
        {"exceptions": [{"kind": "late_success"}]},
        {"exceptions": ["late_success"]},
        {"exceptions": 7},
    ],
    ids=str,
)
def test_a_record_that_makes_no_body_tells_nothing(
    made: Made, changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    made.register()
    good = made.block(payment("A-1"), payment("A-2"), apply=False)
    odd, whole = good.transactions
    record = orjson.dumps(orjson.loads(odd.writes[0].value) | changes)
    odd = replace(odd, writes=(odd.writes[0]._replace(value=record),))
    assert made.outbox.apply(replace(good, transactions=(odd, whole))) == 1
    assert [due.payment for due in made.due()] == [f"{MERCHANT}/A-2/1"]
    assert "not a payment" in caplog.text


def test_what_was_paid_after_the_end_is_told_as_the_ledger_has_it(made: Made) -> None:
    made.register()
    late = {
        "kind": "late_success", "sequence": 3, "digest": "d" * 64, "amount": 5, "currency": "CNY",
        "status": "open", "tx_id": "e" * 64,
    }  # fmt: skip
    made.block(replace(payment(status="expired"), exceptions=[late]))
    (due,) = made.due()
    told = Event.from_json(orjson.loads(due.body))
    assert isinstance(told.data, PaymentAnswer)
    assert told.data.exceptions == ({name: late[name] for name in EXCEPTION_MEMBERS},)
    assert due.body == told.to_bytes()
    ((event,), _) = made.registry.events(MERCHANT, 0, 9)
    assert event.body == due.body


def test_a_store_of_format_1_is_taken_over_with_what_it_owes(made: Made) -> None:
    """Its events were stored as bodies."""
    made.register()
    made.block(payment())
    (before,) = made.due()
    made.outbox.close()
    with closing(sqlite3.connect(made.path)) as db:
        db.execute("UPDATE events SET record = ?", (before.body,))
        db.execute("ALTER TABLE events DROP COLUMN tx_id")
        db.execute("ALTER TABLE events DROP COLUMN timestamp")
        db.execute("ALTER TABLE events RENAME COLUMN record TO body")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    made.outbox = made.open()
    assert made.due() == [before]
    made.block(payment(status="succeeded"))
    events, _ = made.registry.events(MERCHANT, 0, 9)
    assert [orjson.loads(event.body)["data"]["status"] for event in events] == [
        "requested",
        "succeeded",
    ]
    assert made.outbox.position == Position(1, made.blocks[1].header_hash.hex())


def test_to_be_settled_is_no_event(made: Made) -> None:
    made.register()
    settled = payment(status="succeeded", settlement="unionpay/1/CNY/2026-11-23/01")
    clearing = made.block(settled, apply=False)
    (told,) = clearing.transactions
    for name, events in ((b"SubmitClearing", 0), (b"SubmitReports", 1)):
        made.outbox.close()
        made.path = made.path.with_name(name.decode())
        made.outbox = made.open()
        block = replace(clearing, transactions=(replace(told, args=(name, b"[]")),))
        assert made.outbox.apply(block) == events


def test_a_block_that_does_not_continue_is_refused(made: Made) -> None:
    made.block(payment())
    next_one = made.block(payment("A-2"), apply=False)
    for wrong in (replace(next_one, number=5), replace(next_one, previous_hash=b"x")):
        with pytest.raises(StoreError, match="does not continue"):
            made.outbox.apply(wrong)
    assert made.outbox.apply(next_one) == 1


def test_the_payments_next_event_waits_for_the_one_before(made: Made) -> None:
    made.register()
    made.block(payment())
    made.block(payment(status="accepted"))
    made.block(payment(status="succeeded"), payment("A-2"))
    first, other = made.due()
    assert (first.payment, other.payment) == (f"{MERCHANT}/A-1/1", f"{MERCHANT}/A-2/1")
    assert made.due((1, first.payment)) == [other]
    made.outbox.record([Attempted(first, "status 400")])
    assert [due.payment for due in made.due()] == [other.payment]
    made.now += 6
    _, again = made.due()
    assert (again.event_id, again.attempts) == (first.event_id, 1)
    made.outbox.record([Attempted(again), Attempted(other)])
    (second,) = made.due()
    assert b"payment.accepted" in second.body
    made.outbox.record([Attempted(second)])
    (third,) = made.due()
    assert b"payment.succeeded" in third.body


def test_one_that_is_given_up_lets_the_next_one_go(made: Made) -> None:
    made.register()
    made.block(payment())
    made.block(payment(status="succeeded"))
    for attempt in range(schedule.ATTEMPTS):
        (due,) = made.due()
        assert (due.attempts, b"payment.requested" in due.body) == (attempt, True)
        made.outbox.record([Attempted(due, "status 400")])
        made.now += schedule.DELAYS[min(attempt, len(schedule.DELAYS) - 1)] * 1.11
    (due,) = made.due()
    assert b"payment.succeeded" in due.body
    shown = made.registry.show(MERCHANT, "till-1")
    assert (shown.given_up, shown.pending, shown.last_error) == (1, 1, "status 400")
    assert len(made.told()) == 2  # it can still be fetched


def test_what_waited_four_days_is_given_up(made: Made) -> None:
    made.register()
    made.block(payment())
    made.now += schedule.LONGEST + 1
    (due,) = made.due()
    made.outbox.record([Attempted(due, "status 500", unwell=True)])
    assert made.registry.show(MERCHANT, "till-1").given_up == 1
    assert made.due() == []


def test_a_receiver_that_is_unwell_is_asked_by_one_after_a_pause(made: Made) -> None:
    made.register()
    made.block(*(payment(f"A-{n}") for n in range(20)))
    found = made.due(each=8)
    assert len(found) == 8
    made.outbox.record([Attempted(found[0], "status 503", unwell=True, retry_after=40.0)])
    assert made.due() == []
    made.now += 39
    assert made.due() == []
    made.now += 2
    (one,) = made.due()
    made.outbox.record([Attempted(one, "no answer", unwell=True)])
    made.now += 2.1
    (one,) = made.due()
    made.outbox.record([Attempted(one)])
    assert len(made.due(each=8)) == 8
    assert made.registry.show(MERCHANT, "till-1").failures == 0


def test_slots_are_kept_to_and_a_merchants_events_are_its_own(made: Made) -> None:
    for name in ("till-1", "till-2"):
        made.register(name)
    made.block(*(payment(f"A-{n}") for n in range(9)), payment("B", merchant_id=OTHER_MERCHANT))
    assert len(made.due(slots=3)) == 3
    assert len(made.due(slots=100, each=4)) == 8
    busy = [(1, f"{MERCHANT}/A-{n}/1") for n in range(4)]
    assert {due.webhook.number for due in made.due(*busy, each=4)} == {2}
    assert made.registry.events(OTHER_MERCHANT, 0, 9)[0][0].body.count(b'"B"') == 1


def test_next_due_says_when_to_look(made: Made) -> None:
    assert made.outbox.next_due() is None
    made.register()
    made.block(payment())
    assert made.outbox.next_due() == made.now
    (due,) = made.due()
    made.outbox.record([Attempted(due, "status 400")])
    soonest = made.outbox.next_due()
    assert soonest is not None and 4.5 <= soonest - made.now <= 5.5


def test_old_events_are_forgotten_unless_owed(made: Made) -> None:
    made.block(payment("A-0"))
    made.register()
    made.block(payment("A-1"))
    made.now += 31 * 86_400
    made.block(payment("A-2"))
    assert made.outbox.prune(30) == 1
    assert len(made.told()) == 2
    (first, _) = made.due()
    made.outbox.record([Attempted(first)])
    assert made.outbox.prune(30) == 1


def test_a_file_that_cant_be_written_changes_nothing(made: Made) -> None:
    made.register()
    with closing(sqlite3.connect(made.path)) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON deliveries BEGIN"
                      " SELECT RAISE(ABORT, 'disk full'); END")  # fmt: skip
        block = made.block(payment(), apply=False)
        with pytest.raises(sqlite3.Error):
            made.outbox.apply(block)
        assert made.outbox.position is None
        assert made.told() == []
        other.execute("DROP TRIGGER full")
    assert made.outbox.apply(block) == 1
    assert len(made.due()) == 1


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database, and longer than nothing" * 9)
    with closing(sqlite3.connect(tmp_path / "old")) as db:
        db.execute("PRAGMA user_version = 9")
    for name in ("text", "old"):
        with pytest.raises(StoreError):
            Outbox(tmp_path / name, "clearline-dev", "clearline")


def test_the_schedule_is_the_published_one() -> None:
    units = {"second": 1, "minute": 60, "hour": 3600}
    rows = re.findall(r"^\| ([0-9]+) \| ([0-9]+) (\w+?)s? \|$", DOCS.read_text(), re.M)
    assert [int(number) for number, _, _ in rows] == list(range(2, schedule.ATTEMPTS + 1))
    assert tuple(int(count) * units[unit] for _, count, unit in rows) == schedule.DELAYS
    assert schedule.delay(schedule.ATTEMPTS) is None
    assert schedule.delay(1, lambda least, most: least) == 4.5
    assert schedule.delay(1, lambda least, most: most) == 5.5
    assert [schedule.pause(n) for n in (1, 2, 3, 99)] == [1.0, 2.0, 4.0, 60.0]


def test_every_type_is_documented() -> None:
    for kind in EventType:
        assert f"`{kind.value}`" in DOCS.read_text()


def test_a_refund_is_told_with_the_banks_word_and_in_its_payments_turn(made: Made) -> None:
    made.register()
    paid = payment(status="succeeded")
    made.block(paid)
    refund = Refund(
        *paid.key, 1, "succeeded", "unionpay", paid.merchant_code, 1, "CNY", "a.b.c",
        INTENT.digest(), INTENT.expires_at, "BankOne", INTENT.created, result="d.e.f",
        clearing_date="2026-11-23",
    )  # fmt: skip
    write = Write("clearline", refund_key(refund.key), records.dump(refund), False)
    junk = Write("clearline", "refund/M/A/0001/0001", b"{}", False)
    block = made.block(replace(paid, refunded_amount=1), apply=False)
    both = replace(block.transactions[0], writes=(*block.transactions[0].writes, write, junk))
    made.outbox.apply(replace(block, transactions=(both,)))
    assert {due.payment for due in made.due()} == {str(paid.key)}
    *_, told, last = made.registry.events(MERCHANT, 0, 9)[0]
    assert (told.event_id, last.event_id) == tuple(
        event_id("clearline-dev", both.tx_id, key) for key in (paid.key, refund.key)
    )
    event = Event.from_json(canonical.loads(last.body))
    assert event.type is EventType.REFUND_SUCCEEDED
    assert isinstance(event.data, RefundAnswer)
    assert (event.data.result, event.data.key) == ("d.e.f", refund.key)
