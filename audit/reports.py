"""The auditor's reading of what banks signed: which report counts, and what it does.

A report counts when the acquirer's active key signed it, its own bank submitted it under the epoch
in force, and its number is the next one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final, Protocol

from audit import cards, forms
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from audit.jose import JoseError, Signed, canonical, digest, read, verify
from audit.leases import epoch_of
from clearline.codes import Code

TYP: Final = "clearline-report+jws"
# Nothing returns to requested or leaves a final status; unknown is a suspension.
FINAL: Final = {"succeeded", "declined", "closed", "expired"}
_FAILED: Final = FINAL - {"succeeded"}
_NEXT: Final[dict[str, set[str]]] = {
    "requested": FINAL | {"accepted", "unknown"},
    "accepted": FINAL | {"unknown"},
    "unknown": FINAL | {"accepted"},
}
_KINDS: Final = {
    "response": {"accepted"},
    "unknown": {"unknown"},
    "result": FINAL,
    "reversal": _FAILED,
}


class Submitted(Protocol):
    """A report, whatever it is about."""

    @property
    def token(self) -> Signed:
        """The signed text, taken apart."""

    @property
    def payload(self) -> Record:
        """What the bank signed."""


@dataclass(frozen=True)
class Told:
    """A report among the arguments: the signed text, taken apart, and the epoch it came under."""

    compact: str
    token: Signed
    epoch: int

    @property
    def payload(self) -> Record:
        """What the bank signed."""
        return self.token.payload

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the payment."""
        return (self.payload["merchant_id"], self.payload["order_no"], self.payload["attempt"])

    @property
    def place(self) -> str:
        """The payment's ledger key."""
        return f"payment/{self._path}"

    @property
    def kept(self) -> str:
        """The ledger key of the report's own record."""
        return f"report/{self._path}/{self.payload['sequence']:04d}"

    @property
    def evidence(self) -> str:
        """The ledger key of the evidence that another report has this number."""
        return f"equivocation/{self._path}/{self.payload['sequence']:04d}"

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The records it can make or change."""
        return (self.place, self.kept, self.evidence)

    @property
    def _path(self) -> str:
        merchant_id, order_no, attempt = self.name
        return f"{merchant_id}/{order_no}/{attempt:04d}"


def item_of(item: Any) -> tuple[str, int]:
    """An item of SubmitReports: a report, bare or with its epoch. Raises Refused."""
    if isinstance(item, str):
        return item, 0
    _check(forms.REPORT_ITEM.fault(item))
    return item["report"], item["epoch"]


def token_of(compact: str) -> Signed:
    """A report taken apart, whatever it is about. Raises Refused."""
    try:
        token = read(compact, TYP)
    except JoseError as error:
        raise Refused(Code.MALFORMED, Check.FORM, f"a report is {error}") from None
    _scan("kid", token.key_id)
    return token


def told_by(compact: str, token: Signed, epoch: int) -> Told:
    """Form and cards of a report on a payment. Raises Refused."""
    report = token.payload
    _check(forms.REPORT.fault(report))
    kind, status = report["kind"], report["status"]
    if status not in _KINDS[kind]:
        _check(f"a {kind} can't say {status}")
    if kind == "reversal" and report["reason"] != "reversed":
        _check(f"a reversal for reason {report['reason']}")
    for name in forms.REPORT_SCANNED:
        _scan(name, report[name] or "")
    told = Told(compact, token, epoch)
    # The network's own reference is a digest, which is not scanned.
    if report["acquirer_reference"] != _own_reference(told):
        _scan("acquirer_reference", report["acquirer_reference"])
    return told


def decide(told: Told, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    acquirer = acquirer_of(told, draft)
    if acquirer["msp_id"] != draft.invocation.submitter.msp_id:
        raise Refused(Code.ROLE_FORBIDDEN, Check.ROLE, "the submitter is not the acquirer's bank")
    key = signer(told, acquirer)
    payment = payment_of(told, draft)
    report, number = told.payload, told.payload["sequence"]
    entry = payment["reports"][number - 1] if number <= len(payment["reports"]) else None
    said = digest(report)
    if entry is not None and entry[3] == said:
        return Outcome(
            Code.DUPLICATE, Check.RECORD, told.name, payment["status"], entry[4],
            "it is on the ledger already", told.speaks_of,
        )  # fmt: skip
    epoch = epoch_of(draft.get(f"lease/{report['acquirer_id']}"))
    if told.epoch != epoch:
        raise Refused(
            Code.LEASE_LOST, Check.LEASE, f"reported under epoch {told.epoch}, {epoch} is due"
        )
    if key["status"] != "active":
        raise Refused(Code.KEY_REVOKED, Check.ACQUIRER_SIGNATURE, "the key was revoked")
    if entry is not None:
        return _contradicts(told, payment, key, draft)
    code, effect = _effect(told, payment, draft)
    told_of = [*payment["reports"], [number, report["kind"], report["status"], said]]
    told_of[-1].append(draft.invocation.tx_id)
    draft.made[told.place] = changed = draft.touched(payment, reports=told_of, **effect)
    if ended_by(changed) != number:
        draft.made[told.kept] = _kept(told, draft.invocation.tx_id)
    draft.changes.append(["payment", *told.name, changed["status"]])
    draft.step(told.place, "report", told.compact, told.token.key_id)
    return Outcome(code, Check.OUTCOME, told.name, changed["status"], draft.invocation.tx_id)


def acquirer_of(told: Submitted, draft: Draft) -> Record:
    """The acquirer a report names, on this network. Raises Refused."""
    report = told.payload
    if report["network"] != draft.network:
        raise Refused(
            Code.NETWORK_MISMATCH, Check.REPORT, f"signed for network {report['network']}"
        )
    acquirer = draft.get(f"acquirer/{report['acquirer_id']}")
    if acquirer is None:
        raise Refused(
            Code.ACQUIRER_UNKNOWN, Check.ACQUIRER_SIGNATURE, "signed by no registered acquirer"
        )
    return acquirer


def signer(told: Submitted, acquirer: Record) -> Record:
    """The acquirer's key record that signed, perhaps revoked. Raises Refused."""
    found: Record | None = acquirer["keys"].get(told.token.key_id)
    if found is None:
        raise Refused(Code.KEY_UNKNOWN, Check.ACQUIRER_SIGNATURE, "the key is not its acquirer's")
    try:
        verify(told.token, found)
    except JoseError as error:
        raise Refused(Code.SIGNATURE_INVALID, Check.ACQUIRER_SIGNATURE, str(error)) from None
    return found


def payment_of(told: Told, draft: Draft) -> Record:
    """The payment, along a route of the report's acquirer. Raises Refused."""
    payment = draft.get(told.place)
    if payment is None:
        raise Refused(Code.PAYMENT_UNKNOWN, Check.REPORT, "there is no such payment")
    if payment["acquirer_id"] != told.payload["acquirer_id"]:
        raise Refused(
            Code.ACQUIRER_MISMATCH, Check.REPORT, f"the payment is {payment['acquirer_id']}'s"
        )
    return payment


def contradiction(told: Told, payment: Record, key: Record, draft: Draft) -> str | None:
    """Take two reports with one number as evidence; when it was taken before, the transaction
    that did."""
    before = draft.get(told.evidence)
    if before is not None:
        return str(before["txs"][0])
    invocation, number = draft.invocation, told.payload["sequence"]
    names = ("merchant_id", "order_no", "attempt", "sequence", "acquirer_id")
    first = payment["result"]
    if ended_by(payment) != number:
        first = (draft.get(told.kept) or {})["report"]
    draft.made[told.evidence] = {name: told.payload[name] for name in names} | {
        "type": "equivocation",
        "first": first,
        "second": told.compact,
        "key_status": key["status"],
        "msp_id": invocation.submitter.msp_id,
        "recorded_at": invocation.time,
        "txs": [invocation.tx_id],
    }
    draft.changes.append(["equivocation", *told.name, payment["status"]])
    draft.step(told.place, "contradiction", told.compact, told.token.key_id)
    return None


def _contradicts(told: Told, payment: Record, key: Record, draft: Draft) -> Outcome:
    """It is refused, and kept as evidence beside the first."""
    before = contradiction(told, payment, key, draft)
    return Outcome(
        Code.EQUIVOCATION, Check.EQUIVOCATION, told.name, payment["status"],
        before or draft.invocation.tx_id, "another report has this number", told.speaks_of,
    )  # fmt: skip


def _effect(told: Told, payment: Record, draft: Draft) -> tuple[Code, Record]:
    """What a new report does to the payment. Raises Refused."""
    report, due = told.payload, len(payment["reports"]) + 1
    if report["intent_digest"] != payment["intent_digest"]:
        raise Refused(Code.INTENT_MISMATCH, Check.REPORT, "the report is about another intent")
    if report["sequence"] != due:
        raise Refused(
            Code.SEQUENCE_GAP, Check.REPORT, f"report {report['sequence']} where {due} is due"
        )
    if payment["status"] not in FINAL:
        _check_amount(report, payment)
    _check_place(told, payment)
    kind, status, before = report["kind"], report["status"], payment["status"]
    if before in FINAL:
        return _after_end(told, payment, draft)
    if kind == "reversal" or status not in _NEXT[before]:
        raise Refused(Code.TRANSITION_FORBIDDEN, Check.STATUS, f"{before} -> {kind} {status}")
    text = {kind: told.compact} if kind in ("response", "result") else {}
    return Code.OK, {"status": status, "reason": report["reason"], **text}


def _check_amount(report: Record, due: Record) -> None:
    if any(report[name] != due[name] for name in ("amount", "currency")):
        raise Refused(Code.AMOUNT_MISMATCH, Check.REPORT, "the report is about another amount")


def _check_place(told: Told, payment: Record) -> None:
    """The reference is the payment's own at its acquirer; money is at the payment's merchant code.
    A refusal or a close may name any code: it says where money did not go."""
    report, code = told.payload, told.payload["merchant_code"]
    if report["acquirer_reference"] != _own_reference(told):
        raise Refused(
            Code.REFERENCE_MISMATCH, Check.REPORT, "the report names another payment's reference"
        )
    money = report["status"] in ("accepted", "succeeded")
    if money and code is not None and code != payment["merchant_code"]:
        raise Refused(Code.REPORTED_CODE_MISMATCH, Check.REPORT, f"it is of money at code {code}")


def _after_end(told: Told, payment: Record, draft: Draft) -> tuple[Code, Record]:
    """What may come after the end: a success of any amount as an open exception, and its
    reversal."""
    kind, status = told.payload["kind"], told.payload["status"]
    exceptions, before = payment["exceptions"], payment["status"]
    if kind == "reversal" and excepted(payment):
        _check_amount(told.payload, next(one for one in exceptions if one["status"] == "open"))
        if status != before:
            raise Refused(
                Code.TRANSITION_FORBIDDEN, Check.STATUS, f"a reversal to {status}, it is {before}"
            )
        return Code.OK, {"exceptions": [one | {"status": "resolved"} for one in exceptions]}
    late = (kind, status) == ("result", "succeeded") and before in _FAILED
    if not late or excepted(payment):
        raise Refused(Code.ALREADY_FINAL, Check.STATUS, f"a {kind} {status} after {before}")
    exception = {
        "kind": "late_success",
        "sequence": told.payload["sequence"],
        "digest": digest(told.payload),
        "amount": told.payload["amount"],
        "currency": told.payload["currency"],
        "status": "open",
        "tx_id": draft.invocation.tx_id,
    }
    return Code.LATE_SUCCESS, {"exceptions": [*exceptions, exception]}


def _kept(told: Told, tx_id: str) -> Record:
    names = ("merchant_id", "order_no", "attempt", "sequence")
    return {name: told.payload[name] for name in names} | {
        "type": "report",
        "report": told.compact,
        "txs": [tx_id],
    }


def _own_reference(told: Told) -> str:
    """A pure function of network and payment, 40 hex digits."""
    named = canonical([told.payload["network"], *told.name])
    return hashlib.sha256(named).hexdigest()[:40]


def excepted(payment: Record) -> bool:
    """Whether money moved that the payment's status does not tell of."""
    return any(one["status"] == "open" for one in payment["exceptions"])


def ended_by(payment: Record) -> int:
    """The number of the result that ended it, 0 for none."""
    return next((entry[0] for entry in payment["reports"] if entry[1] == "result"), 0)


def _check(fault: str | None) -> None:
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)


def _scan(name: str, value: str) -> None:
    if cards.held(value):
        raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{name} looks like a card number")
