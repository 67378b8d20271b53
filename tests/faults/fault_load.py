"""Load: the merchant's own tool, in this process, pays orders through both gateways, on and on, and
gives money of some of them back."""

import csv
import io
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from clearline import intents, refunds, times
from clearline.intents import PayIntent
from clearline.jws import KeySigner
from clearline.refunds import RefundIntent
from merchant import profile as profiles
from merchant.attempts import NewIntent, OrderStatus
from merchant.client import HttpGateways
from merchant.importer import Bad, Format, read
from merchant.orderbook import OrderBook
from merchant.orders import intent_for
from merchant.payrun import Options, PayRun
from merchant.plan import make_plan
from merchant.profile import Profile
from merchant.refundbook import RENEWABLE, BookedRefund, RefundChange
from merchant.refunding import Couriers, asked_of, follow
from merchant.rota import Rota
from merchant.summary import Summary
from merchant.workers import Gateways

# Both acquirers, ends at once and later, success and refusal.
MIXED = [
    ("unionpay", "tok_approve"), ("qr_wallet", "tok_refund_slow"), ("unionpay", "tok_refund_lost"),
    ("unionpay", "tok_do_not_honor"), ("qr_wallet", "tok_refuses"), ("unionpay", "tok_approve.3"),
    ("qr_wallet", "tok_notice_twice"), ("unionpay", "tok_slow"),
]  # fmt: skip
# What is given back of a round's orders, by place: minor units, None for all that is left.
RETURNED: dict[int, tuple[int | None, ...]] = {0: (500, None), 1: (None,), 2: (None,), 6: (700,)}
Orders = list[tuple[str, str]]


class _Quiet:
    """Nobody watches."""

    def begin(self, counts: dict[OrderStatus, int], total: int) -> None: ...
    def update(self, counts: dict[OrderStatus, int], done: int) -> None: ...
    def say(self, text: str) -> None: ...
    def end(self) -> None: ...


@dataclass
class Till:
    """The merchant's folder, opened in this thread: orders in, signed intents out, each to its
    end."""

    home: Path
    profile: Profile
    signer: KeySigner
    book: OrderBook

    @classmethod
    @contextmanager
    def opened(cls, home: Path, expires_in: int = 900) -> Iterator[Self]:
        """Intents expire after `expires_in` seconds."""
        profile = replace(profiles.load(home), expires_in=expires_in)
        book = OrderBook(home / profiles.BOOK_FILE, profile.network, profile.merchant_id)
        try:
            yield cls(home, profile, profiles.load_signer(home), book)
        finally:
            book.close()

    def add(self, prefix: str, orders: Orders) -> list[str]:
        """Their order numbers, `<prefix>-000` and so on."""
        rows = list(read(io.BytesIO(_file(prefix, orders)), Format.CSV, self.profile))
        taken = [row.order for row in rows if not isinstance(row, Bad)]
        assert len(taken) == len(orders), rows
        self.book.add(taken)
        return [order.order_no for order in taken]

    def intent(self, order_no: str) -> PayIntent:
        """The intent for an order, created now; `sign` stores it."""
        state = self.book.state(order_no)
        assert state is not None
        return intent_for(state.order, 1, self.profile, times.now())

    def compact(self, intent: PayIntent) -> str:
        """Signed, and not in the book."""
        return intents.sign(intent, self.signer)

    def keep(self, intent: PayIntent, compact: str) -> None:
        """In the book, as the one for its attempt."""
        self.book.store([
            NewIntent(intent.order_no, intent.attempt, intent.digest(), compact, intent.expires_at)
        ])  # fmt: skip

    def sign(self, intent: PayIntent) -> str:
        """As it is posted; the book has it first."""
        compact = self.compact(intent)
        self.keep(intent, compact)
        return compact

    def finish(self, order_nos: list[str], seconds: float = 60) -> Summary:
        """Pay them as the tool does, to their ends."""
        states = [state for number in order_nos if (state := self.book.state(number)) is not None]
        urls = tuple(gateway.url for gateway in self.profile.gateways)
        http = HttpGateways(self.profile, self.signer)
        try:
            gateways = Gateways(http, urls, Rota(len(urls)))
            options = Options(concurrency=12, timeout=seconds)
            run = PayRun(self.book, self.profile, gateways, options, _Quiet())
            return run.run(make_plan(states, frozenset()), self.signer)
        finally:
            http.close()

    def give_back(self, order_no: str, amount: int | None, seconds: float = 60) -> BookedRefund:
        """Minor units of a paid order, None for all that is left of it, to the refund's end; one
        that no gateway takes is signed anew, as the tool does when it is called again."""
        urls = tuple(gateway.url for gateway in self.profile.gateways)
        http = HttpGateways(self.profile, self.signer)
        deadline = time.monotonic() + seconds
        try:
            couriers = Couriers(http, urls, Rota(len(urls)))
            while True:
                refund = self._refund(order_no, amount, couriers, deadline)
                if refund.status not in RENEWABLE:
                    assert refund.status.final, refund
                    return refund
                assert time.monotonic() < deadline, refund
                time.sleep(0.2)  # between two tries, as of a person
        finally:
            http.close()

    def _refund(
        self, order_no: str, amount: int | None, couriers: Couriers, deadline: float
    ) -> BookedRefund:
        book, profile = self.book.refunds, self.profile
        state = self.book.state(order_no)
        assert state is not None and state.attempt is not None
        attempt = state.attempt
        done = [one for one in book.of(order_no) if one.status.final]
        left = state.order.amount - book.given_back().get(order_no, 0)
        now = times.now()
        intent = RefundIntent(
            profile.network, profile.merchant_id, order_no, attempt.attempt, len(done) + 1,
            amount or left, state.order.currency, now, times.after(now, profile.expires_in),
        )  # fmt: skip
        booked = book.store(intent, refunds.sign(intent, self.signer))
        asked = asked_of(profile, self.book, attempt, booked)

        def moved(change: RefundChange) -> None:
            book.record(booked, change)

        left_s = deadline - time.monotonic()
        change = follow(booked.compact, asked, couriers, profile.pins, moved, left_s)
        assert change is not None, f"{order_no}: its refund has not ended"
        return book.record(booked, change)

    def statuses(self, order_nos: list[str]) -> list[str]:
        """What the merchant's book says of them."""
        states = [self.book.state(number) for number in order_nos]
        return [state.status.value for state in states if state is not None]


def _file(prefix: str, orders: Orders) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["order_no", "amount", "currency", "acquirer", "payer_token"])
    for number, (acquirer, token) in enumerate(orders):
        row = [f"{prefix}-{number:03d}", f"12.{number % 100:02d}", "CNY", acquirer, token]
        writer.writerow(row)
    return text.getvalue().encode()


class Load:
    """Round after round of MIXED orders until its block ends; then every order has its end. Beside
    that, money of some is given back; a refund that is under way has its end too."""

    def __init__(self, home: Path, prefix: str, expires_in: int = 900) -> None:
        self._home = home
        self._expires_in = expires_in
        self._prefix = prefix
        self._stop = threading.Event()
        self._more = threading.Condition()
        self._error: BaseException | None = None
        self._paid: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._kept, args=(work,), name=f"load-{prefix}")
            for work in (self._pay, self._give_back)
        ]
        self.ended = 0
        self.refunds: list[BookedRefund] = []

    def _kept(self, work: Callable[[Till], None]) -> None:
        """In a thread of its own, until there is nothing more to do or it fails."""
        try:
            with Till.opened(self._home, self._expires_in) as till:
                work(till)
        except BaseException as error:
            self._error = self._error or error
            with self._more:
                self._more.notify_all()

    def _pay(self, till: Till) -> None:
        number = 0
        try:
            while not self._stop.is_set():
                order_nos = till.add(f"{self._prefix}-{number}", MIXED * 2)
                summary = till.finish(order_nos)
                assert not summary.open, summary.open
                self._paid.put(order_nos)
                number += 1
                with self._more:
                    self.ended += len(MIXED) * 2
                    self._more.notify_all()
        finally:
            self._paid.put([])

    def _give_back(self, till: Till) -> None:
        """Of each round; what has not begun when the block ends is left."""
        while order_nos := self._paid.get():
            for place, amounts in RETURNED.items():
                if till.statuses([order_nos[place]]) != ["paid"]:
                    continue
                for amount in amounts:
                    if self._stop.is_set() and self.refunds:
                        return
                    self.refunds.append(till.give_back(order_nos[place], amount))

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
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if error is None and self._error is not None:
            raise self._error
