"""Hostile intents, at both gateways and straight at the chaincode, committed: nothing comes of
any of them."""

from __future__ import annotations

import json

import forged_jws as forge
import parties
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hostile_intents import CASES, Case, signed
from parties import ONE, OWNER, OWNER_ES256
from security_world import World

from clearline import intents, jws
from clearline.intents import PaymentKey
from clearline.jws import JwsError

AT_GATEWAY = [(place, case) for case in CASES if case.at_gateway for place in (0, 1)]


def on_ledger(world: World, key: PaymentKey) -> bool:
    return (
        world.record("payment", f"{key.merchant_id}/{key.order_no}/{key.attempt:04d}") is not None
    )


def claimed(compact: str) -> PaymentKey | None:
    """The payment a text claims to ask for, if it claims one."""
    try:
        payload = json.loads(jws.decode(compact.split(".")[1]))
        return PaymentKey(payload["merchant_id"], payload["order_no"], int(payload["attempt"]))
    except (JwsError, ValueError, IndexError, KeyError):
        return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_at_the_chaincode(world: World, case: Case) -> None:
    """By a member's gateway that checks nothing: committed, refused, and without effect."""
    compact = case.make(signed)
    gateway = world.user("BankTwo", "gateway")
    item = {"intent": compact, "acquirer_id": case.route}
    answer = world.submit(gateway, "SubmitIntents", [item])
    assert answer.codes == [case.code], answer.value
    key = claimed(compact)
    assert key is None or not on_ledger(world, key)


@pytest.mark.parametrize(("place", "case"), AT_GATEWAY, ids=lambda v: getattr(v, "name", str(v)))
def test_at_a_gateway(world: World, place: int, case: Case) -> None:
    """Alone, and in a batch beside a sound one, which it does not spoil."""
    alone = world.web[place].post(case.make(signed))
    assert alone.json().get("code") == case.code, alone.text
    assert alone.status_code >= 400
    batch = world.web[place].batch([case.make(signed)])
    assert [outcome["code"] for outcome in batch.json()["outcomes"]] == [case.code], batch.text


def test_a_bad_one_spoils_no_batch(world: World) -> None:
    gateway = world.user("BankTwo", "gateway")
    good = parties.intent()
    bad = [{"intent": case.make(signed), "acquirer_id": case.route} for case in CASES]
    half = len(bad) // 2
    answer = world.submit(gateway, "SubmitIntents", [*bad[:half], parties.item(good), *bad[half:]])
    expected = [case.code for case in CASES]
    assert answer.codes == [*expected[:half], "ok", *expected[half:]]
    assert on_ledger(world, good.key)


def test_replayed_by_every_gateway(world: World) -> None:
    """The same intent, as often as anybody likes: one payment, the first answer each time."""
    compact = signed()
    item = {"intent": compact, "acquirer_id": ONE}
    first = world.submit(world.user("BankOne", "gateway"), "SubmitIntents", [item])
    assert first.codes == ["ok"]
    for bank in ("BankOne", "BankTwo"):
        again = world.submit(world.user(bank, "gateway"), "SubmitIntents", [item, item])
        assert again.codes == ["duplicate", "duplicate"]
        assert {outcome["tx_id"] for outcome in again.value} == {first.value[0]["tx_id"]}
    for web in world.web:
        assert web.post(compact).status_code == 200
        codes = [one["code"] for one in web.batch([compact, compact]).json()["outcomes"]]
        assert codes == ["duplicate", "duplicate"]


def test_another_spelling_of_a_signature_is_the_same_intent(world: World) -> None:
    """ECDSA has a second S: it verifies, and buys nothing."""
    compact = signed(OWNER_ES256)
    gateway = world.user("BankOne", "gateway")
    items = [{"intent": one, "acquirer_id": ONE} for one in (compact, forge.other_s(compact))]
    assert world.submit(gateway, "SubmitIntents", items).codes == ["ok", "duplicate"]


def test_another_intent_for_the_same_payment(world: World) -> None:
    """Signed by the same merchant, for more: refused at once, here and there."""
    wanted = parties.requested(world)
    more = intents.sign(parties.intent(order_no=wanted.order_no, amount=wanted.amount * 2), OWNER)
    item = {"intent": more, "acquirer_id": ONE}
    for bank in ("BankOne", "BankTwo"):
        answer = world.submit(world.user(bank, "gateway"), "SubmitIntents", [item])
        assert answer.codes == ["conflict"]
    for web in world.web:
        refused = web.post(more)
        assert (refused.status_code, refused.json()["code"]) == (422, "conflict")


@pytest.mark.parametrize("bank", ["BankOne", "BankTwo"])
@pytest.mark.parametrize("named", [OWNER, OWNER_ES256], ids=lambda key: key.algorithm.value)
def test_a_gateway_that_invents(world: World, bank: str, named: jws.KeySigner) -> None:
    """It signs a payment with the one key it has, its Fabric identity's, in the merchant's name."""
    pem = world.profile(bank, "gateway").private_key.read_bytes()
    own = serialization.load_pem_private_key(pem, None)
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    header, payload, _ = forge.parts(signed())
    invented = forge.es256_with(
        own, header | {"kid": named.key_id, "alg": named.algorithm.value}, payload
    )
    item = {"intent": invented, "acquirer_id": ONE}
    answer = world.submit(world.user(bank, "gateway"), "SubmitIntents", [item])
    assert answer.codes == ["signature_invalid"]
    assert not on_ledger(world, PaymentKey(payload["merchant_id"], payload["order_no"], 1))


def test_a_close_by_anybody_else(world: World) -> None:
    """Another merchant, a stranger, the bank, a revoked key: the payment goes on."""
    wanted = parties.requested(world)
    closing = parties.close(wanted)
    gateway = world.user("BankOne", "gateway")
    signers = {
        parties.OTHER: "key_unknown",
        parties.STRANGER: "key_unknown",
        parties.BANK_ONE: "key_unknown",
        parties.OWNER_OLD: "key_revoked",
    }
    items = [{"intent": intents.sign(closing, signer)} for signer in signers]
    items.append({"intent": forge.altered(intents.sign(parties.close(parties.intent()), OWNER),
                                          order_no=wanted.order_no)})  # fmt: skip
    answer = world.submit(gateway, "SubmitIntents", items)
    assert answer.codes == [*signers.values(), "signature_invalid"]
    record = world.record("payment", f"{wanted.merchant_id}/{wanted.order_no}/0001")
    assert (record["status"], record["close"]) == ("requested", "")


@pytest.mark.parametrize(
    "argument",
    [
        b'[{"intent":"a.b.c","intent":"a.b.c","acquirer_id":"quiet-one"}]',
        b'[{"intent":"a.b.c","acquirer_id":"quiet-one"}] []',
        b'{"0":{"intent":"a.b.c","acquirer_id":"quiet-one"}}',
        b"[1e2]",
        b"[" * 40 + b"]" * 40,
        b"\xff[]",
        b"",
        b"[]",
        b"null",
    ],
    ids=lambda raw: raw.decode("latin-1")[:30],
)
def test_an_argument_that_two_parsers_would_read_differently(world: World, argument: bytes) -> None:
    answer = world.endorse(world.user("BankOne", "gateway"), "SubmitIntents", argument)
    assert answer.refused == "contract"
    assert "malformed: " in answer.said


def test_a_batch_body_with_a_member_twice(world: World) -> None:
    compact = signed()
    body = f'{{"intents":["{compact}"],"intents":["{compact}"]}}'
    for web in world.web:
        refused = web.ask(
            "POST",
            "/v1/payments/batch",
            data=body,
            headers={"Content-Type": "application/json"},
        )
        assert (refused.status_code, refused.json()["code"]) == (400, "malformed")
