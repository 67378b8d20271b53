"""One row a rule: each way an item, or a whole call, can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import contract_world as w
import pytest
from contract_world import (
    CHECKER,
    GATEWAY,
    MAKER,
    NOW,
    Ledger,
    approved,
    intent_item,
    proposal,
    registered,
    report_item,
    requested,
    verdict,
)
from samples import INTENT, REPORT

from chaincode.contract.context import Submitter
from clearline import canonical, jws, reports
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.intents import Route
from clearline.jws import KeySigner, Typ
from clearline.statuses import Reason, ReportKind, Status

PAN = "4111111111111111"


@dataclass(frozen=True)
class Row:
    """`function` on `item` after `given` ends with `code`."""

    rule: str
    code: str
    function: str
    item: Any
    given: Callable[[], Ledger]
    submitter: Submitter | None = None
    after: timedelta = timedelta()


def suspended(kind: str, name: str, record_id: str) -> Callable[[], Ledger]:
    def given() -> Ledger:
        ledger = registered()
        body = {name: record_id, "status": "suspended"}
        assert approved(ledger, proposal("s", kind, **body)) == ["ok"]
        return ledger

    return given


def revoked(kind: str, name: str, record_id: str, key: KeySigner) -> Callable[[], Ledger]:
    def given() -> Ledger:
        ledger = requested() if kind == "acquirer_key" else registered()
        body = {name: record_id, "action": "revoke", "key_id": key.key_id}
        assert approved(ledger, proposal("r", kind, **body)) == ["ok"]
        return ledger

    return given


def reported(*items: dict[str, Any]) -> Callable[[], Ledger]:
    """The sample payment with these reports, numbered from 1."""

    def given() -> Ledger:
        ledger = requested()
        for sequence, changed in enumerate(items, 1):
            item = report_item(**(changed | {"sequence": sequence}))
            assert ledger.codes("SubmitReports", [item]) == ["ok"]
        return ledger

    return given


ACCEPTED = {"kind": ReportKind.RESPONSE, "status": Status.ACCEPTED, "reason": Reason.ACCEPTED}
UNKNOWN = {"kind": ReportKind.UNKNOWN, "status": Status.UNKNOWN, "reason": Reason.TIMED_OUT}
DECLINED = {"kind": ReportKind.RESULT, "status": Status.DECLINED, "reason": Reason.DO_NOT_HONOR}
SUCCEEDED: dict[str, Any] = {}


def tampered(item: str) -> str:
    """The text with another signature of the right form."""
    head, _, signature = item.rpartition(".")
    other = ("A" if signature[0] != "A" else "B") + signature[1:]
    return f"{head}.{other}"


def claims_es256(item: dict[str, Any]) -> dict[str, Any]:
    """An Ed25519 intent whose header says ES256: the record's algorithm counts."""
    payload = jws.decode(item["intent"].split(".")[1])

    class Confused:
        algorithm = jws.Algorithm.ES256
        key_id = w.MERCHANT.key_id

        def sign(self, message: bytes) -> bytes:
            return w.MERCHANT.sign(message)

    return item | {"intent": jws.sign(canonical.loads(payload), Typ.INTENT, Confused())}


LATER = timedelta(hours=2)
OK_INTENT = intent_item()
INTENTS = [
    Row("all checks pass", "ok", "SubmitIntents", OK_INTENT, registered),
    Row("an ES256 key", "ok", "SubmitIntents", intent_item(w.MERCHANT_ES256), registered),
    Row("1 not an object", "malformed", "SubmitIntents", "x", registered),
    Row("1 unknown member", "malformed", "SubmitIntents", OK_INTENT | {"x": 1}, registered),
    Row(
        "1 a report as an intent",
        "malformed",
        "SubmitIntents",
        {"intent": report_item(), "acquirer_id": "unionpay"},
        registered,
    ),
    Row("1 no JWS", "malformed", "SubmitIntents", OK_INTENT | {"intent": "a.b"}, registered),
    Row(
        "3 another network",
        "network_mismatch",
        "SubmitIntents",
        intent_item(network="other"),
        registered,
    ),
    Row(
        "4 unknown merchant",
        "merchant_unknown",
        "SubmitIntents",
        intent_item(merchant_id="M-9"),
        registered,
    ),
    Row("5 unknown key", "key_unknown", "SubmitIntents", intent_item(w.STRANGER), registered),
    Row(
        "5 the acquirer's key",
        "key_unknown",
        "SubmitIntents",
        intent_item(w.BANK),
        registered,
    ),
    Row(
        "6 signature",
        "signature_invalid",
        "SubmitIntents",
        OK_INTENT | {"intent": tampered(OK_INTENT["intent"])},
        registered,
    ),
    Row(
        "6 the header's algorithm is not the record's",
        "signature_invalid",
        "SubmitIntents",
        claims_es256(OK_INTENT),
        registered,
    ),
    Row("7 again", "duplicate", "SubmitIntents", OK_INTENT, requested),
    Row(
        "7 same intent, signed later",
        "duplicate",
        "SubmitIntents",
        intent_item(created="2026-11-23T08:00:20.000Z"),
        requested,
    ),
    Row(
        "7 again after it expired", "duplicate", "SubmitIntents", OK_INTENT, requested, None, LATER
    ),
    Row(
        "7 again, but not signed by the merchant",
        "signature_invalid",
        "SubmitIntents",
        OK_INTENT | {"intent": tampered(OK_INTENT["intent"])},
        requested,
    ),
    Row(
        "8 revoked key",
        "key_revoked",
        "SubmitIntents",
        OK_INTENT,
        revoked("merchant_key", "merchant_id", INTENT.merchant_id, w.MERCHANT),
    ),
    Row("9 other amount", "conflict", "SubmitIntents", intent_item(amount=2934), requested),
    Row(
        "10 suspended merchant",
        "merchant_inactive",
        "SubmitIntents",
        OK_INTENT,
        suspended("merchant_status", "merchant_id", INTENT.merchant_id),
    ),
    Row(
        "11 an acquirer the intent does not name",
        "acquirer_not_acceptable",
        "SubmitIntents",
        intent_item(acquirer_id="other"),
        registered,
    ),
    Row(
        "12 unknown acquirer",
        "acquirer_unknown",
        "SubmitIntents",
        intent_item(acquirer_id="other", acquirers=(Route("other", w.CODE, "tok"),)),
        registered,
    ),
    Row(
        "13 suspended acquirer",
        "acquirer_inactive",
        "SubmitIntents",
        OK_INTENT,
        suspended("acquirer_status", "acquirer_id", "unionpay"),
    ),
    Row(
        "13 licence over",
        "acquirer_inactive",
        "SubmitIntents",
        intent_item(created="2031-01-01T00:00:00.000Z", expires_at="2031-01-02T00:00:00.000Z"),
        registered,
        None,
        timedelta(days=1501),
    ),
    Row(
        "14 another's merchant code",
        "merchant_code_mismatch",
        "SubmitIntents",
        intent_item(acquirers=(Route("unionpay", "898310148990002", "tok"),)),
        registered,
    ),
    Row(
        "15 currency",
        "currency_not_accepted",
        "SubmitIntents",
        intent_item(currency="EUR"),
        registered,
    ),
    Row(
        "16 from the future",
        "not_yet_valid",
        "SubmitIntents",
        intent_item(created="2026-11-23T08:06:00.000Z"),
        registered,
    ),
    Row(
        "16 a clock a little ahead",
        "ok",
        "SubmitIntents",
        intent_item(created="2026-11-23T08:05:00.000Z"),
        registered,
    ),
    Row("17 expired", "expired", "SubmitIntents", OK_INTENT, registered, None, LATER),
    Row(
        "17 expires at this very moment",
        "expired",
        "SubmitIntents",
        intent_item(expires_at="2026-11-23T08:00:30.000Z"),
        registered,
    ),
    Row(
        "18 succeeded before",
        "already_succeeded",
        "SubmitIntents",
        intent_item(attempt=2),
        reported(SUCCEEDED),
    ),
    Row(
        "19 no attempt before",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=2),
        registered,
    ),
    Row(
        "19 the one before is open",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=2),
        requested,
    ),
    Row(
        "19 the one before is unknown",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=2),
        reported(UNKNOWN),
    ),
    Row("after a decline", "ok", "SubmitIntents", intent_item(attempt=2), reported(DECLINED)),
    Row(
        "19 an attempt left out",
        "attempt_out_of_order",
        "SubmitIntents",
        intent_item(attempt=3),
        reported(DECLINED),
    ),
]
# 2: a card number in each field that people or tills fill in.
INTENTS += [
    Row(f"2 in {name}", "card_data_refused", "SubmitIntents", intent_item(**changed), registered)
    for name, changed in {
        "merchant_id": {"merchant_id": PAN},
        "order_no": {"order_no": f"o-{PAN}"},
        "store": {"store": PAN},
        "terminal": {"terminal": PAN},
        "goods_category": {"goods_category": PAN},
        "site": {"site": PAN},
        "payer_token": {"acquirers": (Route("unionpay", w.CODE, PAN),)},
        "merchant_code": {"acquirers": (Route("unionpay", "378282246310005", "tok"),)},
    }.items()
]

FOREIGN = Submitter("BankTwo", "connector", "person-connector-2")
OTHER_PAYMENT = replace(INTENT, order_no="other")
REPORTS = [
    Row("success at once", "ok", "SubmitReports", report_item(), requested),
    Row("a response", "ok", "SubmitReports", report_item(**ACCEPTED), requested),
    Row("unknown", "ok", "SubmitReports", report_item(**UNKNOWN), requested),
    Row(
        "unknown is left again",
        "ok",
        "SubmitReports",
        report_item(sequence=3, **ACCEPTED),
        reported(ACCEPTED, UNKNOWN),
    ),
    Row("1 not a text", "malformed", "SubmitReports", {"x": 1}, requested),
    Row("1 an intent", "malformed", "SubmitReports", OK_INTENT["intent"], requested),
    Row(
        "1 no such status",  # the detail lists all there are: in one order at every endorser
        "malformed",
        "SubmitReports",
        jws.sign(REPORT.payload() | {"status": "lost"}, Typ.REPORT, w.BANK),
        requested,
    ),
    Row(
        "1 a response can't succeed",
        "malformed",
        "SubmitReports",
        report_item(kind=ReportKind.RESPONSE),
        requested,
    ),
    Row(
        "3 another network",
        "network_mismatch",
        "SubmitReports",
        report_item(network="other"),
        requested,
    ),
    Row(
        "4 unknown acquirer",
        "acquirer_unknown",
        "SubmitReports",
        report_item(acquirer_id="other"),
        requested,
    ),
    Row(
        "5 another bank's connector",
        "role_forbidden",
        "SubmitReports",
        report_item(),
        requested,
        FOREIGN,
    ),
    Row("6 unknown key", "key_unknown", "SubmitReports", report_item(w.STRANGER), requested),
    Row("6 the merchant's key", "key_unknown", "SubmitReports", report_item(w.MERCHANT), requested),
    Row("7 signature", "signature_invalid", "SubmitReports", tampered(report_item()), requested),
    Row(
        "8 unknown payment",
        "payment_unknown",
        "SubmitReports",
        report_item(of=OTHER_PAYMENT),
        requested,
    ),
    Row(
        "10 again",
        "duplicate",
        "SubmitReports",
        report_item(),
        reported(SUCCEEDED),
    ),
    Row(
        "10 an earlier one again",
        "duplicate",
        "SubmitReports",
        report_item(**ACCEPTED),
        reported(ACCEPTED, SUCCEEDED),
    ),
    Row(
        "11 revoked key",
        "key_revoked",
        "SubmitReports",
        report_item(),
        revoked("acquirer_key", "acquirer_id", "unionpay", w.BANK),
    ),
    Row(
        "12 another intent",
        "intent_mismatch",
        "SubmitReports",
        report_item(intent_digest="1" * 64),
        requested,
    ),
    Row(
        "13 other content under one number",
        "equivocation",
        "SubmitReports",
        report_item(**DECLINED),
        reported(SUCCEEDED),
    ),
    Row(
        "13 other content under an earlier number",
        "equivocation",
        "SubmitReports",
        report_item(**UNKNOWN),
        reported(ACCEPTED, SUCCEEDED),
    ),
    Row("14 a gap", "sequence_gap", "SubmitReports", report_item(sequence=2), requested),
    Row("15 another amount", "amount_mismatch", "SubmitReports", report_item(amount=1), requested),
    Row(
        "15 another currency",
        "amount_mismatch",
        "SubmitReports",
        report_item(currency="USD"),
        requested,
    ),
    Row(
        "16 late success",
        "already_final",
        "SubmitReports",
        report_item(sequence=2),
        reported(DECLINED),
    ),
    Row(
        "17 accepted twice",
        "transition_forbidden",
        "SubmitReports",
        report_item(sequence=2, **ACCEPTED),
        reported(ACCEPTED),
    ),
]
REPORTS += [
    Row(f"2 in {name}", "card_data_refused", "SubmitReports", report_item(**{name: PAN}), requested)
    for name in ("merchant_name", "payer_token", "clearing_route", "acquirer_reference")
]
REPORTS.append(
    Row(
        "2 in merchant_code",
        "card_data_refused",
        "SubmitReports",
        report_item(merchant_code="378282246310005"),
        requested,
    )
)


def second_acquirer() -> Ledger:
    """Another acquirer of BankOne; the sample payment goes through the first."""
    ledger = requested()
    body = w.acquirer("second")
    assert approved(ledger, proposal("a2", "acquirer", **body)) == ["ok"]
    return ledger


REPORTS.append(
    Row(
        "9 another acquirer of the bank",
        "acquirer_mismatch",
        "SubmitReports",
        report_item(acquirer_id="second"),
        second_acquirer,
    )
)

SMALL_ORDER = {"kty": "OKP", "crv": "Ed25519", "x": jws.encode(bytes(32))}
MAKE = "ProposeRecords"
PROPOSING = [
    Row("all checks pass", "ok", MAKE, proposal("n", "entity", **w.entity()), Ledger),
    Row("1 not an object", "malformed", MAKE, 7, Ledger),
    Row("1 unknown kind", "malformed", MAKE, proposal("n", "lease", a=1), Ledger),
    Row("1 body not an object", "malformed", MAKE, proposal("n", "entity") | {"body": 1}, Ledger),
    Row(
        "1 unknown member of the body",
        "malformed",
        MAKE,
        proposal("n", "entity", **w.entity(extra="x")),
        Ledger,
    ),
    Row(
        "1 add without a key",
        "malformed",
        MAKE,
        proposal("n", "merchant_key", merchant_id="M", action="add", key_id=w.BANK.key_id),
        Ledger,
    ),
    Row(
        "1 a code twice",
        "malformed",
        MAKE,
        proposal("n", "merchant", **w.merchant(codes={"unionpay": ["1", "1"]})),
        Ledger,
    ),
    Row(
        "2 in a name",
        "card_data_refused",
        MAKE,
        proposal("n", "entity", **w.entity(name=f"Shop {PAN}")),
        Ledger,
    ),
    Row(
        "2 in a code",
        "card_data_refused",
        MAKE,
        proposal("n", "merchant", **w.merchant(codes={"unionpay": ["378282246310005"]})),
        Ledger,
    ),
    Row(
        "3 an unsafe key",
        "key_refused",
        MAKE,
        proposal("n", "merchant", **w.merchant(keys=[SMALL_ORDER])),
        Ledger,
    ),
    Row(
        "3 an RSA key",
        "key_refused",
        MAKE,
        proposal("n", "acquirer", **w.acquirer(keys=[{"kty": "RSA"}])),
        Ledger,
    ),
    Row(
        "3 a key twice",
        "key_refused",
        MAKE,
        proposal("n", "merchant", **w.merchant(keys=[w.BANK.jwk, w.BANK.jwk])),
        Ledger,
    ),
    Row(
        "3 an id that is not the thumbprint",
        "key_refused",
        MAKE,
        proposal(
            "n",
            "merchant_key",
            merchant_id="M",
            action="add",
            key_id=w.BANK.key_id,
            jwk=w.STRANGER.jwk,
        ),
        Ledger,
    ),
    Row("4 again", "duplicate", MAKE, proposal("p1", "entity", **w.entity()), registered),
    Row("4 other body", "conflict", MAKE, proposal("p1", "entity", **w.entity("E-2")), registered),
    Row(
        "4 another maker",
        "conflict",
        MAKE,
        proposal("p1", "entity", **w.entity()),
        registered,
        replace(MAKER, person="else"),
    ),
]


def open_proposal(kind: str, **body: Any) -> Callable[[], Ledger]:
    """A registered ledger where `open` waits for its checker."""

    def given() -> Ledger:
        ledger = registered()
        assert ledger.codes(MAKE, [proposal("open", kind, **body)]) == ["ok"]
        return ledger

    return given


def foreign_proposal(kind: str, **body: Any) -> Callable[[], Ledger]:
    """The same by BankTwo."""

    def given() -> Ledger:
        ledger = registered()
        maker = replace(MAKER, msp_id="BankTwo")
        assert ledger.codes(MAKE, [proposal("open", kind, **body)], submitter=maker) == ["ok"]
        return ledger

    return given


def decided(decision: str) -> Callable[[], Ledger]:
    def given() -> Ledger:
        ledger = open_proposal("entity", **w.entity("E-2"))()
        assert ledger.codes(DECIDE, [verdict("open", decision)]) == ["ok"]
        return ledger

    return given


def foreign_entity() -> Ledger:
    """E-2 is registered too, and a proposal of E-1's account for E-2 is open."""
    ledger = registered()
    assert approved(ledger, proposal("e2", "entity", **w.entity("E-2"))) == ["ok"]
    body = w.account(w.ACCOUNT, "E-2")
    assert ledger.codes(MAKE, [proposal("open", "account", **body)]) == ["ok"]
    return ledger


DECIDE = "DecideRecords"
TWO = replace(CHECKER, msp_id="BankTwo")
OPEN = verdict("open")
NEW_ENTITY = open_proposal("entity", **w.entity("E-2"))
M = INTENT.merchant_id
ADD = {"action": "add", "key_id": w.STRANGER.key_id, "jwk": w.STRANGER.jwk}
ADD_AGAIN = {"action": "add", "key_id": w.MERCHANT.key_id, "jwk": w.MERCHANT.jwk}
REVOKE = {"action": "revoke", "key_id": w.STRANGER.key_id}


def revoked_again() -> Ledger:
    ledger = revoked("merchant_key", "merchant_id", M, w.MERCHANT)()
    body = {"merchant_id": M, "action": "revoke", "key_id": w.MERCHANT.key_id}
    assert ledger.codes(MAKE, [proposal("open", "merchant_key", **body)]) == ["ok"]
    return ledger


def merchant_proposal(**changed: Any) -> Callable[[], Ledger]:
    return open_proposal("merchant", **w.merchant("M-2", **changed))


FREE = {"unionpay": ["898310148990009"]}
DECIDING = [
    Row("approve", "ok", DECIDE, OPEN, NEW_ENTITY),
    Row("reject", "ok", DECIDE, verdict("open", "reject"), NEW_ENTITY),
    Row("1 no such decision", "malformed", DECIDE, verdict("open", "maybe"), NEW_ENTITY),
    Row("2 unknown", "proposal_unknown", DECIDE, verdict("none"), NEW_ENTITY),
    Row("3 another bank's", "role_forbidden", DECIDE, OPEN, NEW_ENTITY, TWO),
    Row(
        "4 the maker's own",
        "same_person",
        DECIDE,
        OPEN,
        NEW_ENTITY,
        replace(CHECKER, person=MAKER.person),
    ),
    Row("5 decided otherwise", "proposal_decided", DECIDE, OPEN, decided("reject")),
    Row(
        "5 decided by somebody else",
        "proposal_decided",
        DECIDE,
        OPEN,
        decided("approve"),
        replace(CHECKER, person="third"),
    ),
    Row("5 again", "duplicate", DECIDE, OPEN, decided("approve")),
    Row("entity exists", "record_exists", DECIDE, OPEN, open_proposal("entity", **w.entity("E-1"))),
    Row("account exists", "record_exists", DECIDE, OPEN, open_proposal("account", **w.account())),
    Row("account of another entity", "account_taken", DECIDE, OPEN, foreign_entity),
    Row(
        "account of no entity",
        "entity_unknown",
        DECIDE,
        OPEN,
        open_proposal("account", **w.account("c" * 64, "E-9")),
    ),
    Row("merchant", "ok", DECIDE, OPEN, merchant_proposal(codes=FREE)),
    Row(
        "merchant exists", "record_exists", DECIDE, OPEN, open_proposal("merchant", **w.merchant())
    ),
    Row(
        "merchant of no entity",
        "entity_unknown",
        DECIDE,
        OPEN,
        merchant_proposal(entity_id="E-9", codes=FREE),
    ),
    Row(
        "no such account",
        "account_unknown",
        DECIDE,
        OPEN,
        merchant_proposal(account_id=w.OTHER_ACCOUNT, codes=FREE),
    ),
    Row(
        "code at no acquirer",
        "acquirer_unknown",
        DECIDE,
        OPEN,
        merchant_proposal(codes={"none": ["1"]}),
    ),
    Row("code taken", "merchant_code_taken", DECIDE, OPEN, merchant_proposal()),
    Row(
        "code at another bank's acquirer",
        "role_forbidden",
        DECIDE,
        OPEN,
        foreign_proposal("merchant", **w.merchant("M-2", codes=FREE)),
        TWO,
    ),
    Row(
        "acquirer exists",
        "record_exists",
        DECIDE,
        OPEN,
        open_proposal("acquirer", **w.acquirer()),
    ),
    Row(
        "key of no merchant",
        "merchant_unknown",
        DECIDE,
        OPEN,
        open_proposal("merchant_key", merchant_id="M-9", **ADD),
    ),
    Row("new key", "ok", DECIDE, OPEN, open_proposal("merchant_key", merchant_id=M, **ADD)),
    Row(
        "key there already",
        "key_refused",
        DECIDE,
        OPEN,
        open_proposal("merchant_key", merchant_id=M, **ADD_AGAIN),
    ),
    Row(
        "revoke an unknown key",
        "key_unknown",
        DECIDE,
        OPEN,
        open_proposal("merchant_key", merchant_id=M, **REVOKE),
    ),
    Row("revoke a key twice", "key_revoked", DECIDE, OPEN, revoked_again),
    Row(
        "another bank's merchant",
        "role_forbidden",
        DECIDE,
        OPEN,
        foreign_proposal("merchant_key", merchant_id=M, **ADD),
        TWO,
    ),
    Row(
        "key of no acquirer",
        "acquirer_unknown",
        DECIDE,
        OPEN,
        open_proposal("acquirer_key", acquirer_id="none", **ADD),
    ),
    Row(
        "another bank's acquirer",
        "role_forbidden",
        DECIDE,
        OPEN,
        foreign_proposal("acquirer_status", acquirer_id="unionpay", status="suspended"),
        TWO,
    ),
]
ROWS = [*INTENTS, *REPORTS, *PROPOSING, *DECIDING]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.function} {row.rule}: {row.code}")
def test_rule(row: Row) -> None:
    ledger = row.given()
    decision = ledger.decide(row.function, [row.item], row.submitter, NOW + row.after)
    (outcome,) = decision.outcomes
    assert outcome.code.value == row.code, outcome.detail
    if outcome.code is Code.OK:
        assert decision.writes
        assert outcome.tx_id == f"tx{ledger.height + 1}"
    else:
        assert decision.writes == ()
        assert decision.event == b""
    assert PAN not in decision.answer().decode()


# Whole calls that are refused before any item is looked at.
CALLS = [
    ("no such function", "function_unknown", "Steal", b"[]", GATEWAY),
    ("not JSON", "malformed", "SubmitIntents", b"{", GATEWAY),
    ("not a list", "malformed", "SubmitIntents", b"{}", GATEWAY),
    ("an empty list", "malformed", "SubmitIntents", b"[]", GATEWAY),
    ("too many items", "batch_too_large", "SubmitIntents", b"[" + b"1," * 500 + b"1]", GATEWAY),
    (
        "too many bytes",
        "batch_too_large",
        "SubmitIntents",
        b'["' + b"x" * 4 * 1024 * 1024 + b'"]',
        GATEWAY,
    ),
    ("a payment key of two parts", "malformed", "GetPayments", b'[["M","o"]]', w.AUDITOR),
    ("an attempt as a text", "malformed", "GetPayments", b'[["M","o","1"]]', w.AUDITOR),
    ("an unknown kind", "malformed", "GetRecords", b'[["lease","1"]]', w.AUDITOR),
    (
        "a limit of 201",
        "malformed",
        "ListPayments",
        b'{"merchant_id":"M","start_after":null,"limit":201}',
        w.AUDITOR,
    ),
    (
        "a status of none",
        "malformed",
        "ListProposals",
        b'{"status":"x","start_after":null,"limit":1}',
        w.AUDITOR,
    ),
]
for name, usual in w.USUAL.items():
    for role in ("", "admin", *(role for role in w.Role if role != usual.role)):
        CALLS.append(
            (
                f"{name} by {role or 'nobody'}",
                "role_forbidden",
                name,
                b"[1]",
                Submitter("BankOne", role, "p"),
            )
        )
for name in ("GetPayments", "GetRecords", "ListPayments", "ListProposals"):
    CALLS.append(
        (f"{name} by nobody", "role_forbidden", name, b"[1]", Submitter("BankOne", "", "p"))
    )


@pytest.mark.parametrize(
    ("code", "name", "argument", "submitter"),
    [call[1:] for call in CALLS],
    ids=[call[0] for call in CALLS],
)
def test_call_refused(code: str, name: str, argument: bytes, submitter: Submitter) -> None:
    from chaincode.contract.functions import KeyReader, RangeReader, function

    with pytest.raises(Refusal) as refusal:
        called = function(name, submitter)
        if isinstance(called, KeyReader | RangeReader):
            called.asked(argument)
        else:
            called.batch(argument)
    assert refusal.value.code.value == code


# A gateway's own codes, which the contract never gives.
GATEWAYS = frozenset(
    {
        "unauthenticated",
        "token_expired",
        "not_found",
        "method_not_allowed",
        "unsupported_media_type",
        "not_acceptable",
        "payload_too_large",
        "parameter_invalid",
        "rate_limited",
        "overloaded",
        "ledger_unavailable",
        "block_not_reached",
    }
)


def test_every_code_of_the_contract_is_reached() -> None:
    reached = {row.code for row in ROWS} | {call[1] for call in CALLS}
    assert {code.value for code in Code} - GATEWAYS - reached == set()
    assert reached & GATEWAYS == set()


def test_every_status_is_reached() -> None:
    ends = {Status.SUCCEEDED, Status.DECLINED, Status.CLOSED, Status.EXPIRED}
    for status in ends:
        ledger = requested()
        item = report_item(status=status)
        (outcome,) = ledger.submit("SubmitReports", [item])
        assert (outcome.code, outcome.status) == (Code.OK, status.value)


def test_own_reference_is_not_taken_for_a_card_number() -> None:
    # Of 40 hex digits about one in 3,000 texts holds a run of digits that looks like a card number.
    intent = replace(INTENT, order_no="o-3214")
    reference = reports.acquirer_reference(intent.key, intent.network)
    assert holds_card_number(reference)
    ledger = registered()
    assert ledger.codes("SubmitIntents", [intent_item(order_no=intent.order_no)]) == ["ok"]
    assert ledger.codes("SubmitReports", [report_item(of=intent)]) == ["ok"]
