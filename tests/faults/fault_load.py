"""Load: the merchant's own tool, in this process, pays orders through both gateways, on and on."""

import csv
import io
import threading
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from merchant import profile as profiles
from merchant.attempts import OrderStatus
from merchant.client import HttpGateways
from merchant.importer import Bad, Format, read
from merchant.orderbook import OrderBook
from merchant.payrun import Options, PayRun
from merchant.plan import make_plan
from merchant.rota import Rota
from merchant.summary import Summary
from merchant.workers import Gateways

# Both acquirers, ends at once and later, success and refusal.
MIXED = [
    ("unionpay", "tok_approve"), ("qr_wallet", "tok_approve"), ("unionpay", "tok_approve.2"),
    ("unionpay", "tok_do_not_honor"), ("qr_wallet", "tok_refuses"), ("unionpay", "tok_approve.3"),
    ("qr_wallet", "tok_notice_twice"), ("unionpay", "tok_slow"),
]  # fmt: skip
Orders = list[tuple[str, str]]


class _Quiet:
    """Nobody watches."""

    def begin(self, counts: dict[OrderStatus, int], total: int) -> None: ...
    def update(self, counts: dict[OrderStatus, int], done: int) -> None: ...
    def say(self, text: str) -> None: ...
    def end(self) -> None: ...


def pay(
    home: Path, prefix: str, orders: Orders, *, seconds: float = 60, expires_in: int = 900
) -> Summary:
    """Orders for these acquirers with these payers, each to its end: what came of them."""
    profile = replace(profiles.load(home), expires_in=expires_in)
    signer = profiles.load_signer(home)
    book = OrderBook(home / profiles.BOOK_FILE, profile.network, profile.merchant_id)
    urls = tuple(gateway.url for gateway in profile.gateways)
    http = HttpGateways(profile, signer)
    try:
        rows = list(read(io.BytesIO(_file(prefix, orders)), Format.CSV, profile))
        taken = [row.order for row in rows if not isinstance(row, Bad)]
        assert len(taken) == len(orders), rows
        book.add(taken)
        states = [state for order in taken if (state := book.state(order.order_no)) is not None]
        gateways = Gateways(http, urls, Rota(len(urls)))
        options = Options(concurrency=12, timeout=seconds)
        run = PayRun(book, profile, gateways, options, _Quiet())
        return run.run(make_plan(states, frozenset()), signer)
    finally:
        http.close()
        book.close()


def _file(prefix: str, orders: Orders) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["order_no", "amount", "currency", "acquirer", "payer_token"])
    for number, (acquirer, token) in enumerate(orders):
        writer.writerow([f"{prefix}-{number:03d}", f"12.{number % 100:02d}", "CNY", acquirer, token])
    return text.getvalue().encode()


class Load:
    """Round after round of MIXED orders until its block ends; then every order has its end."""

    def __init__(self, home: Path, prefix: str) -> None:
        self._home = home
        self._prefix = prefix
        self._stop = threading.Event()
        self._more = threading.Condition()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"load-{prefix}")
        self.ended = 0

    def _run(self) -> None:
        number = 0
        try:
            while not self._stop.is_set():
                orders = [(acquirer, token) for acquirer, token in MIXED] * 2
                summary = pay(self._home, f"{self._prefix}-{number}", orders)
                assert not summary.open, summary.open
                number += 1
                with self._more:
                    self.ended += len(orders)
                    self._more.notify_all()
        except BaseException as error:
            self._error = error
            with self._more:
                self._more.notify_all()

    def more(self, count: int = 1, seconds: float = 60) -> None:
        """Wait until so many orders more have ended."""
        with self._more:
            wanted = self.ended + count
            assert self._more.wait_for(
                lambda: self.ended >= wanted or self._error is not None, seconds
            ), f"no {count} orders more have ended in {seconds} s"
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error
