"""UnionPay's messages and ours: orders to fields, fields to answers. Pure."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from clearline.cards import holds_card_number
from clearline.intents import Product
from clearline.money import NUMERIC
from clearline.statuses import Reason
from connector.adapter import Answer, Order, Verdict, held_against
from connector.unionpay_iso8583.wire import Native, Partner

SIGN_ON: Final = "001"
SIGN_OFF: Final = "002"
ECHO: Final = "301"
APPROVED: Final = "00"
_PURCHASE: Final = "000000"
_REFUND: Final = "200000"
_ALPHABETIC: Final = {numeric: code for code, numeric in NUMERIC.items()}
# Point of service: entry mode (field 22) and condition (field 25) by product.
_SERVICE: Final[dict[str, tuple[str, str]]] = {
    Product.CARD: ("051", "00"),
    Product.DYNAMIC_QR: ("031", "00"),
    Product.STATIC_QR: ("032", "00"),
    Product.APP: ("812", "59"),
    Product.WEB: ("812", "59"),
}
_DECLINED: Final[dict[str, Reason]] = {
    "03": Reason.INVALID_MERCHANT,
    "05": Reason.DO_NOT_HONOR,
    "12": Reason.INVALID_TRANSACTION,
    "13": Reason.INVALID_AMOUNT,
    "14": Reason.INVALID_CARD,
    "30": Reason.FORMAT_ERROR,
    "41": Reason.LOST_CARD,
    "43": Reason.STOLEN_CARD,
    "51": Reason.INSUFFICIENT_FUNDS,
    "54": Reason.EXPIRED_CARD,
    "55": Reason.INCORRECT_PIN,
    "57": Reason.NOT_PERMITTED,
    "59": Reason.SUSPECTED_FRAUD,
    "61": Reason.LIMIT_EXCEEDED,
    "62": Reason.RESTRICTED_CARD,
    "91": Reason.ISSUER_UNAVAILABLE,
    "96": Reason.SYSTEM_MALFUNCTION,
}
# Answered before the acquirer looked at the payment: a fault of the connection, not an end.
_REVERSED_BEFORE: Final = "22"
_NOTHING_TO_REVERSE: Final = "25"
_DUPLICATE: Final = "94"


def management(kind: str, stan: str, partner: Partner, now: datetime) -> Native:
    """0800: sign-on, sign-off or echo."""
    return Native(
        "0800",
        {"7": _moment(now), "11": stan, "33": partner.forwarding_institution, "70": kind},
    )


def trace(stan: str, now: datetime) -> str:
    """What identifies one sending: trace number and transmission time."""
    return f"{stan}:{_moment(now)}"


def purchase(order: Order, sending: str, partner: Partner, now: datetime) -> Native:
    """0200 of an order; `sending` is its trace. Raises KeyError for a currency without a number."""
    stan, _, moment = sending.partition(":")
    entry_mode, condition = _SERVICE.get(order.product, ("012", "00"))
    return Native(
        "0200",
        {
            **_common(order, partner),
            "7": moment,
            "11": stan,
            "12": now.strftime("%H%M%S"),
            "13": now.strftime("%m%d"),
            "18": order.mcc,
            "22": entry_mode,
            "25": condition,
            "41": order.terminal[:8].ljust(8),
            "60": order.payer_token,
        },
    )


def reversal(
    order: Order, sending: str, stan: str, tries: int, partner: Partner, now: datetime
) -> Native:
    """0420 of an order, 0421 when it was sent before. Field 90 names the sending; zeros when it
    is not known, the full reference says which payment."""
    original_stan, _, moment = (sending or f"{0:06d}:{0:010d}").partition(":")
    original = (
        f"0200{original_stan}{moment}"
        f"{partner.acquiring_institution:>011}{partner.forwarding_institution:>011}"
    )
    return Native(
        "0421" if tries else "0420",
        {**_common(order, partner), "7": _moment(now), "11": stan, "90": original},
    )


def purchase_answer(order: Order, message: Native) -> Answer:
    """What a 0210 says. An approval of anything but what was asked leaves the money in doubt."""
    code = message.get("39")
    if code == APPROVED:
        known = _answer(message, Verdict.APPROVED, Reason.APPROVED)
        asked = (order.amount, order.currency, order.merchant_code, order.payer_token)
        if (known.amount, known.currency, known.merchant_code, known.payer_token) == asked:
            return known
        return _answer(message, Verdict.UNSURE, Reason.INVALID_AMOUNT)
    if code == _REVERSED_BEFORE:
        return _answer(message, Verdict.REVERSED, Reason.REVERSED)
    if code == _DUPLICATE:
        return _answer(message, Verdict.UNSURE, Reason.DUPLICATE)
    if code in _DECLINED:
        return _answer(message, Verdict.DECLINED, _DECLINED[code])
    return _answer(message, Verdict.UNSURE, Reason.OTHER)


def reversal_answer(message: Native) -> Answer:
    """What a 0430 says: reversed, or nothing was there and nothing can come (the acquirer
    remembers the reference). Every other code settles nothing."""
    if message.get("39") in (APPROVED, _NOTHING_TO_REVERSE):
        return _answer(message, Verdict.REVERSED, Reason.REVERSED)
    return _answer(message, Verdict.UNSURE, Reason.OTHER)


def refund(order: Order, sending: str, tries: int, partner: Partner, now: datetime) -> Native:
    """0200 of a refund; 0201, its repeat, when one was or may have been sent before. Field 61 is
    its own reference, 62 the payment's. Raises KeyError for a currency without a number."""
    stan, _, moment = sending.partition(":")
    return Native(
        "0201" if tries else "0200",
        {
            **_common(order, partner),
            "3": _REFUND,
            "7": moment,
            "11": stan,
            "12": now.strftime("%H%M%S"),
            "13": now.strftime("%m%d"),
            "62": order.original,
        },
    )


def refund_answer(order: Order, message: Native) -> Answer:
    """What the 0210 of a refund says. One of anything but what was asked is in doubt, and so is a
    duplicate: its repeat is answered as the first was."""
    code = message.get("39")
    if code == APPROVED:
        return held_against(order, _answer(message, Verdict.APPROVED, Reason.APPROVED))
    if code in _DECLINED:
        return _answer(message, Verdict.DECLINED, _DECLINED[code])
    reason = Reason.DUPLICATE if code == _DUPLICATE else Reason.OTHER
    return _answer(message, Verdict.UNSURE, reason)


def _common(order: Order, partner: Partner) -> dict[str, str]:
    return {
        "3": _PURCHASE,
        "4": f"{order.amount:012d}",
        "32": partner.acquiring_institution,
        "33": partner.forwarding_institution,
        "42": order.merchant_code.ljust(15),
        "49": NUMERIC[order.currency],
        "61": order.reference,
    }


def _answer(message: Native, verdict: Verdict, reason: Reason) -> Answer:
    route, _, day = message.get("63").partition("/")
    amount = message.get("4")
    code = message.get("42").strip()
    return Answer(
        verdict=verdict,
        reason=reason,
        native=message.raw,
        amount=int(amount) if amount else None,
        currency=_ALPHABETIC.get(message.get("49")),
        merchant_name=_tellable(message.get("43").strip()),
        merchant_code=_tellable(code) if code.isalnum() else None,
        mcc=_tellable(message.get("18")),
        payer_token=_tellable(message.get("60")),
        clearing_route=_tellable(route),
        clearing_date=_clearing_date(day),
    )


def _tellable(text: str) -> str | None:
    """The text, None when it is empty or holds what could be a card number: the ledger refuses a
    report with one for good, so nothing that it was said in would ever end."""
    return text if text and not holds_card_number(text) else None


def _clearing_date(digits: str) -> str | None:
    """YYYYMMDD as a date; None for what is none, so that it can't spoil a report."""
    try:
        return date.fromisoformat(digits).isoformat()
    except ValueError:
        return None


def _moment(now: datetime) -> str:
    return now.strftime("%m%d%H%M%S")
