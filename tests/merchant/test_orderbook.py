"""The order book: what it keeps, what it refuses, what no kill can take from it."""

import sqlite3
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from merchant_world import sign_result
from samples import INTENT

from clearline import intents
from clearline.jws import Algorithm, KeySigner
from clearline.statuses import Reason, Status
from merchant.attempts import BookError, Change, Entry, NewIntent, OrderStatus
from merchant.orderbook import OrderBook
from merchant.orders import Order

SIGNER, BANK = KeySigner.generate(), KeySigner.generate(Algorithm.ES256)
ORDER = Order(
    "A-1", 2933, "CNY", "s", "T1", "5411", "card", "food", "x", INTENT.acquirers, "0" * 64
)


def book_at(path: Path, merchant_id: str = "M-1", network: str = "n") -> OrderBook:
    return OrderBook(path / "orders.db", network, merchant_id)


def signed(attempt: int = 1, site: str = "x") -> NewIntent:
    intent = replace(INTENT, order_no="A-1", attempt=attempt, site=site)
    return NewIntent(
        "A-1", attempt, intent.digest(), intents.sign(intent, SIGNER), intent.expires_at
    )


def ended(status: OrderStatus, result: str = "") -> Change:
    return Change("A-1", 1, status, "https://a", result=result, tx_id="ab" * 32, block_number=7)


def test_orders_are_taken_once(tmp_path: Path) -> None:
    book = book_at(tmp_path)
    other = replace(ORDER, amount=1, digest="1" * 64)
    assert book.add([ORDER, ORDER, other]) == [Entry.ADDED, Entry.SAME, Entry.CONFLICT]
    refilled = replace(ORDER, site="y")
    assert book.add([refilled]) == [Entry.UPDATED]
    book.store([signed()])
    assert book.add([ORDER]) == [Entry.SAME]
    state = book.state("A-1")
    assert state is not None and state.order == refilled
    assert book.state("A-2") is None
    book.close()


def test_the_first_signed_intent_is_the_one(tmp_path: Path) -> None:
    book, other = book_at(tmp_path), book_at(tmp_path)
    book.add([ORDER])
    first, second = signed(site="x"), signed(site="y")
    (stored,) = book.store([first])
    (again,) = other.store([second])
    assert stored.compact == again.compact == first.compact
    assert book.intents("A-1", 1) == [first.compact]
    book.close()
    other.close()


@pytest.mark.parametrize("status", [OrderStatus.LAPSED, OrderStatus.REFUSED])
def test_a_renewed_attempt_keeps_the_old_intent(tmp_path: Path, status: OrderStatus) -> None:
    book = book_at(tmp_path)
    book.add([ORDER])
    book.store([signed(site="x")])
    book.record([ended(status)])
    (renewed,) = book.store([signed(site="y")])
    assert renewed.status is OrderStatus.SIGNED
    assert book.intents("A-1", 1)[1] == renewed.compact
    assert len(book.intents("A-1", 1)) == 2
    book.close()


def test_a_proven_end_stays(tmp_path: Path) -> None:
    book = book_at(tmp_path)
    book.add([ORDER])
    book.store([signed()])
    paid = sign_result(replace(INTENT, order_no="A-1"), BANK)
    book.record([ended(OrderStatus.PAID, paid)])
    for late in (OrderStatus.REQUESTED, OrderStatus.REFUSED, OrderStatus.DISPUTED):
        (written,) = book.record([ended(late)])
        assert written.status is OrderStatus.PAID
    # The same report signed once more: ES256 gives other bytes.
    once_more = sign_result(replace(INTENT, order_no="A-1"), BANK)
    assert once_more != paid
    (written,) = book.record([ended(OrderStatus.PAID, once_more)])
    assert written.status is OrderStatus.PAID
    assert book.counts() == {OrderStatus.PAID: 1}
    book.close()


def test_two_proven_ends_are_an_equivocation_for_good(tmp_path: Path) -> None:
    book = book_at(tmp_path)
    book.add([ORDER])
    book.store([signed()])
    intent = replace(INTENT, order_no="A-1")
    paid = sign_result(intent, BANK)
    declined = sign_result(intent, BANK, status=Status.DECLINED, reason=Reason.DO_NOT_HONOR)
    book.record([ended(OrderStatus.DECLINED, declined)])
    (written,) = book.record([ended(OrderStatus.PAID, paid)])
    assert (written.status, written.code) == (OrderStatus.DISPUTED, "equivocation")
    book.record([ended(OrderStatus.PAID, paid), ended(OrderStatus.REQUESTED)])
    assert book.counts() == {OrderStatus.DISPUTED: 1}
    book.close()


def test_a_group_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    book = book_at(tmp_path)
    book.add([ORDER])
    unknown = replace(signed(), order_no="A-9")
    with pytest.raises(sqlite3.Error):
        book.store([signed(), unknown])
    assert book.attempts("A-1") == []
    book.close()


def test_answers_are_kept(tmp_path: Path) -> None:
    book = book_at(tmp_path)
    book.add([ORDER])
    book.store([signed()])
    book.record([replace(ended(OrderStatus.RECEIVED), body="with receipt")])
    book.record([replace(ended(OrderStatus.DISPUTED), code="key_unknown", body="lie")])
    kept = [(answer.verdict, answer.body) for answer in book.answers("A-1", 1)]
    assert kept == [("received", "with receipt"), ("key_unknown", "lie")]
    book.close()


def test_the_file_is_the_owners_alone_and_synced(tmp_path: Path) -> None:
    book = book_at(tmp_path / "new" / "folder")
    path = tmp_path / "new" / "folder" / "orders.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert book._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert book._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    book.close()


def test_another_merchants_book_is_refused(tmp_path: Path) -> None:
    book_at(tmp_path).close()
    for merchant_id, network in (("M-2", "n"), ("M-1", "other")):
        with pytest.raises(BookError, match="belongs to merchant M-1"):
            book_at(tmp_path, merchant_id, network)
    book_at(tmp_path).close()


def test_what_is_no_order_book_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.db"
    path.write_text("not a database, but long enough to be read as one " * 20)
    with pytest.raises(BookError, match="can't open"):
        book_at(tmp_path)
    path.unlink()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE t (x)")
    foreign.close()
    with pytest.raises(BookError, match="not an order book"):
        book_at(tmp_path)


def test_a_book_of_a_later_format_is_refused(tmp_path: Path) -> None:
    book_at(tmp_path).close()
    later = sqlite3.connect(tmp_path / "orders.db")
    later.execute("PRAGMA user_version = 7")
    later.close()
    with pytest.raises(BookError, match="of format 7"):
        book_at(tmp_path)


def test_two_processes_may_make_the_book_at_once(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def make() -> None:
        try:
            book_at(tmp_path).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
