"""One webhook at BankOne's gateway, and what came to it held against the ledger."""

import base64
import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

from books import Books
from clearing import run
from faulty_house import FaultyHouse, wait_until

from clearline.webhook_signatures import ID
from clearline.webhooks import EventType
from merchant.cli import merchant

NAME = "faults"
GATEWAY = 0
Told = dict[str, Any]  # an event as the gateway lists it
COMES_SECONDS = 30.0  # a first try that failed is followed by one after five seconds


def place(cursor: str) -> int:
    """Where on the ledger a gateway's cursor is, as a number that grows with it."""
    padded = cursor + "=" * (-len(cursor) % 4)
    return int(base64.urlsafe_b64decode(padded).decode().partition(".")[2])


def untold(events: Sequence[Told], books: Books) -> list[str]:
    """Payments and refunds whose last event says another status than the ledger, and those that
    the ledger does not know."""
    told: dict[tuple[Any, ...], str] = {}
    for event in events:
        data = event["data"]
        key = (data["order_no"], data["attempt"], data.get("refund_no", 0))
        told[key] = event["type"].partition(".")[2]
    due = {(k.order_no, k.attempt, 0): r["status"] for k, r in books.ledger.items()}
    due |= {(k.order_no, k.attempt, k.refund_no): r["status"] for k, r in books.refunds.items()}
    return [str(key) for key in {**due, **told} if told.get(key) != due.get(key)]


def missing(events: Sequence[Told], arrived: Collection[str], owed_after: int) -> list[str]:
    """Ids of what is owed and has not come."""
    return [
        event["id"]
        for event in events
        if place(event["cursor"]) > owed_after and event["id"] not in arrived
    ]


def out_of_place(events: Sequence[Told], arrived: Sequence[str]) -> list[str]:
    """Ids that came first after a later one of their payment, or that are of nothing told."""
    at = {event["id"]: number for number, event in enumerate(events)}
    found = [one for one in arrived if one not in at]
    last: dict[tuple[str, int], int] = {}
    for one in arrived:
        if one in at:
            data = events[at[one]]["data"]
            key = (data["order_no"], data["attempt"])
            if at[one] < last.get(key, -1):
                found.append(one)
            last[key] = max(at[one], last.get(key, -1))
    return found


class News:
    """Everything after the place `owed_after` must come."""

    def __init__(self, faulty: FaultyHouse, url: str) -> None:
        self._faulty = faulty
        self._url = url
        self._lock = Lock()
        self._arrived: dict[str, None] = {}
        self._events: list[dict[str, Any]] = []
        self._cursor = ""
        self.owed_after = -1

    def take(self, event_id: str) -> None:
        """What the receiver got."""
        with self._lock:
            self._arrived.setdefault(event_id)

    def register(self) -> None:
        """As the merchant does, at the beginning and when the gateway has lost it."""
        words = ("webhook", "register", "--home", self._faulty.house.merchant_dir)
        wanted = [word for kind in EventType for word in ("--event", kind.value)]
        done = run(merchant, *words, "--gateway", str(GATEWAY + 1), *wanted, NAME, self._url)
        assert done.exit_code == 0, done.output
        (shown,) = self._ask("/v1/webhooks")["webhooks"]
        self.owed_after = max(self.owed_after, place(shown["cursor"]))

    def again(self) -> bool:
        """Registered anew if the gateway has lost it; whether it had."""
        lost = not self._ask("/v1/webhooks")["webhooks"]
        if lost:
            self.register()
        return lost

    def forgive(self) -> None:
        """What was stored by a wrong clock is sent when that clock says so: not awaited here."""
        self._read()
        self.owed_after = place(self._cursor)

    def hold(self, books: Books) -> None:
        """Each end on the ledger is told; all that is owed has come, at least once, in its
        payment's order; nothing came that is not on the ledger."""
        wait_until(lambda: self._untold(books) == [], COMES_SECONDS, "each end is told")
        try:
            wait_until(lambda: self._missing() == [], COMES_SECONDS, "all news that are owed came")
        except AssertionError:
            print(self._missing(), self._ask("/v1/webhooks"))
            raise
        with self._lock:
            arrived = list(self._arrived)
        assert out_of_place(self._events, arrived) == []

    def _untold(self, books: Books) -> list[str]:
        self._read()
        return untold(self._events, books)

    def _missing(self) -> list[str]:
        with self._lock:
            return missing(self._events, self._arrived, self.owed_after)

    def _read(self) -> None:
        """The gateway's events that are new since the last look."""
        while True:
            page = self._ask(f"/v1/events?limit=200&cursor={self._cursor}".removesuffix("&cursor="))
            self._events += page["events"]
            self._cursor = page["next_cursor"] or self._cursor
            if len(page["events"]) < 200:
                return

    def _ask(self, path: str) -> dict[str, Any]:
        """One of the merchant's reads at the gateway, which may have been killed a moment ago."""
        words = ("token", "--home", self._faulty.house.merchant_dir)
        done = run(merchant, *words, "--gateway", str(GATEWAY + 1))
        assert done.exit_code == 0, done.output
        headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
        deadline = time.monotonic() + COMES_SECONDS
        while True:
            answer = self._faulty.get(GATEWAY, path, headers)
            if answer.status_code == 200:
                return dict(json.loads(answer.content))
            assert answer.status_code == 503, answer.text
            assert time.monotonic() < deadline, answer.text
            time.sleep(0.1)  # between two looks


@contextmanager
def listening(faulty: FaultyHouse) -> Iterator[News]:
    """A receiver that takes everything, and its webhook."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            news.take(self.headers[ID])
            self.close_connection = True
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Notifiers that are killed are no news here."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            news = News(faulty, f"http://127.0.0.1:{server.server_port}/events")
            news.register()
            yield news
        finally:
            server.shutdown()
            thread.join()
