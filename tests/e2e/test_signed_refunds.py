"""Refunds made from a gateway's own description, signed, and posted to the house that runs: they
are answered as described, and what is taken is given back once, in all three books."""

from typing import Any

import requests
import schemathesis
from books import differences, read_books
from click.testing import CliRunner
from counter import UNIONPAY, WALLET, Till
from hypothesis import given
from hypothesis import strategies as st
from signed_payloads import Payloads, Seen, bounded, sign_any

from clearline import refunds, times
from clearline.house.layout import MERCHANT_ID, House
from clearline.jws import KeySigner, Typ
from clearline.schema import ORDER_NO
from merchant.cli import merchant
from merchant.desk import opened

STRANGER = KeySigner.generate()
PAID = 1234  # minor units, each order
ORDERS = tuple(f"fuzzback-{number}" for number in range(10))
ANSWERED = {200, 201, 202, 400, 401, 403, 404, 409, 422}
CODES = {
    "malformed", "key_unknown", "merchant_unknown", "network_mismatch", "conflict", "expired",
    "payment_unknown", "refund_amount_refused", "refund_out_of_order",
}  # fmt: skip

# What is drawn may miss one of these, so each is sent once as well.
WRONG: tuple[dict[str, Any], ...] = (
    {"merchant_id": "M-9999"}, {"network": "clearline-test"}, {"attempt": 2}, {"refund_no": 9},
    {"currency": "USD"}, {"amount": PAID + 1},
)  # fmt: skip


class Fuzzed:
    """A gateway of the house, its description, and orders that were paid."""

    def __init__(self, house: House, till: Till) -> None:
        at = house.gateways[1]
        self.till, self.network, self.ca = till, house.network, str(house.tls_ca(at.bank))
        self.url = at.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = self.ca
        document = self.session.get(f"{at.url}/openapi.json", timeout=20).json()
        self.post = schemathesis.openapi.from_dict(document)["/v1/payments/{order_no}/refunds"][
            "POST"
        ]
        self.payloads = Payloads(document, "RefundIntent")
        acquirers = (UNIONPAY, WALLET)
        till.pay(*till.take(
            {order: (acquirers[n % 2], "tok_approve.back") for n, order in enumerate(ORDERS)}
        ))  # fmt: skip
        self.seen = Seen()
        self.taken: set[str] = set()

    def refund(self, draw: Any) -> tuple[Any, str, KeySigner]:
        """A payload, the order it is sent to, and who signs it."""
        now, order_no = times.now(), draw(st.sampled_from(ORDERS))
        ours = self.sound(order_no) | {
            "attempt": draw(st.sampled_from([1, 1, 1, 1, 1, 2])),
            "refund_no": draw(st.sampled_from([1, 1, 2, 3])),
            "amount": draw(st.sampled_from([1, 1, 500, PAID, PAID + 1])),
            "currency": draw(st.sampled_from(["CNY"] * 9 + ["USD"])),
            "created": now,
            "expires_at": times.after(now, draw(st.sampled_from([900] * 9 + [0.001]))),
        }
        lost = {2: {"merchant_id": "M-9999"}, 3: {"network": "clearline-test"}}
        ours |= lost.get(draw(st.integers(0, 19)), {})
        payload = self.payloads.varied(draw, "RefundIntent", ours)
        named = payload.get("order_no") if isinstance(payload, dict) else None
        signer = draw(st.sampled_from([self.till.signer] * 12 + [STRANGER]))
        at = named if ORDER_NO.fits(named) else order_no
        return payload, at, signer

    def sound(self, order_no: str) -> dict[str, Any]:
        """A payload that would be taken, unless the order's refunds went further."""
        now = times.now()
        return {
            "kind": "refund", "version": 1, "network": self.network, "merchant_id": MERCHANT_ID,
            "order_no": order_no, "attempt": 1, "refund_no": 1, "amount": 1, "currency": "CNY",
            "created": now, "expires_at": times.after(now, 900),
        }  # fmt: skip

    def send_wrong(self) -> None:
        """Refunds of an order that has none yet, each wrong in one thing."""
        order_no = ORDERS[0]
        for changes in WRONG:
            self.send(self.sound(order_no) | changes, order_no, self.till.signer, "")
        self.send(self.sound(order_no), order_no, STRANGER, "")
        late: Any = 0.001
        gone = {"expires_at": times.after(times.now(), late)}
        self.send(self.sound(order_no) | gone, order_no, self.till.signer, "")
        assert not self.taken

    def send(self, payload: Any, order_no: str, signer: KeySigner, prefer: str) -> None:
        """What is taken is sent again, goes into the merchant's book, as its own tool would have
        put it there before, and ends."""
        compact = sign_any(payload, Typ.INTENT, signer)
        status = self._post(compact, order_no, prefer)
        while status == 202:  # received: sent again until it is known what became of it
            status = self._post(compact, order_no, "")
        if status < 300:
            assert self._post(compact, order_no, prefer) == 200  # it is there already
            with opened(self.till.house.merchant_dir) as desk:
                desk.book.refunds.store(refunds.parse(compact).intent, compact)
            self._follow(order_no)
            self.taken.add(order_no)

    def _post(self, compact: str, order_no: str, prefer: str) -> int:
        """The answer's status; the answer is held against its description."""
        case = self.post.Case(
            path_parameters={"order_no": order_no},
            media_type="application/jose",
            body=compact,
            headers={"Prefer": prefer} if prefer else {},
        )
        answer = case.call(self.url, self.session, timeout=40, verify=self.ca)
        self.seen.hold(case, answer)
        return int(answer.status_code)

    def _follow(self, order_no: str) -> None:
        """To its end, as the merchant's tool does: it signs no refund before the last has ended."""
        words = ["--home", str(self.till.house.merchant_dir), "refund", order_no, "--json"]
        done = CliRunner().invoke(merchant, words)
        assert done.exit_code == 0, done.output


def test_whatever_refund_is_signed_is_answered_as_described(house: House, till: Till) -> None:
    """Then every refund ends, and ledger, acquirers and merchant agree on each."""
    fuzzed = Fuzzed(house, till)
    prefers = st.sampled_from(["", "", "respond-async", "wait=0", "wait=1"])

    @bounded(110)
    @given(data=st.data())
    def one(data: Any) -> None:
        fuzzed.send(*fuzzed.refund(data.draw), data.draw(prefers))

    fuzzed.send_wrong()
    one()
    fuzzed.session.close()
    seen = fuzzed.seen
    assert set(seen.statuses) >= ANSWERED, (seen.statuses, seen.codes)
    assert set(seen.codes) >= CODES, seen.codes
    assert len(fuzzed.taken) >= 3, fuzzed.taken
    for order_no in sorted(fuzzed.taken):
        shown = till.get(order_no, 1)["refunds"]
        assert {one["status"] for one in shown} == {"succeeded"}
    found = differences(read_books(house))
    assert [one for one in found if "fuzzback-" in one or "refund" in one] == []
