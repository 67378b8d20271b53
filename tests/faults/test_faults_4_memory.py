"""Checkpoints and stores that are lost, torn, or come back from the past, under load.

A daemon is killed, and kept from its files by their lock while they are tampered with.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from fault_load import Load
from faulty_house import FaultyHouse, copy_database, database_files, put_back, wait_until
from news import News

Tamper = Callable[[Path, Path], None]  # with the database, given an older copy of it


def lose(database: Path, _: Path) -> None:
    """It is gone."""
    for file in database_files(database):
        file.unlink()


def restore(database: Path, copy: Path) -> None:
    """It is from the past."""
    put_back(copy, database)


def tear_log(database: Path, _: Path) -> None:
    """The end of the write-ahead log never reached the disk."""
    log = Path(f"{database}-wal")
    os.truncate(log, log.stat().st_size // 2)
    Path(f"{database}-shm").unlink(missing_ok=True)


def set_back(database: Path, copy: Path) -> None:
    """Only the checkpoint is from the past; the effects are there."""
    with closing(sqlite3.connect(copy)) as old:
        rows = old.execute("SELECT name, value FROM meta WHERE name IN ('block', 'header_hash')")
        values = rows.fetchall()
    assert len(values) == 2
    with closing(sqlite3.connect(database)) as db, db:
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values)


def garble(database: Path, _: Path) -> None:
    """The number of the checkpoint's block is none."""
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("UPDATE meta SET value = '12x' WHERE name = 'block'")


# Each round happens to all four at once; each store meets each thing once.
ROUNDS: list[list[tuple[str, str, Tamper]]] = [
    [("connector-unionpay", "outbox.db", lose), ("connector-qr_wallet", "outbox.db", restore),
     ("committer-bankone", "queue.db", tear_log), ("committer-banktwo", "projection.db", lose)],
    [("connector-unionpay", "outbox.db", restore), ("connector-qr_wallet", "outbox.db", lose),
     ("committer-bankone", "projection.db", restore), ("committer-banktwo", "queue.db", lose),
     ("notifier-bankone", "webhooks.db", lose)],
    [("connector-unionpay", "outbox.db", tear_log), ("connector-qr_wallet", "outbox.db", set_back),
     ("committer-bankone", "queue.db", restore), ("committer-banktwo", "projection.db", tear_log),
     ("notifier-bankone", "webhooks.db", restore)],
    [("connector-unionpay", "outbox.db", set_back), ("connector-qr_wallet", "outbox.db", tear_log),
     ("notifier-bankone", "webhooks.db", tear_log)],
    [("connector-unionpay", "outbox.db", garble), ("connector-qr_wallet", "outbox.db", garble)],
]  # fmt: skip
READERS = {"committer-bankone": "gateway-bankone", "committer-banktwo": "gateway-banktwo",
           "notifier-bankone": "gateway-bankone"}  # fmt: skip


def test_stores_are_lost_torn_and_restored(faulty: FaultyHouse, news: News, tmp_path: Path) -> None:
    with Load(faulty.house.merchant_dir, "memory") as load:
        for happening in ROUNDS:
            for name, store, _ in happening:
                copy_database(faulty.data(name) / store, tmp_path / name)
            load.more()
            print([f"{name} {store} {tamper.__name__}" for name, store, tamper in happening])
            with ExitStack() as stack:
                for name, store, tamper in happening:
                    if tamper is tear_log and name in READERS:
                        # Only a machine that dies tears a log, and its readers die with it.
                        stack.callback(faulty.wait_back, faulty.kill(READERS[name]))
                    data = stack.enter_context(faulty.held(name))
                    tamper(data / store, tmp_path / name)
            if ("notifier-bankone", "webhooks.db", lose) in happening:
                assert news.again()  # it was in that file only
            news.again()
        load.more()
    assert load.refunds


def halve(database: Path) -> None:
    """Half of the file is gone."""
    os.truncate(database, database.stat().st_size // 2)


# The gateway whose workers read the notifier's file is ready once its committer is: last of all.
TORN = [
    ("notifier-bankone", "webhooks.db", halve),
    ("connector-unionpay", "outbox.db", halve),
    ("connector-qr_wallet", "outbox.db", halve),
    ("committer-bankone", "queue.db", halve),
    ("committer-banktwo", "projection.db", halve),
]


def gather(database: Path) -> None:
    """All of it in one file; readers may hold the log for a moment."""
    with closing(sqlite3.connect(database)) as db:

        def gathered() -> bool:
            busy, left, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return bool(busy == 0 and left <= 0)

        wait_until(gathered, 10, f"the log of {database} is in it")


def test_torn_files_are_kept_aside_and_begun_anew(faulty: FaultyHouse, news: News) -> None:
    """Each daemon says which file it is, and goes on by itself."""
    with Load(faulty.house.merchant_dir, "torn") as load:
        load.more()
        begun = {}
        with ExitStack() as stack:
            for name, store, tear in TORN:
                if store in ("projection.db", "webhooks.db"):
                    # While a reader has the file's index in memory, nobody sees it is short.
                    stack.callback(faulty.wait_back, faulty.kill(READERS[name]))
                data = stack.enter_context(faulty.held(name))
                gather(data / store)
                tear(data / store)
                begun[name] = len(faulty.log(name))
        assert news.again()
        load.more()
    for name, store, _ in TORN:
        said = faulty.log(name)[begun[name] :]
        assert "torn: it is begun anew" in said, said
        assert "Traceback" not in said
        assert Path(f"{faulty.data(name) / store}.torn").exists()
    assert faulty.metric(1, "clearline_projection_remade_total") == 1.0
