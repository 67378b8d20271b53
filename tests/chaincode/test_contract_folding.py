"""A list does what its items do one by one, whatever they are."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import contract_world as w
from contract_world import (
    intent_item,
    registered,
    report_item,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import INTENT

from clearline import records, reports
from clearline.intents import PayIntent
from clearline.records import Kept, Payment, payment_key
from clearline.statuses import Reason, ReportKind, Status

ORDERS = ("o-1", "o-2")


REPORTS: tuple[dict[str, Any], ...] = (
    {"kind": ReportKind.RESPONSE, "status": Status.ACCEPTED, "reason": Reason.ACCEPTED},
    {"kind": ReportKind.UNKNOWN, "status": Status.UNKNOWN, "reason": Reason.TIMED_OUT},
    {"status": Status.DECLINED, "reason": Reason.DO_NOT_HONOR},
    {},
    {"kind": ReportKind.REVERSAL, "status": Status.DECLINED, "reason": Reason.REVERSED},
)


@lru_cache
def pooled_intent(order: str, attempt: int, amount: int, sound: bool) -> dict[str, Any]:
    signer = w.MERCHANT if sound else w.STRANGER
    return intent_item(signer, order_no=order, attempt=attempt, amount=amount)


@lru_cache
def pooled_report(order: str, attempt: int, sequence: int, which: int) -> str:
    about: PayIntent = replace(INTENT, order_no=order, attempt=attempt, amount=5)
    return report_item(of=about, sequence=sequence, amount=5, **REPORTS[which])


@lru_cache
def pooled_close(order: str, attempt: int) -> dict[str, Any]:
    return w.close_item(order_no=order, attempt=attempt)


intent_items = st.builds(
    pooled_intent,
    st.sampled_from(ORDERS),
    st.integers(1, 3),
    st.sampled_from((5, 5, 5, 6)),
    st.sampled_from((True, True, True, False)),
)


report_items = st.builds(
    pooled_report,
    st.sampled_from(ORDERS),
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(0, len(REPORTS) - 1),
)


close_items = st.builds(pooled_close, st.sampled_from(ORDERS), st.integers(1, 2))


epoch_items = st.builds(lambda text: {"report": text, "epoch": 0}, report_items)


calls = st.one_of(
    st.tuples(
        st.just("SubmitIntents"), st.lists(intent_items | close_items, min_size=1, max_size=8)
    ),
    st.tuples(
        st.just("SubmitReports"), st.lists(report_items | epoch_items, min_size=1, max_size=8)
    ),
    st.tuples(st.just("SubmitEvidence"), st.lists(report_items, min_size=1, max_size=4)),
)


REGISTERED = registered()


def without_transactions(state: dict[str, bytes]) -> dict[str, Any]:
    """Records without the transactions that made them, but with how many those were."""
    shown = {}
    for key, value in state.items():
        record = json.loads(value)
        shown[key] = record | {"txs": len(record["txs"])}
        if record["type"] == "payment":
            shown[key] |= {
                "reports": [entry[:4] for entry in record["reports"]],
                "exceptions": [one | {"tx_id": ""} for one in record["exceptions"]],
                "close_tx": bool(record["close_tx"]),
            }
    return shown


@settings(max_examples=150, deadline=None)
@given(st.lists(calls, min_size=1, max_size=6))
def test_a_list_is_its_items_one_by_one(transactions: list[tuple[str, list[Any]]]) -> None:
    batched, single = REGISTERED.copy(), REGISTERED.copy()
    for name, items in transactions:
        together = batched.submit(name, items)
        apart = [single.submit(name, [item])[0] for item in items]
        assert [(o.code, o.key, o.status, o.detail) for o in together] == [
            (o.code, o.key, o.status, o.detail) for o in apart
        ]
    assert without_transactions(batched.state) == without_transactions(single.state)
    for value in batched.state.values():
        record = json.loads(value)
        if record["type"] == "payment":
            holds_together(records.from_json(Payment, record), batched.state)
        if record["type"] == "equivocation":
            contradicts(record, batched.state)


def holds_together(payment: Payment, state: dict[str, bytes]) -> None:
    """What is true of every payment, however it came about."""
    entries = payment.reports
    assert [entry[0] for entry in entries] == list(range(1, len(entries) + 1))
    assert len(payment.txs) == len(entries) + 1 + bool(payment.close)
    assert {entry[4] for entry in entries} <= set(payment.txs)
    ended = next((entry for entry in entries if entry[1] == "result"), None)
    told = ended or (entries[-1] if entries else None)
    assert payment.status == (told[2] if told else "requested")
    assert bool(payment.result) == payment.final == (ended is not None)
    late = [entry for entry in entries if ended and entry[0] > ended[0]]
    assert [entry[1] for entry in late] == [("result", "reversal")[i % 2] for i in range(len(late))]
    assert [one["sequence"] for one in payment.exceptions] == [entry[0] for entry in late[::2]]
    assert payment.excepted == (len(late) % 2 == 1)
    assert not late or payment.status != "succeeded"
    for entry in entries:
        kept = state.get(records.report_key(payment.key, entry[0]))
        text = payment.result if entry is ended else records.load(Kept, kept or b"").report
        assert (kept is None) == (entry is ended)
        assert reports.parse(text).report.digest() == entry[3]


def contradicts(record: dict[str, Any], state: dict[str, bytes]) -> None:
    """What is true of all evidence."""
    first, second = (reports.parse(record[name]).report for name in ("first", "second"))
    assert (first.key, first.sequence) == (second.key, second.sequence)
    assert first.digest() != second.digest()
    payment = records.load(Payment, state[payment_key(first.key)])
    assert payment.reports[first.sequence - 1][3] == first.digest()


def test_hypothesis_pool_reaches_success() -> None:
    # The pool's own soundness: its intent and its success fit together.
    ledger = registered()
    assert ledger.codes("SubmitIntents", [pooled_intent("o-1", 1, 5, True)]) == ["ok"]
    assert ledger.codes("SubmitReports", [pooled_report("o-1", 1, 1, 3)]) == ["ok"]
