"""The auditor's reading of refunds: what merchants sign to give money back.

A refund counts when the merchant's registered, active key signed it, its payment succeeded (or has
an open late success), no more is given back than is left, and the refund before it has ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit import cards, forms, intents
from audit.changes import check_active
from audit.draft import Draft, Outcome, Record, Refused, Step
from audit.findings import Check
from audit.intents import Asked
from audit.jose import Signed, digest
from audit.reports import FINAL
from clearline.codes import Code


@dataclass(frozen=True)
class Refunding:
    """An item of SubmitIntents that is a refund."""

    compact: str
    token: Signed

    @property
    def payload(self) -> Record:
        """What the merchant signed."""
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
        return intents.place_of(self.payload, self.payload["attempt"])

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The one record it can make."""
        return (self.place,)


def parse(item: Any) -> Asked | Refunding:
    """An item of SubmitIntents, of any kind: form and cards. Raises Refused."""
    token = intents.token_of(item)
    if token.payload.get("kind") != "refund":
        return intents.parse(item, token)
    wish = token.payload
    _check(forms.REFUND.fault(wish))
    if wish["expires_at"] <= wish["created"]:
        _check("it expires before it is created")
    for name in forms.REFUND_SCANNED:
        if cards.held(wish[name]):
            raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{name} looks like a card")
    if "acquirer_id" in item:
        _check("a route goes with a request, and only with it")
    return Refunding(item["intent"], token)


def decide(asked: Asked | Refunding, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    if isinstance(asked, Asked):
        return intents.decide(asked, draft)
    merchant = intents.signed_by(asked.payload, asked.token, draft)
    wish, before = asked.payload, draft.get(asked.place)
    signed = digest({name: one for name, one in wish.items() if name != "created"})
    if before is not None and before["intent_digest"] == signed:
        return Outcome(
            Code.DUPLICATE, Check.RECORD, asked.name, before["status"], before["txs"][0],
            "it is on the ledger already", asked.speaks_of,
        )  # fmt: skip
    check_active(merchant["keys"][asked.token.key_id], draft.day)
    if before is not None:
        raise Refused(Code.CONFLICT, Check.RECORD, "another intent made this refund")
    payment = draft.get(asked.payment)
    if payment is None:
        raise Refused(Code.PAYMENT_UNKNOWN, Check.RECORD, "there is no such payment to refund")
    _check_money(wish, payment)
    intents.check_times(wish, draft.invocation.time)
    _check_order(wish, draft)
    draft.made[asked.place] = _refund(asked, payment, signed, draft)
    draft.changes.append(["refund", *asked.name[:3], "requested"])
    told = Step(draft.invocation, "refund", "requested", asked.compact, asked.token.key_id)
    draft.steps.append((asked.payment, told))
    return Outcome(Code.OK, Check.OUTCOME, asked.name, "requested", draft.invocation.tx_id)


def _check_money(wish: Record, payment: Record) -> None:
    """Refunds and what they are of conserve the amount: at most what is left of a success, exactly
    what came in after another end."""
    if payment["status"] == "succeeded":
        left = payment["amount"] - payment["refunded_amount"]
        fits = wish["amount"] <= left and wish["currency"] == payment["currency"]
    else:
        late = [one for one in payment["exceptions"] if one["status"] == "open"]
        if not late:
            raise Refused(
                Code.NOT_REFUNDABLE, Check.STATUS, f"refunded although it is {payment['status']}"
            )
        fits = all(wish[name] == late[0][name] for name in ("amount", "currency"))
    if not fits:
        raise Refused(
            Code.REFUND_AMOUNT_REFUSED, Check.INTENT, "more would be given back than was paid"
        )


def _check_order(wish: Record, draft: Draft) -> None:
    if wish["refund_no"] == 1:
        return
    earlier = draft.get(place_of(wish, wish["refund_no"] - 1))
    if earlier is None or earlier["status"] not in FINAL:
        raise Refused(Code.REFUND_OUT_OF_ORDER, Check.ATTEMPT, "the refund before it has not ended")


def _refund(asked: Refunding, payment: Record, signed: str, draft: Draft) -> Record:
    wish, invocation = asked.payload, draft.invocation
    same = ("merchant_id", "order_no", "attempt", "refund_no", "amount", "currency", "expires_at")
    return {name: wish[name] for name in same} | {
        "type": "refund",
        "status": "requested",
        "acquirer_id": payment["acquirer_id"],
        "merchant_code": payment["merchant_code"],
        "intent": asked.compact,
        "intent_digest": signed,
        "msp_id": invocation.submitter.msp_id,
        "requested_at": invocation.time,
        "reports": [],
        "contradictions": [],
        "reason": "",
        "result": "",
        "clearing_date": "",
        "settlement": "",
        "txs": [invocation.tx_id],
    }


def name_of(payload: Record) -> tuple[str | int, ...]:
    """What names a refund: of an intent, a report or a record."""
    return tuple(payload[name] for name in ("merchant_id", "order_no", "attempt", "refund_no"))


def place_of(payload: Record, refund_no: int) -> str:
    """The ledger key of a refund."""
    payment = intents.place_of(payload, payload["attempt"]).removeprefix("payment/")
    return f"refund/{payment}/{refund_no:04d}"


def _check(fault: str | None) -> None:
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
