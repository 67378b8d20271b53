"""Daily files: what a book comes to, byte for byte, and that a closed day stays as it is."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from acquirers import delivery
from acquirers.bookfile import clearing_date
from acquirers.cli import acquirer
from acquirers.delivery import DeliveryError
from acquirers.kinds import KINDS
from acquirers.qr_wallet import book as wallet_book
from acquirers.settings import Place, SettingsError
from acquirers.unionpay_iso8583 import book as unionpay_book

DAY, NEXT = "2026-11-23", "2026-11-24"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
UNIONPAY = unionpay_book.Entry(
    "0" * 39 + "1", "898310148990001", "tok_approve", 2933, "156", "00", "000000000001",
    clearing_date=DAY, charges=1,
)  # fmt: skip
WALLET = wallet_book.Entry(
    "0" * 39 + "1", wallet_book.State.PAID, "QRW0000000001", "tok_approve", 2933, "CNY", 2934,
    "W000000000000001", clearing_date=DAY, charges=1,
)  # fmt: skip
UNIONPAY_FILE = (
    "H,clearline-acquirer-file,1,unionpay,898310148990001,CNY,2026-11-23\r\n"
    "D,000000000001,0000000000000000000000000000000000000001,payment,2933\r\n"
    "D,000000000001,0000000000000000000000000000000000000001,fee,18\r\n"
    "T,2,2933,0,18,0,2915\r\n"
)
WALLET_FILE = (
    "H,clearline-acquirer-file,1,qr_wallet,QRW0000000001,CNY,2026-11-23\r\n"
    "D,W000000000000001,0000000000000000000000000000000000000001,payment,2934\r\n"
    "D,W000000000000001,0000000000000000000000000000000000000001,fee,18\r\n"
    "T,2,2934,0,18,0,2916\r\n"
)
BOOKS: dict[str, tuple[Any, Any, str]] = {
    "unionpay_iso8583": (unionpay_book.Book, UNIONPAY, UNIONPAY_FILE),
    "qr_wallet": (wallet_book.Book, WALLET, WALLET_FILE),
}


@pytest.fixture(params=list(BOOKS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def config(kind: str, tmp_path: Path) -> Path:
    return KINDS[kind].create(tmp_path / "own", "127.0.0.1", 1, "clearline-dev")


@pytest.fixture
def place(kind: str, config: Path) -> Place:
    """Where an acquirer keeps a book with one payment in it."""
    found = KINDS[kind].load(config).place
    found.data_dir.mkdir()
    put(kind, found)
    return found


def put(kind: str, place: Place, **changed: object) -> None:
    opened, entry, _ = BOOKS[kind]
    book = opened(place.book)
    book.put(replace(entry, **changed))
    book.close()


def test_the_file_is_what_the_book_comes_to(kind: str, place: Place) -> None:
    # Of another day, given back, refused: none is in the file.
    put(kind, place, reference="0" * 39 + "2", clearing_date="2026-11-22")
    put(kind, place, reference="0" * 39 + "3", reversals=1)
    put(kind, place, reference="0" * 39 + "4", charges=0)
    (path,) = delivery.deliver(KINDS[kind], place, DAY, NOON)
    assert path.read_bytes().decode() == BOOKS[kind][2]
    assert path.name == f"{place.name}-2026-11-23-{BOOKS[kind][1].merchant_code}-CNY.csv"
    assert path.stat().st_mode & 0o777 == 0o600
    # What happens to a payment later is not in the file of its day.
    put(kind, place, reversals=1)
    assert delivery.deliver(KINDS[kind], place, DAY, NOON) == [path]
    assert path.read_bytes().decode() == BOOKS[kind][2]


def test_what_is_charged_after_the_file_clears_on_the_next_day(kind: str, place: Place) -> None:
    with sqlite3.connect(place.book) as db:
        assert clearing_date(db, NOON) == DAY
        assert clearing_date(db, NOON.replace(hour=23)) == NEXT
        delivery.deliver(KINDS[kind], place, DAY, NOON)
        assert clearing_date(db, NOON) == NEXT
        assert clearing_date(db, NOON.replace(day=25)) == "2026-11-25"
    db.close()
    assert delivery.deliver(KINDS[kind], place, NEXT, NOON) == []
    with pytest.raises(DeliveryError, match="2026-11-26 has not begun"):
        delivery.deliver(KINDS[kind], place, "2026-11-26", NOON)


def test_a_chargeback_is_in_the_open_days_file(kind: str, place: Place) -> None:
    delivery.deliver(KINDS[kind], place, DAY, NOON)
    reference = BOOKS[kind][1].reference
    assert delivery.charge_back(KINDS[kind], place, reference, 1000, NOON) == "CB-000001"
    (path,) = delivery.deliver(KINDS[kind], place, NEXT, NOON)
    assert path.read_text().splitlines()[1:] == [
        f"D,CB-000001,{reference},adjustment,-1000",
        "T,1,0,0,0,-1000,-1000",
    ]
    for wrong, amount in ((reference, 5000), ("f" * 40, 0)):
        with pytest.raises(DeliveryError):
            delivery.charge_back(KINDS[kind], place, wrong, amount, NOON)


@pytest.mark.parametrize(
    ("amount", "basis_points", "taken"),
    [(1, 60, 0), (83, 60, 0), (84, 60, 1), (10_000, 60, 60), (12_345, 38, 47), (5, 10_000, 5)],
)
def test_fees_round_half_up(amount: int, basis_points: int, taken: int) -> None:
    assert delivery.fee(amount, basis_points) == taken


def test_by_command(kind: str, config: Path, place: Place) -> None:
    run = CliRunner().invoke
    words = [kind, "--config", str(config)]
    done = run(acquirer, ["file", *words, "--date", "2020-01-01"])
    assert (done.exit_code, done.stderr) == (0, "nothing was cleared on 2020-01-01\n")
    done = run(acquirer, ["file", *words, "--date", "yesterday"])
    assert done.exit_code == 1
    assert "is not a date" in done.stderr
    done = run(acquirer, ["chargeback", *words, "--reference", "f" * 40])
    assert (done.exit_code, "holds no money" in done.stderr) == (1, True)


@pytest.mark.parametrize("fee", [-1, 10_001, "60", True])
def test_a_rate_that_is_none_is_refused(kind: str, config: Path, fee: object) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | {"fee_basis_points": fee}))
    with pytest.raises(SettingsError, match="fee_basis_points must be 0 to 10000"):
        KINDS[kind].load(config)
