"""Refunds through the whole house: full, in parts, too much, twice, declined, in doubt."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from books import differences, read_books
from click.testing import CliRunner
from counter import UNIONPAY, WALLET, Till

from clearline import refunds, reports, times
from clearline.house import command
from clearline.house.layout import MERCHANT_ID, House
from clearline.refunds import RefundIntent, RefundKey
from merchant.cli import merchant
from merchant.desk import opened

BOTH = (UNIONPAY, WALLET)
TOKENS = ("tok_approve", "tok_refund_declined", "tok_refund_unanswered")


@pytest.fixture(scope="module")
def paid(house: House, tmp_path_factory: pytest.TempPathFactory) -> Till:
    """An order for each token at each acquirer, and more that succeed, all of 12.34 and paid."""
    till = Till(house, tmp_path_factory.mktemp("refunds"))
    names = [(acquirer, token) for acquirer in BOTH for token in TOKENS]
    orders = {f"back-{acquirer}-{token}": (acquirer, token) for acquirer, token in names}
    orders |= {f"part-{acquirer}": (acquirer, "tok_approve.part") for acquirer in BOTH}
    till.pay(*till.take(orders))
    return till


def refund(till: Till, order_no: str, *words: str) -> tuple[int, dict[str, Any]]:
    """`clearline merchant refund --json`: its exit code and what it shows."""
    argv = ["--home", str(till.house.merchant_dir), "refund", order_no, "--json", *words]
    done = CliRunner().invoke(merchant, argv)
    try:
        return done.exit_code, json.loads(done.stdout)
    except ValueError:
        return done.exit_code, {"said": done.output}


def test_every_kind_of_refund_ends_in_all_three_books(paid: Till) -> None:
    """Carried out once at the acquirer, whatever was lost on the way."""
    orders = [f"back-{acquirer}-{token}" for acquirer in BOTH for token in TOKENS]
    in_doubt = [order for order in orders if order.endswith("unanswered")]
    with ThreadPoolExecutor(len(in_doubt)) as pool:  # each waits for a time-out: at once, then
        waiting = [pool.submit(paid.refund, order) for order in in_doubt]
        for order in orders:
            if order not in in_doubt:
                refund(paid, order)
        assert [one.result().returncode for one in waiting] == [0, 0]
    for order in orders:
        code, shown = refund(paid, order)  # again: what has ended is shown
        end = "declined" if "declined" in order else "succeeded"
        assert (code, shown["status"]) == (0 if end == "succeeded" else 1, end), shown
        report = reports.parse_refund(shown["signed_result"]).report
        assert (report.refund_key.refund_no, report.amount) == (1, 1234)
    books = read_books(paid.house)
    assert [one for one in differences(books) if "back-" in one or "refund" in one] == []


@pytest.mark.parametrize("acquirer", BOTH)
def test_parts_conserve_the_amount_and_the_command_is_safe_to_repeat(
    paid: Till, acquirer: str
) -> None:
    order = f"part-{acquirer}"
    code, first = refund(paid, order, "--amount", "5.00")
    assert (code, first["refund_no"], first["status"]) == (0, 1, "succeeded")
    assert refund(paid, order, "--amount", "5.00") == (0, first)  # shown, not repeated
    code, refused = refund(paid, order, "--amount", "7.35")
    assert (code, refused["code"]) == (1, "refund_amount_refused")
    code, rest = refund(paid, order)  # all that is left, under the number nobody took
    assert (code, rest["refund_no"], rest["amount"]) == (0, 2, 734)
    assert refund(paid, order) == (0, rest)
    code, over = refund(paid, order, "--again")
    assert code == 1 and "given back whole" in over["said"]
    for place in range(2):
        shown = paid.get(order, place)
        assert (shown["status"], shown["refunded_amount"]) == ("succeeded", 1234)
        assert [one["status"] for one in shown["refunds"]] == ["succeeded", "succeeded"]
    (attempt,) = paid.status(order)["attempts"]
    assert [one["proof"] for one in attempt["refunds"]] == ["verified", "verified"]


def test_one_refund_posted_to_two_gateways_at_once_is_one(paid: Till) -> None:
    """The same and another under its number: one is taken, the other is a conflict."""
    paid.take({"back-race": (UNIONPAY, "tok_approve")})
    paid.pay("back-race")
    key, now = RefundKey(MERCHANT_ID, "back-race", 1, 1), times.now()
    intent = RefundIntent(paid.house.network, *key, 1234, "CNY", now, times.after(now, 600))
    compact = refunds.sign(intent, paid.signer)
    with opened(paid.house.merchant_dir) as desk:
        desk.book.refunds.store(intent, compact)

    def post(place: int) -> int:
        return paid.post_refund("back-race", compact, place, "wait=20").status_code

    with ThreadPoolExecutor(4) as pool:
        codes = sorted(pool.map(post, (0, 1, 0, 1)))
    assert codes.count(201) >= 1 and set(codes) <= {200, 201}
    other = RefundIntent(paid.house.network, *key, 1233, "CNY", now, times.after(now, 600))
    answer = paid.post_refund("back-race", refunds.sign(other, paid.signer), 1)
    assert (answer.status_code, answer.json()["code"]) == (422, "conflict")
    code, shown = refund(paid, "back-race")  # follows what the book has stored
    assert (code, shown["intent"]) == (0, compact)
    said = command.output("audit", "payment", MERCHANT_ID, "back-race", "--profile",
                          paid.house.profile("Supervisor", "auditor"))  # fmt: skip
    assert "refund 1 of 1234 CNY: succeeded" in said
    assert "1234 minor units given back by refunds" in said


def test_what_can_not_be_given_back(paid: Till) -> None:
    """Of what was not paid, more than was paid, out of order, and a refund that is not: at both
    gateways. What is left to give back stays."""
    paid.take({"back-unpaid": (UNIONPAY, "tok_insufficient_funds"),
               "back-kept": (WALLET, "tok_approve.kept")})  # fmt: skip
    paid.run("pay", "back-unpaid")
    paid.pay("back-kept")
    now = times.now()
    for order, number, amount, expected in (
        ("back-unpaid", 1, 1234, (409, "not_refundable")),
        ("back-kept", 1, 1235, (422, "refund_amount_refused")),
        ("back-kept", 2, 1234, (409, "refund_out_of_order")),
    ):
        key = RefundKey(MERCHANT_ID, order, 1, number)
        asked = RefundIntent(paid.house.network, *key, amount, "CNY", now, times.after(now, 600))
        for place in range(2):
            answer = paid.post_refund(order, refunds.sign(asked, paid.signer), place)
            assert (answer.status_code, answer.json()["code"]) == expected, answer.text
            path = f"/v1/payments/{order}/refunds/{number}"
            shown = paid.call("GET", path, place, paid.reading(place))
            assert (shown.status_code, shown.json()["code"]) == (404, "refund_unknown")
    code, given = refund(paid, "back-kept")
    assert (code, given["status"], given["amount"]) == (0, "succeeded", 1234)
