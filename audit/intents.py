"""The auditor's reading of what merchants sign: a request for payment, and its close.

An intent counts when the merchant's registered, active key signed it and everything it names is
as the register says at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from audit import cards, forms
from audit.changes import AHEAD, check_active
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from audit.jose import JoseError, Signed, digest, read, verify
from audit.reports import FINAL, excepted
from clearline.codes import Code

TYP: Final = "clearline-intent+jws"


@dataclass(frozen=True)
class Asked:
    """An item of SubmitIntents; `acquirer_id` is empty for a close."""

    compact: str
    token: Signed
    acquirer_id: str

    @property
    def payload(self) -> Record:
        """What the merchant signed."""
        return self.token.payload

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the payment."""
        return (self.payload["merchant_id"], self.payload["order_no"], self.payload["attempt"])

    @property
    def place(self) -> str:
        """The payment's ledger key."""
        return place_of(self.payload, self.payload["attempt"])

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The one record it can make or change."""
        return (self.place,)


def token_of(item: Any) -> Signed:
    """An item's signed text taken apart, of whatever kind. Raises Refused."""
    _check(forms.INTENT_ITEM, item)
    try:
        token = read(item["intent"], TYP)
    except JoseError as error:
        raise Refused(Code.MALFORMED, Check.FORM, f"its intent is {error}") from None
    _scan("kid", token.key_id)
    return token


def parse(item: Any, token: Signed) -> Asked:
    """Form and cards of a request or a close. Raises Refused."""
    intent, acquirer_id = token.payload, item.get("acquirer_id")
    closes = intent.get("kind") == "close"
    _check(forms.CLOSE if closes else forms.PAY, intent)
    if not closes:
        _check_pay(intent)
    for name in forms.CLOSE_SCANNED if closes else forms.PAY_SCANNED:
        _scan(name, intent[name])
    for route in intent.get("acquirers", ()):
        for name, value in route.items():
            _scan(f"acquirers' {name}", value)
    if closes is not (acquirer_id is None):
        raise Refused(Code.MALFORMED, Check.FORM, "a route goes with a request, and only with it")
    _scan("acquirer_id", acquirer_id or "")
    return Asked(item["intent"], token, acquirer_id or "")


def _check_pay(intent: Record) -> None:
    if intent["expires_at"] <= intent["created"]:
        raise Refused(Code.MALFORMED, Check.FORM, "it expires before it is created")
    named = [route["acquirer_id"] for route in intent["acquirers"]]
    if len(set(named)) < len(named):
        raise Refused(Code.MALFORMED, Check.FORM, "it names an acquirer twice")


def decide(asked: Asked, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    merchant = signed_by(asked.payload, asked.token, draft)
    payment = draft.get(asked.place)
    decided = _close if asked.payload["kind"] == "close" else _request
    return decided(asked, merchant, payment, draft)


def signed_by(intent: Record, token: Signed, draft: Draft) -> Record:
    """The merchant, whose key - perhaps revoked since - signed it. Raises Refused."""
    if intent["network"] != draft.network:
        raise Refused(
            Code.NETWORK_MISMATCH, Check.INTENT, f"signed for network {intent['network']}"
        )
    merchant = draft.get(f"merchant/{intent['merchant_id']}")
    if merchant is None:
        raise Refused(Code.MERCHANT_UNKNOWN, Check.MERCHANT_SIGNATURE, "of no registered merchant")
    key = merchant["keys"].get(token.key_id)
    if key is None:
        raise Refused(
            Code.KEY_UNKNOWN, Check.MERCHANT_SIGNATURE, "the key that signed is not the merchant's"
        )
    try:
        verify(token, key)
    except JoseError as error:
        raise Refused(Code.SIGNATURE_INVALID, Check.MERCHANT_SIGNATURE, str(error)) from None
    return merchant


def _close(asked: Asked, merchant: Record, payment: Record | None, draft: Draft) -> Outcome:
    if payment is None:
        raise Refused(Code.PAYMENT_UNKNOWN, Check.RECORD, "there is no such payment to close")
    if payment["close"]:
        return _again(asked, payment["status"], payment["close_tx"])
    check_active(merchant["keys"][asked.token.key_id], draft.day)
    if payment["status"] in FINAL:
        raise Refused(
            Code.ALREADY_FINAL, Check.STATUS, f"closed although it is {payment['status']}"
        )
    tx_id = draft.invocation.tx_id
    draft.made[asked.place] = draft.touched(payment, close=asked.compact, close_tx=tx_id)
    return _taken(asked, "close", draft)


def _request(asked: Asked, merchant: Record, payment: Record | None, draft: Draft) -> Outcome:
    signed = digest({name: one for name, one in asked.payload.items() if name != "created"})
    if payment is not None and payment["intent_digest"] == signed:
        return _again(asked, payment["status"], payment["txs"][0])
    check_active(merchant["keys"][asked.token.key_id], draft.day)
    if payment is not None:
        raise Refused(Code.CONFLICT, Check.RECORD, "another intent made this payment")
    code = _route(asked, merchant, draft)
    check_times(asked.payload, draft.invocation.time)
    _check_attempt(asked.payload, draft)
    draft.made[asked.place] = _payment(asked, code, signed, draft)
    return _taken(asked, "intent", draft)


def _route(asked: Asked, merchant: Record, draft: Draft) -> str:
    """The merchant's code along the route that was chosen."""
    intent, wanted = asked.payload, asked.acquirer_id
    if merchant["status"] != "active":
        raise Refused(Code.MERCHANT_INACTIVE, Check.INTENT, f"the merchant is {merchant['status']}")
    codes = [r["merchant_code"] for r in intent["acquirers"] if r["acquirer_id"] == wanted]
    if not codes:
        raise Refused(Code.ACQUIRER_NOT_ACCEPTABLE, Check.INTENT, f"it does not name {wanted}")
    acquirer = draft.get(f"acquirer/{wanted}")
    if acquirer is None:
        raise Refused(Code.ACQUIRER_UNKNOWN, Check.INTENT, f"{wanted} is no acquirer")
    if acquirer["status"] != "active":
        raise Refused(Code.ACQUIRER_INACTIVE, Check.INTENT, f"{wanted} is {acquirer['status']}")
    if acquirer["licence_valid_until"] < draft.day:
        raise Refused(Code.ACQUIRER_INACTIVE, Check.INTENT, f"the licence of {wanted} had ended")
    if codes[0] not in merchant["codes"].get(wanted, ()):
        raise Refused(
            Code.MERCHANT_CODE_MISMATCH, Check.OWNERSHIP, f"{codes[0]} is not the merchant's"
        )
    if intent["currency"] not in acquirer["currencies"]:
        raise Refused(
            Code.CURRENCY_NOT_ACCEPTED, Check.INTENT, f"{wanted} takes no {intent['currency']}"
        )
    found: str = codes[0]
    return found


def check_times(intent: Record, now: str) -> None:
    """Raise Refused for one of the future or the past. The texts of both have one form, so that
    they compare as the times they name."""
    if datetime.fromisoformat(intent["created"]) > datetime.fromisoformat(now) + AHEAD:
        raise Refused(Code.NOT_YET_VALID, Check.INTENT, f"created at {intent['created']}")
    if intent["expires_at"] <= now:
        raise Refused(Code.EXPIRED, Check.INTENT, f"it had expired at {intent['expires_at']}")


def _check_attempt(intent: Record, draft: Draft) -> None:
    if intent["attempt"] == 1:
        return
    earlier = draft.get(place_of(intent, intent["attempt"] - 1))
    status = None if earlier is None else earlier["status"]
    if status == "succeeded":
        raise Refused(Code.ALREADY_SUCCEEDED, Check.ATTEMPT, "the attempt before succeeded")
    if earlier is None or status not in FINAL:
        raise Refused(Code.ATTEMPT_OUT_OF_ORDER, Check.ATTEMPT, "the attempt before has not ended")
    if excepted(earlier):
        raise Refused(
            Code.ATTEMPT_OUT_OF_ORDER, Check.ATTEMPT, "the attempt before has an open exception"
        )


def _payment(asked: Asked, code: str, signed: str, draft: Draft) -> Record:
    intent, invocation = asked.payload, draft.invocation
    same = ("merchant_id", "order_no", "attempt", "amount", "currency", "expires_at")
    return {name: intent[name] for name in same} | {
        "type": "payment",
        "status": "requested",
        "acquirer_id": asked.acquirer_id,
        "merchant_code": code,
        "intent": asked.compact,
        "intent_digest": signed,
        "msp_id": invocation.submitter.msp_id,
        "requested_at": invocation.time,
        "reports": [],
        "reason": "",
        "response": "",
        "result": "",
        "close": "",
        "close_tx": "",
        "exceptions": [],
        "refunded_amount": 0,
        "settlement": "",
        "txs": [invocation.tx_id],
    }


def _taken(asked: Asked, what: str, draft: Draft) -> Outcome:
    status = draft.made[asked.place]["status"]
    draft.changes.append(["payment", *asked.name, status])
    draft.step(asked.place, what, asked.compact, asked.token.key_id)
    return Outcome(Code.OK, Check.OUTCOME, asked.name, status, draft.invocation.tx_id)


def _again(asked: Asked, status: str, tx_id: str) -> Outcome:
    return Outcome(
        Code.DUPLICATE, Check.RECORD, asked.name, status, tx_id, "it is on the ledger already",
        asked.speaks_of,
    )  # fmt: skip


def place_of(payload: Record, attempt: int) -> str:
    """The ledger key of a payment."""
    return f"payment/{payload['merchant_id']}/{payload['order_no']}/{attempt:04d}"


def _check(form: Any, value: Any) -> None:
    fault = form.fault(value)
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)


def _scan(name: str, value: str) -> None:
    if cards.held(value):
        raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{name} looks like a card number")
