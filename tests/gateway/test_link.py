"""The link: an acquirer's health from its connector to what a gateway does with an intent."""

import asyncio
import json
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from helpers_gateway import (
    MERCHANT,
    OWNER,
    Site,
    merchant,
    new_intent,
    open_site,
    routes,
    signed,
    until,
)
from helpers_gateway import acquirer as acquirer_record
from helpers_link import CONNECTOR, Authority

from clearline import free_ports, refunds, times
from clearline.acquirer_health import Health, HealthReport, parse_answer, report_line
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.refunds import RefundIntent
from connector.link import AcquirerState, GatewayEndpoint, Link, LinkSettings, Sight, observe
from gateway.availability import Availability, Bounds, Heard, Judgement, judge
from gateway.routing import choose

UP = AcquirerState(Health.UP, "", 0)
DOWN = AcquirerState(Health.DOWN, "the acquirer can't be reached", 3)
NOW = 1_000.0
CREATED = times.now()


def heard(health: Health, depth: int = 0, age: float = 1.0) -> Heard:
    return Heard(health, "why", depth, NOW - age)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([], Availability.AVAILABLE),
        ([heard(Health.UP)], Availability.AVAILABLE),
        ([heard(Health.DEGRADED)], Availability.DOUBTFUL),
        ([heard(Health.DOWN)], Availability.UNAVAILABLE),
        ([heard(Health.UP, depth=99)], Availability.AVAILABLE),
        ([heard(Health.UP, depth=100)], Availability.UNAVAILABLE),
        # silence is no refusal, whatever was said before it
        ([heard(Health.DOWN, age=5.1)], Availability.DOUBTFUL),
        ([heard(Health.UP, age=5.1)], Availability.DOUBTFUL),
        # of another boot: the clock it was heard by has begun anew
        ([heard(Health.DOWN, age=-900.0)], Availability.DOUBTFUL),
        # two connectors of one acquirer
        ([heard(Health.DOWN), heard(Health.UP)], Availability.AVAILABLE),
        ([heard(Health.UP, depth=500), heard(Health.UP, depth=5)], Availability.AVAILABLE),
        ([heard(Health.DOWN), heard(Health.UP, age=6.0)], Availability.UNAVAILABLE),
    ],
)
def test_what_reports_mean(reports: list[Heard], expected: Availability) -> None:
    assert judge(reports, NOW, Bounds(100, 2.0)).availability is expected


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ({}, "unionpay"),
        ({"unionpay": Availability.UNAVAILABLE}, "second"),
        ({"unionpay": Availability.DOUBTFUL}, "second"),
        ({"unionpay": Availability.DOUBTFUL, "second": Availability.DOUBTFUL}, "unionpay"),
        ({"unionpay": Availability.UNAVAILABLE, "second": Availability.DOUBTFUL}, "second"),
        ({"second": Availability.UNAVAILABLE}, "unionpay"),
    ],
)
def test_the_gateway_picks_within_the_list_by_health(
    states: dict[str, Availability], expected: str
) -> None:
    intent = new_intent(acquirers=routes("asleep", "unionpay", "second"))
    chosen = choose(
        intent,
        merchant("M-0001", "active"),
        lambda name: acquirer_record(name, "suspended" if name == "asleep" else "active"),
        lambda name: Judgement(states.get(name, Availability.AVAILABLE)),
        "2026-01-01",
    )
    assert chosen.acquirer_id == expected


def test_only_what_the_contract_would_take_counts_as_unavailable() -> None:
    intent = new_intent(acquirers=routes("asleep", "unionpay"))
    for down, code in (("unionpay", Code.ACQUIRER_UNAVAILABLE), ("asleep", None)):
        states = {down: Judgement(Availability.UNAVAILABLE, "why")}
        arguments = (
            intent,
            merchant("M-0001", "active"),
            lambda name: acquirer_record(name, "suspended" if name == "asleep" else "active"),
            lambda name, states=states: states.get(name, Judgement(Availability.AVAILABLE)),
            "2026-01-01",
        )
        if code is None:
            assert choose(*arguments).acquirer_id == "unionpay"
            continue
        with pytest.raises(Refusal) as caught:
            choose(*arguments)
        assert caught.value.code is code


@dataclass
class Linked:
    """A gateway with a link, and connectors' TLS files."""

    site: Site
    port: int
    owner: Authority
    other: Authority
    stranger: Authority

    def ask(self, authority: Authority, *lines: bytes, attributes: bytes = CONNECTOR) -> list[str]:
        """What the gateway answers a client of this authority; its own certificate is trusted."""
        context = ssl.create_default_context(cafile=str(self.site.folder / "cert.pem"))
        context.load_cert_chain(*authority.client("connector", attributes))
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
            wrapped.makefile("rb") as answers,
        ):
            said = []
            for line in lines:
                wrapped.sendall(line)
                said.append(parse_answer(answers.readline()))
            return said

    def state_of(self, acquirer_id: str) -> Judgement:
        judged: Judgement = self.site.app.extensions["clearline"].acquirers.of(acquirer_id)
        return judged

    @contextmanager
    def connector(self, acquirer_id: str, state: list[AcquirerState]) -> Iterator[None]:
        """A connector that reports state[0]."""
        certificate, key = self.owner.client("connector")
        endpoint = GatewayEndpoint(
            "127.0.0.1", self.port, "localhost", self.site.folder / "cert.pem"
        )
        settings = LinkSettings(
            new_intent().network, acquirer_id, f"c-{acquirer_id}", certificate, key, (endpoint,)
        )

        async def look() -> AcquirerState:
            return state[0]

        async def begin() -> asyncio.Task[None]:
            return asyncio.create_task(Link(settings, look).run())

        async def end(task: asyncio.Task[None]) -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        task = self.site.ledger.run(begin())
        try:
            yield
        finally:
            self.site.ledger.run(end(task))


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Linked]:
    folder = tmp_path_factory.mktemp("linked")
    owner, other, stranger = (
        Authority.create(folder, name) for name in ("BankTwo", "BankOne", "Nobody")
    )
    port = free_ports.choose()
    link = {
        "listen": f"127.0.0.1:{port}",
        "tls_cas": {"BankTwo": str(owner.path), "BankOne": str(other.path)},
    }
    with open_site(folder, link=link, acquirer_depth=100, acquirer_backlog_s=1) as site:
        yield Linked(site, port, owner, other, stranger)


def report(**changes: Any) -> HealthReport:
    base = HealthReport(new_intent().network, "second", "c-1", Health.DOWN, "why", 0)
    return replace(base, **changes)


def test_reports_are_taken_from_the_acquirers_owner_only(linked: Linked) -> None:
    lines = [
        report_line(report(health=Health.UP)),
        report_line(report(acquirer_id="unheard-of")),
        report_line(report(network="another")),
        b'{"acquirer_id":"second"}\n',
        b"\xff\n",
        report_line(report()).replace(b'"depth":0', b'"depth":0,"status":"succeeded"'),
    ]
    said = linked.ask(linked.owner, *lines)
    assert said[0] == ""
    assert said[1] == "no such acquirer is on the ledger"
    assert said[2].startswith("this is")
    assert all(said[3:])
    assert "status" in said[5]  # the link has no place for an outcome
    until(lambda: linked.state_of("second").availability is Availability.AVAILABLE)
    assert linked.ask(linked.other, report_line(report())) == ["the acquirer is not BankOne's"]
    time_of_a_look = time.monotonic() + 0.3
    until(lambda: time.monotonic() > time_of_a_look)
    assert linked.state_of("second").availability is Availability.AVAILABLE


def test_who_is_of_no_organisation_is_not_heard(linked: Linked) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, ValueError)):
        linked.ask(linked.stranger, report_line(report()))
    context = ssl.create_default_context(cafile=str(linked.site.folder / "cert.pem"))
    with (
        pytest.raises((ssl.SSLError, ConnectionError)),
        socket.create_connection(("127.0.0.1", linked.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(report_line(report()))
        if not wrapped.recv(100):
            raise ConnectionError("it hung up")


@pytest.mark.parametrize(
    "attributes",
    [
        b"",
        b"{",
        b"[]",
        b'{"attrs":[]}',
        b'{"attrs":{}}',
        b'{"attrs":{"clearline.role":["connector"]}}',
        b'{"clearline.role":"connector"}',
        *(
            CONNECTOR.replace(b"connector", role)
            for role in (b"gateway", b"bank-maker", b"bank-checker", b"supervisor", b"auditor")
        ),
    ],
    ids=lambda attributes: attributes.decode() or "none",
)
def test_another_role_than_a_connectors_is_not_heard(linked: Linked, attributes: bytes) -> None:
    """All of them by the owner's own TLS CA; the acquirer stays as it was."""
    assert linked.ask(linked.owner, report_line(report(health=Health.UP))) == [""]
    (said,) = linked.ask(linked.owner, report_line(report()), attributes=attributes)
    assert said == "your TLS certificate does not give you the role connector"


def test_an_endless_line_ends_the_connection(linked: Linked) -> None:
    with pytest.raises((ConnectionError, ValueError, ssl.SSLError)):
        linked.ask(linked.owner, b"x" * 100_000)
    assert linked.ask(linked.owner, report_line(report(health=Health.UP))) == [""]


def test_down_is_refused_before_the_ledger_and_recovery_is_noticed(linked: Linked) -> None:
    site, state = linked.site, [DOWN]
    with linked.connector("unionpay", state):
        until(lambda: linked.state_of("unionpay").availability is Availability.UNAVAILABLE)
        intent = new_intent()
        endorsed = len(site.ledger.peer.endorsed)
        answer = site.post(signed(intent))
        assert (answer.status_code, answer.json["code"]) == (503, "acquirer_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json["detail"] == "unionpay: the acquirer can't be reached"
        assert len(site.ledger.peer.endorsed) == endorsed
        batch = site.batch([signed(new_intent()), signed(new_intent(acquirers=routes("second")))])
        assert [item["status"] for item in batch.json["outcomes"]] == [503, 201]
        assert int(batch.headers["Retry-After"]) >= 1
        both = site.post(signed(new_intent(acquirers=routes("unionpay", "second"))))
        assert (both.status_code, both.json["acquirer_id"]) == (201, "second")
        state[0] = UP
        began = time.monotonic()
        until(lambda: site.post(signed(intent)).status_code == 201)
        assert time.monotonic() - began < 3.0
        assert site.ledger.holds(intent.key)
        # On the ledger: its answer comes whatever became of the acquirer.
        state[0] = DOWN
        until(lambda: linked.state_of("unionpay").availability is Availability.UNAVAILABLE)
        assert site.post(signed(intent)).status_code == 200
        state[0] = AcquirerState(Health.UP, "", 100)
        until(lambda: "payments wait" in linked.state_of("unionpay").reason)
        assert site.post(signed()).json["code"] == "acquirer_unavailable"


def test_a_refund_is_held_back_while_its_payment_s_acquirer_is_away(linked: Linked) -> None:
    """By the route of the payment: a refund has no other. What is on the ledger is answered."""
    site, state = linked.site, [UP]
    with linked.connector("unionpay", state):
        until(lambda: linked.state_of("unionpay").availability is Availability.AVAILABLE)
        key, elsewhere, known = (paid(site, name) for name in ("unionpay", "second", "unionpay"))
        assert post_refund(site, known).status_code == 201
        state[0] = DOWN
        until(lambda: linked.state_of("unionpay").availability is Availability.UNAVAILABLE)
        endorsed = len(site.ledger.peer.endorsed)
        answer = post_refund(site, key)
        assert (answer.status_code, answer.json["code"]) == (503, "acquirer_unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json["detail"] == "unionpay: the acquirer can't be reached"
        assert len(site.ledger.peer.endorsed) == endorsed
        assert post_refund(site, elsewhere).status_code == 201
        assert post_refund(site, known).status_code == 200
        assert post_refund(site, known, amount=99).json["code"] == "conflict"
        nothing = PaymentKey(MERCHANT, "nothing-known", 1)  # the contract's to say
        assert post_refund(site, nothing).json["code"] == "payment_unknown"
        state[0] = AcquirerState(Health.UP, "", 100)
        until(lambda: "payments wait" in linked.state_of("unionpay").reason)
        assert post_refund(site, key).json["code"] == "acquirer_unavailable"
        state[0] = UP
        until(lambda: post_refund(site, key).status_code == 201)


def paid(site: Site, acquirer: str) -> PaymentKey:
    """A payment by this acquirer, on the ledger, that has succeeded."""
    intent = new_intent(acquirers=routes(acquirer))
    assert site.post(signed(intent)).status_code == 201
    site.ledger.finish(intent.key)
    until(lambda: site.get(f"/v1/payments/{intent.order_no}").json["final"])
    return intent.key


def post_refund(site: Site, key: PaymentKey, amount: int = 100) -> Any:
    """The first refund of a payment; the same text each time."""
    intent = RefundIntent(
        "clearline-dev", *key, 1, amount, "CNY", CREATED, times.after(CREATED, 86_400)
    )
    return site.client.post(
        f"/v1/payments/{key.order_no}/refunds",
        data=refunds.sign(intent, OWNER),
        content_type="application/jose",
    )


def test_a_backlog_beyond_its_pace_is_refused_until_it_is_worked_off(linked: Linked) -> None:
    site = linked.site
    with linked.connector("unionpay", [UP]):
        until(lambda: linked.state_of("unionpay").availability is Availability.AVAILABLE)
        crowd = [new_intent() for _ in range(100)]
        taken = site.batch([signed(intent) for intent in crowd])
        # All at once, for an acquirer of which no pace is known.
        assert {item["status"] for item in taken.json["outcomes"]} == {201}
        waiting = deque(intent.key for intent in crowd)

        def behind_after_one_more() -> bool:
            site.ledger.finish(waiting.popleft())
            return linked.state_of("unionpay").crowded

        until(behind_after_one_more)
        answer = site.post(signed())
        assert (answer.status_code, answer.json["code"]) == (503, "acquirer_unavailable")
        assert "s of its pace" in answer.json["detail"]
        assert 1 <= int(answer.headers["Retry-After"]) <= 5
        # One that is on the ledger is answered, and another acquirer takes what names it too.
        mixed = [crowd[0], new_intent(), new_intent(acquirers=routes("unionpay", "second"))]
        batch = site.batch([signed(intent) for intent in mixed])
        assert [item["status"] for item in batch.json["outcomes"]] == [200, 503, 201]
        assert int(batch.headers["Retry-After"]) >= 1
        metrics = site.client.get("/metrics").text
        pattern = r'clearline_acquirer_(?:pace|backlog_seconds)\{acquirer_id="unionpay"\} (\S+)'
        seconds, pace = map(float, re.findall(pattern, metrics))
        assert seconds > 1 and pace > 0
        for key in waiting:
            site.ledger.finish(key)
        until(lambda: site.post(signed()).status_code == 201)


def test_a_connector_that_falls_silent_is_avoided_and_not_refused(linked: Linked) -> None:
    linked.ask(linked.owner, report_line(report(acquirer_id="unionpay", connector="c-unionpay")))
    linked.ask(linked.owner, report_line(report(health=Health.UP)))
    until(lambda: linked.state_of("unionpay").availability is Availability.DOUBTFUL)
    linked.ask(linked.owner, report_line(report(health=Health.UP)))
    until(lambda: linked.state_of("second").availability is Availability.AVAILABLE)
    posted = linked.site.post(signed(new_intent(acquirers=routes("unionpay", "second"))))
    assert posted.json["acquirer_id"] == "second"
    assert linked.site.post(signed()).status_code == 201


def test_the_link_comes_back_after_the_committer(linked: Linked) -> None:
    with linked.connector("unionpay", [DOWN]):
        until(lambda: linked.state_of("unionpay").availability is Availability.UNAVAILABLE)
        linked.site.committer.stop()
        linked.site.committer.start()
        until(lambda: linked.state_of("unionpay").availability is Availability.UNAVAILABLE)
        assert json.loads((linked.site.folder / "settings.json").read_text())["link"]


def test_what_a_connector_sees() -> None:
    async def ready() -> None:
        return

    async def never() -> None:
        await asyncio.Event().wait()

    async def look() -> list[AcquirerState]:
        sight = Sight()
        seen = [await observe(never, 7, 9, sight, 0), await observe(ready, 7, 4, sight, 4)]
        seen += [await observe(ready, 7, 5, sight, 4), await observe(never, 7, 9, sight, 0)]
        seen.append(await observe(ready, 7, 0, sight, 5))
        assert sight.ready_at is not None
        sight.ready_at -= 2.0
        return [*seen, await observe(never, 7, 9, sight, 0)]

    at_first, up, degraded, cut, mute, down = asyncio.run(look())
    assert at_first == down
    assert (cut.health, cut.reason) == (Health.DEGRADED, "its connection was cut")
    assert up == AcquirerState(Health.UP, "", 7)
    assert (degraded.health, degraded.reason) == (Health.DEGRADED, "5 payments are in doubt")
    assert (mute.health, mute.reason) == (Health.DOWN, "its requests get no answer")
    assert (down.health, down.depth) == (Health.DOWN, 7)
