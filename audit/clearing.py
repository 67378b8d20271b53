"""The auditor's model of what follows the payments: files, adjustments, settlements, payouts.

Each counts when an active key of the acquirer signed it and its own bank's maker carried it. The
parts of a settlement and its checker's decision are in audit/settlements.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from audit import cards, settlements
from audit.clearing_forms import FORMS, SCANNED, odd
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from audit.jose import JoseError, digest, read, verify
from audit.relations import check_paid
from audit.settlements import Cleared, place_of, statement_of
from clearline.codes import Code

TYP: Final = "clearline-clearing+jws"


def parse(item: Any) -> Cleared:
    """Form and cards. Raises Refused."""
    if not isinstance(item, str):
        raise Refused(Code.MALFORMED, Check.FORM, "it is no text")
    try:
        token = read(item, TYP)
    except JoseError as error:
        raise Refused(Code.MALFORMED, Check.FORM, f"it is {error}") from None
    said = token.payload
    kind = said.get("kind")
    if not isinstance(kind, str) or kind not in FORMS:
        raise Refused(Code.MALFORMED, Check.FORM, "it is of no known kind")
    fault = FORMS[kind].fault(said) or odd(kind, said)
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
    scanned = [said.get(name) or "" for name in SCANNED]
    for value in scanned + [entry[1] for entry in said.get("entries", ())]:
        if cards.held(value):
            raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, "it looks like a card number")
    return Cleared(item, token)


def decide(cleared: Cleared, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    said = cleared.said
    if said["network"] != draft.network:
        raise Refused(
            Code.NETWORK_MISMATCH, Check.SETTLEMENT, f"signed for network {said['network']}"
        )
    key = _signer(cleared, draft)
    index = draft.get(f"merchant_code/{said['acquirer_id']}/{said['merchant_code']}")
    if index is None or index["merchant_id"] != said["merchant_id"]:
        raise Refused(
            Code.MERCHANT_CODE_MISMATCH, Check.OWNERSHIP, "the code is not this merchant's there"
        )
    before = _BEFORE[said["kind"]](cleared, draft)
    if before is not None:
        tx_id, status = before
        return Outcome(
            Code.DUPLICATE, Check.RECORD, cleared.name, status, tx_id,
            "it is on the ledger already", cleared.speaks_of,
        )  # fmt: skip
    if key["status"] != "active":
        raise Refused(Code.KEY_REVOKED, Check.ACQUIRER_SIGNATURE, "the key was revoked")
    status = _TAKEN[said["kind"]](cleared, draft)
    return Outcome(Code.OK, Check.OUTCOME, cleared.name, status, draft.invocation.tx_id)


def _signer(cleared: Cleared, draft: Draft) -> Record:
    """The acquirer's key record that signed, perhaps revoked. Raises Refused."""
    acquirer = draft.get(f"acquirer/{cleared.said['acquirer_id']}")
    if acquirer is None:
        raise Refused(
            Code.ACQUIRER_UNKNOWN, Check.ACQUIRER_SIGNATURE, "signed by no registered acquirer"
        )
    if acquirer["msp_id"] != draft.invocation.submitter.msp_id:
        raise Refused(Code.ROLE_FORBIDDEN, Check.ROLE, "the submitter is not the acquirer's bank")
    found: Record | None = acquirer["keys"].get(cleared.token.key_id)
    if found is None:
        raise Refused(Code.KEY_UNKNOWN, Check.ACQUIRER_SIGNATURE, "the key is not its acquirer's")
    try:
        verify(cleared.token, found)
    except JoseError as error:
        raise Refused(Code.SIGNATURE_INVALID, Check.ACQUIRER_SIGNATURE, str(error)) from None
    return found


def _known(cleared: Cleared, draft: Draft) -> tuple[str, str] | None:
    """A file or adjustment that was taken before: by which transaction."""
    there = draft.get(cleared.record)
    if there is None or there["digest"] != digest(cleared.said):
        return None
    return there["txs"][0], ""


def _paid_before(cleared: Cleared, draft: Draft) -> tuple[str, str] | None:
    settlement = draft.get(cleared.settlement)
    if settlement is None or not settlement["payout"]:
        return None
    if digest(read(settlement["payout"], TYP).payload) != digest(cleared.said):
        return None
    return settlement["txs"][-1], settlement["status"]


def _file(cleared: Cleared, draft: Draft) -> str:
    _free(cleared, draft, "another file of that code, currency and day is on the ledger")
    names = ("lines", "payments", "refunds", "fees", "adjustments", "file_digest")
    _put(cleared, draft, "acquirer_file", names, "filing")
    return ""


def _adjustment(cleared: Cleared, draft: Draft) -> str:
    said = cleared.said
    _free(cleared, draft, "another adjustment has this reference")
    if said["order_no"] is not None:
        payment = draft.get(
            f"payment/{said['merchant_id']}/{said['order_no']}/{said['attempt']:04d}"
        )
        if payment is None or not settlements.came_in(payment, said):
            raise Refused(
                Code.PAYMENT_UNKNOWN, Check.LINE, "the payment it is about did not succeed there"
            )
    _put(cleared, draft, "adjustment", ("reference", "amount", "cause"), "adjustment")
    draft.made[cleared.record]["settlement"] = ""
    return ""


def _put(cleared: Cleared, draft: Draft, kind: str, names: tuple[str, ...], signed: str) -> None:
    common = ("acquirer_id", "merchant_id", "merchant_code", "currency", "clearing_date")
    draft.made[cleared.record] = {one: cleared.said[one] for one in (*common, *names)} | {
        "type": kind,
        signed: cleared.compact,
        "digest": digest(cleared.said),
        "msp_id": draft.invocation.submitter.msp_id,
        "txs": [draft.invocation.tx_id],
    }


def _free(cleared: Cleared, draft: Draft, taken: str) -> None:
    if draft.get(cleared.record) is not None:
        raise Refused(Code.CONFLICT, Check.RECORD, taken)


def _payout(cleared: Cleared, draft: Draft) -> str:
    said, settlement = cleared.said, draft.get(cleared.settlement)
    if settlement is None:
        raise Refused(Code.SETTLEMENT_UNKNOWN, Check.SETTLEMENT, "there is no such settlement")
    if settlement["status"] != "stated":
        raise Refused(
            Code.SETTLEMENT_CLOSED,
            Check.SETTLEMENT,
            f"a payout of one that is {settlement['status']}",
        )
    if said["account_id"] != settlement["account_id"]:
        raise Refused(Code.PAYEE_MISMATCH, Check.PAYEE, "the settlement has another payee")
    if said["amount"] != settlement["net"]:
        raise Refused(
            Code.TOTALS_MISMATCH, Check.TOTALS, f"{said['amount']}, the net is {settlement['net']}"
        )
    if said["status"] == "paid":
        check_paid(said, draft)
    changed = {"status": said["status"], "payout": cleared.compact}
    draft.made[cleared.settlement] = draft.touched(settlement, **changed)
    if said["status"] == "returned":
        key = statement_of(place_of(said))
        statement = draft.get(key) or {}
        back = statement["carried"] + said["amount"]
        draft.made[key] = draft.touched(statement, carried=back)
    status: str = said["status"]
    return status


_BEFORE: Final[dict[str, Callable[[Cleared, Draft], tuple[str, str] | None]]] = {
    "acquirer_file": _known,
    "adjustment": _known,
    "settlement": settlements.part_before,
    "payout": _paid_before,
}
_TAKEN: Final[dict[str, Callable[[Cleared, Draft], str]]] = {
    "acquirer_file": _file,
    "adjustment": _adjustment,
    "settlement": settlements.take_part,
    "payout": _payout,
}
