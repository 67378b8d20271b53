"""A merchant's order: its signed intent before it is posted, an event before it is answered."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from merchant_tls import make_tls
from merchant_world import MERCHANT, World, answer_for, sign_result
from recorder import Recorder

from clearline import times, webhook_signatures, webhooks
from clearline.answers import PaymentAnswer
from clearline.statuses import Status
from clearline.webhooks import Event, EventType
from merchant import listen, profile
from merchant.client import HttpGateways, Reply
from merchant.orderbook import OrderBook
from merchant.webhook_keys import WebhookFile

EVENTS = "/events"


def play(recorder: Recorder, folder: Path) -> None:
    """One order is paid, and a gateway's event about it comes."""
    _watch(recorder)
    world = World(folder / "merchant", make_tls(folder))
    try:
        # While a book is open, nobody's opening or closing makes a new log, which would be synced.
        with closing(_book(world)):
            world.orders("A-1")
            recorder.begin("intent posted")
            world.pay("--all")
            recorder.settle()
            _receive(recorder, world)
    finally:
        world.close()


def _book(world: World) -> OrderBook:
    return OrderBook(world.home / "orders.db", "clearline-dev", MERCHANT)


def _receive(recorder: Recorder, world: World) -> None:
    """The event that the order's payment has ended, as a gateway sends it."""
    (entry,) = world.ledger.entries.values()
    key = Ed25519PrivateKey.generate()
    public = webhook_signatures.public_text(key.public_key())
    WebhookFile({"https://127.0.0.1:1": {"till-1": [public]}}).save(world.home)
    result = sign_result(entry.intent, world.bank)
    data = answer_for(entry.intent, Status.SUCCEEDED, result) | {"block_number": 8}
    event = Event(EventType.of(Status.SUCCEEDED), times.now(), PaymentAnswer(**data))
    name = webhooks.event_id("clearline-dev", str(event.data.tx_id), event.data.key)
    body = event.to_bytes()
    headers = webhook_signatures.sign(name, int(time.time()), body, [key])
    with _receiver(world) as port:
        recorder.begin("event answered")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(connection):
            pairs = {"Content-Type": "application/json"} | dict(headers.to_pairs())
            connection.request("POST", EVENTS, body, pairs)
            assert connection.getresponse().status == 200
        recorder.settle()


@contextmanager
def _receiver(world: World) -> Iterator[int]:
    """The merchant's own, without TLS; its port."""
    settings = profile.load(world.home)
    clerk = listen.Clerk(lambda: _book(world), settings)
    receiver = listen.Receiver(settings, listen.Keys(world.home), clerk)
    server = listen.Server(("127.0.0.1", 0), EVENTS, receiver, None)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        clerk.close()


def _watch(recorder: Recorder) -> None:
    """Note a post before its request, a 2xx when it is ready for its socket."""
    post, say = HttpGateways.post, listen._Handler._answer

    def watched_post(self: HttpGateways, gateway: int, compact: str, wait: int) -> Reply:
        recorder.told("intent posted")
        return post(self, gateway, compact, wait)

    def watched_answer(self: listen._Handler, answer: listen.Answer) -> None:
        if answer.status == 200:
            recorder.told("event answered")
        say(self, answer)

    HttpGateways.post = watched_post  # type: ignore[method-assign]
    listen._Handler._answer = watched_answer  # type: ignore[method-assign]
