"""Webhooks over real sockets: after commit, signed, in order, at least once; and what receivers do
wrong. The notifier's blocks and payments go on whatever receivers do."""

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from helpers_gateway import MERCHANT, Site, new_intent, open_site, signed, until
from helpers_webhooks import Got, House, Receiver, Reply, open_house, removal, wish

from clearline import webhook_signatures, webhooks
from clearline.webhooks import EventType
from gateway.webhooks.service import serve
from gateway.webhooks.settings import WebhookSettings
from gateway.webhooks.store import StoreError


@pytest.fixture
def house(site: Site) -> Iterator[House]:
    """A store of its own over the module's ledger, with a notifier that is level."""
    for path in site.settings.data_dir.glob("webhooks.db*"):
        path.unlink()
    with open_house(site, timeout_s=2) as opened:
        opened.start()
        opened.caught_up()
        yield opened


@pytest.fixture
def lenient(site: Site) -> Iterator[House]:
    """As `house`, for more webhooks of one merchant."""
    for path in site.settings.data_dir.glob("webhooks.db*"):
        path.unlink()
    with open_house(site, timeout_s=2, per_merchant=20) as opened:
        opened.start()
        opened.caught_up()
        yield opened


def wait_for(receiver: Receiver, order_no: str, count: int, seconds: float = 10.0) -> list[Got]:
    until(lambda: len(receiver.of(order_no)) >= count, seconds)
    return receiver.of(order_no)


def test_a_payment_is_told_in_order_and_signed(house: House) -> None:
    receiver = house.receiver()
    (key,) = house.register(receiver.url)["keys"]
    intent = house.pay()
    requested, succeeded = wait_for(receiver, intent.order_no, 2)
    assert requested.document["type"] == "payment.requested"
    assert succeeded.document["type"] == "payment.succeeded"
    trusted = [webhook_signatures.public_key(key)]
    for got in (requested, succeeded):
        webhook_signatures.verify(got.headers, got.body, trusted, time.time())
        data = got.document["data"]
        assert got.event_id == webhooks.event_id("clearline-dev", data["tx_id"], intent.key)
        assert (got.path, got.host) == ("/events", f"127.0.0.1:{receiver.port}")
    # The same as the gateway answers, the bank's result inside.
    answer = house.get(f"/v1/payments/{intent.order_no}").json
    assert succeeded.document["data"] == answer
    assert answer["result"] == "a.b.c"
    until(lambda: house.shown()["delivered"] == 2)
    assert house.shown()["pending"] == 0


def test_only_what_was_asked_for_and_only_ones_own(house: House) -> None:
    ends, every = house.receiver(), house.receiver()
    house.register(ends.url, "ends", events=(EventType.SUCCEEDED, EventType.DECLINED))
    house.register(every.url, "every")
    declined, open_one = house.pay("declined"), house.pay(None)
    wait_for(every, open_one.order_no, 1)
    wait_for(ends, declined.order_no, 1)
    assert [got.tells[1] for got in ends.got] == ["payment.declined"]
    assert {got.document["data"]["merchant_id"] for got in every.got} == {MERCHANT}


def test_what_was_before_the_registration_is_not_sent_but_listed(house: House) -> None:
    before = house.pay()
    receiver = house.receiver()
    house.site.get(f"/v1/payments/{before.order_no}?min_block=1")
    until(lambda: house.get(f"/v1/payments/{before.order_no}").json["final"])
    cursor = house.register(receiver.url)["cursor"]
    after = house.pay()
    wait_for(receiver, after.order_no, 2)
    assert receiver.of(before.order_no) == []
    listed = house.get("/v1/events?limit=200").json["events"]
    assert [e["type"] for e in listed if e["data"]["order_no"] == before.order_no] == [
        "payment.requested", "payment.succeeded",
    ]  # fmt: skip
    from_there = house.get(f"/v1/events?cursor={cursor}").json["events"]
    assert {event["data"]["order_no"] for event in from_there} == {after.order_no}


def test_events_are_replayed_by_cursor_in_the_bytes_that_were_sent(house: House) -> None:
    receiver = house.receiver()
    start = house.register(receiver.url)["cursor"]
    intents = [house.pay() for _ in range(4)]
    for intent in intents:
        wait_for(receiver, intent.order_no, 2)
    cursor, seen = start, []
    while page := house.get(f"/v1/events?limit=3&cursor={cursor}").json:
        if not page["events"]:
            break
        seen += page["events"]
        cursor = page["next_cursor"]
    assert len(seen) == 8
    sent = {got.event_id: got.document for got in receiver.got}
    for event in seen:
        assert sent.pop(event["id"]) == {n: event[n] for n in ("type", "timestamp", "data")}
    assert sent == {}
    again = house.get(f"/v1/events?cursor={seen[4]['cursor']}").json["events"]
    assert [event["id"] for event in again] == [event["id"] for event in seen[5:]]


def test_a_failure_is_tried_again_with_the_same_id_and_holds_the_payments_order(
    house: House,
) -> None:
    first = threading.Event()

    def behave(got: Got) -> Reply:
        if got.tells[1] == "payment.requested" and not first.is_set():
            first.set()
            return Reply(400)
        return Reply()

    receiver = house.receiver(behave)
    house.register(receiver.url)
    intent, other = house.pay(), house.pay()
    wait_for(receiver, other.order_no, 2)  # another payment is not held up
    assert [got.tells[1] for got in receiver.of(intent.order_no)] == ["payment.requested"]
    assert house.shown()["last_error"] == "status 400"
    begin, again, end = wait_for(receiver, intent.order_no, 3)
    assert (again.event_id, again.body) == (begin.event_id, begin.body)
    assert int(again.headers.timestamp) > int(begin.headers.timestamp)
    assert again.at - begin.at >= 4.5  # the schedule's first delay
    assert end.tells[1] == "payment.succeeded"


FAILURES = [
    (Reply(500), "status 500"),
    (Reply(503, (("Retry-After", "1"),)), "status 503"),
    (Reply(429), "status 429"),
    (Reply(302, (("Location", "http://127.0.0.1:1/x"),)), "redirects are not followed"),
    (Reply(307, (("Location", "https://169.254.169.254/"),)), "redirects are not followed"),
    (Reply(404), "status 404"),
    (Reply(raw=b""), "the connection ended before the answer"),
    (Reply(raw=b"SSH-2.0-x\r\n\r\n"), "the answer is not HTTP/1.1"),
    (Reply(raw=b"HTTP/1.1 2000 OK\r\n\r\n"), "the answer is not HTTP/1.1"),
    (Reply(raw=b"HTTP/1.1 200 OK\r\n"), "the connection ended before the answer"),
    (Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000), "longer than 16384 bytes"),
    (Reply(raw=b"HTTP/1.1 100 Continue\r\n\r\n" * 20), "interim answers only"),
    (Reply(hang=True), "no answer within 2 seconds"),
]


def test_what_is_no_success(lenient: House) -> None:
    """Each fault at a webhook of its own, all told of one payment."""
    house, bad = lenient, [True]

    def failing(reply: Reply) -> Receiver:
        return house.receiver(lambda _: reply if bad[0] else Reply())

    receivers = {f"w-{n}": failing(reply) for n, (reply, _) in enumerate(FAILURES)}
    for name, receiver in receivers.items():
        house.register(receiver.url, name)
    intent = house.pay(None)
    for (_, said), name in zip(FAILURES, receivers, strict=True):
        until(lambda said=said, name=name: said in house.shown(name)["last_error"])
        assert house.shown(name)["pending"] == 1
    bad[0] = False
    for name, receiver in receivers.items():
        house.register(receiver.url, name)  # a new one has what waits sent at once
    for name, receiver in receivers.items():
        until(lambda name=name: house.shown(name)["delivered"] == 1)
        got = {item.event_id for item in receiver.of(intent.order_no)}
        assert got == {receiver.got[0].event_id}


SUCCESSES = [
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 299\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    b"HTTP/1.1 202 Accepted\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n" + b"x" * 200_000,
]


def test_any_2xx_is_a_success_and_no_more_is_read(lenient: House) -> None:
    def answering(raw: bytes) -> Receiver:
        return lenient.receiver(lambda _: Reply(raw=raw))

    for number, raw in enumerate(SUCCESSES):
        lenient.register(answering(raw).url, f"w-{number}")
    lenient.pay(None)
    for number in range(len(SUCCESSES)):
        until(lambda n=number: lenient.shown(f"w-{n}")["delivered"] == 1)


def test_gone_ends_it(house: House) -> None:
    receiver = house.receiver(lambda _: Reply(410))
    house.register(receiver.url)
    house.pay()
    until(lambda: house.shown()["status"] == "disabled")
    shown = house.shown()
    assert (shown["reason"], shown["pending"]) == ("gone", 0)
    house.pay()
    house.caught_up()
    assert house.shown()["pending"] == 0
    receiver.behave = lambda _: Reply()
    house.register(receiver.url)
    wait_for(receiver, house.pay().order_no, 2)


def test_removed_while_something_waits(house: House) -> None:
    receiver = house.receiver(lambda _: Reply(500))
    house.register(receiver.url)
    intent = house.pay()
    wait_for(receiver, intent.order_no, 1)
    assert house.delete(removal()).status_code == 204
    assert house.put(wish(receiver.url)).json["pending"] == 0


def test_a_receiver_that_is_down_gets_everything_when_it_is_back(house: House) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        house.register(url)
        intents = [house.pay() for _ in range(5)]
        until(lambda: house.shown()["last_error"] == "the connection was refused")
        until(lambda: house.shown()["pending"] == 10)
    receiver = house.receiver()
    house.register(receiver.url)
    for intent in intents:
        got = wait_for(receiver, intent.order_no, 2)
        assert [item.tells[1] for item in got] == ["payment.requested", "payment.succeeded"]


def test_a_slow_receiver_slows_neither_payments_nor_the_others(house: House) -> None:
    slow, quick = house.receiver(lambda _: Reply(hang=True)), house.receiver()
    house.register(slow.url, "slow")
    house.register(quick.url, "quick")
    begun = time.monotonic()
    intents = [house.pay() for _ in range(20)]
    for intent in intents:
        wait_for(quick, intent.order_no, 2)
    # Twenty-one time-outs of two seconds would be more than forty.
    assert time.monotonic() - begun < 8
    assert house.shown("slow")["pending"] == 40
    # A receiver that doesn't answer is asked by few at once, then by one.
    assert len(slow.got) <= WebhookSettings().per_webhook + 4


def test_names_are_resolved_once_and_every_address_is_checked(site: Site) -> None:
    """Rebinding: the second answer for a name would lead elsewhere, and is never asked for."""
    shop = [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2"]]
    answers: dict[str, list[list[str]]] = {
               "shop.example.com": shop,
               "mixed.example.com": [["127.0.0.1", "10.0.0.1"]] * 9,
               "mapped.example.com": [["::ffff:127.0.0.1"]] * 9,
               "metadata.example.com": [["169.254.169.254"]] * 9,
               "nowhere.example.com": [[]] * 9}  # fmt: skip
    asked: list[str] = []

    async def resolver(host: str, _: int) -> list[str]:
        asked.append(host)
        return answers[host].pop(0)

    for path in site.settings.data_dir.glob("webhooks.db*"):
        path.unlink()
    with open_house(site, timeout_s=2) as house:
        house.resolver = resolver
        house.start()
        house.caught_up()
        receiver = house.receiver()
        for name in answers:
            house.register(f"http://{name}:{receiver.port}/", name.partition(".")[0])
        intent = house.pay(None)
        wait_for(receiver, intent.order_no, 1)
        until(lambda: house.shown("shop")["delivered"] == 1)
        assert asked.count("shop.example.com") == 1
        assert receiver.got[0].host == f"shop.example.com:{receiver.port}"
        for name in ("mixed", "mapped", "metadata"):
            until(lambda name=name: house.shown(name)["last_error"] != "")
            said = house.shown(name)["last_error"]
            assert said == "refused: the host is in a network this gateway sends nothing to"
        until(lambda: "no address" in house.shown("nowhere")["last_error"])
        assert len(receiver.got) == 1


def test_settings_that_allow_less_now_hold_for_old_registrations(site: Site) -> None:
    for path in site.settings.data_dir.glob("webhooks.db*"):
        path.unlink()
    with open_house(site) as permissive:
        receiver = permissive.receiver()
        permissive.start()
        permissive.caught_up()
        permissive.register(receiver.url)
        permissive.stop()
        with open_house(site, rules=WebhookSettings().rules) as strict:
            strict.start()
            strict.pay(None)
            until(lambda: "refused" in strict.shown()["last_error"])
        assert receiver.got == []


def test_over_tls_the_certificate_counts(site: Site) -> None:
    async def resolver(host: str, _: int) -> list[str]:
        return ["127.0.0.1"]

    for path in site.settings.data_dir.glob("webhooks.db*"):
        path.unlink()
    files = (site.folder / "cert.pem", site.folder / "key.pem")
    with open_house(site, ca=files[0]) as house:
        trusted, plain = house.receiver(), house.receiver()
        url = trusted.tls(*files)
        house.resolver = resolver
        house.start()
        house.caught_up()
        house.register(url, "good")
        house.register(url.replace("localhost", "shop.example.com"), "name")
        house.register(f"https://127.0.0.1:{plain.port}/", "plain")
        intent = house.pay(None)
        wait_for(trusted, intent.order_no, 1)
        until(lambda: "not valid for 'shop.example.com'" in house.shown("name")["last_error"])
        until(lambda: house.shown("plain")["last_error"] != "")
        assert len(trusted.got) == 1
        house.stop()
        with open_house(site) as other:  # the system's CAs only
            other.start()
            other.register(url, "good")
            other.pay(None)
            until(lambda: "TLS: self-signed" in other.shown("good")["last_error"])
        assert len(trusted.got) == 1


def test_two_gateways_give_one_id(site: Site, tmp_path: Path) -> None:
    """The other one begins at block 0: it gives what was before the same ids and bytes."""
    for path in site.settings.data_dir.glob("webhooks.db*"):
        path.unlink()
    with open_house(site) as house:
        house.start()
        intent = house.pay()
        house.caught_up()
        first = house.get("/v1/events?limit=200").json
        house.stop()
        for path in site.settings.data_dir.glob("webhooks.db*"):
            path.rename(tmp_path / path.name)
    with open_house(site) as other:
        other.start()
        other.caught_up()
        second = other.get("/v1/events?limit=200").json
    assert first["events"] == second["events"]
    assert first["next_cursor"] == second["next_cursor"]
    assert intent.order_no in {event["data"]["order_no"] for event in first["events"]}


def test_two_notifiers_of_one_gateway_are_refused(house: House) -> None:
    import asyncio

    with pytest.raises(StoreError, match="another notifier runs"):
        house.site.ledger.run(serve(house.settings, asyncio.Event()))


def test_kill_9_between_delivery_and_mark_delivers_again_under_the_same_id(
    tmp_path: Path,
) -> None:
    held = threading.Event()

    def behave(got: Got) -> Reply:
        # The first to arrive is processed, and its sender killed before it hears of it.
        if not held.is_set():
            held.set()
            return Reply(hang=True)
        return Reply()

    with open_site(tmp_path) as site, open_house(site) as house:
        receiver = house.receiver(behave)
        notifier = house.process()
        notifier.start()
        try:
            house.caught_up()
            house.register(receiver.url)
            first = house.pay(None)
            wait_for(receiver, first.order_no, 1)
            notifier.kill()
            # Committed while nobody notifies; and the end of the first.
            site.ledger.finish(first.key)
            second = house.pay()
            notifier.start()
            got = wait_for(receiver, first.order_no, 3)
            assert [item.tells[1] for item in got] == [
                "payment.requested", "payment.requested", "payment.succeeded",
            ]  # fmt: skip
            assert (got[0].event_id, got[0].body) == (got[1].event_id, got[1].body)
            wait_for(receiver, second.order_no, 2)
            until(lambda: house.shown()["delivered"] == 4)
            assert house.shown()["pending"] == 0
        finally:
            assert notifier.stop() == 0, notifier.log.read_text()


def _ended(receiver: Receiver, order_no: str) -> bool:
    told = [got.tells[1] for got in receiver.of(order_no)]
    return told[-1:] == ["payment.succeeded"]


def test_kill_9_under_load_loses_nothing(tmp_path: Path) -> None:
    with open_site(tmp_path) as site, open_house(site) as house:
        receiver = house.receiver()
        notifier = house.process()
        notifier.start()
        try:
            house.caught_up()
            house.register(receiver.url)
            intents = [new_intent() for _ in range(60)]
            for place in range(0, 60, 20):
                answer = site.batch([signed(intent) for intent in intents[place : place + 20]])
                assert {item["code"] for item in answer.json["outcomes"]} == {"ok"}
                notifier.kill()
                notifier.start()
            for intent in intents:
                site.ledger.finish(intent.key)
            for intent in intents:
                until(partial(_ended, receiver, intent.order_no), 20)
        finally:
            assert notifier.stop() == 0, notifier.log.read_text()
        for intent in intents:
            told = [got.tells[1] for got in receiver.of(intent.order_no)]
            assert told == ["payment.requested"] * (len(told) - 1) + ["payment.succeeded"], told
            assert len({got.event_id for got in receiver.of(intent.order_no)}) == 2
