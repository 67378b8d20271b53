"""kill -9 of each kind of process under load: the three books agree afterwards, by themselves."""

import csv
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from books import differences, read_books

from clearline import processes, supervisor
from clearline.house import command
from clearline.house.layout import House
from merchant.orderbook import OrderBook

ORDERS = 120
KINDS = [
    ("network", "orderer0"),
    ("network", "peer0.bankone"),
    ("network", "peer0.supervisor"),
    ("network", "chaincode.bankone"),
    ("rooms", "committer-bankone"),
    ("rooms", "gateway-banktwo"),
    ("rooms", "notifier-bankone"),
    ("rooms", "connector-unionpay"),
    ("rooms", "acquirer-unionpay"),
]


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)  # between two looks, not in place of one


def import_orders(house: House, path: Path, prefix: str) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order_no", "amount", "currency", "payer_token"])
        for number in range(ORDERS):
            token = "tok_do_not_honor" if number % 10 == 0 else "tok_approve"
            writer.writerow([f"{prefix}-{number:03d}", "12.34", "CNY", token])
    command.output("merchant", "--home", house.merchant_dir, "import", path)


@pytest.mark.parametrize(("group", "name"), KINDS, ids=[name for _, name in KINDS])
def test_the_books_agree_after_a_kill(house: House, tmp_path: Path, group: str, name: str) -> None:
    import_orders(house, tmp_path / "orders.csv", name)
    book = OrderBook(house.merchant_dir / "orders.db", house.network, "M-0001")
    before = _ended(book)
    words = command.argv("merchant", "pay", "--home", house.merchant_dir, "--all")
    with (tmp_path / "pay.log").open("w") as log:
        paying = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            wait_until(lambda: _ended(book) >= before + 15, 30, "the first payments ended")
            victim = _process(house, group, name)
            assert victim.id is not None
            assert processes.send_signal(victim.id, signal.SIGKILL)
            assert paying.wait(timeout=90) == 0, (tmp_path / "pay.log").read_text()
        finally:
            paying.kill()
            paying.wait()
            book.close()
    wait_until(lambda: _process(house, group, name).ready, 20, f"{name} is back")
    assert _process(house, group, name).restarts == victim.restarts + 1
    books = read_books(house)
    assert differences(books) == []
    assert sum(key.order_no.startswith(f"{name}-") for key in books.ledger) == ORDERS


def _ended(book: OrderBook) -> int:
    return sum(count for status, count in book.counts().items() if status.final)


def _process(house: House, group: str, name: str) -> processes.ProcessStatus:
    status = supervisor.status(house.run_dir, group)
    assert status is not None
    return next(process for process in status.processes if process.name == name)
