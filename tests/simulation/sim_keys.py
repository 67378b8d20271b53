"""Who signs, with the same keys in every run, and the records that make them known."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sim_ledger import NETWORK

from clearline import intents, records, refunds, times
from clearline.intents import CloseIntent, PayIntent, PaymentKey, Route
from clearline.jws import KeySigner
from clearline.records import Acquirer, KeyRecord, Kind, Merchant, MerchantCode
from clearline.refunds import RefundIntent, RefundKey

ACQUIRER_ID, MERCHANT_ID, CODE = "simulated", "M-0001", "898310148990001"


def _signer(name: str) -> KeySigner:
    seed = hashlib.sha256(name.encode()).digest()
    return KeySigner(Ed25519PrivateKey.from_private_bytes(seed))


MERCHANT, BANK = _signer("merchant"), _signer("bank")


def _record(signer: KeySigner) -> dict[str, KeyRecord]:
    return {signer.key_id: KeyRecord(signer.algorithm.value, signer.jwk)}


def registered() -> tuple[tuple[str, bytes], ...]:
    """What the first block holds."""
    merchant = Merchant(
        MERCHANT_ID, "E-1", "a" * 64, "Shop", "5411", ["groceries"], {ACQUIRER_ID: [CODE]},
        _record(MERCHANT), "active", "BankOne",
    )  # fmt: skip
    acquirer = Acquirer(
        ACQUIRER_ID, "Simulated", "BankOne", ["CNY"], "L-1", "2099-12-31", _record(BANK), "active"
    )
    code = MerchantCode(ACQUIRER_ID, CODE, MERCHANT_ID)
    return (
        (records.record_key(Kind.MERCHANT, MERCHANT_ID), records.dump(merchant)),
        (records.record_key(Kind.ACQUIRER, ACQUIRER_ID), records.dump(acquirer)),
        (records.merchant_code_key(ACQUIRER_ID, CODE), records.dump(code)),
    )


def pay_intent(key: PaymentKey, amount: int, token: str, created: str, lives: int) -> PayIntent:
    """An intent that lives so many seconds."""
    return PayIntent(
        network=NETWORK,
        merchant_id=key.merchant_id,
        order_no=key.order_no,
        attempt=key.attempt,
        amount=amount,
        currency="CNY",
        acquirers=(Route(ACQUIRER_ID, CODE, token),),
        created=created,
        expires_at=times.after(created, lives),
        store="store-1",
        terminal="T0000001",
        mcc="5411",
        product="card",
        goods_category="groceries",
        site="shop.example",
        order_digest="0" * 64,
    )


def refund_intent(key: RefundKey, amount: int, created: str, lives: int) -> RefundIntent:
    """An intent that lives so many seconds."""
    return RefundIntent(NETWORK, *key, amount, "CNY", created, times.after(created, lives))


def signed(intent: PayIntent | CloseIntent | RefundIntent) -> str:
    """As the merchant sends it."""
    if isinstance(intent, RefundIntent):
        return refunds.sign(intent, MERCHANT)
    return intents.sign(intent, MERCHANT)
