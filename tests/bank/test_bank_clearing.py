"""The acquirer's file as the desk reads it, and what it finds when it holds it to the ledger."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from samples import INTENT, REPORT

from bank import acquirer_file
from bank.documents import DocumentError
from bank.reconciling import Ledger, in_parts, reconcile
from clearline import reports
from clearline.clearing import Entry
from clearline.clearing_records import AdjustmentRecord
from clearline.jws import KeySigner
from clearline.records import Payment
from clearline.refunds import Refund

BANK = KeySigner.generate()
REFERENCE = REPORT.acquirer_reference
OTHER = "e" * 40
HEAD = "H,clearline-acquirer-file,1,unionpay,898310148990001,CNY,2026-11-23"
PAID = f"D,000000000001,{REFERENCE},payment,2933"
FEE = f"D,000000000001,{REFERENCE},fee,18"
BACK = f"D,CB-000001,{REFERENCE},adjustment,-1000"
ALL = (HEAD, PAID, FEE, BACK, "T,3,2933,0,18,-1000,1915")


def text(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode()


def test_a_file_that_adds_up() -> None:
    file = acquirer_file.parse(text(*ALL))
    assert (file.name, file.merchant_code, file.currency, file.clearing_date) == (
        "unionpay", "898310148990001", "CNY", "2026-11-23",
    )  # fmt: skip
    assert (len(file.rows), tuple(file.totals), file.totals.net) == (3, (2933, 0, 18, -1000), 1915)
    assert acquirer_file.parse(text(HEAD, "T,0,0,0,0,0,0")).rows == ()


WRONG = [
    ("malformed", "line 1: ", ()),
    ("malformed", "the trailer is missing", (HEAD, PAID)),
    ("malformed", "line 1: is not the header", (HEAD.replace(",1,", ",2,"), "T,0,0,0,0,0,0")),
    ("malformed", "line 1: ", (HEAD.replace("CNY", "XXX"), "T,0,0,0,0,0,0")),
    ("malformed", "line 1: ", (HEAD.replace("11-23", "02-30"), "T,0,0,0,0,0,0")),
    ("malformed", "line 2: is not a line D", (HEAD, f"{PAID},1", "T,1,2933,0,0,0,2933")),
    ("malformed", "line 2: a reference", (HEAD, PAID.replace(REFERENCE, "x"), "T,1,0,0,0,0,0")),
    ("malformed", "line 2: the kind", (HEAD, PAID.replace("payment", "gift"), "T,1,0,0,0,0,0")),
    ("malformed", "line 2: '2,9'", (HEAD, PAID.replace("2933", '"2,9"'), "T,1,0,0,0,0,0")),
    ("malformed", "line 2: the amount", (HEAD, PAID.replace("2933", "-5"), "T,1,-5,0,0,0,-5")),
    ("malformed", "line 2: the amount", (HEAD, BACK.replace("-1000", "0"), "T,1,0,0,0,0,0")),
    ("totals_mismatch", "line 3: ", (HEAD, PAID, "T,2,2933,0,0,0,2933")),
    ("totals_mismatch", "line 3: ", (HEAD, PAID, "T,1,2934,0,0,0,2934")),
    ("totals_mismatch", "line 3: ", (HEAD, PAID, "T,1,2933,0,0,0,2932")),
    (
        "card_data_refused",
        "line 2: ",
        (HEAD, BACK.replace("CB-000001", "4111111111111111"), "T,1,0,0,0,-1000,-1000"),
    ),
]


@pytest.mark.parametrize(("code", "where", "lines"), WRONG)
def test_a_file_that_is_wrong(code: str, where: str, lines: tuple[str, ...]) -> None:
    with pytest.raises(DocumentError) as refused:
        acquirer_file.parse(text(*lines))
    assert refused.value.code.value == code
    assert where in refused.value.detail


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for data in (b"\xff\xfe", b'"', b"H,a\x00\r\nT\r\n"):
        path = tmp_path / "f.csv"
        path.write_bytes(data)
        with pytest.raises(DocumentError, match=r"malformed: .*f\.csv: line 1: "):
            acquirer_file.read(path)
    with pytest.raises(DocumentError, match="can't read"):
        acquirer_file.read(tmp_path / "none.csv")


def payment(**changed: str | int) -> Payment:
    made = Payment(
        merchant_id=INTENT.merchant_id, order_no=INTENT.order_no, attempt=1, status="succeeded",
        acquirer_id="unionpay", merchant_code="898310148990001", amount=2933, currency="CNY",
        intent="", intent_digest="", expires_at="", msp_id="", requested_at="",
        result=reports.sign(REPORT, BANK),
    )  # fmt: skip
    return replace(made, **changed)  # type: ignore[arg-type]


def refund(**changed: str | int) -> Refund:
    made = Refund(
        merchant_id=INTENT.merchant_id, order_no=INTENT.order_no, attempt=1, refund_no=1,
        status="succeeded", acquirer_id="unionpay", merchant_code="898310148990001", amount=5,
        currency="CNY", intent="", intent_digest="", expires_at="", msp_id="", requested_at="",
        clearing_date="2026-11-22",
    )  # fmt: skip
    return replace(made, **changed)  # type: ignore[arg-type]


def adjustment(**changed: str | int) -> AdjustmentRecord:
    made = AdjustmentRecord(
        "unionpay", "CB-000001", INTENT.merchant_id, "898310148990001", "CNY", "2026-11-23",
        -1000, "chargeback", "", "", "",
    )  # fmt: skip
    return replace(made, **changed)  # type: ignore[arg-type]


def found(
    *lines: str,
    known: Payment | None = None,
    made: AdjustmentRecord | None = None,
    given_back: Refund | None = None,
) -> tuple[tuple[Entry, ...], list[str]]:
    file = acquirer_file.parse(_added_up(lines))
    ledger = Ledger(
        file.place("unionpay"),
        {REFERENCE: known or payment()},
        {REFUND_REFERENCE: given_back or refund()},
        {"CB-000001": made or adjustment()},
    )
    done = reconcile(file, ledger)
    return done.entries, [one.kind.value for one in done.differences]


def _added_up(lines: tuple[str, ...]) -> bytes:
    sums = dict.fromkeys(("payment", "refund", "fee", "adjustment"), 0)
    for line in lines:
        *_, kind, amount = line.split(",")
        sums[kind] += int(amount)
    net = sums["payment"] - sums["refund"] - sums["fee"] + sums["adjustment"]
    trailer = ",".join(map(str, ("T", len(lines), *sums.values(), net)))
    return text(HEAD, *lines, trailer)


def test_lines_that_agree_are_the_settlements() -> None:
    entries, differences = found(PAID, FEE, BACK)
    assert differences == []
    assert entries == (
        Entry("payment", INTENT.order_no, 1, 0, 2933),
        Entry("fee", INTENT.order_no, 1, 0, 18),
        Entry("adjustment", "CB-000001", 0, 0, -1000),
    )


REFUND_REFERENCE = "d" * 40
REFUND = f"D,R-1,{REFUND_REFERENCE},refund,5"
NEXT = reports.sign(replace(REPORT, clearing_date="2026-11-24"), BANK)
ELSEWHERE = {"settlement": "unionpay/898310148990001/CNY/2026-11-22/01"}
UNDER_WAY = {"settlement": "unionpay/898310148990001/CNY/2026-11-23/01"}


@pytest.mark.parametrize(
    ("lines", "known", "made", "differences"),
    [
        ((PAID.replace(REFERENCE, OTHER),), {}, {}, ["line_unknown", "missing_in_file"]),
        ((PAID,), {"status": "closed"}, {}, ["line_unknown"]),
        ((PAID.replace("2933", "2932"),), {}, {}, ["amount_differs"]),
        ((PAID,), {"result": NEXT}, {}, ["day_differs"]),
        ((), {"result": NEXT}, {}, []),
        ((), {}, {}, ["missing_in_file"]),
        ((), {"status": "declined"}, {}, []),
        ((PAID,), ELSEWHERE, {}, ["already_settled"]),
        ((PAID,), UNDER_WAY, {}, []),
        ((PAID, PAID), {}, {}, ["twice_in_file"]),
        ((FEE, PAID), {}, {}, ["fee_of_nothing"]),
        ((PAID, FEE, FEE), {}, {}, ["twice_in_file"]),
        ((PAID, REFUND), {}, {}, ["day_differs"]),
        ((PAID, REFUND.replace("ddd", "eee")), {}, {}, ["line_unknown"]),
        ((PAID, BACK), {}, {"amount": -1}, ["amount_differs"]),
        ((PAID, BACK), {}, ELSEWHERE, ["already_settled"]),
        ((PAID, BACK.replace("CB-000001", "CB-000002")), {}, {}, ["line_unknown"]),
    ],
)
def test_what_differs_is_named(
    lines: tuple[str, ...],
    known: dict[str, str | int],
    made: dict[str, str | int],
    differences: list[str],
) -> None:
    assert found(*lines, known=payment(**known), made=adjustment(**made))[1] == differences


@pytest.mark.parametrize(
    ("changed", "differences"),
    [
        ({}, []),
        ({"amount": 6}, ["amount_differs"]),
        ({"status": "declined"}, ["line_unknown"]),
        (ELSEWHERE, ["already_settled"]),
        (UNDER_WAY, []),
    ],
)
def test_refunds_are_compared_too(changed: dict[str, str | int], differences: list[str]) -> None:
    that_day = refund(clearing_date="2026-11-23")
    entries, named = found(PAID, REFUND, given_back=replace(that_day, **changed))  # type: ignore[arg-type]
    assert named == differences
    assert (Entry("refund", INTENT.order_no, 1, 1, 5) in entries) == (not differences)
    assert found(PAID, given_back=that_day)[1] == ["missing_in_file"]


@pytest.mark.parametrize("payments", [0, 1, 50, 51, 120])
def test_no_part_is_too_large_and_no_fee_is_torn_off(payments: int) -> None:
    entries = [
        entry
        for number in range(payments)
        for entry in (
            Entry("payment", f"o-{number}", 1, 0, 5),
            Entry("fee", f"o-{number}", 1, 0, 1),
        )
    ]
    entries.insert(0, Entry("adjustment", "CB-1", 0, 0, -1))
    parts = in_parts(entries)
    assert [entry for part in parts for entry in part] == entries
    assert all(0 < len(part) <= 100 for part in parts)
    assert all(part[0].kind != "fee" for part in parts)
    assert in_parts([]) == [()]
