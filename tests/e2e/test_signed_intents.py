"""Intents made from a gateway's own description, signed, and posted to the house that runs: what
is behind the signature - keys, door, committer, contract - answers as described."""

import string
import time
from typing import Any

import pytest
import requests
import schemathesis
from books import differences, read_books
from counter import PATIENCE, UNIONPAY, WALLET, Till, wait_until
from hypothesis import given
from hypothesis import strategies as st
from signed_payloads import Payloads, Seen, bounded, sign_any

from clearline import times
from clearline.house.layout import MERCHANT_ID, House
from clearline.jws import KeySigner, Typ
from clearline.schema import ORDER_NO

STRANGER = KeySigner.generate()
# As odd as an order number may be.
ODD = ("-", "_", "a", "...", "-.", "0", "z" * 64, "a.b-c_d", string.ascii_letters, "1e9")
ORDERS = (*ODD, *(f"signed-{number}" for number in range(30)))
ANSWERED = {200, 201, 202, 400, 401, 403, 404, 409, 422}
CODES = {
    "malformed", "key_unknown", "merchant_unknown", "network_mismatch", "conflict", "expired",
    "attempt_out_of_order", "acquirer_unknown", "payment_unknown",
}  # fmt: skip
OUTCOMES = {"ok", "malformed", "conflict"}


class Fuzzed:
    """A gateway of the house, its description, and orders that the merchant's book holds."""

    def __init__(self, house: House, till: Till) -> None:
        at = house.gateways[1]
        self.url, self.till, self.orders = at.url, till, ORDERS
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = self.ca = str(house.tls_ca(at.bank))
        document = self.session.get(f"{at.url}/openapi.json", timeout=20).json()
        self.schema = schemathesis.openapi.from_dict(document)
        self.payloads = Payloads(document, "PayIntent", "CloseIntent")
        till.take(dict.fromkeys(ORDERS, (UNIONPAY, "tok_approve")))
        self.seen = Seen()
        self.base = till.intent(ORDERS[0]).payload()
        self.codes = {acquirer.acquirer_id: acquirer.merchant_code for acquirer in house.acquirers}

    def intent(self, draw: Any) -> tuple[Any, KeySigner]:
        """A payload, and who signs it."""
        if draw(st.integers(0, 4)) == 0:
            shape, ours = "CloseIntent", self._close(draw)
        else:
            shape, ours = "PayIntent", self._pay(draw)
        signer = draw(st.sampled_from([self.till.signer] * 12 + [STRANGER]))
        payload = self.payloads.varied(draw, shape, ours | self._lost(draw))
        return self._known(payload, ours["order_no"]), signer

    def _known(self, payload: Any, ours: str) -> Any:
        """With an order that the merchant's book has, where the drawn one could be taken: else the
        books would rightly differ."""
        drawn = payload.get("order_no") if isinstance(payload, dict) else None
        if not ORDER_NO.fits(drawn) or drawn in self.orders:
            return payload
        return payload | {"order_no": ours}

    def _lost(self, draw: Any) -> dict[str, Any]:
        """Sometimes it is another merchant's, or for another network."""
        lost = {2: {"merchant_id": "M-9999"}, 3: {"network": "clearline-test"}}
        return lost.get(draw(st.integers(0, 19)), {})

    def _pay(self, draw: Any) -> dict[str, Any]:
        now = times.now()
        names = draw(st.sampled_from([[UNIONPAY], [WALLET], [UNIONPAY, WALLET], ["nobody"]]))
        tokens = st.sampled_from(["tok_approve", "tok_insufficient_funds", "tok_unheard.of:1"])
        return self.base | {
            "order_no": draw(st.sampled_from(self.orders)),
            "attempt": draw(st.sampled_from([1, 1, 1, 2])),
            "amount": draw(st.sampled_from([1, 2933, 999_999_999_999])),
            "created": now,
            "expires_at": times.after(now, draw(st.sampled_from([900] * 9 + [0.001]))),
            "acquirers": [
                {
                    "acquirer_id": name,
                    "merchant_code": self.codes.get(name, "C1"),
                    "payer_token": draw(tokens),
                }
                for name in names
            ],
        }

    def _close(self, draw: Any) -> dict[str, Any]:
        return {
            "kind": "close",
            "version": 1,
            "network": self.base["network"],
            "merchant_id": MERCHANT_ID,
            "order_no": draw(st.sampled_from(self.orders)),
            "attempt": draw(st.sampled_from([1, 1, 2])),
            "created": times.now(),
        }

    def send(self, case: Any) -> Any:
        """What the gateway answers, held against its description; again, as it says, while an
        acquirer can't be reached, as Till.post does."""
        end = time.monotonic() + PATIENCE
        while True:
            answer = case.call(self.url, self.session, timeout=40, verify=self.ca)
            self.seen.hold(case, answer)
            away = answer.status_code == 503 and answer.json()["code"] == "acquirer_unavailable"
            if not away or time.monotonic() > end:
                return answer
            time.sleep(int(answer.headers["retry-after"][0]))

    def open(self) -> int:
        """How many of the merchant's payments have not ended, as this gateway lists them."""
        kinds = "status=requested&status=accepted&status=unknown"
        listed = self.session.get(
            f"{self.url}/v1/payments?limit=200&{kinds}", headers=self.till.reading(1), timeout=20
        )
        return len(listed.json()["payments"])


@pytest.fixture
def fuzzed(house: House, till: Till) -> Any:
    made = Fuzzed(house, till)
    yield made
    made.session.close()


def test_whatever_is_signed_is_answered_as_described(fuzzed: Fuzzed, house: House) -> None:
    """One by one, then in batches; then every payment ends, and ledger, acquirers and merchant
    agree."""
    alone = fuzzed.schema["/v1/payments"]["POST"]
    together = fuzzed.schema["/v1/payments/batch"]["POST"]
    outcomes: set[str | None] = set()
    prefers = st.sampled_from(["", "", "respond-async", "wait=0", "wait=1"])

    @bounded(110)
    @given(data=st.data())
    def one(data: Any) -> None:
        payload, signer = fuzzed.intent(data.draw)
        prefer = data.draw(prefers)
        case = alone.Case(
            media_type="application/jose",
            body=sign_any(payload, Typ.INTENT, signer),
            headers={"Prefer": prefer} if prefer else {},
        )
        fuzzed.send(case)

    @bounded(12)
    @given(data=st.data())
    def many(data: Any) -> None:
        drawn = [fuzzed.intent(data.draw) for _ in range(data.draw(st.integers(1, 8)))]
        compacts = [sign_any(payload, Typ.INTENT, signer) for payload, signer in drawn]
        body: Any = {"intents": compacts}
        case = together.Case(media_type="application/json", body=body)
        told = fuzzed.send(case).json()["outcomes"]
        assert len(told) == len(compacts)
        assert all(item["status"] != 500 for item in told), told
        outcomes.update(item["code"] for item in told)

    one()
    many()
    seen = fuzzed.seen
    assert set(seen.statuses) >= ANSWERED, (seen.statuses, seen.codes)
    assert set(seen.codes) >= CODES, seen.codes
    assert outcomes >= OUTCOMES
    wait_until(lambda: fuzzed.open() == 0, "every payment has ended")
    assert differences(read_books(house)) == []
