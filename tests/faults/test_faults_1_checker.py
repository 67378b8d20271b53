"""The checker is not blind: each fault planted in the books of a real house is named.

Planted in copies of the acquirer's and the merchant's files, and in what the auditor reads; the
ledger itself is the house's.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from books import Books, differences, read_books
from fabric_protos.common import common_pb2
from fault_load import Till
from faulty_house import FaultyHouse, copy_database

from audit.source import from_peer
from audit.verifier import Verifier
from clearline.fabric.profile import Profile
from clearline.house.layout import House
from clearline.refunds import reference as refund_reference
from clearline.reports import acquirer_reference

ORDERS = [("unionpay", "tok_approve"), ("unionpay", "tok_do_not_honor"),
          ("qr_wallet", "tok_approve"), ("unionpay", "tok_timeout_charged"),
          ("unionpay", "tok_approve.back"), ("qr_wallet", "tok_approve.back")]  # fmt: skip
RETURNED = {"planted-004": (500, 300), "planted-005": (505, 5)}  # minor units, in their order


@pytest.fixture(scope="module")
def honest(whole: FaultyHouse) -> Books:
    """The books of the house with some payments, all ended."""
    with Till.opened(whole.house.merchant_dir) as till:
        assert not till.finish(till.add("planted", ORDERS)).open
        for order_no, amounts in RETURNED.items():
            for amount in amounts:
                assert till.give_back(order_no, amount).status == "succeeded"
    books = read_books(whole.house)
    assert differences(books) == []
    assert len(books.ledger) >= len(ORDERS)
    return books


@pytest.fixture
def copied(whole: FaultyHouse, honest: Books, tmp_path: Path) -> House:
    """The same house with copies of the acquirers' and the merchant's books."""
    assert honest.ledger
    house = whole.house
    for name in ("crypto", "profiles", "rooms", "network.yaml"):
        (tmp_path / name).symlink_to(house.home / name)
    shutil.copytree(house.merchant_dir, tmp_path / "merchant",
                    ignore=shutil.ignore_patterns("orders.db*"))  # fmt: skip
    copy_database(house.merchant_dir / "orders.db", tmp_path / "merchant" / "orders.db")
    for acquirer in house.acquirers:
        folder = tmp_path / "acquirers" / acquirer.acquirer_id
        shutil.copytree(house.acquirer_dir(acquirer), folder,
                        ignore=shutil.ignore_patterns("book.db*"))  # fmt: skip
        copy_database(
            house.acquirer_dir(acquirer) / "data" / "book.db", folder / "data" / "book.db"
        )
    return replace(house, home=tmp_path)


def write(path: Path, statement: str, *values: object) -> None:
    """One change of one row."""
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement, values).rowcount == 1


def reference_of(books: Books, order_no: str) -> str:
    """The acquirer's name for an order."""
    return next(
        acquirer_reference(key, books.network) for key in books.ledger if key.order_no == order_no
    )


def refund_of(books: Books, order_no: str, refund_no: int) -> str:
    """The same for one of its refunds."""
    return next(
        refund_reference(key, books.network)
        for key in books.refunds
        if (key.order_no, key.refund_no) == (order_no, refund_no)
    )


Plant = Callable[[House, str], None]


def charge(house: House, _: str) -> None:
    """A charge nobody asked for."""
    write(
        house.home / "acquirers" / "unionpay" / "data" / "book.db",
        "INSERT INTO entry SELECT ?, merchant_code, payer_token, amount, currency, code, rrn,"
        " auth_code, clearing_date, charges, reversals, fenced, purchases_seen, reversals_seen"
        " FROM entry WHERE charges = 1 LIMIT 1", "f" * 40,
    )  # fmt: skip


def unreversed(house: House, reference: str) -> None:
    """The reversal of a closed payment never happened."""
    write(house.home / "acquirers" / "unionpay" / "data" / "book.db",
          "UPDATE entry SET reversals = 0 WHERE reference = ?", reference)  # fmt: skip


def another_amount(house: House, reference: str) -> None:
    """Charged one minor unit more."""
    write(house.home / "acquirers" / "unionpay" / "data" / "book.db",
          "UPDATE entry SET amount = amount + 1 WHERE reference = ?", reference)  # fmt: skip


def forwarded_twice(house: House, reference: str) -> None:
    """The connector sent it again, and the acquirer's duplicate check held."""
    write(house.home / "acquirers" / "unionpay" / "data" / "book.db",
          "UPDATE entry SET purchases_seen = 2 WHERE reference = ?", reference)  # fmt: skip


def created_twice(house: House, reference: str) -> None:
    """The same at the wallet."""
    write(house.home / "acquirers" / "qr_wallet" / "data" / "book.db",
          "UPDATE entry SET creates_seen = 2 WHERE reference = ?", reference)  # fmt: skip


def merchant_says_paid(house: House, _: str) -> None:
    """A declined order is paid in the merchant's book."""
    write(house.merchant_dir / "orders.db",
          "UPDATE attempts SET status = 'paid' WHERE order_no = 'planted-001'")  # fmt: skip


def merchant_forgets(house: House, _: str) -> None:
    """An order is gone from the merchant's book."""
    path = house.merchant_dir / "orders.db"
    with closing(sqlite3.connect(path)) as db, db:
        tables = ("answers", "attempts", "intents", "orders")
        assert sum(
            db.execute(f"DELETE FROM {table} WHERE order_no = 'planted-000'").rowcount
            for table in tables
        ) >= 3  # fmt: skip


def give_back(house: House, _: str) -> None:
    """A refund nobody asked for."""
    write(
        house.home / "acquirers" / "unionpay" / "data" / "book.db",
        "INSERT INTO refund SELECT ?, original, merchant_code, amount, currency, code, rrn,"
        " clearing_date, given, requests_seen, repeats_seen FROM refund WHERE given = 1 LIMIT 1",
        "e" * 40,
    )


def not_given(house: House, reference: str) -> None:
    """A refund was never carried out."""
    write(house.home / "acquirers" / "unionpay" / "data" / "book.db",
          "UPDATE refund SET given = 0 WHERE reference = ?", reference)  # fmt: skip


def of_another(house: House, reference: str) -> None:
    """Another payment's money was given back."""
    write(house.home / "acquirers" / "unionpay" / "data" / "book.db",
          "UPDATE refund SET original = ? WHERE reference = ?", "d" * 40, reference)  # fmt: skip


def more_given(house: House, reference: str) -> None:
    """One minor unit more was given back."""
    write(house.home / "acquirers" / "qr_wallet" / "data" / "book.db",
          "UPDATE refund SET amount = amount + 1 WHERE reference = ?", reference)  # fmt: skip


def merchant_says_declined(house: House, _: str) -> None:
    """A refund that was given back is declined in the merchant's book."""
    write(house.merchant_dir / "orders.db",
          "UPDATE refunds SET status = 'declined' WHERE order_no = 'planted-005'"
          " AND refund_no = 1")  # fmt: skip


def merchant_forgets_refund(house: House, _: str) -> None:
    """A refund is gone from the merchant's book."""
    write(house.merchant_dir / "orders.db",
          "DELETE FROM refunds WHERE order_no = 'planted-004' AND refund_no = 2")  # fmt: skip


REFUNDS_PLANTED: list[tuple[Plant, str, int, list[str]]] = [
    (give_back, "planted-004", 1, [f"the acquirer knows refund {'e' * 40}, the ledger does not"]),
    (not_given, "planted-004", 1, ["{key} is succeeded, the acquirer gave 0"]),
    (of_another, "planted-004", 2, ["{key} was given back of another payment"]),
    (more_given, "planted-005", 2, ["{key} is succeeded, the acquirer gave 6"]),
    (merchant_says_declined, "planted-005", 1,
     ["{key} is succeeded, the merchant says declined of 505",
      "{key.payment}: the merchant says 5 refunded"]),
    (merchant_forgets_refund, "planted-004", 2,
     ["{key} is on the ledger, the merchant does not know it",
      "{key.payment}: the merchant says 500 refunded"]),
]  # fmt: skip
PLANTED: list[tuple[Plant, str, list[str]]] = [
    (charge, "planted-000", [f"the acquirer knows {'f' * 40}, the ledger does not"]),
    (unreversed, "planted-003", ["{key} is closed, the acquirer holds 1203"]),
    (another_amount, "planted-000", ["{key} is succeeded, the acquirer holds 1201"]),
    (forwarded_twice, "planted-000", ["{key} was forwarded 2 times"]),
    (created_twice, "planted-002", ["{key} was forwarded 2 times"]),
    (merchant_says_paid, "planted-001",
     ["{key} is declined, the merchant says paid", "planted-001 is paid without a success"]),
    (merchant_forgets, "planted-000", ["{key} is on the ledger, the merchant does not know it"]),
]  # fmt: skip


def test_each_planted_fault_is_named(honest: Books, copied: House) -> None:
    """All of them in the copies, each found beside the others, and nothing else."""
    expected: list[str] = []
    for plant, order_no, words in PLANTED:
        plant(copied, reference_of(honest, order_no))
        key = next(key for key in honest.ledger if key.order_no == order_no)
        expected += [text.format(key=key) for text in words]
    for plant, order_no, number, words in REFUNDS_PLANTED:
        plant(copied, refund_of(honest, order_no, number))
        refund = next(
            one for one in honest.refunds if (one.order_no, one.refund_no) == (order_no, number)
        )
        expected += [text.format(key=refund) for text in words]
    assert sorted(differences(read_books(copied))) == sorted(expected)


def test_what_is_missing_or_open_on_the_ledger_is_named(honest: Books) -> None:
    key = next(key for key in honest.ledger if key.order_no == "planted-000")
    reference = reference_of(honest, key.order_no)
    dropped = {other: record for other, record in honest.ledger.items() if other != key}
    assert differences(replace(honest, ledger=dropped)) == [
        f"the acquirer knows {reference}, the ledger does not",
        f"{key.order_no} is paid without a success",
    ]
    refund = next(key for key in honest.refunds if key.refund_no == 2)
    asked = honest.refunds | {refund: honest.refunds[refund] | {"status": "requested"}}
    assert f"{refund} is requested: it has not ended" in differences(replace(honest, refunds=asked))
    open_ = honest.ledger | {key: honest.ledger[key] | {"status": "unknown"}}
    assert f"{key} is unknown: it has not ended" in differences(replace(honest, ledger=open_))


@pytest.mark.parametrize("check", ["block_number", "data_hash", "header_chain"])
def test_a_block_that_is_dropped_or_altered_is_named(whole: FaultyHouse, check: str) -> None:
    """By the verification that reading the books begins with."""
    profile = Profile.load(whole.house.profile("Supervisor", "auditor"))

    async def read() -> list[bytes]:
        return [raw async for raw in from_peer(profile)]

    blocks = asyncio.run(read())
    planted = next(number for number, raw in enumerate(blocks) if b"planted-" in raw)
    if check == "block_number":
        del blocks[planted - 1]
    elif check == "data_hash":
        blocks[planted] = blocks[planted].replace(b"planted-", b"planned-")
    else:
        blocks[planted] = _with_another_past(blocks[planted])
    verifier = Verifier(profile.network, profile.chaincode)
    findings = [finding for raw in blocks if (finding := verifier.take(raw)) is not None]
    assert f"{check}" in str(findings[0])


def _with_another_past(raw: bytes) -> bytes:
    block = common_pb2.Block.FromString(raw)
    block.header.previous_hash = bytes(32)
    return bytes(block.SerializeToString())
