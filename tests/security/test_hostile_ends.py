"""Hostile refunds and closes, at both gateways and straight at the chaincode, committed: a payment
that has succeeded keeps its money, one that is open goes on."""

from __future__ import annotations

from typing import Any

import parties
import pytest
import requests
from canary_inputs import post_refund
from hostile_ends import CLOSES, REFUNDS, close_of, refund_of
from hostile_intents import Case, signed
from parties import MERCHANT, ONE, OTHER_MERCHANT, OWNER
from security_world import World

from clearline.intents import PayIntent

PLACES = (0, 1)


@pytest.fixture(scope="module")
def settled(world: World) -> PayIntent:
    """A payment that has succeeded, and that nobody soundly refunds."""
    return seen(world, parties.paid(world))


@pytest.fixture(scope="module")
def waiting(world: World) -> PayIntent:
    """A payment that is open, and that nobody soundly closes."""
    return seen(world, parties.requested(world))


def seen(world: World, of: PayIntent) -> PayIntent:
    """The same, once every gateway has its block."""
    for web in world.web:
        token = web.token(MERCHANT, OWNER)
        web.ask("GET", f"/v1/payments/none?min_block={world.last_block}", headers=token)
    return of


def submitted(world: World, compact: str, **more: str) -> list[str]:
    """The codes for an item, by a member's gateway that checks nothing."""
    gateway = world.user("BankTwo", "gateway")
    return world.submit(gateway, "SubmitIntents", [{"intent": compact} | more]).codes


def ids(value: Any) -> str:
    return str(getattr(value, "name", value))


def untouched(world: World, of: PayIntent) -> None:
    """Nothing of a close or a refund is on the ledger, under any number or anybody's name."""
    record = payment(world, of)
    assert (record["close"], record["refunded_amount"]) == ("", 0)
    for merchant in (MERCHANT, OTHER_MERCHANT):
        for attempt in (1, 2):
            for number in (1, 2):
                name = f"{merchant}/{of.order_no}/{attempt:04d}/{number:04d}"
                assert world.record("refund", name) is None
    assert world.record("refund", f"{MERCHANT}/mine/0001/0001") is None


def payment(world: World, of: PayIntent) -> Any:
    """Its record."""
    return world.record("payment", f"{of.merchant_id}/{of.order_no}/{of.attempt:04d}")


@pytest.mark.parametrize("case", REFUNDS, ids=ids)
def test_a_refund_at_the_chaincode(world: World, settled: PayIntent, case: Case) -> None:
    assert submitted(world, case.make(refund_of(settled))) == [case.code]
    untouched(world, settled)


@pytest.mark.parametrize("case", CLOSES, ids=ids)
def test_a_close_at_the_chaincode(world: World, waiting: PayIntent, case: Case) -> None:
    assert submitted(world, case.make(close_of(waiting))) == [case.code]
    untouched(world, waiting)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", [one for one in REFUNDS if one.at_gateway], ids=ids)
def test_a_refund_at_a_gateway(world: World, settled: PayIntent, case: Case, place: int) -> None:
    """At the address of the order that it names."""
    order_no = "mine" if case.name == "order" else settled.order_no
    said = post_refund(world.web[place], order_no, case.make(refund_of(settled)))
    is_refused(said, case.code)
    untouched(world, settled)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", [one for one in CLOSES if one.at_gateway], ids=ids)
def test_a_close_at_a_gateway(world: World, waiting: PayIntent, case: Case, place: int) -> None:
    """Alone, and in a batch."""
    is_refused(world.web[place].post(case.make(close_of(waiting))), case.code)
    batch = world.web[place].batch([case.make(close_of(waiting))])
    assert [outcome["code"] for outcome in batch.json()["outcomes"]] == [case.code], batch.text
    untouched(world, waiting)


def is_refused(said: requests.Response, code: str) -> None:
    assert said.json().get("code") == code, said.text
    assert said.status_code >= 400


def test_to_another_acquirer(world: World, settled: PayIntent, waiting: PayIntent) -> None:
    """Where money goes back, and what is closed, no courier chooses."""
    for of, compact in ((settled, refund_of(settled)()), (waiting, close_of(waiting)())):
        for route in (ONE, parties.TWO, "nobody"):
            assert submitted(world, compact, acquirer_id=route) == ["malformed"]
        untouched(world, of)


@pytest.mark.parametrize("place", PLACES)
def test_at_the_wrong_address(
    world: World, settled: PayIntent, waiting: PayIntent, place: int
) -> None:
    """A refund where payments go, the others where refunds go, a refund of another order."""
    web = world.web[place]
    sound = refund_of(settled)()
    is_refused(web.post(sound), "malformed")
    assert [one["code"] for one in web.batch([sound]).json()["outcomes"]] == ["malformed"]
    is_refused(post_refund(web, waiting.order_no, sound), "malformed")
    is_refused(post_refund(web, settled.order_no, close_of(waiting)()), "malformed")
    wanted = parties.intent()
    is_refused(post_refund(web, wanted.order_no, signed(order_no=wanted.order_no)), "malformed")
    assert payment(world, wanted) is None
    for of in (settled, waiting):
        untouched(world, of)


@pytest.mark.parametrize("place", PLACES)
def test_of_a_payment_that_is_at_another_point(
    world: World, settled: PayIntent, waiting: PayIntent, place: int
) -> None:
    """A refund of what is not paid, a close of what has succeeded."""
    is_refused(post_refund(world.web[place], waiting.order_no, refund_of(waiting)()),
               "not_refundable")  # fmt: skip
    is_refused(world.web[place].post(close_of(settled)()), "already_final")
    assert submitted(world, refund_of(waiting)()) == ["not_refundable"]
    assert submitted(world, close_of(settled)()) == ["already_final"]
    untouched(world, settled)
    untouched(world, waiting)


def test_a_refund_replayed_by_every_gateway(world: World) -> None:
    """Sound it is taken, so nothing but what was spoilt refused the others; and taken once."""
    of = seen(world, parties.paid(world))
    compact = refund_of(of)()
    assert submitted(world, compact) == ["ok"]
    name = f"{MERCHANT}/{of.order_no}/0001/0001"
    taken = world.record("refund", name)
    for bank in ("BankOne", "BankTwo"):
        item = {"intent": compact}
        again = world.submit(world.user(bank, "gateway"), "SubmitIntents", [item, item])
        assert again.codes == ["duplicate", "duplicate"]
        assert {outcome["tx_id"] for outcome in again.value} == {taken["txs"][0]}
    more = refund_of(of)(amount=1)
    assert submitted(world, more) == ["conflict"]
    for web in world.web:
        assert post_refund(web, of.order_no, compact).status_code == 200
        is_refused(post_refund(web, of.order_no, more), "conflict")
        # Its number is taken, and it has not ended: the next can't go past it.
        is_refused(post_refund(web, of.order_no, refund_of(of)(refund_no=2)), "refund_out_of_order")
    assert world.record("refund", name) == taken
    assert world.record("refund", name.replace("/0001/0001", "/0001/0002")) is None


def test_a_close_replayed_by_every_gateway(world: World) -> None:
    """Sound it is taken, once."""
    of = seen(world, parties.requested(world))
    compact = close_of(of)()
    assert submitted(world, compact) == ["ok"]
    taken = payment(world, of)
    assert taken["close"] != ""
    for bank in ("BankOne", "BankTwo"):
        item = {"intent": compact}
        again = world.submit(world.user(bank, "gateway"), "SubmitIntents", [item, item])
        assert again.codes == ["duplicate", "duplicate"]
    for web in world.web:
        assert web.post(compact).status_code == 200
        codes = [one["code"] for one in web.batch([compact, compact]).json()["outcomes"]]
        assert codes == ["duplicate", "duplicate"]
    assert payment(world, of) == taken
