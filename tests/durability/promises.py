"""What is promised to be on stable storage, and how a run's events are held against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatch
from pathlib import PurePath
from typing import Final

from recorder import Event, Kind


class Store(Enum):
    """How something is stored."""

    SQLITE = "a SQLite file in WAL mode"
    LMDB = "an LMDB environment"
    FILE = "a file that is written beside, synced and renamed"


@dataclass(frozen=True)
class Promise:
    """path: a pattern of the file's path, or of the environment's folder.

    commits: how many transactions must be stored before, at least.
    """

    name: str
    says: str
    store: Store
    path: str
    commits: int = 1


PROMISES: Final = (
    Promise("block delivered", "An orderer delivers a block", Store.LMDB, "*/orderer/data/ledger"),
    Promise("told VALID", "A peer says what became of a transaction", Store.LMDB, "*/peer/ledger"),
    Promise("package installed", "A peer has a package", Store.FILE, "*/packages/kv_1.*.tar.gz"),
    Promise("envelope submitted", "A queue submits an envelope", Store.SQLITE, "*/queue/store"),
    Promise("intent received", "A gateway answers 202", Store.SQLITE, "*/site/data/queue.db"),
    Promise("keys shown", "A gateway hands out a webhook's keys", Store.FILE, "*/webhook.secret"),
    Promise(
        "webhook registered", "A gateway takes a webhook", Store.SQLITE, "*/site/data/webhooks.db"
    ),
    Promise("event sent", "A gateway sends an event", Store.SQLITE, "*/site/data/webhooks.db"),
    # The payment is in the outbox, and then that it is being sent.
    Promise("payment forwarded", "A connector asks an acquirer", Store.SQLITE, "*/outbox.db", 2),
    Promise("block done", "A connector is done with a block", Store.SQLITE, "*/outbox.db"),
    Promise("result reported", "A connector reports an answer", Store.SQLITE, "*/outbox.db"),
    Promise("checkpoint moved", "A checkpointer has a position", Store.FILE, "*/checkpoint"),
    Promise("epoch claimed", "A connector claims a lease's epoch", Store.FILE, "*/claim"),
    Promise("charge answered", "An acquirer answers", Store.SQLITE, "*/unionpay/*book.db"),
    Promise("order answered", "A wallet answers", Store.SQLITE, "*/wallet/*book.db"),
    Promise("intent posted", "A merchant posts an intent", Store.SQLITE, "*/merchant/orders.db"),
    Promise("event answered", "A merchant answers 2xx", Store.SQLITE, "*/merchant/orders.db"),
)
"""An orderer's SUCCESS is none: it promises to order, as Fabric's does, and a kill may lose what is
in no block yet."""


def broken(events: Sequence[Event], promise: Promise) -> str:
    """What is wrong with the way a promise was made; empty when nothing is."""
    names = [(event.kind, event.name) for event in events]
    if (Kind.TOLD, promise.name) not in names:
        return "it was never made"
    begin, told = names.index((Kind.BEGIN, promise.name)), names.index((Kind.TOLD, promise.name))
    before = events[begin:told]
    if promise.store is Store.FILE:
        return _broken_file(before, promise.path)
    commits = [
        event for event in before
        if event.kind is Kind.COMMITTED and fnmatch(event.name, promise.path)
    ]  # fmt: skip
    if len(commits) < promise.commits:
        return "nothing was stored before"
    return "" if all(event.durable for event in commits) else "what was stored was not synced"


def _broken_file(before: Sequence[Event], path: str) -> str:
    for place, event in enumerate(before):
        if event.kind is Kind.RENAMED and fnmatch(event.name, path):
            if not event.durable:
                return "the file was not synced before its rename"
            folder = Event(Kind.SYNCED, str(PurePath(event.name).parent))
            return "" if folder in before[place:] else "the folder was not synced"
    return "nothing was stored before"
