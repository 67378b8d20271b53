"""Refunds and closes as an attacker sends them, and the code that each gets: what holds for any
intent (hostile_intents.py), and what is theirs."""

from __future__ import annotations

from typing import Any

import forged_jws as forge
import parties
from hostile_intents import OF_ANY, OF_MONEY, Case, Signed
from parties import ONE, OWNER
from samples import INTENT

from clearline import intents, jws, refunds, times
from clearline.intents import CloseIntent, PayIntent


def refund_of(of: PayIntent) -> Signed:
    """Sound refunds of this payment."""

    def signed(signer: jws.KeySigner = OWNER, **changed: Any) -> str:
        return refunds.sign(parties.refund(of, **changed), signer)

    return signed


def close_of(of: PayIntent) -> Signed:
    """Sound closes of this payment."""

    def signed(signer: jws.KeySigner = OWNER, **changed: Any) -> str:
        said: dict[str, Any] = {
            "network": of.network, "merchant_id": of.merchant_id, "order_no": of.order_no,
            "attempt": of.attempt, "created": times.now(),
        }  # fmt: skip
        return intents.sign(CloseIntent(**(said | changed)), signer)

    return signed


REFUNDS = (
    *OF_ANY,
    *OF_MONEY,
    Case("number", "signature_invalid", lambda s: forge.altered(s(), refund_no=2)),
    Case("a refund for a close", "malformed", lambda s: forge.altered(s(), kind="close")),
    Case("a refund for a pay intent", "malformed", lambda s: forge.altered(s(), kind="pay")),
    Case("with an acquirer in it", "malformed",
         lambda s: forge.with_payload(s(), OWNER, acquirer_id=ONE)),
    Case("number twice", "malformed", lambda s: forge.twice(s(), OWNER, "payload", "refund_no", 2)),
    Case("number zero", "malformed", lambda s: s(refund_no=0)),
    Case("number as a text", "malformed", lambda s: forge.with_payload(s(), OWNER, refund_no="1")),
    Case("another merchant's payment", "payment_unknown",
         lambda s: s(parties.OTHER, merchant_id=parties.OTHER_MERCHANT)),
    Case("a payment nobody asked for", "payment_unknown", lambda s: s(attempt=2)),
    Case("one minor unit too much", "refund_amount_refused",
         lambda s: s(amount=INTENT.amount + 1)),
    Case("in another currency", "refund_amount_refused", lambda s: s(currency="USD")),
    Case("the second before the first", "refund_out_of_order", lambda s: s(refund_no=2)),
)  # fmt: skip
CLOSES = (
    *OF_ANY,
    Case("created", "signature_invalid", lambda s: forge.altered(
        s(), created=times.after(times.now(), -5))),
    Case("a close for a refund", "malformed", lambda s: forge.altered(s(), kind="refund")),
    Case("a close for a pay intent", "malformed", lambda s: forge.altered(s(), kind="pay")),
    Case("with an end", "malformed",
         lambda s: forge.with_payload(s(), OWNER, expires_at=times.now())),
    Case("kind twice", "malformed", lambda s: forge.twice(s(), OWNER, "payload", "kind", "close")),
    Case("another merchant's payment", "payment_unknown",
         lambda s: s(parties.OTHER, merchant_id=parties.OTHER_MERCHANT)),
    Case("a payment nobody asked for", "payment_unknown", lambda s: s(attempt=2)),
)  # fmt: skip
