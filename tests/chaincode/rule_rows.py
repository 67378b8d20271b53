"""A rule of the contract as a row of a table, and ledgers that rows are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import contract_world as w
from contract_world import (
    Ledger,
    approved,
    proposal,
    registered,
    report_item,
    requested,
)
from samples import INTENT

from chaincode.contract.context import Submitter
from clearline import canonical, jws
from clearline.codes import Code
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
    writes: bool = False  # although it is refused


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
            (code,) = ledger.codes("SubmitReports", [item])
            assert Code(code).taken
        return ledger

    return given


ACCEPTED: dict[str, Any] = {
    "kind": ReportKind.RESPONSE,
    "status": Status.ACCEPTED,
    "reason": Reason.ACCEPTED,
}
UNKNOWN: dict[str, Any] = {
    "kind": ReportKind.UNKNOWN,
    "status": Status.UNKNOWN,
    "reason": Reason.TIMED_OUT,
}
DECLINED: dict[str, Any] = {
    "kind": ReportKind.RESULT,
    "status": Status.DECLINED,
    "reason": Reason.DO_NOT_HONOR,
}
SUCCEEDED: dict[str, Any] = {}
REVERSED: dict[str, Any] = {
    "kind": ReportKind.REVERSAL,
    "status": Status.DECLINED,
    "reason": Reason.REVERSED,
}


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


def under(epoch: int, **changed: Any) -> dict[str, Any]:
    """The report under a lease."""
    return {"report": report_item(**changed), "epoch": epoch}


def leased(*holders: str) -> Callable[[], Ledger]:
    """The sample payment requested, its acquirer's lease taken by these in turn."""

    def given() -> Ledger:
        ledger = requested()
        for epoch, holder in enumerate(holders, 1):
            assert ledger.codes("TakeLease", [lease(epoch, holder)]) == ["ok"]
        return ledger

    return given


def lease(epoch: int, holder: str, acquirer_id: str = "unionpay") -> dict[str, Any]:
    return {"acquirer_id": acquirer_id, "epoch": epoch, "holder": holder}


def taken_over() -> Ledger:
    """Reported under epoch 1; epoch 2 is in force."""
    ledger = leased("a")()
    assert ledger.codes("SubmitReports", [under(1)]) == ["ok"]
    assert ledger.codes("TakeLease", [lease(2, "b")]) == ["ok"]
    return ledger


SECOND = Route("second", "CODE2", "tok_second")
TWO_ROUTES = replace(INTENT, acquirers=(*INTENT.acquirers, SECOND))


def two_acquirers() -> Ledger:
    """Another acquirer of BankOne, at which the merchant has a code as well."""
    ledger = registered()
    code = {"merchant_id": M, "acquirer_id": "second", "code": SECOND.merchant_code}
    assert approved(ledger, proposal("a2", "acquirer", **w.acquirer("second"))) == ["ok"]
    assert approved(ledger, proposal("c2", "merchant_code", **code)) == ["ok"]
    return ledger


def routed_to_the_first() -> Ledger:
    """A payment whose intent lists both, committed for the first of them."""
    ledger = two_acquirers()
    item = w.intent_item(acquirers=TWO_ROUTES.acquirers)
    assert ledger.codes("SubmitIntents", [item]) == ["ok"]
    return ledger


M = INTENT.merchant_id
MAKE = "ProposeRecords"
DECIDE = "DecideRecords"


def suspended_after_request() -> Ledger:
    ledger = requested()
    body = {"merchant_id": INTENT.merchant_id, "status": "suspended"}
    assert approved(ledger, proposal("s", "merchant_status", **body)) == ["ok"]
    return ledger


def merchant_key_revoked() -> Ledger:
    ledger = requested()
    body = {"merchant_id": INTENT.merchant_id, "action": "revoke", "key_id": w.MERCHANT.key_id}
    assert approved(ledger, proposal("r", "merchant_key", **body)) == ["ok"]
    return ledger
