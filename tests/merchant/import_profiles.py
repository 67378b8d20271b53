"""Merchants' profiles that order files are imported with."""

from pathlib import Path

from clearline.jws import KeySigner
from merchant.profile import Profile, parse

BANK = KeySigner.generate()


def profile_of(*acquirers: str, **defaults: str) -> Profile:
    """With a route for each acquirer, and these defaults beside the usual ones."""
    names = acquirers or ("unionpay",)
    document = {
        "network": "clearline-dev",
        "merchant_id": "M-1",
        "gateways": [{"url": "https://127.0.0.1:1", "ca": "ca.pem"}],
        "acquirer_keys": {name: [BANK.jwk] for name in names},
        "routes": [{"acquirer_id": name, "merchant_code": f"C{name}"} for name in names],
        "defaults": {
            "store": "s",
            "terminal": "T1",
            "mcc": "5411",
            "product": "card",
            "goods_category": "food",
            "site": "shop.example",
            "currency": "CNY",
        }
        | defaults,
    }
    return parse(document, Path())
