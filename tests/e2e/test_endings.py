"""Every ending of a payment through the whole house, and every status on the way.

What the acquirers' sandboxes can do is asked for by payer token (docs/acquirers.md).
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from books import differences, read_books, read_ledger
from counter import UNIONPAY, WALLET, Paying, Till, submit_report, wait_until

from clearline import intents, reports, times
from clearline.house import command
from clearline.house.layout import House
from clearline.intents import CloseIntent
from clearline.jws import KeySigner
from clearline.reports import Report
from clearline.statuses import Reason, ReportKind, Status
from merchant.attempts import OrderStatus

# Payer token: what the merchant's order ends as, and the reports on the ledger in their order.
SUCCESS = ["result succeeded"]
REVERSED = ["unknown unknown", "result closed"]
WAITED = ["response accepted", "result succeeded"]
ENDINGS: dict[str, dict[str, tuple[str, list[str]]]] = {
    UNIONPAY: {
        "tok_approve": ("paid", SUCCESS),
        "tok_slow": ("paid", SUCCESS),
        "tok_do_not_honor": ("declined", ["result declined"]),
        "tok_expired_card": ("declined", ["result declined"]),
        "tok_malfunction": ("declined", ["result declined"]),
        "tok_timeout": ("closed", REVERSED),
        "tok_timeout_charged": ("closed", REVERSED),
        "tok_late": ("closed", REVERSED),
    },
    WALLET: {
        "tok_approve": ("paid", WAITED),
        "tok_slow": ("paid", WAITED),
        "tok_refuses": ("declined", ["response accepted", "result declined"]),
        "tok_create_lost": ("closed", REVERSED),
        "tok_create_unanswered": ("paid", ["unknown unknown", *WAITED]),
        "tok_notice_twice": ("paid", WAITED),
        "tok_notice_lost": ("paid", WAITED),
        "tok_notice_wrong_amount": ("paid", WAITED),
        "tok_wrong_amount": ("closed", ["response accepted", "result closed"]),
    },
}
NAMES = {
    f"end-{acquirer}-{token.removeprefix('tok_')}": (acquirer, token)
    for acquirer, tokens in ENDINGS.items()
    for token in tokens
}


@pytest.fixture(scope="module")
def paying(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paying]:
    """All of ENDINGS under way while the other tests here run."""
    till = Till(house, tmp_path_factory.mktemp("endings"))
    with till.paying(*till.take(NAMES), "--batch", "3") as run:
        yield run


@pytest.fixture(autouse=True)
def _under_way(paying: Paying) -> None:
    """Started by whichever test of this file comes first."""


def test_a_close_ends_what_nobody_has_paid(till: Till) -> None:
    till.take({"close-open": (WALLET, "tok_never_pays")})
    assert till.post(till.sign("close-open")).status_code == 201
    wait_until(lambda: till.get("close-open")["status"] == "accepted", "it waits for its payer")
    shown = till.close("close-open")["close-open"]
    assert (shown["status"], shown["reason"]) == ("closed", "closed_by_merchant")
    assert shown["close"]["standing"] == "stands"
    (attempt,) = till.status("close-open")["attempts"]
    assert attempt["proof"] == "verified"
    # Both gateways show whose wish it was, and who ended it.
    for place in range(2):
        answer = till.get("close-open", place)
        assert answer["close"] == attempt["close"]
        said = reports.parse(answer["result"]).report
        assert (said.status, said.reason) == (Status.CLOSED, Reason.CLOSED_BY_MERCHANT)


def test_a_close_that_comes_too_late_leaves_the_success(till: Till) -> None:
    """Just paid; paid at the very moment; on its way to an acquirer that can't close."""
    till.take(
        {
            "close-paid": (UNIONPAY, "tok_approve"),
            "close-race": (WALLET, "tok_pays_at_close"),
            "close-slow": (UNIONPAY, "tok_slow"),
        }
    )
    till.post(till.sign("close-slow"))
    close = CloseIntent(till.house.network, "M-0001", "close-slow", 1, times.now())
    slow = till.post(intents.sign(close, till.signer))
    assert (slow.status_code, slow.json()["status"]) == (201, "requested")
    till.post(till.sign("close-paid"), prefer="wait=20")
    till.post(till.sign("close-race"))
    wait_until(lambda: till.get("close-race")["status"] == "accepted", "it waits for its payer")
    shown = till.close("close-slow", "close-paid", "close-race")
    assert {row["status"] for row in shown.values()} == {"paid"}
    assert shown["close-paid"]["close"]["standing"] == "ended"
    assert shown["close-paid"]["close"]["code"] == "already_final"
    assert shown["close-race"]["close"]["standing"] == "stands"


def test_a_close_while_it_is_unknown_leaves_the_answer_to_the_acquirer(till: Till) -> None:
    """What may have been charged is not closed as unpaid: it is closed because it was reversed."""
    for order_no in (f"close-unknown-{number}" for number in range(5)):
        till.take({order_no: (UNIONPAY, "tok_reversal_lost")})
        till.post(till.sign(order_no))
        wait_until(lambda name=order_no: till.get(name)["status"] == "unknown", "it is in doubt")
        shown = till.close(order_no)[order_no]
        assert shown["status"] == "closed"
        answer = till.get(order_no)
        said = reports.parse(answer["result"]).report
        assert (answer["reason"], said.reason) == ("reversed", Reason.REVERSED)
        if shown["close"]["standing"] == "stands":
            break
        assert shown["close"]["standing"] == "ended"  # the reversal's answer was the faster
    else:
        raise AssertionError("no close came in time")


def test_a_close_twice_of_nothing_and_by_somebody_else(till: Till) -> None:
    till.take({"close-twice": (WALLET, "tok_never_pays")})
    till.post(till.sign("close-twice"))
    close = CloseIntent(till.house.network, "M-0001", "close-twice", 1, times.now())
    first = intents.sign(close, till.signer)
    assert till.post(first).status_code == 201
    again = till.post(
        intents.sign(replace(close, created=times.after(times.now(), 1)), till.signer), 1
    )
    assert again.status_code == 200
    assert again.json()["close"] == first
    unknown = till.post(intents.sign(replace(close, order_no="close-nobody"), till.signer))
    assert (unknown.status_code, unknown.json()["code"]) == (404, "payment_unknown")
    stranger = till.post(intents.sign(close, KeySigner.generate()))
    assert (stranger.status_code, stranger.json()["code"]) == (401, "key_unknown")
    other = till.post(intents.sign(replace(close, merchant_id="M-0002"), KeySigner.generate()))
    assert other.json()["code"] == "merchant_unknown"
    assert till.close("close-twice")["close-twice"]["status"] == "closed"


def test_a_late_success_is_given_back(till: Till) -> None:
    """Paid after the close was answered, and the first reversal's answer is lost."""
    till.take({"late": (WALLET, "tok_reversal_lost")})
    till.post(till.sign("late"))
    wait_until(lambda: till.get("late")["status"] == "accepted", "it waits for its payer")
    assert till.close("late")["late"]["status"] == "closed"
    for place in range(2):
        wait_until(lambda at=place: _exceptions(till, "late", at) == ["resolved"], "given back")
    shown = till.get("late")
    assert (shown["status"], shown["final"]) == ("closed", True)
    steps = [
        (step["signed"], step["payload"].get("kind")) for step in _evidence(till.house, "late")
    ]
    assert steps == [
        ("intent", "pay"),
        ("report", "response"),
        ("close", "close"),
        ("report", "result"),
        ("report", "result"),
        ("report", "reversal"),
    ]
    assert till.ends("late") == ["closed"]
    # Now the order may be tried again.
    assert till.post(till.sign("late", 2, "tok_approve")).status_code == 201
    till.pay("late")
    assert till.ends("late") == ["closed", "paid"]


def test_an_open_exception_is_seen_by_all(till: Till) -> None:
    """A bank signs a success after its own decline, and takes its time over giving it back. The
    merchant sees it at any gateway, the auditor counts it, and no further attempt is taken."""
    till.take({"open": (UNIONPAY, "tok_do_not_honor")})
    till.pay("open")
    before = _counted(till.house)["open"]
    first = reports.parse(till.get("open")["result"]).report
    success = replace(first, sequence=2, status=Status.SUCCEEDED, reason=Reason.APPROVED)
    assert _say(till.house, success)["code"] == "late_success"
    for place in range(2):
        wait_until(lambda at=place: _exceptions(till, "open", at) == ["open"], "it is seen")
        assert till.get("open", place)["status"] == "declined"
    second = till.post(intents.sign(till.intent("open", 2, "tok_approve"), till.signer))
    assert (second.status_code, second.json()["code"]) == (409, "attempt_out_of_order")
    assert "open late success" in second.json()["detail"]
    assert _counted(till.house)["open"] == before + 1
    profile = till.house.profile("Supervisor", "auditor")
    told = command.output("audit", "payment", "M-0001", "open", "--profile", profile)
    assert "late_success by report 2: 1234 minor units CNY, open" in told
    given_back = replace(first, kind=ReportKind.REVERSAL, sequence=3, reason=Reason.REVERSED)
    assert _say(till.house, given_back)["code"] == "ok"
    for place in range(2):
        wait_until(lambda at=place: _exceptions(till, "open", at) == ["resolved"], "given back")
    assert _counted(till.house)["open"] == before
    assert till.ends("open") == ["declined"]


def test_a_new_attempt_only_after_one_that_ended_without_success(till: Till) -> None:
    till.take({"retry": (UNIONPAY, "tok_do_not_honor"), "wait": (WALLET, "tok_never_pays")})
    till.post(till.sign("wait"))
    early = till.post(intents.sign(till.intent("wait", 2), till.signer))
    assert (early.status_code, early.json()["code"]) == (409, "attempt_out_of_order")
    till.close("wait")
    till.pay("retry")
    third = intents.sign(till.intent("retry", 3), till.signer)
    assert till.post(third).json()["code"] == "attempt_out_of_order"
    assert till.run("pay", "retry", "--retry-declined").returncode == 0
    assert till.ends("retry") == ["declined", "declined"]
    assert till.post(till.sign("retry", 3, "tok_approve")).status_code == 201
    till.pay("retry")
    assert till.ends("retry") == ["declined", "declined", "paid"]
    fourth = till.post(intents.sign(till.intent("retry", 4), till.signer))
    assert (fourth.status_code, fourth.json()["code"]) == (409, "already_succeeded")


def test_a_bank_that_contradicts_itself_is_shown(till: Till) -> None:
    """A second result under the first one's number, by the acquirer's own key: refused, kept as
    evidence beside the first, shown by the auditor. The end stays."""
    till.take({"twice": (UNIONPAY, "tok_approve")})
    till.post(till.sign("twice"), prefer="wait=20")
    before = _counted(till.house)["equivocations"]
    first = reports.parse(till.get("twice")["result"]).report
    forged = replace(first, status=Status.DECLINED, reason=Reason.DO_NOT_HONOR)
    for _ in range(2):  # told again it is the same evidence
        outcome = _say(till.house, forged)
        assert (outcome["code"], outcome["status"]) == ("equivocation", "succeeded")
    for place in range(2):
        assert till.get("twice", place)["status"] == "succeeded"
    assert _counted(till.house)["equivocations"] == before + 1
    (step,) = [s for s in _evidence(till.house, "twice") if s["signed"] == "contradiction"]
    assert reports.parse(step["jws"]).report == forged
    till.pay("twice")
    assert till.ends("twice") == ["paid"]


def test_every_status_of_the_diagram_is_seen(till: Till) -> None:
    orders = {
        "seen-slow": (UNIONPAY, "tok_slow"),
        "seen-declined": (UNIONPAY, "tok_lost_card"),
        "seen-doubtful": (UNIONPAY, "tok_reversal_lost"),  # unknown for as long as that takes
        "seen-expiring": (WALLET, "tok_never_pays"),
        "seen-closed": (WALLET, "tok_never_pays"),
    }
    till.take(orders)
    seen: dict[str, list[str]] = {order_no: [] for order_no in orders}

    def look() -> bool:
        for order_no, found in seen.items():
            status = till.get(order_no)["status"]
            if status not in (*found, 404):  # not posted yet
                found.append(status)
        return {status for found in seen.values() for status in found} >= set(Status)

    for order_no in orders:
        changes: dict[str, Any] = {}
        if order_no == "seen-expiring":
            changes = {"expires_at": times.after(times.now(), 4)}
        compact = till.sign(order_no, **changes)
        answer = till.post(compact, prefer="respond-async")
        assert answer.status_code == 202
        seen[order_no].append(answer.json()["status"])
        till.post(compact)
        look()
    assert till.close("seen-closed")["seen-closed"]["status"] == "closed"
    wait_until(look, "every status is seen")
    till.run("watch", *orders, "--timeout", "30")
    assert till.ends("seen-expiring") == ["expired"]
    for found in seen.values():
        steps = [Status(status) for status in found]
        assert not any(earlier.final for earlier in steps[:-1]), found


def test_every_ending_of_the_sandboxes_agrees_in_all_books(house: House, paying: Paying) -> None:
    """The last one here: what began with the first test has ended, and so has all in between."""
    paying.done()
    books = read_books(house)
    assert differences(books) == []
    for order_no, (acquirer, token) in NAMES.items():
        status, said = ENDINGS[acquirer][token]
        assert books.merchant[order_no]["status"] == status, order_no
        record = next(r for key, r in books.ledger.items() if key.order_no == order_no)
        assert [f"{kind} {after}" for _, kind, after, *_ in record["reports"]] == said, order_no
    ends = {record["status"] for record in books.ledger.values()}
    assert ends == {status.value for status in Status if status.final}
    merchants = {OrderStatus(order["status"]) for order in books.merchant.values()}
    assert merchants >= {OrderStatus.PAID, OrderStatus.CLOSED, OrderStatus.EXPIRED}


def _exceptions(till: Till, order_no: str, gateway: int) -> list[str]:
    return [one["status"] for one in till.get(order_no, gateway)["exceptions"]]


def _say(house: House, report: Report) -> dict[str, Any]:
    """Have the acquirer's own key sign it, and its bank's connector submit it."""
    acquirer = next(one for one in house.acquirers if one.acquirer_id == report.acquirer_id)
    compact = reports.sign(report, KeySigner.load(house.signer_key(acquirer)))
    outcome: dict[str, Any] = asyncio.run(submit_report(house, acquirer, compact))
    return outcome


def _counted(house: House) -> dict[str, int]:
    """What the auditor counts for people to look at, every block verified."""
    return read_ledger(house).payments.exceptions()


def _evidence(house: House, order_no: str) -> list[dict[str, Any]]:
    """What the auditor shows of an order's first attempt."""
    read_ledger(house)  # waits until the Supervisor's peer is level
    profile = house.profile("Supervisor", "auditor")
    words: list[str | Path] = ["audit", "payment", "M-0001", order_no, "--json"]
    words += ["--profile", profile]
    steps: list[dict[str, Any]] = json.loads(command.output(*words))[0]["steps"]
    return steps
