"""The auditor's reading of what banks signed about refunds, and what it does to their payments."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from audit import cards, contradictions, forms, reports
from audit.draft import Draft, Outcome, Record, Refused, Step
from audit.findings import Check
from audit.jose import Signed, canonical, digest
from audit.leases import epoch_of
from audit.refunds import name_of, place_of
from audit.reports import FINAL, Told, excepted
from clearline.codes import Code

_KINDS: Final = {
    "response": {"accepted"},
    "unknown": {"unknown"},
    "result": {"succeeded", "declined"},
}
_NEXT: Final[dict[str, set[str]]] = {
    "requested": {"accepted", "unknown", "succeeded", "declined"},
    "accepted": {"unknown", "succeeded", "declined"},
    "unknown": {"accepted", "succeeded", "declined"},
}


@dataclass(frozen=True)
class ToldOfRefund:
    """A report on a refund among the arguments."""

    compact: str
    token: Signed
    epoch: int

    @property
    def payload(self) -> Record:
        """What the bank signed."""
        return self.token.payload

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the refund."""
        return name_of(self.payload)

    @property
    def place(self) -> str:
        """The refund's ledger key."""
        return place_of(self.payload, self.payload["refund_no"])

    @property
    def payment(self) -> str:
        """Its payment's ledger key."""
        merchant_id, order_no, attempt, _ = self.name
        return f"payment/{merchant_id}/{order_no}/{attempt:04d}"

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The records it can change."""
        return (self.place, self.payment)


def parse(item: Any) -> Told | ToldOfRefund:
    """An item of SubmitReports: a report on a payment or on a refund. Raises Refused."""
    compact, epoch = reports.item_of(item)
    return _read(compact, epoch)


def parse_evidence(item: Any) -> Told | ToldOfRefund:
    """An item of SubmitEvidence. Raises Refused."""
    return _read(contradictions.text_of(item), 0)


def decide(told: Told | ToldOfRefund, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    if isinstance(told, Told):
        return reports.decide(told, draft)
    acquirer = reports.acquirer_of(told, draft)
    if acquirer["msp_id"] != draft.invocation.submitter.msp_id:
        raise Refused(Code.ROLE_FORBIDDEN, Check.ROLE, "the submitter is not the acquirer's bank")
    key, refund = reports.signer(told, acquirer), _refund_of(told, draft)
    report, number = told.payload, told.payload["sequence"]
    entry = refund["reports"][number - 1] if number <= len(refund["reports"]) else None
    said = digest(report)
    if entry is not None and entry[3] == said:
        return Outcome(
            Code.DUPLICATE, Check.RECORD, told.name, refund["status"], entry[4],
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
        before = _contradiction(told, refund, key, draft)
        return Outcome(
            Code.EQUIVOCATION, Check.EQUIVOCATION, told.name, refund["status"],
            before or draft.invocation.tx_id, "another report has this number", told.speaks_of,
        )  # fmt: skip
    _check_next(told, refund)
    _take(told, refund, said, draft)
    return Outcome(Code.OK, Check.OUTCOME, told.name, report["status"], draft.invocation.tx_id)


def decide_evidence(told: Told | ToldOfRefund, draft: Draft) -> Outcome:
    """The same of a contradiction that is shown. Raises Refused."""
    if isinstance(told, Told):
        return contradictions.decide(told, draft)
    key = reports.signer(told, reports.acquirer_of(told, draft))
    refund = _refund_of(told, draft)
    number, held = told.payload["sequence"], refund["reports"]
    if number > len(held) or held[number - 1][3] == digest(told.payload):
        raise Refused(
            Code.NO_CONTRADICTION, Check.EQUIVOCATION, f"the refund took no other report {number}"
        )
    before = _contradiction(told, refund, key, draft)
    if before is None:
        tx_id = draft.invocation.tx_id
        return Outcome(Code.OK, Check.OUTCOME, told.name, refund["status"], tx_id)
    return Outcome(
        Code.DUPLICATE, Check.EQUIVOCATION, told.name, refund["status"], before,
        "this number's evidence is on the ledger already", told.speaks_of,
    )  # fmt: skip


def _read(compact: str, epoch: int) -> Told | ToldOfRefund:
    token = reports.token_of(compact)
    report = token.payload
    if "refund_no" not in report:
        return reports.told_by(compact, token, epoch)
    _check(forms.REFUND_REPORT.fault(report))
    kind, status = report["kind"], report["status"]
    if status not in _KINDS.get(kind, ()):
        _check(f"a {kind} of a refund can't say {status}")
    told = ToldOfRefund(compact, token, epoch)
    scanned = {name: report[name] or "" for name in forms.REPORT_SCANNED}
    # The network's own reference is a digest, which is not scanned.
    if report["acquirer_reference"] != _own_reference(told):
        scanned["acquirer_reference"] = report["acquirer_reference"]
    for name, value in scanned.items():
        if cards.held(value):
            raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{name} looks like a card")
    return told


def _refund_of(told: ToldOfRefund, draft: Draft) -> Record:
    """The refund, of a payment at the report's acquirer. Raises Refused."""
    refund = draft.get(told.place)
    if refund is None:
        raise Refused(Code.REFUND_UNKNOWN, Check.REPORT, "there is no such refund")
    if refund["acquirer_id"] != told.payload["acquirer_id"]:
        raise Refused(
            Code.ACQUIRER_MISMATCH, Check.REPORT, f"the payment is {refund['acquirer_id']}'s"
        )
    return refund


def _check_next(told: ToldOfRefund, refund: Record) -> None:
    """Whether it follows on what was reported. Raises Refused."""
    report, due, before = told.payload, len(refund["reports"]) + 1, refund["status"]
    if report["intent_digest"] != refund["intent_digest"]:
        raise Refused(Code.INTENT_MISMATCH, Check.REPORT, "the report is about another intent")
    if report["sequence"] != due:
        raise Refused(
            Code.SEQUENCE_GAP, Check.REPORT, f"report {report['sequence']} where {due} is due"
        )
    if any(report[name] != refund[name] for name in ("amount", "currency")):
        raise Refused(Code.AMOUNT_MISMATCH, Check.REPORT, "the report is about another amount")
    if report["acquirer_reference"] != _own_reference(told):
        raise Refused(Code.REFERENCE_MISMATCH, Check.REPORT, "it names another reference")
    moved, code = report["status"] in ("accepted", "succeeded"), report["merchant_code"]
    if moved and code is not None and code != refund["merchant_code"]:
        raise Refused(Code.REPORTED_CODE_MISMATCH, Check.REPORT, f"it is of money at code {code}")
    if before in FINAL:
        raise Refused(Code.ALREADY_FINAL, Check.STATUS, f"reported although it is {before}")
    if report["status"] not in _NEXT[before]:
        raise Refused(Code.TRANSITION_FORBIDDEN, Check.STATUS, f"{before} -> {report['status']}")


def _take(told: ToldOfRefund, refund: Record, said: str, draft: Draft) -> None:
    """The refund with this report, and its payment when money came back."""
    report, tx_id = told.payload, draft.invocation.tx_id
    kind, status = report["kind"], report["status"]
    entry = [report["sequence"], kind, status, said, tx_id, told.compact]
    changed: Record = {
        "status": status,
        "reason": report["reason"],
        "reports": [*refund["reports"], entry],
    }
    if kind == "result":
        changed |= {"result": told.compact, "clearing_date": report["clearing_date"] or ""}
    draft.made[told.place] = draft.touched(refund, **changed)
    if status == "succeeded":
        _give_back(told, draft)
    draft.changes.append(["refund", *told.name[:3], status])
    key_id = told.token.key_id
    step = Step(draft.invocation, "refund report", status, told.compact, key_id)
    draft.steps.append((told.payment, step))


def _give_back(told: ToldOfRefund, draft: Draft) -> None:
    payment = draft.get(told.payment)
    if payment is None:
        raise LookupError(f"{told.place} has no payment")
    if payment["status"] == "succeeded":
        given = payment["refunded_amount"] + told.payload["amount"]
        draft.made[told.payment] = draft.touched(payment, refunded_amount=given)
    elif excepted(payment):
        resolved = [one | {"status": "resolved"} for one in payment["exceptions"]]
        draft.made[told.payment] = draft.touched(payment, exceptions=resolved)


def _contradiction(told: ToldOfRefund, refund: Record, key: Record, draft: Draft) -> str | None:
    """Keep another report with a number that was taken, one a number; when one was kept before,
    the transaction that did."""
    number, invocation = told.payload["sequence"], draft.invocation
    for one in refund["contradictions"]:
        if one["sequence"] == number:
            return str(one["tx_id"])
    kept = {
        "sequence": number,
        "report": told.compact,
        "key_status": key["status"],
        "msp_id": invocation.submitter.msp_id,
        "tx_id": invocation.tx_id,
    }
    all_ = [*refund["contradictions"], kept]
    draft.made[told.place] = draft.touched(refund, contradictions=all_)
    draft.changes.append(["equivocation", *told.name[:3], refund["status"]])
    step = Step(
        invocation, "refund contradiction", refund["status"], told.compact, told.token.key_id
    )
    draft.steps.append((told.payment, step))
    return None


def _own_reference(told: ToldOfRefund) -> str:
    """A pure function of network and refund, 40 hex digits."""
    *payment, number = told.name
    named = canonical([told.payload["network"], *payment, "refund", number])
    return hashlib.sha256(named).hexdigest()[:40]


def _check(fault: str | None) -> None:
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
