"""The queue's memory: what was stored is there again, what failed is said."""

import asyncio
import sqlite3
import time
from pathlib import Path

import pytest
from helpers_fabric import run

from clearline.fabric.queue_items import ItemRefused, ItemResult, QueueItem
from clearline.fabric.store import QueueStore, StoredBatch, StoredItem, StoredState, StoreError


def _item(number: int) -> StoredItem:
    return StoredItem(QueueItem(f"i{number}", "Put", '{"é":1}', ("a", "b"), 0), number)


async def _reopen(store: QueueStore, path: Path) -> tuple[QueueStore, StoredState]:
    await store.close()
    again = QueueStore(path)
    return again, await again.open()


def _batch(tx_id: str) -> StoredBatch:
    return StoredBatch(tx_id, b"\x00\xff", ("i0", "i1"), 12.5)


def test_items_and_envelopes_come_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "queue" / "store.sqlite"
        store = QueueStore(path)
        assert await store.open() == StoredState((), ())
        batch = StoredBatch("tx", b"\x00\xff", ("i0", "i1"), 12.5)
        await store.put_items([_item(2)])
        await store.put_batch(batch, [_item(0), _item(1)])
        store, state = await _reopen(store, path)
        assert state == StoredState((_item(0), _item(1), _item(2)), (batch,))
        done = ItemResult("i0", {"code": "ok"}, "tx", 7)
        await store.finish("tx", [done, ItemRefused("i1", "bad", "tx")])
        store, state = await _reopen(store, path)
        assert state == StoredState((_item(2),), ())
        assert await store.lookup("i0") == done
        refused = await store.lookup("i1")
        assert isinstance(refused, ItemRefused)
        assert (refused.reason, refused.transaction_id) == ("bad", "tx")
        assert await store.lookup("i2") is None
        assert await store.lookup("none") is None
        await store.close()

    run(scenario())


def test_writes_of_one_moment_share_a_transaction(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = QueueStore(tmp_path / "s")
        await store.open()
        began = time.monotonic()
        await asyncio.gather(*(store.put_items([_item(n)]) for n in range(2000)))
        # 2,000 syncs of their own would take seconds.
        assert time.monotonic() - began < 2
        store, state = await _reopen(store, tmp_path / "s")
        assert len(state.items) == 2000
        await store.close()

    run(scenario())


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        store, other = QueueStore(tmp_path / "s"), QueueStore(tmp_path / "s")
        await store.open()
        with pytest.raises(StoreError, match="in use"):
            await other.open()
        await store.close()
        await other.open()
        await other.close()

    run(scenario())


def test_what_is_no_store_is_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "s"
        path.write_bytes(b"this is not a database, by far" * 100)
        with pytest.raises(StoreError, match="can't open"):
            await QueueStore(path).open()
        newer = tmp_path / "newer"
        connection = sqlite3.connect(newer)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(StoreError, match="format 99"):
            await QueueStore(newer).open()
        (tmp_path / "file").write_text("", encoding="utf-8")
        with pytest.raises(StoreError, match="can't open"):
            await QueueStore(tmp_path / "file" / "s").open()
        with pytest.raises(StoreError, match="closed"):
            await QueueStore(tmp_path / "t").put_items([_item(0)])

    run(scenario())


def test_a_failed_write_fails_its_callers_and_no_others(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = QueueStore(tmp_path / "s")
        await store.open()
        broken = StoredItem(QueueItem("\ud800", "Put", "", ()), 1)
        with pytest.raises(StoreError):
            await store.put_items([broken])
        await store.put_items([_item(1)])
        store, state = await _reopen(store, tmp_path / "s")
        assert state.items == (_item(1),)
        await store.close()

    run(scenario())


def test_old_outcomes_are_forgotten(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = QueueStore(tmp_path / "s", retain_s=-1)
        await store.open()
        await store.put_items([_item(0), _item(1)])
        await store.finish(None, [ItemResult("i0", {}, "tx", 1)])
        await store.purge()
        assert await store.lookup("i0") is None
        store, state = await _reopen(store, tmp_path / "s")
        assert state.items == (_item(1),)
        await store.close()

    run(scenario())


def test_items_of_a_forgotten_envelope_stay_queued(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "s"
        store = QueueStore(path)
        await store.open()
        first, second = _batch("one"), _batch("two")
        await store.put_batch(first, [_item(0), _item(1)])
        await store.put_items([_item(1)])  # accepted while the envelope was stored
        store, state = await _reopen(store, path)
        assert state == StoredState((_item(0), _item(1)), (first,))
        await store.forget("one")
        await store.put_batch(second, [])  # the same items, endorsed anew
        store, state = await _reopen(store, path)
        assert state == StoredState((_item(0), _item(1)), (second,))
        done = [ItemResult(f"i{n}", {"code": "ok"}, "two", 7) for n in range(2)]
        await store.finish("two", done)
        store, state = await _reopen(store, path)
        assert state == StoredState((), ())
        assert [await store.lookup(f"i{n}") for n in range(2)] == done
        # An id that was decided may come again.
        await store.put_batch(first, [_item(0)])
        store, state = await _reopen(store, path)
        assert state == StoredState((_item(0),), (first,))
        await store.close()

    run(scenario())


@pytest.mark.parametrize("version", [1, 2])
def test_a_store_of_an_earlier_format_is_taken_over(tmp_path: Path, version: int) -> None:
    async def scenario() -> None:
        path = tmp_path / "s"
        store = QueueStore(path)
        await store.open()
        await store.put_items([_item(0)])
        await store.close()
        connection = sqlite3.connect(path)
        connection.execute("ALTER TABLE envelopes DROP COLUMN items")
        if version == 1:
            connection.execute("ALTER TABLE items DROP COLUMN owner")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
        again = QueueStore(path)
        assert [stored.item for stored in (await again.open()).items] == [_item(0).item]
        await again.close()

    run(scenario())
