"""Torn files are begun anew; what can't be read for another reason, or was never ours, stays."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from clearline import torn
from clearline.fabric.queue_items import QueueItem
from clearline.fabric.store import QueueStore, StoredItem, StoreError
from gateway.projection import Projection

ROWS = 400


def prepare(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS t (v BLOB)")
    connection.execute("SELECT max(rowid), max(v) FROM t").fetchone()


def halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path, begin: int, size: int) -> None:
    with path.open("r+b") as file:
        file.seek(begin)
        file.write(bytes(size))


TEARS: dict[str, Callable[[Path], None]] = {
    "half of it is gone": halve,
    "its first page is zeros": lambda path: overwrite(path, 0, 4096),
    "its header's fields are": lambda path: overwrite(path, 16, 84),
    "a page in it is": lambda path: overwrite(path, 4096, 4096),
}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.db"
    connection, remade = torn.opened(path, prepare)
    assert not remade
    with closing(connection):
        connection.executemany("INSERT INTO t VALUES (?)", [(bytes(300),)] * ROWS)
    return path


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_file_is_kept_aside(database: Path, tear: str) -> None:
    TEARS[tear](database)
    was = database.read_bytes()
    connection, remade = torn.opened(database, prepare)
    with closing(connection):
        assert remade
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert Path(f"{database}.torn").read_bytes() == was
    connection, remade = torn.opened(database, prepare)
    connection.close()
    assert not remade


def test_what_is_found_torn_later_is_begun_anew_by_the_next(database: Path) -> None:
    torn.condemn(database)
    connection, remade = torn.opened(database, prepare)
    connection.close()
    assert remade


def test_what_is_not_torn_stays(tmp_path: Path, database: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("Dear all, this was never a database. " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        torn.opened(letter, prepare)
    assert letter.read_text().startswith("Dear all")
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            torn.opened(database, prepare_soon)
    assert not list(tmp_path.glob("*.torn"))


def prepare_soon(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 1")
    prepare(connection)


def test_a_store_that_is_found_torn_breaks_and_is_begun_anew(tmp_path: Path) -> None:
    """Whoever runs over it hears so, and ends; the next one has an empty store."""
    path = tmp_path / "queue.db"
    items = [
        StoredItem(QueueItem(f"i{n}", "f", "p" * 500, (f"k{n}",)), n) for n in range(ROWS)
    ]  # fmt: skip

    async def fill() -> None:
        store = QueueStore(path)
        await store.open()
        await store.put_items(items)
        await store.close()

    async def run() -> None:
        store = QueueStore(path)
        with pytest.raises(StoreError, match="malformed"):
            await store.open()
        with pytest.raises(StoreError, match="malformed"):
            await asyncio.wait_for(store.broken(), 5)
        await store.close()
        again = QueueStore(path)
        assert (await again.open()).items == ()
        await again.close()

    asyncio.run(fill())
    overwrite(path, 8 * 4096, 20 * 4096)  # not what is read at the opening
    asyncio.run(run())


def test_a_torn_projection_counts_itself(tmp_path: Path) -> None:
    path = tmp_path / "projection.db"
    Projection(path, "clearline").close()
    halve(path)
    projection = Projection(path, "clearline")
    assert projection.remade
    assert projection.last_block == -1
    projection.close()
