"""Signed intents for a load, made before the clock starts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from clearline import intents, times
from clearline.intents import PayIntent, Route
from clearline.jws import KeySigner

SINK = "bench-sink"  # an acquirer without a connector: its payments stay `requested`
MERCHANTS = 8
_LIFETIME = 3_600


@dataclass(frozen=True, slots=True)
class Signing:
    """Which intents to make: picklable, so that the process that sends them signs them.

    keys: folder with one PEM a merchant. prefix: of the order numbers, new for each measurement.
    """

    keys: Path
    network: str
    prefix: str
    acquirer_id: str
    payer_token: str = "tok_approve"


class Signers:
    """The bench merchants' keys, and the intents they sign."""

    def __init__(self, wanted: Signing) -> None:
        self._wanted = wanted
        self._keys = [KeySigner.load(wanted.keys / f"{n}.pem") for n in range(MERCHANTS)]
        self._created = times.now()
        self._expires = times.after(self._created, _LIFETIME)

    def sign(self, number: int) -> str:
        """The signed intent of this number: the same number is the same payment."""
        merchant = number % MERCHANTS
        wanted = self._wanted
        intent = PayIntent(
            network=wanted.network,
            merchant_id=merchant_id(merchant),
            order_no=f"{wanted.prefix}-{number}",
            attempt=1,
            amount=1000 + number % 9000,
            currency="CNY",
            acquirers=(Route(wanted.acquirer_id, merchant_code(merchant), wanted.payer_token),),
            created=self._created,
            expires_at=self._expires,
            store="store-1",
            terminal="T0000001",
            mcc="5411",
            product="card",
            goods_category="groceries",
            site="shop.example",
            order_digest=f"{number:064x}",
        )
        return intents.sign(intent, self._keys[merchant])


@dataclass(frozen=True, slots=True)
class SubmitIntents:
    """Arguments of `SubmitIntents` transactions of `per_transaction` payments each."""

    signing: Signing
    per_transaction: int
    transactions: int

    function = "SubmitIntents"

    def make(self) -> list[str]:
        """One JSON argument a transaction."""
        signers, acquirer = Signers(self.signing), self.signing.acquirer_id
        size = self.per_transaction
        return [
            json.dumps(
                [
                    {"intent": signers.sign(number), "acquirer_id": acquirer}
                    for number in range(first, first + size)
                ]
            )
            for first in range(0, size * self.transactions, size)
        ]


def merchant_id(number: int) -> str:
    """The name of a bench merchant."""
    return f"M-BENCH{number}"


def merchant_code(number: int) -> str:
    """Its code, the same at both acquirers; 898... passes no card range check."""
    return f"8983101499900{number:02d}"
