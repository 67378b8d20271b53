"""Hostile reports, straight at the chaincode, committed: no payment moves by any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import forged_jws as forge
import parties
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from parties import BANK_ONE, BANK_ONE_ES256, BANK_ONE_OLD, BANK_TWO, ONE, STRANGER, TWO
from security_world import Who, World

from clearline import jws
from clearline.intents import PayIntent
from clearline.reports import acquirer_reference
from clearline.statuses import Reason, ReportKind, Status

ACCEPTED: dict[str, Any] = {
    "kind": ReportKind.RESPONSE,
    "status": Status.ACCEPTED,
    "reason": Reason.ACCEPTED,
}
DECLINED: dict[str, Any] = {"status": Status.DECLINED, "reason": Reason.DO_NOT_HONOR}
_SUPERVISORS = Who("Supervisor", "connector")


@dataclass(frozen=True)
class Case:
    """`make` gives the text about a payment; `bank` is the submitting connector's."""

    name: str
    code: str
    make: Callable[[PayIntent], Any]
    bank: str = "BankOne"


def said(signer: jws.KeySigner = BANK_ONE, **changed: Any) -> Callable[[PayIntent], str]:
    """A report with these fields."""
    return lambda of: parties.signed_report(of, signer, **changed)


def headed(signer: jws.KeySigner, **members: Any) -> Callable[[PayIntent], str]:
    """A sound report under a header with these members."""
    return lambda of: forge.headed(parties.signed_report(of), signer, **members)


def of_another_payment(of: PayIntent) -> str:
    """Everything this payment's, but the intent's digest another's."""
    return parties.signed_report(of, intent_digest=parties.intent().digest())


def moved(**members: Any) -> Callable[[PayIntent], str]:
    """A sound report of another payment, its signature kept, made to name this one."""

    def make(of: PayIntent) -> str:
        other = parties.signed_report(parties.intent())
        about = {"order_no": of.order_no, "intent_digest": of.digest()}
        reference = {"acquirer_reference": acquirer_reference(of.key, of.network)}
        return forge.altered(other, **(about | reference | members))

    return make


def doubled(member: str, value: Any, part: str = "payload") -> Callable[[PayIntent], str]:
    """A member that stands twice, signed soundly."""
    return lambda of: forge.twice(parties.signed_report(of), BANK_ONE, part, member, value)


def under_epoch(epoch: int) -> Callable[[PayIntent], dict[str, Any]]:
    """Submitted under a lease that is not in force."""
    return lambda of: {"report": parties.signed_report(of), "epoch": epoch}


def intent_as_report(of: PayIntent) -> str:
    """The merchant's own intent, named a report."""
    return forge.headed(parties.item(of)["intent"], parties.OWNER, typ="clearline-report+jws")


CASES = (
    # the wrong acquirer, the wrong bank
    Case("by another bank's connector", "role_forbidden", said(), "BankTwo"),
    Case("by the supervisor's connector", "role_forbidden", said(), "Supervisor"),
    Case("by another acquirer", "acquirer_mismatch", said(BANK_TWO, acquirer_id=TWO), "BankTwo"),
    Case("another acquirer's key", "key_unknown", said(BANK_TWO)),
    Case("an acquirer nobody knows", "acquirer_unknown", said(acquirer_id="nobody")),
    # a connector that invents
    Case("the merchant's key", "key_unknown", said(parties.OWNER)),
    Case("a stranger's key", "key_unknown", said(STRANGER)),
    Case("a stranger in the bank's name", "signature_invalid",
         headed(STRANGER, kid=BANK_ONE.key_id)),
    Case("a revoked key", "key_revoked", said(BANK_ONE_OLD)),
    # something else than was asked
    Case("another amount", "amount_mismatch", said(amount=1)),
    Case("another currency", "amount_mismatch", said(currency="USD")),
    Case("another reference", "reference_mismatch", said(acquirer_reference="0" * 40)),
    Case("money at another code", "reported_code_mismatch", said(merchant_code="OTHER1")),
    Case("another intent", "intent_mismatch", of_another_payment),
    Case("a payment nobody asked for", "payment_unknown",
         lambda of: parties.signed_report(parties.intent())),
    Case("another attempt", "payment_unknown", said(attempt=2)),
    Case("another network", "network_mismatch", said(network="other-net")),
    Case("the second before the first", "sequence_gap", said(sequence=2)),
    Case("number zero", "malformed", said(sequence=0)),
    Case("a reversal of nothing", "transition_forbidden", said(
        kind=ReportKind.REVERSAL, status=Status.DECLINED, reason=Reason.REVERSED)),
    Case("a status of no report", "malformed", lambda of: forge.with_payload(
        parties.signed_report(of), BANK_ONE, status="requested")),
    # replayed, altered
    Case("another payment's", "signature_invalid", moved()),
    Case("another's with its amount", "signature_invalid", moved(amount=2933)),
    Case("declined made succeeded", "signature_invalid", lambda of: forge.altered(
        parties.signed_report(of, **DECLINED), status="succeeded", reason="approved")),
    Case("under an epoch not in force", "lease_lost", under_epoch(1)),
    # algorithms
    Case("EdDSA", "malformed", headed(BANK_ONE, alg="EdDSA")),
    Case("none", "malformed", lambda of: forge.unsecured(parties.signed_report(of))),
    Case("HS256 with the public key", "malformed", lambda of: forge.with_hmac(
        parties.signed_report(of), jws.decode(BANK_ONE.jwk["x"]))),
    Case("ES256 on the Ed25519 key", "signature_invalid", headed(BANK_ONE, alg="ES256")),
    Case("Ed25519 on the ES256 key", "signature_invalid", lambda of: forge.headed(
        parties.signed_report(of, BANK_ONE_ES256), BANK_ONE_ES256, alg="Ed25519")),
    Case("S + L", "signature_invalid",
         lambda of: forge.other_s(parties.signed_report(of))),
    Case("a key in the header", "malformed", headed(STRANGER, jwk=STRANGER.jwk)),
    # forms
    Case("status twice", "malformed", doubled("status", "succeeded")),
    Case("sequence twice", "malformed", doubled("sequence", 1)),
    Case("alg twice", "malformed", doubled("alg", "Ed25519", "header")),
    Case("an unknown member", "malformed", lambda of: forge.with_payload(
        parties.signed_report(of), BANK_ONE, payee="me")),
    Case("an intent", "malformed", lambda of: parties.item(of)["intent"]),
    Case("an intent named a report", "malformed", intent_as_report),
    Case("a report named an intent", "malformed", headed(BANK_ONE, typ="clearline-intent+jws")),
)  # fmt: skip


def record(world: World, of: PayIntent) -> Any:
    return world.record("payment", f"{of.merchant_id}/{of.order_no}/{of.attempt:04d}")


@pytest.fixture(scope="module")
def waiting(world: World) -> PayIntent:
    """A payment that has heard nothing yet, and never will from these."""
    return parties.requested(world)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_comes_of_it(world: World, waiting: PayIntent, case: Case) -> None:
    connector = (
        world.user(case.bank, "connector")
        if case.bank != "Supervisor"
        else world.signer(_SUPERVISORS)
    )
    before = record(world, waiting)
    answer = world.submit(connector, "SubmitReports", [case.make(waiting)])
    assert answer.codes == [case.code], answer.value
    assert record(world, waiting) == before
    assert before["reports"] == []


def test_a_connector_that_invents(world: World, waiting: PayIntent) -> None:
    """It signs with the one key that Fabric gave it, in the bank's name."""
    pem = world.profile("BankOne", "connector").private_key.read_bytes()
    own = serialization.load_pem_private_key(pem, None)
    assert isinstance(own, ec.EllipticCurvePrivateKey)
    header, payload, _ = forge.parts(parties.signed_report(waiting))
    invented = [
        forge.es256_with(own, header | {"kid": key.key_id, "alg": key.algorithm.value}, payload)
        for key in (BANK_ONE, BANK_ONE_ES256)
    ]
    answer = world.submit(world.user("BankOne", "connector"), "SubmitReports", invented)
    assert answer.codes == ["signature_invalid", "signature_invalid"]
    assert record(world, waiting)["status"] == "requested"


def test_a_result_does_not_serve_another_attempt(world: World) -> None:
    """Attempt 1 was declined, attempt 2 waits: neither the old result nor its like moves it."""
    first = parties.requested(world)
    connector = world.user("BankOne", "connector")
    declined = parties.signed_report(first, **DECLINED)
    assert world.submit(connector, "SubmitReports", [declined]).codes == ["ok"]
    second = parties.requested(world, order_no=first.order_no, attempt=2)
    replayed = [
        declined,
        forge.altered(declined, attempt=2),
        parties.signed_report(second, intent_digest=first.digest()),
    ]
    answer = world.submit(connector, "SubmitReports", replayed)
    assert answer.codes == ["duplicate", "signature_invalid", "intent_mismatch"]
    assert record(world, second)["status"] == "requested"


def test_the_same_result_again_and_its_contradiction(world: World) -> None:
    """Again: the first answer. The other way round: both are kept, the first counts."""
    wanted = parties.requested(world)
    connector = world.user("BankOne", "connector")
    succeeded = parties.signed_report(wanted)
    assert world.submit(connector, "SubmitReports", [succeeded, succeeded]).codes == [
        "ok",
        "duplicate",
    ]
    declined = parties.signed_report(wanted, **DECLINED)
    assert world.submit(connector, "SubmitReports", [declined]).codes == ["equivocation"]
    assert record(world, wanted)["status"] == "succeeded"
    name = f"{wanted.merchant_id}/{wanted.order_no}/0001/0001"
    kept = world.record("equivocation", name)
    assert (kept["first"], kept["second"]) == (succeeded, declined)


def test_an_accepted_payment_is_ended_by_its_acquirer_only(world: World) -> None:
    wanted = parties.requested(world)
    connector = world.user("BankOne", "connector")
    first = parties.signed_report(wanted, **ACCEPTED)
    assert world.submit(connector, "SubmitReports", [first]).codes == ["ok"]
    other = world.user("BankTwo", "connector")
    hostile = [
        parties.signed_report(wanted, BANK_TWO, acquirer_id=TWO, sequence=2),
        parties.signed_report(wanted, BANK_ONE, sequence=2),
    ]
    answer = world.submit(other, "SubmitReports", hostile)
    assert answer.codes == ["acquirer_mismatch", "role_forbidden"]
    assert record(world, wanted)["status"] == "accepted"


def test_another_bank_takes_no_lease(world: World) -> None:
    item = {"acquirer_id": ONE, "epoch": 1, "holder": "thief"}
    for signer in (world.user("BankTwo", "connector"), world.signer(_SUPERVISORS)):
        assert world.submit(signer, "TakeLease", [item]).codes == ["role_forbidden"]
    assert world.record("lease", ONE) is None


def test_evidence_needs_the_banks_signature(world: World) -> None:
    """Whoever wants to accuse a bank: without its signature there is nothing to show."""
    wanted = parties.requested(world)
    connector = world.user("BankOne", "connector")
    true = parties.signed_report(wanted)
    assert world.submit(connector, "SubmitReports", [true]).codes == ["ok"]
    invented = [
        parties.signed_report(wanted, STRANGER, **DECLINED),
        forge.headed(parties.signed_report(wanted, **DECLINED), STRANGER, kid=BANK_ONE.key_id),
        parties.signed_report(wanted, BANK_TWO, acquirer_id=TWO, **DECLINED),
        true,
    ]
    auditor = world.user("Supervisor", "auditor")
    answer = world.submit(auditor, "SubmitEvidence", invented)
    assert answer.codes == [
        "key_unknown",
        "signature_invalid",
        "acquirer_mismatch",
        "no_contradiction",
    ]
