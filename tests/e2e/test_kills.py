"""kill -9 of each kind of process, one after the other, while a merchant pays: nothing stops for
good, and the books agree afterwards, by themselves."""

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from books import differences, read_books
from counter import UNIONPAY, WALLET, Till, kill, numbered, process, wait_until

from clearline.house.layout import House
from merchant.orderbook import OrderBook

ORDERERS = ["orderer0"] if os.environ.get("ENGINE") != "fabric" else ["orderer1"]
KINDS = [
    *(("network", name) for name in ORDERERS),
    ("network", "peer0.bankone"),
    ("network", "peer0.supervisor"),
    ("network", "chaincode.bankone"),
    ("rooms", "committer-bankone"),
    ("rooms", "gateway-banktwo"),
    ("rooms", "notifier-bankone"),
    ("rooms", "connector-unionpay"),
    ("rooms", "acquirer-unionpay"),
    ("rooms", "connector-qr_wallet"),
    ("rooms", "acquirer-qr_wallet"),
]
CARDS = ["tok_approve"] * 9 + ["tok_do_not_honor"]
PAYERS = ["tok_approve", "tok_refuses", "tok_notice_twice", "tok_create_unanswered"]
AGREED = 12  # payments that end between a victim's return and the next kill


class Load:
    """Orders for both acquirers, paid through both gateways, until it is told to stop."""

    def __init__(self, till: Till) -> None:
        self._till = till
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self.failures: list[BaseException] = []
        self.orders: list[str] = []

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Until the block ends; then what is under way is paid to its end."""
        self._thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            self._thread.join(120)
        assert not self._thread.is_alive()
        assert self.failures == []

    def _run(self) -> None:
        try:
            for turn in itertools.count():
                if self._stop.is_set():
                    return
                orders = numbered(f"kill-c{turn}", UNIONPAY, CARDS * 6)
                orders |= numbered(f"kill-w{turn}", WALLET, PAYERS * 5)
                self.orders += self._till.take(orders)
                self._till.pay(*orders, "--concurrency", "8")
        except BaseException as error:
            self.failures.append(error)


def test_the_books_agree_after_a_kill_of_each_kind(
    house: House, till: Till, tmp_path: Path
) -> None:
    book = OrderBook(house.merchant_dir / "orders.db", house.network, "M-0001")

    def ended() -> int:
        return sum(count for status, count in book.counts().items() if status.final)

    killed: dict[tuple[str, str], int] = {}

    def back(group: str, name: str) -> bool:
        now = process(house, group, name)
        return now.ready and now.restarts == killed[group, name] + 1

    with Load(till).running() as load:
        for group, name in [*KINDS, ("", "the end")]:
            # That payments end again is what shows that the victim before is no longer missed.
            due = ended() + AGREED
            wait_until(lambda due=due: ended() >= due or load.failures, f"payments before {name}")
            if group:
                killed[group, name] = kill(house, group, name, signal.SIGKILL).restarts
        for group, name in KINDS:
            wait_until(lambda group=group, name=name: back(group, name), f"{name} is back")
    book.close()
    books = read_books(house)
    assert differences(books) == []
    assert {key.order_no for key in books.ledger} >= set(load.orders)
