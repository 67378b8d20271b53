"""Three books that must agree: the ledger, the acquirers' own, the merchant's.

The ledger is read as an auditor reads it, from the Supervisor's peer, every block verified.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit.source import from_peer
from audit.verifier import Verifier
from clearline.fabric.profile import Profile
from clearline.house import command
from clearline.house.layout import MERCHANT_ID, House
from clearline.intents import PaymentKey
from clearline.refunds import RefundKey
from clearline.refunds import reference as refund_reference
from clearline.reports import acquirer_reference
from merchant.profile import BOOK_FILE

# What was verified of a home's ledger, and by whom: reading it again goes on from there.
_READ: dict[Path, tuple[list[bytes], Verifier]] = {}
_MERCHANT_SAYS = {"succeeded": "paid", "declined": "declined", "closed": "closed"}


@dataclass(frozen=True)
class Books:
    """`ledger` by payment key, `acquirer` by reference, `merchant` by order number; of refunds
    `refunds` by refund key, `returned` by reference, `booked` the merchant's by refund key: status
    and minor units."""

    ledger: dict[PaymentKey, dict[str, Any]]
    acquirer: dict[str, dict[str, Any]]
    merchant: dict[str, dict[str, Any]]
    network: str
    refunds: dict[RefundKey, dict[str, Any]] = field(default_factory=dict)
    returned: dict[str, dict[str, Any]] = field(default_factory=dict)
    booked: dict[RefundKey, tuple[str, int]] = field(default_factory=dict)


async def _blocks(house: House, organization: str, user: str) -> list[bytes]:
    return [raw async for raw in from_peer(Profile.load(house.profile(organization, user)))]


async def _verified(house: House) -> Verifier:
    profile = Profile.load(house.profile("Supervisor", "auditor"))
    # The Supervisor's peer may have been killed and be behind: what BankOne's has now is due.
    due = len(await _blocks(house, "BankOne", "gateway"))
    deadline = time.monotonic() + 20
    while len(blocks := await _blocks(house, "Supervisor", "auditor")) < due:
        assert time.monotonic() < deadline, f"the Supervisor's peer has {len(blocks)} of {due}"
    done, verifier = _READ.pop(house.home, ([], None))
    if verifier is None or blocks[: len(done)] != done:  # other bytes: all of it anew
        done, verifier = [], Verifier(profile.network, profile.chaincode)
    for raw in blocks[len(done) :]:
        finding = verifier.take(raw)
        assert finding is None, str(finding)
    _READ[house.home] = blocks, verifier
    return verifier


def read_ledger(house: House) -> Verifier:
    """Every block that is due, verified from the Supervisor's peer. Fails at the first finding.

    All are read each time, and those verified already are held against the bytes they had then.
    """
    return asyncio.run(_verified(house))


def read_books(house: House) -> Books:
    """All three, as their owners see them."""
    verifier = read_ledger(house)
    asked: list[list[str | Path]] = [
        ["acquirer", "book", one.kind, "--config", house.acquirer_dir(one) / "settings.json",
         "--json"]
        for one in house.acquirers
    ]  # fmt: skip
    asked += [["merchant", "list", "--home", house.merchant_dir, "--json"]]
    with ThreadPoolExecutor(len(asked)) as pool:
        *books, listed = pool.map(lambda words: command.output(*words), asked)
    shown = [json.loads(book) for book in books]
    entries = [entry for book in shown for entry in book["references"]]
    returned = [entry for book in shown for entry in book["refunds"]]
    records = verifier.payments.records.values()
    return Books(
        {PaymentKey(r["merchant_id"], r["order_no"], r["attempt"]): r for r in records},
        {entry["reference"]: entry for entry in entries},
        {order["order_no"]: order for order in map(json.loads, listed.splitlines())},
        house.network,
        {
            RefundKey(*(r[name] for name in RefundKey._fields)): r
            for r in verifier.payments.refunds.values()
        },
        {entry["reference"]: entry for entry in returned},
        _refund_book(house),
    )


def _refund_book(house: House) -> dict[RefundKey, tuple[str, int]]:
    """The merchant's refunds, as its tool has stored them."""
    path = house.merchant_dir / BOOK_FILE
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT order_no, attempt, refund_no, status, amount FROM refunds"
        ).fetchall()
    return {RefundKey(MERCHANT_ID, *row[:3]): (row[3], row[4]) for row in rows}


def differences(books: Books) -> list[str]:
    """Everything in which the books disagree, and every payment that has not ended."""
    found = []
    references = {acquirer_reference(key, books.network): key for key in books.ledger}
    found += [
        f"the acquirer knows {reference}, the ledger does not"
        for reference in books.acquirer
        if reference not in references
    ]
    for reference, key in references.items():
        payment, entry = books.ledger[key], books.acquirer.get(reference, {})
        if payment["status"] not in ("succeeded", "declined", "closed", "expired"):
            found.append(f"{key} is {payment['status']}: it has not ended")
        due = payment["amount"] if payment["status"] == "succeeded" else 0
        if entry.get("net", 0) != due:
            found.append(f"{key} is {payment['status']}, the acquirer holds {entry.get('net', 0)}")
        forwarded = entry.get("purchases_seen", entry.get("creates_seen", 0))
        if entry.get("charges", 0) > 1 or forwarded > 1:
            found.append(f"{key} was forwarded {forwarded} times")
        order = books.merchant.get(key.order_no)
        if order is None:
            found.append(f"{key} is on the ledger, the merchant does not know it")
        elif order["attempt"] == key.attempt and order["status"] != _MERCHANT_SAYS.get(
            payment["status"], payment["status"]
        ):
            found.append(f"{key} is {payment['status']}, the merchant says {order['status']}")
    paid = {no for no, order in books.merchant.items() if order["status"] == "paid"}
    succeeded = {k.order_no for k, r in books.ledger.items() if r["status"] == "succeeded"}
    found += [f"{order_no} is paid without a success" for order_no in sorted(paid - succeeded)]
    return found + _refund_differences(books)


def _refund_differences(books: Books) -> list[str]:
    """The same of refunds: each ended, carried out once, and amounts conserve in all three."""
    references = {refund_reference(key, books.network): key for key in books.refunds}
    found = [
        f"the acquirer knows refund {reference}, the ledger does not"
        for reference in books.returned
        if reference not in references
    ]
    found += [
        f"{key} is {status} in the merchant's book, the ledger does not know it"
        for key, (status, _) in books.booked.items()
        if status in ("succeeded", "declined") and key not in books.refunds
    ]
    given: dict[PaymentKey, int] = {}
    for reference, key in references.items():
        refund, entry = books.refunds[key], books.returned.get(reference, {})
        if refund["status"] not in ("succeeded", "declined"):
            found.append(f"{key} is {refund['status']}: it has not ended")
        due = refund["amount"] if refund["status"] == "succeeded" else 0
        if entry.get("given", 0) != due:
            found.append(f"{key} is {refund['status']}, the acquirer gave {entry.get('given', 0)}")
        # Of a first request that was lost the acquirer may know the reference alone.
        if entry.get("payment", "") not in ("", acquirer_reference(key.payment, books.network)):
            found.append(f"{key} was given back of another payment")
        said = books.booked.get(key)
        if said is None:
            found.append(f"{key} is on the ledger, the merchant does not know it")
        elif said != (refund["status"], refund["amount"]):
            found.append(
                f"{key} is {refund['status']}, the merchant says {' of '.join(map(str, said))}"
            )
        given[key.payment] = given.get(key.payment, 0) + due
    for payment, record in books.ledger.items():
        back = given.get(payment, 0) if record["status"] == "succeeded" else 0
        if record["refunded_amount"] != back or back > record["amount"]:
            found.append(f"{payment}: {record['refunded_amount']} refunded, refunds say {back}")
        order = books.merchant.get(payment.order_no, {})
        theirs = order.get("refunded_amount", 0) if order.get("attempt") == payment.attempt else 0
        if theirs != given.get(payment, 0):
            found.append(f"{payment}: the merchant says {theirs} refunded")
    return found
