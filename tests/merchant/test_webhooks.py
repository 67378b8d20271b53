"""The merchant's side of webhooks: registering, receiving, replaying; what is forged is refused."""

import json
import socket
import sqlite3
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from merchant_tls import TlsFiles
from merchant_world import MERCHANT, World, answer_for, sign_result
from webhook_gateway import serve_webhooks

from clearline import intents, times, webhook_signatures, webhooks
from clearline.answers import PaymentAnswer
from clearline.intents import PayIntent, PaymentKey
from clearline.jws import KeySigner
from clearline.statuses import Reason, Status
from clearline.webhook_signatures import Headers
from clearline.webhooks import Event, EventType
from merchant import profile
from merchant.attempts import BookError, Change, NewIntent, OrderStatus
from merchant.inbox import EventRefusedError, Kind, read
from merchant.listen import Clerk, Keys, Receiver, Server
from merchant.orderbook import OrderBook
from merchant.orders import Order, intent_for
from merchant.profile import Profile
from merchant.webhook_keys import WebhookFile

NOW = "2026-11-23T08:00:00.000Z"
KEY = Ed25519PrivateKey.generate()


@dataclass
class Till:
    """A world whose order A-1 was posted and not answered, and a receiver beside it."""

    world: World
    intent: PayIntent
    receiver: Receiver
    clock: list[float] = field(default_factory=lambda: [time.time()])

    def book(self) -> OrderBook:
        return OrderBook(self.world.home / "orders.db", "clearline-dev", MERCHANT)

    def status(self, order_no: str = "A-1") -> OrderStatus:
        with closing(self.book()) as book:
            state = book.state(order_no)
            assert state is not None
            return state.status

    def event(self, status: Status, tx: str = "ab", block: int = 7, **changes: Any) -> Event:
        """A gateway's honest event, `changes` of its data."""
        result = None
        if status.final:
            reason = Reason.APPROVED if status is Status.SUCCEEDED else Reason.DO_NOT_HONOR
            result = sign_result(self.intent, self.world.bank, status=status, reason=reason)
        data = answer_for(self.intent, status, result)
        data |= {"tx_id": tx * 32, "block_number": block} | changes
        return Event(EventType.of(Status(data["status"])), NOW, PaymentAnswer(**data))

    def message(self, event: Event, key: Ed25519PrivateKey = KEY) -> tuple[Headers, bytes]:
        """It as a gateway sends it."""
        data = event.data
        name = webhooks.event_id("clearline-dev", str(data.tx_id), data.key)
        body = event.to_bytes()
        return webhook_signatures.sign(name, int(self.clock[0]), body, [key]), body

    def send(self, event: Event, key: Ed25519PrivateKey = KEY) -> int:
        return self.receiver.receive(*self.message(event, key)).status


def trust(home: Path, *keys: Ed25519PrivateKey) -> None:
    texts = [webhook_signatures.public_text(key.public_key()) for key in keys]
    WebhookFile({"https://127.0.0.1:1": {"till-1": texts}}).save(home)


def _post(book: OrderBook, order: Order, settings: Profile, signer: KeySigner) -> PayIntent:
    """As `pay` leaves an order that was posted and has not ended."""
    intent = intent_for(order, 1, settings, times.now())
    compact = intents.sign(intent, signer)
    book.store([NewIntent(order.order_no, 1, intent.digest(), compact, intent.expires_at)])
    book.record([Change(order.order_no, 1, OrderStatus.REQUESTED, "https://127.0.0.1:1")])
    return intent


@pytest.fixture
def till(world: World) -> Iterator[Till]:
    world.orders("A-1", "A-2")
    settings = profile.load(world.home)
    with closing(OrderBook(world.home / "orders.db", "clearline-dev", MERCHANT)) as book:
        intent, _ = (_post(book, state.order, settings, world.signer) for state in book.states())
    trust(world.home, KEY)
    clock = [time.time()]
    clerk = Clerk(
        lambda: OrderBook(world.home / "orders.db", settings.network, settings.merchant_id),
        settings,
    )
    receiver = Receiver(settings, Keys(world.home), clerk, lambda: clock[0])
    yield Till(world, intent, receiver, clock)
    clerk.close()


def test_an_order_is_paid_by_the_banks_signature_inside(till: Till) -> None:
    assert till.status() is OrderStatus.REQUESTED
    assert till.send(till.event(Status.ACCEPTED)) == 200
    assert till.status() is OrderStatus.ACCEPTED
    assert till.send(till.event(Status.SUCCEEDED, "cd", 8)) == 200
    assert till.status() is OrderStatus.PAID
    assert till.status("A-2") is OrderStatus.REQUESTED
    with closing(till.book()) as book:
        state = book.state("A-1")
        assert state is not None and state.attempt is not None
        assert (state.attempt.tx_id, state.attempt.block_number) == ("cd" * 32, 8)
        assert json.loads(book.answers("A-1", 1)[-1].body)["type"] == "payment.succeeded"
    shown = till.world.run("status", "A-1")
    assert "bank-signed result: verified" in shown.output


def test_a_success_after_the_end_is_shown_and_changes_nothing(till: Till) -> None:
    assert till.send(till.event(Status.DECLINED)) == 200
    late = {"kind": "late_success", "sequence": 2, "tx_id": "cd" * 32}
    for tx, status in (("cd", "open"), ("ef", "resolved")):
        told = till.event(Status.DECLINED, tx, 8, exceptions=(late | {"status": status},))
        for _ in range(2):
            assert till.send(told) == 200
    assert till.status() is OrderStatus.DECLINED
    with closing(till.book()) as book:
        verdicts = [kept.verdict for kept in book.answers("A-1", 1)]
    assert verdicts[1:] == ["do_not_honor", "late_success open", "late_success resolved"]
    assert "late_success open" in till.world.run("status", "A-1").output


def test_again_changes_nothing(till: Till) -> None:
    event = till.event(Status.SUCCEEDED)
    headers, body = till.message(event)
    assert till.receiver.receive(headers, body).detail == "stored"
    with closing(till.book()) as book:
        before = book.answers("A-1", 1)
    for _ in range(3):
        assert till.receiver.receive(headers, body).detail == "known"
    assert till.send(event) == 200
    with closing(till.book()) as book:
        assert book.answers("A-1", 1) == before


def test_late_news_of_an_earlier_status_changes_nothing(till: Till) -> None:
    till.send(till.event(Status.UNKNOWN, "01", 9))
    for status, tx, block in (
        (Status.REQUESTED, "02", 5),
        (Status.ACCEPTED, "03", 6),
    ):
        assert till.send(till.event(status, tx, block)) == 200
        assert till.status() is OrderStatus.UNKNOWN
    till.send(till.event(Status.ACCEPTED, "04", 10))
    assert till.status() is OrderStatus.ACCEPTED
    till.send(till.event(Status.DECLINED, "05", 11))
    till.send(till.event(Status.ACCEPTED, "06", 12))
    assert till.status() is OrderStatus.DECLINED


def test_messages_that_are_not_a_trusted_gateways_or_not_of_now(till: Till) -> None:
    event = till.event(Status.SUCCEEDED)
    headers, body = till.message(event)
    altered = body.replace(b'"amount":2933', b'"amount":2934')
    assert altered != body
    assert till.send(event, Ed25519PrivateKey.generate()) == 401
    assert till.receiver.receive(headers, altered).status == 401
    assert till.receiver.receive(headers, body + b" ").status == 401
    other = Headers("evt_" + "0" * 40, headers.timestamp, headers.signature)
    assert till.receiver.receive(other, body).status == 401
    for later in (301, -301):
        till.clock[0] += later
        assert till.receiver.receive(headers, body).status == 401
        till.clock[0] -= later
    assert till.status() is OrderStatus.REQUESTED
    assert till.receiver.receive(headers, body).status == 200
    assert till.status() is OrderStatus.PAID


def test_a_gateway_that_lies_gets_nothing_paid(till: Till) -> None:
    """Signed well, and false: forged, altered and swapped results, other amounts, no result."""
    intent, bank = till.intent, till.world.bank
    forger = KeySigner.generate()
    good = sign_result(intent, bank)
    head, payload, signature = good.split(".")
    declined = sign_result(intent, bank, status=Status.DECLINED, reason=Reason.DO_NOT_HONOR)
    lies: tuple[dict[str, Any], ...] = (
        {"result": sign_result(intent, forger)},
        {"result": None},
        {"result": "x"},
        {"result": f"{head}.{payload}.{'A' * len(signature)}"},
        {"result": f"{head}.{declined.split('.')[1]}.{signature}"},
        {"result": declined},
        {"result": sign_result(intent, bank, amount=1)},
        {"result": sign_result(intent, bank, order_no="A-2")},
        {"result": sign_result(intent, bank, network="other")},
        {"result": sign_result(intent, bank, intent_digest="0" * 64)},
        {"amount": 1},
        {"currency": "USD"},
        {"intent_digest": "0" * 64},
        {"final": False},
        {"final": 1},
        {"block_number": None},
        {"merchant_id": "M-0002"},
        {"attempt": True},
    )
    for place, changes in enumerate(lies):
        assert till.send(till.event(Status.SUCCEEDED, f"{place + 16:02x}", **changes)) == 422
        assert till.status() in (OrderStatus.REQUESTED, OrderStatus.DISPUTED), changes
    assert till.status() is OrderStatus.DISPUTED
    # The truth is believed, and then no lie changes it.
    assert till.send(till.event(Status.SUCCEEDED)) == 200
    assert till.status() is OrderStatus.PAID
    till.send(till.event(Status.SUCCEEDED, "ee", result=sign_result(intent, forger)))
    assert till.status() is OrderStatus.PAID


def test_two_ends_by_the_bank_are_an_equivocation(till: Till) -> None:
    till.send(till.event(Status.SUCCEEDED, "01"))
    till.send(till.event(Status.DECLINED, "02"))
    assert till.status() is OrderStatus.DISPUTED


def test_what_is_disputed_may_be_believed_when_it_comes_again(till: Till) -> None:
    """The bank's new key was not pinned yet: the gateway's next attempt heals it."""
    honest, till.world.bank = till.world.bank, KeySigner.generate()
    event = till.event(Status.SUCCEEDED)
    assert till.send(event) == 422
    assert till.send(event) == 422
    with closing(till.book()) as book:
        assert [kept.verdict for kept in book.answers("A-1", 1)].count("key_unknown") == 1
    keys = {"unionpay": [honest.jwk, till.world.bank.jwk]}
    till.world.save_profile(acquirer_keys=keys)
    settings = profile.load(till.world.home)
    clerk = Clerk(till.book, settings)
    mended = Receiver(settings, Keys(till.world.home), clerk, lambda: till.clock[0])
    assert mended.receive(*till.message(event)).status == 200
    clerk.close()
    assert till.status() is OrderStatus.PAID


def test_an_order_of_another_book_is_noted_and_no_more(till: Till) -> None:
    other = till.event(Status.SUCCEEDED, order_no="B-1")
    assert till.receiver.receive(*till.message(other)).detail == "not_here"
    assert till.receiver.receive(*till.message(other)).detail == "known"


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b"\xff", b'{"type":"payment.succeeded"}', b"1" * 5000,
     b'{"type":"payment.succeeded","type":"payment.succeeded"}'],
)  # fmt: skip
def test_what_is_no_event_is_refused(till: Till, body: bytes) -> None:
    headers = webhook_signatures.sign("evt_1", int(till.clock[0]), body, [KEY])
    assert till.receiver.receive(headers, body).status == 422


def test_an_id_that_is_not_the_events_is_refused(till: Till) -> None:
    settings = profile.load(till.world.home)
    body = till.event(Status.SUCCEEDED).to_bytes()
    name = webhooks.event_id("other-network", "ab" * 32, PaymentKey(MERCHANT, "A-1", 1))
    with pytest.raises(EventRefusedError, match="the id is not this event's"):
        read(name, body, settings)
    headers = webhook_signatures.sign(name, int(till.clock[0]), body, [KEY])
    assert till.receiver.receive(headers, body).status == 422


def test_not_stored_is_not_2xx(till: Till) -> None:
    event = till.event(Status.SUCCEEDED)
    with closing(sqlite3.connect(till.world.home / "orders.db")) as other:
        other.execute("CREATE TRIGGER full BEFORE INSERT ON events BEGIN"
                      " SELECT RAISE(ABORT, 'disk full'); END")  # fmt: skip
        assert till.send(event) == 503
        assert till.status() is OrderStatus.REQUESTED  # nothing is half done
        other.execute("DROP TRIGGER full")
    assert till.send(event) == 200
    assert till.status() is OrderStatus.PAID


def test_keys_are_read_again_when_they_change(till: Till) -> None:
    new = Ed25519PrivateKey.generate()
    assert till.send(till.event(Status.ACCEPTED), new) == 401
    trust(till.world.home, new)
    assert till.send(till.event(Status.ACCEPTED), new) == 200
    assert till.send(till.event(Status.SUCCEEDED, "cd")) == 401


def test_a_book_of_the_format_before_webhooks_is_brought_up(till: Till) -> None:
    path = till.world.home / "orders.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE events")
        db.execute("DROP TABLE closes")
        db.execute("DROP TABLE omissions")
        db.execute("DROP TABLE refusals")
        db.execute("DROP TABLE refunds")
        db.execute("DROP TABLE refund_intents")
        db.execute("DROP TABLE refund_receipts")
        db.execute("PRAGMA user_version = 1")
    with closing(till.book()) as book:
        assert not book.taken("evt_1")
    assert till.status() is OrderStatus.REQUESTED
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7")
    with pytest.raises(BookError, match="format 7"):
        till.book()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 6")


# The server


@contextmanager
def served(till: Till, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), "/events", till.receiver, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def post(
    server: Server,
    message: tuple[Headers, bytes],
    path: str = "/events",
    context: ssl.SSLContext | None = None,
    **headers: str,
) -> int:
    signed, body = message
    named = {"Content-Type": "application/json"} | dict(signed.to_pairs())
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    scheme = "http" if context is None else "https"
    url = f"{scheme}://127.0.0.1:{server.server_port}{path}"
    request = urllib.request.Request(url, body, named, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_over_http(till: Till) -> None:
    message = till.message(till.event(Status.SUCCEEDED))
    with served(till) as server:
        assert post(server, message, "/other") == 404
        assert post(server, message, Content_Type="text/plain") == 415
        assert post(server, message, Webhook_Signature="v1a,x") == 401
        assert post(server, (message[0], b"x" * 65_537)) == 413
        for raw in (
            b"POST /events HTTP/1.1\r\nHost: x\r\n\r\n",
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\nwebhook-id: a\r\nwebhook-id: b\r\n\r\n{}",
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        ):
            assert int(_raw(server, raw).split(b" ")[1]) in (400, 411, 501)
        assert till.status() is OrderStatus.REQUESTED
        assert post(server, message) == 200
    assert till.status() is OrderStatus.PAID


def _raw(server: Server, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_port), 10) as connection:
        connection.sendall(data)
        return connection.makefile("rb").readline()


def test_over_tls_and_many_at_once(till: Till, tls: TlsFiles) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)
    client = ssl.create_default_context(cafile=str(tls.ca))
    events = [till.event(Status.SUCCEEDED, f"{n:02x}") for n in range(24)]
    statuses: list[int] = []
    with served(till, context) as server:
        threads = [
            threading.Thread(
                target=lambda e=event: statuses.append(
                    post(server, till.message(e), context=client)
                )
            )
            for event in events
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Who speaks no TLS, or goes away, takes no seat for long.
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", server.server_port), 10) as plain:
                plain.sendall(data)
        assert post(server, till.message(events[0]), context=client) == 200
    assert statuses == [200] * 24
    assert till.status() is OrderStatus.PAID


# The commands


@pytest.fixture
def gateways(world: World) -> Iterator[list[Any]]:
    desks = [serve_webhooks(gateway) for gateway in world.gateways]
    yield desks


def test_register_list_remove(world: World, gateways: list[Any]) -> None:
    done = world.run("webhook", "register", "till-1", "https://shop.example.com/e")
    assert done.exit_code == 0, done.output
    for desk in gateways:
        (wish,) = desk.taken
        assert (wish.url, wish.audience) == ("https://shop.example.com/e", desk.gateway.url)
        assert [event.value for event in wish.events] == [
            "payment.succeeded", "payment.declined", "payment.closed", "payment.expired",
            "refund.succeeded", "refund.declined",
        ]  # fmt: skip
    held = WebhookFile.load(world.home)
    assert set(held.keys) == {gateway.url for gateway in world.gateways}
    assert len(held.trusted()) == 2
    assert (world.home / "webhooks.json").stat().st_mode & 0o777 == 0o600
    listed = world.run("webhook", "list", "--json")
    assert len(listed.stdout.splitlines()) == 2
    world.run("webhook", "register", "till-1", "https://b.example.com/", "--gateway", "2",
              "--event", "payment.unknown")  # fmt: skip
    assert [len(desk.taken) for desk in gateways] == [1, 2]
    assert gateways[1].taken[1].sequence > gateways[1].taken[0].sequence
    assert world.run("webhook", "remove", "till-1").exit_code == 0
    assert WebhookFile.load(world.home).trusted() == ()


def test_a_gateway_that_refuses_is_said(world: World, gateways: list[Any]) -> None:
    gateways[0].refuse = True
    done = world.run("webhook", "register", "till-1", "https://shop.example.com/e")
    assert done.exit_code == 1
    assert "webhook_target_refused" in done.output
    assert set(WebhookFile.load(world.home).keys) == {world.gateways[1].url}
    for bad in ("a.b", "a/b", ""):
        assert world.run("webhook", "register", bad, "https://a.example.com").exit_code == 2
    assert world.run("webhook", "list", "--gateway", "3").exit_code == 2


def test_replay_takes_what_was_missed_and_goes_on_from_there(
    till: Till, gateways: list[Any]
) -> None:
    gateways[0].events = [till.event(Status.ACCEPTED), till.event(Status.SUCCEEDED, "cd", 8)]
    first = till.world.run("webhook", "replay", "--json")
    assert first.exit_code == 0, first.output
    counts = json.loads(first.stdout)
    assert (counts["stored"], counts["cursor"]) == (2, "c2")
    assert till.status() is OrderStatus.PAID
    assert json.loads(till.world.run("webhook", "replay", "--json").stdout) == {"cursor": "c2"}
    every = json.loads(till.world.run("webhook", "replay", "--all", "--json").stdout)
    assert every["known"] == 2
    assert till.send(till.event(Status.SUCCEEDED, "cd", 8)) == 200  # pushed as well: known


def test_replay_refuses_what_a_gateway_invents(till: Till, gateways: list[Any]) -> None:
    forged = sign_result(till.intent, KeySigner.generate())
    gateways[0].events = [till.event(Status.SUCCEEDED, result=forged)]
    done = till.world.run("webhook", "replay")
    assert done.exit_code == 1
    assert "DISPUTED A-1" in done.output
    assert till.status() is OrderStatus.DISPUTED
    gateways[0].events = [till.event(Status.SUCCEEDED, merchant_id="M-0002")]
    done = till.world.run("webhook", "replay", "--all")
    assert (done.exit_code, "another merchant" in done.output) == (1, True)


def test_listen_as_a_process(till: Till) -> None:
    process = till.world.spawn("listen", "--port", "0", "--path", "/events")
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("listening on http://127.0.0.1:")
        port = int(line.split(":")[2].split("/")[0])

        class At:
            server_port = port

        assert post(At(), till.message(till.event(Status.SUCCEEDED))) == 200  # type: ignore[arg-type]
        assert till.status() is OrderStatus.PAID
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_kind_names_are_those_the_documentation_has() -> None:
    text = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
    for kind in Kind:
        assert f"`{kind.value}`" in text
