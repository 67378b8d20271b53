"""Every check of the auditor is reached by a forgery, and none by an honest ledger."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from answer_forgeries import ANSWER_FORGERIES
from block_forgeries import BLOCK_FORGERIES, MVCC_CONFLICT, Forgery
from change_forgeries import BANKS, CHANGE_FORGERIES, changed_by_its_merchant, next_day
from configuration_forgeries import CONFIGURATION_FORGERIES
from forge import NETWORK, Forge, Tx
from payment_forgeries import DECLINED, KEY, PAYMENT_FORGERIES, REVERSED, registering, shown
from registrations import registrations
from relation_forgeries import RELATION_FORGERIES, end, related
from rules_of_clearing import PART, PAYOUT
from settlement_forgeries import SETTLEMENT_FORGERIES, carried, decided, filed
from supervision_forgeries import SUPERVISION_FORGERIES

from audit.evidence import evidence, lines
from audit.findings import Check, Finding
from audit.source import Export, SourceError, from_file
from audit.verifier import Verifier
from clearline.clearing_schema import Paid
from clearline.statuses import Reason, ReportKind, Status


def verify(blocks: list[bytes]) -> tuple[Verifier, Finding | None]:
    verifier = Verifier(NETWORK, "clearline")
    for raw in blocks:
        finding = verifier.take(raw)
        if finding is not None:
            return verifier, finding
    return verifier, None


def test_an_honest_ledger_has_nothing_wrong(forge: Forge) -> None:
    unknown: dict[str, Any] = {"kind": ReportKind.UNKNOWN, "status": Status.UNKNOWN}
    unknown["reason"] = Reason.TIMED_OUT
    closed: dict[str, Any] = {"status": Status.CLOSED, "reason": Reason.REVERSED, "sequence": 2}
    forge.add(forge.intent(), forge.intent("O-2"))
    forge.add(forge.report(), forge.report("O-2", **unknown))
    forge.add(forge.report("O-2", **closed))
    forge.add(forge.intent("O-2", attempt=2), forge.intent("O-3"))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.counts() == {"succeeded": 1, "closed": 1, "requested": 2}
    assert verifier.totals.blocks == len(forge.blocks)
    assert verifier.registry.counts()["merchant"] == 1


def test_both_reports_in_one_transaction_are_followed(forge: Forge) -> None:
    first = forge.report(kind=ReportKind.RESPONSE, status=Status.ACCEPTED, reason=Reason.ACCEPTED)
    second = forge.report(sequence=2)
    forge.add(forge.intent())
    forge.add(dataclasses.replace(first, items=[*first.items, *second.items]))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert [step.status for step in verifier.payments.steps[KEY]] == [
        "requested", "accepted", "succeeded",
    ]  # fmt: skip


def test_a_refused_item_before_the_one_that_counted_is_no_finding(forge: Forge) -> None:
    request = forge.intent()
    elsewhere = {"intent": request.items[0]["intent"], "acquirer_id": "elsewhere"}
    forge.add(dataclasses.replace(request, items=[elsewhere, *request.items]))
    assert verify(forge.blocks)[1] is None


def test_a_refused_decision_before_the_one_that_counted_is_no_finding(forge: Forge) -> None:
    proposal = registrations(forge.merchant, forge.acquirer)[1] | {"proposal_id": "p-again"}
    forge.add(Tx("ProposeRecords", [proposal], ("BankOne", "maker")))
    decisions = [{"proposal_id": "p-again", "decision": one} for one in ("approve", "reject")]
    forge.add(Tx("DecideRecords", decisions, ("BankOne", "checker")))
    assert verify(forge.blocks)[1] is None


def test_a_rightly_rejected_transaction_is_fine(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(dataclasses.replace(forge.intent("O-2"), stale=True), flags=MVCC_CONFLICT)
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.totals.invalid == 1


def test_an_honest_ledger_with_every_ending_has_nothing_wrong(forge: Forge) -> None:
    """Closes, late successes and reversals, contradictions, leases, further codes."""
    forge.add(forge.intent(), forge.intent("O-2"), forge.intent("O-3"))
    forge.add(forge.close(), forge.close("O-2"))
    forge.add(forge.report(status=Status.CLOSED, reason=Reason.CLOSED_BY_MERCHANT))
    forge.add(forge.report("O-3", **DECLINED))
    forge.add(forge.report("O-3", sequence=2, amount=1))  # not what was asked
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.exceptions() == {"open": 1, "equivocations": 0}
    forge.add(forge.report("O-3", sequence=3, amount=1, **REVERSED))
    forge.add(forge.intent("O-3", attempt=2))
    forge.add(forge.report(**DECLINED))  # a contradiction, refused and kept
    forge.add(shown(forge, order_no="O-3", sequence=2, **DECLINED))
    forge.add(forge.lease(1))
    forge.add(forge.lease(2, "b"))
    under = forge.report("O-2")
    leased = [{"report": under.items[0], "epoch": epoch} for epoch in (1, 2)]
    forge.add(dataclasses.replace(under, items=[*under.items, *leased]))
    body = {"merchant_id": "M-0001", "acquirer_id": "unionpay", "code": "77"}
    forge.add(registering(forge, "merchant_code", 1, **body))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.exceptions() == {"open": 0, "equivocations": 2}
    assert verifier.payments.counts() == {
        "closed": 1,
        "declined": 1,
        "requested": 1,
        "succeeded": 1,
    }
    assert (verifier.registry.get("lease", "unionpay") or {})["epoch"] == 2
    assert [step.what for step in verifier.payments.steps[KEY]] == [
        "intent",
        "close",
        "report",
        "contradiction",
    ]


@pytest.mark.parametrize("when", ["before the successor's", "after the successor's"])
def test_what_a_predecessor_says_after_a_takeover_is_no_contradiction(
    forge: Forge, when: str
) -> None:
    """It wakes, and its report on a payment that the successor ended otherwise travels with others
    to the ledger: refused as lease_lost, it stands in the arguments and nowhere else."""
    forge.add(forge.intent(), forge.intent("O-2"))
    forge.add(forge.lease(1))
    forge.add(forge.lease(2, "b"))
    own = [{"report": forge.report().items[0], "epoch": 2}]
    other = [{"report": forge.report("O-2").items[0], "epoch": 2}]
    woken = [{"report": forge.report(**DECLINED).items[0], "epoch": 1}]
    mixed = [woken + own, other] if when.startswith("before") else [own, woken + other]
    for items in mixed:
        forge.add(dataclasses.replace(forge.report(), items=items))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.counts() == {"succeeded": 2}
    assert verifier.payments.exceptions() == {"open": 0, "equivocations": 0}
    assert [step.what for step in verifier.payments.steps[KEY]] == ["intent", "report"]


def test_all_in_one_list_is_followed(forge: Forge) -> None:
    """What one item makes, a later one of the same list contradicts or resolves."""
    request = forge.intent()
    forge.add(dataclasses.replace(request, items=[*request.items, *forge.close().items]))
    told = [
        forge.report(**DECLINED),
        forge.report(sequence=2),
        forge.report(sequence=3, **REVERSED),
    ]
    other = forge.report(sequence=2, **DECLINED)
    items = [item for tx in (*told, other, told[0]) for item in tx.items]
    forge.add(dataclasses.replace(told[0], items=items))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.exceptions() == {"open": 0, "equivocations": 1}


def test_a_payments_evidence_shows_what_was_signed(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(forge.close())
    forge.add(forge.report(**DECLINED))
    forge.add(forge.report(sequence=2))
    forge.add(shown(forge, sequence=1))
    payments = verify(forge.blocks)[0].payments
    told = evidence(payments.records[KEY], payments.steps[KEY])
    assert [step["signed"] for step in told["steps"]] == [
        "intent",
        "close",
        "report",
        "report",
        "contradiction",
    ]
    text = "\n".join(lines(told))
    assert "late_success by report 2: " in text and "CNY, open" in text
    assert "contradiction signed with key" in text


def test_what_a_merchant_signed_about_itself_is_followed(forge: Forge) -> None:
    changed_by_its_merchant(forge)
    forge.add(next_day(forge, BANKS))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    merchant = verifier.registry.get("merchant", "M-0001")
    assert merchant is not None
    assert merchant["keys"][BANKS.key_id]["valid_from"] == "2026-11-24"
    assert [one["account_id"] for one in merchant["accounts"]] == ["f" * 64]
    assert verifier.payments.counts() == {"requested": 1}


def test_two_blocks_of_one_number_differ_in_the_tips(forge: Forge) -> None:
    """An orderer that shows two peers two histories: each is sound by itself."""
    tips = set()
    for order_no in ("O-1", "O-2"):
        other = forge.copy()
        other.add(other.intent(order_no))
        verifier, finding = verify(other.blocks)
        assert finding is None
        assert verifier.totals.blocks == len(forge.blocks) + 1
        tips.add(verifier.totals.tip)
    assert len(tips) == 2


def test_an_honest_settlement_and_a_payment_that_was_left_out_of_it(forge: Forge) -> None:
    forge.add(forge.intent("O-2"))
    forge.add(forge.report("O-2"))
    filed(forge)
    forge.add(carried(forge, PART))
    forge.add(decided("reject"))
    forge.add(carried(forge, PART, run=2))
    verifier, finding = verify(forge.blocks)
    assert finding is None, str(finding)
    assert verifier.balances.counts() == {"rejected": 1, "proposed": 1}
    assert verifier.balances.left_out() == []
    forge.add(decided(run=2))
    forge.add(carried(forge, PAYOUT, run=2, status=Paid.RETURNED))
    verifier, finding = verify(forge.blocks)
    assert finding is None, str(finding)
    assert verifier.balances.counts() == {"rejected": 1, "returned": 1}
    assert verifier.balances.left_out() == ["payment/M-0001/O-2/0001"]


def test_an_honest_relation_and_its_end(forge: Forge) -> None:
    related(forge)
    forge.add(end(forge))
    forge.add(dataclasses.replace(end(forge, "2026-12-01")))  # refused: it ends before
    verifier, finding = verify(forge.blocks)
    assert finding is None, str(finding)
    assert verifier.registry.counts()["relation"] == 1


# Each makes a wrong channel of a right one; the auditor must name this check, in this block.
FORGERIES: list[tuple[Forgery, Check]] = [
    *BLOCK_FORGERIES,
    *((forgery, check) for forgery, check, _ in CONFIGURATION_FORGERIES),
    *PAYMENT_FORGERIES,
    *ANSWER_FORGERIES,
    *CHANGE_FORGERIES,
    *RELATION_FORGERIES,
    *SETTLEMENT_FORGERIES,
    *SUPERVISION_FORGERIES,
]


@pytest.mark.parametrize(("forgery", "check"), FORGERIES, ids=[f.__name__ for f, _ in FORGERIES])
def test_a_forgery_is_named(forge: Forge, forgery: Forgery, check: Check) -> None:
    forgery(forge)
    _, finding = verify(forge.blocks)
    assert finding is not None
    assert finding.check is check, finding


def test_every_check_is_reached() -> None:
    """But one: a wrong checkpoint is beside the first thing wrong (test_checkpoints.py)."""
    assert {check for _, check in FORGERIES} | {Check.CHECKPOINT} == set(Check)


def test_every_check_has_its_row_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in row.split("`")[1::2]} >= {*Check}


async def _read(path: Path) -> list[bytes]:
    return [raw async for raw in from_file(path)]


def test_an_export_holds_the_blocks_and_a_cut_one_is_refused(forge: Forge, tmp_path: Path) -> None:

    path = tmp_path / "blocks.bin"
    export = Export(path)
    for raw in forge.blocks:
        export.add(raw)
    export.close()
    assert asyncio.run(_read(path)) == forge.blocks
    whole = path.read_bytes()
    for cut, why in ((whole[:-1], "inside a block"), (b"x" + whole, "no export")):
        path.write_bytes(cut)
        with pytest.raises(SourceError, match=why):
            asyncio.run(_read(path))
