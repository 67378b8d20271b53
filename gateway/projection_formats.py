"""Projections of formats before this one, brought up where they are: what is listed keeps its
place, so that cursors stay good, and receipts are nowhere else."""

from __future__ import annotations

import sqlite3
from typing import Final

import orjson

from gateway.projected import created

FORMAT: Final = 4
_TEXT: Final = "TEXT NOT NULL DEFAULT ''"
# To format 2: whose transaction a payment came in.
_TO_2: Final = f"ALTER TABLE payments ADD COLUMN submitter {_TEXT}"
# To format 3: what the list is filtered by, and one index that has it all.
_TO_3: Final = (
    f"ALTER TABLE payments ADD COLUMN acquirer_id {_TEXT}",
    f"ALTER TABLE payments ADD COLUMN created {_TEXT}",
    "UPDATE payments SET acquirer_id = acquirer_of(record), created = created_of(record)",
    "DROP INDEX payments_listed",
    "DROP INDEX payments_by_status",
)
# To format 4: whose transaction a refund came in. The earlier files of format 3 have no refunds.
_TO_4: Final = f"ALTER TABLE refunds ADD COLUMN submitter {_TEXT}"


def bring_up(db: sqlite3.Connection, version: int) -> None:
    """From `version` to FORMAT in one transaction, some 30 us a payment. Raises sqlite3.Error."""
    db.create_function("acquirer_of", 1, _acquirer_of, deterministic=True)
    db.create_function("created_of", 1, _created_of, deterministic=True)
    db.execute("BEGIN IMMEDIATE")
    try:
        if version == 1:
            db.execute(_TO_2)
        if version < 3:
            for statement in _TO_3:
                db.execute(statement)
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'refunds'").fetchone():
            db.execute(_TO_4)
        db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("COMMIT")
    except sqlite3.Error:
        db.rollback()
        raise


def _acquirer_of(record: bytes) -> str:
    return str(orjson.loads(record).get("acquirer_id", ""))


def _created_of(record: bytes) -> str:
    return created(orjson.loads(record).get("intent", ""))
