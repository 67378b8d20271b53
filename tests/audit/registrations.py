"""What the forged channel's bank registers: one acquirer, entity, account and merchant."""

from __future__ import annotations

from typing import Any

from samples import INTENT

from clearline.jws import KeySigner
from clearline.records import account_id


def registrations(merchant: KeySigner, acquirer: KeySigner) -> list[dict[str, Any]]:
    """Proposals that register what INTENT names."""
    account = account_id(b"secret", "BKONCNBJ", "1")
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("acquirer", {
            "acquirer_id": "unionpay", "name": "UnionPay", "currencies": ["CNY"],
            "licence_no": "Z1", "licence_valid_until": "2030-01-01", "keys": [acquirer.jwk],
        }),
        ("entity", {
            "entity_id": "E-1", "name": "Example", "country": "CN", "registration_no": "R1",
        }),
        ("account", {
            "account_id": account, "entity_id": "E-1", "bank_code": "BKONCNBJ",
            "last4": "0001", "currency": "CNY",
        }),
        ("merchant", {
            "merchant_id": INTENT.merchant_id, "entity_id": "E-1", "account_id": account,
            "name": "Example", "mcc": "5411", "goods_categories": ["groceries"],
            "codes": {"unionpay": [INTENT.acquirers[0].merchant_code]}, "keys": [merchant.jwk],
        }),
    ]  # fmt: skip
    return [{"proposal_id": f"p-{kind}", "kind": kind, "body": body} for kind, body in bodies]
