"""The gateway's files that are torn: the board of acquirers' health, and the webhooks' store.

The projection's and the queue's: tests/clearline/test_torn.py.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_gateway import MERCHANT, OWNER, Site, merchant, until
from helpers_webhooks import House, open_house, wish

from clearline import records, torn
from clearline.acquirer_health import Health, HealthReport
from clearline.codes import Refusal
from clearline.fabric.blocks import VALID, Block, BlockTransaction, Write
from clearline.records import Kind
from gateway.availability import Bounds
from gateway.health_board import Availabilities, HealthBoard
from gateway.webhooks import store
from gateway.webhooks.outbox import Outbox
from gateway.webhooks.registry import Registry
from gateway.webhooks.store import StoreError

REPORT = HealthReport("n", "unionpay", "c", Health.DOWN, "gone", 0)
PAGE = 4096


def halve(path: Path) -> None:
    """Half of the file is gone."""
    os.truncate(path, path.stat().st_size // 2)


def spoil(path: Path) -> None:
    """All but the first page is something else."""
    path.write_bytes(path.read_bytes()[:PAGE] + b"x" * (path.stat().st_size - PAGE))


def spoil_all(path: Path) -> None:
    """The first page too, as far as it says what is in the file."""
    path.write_bytes(path.read_bytes()[:100] + b"x" * (path.stat().st_size - 100))


@pytest.mark.parametrize("tear", [halve, spoil, spoil_all])
def test_a_torn_board_is_begun_anew(tmp_path: Path, tear: Callable[[Path], None]) -> None:
    """It raised at each start, and the committer never came back."""
    path = tmp_path / "acquirers.db"
    board = HealthBoard(path)
    board.note(REPORT, time.monotonic())
    board.close()
    tear(path)
    again = HealthBoard(path)
    again.note(replace(REPORT, acquirer_id="qr_wallet"), time.monotonic())
    assert Path(f"{path}.torn").exists()
    seen = Availabilities(path, Bounds(10, 5.0)).all()
    assert list(seen) == ["qr_wallet"]
    again.close()


def test_a_worker_that_has_the_old_board_open_reads_the_new_one(tmp_path: Path) -> None:
    path, now = tmp_path / "acquirers.db", [100.0]
    acquirers = Availabilities(path, Bounds(10, 5.0), lambda: now[0])
    for name in ("unionpay", "qr_wallet"):
        board = HealthBoard(path)
        board.note(replace(REPORT, acquirer_id=name), now[0])
        now[0] += 1
        assert list(acquirers.all()) == [name]
        board.close()
        torn.condemn(path)
    acquirers._forget()


def test_a_board_found_torn_later_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "acquirers.db"
    HealthBoard(path).close()
    board = HealthBoard(path)
    spoil(path)
    board.note(REPORT, time.monotonic())
    assert list(Availabilities(path, Bounds(10, 5.0)).all()) == ["unionpay"]
    board.close()


def test_what_was_never_a_board_stays(tmp_path: Path) -> None:
    path = tmp_path / "acquirers.db"
    path.write_text("a letter, and longer than nothing" * 9)
    with pytest.raises(OSError, match="not a database"):
        HealthBoard(path)
    assert path.read_text().startswith("a letter")


def outbox(path: Path) -> Outbox:
    return Outbox(path, "clearline-dev", "clearline")


def block(number: int, *writes: Write) -> Block:
    """With one transaction."""
    transaction = BlockTransaction(0, VALID, f"{number:064x}", writes=writes)
    name = [(number + shift).to_bytes(32, "big") for shift in (0, 1)]
    return Block(number, name[0], b"", name[1], b"", (transaction,))


def with_keys(*names: str) -> Write:
    """The merchant's record with these active keys."""
    record = merchant(MERCHANT, "active", OWNER)
    (key,) = record.keys.values()
    record = replace(record, keys=dict.fromkeys(names, key))
    name = records.record_key(Kind.MERCHANT, MERCHANT)
    return Write("clearline", name, records.dump(record), False)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store with a webhook and some blocks, in one file."""
    path = tmp_path / "webhooks.db"
    made = outbox(path)
    registry = Registry(path, 8)
    registry.put(wish("https://a.example.com/"), "old", -1)
    for number in range(3):
        made.apply(block(number))
    made.close()
    registry._forget()
    return path


@pytest.mark.parametrize("tear", [halve, spoil_all])
def test_a_torn_store_is_kept_aside_and_begun_anew(
    filled: Path, tear: Callable[[Path], None]
) -> None:
    """The notifier ended at each start."""
    tear(filled)
    was = filled.read_bytes()
    made = outbox(filled)
    assert made.remade
    assert made.position is None
    assert Path(f"{filled}.torn").read_bytes() == was
    assert Registry(filled, 8).all(MERCHANT) == []
    made.close()
    again = outbox(filled)
    assert not again.remade
    again.close()


def test_what_is_found_torn_while_it_runs_is_begun_anew_by_the_next(filled: Path) -> None:
    made = outbox(filled)
    spoil(filled)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        made.due((), 9, 9)
    with pytest.raises(StoreError, match="is torn"):
        made.check_sound(caught.value)
    made.check_sound(sqlite3.OperationalError("database is locked"))
    made.close()
    again = outbox(filled)
    assert again.remade
    again.close()


def test_a_worker_never_begins_one_anew_and_finds_the_new_one(filled: Path) -> None:
    """It may have the old one open, and what it wrote there nobody would read."""
    worker = Registry(filled, 8)
    assert len(worker.all(MERCHANT)) == 1
    torn.condemn(filled)
    made = outbox(filled)
    assert worker.all(MERCHANT) == []
    worker.put(wish("https://b.example.com/"), "new", -1)
    made.apply(block(0))
    with closing(store.connect(filled)) as db:
        assert db.execute("SELECT url FROM webhooks").fetchall() == [("https://b.example.com/",)]
        assert store.last_block(db) == 0
    made.close()
    worker._forget()
    halve(filled)
    was = filled.read_bytes()
    with pytest.raises(Refusal, match="store"):
        worker.all(MERCHANT)
    assert filled.read_bytes() == was


def test_a_registration_kept_in_a_file_that_went_away_is_not_answered_as_taken(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Registry(filled, 8)
    worker.all(MERCHANT)
    shown = worker.show(MERCHANT, "till-1")
    monkeypatch.setattr("gateway.webhooks.registry._write", lambda *_: filled.rename(f"{filled}.x"))
    with pytest.raises(Refusal, match="begun anew"):
        worker.put(wish("https://b.example.com/"), "new", -1)
    assert shown.url == "https://a.example.com/"


def test_blocks_seen_again_take_back_no_key_that_came_after_them(tmp_path: Path) -> None:
    """A merchant who registers anew at once, while the file is filled from block 0."""
    path = tmp_path / "webhooks.db"
    made, registry = outbox(path), Registry(path, 8)
    registry.put(wish("https://a.example.com/"), "new", 1)
    made.apply(block(0, with_keys("old")))
    made.apply(block(1, with_keys("old", "new")))
    assert registry.show(MERCHANT, "till-1").status == "active"
    made.apply(block(2, with_keys("old")))
    assert registry.show(MERCHANT, "till-1").reason == "key_revoked"
    made.close()


@pytest.fixture
def house(site: Site) -> Iterator[House]:
    with open_house(site) as opened:
        yield opened


def test_a_notifier_whose_store_is_torn_tells_on(house: House) -> None:
    """Through real processes' parts: torn, begun anew, registered anew, told."""
    receiver = house.receiver()
    house.register(receiver.url)
    house.start()
    first = house.pay()
    house.caught_up()
    house.stop()
    path = house.settings.webhook_store
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil_all(path)
    house.start()
    house.caught_up()
    events = house.get("/v1/events").json["events"]
    assert first.order_no in {event["data"]["order_no"] for event in events}
    assert house.get("/v1/webhooks").json["webhooks"] == []
    house.register(receiver.url)
    second = house.pay()
    house.caught_up()
    until(lambda: len(receiver.of(second.order_no)) >= 2)
    told = [got.tells[1] for got in receiver.of(second.order_no)]
    assert told == ["payment.requested", "payment.succeeded"]
