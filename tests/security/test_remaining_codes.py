"""Refused for what stands on the ledger, or for the form of what is asked: at both gateways, and
straight at the chaincode."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import parties
import requests
from parties import MERCHANT, ONE, OWNER, TWO
from security_world import Web, World

from clearline import intents, processes, supervisor
from clearline.codes import Code
from clearline.intents import PayIntent, Route

CARD = "4111111111111111"
_rounds = count(1)


def refused(world: World, wanted: PayIntent, code: str) -> None:
    """By everybody, and the ledger has nothing of it."""
    compact = intents.sign(wanted, OWNER)
    for web in world.web:
        answer = web.post(compact)
        said = (answer.status_code, answer.json()["code"])
        assert said == (Code(code).http_status, code), answer.text
    item = {"intent": compact, "acquirer_id": wanted.acquirers[0].acquirer_id}
    committed = world.submit(world.user("BankTwo", "gateway"), "SubmitIntents", [item])
    if committed.refused:  # the whole proposal: nothing of it may stand in a block
        assert f" {code}:" in committed.said
        return
    assert committed.codes == [code]
    key = f"{wanted.merchant_id}/{wanted.order_no}/{wanted.attempt:04d}"
    assert world.record("payment", key) is None


@contextmanager
def suspended(world: World, kind: str, member: str, name: str) -> Iterator[None]:
    """Until the block ends."""
    parties.approve(
        world, "BankOne", (kind, {member: name, "status": "suspended"}), name=f"s{next(_rounds)}"
    )
    try:
        yield
    finally:
        parties.approve(
            world, "BankOne", (kind, {member: name, "status": "active"}), name=f"a{next(_rounds)}"
        )


def test_a_suspended_merchant_can_not_be_paid(world: World) -> None:
    with suspended(world, "merchant_status", "merchant_id", MERCHANT):
        wanted = at_block(world, parties.intent())
        refused(world, wanted, "merchant_inactive")
    parties.requested(world)


def test_a_suspended_acquirer_takes_nothing(world: World) -> None:
    with suspended(world, "acquirer_status", "acquirer_id", ONE):
        refused(world, at_block(world, parties.intent()), "acquirer_inactive")
    parties.requested(world)


def at_block(world: World, wanted: PayIntent) -> PayIntent:
    """The same, once every gateway has the last block."""
    for web in world.web:
        token = web.token(MERCHANT, OWNER)
        web.ask("GET", f"/v1/payments/none?min_block={world.last_block}", headers=token)
    return wanted


def test_what_an_acquirer_does_not_take(world: World) -> None:
    refused(world, parties.intent(currency="USD"), "currency_not_accepted")
    route = Route(TWO, parties.CODE_TWO, "tok_approve")
    refused(world, parties.intent(currency="USD", acquirers=(route,)), "currency_not_accepted")


def test_an_epoch_that_is_not_the_next(world: World) -> None:
    connector = world.user("BankOne", "connector")
    item = {"acquirer_id": ONE, "epoch": 9, "holder": "hasty"}
    assert world.submit(connector, "TakeLease", [item]).codes == ["lease_taken"]
    assert world.record("lease", ONE) is None


def test_a_card_number(world: World) -> None:
    refused(world, parties.intent(order_no=f"{CARD}-{next(_rounds)}"), "card_data_refused")


def test_a_function_that_there_is_not(world: World) -> None:
    gateway = world.user("BankTwo", "gateway")
    for answer in (
        world.submit(gateway, "GiveMoney", []),
        world.evaluate(gateway, "GiveMoney", []),
    ):
        assert (answer.refused, answer.code) == ("contract", "function_unknown"), answer.said


def test_a_block_that_is_far_away(world: World) -> None:
    """Waited for a little, at each read that says from when it must be."""
    for web in world.web:
        token = web.token(MERCHANT, OWNER)
        for path in ("/v1/payments", "/v1/payments/x", "/v1/payments/x/refunds"):
            far = f"{path}?min_block={world.last_block + 1_000}"
            assert told(web, "GET", far, headers=token) == (503, "block_not_reached")


def test_a_committer_that_stands(world: World) -> None:
    """A post is refused when it has not answered, or waits in it: either way it is safe to send
    again, and is one payment."""
    wanted = at_block(world, parties.intent())
    compact, web = intents.sign(wanted, OWNER), world.web[1]
    status = supervisor.status(world.house.run_dir, "rooms")
    assert status is not None
    (victim,) = (one for one in status.processes if one.name == "committer-banktwo")
    assert victim.id is not None
    assert processes.send_signal(victim.id, signal.SIGSTOP)
    try:
        refused = web.post(compact, Prefer="respond-async, wait=0")
        assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
    finally:
        assert processes.send_signal(victim.id, signal.SIGCONT)
    again = web.post(compact)
    assert again.status_code in (200, 201), again.text
    assert web.post(compact).json()["tx_id"] == again.json()["tx_id"]


def test_forms(world: World) -> None:
    """Whoever knows the address and not the form is told what is wrong with it."""
    for web in world.web:
        token = web.token(MERCHANT, OWNER)
        assert told(web, "GET", "/v1/nothing") == (404, "not_found")
        assert told(web, "PUT", "/v1/payments") == (405, "method_not_allowed")
        text = {"Content-Type": "text/plain"}
        answer = told(web, "POST", "/v1/payments", data="x", headers=text)
        assert answer == (415, "unsupported_media_type")
        wishes = token | {"Accept": "image/png"}
        assert told(web, "GET", "/v1/payments", headers=wishes) == (406, "not_acceptable")
        answer = told(web, "GET", "/v1/payments?limit=none", headers=token)
        assert answer == (400, "parameter_invalid")
        many: dict[str, Any] = {"intents": ["x"] * 201}
        assert told(web, "POST", "/v1/payments/batch", json=many) == (413, "batch_too_large")
        once = Web(web.url, web.bank, web.ca)  # what is too long is not read: the connection ends
        jose = {"Content-Type": "application/jose"}
        answer = told(once, "POST", "/v1/payments", data="x" * 2**20, headers=jose)
        assert answer == (413, "payload_too_large")
        once.close()


def told(web: Web, method: str, path: str, **more: Any) -> tuple[int, str]:
    """Status and code."""
    answer: requests.Response = web.ask(method, path, **more)
    return answer.status_code, str(answer.json().get("code"))
