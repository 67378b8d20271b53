"""A row a lie: what a settlement must prove, and what the order book must find in it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from samples import INTENT, REPORT

from clearline import clearing, jws
from clearline.clearing import Entry, Filing, Part, Payout
from clearline.clearing_records import settlement_id
from clearline.clearing_schema import Paid
from clearline.jws import KeySigner
from clearline.settlement_answers import SettlementAnswer
from merchant.profile import Pins, Profile, RouteSetting
from merchant.statements import Booked, compare

BANK, RETIRED, STRANGER = (KeySigner.generate() for _ in range(3))
PINNED = {one.key_id: jws.public_key(one.jwk, one.algorithm) for one in (BANK, RETIRED)}
CODE, DAY = "898310148990001", "2026-11-23"
PROFILE = Profile(
    INTENT.network,
    INTENT.merchant_id,
    (),
    Pins(MappingProxyType({"unionpay": MappingProxyType(PINNED)}), frozenset({RETIRED.key_id})),
    (RouteSetting("unionpay", CODE),),
)
COMMON: dict[str, Any] = {
    "network": INTENT.network,
    "acquirer_id": "unionpay",
    "merchant_id": INTENT.merchant_id,
    "merchant_code": CODE,
    "currency": "CNY",
    "clearing_date": DAY,
}
TOTALS: dict[str, Any] = {"payments": 2 * 2933, "refunds": 0, "fees": 36, "adjustments": -100}
FILING = Filing(**COMMON, file_digest="f" * 64, lines=5, **TOTALS)
LINES = (
    Entry("payment", "o-1", 1, 0, 2933),
    Entry("fee", "o-1", 1, 0, 18),
    Entry("payment", "o-2", 2, 0, 2933),
    Entry("fee", "o-2", 2, 0, 18),
    Entry("adjustment", "CB-1", 0, 0, -100),
)
HEADER = TOTALS | {"lines": 5, "carried": -5, "net": 5866 - 36 - 100 - 5, "parts": 2}
FIRST = Part(
    **COMMON, **HEADER, run=1, file_digest="f" * 64, account_id="a" * 64, part=1,
    entries=LINES[:2],
)  # fmt: skip
SECOND = replace(FIRST, part=2, entries=LINES[2:])
PAYOUT = Payout(
    **COMMON, run=1, account_id="a" * 64, amount=FIRST.net, status=Paid.PAID, reference="T-1",
    value_date=DAY,
)  # fmt: skip


def booked(order_no: str, attempt: int, **changed: Any) -> Booked:
    report = replace(REPORT, order_no=order_no, attempt=attempt, **changed)
    return Booked(order_no, attempt, "paid", CODE, report)


BOOK = {
    ("o-1", 1, 0): booked("o-1", 1),
    ("o-2", 2, 0): booked("o-2", 2, clearing_date=None),
    ("o-3", 1, 0): booked("o-3", 1, clearing_date="2026-11-24"),
    ("o-4", 1, 0): Booked("o-4", 1, "declined"),
}


def signed(said: Any, signer: KeySigner = BANK, **changed: Any) -> str:
    return clearing.sign(replace(said, **changed), signer)


def answer(**changed: Any) -> SettlementAnswer:
    made = SettlementAnswer(
        id=settlement_id(FIRST.place, 1),
        **{name: one for name, one in COMMON.items() if name != "network"},
        run=1,
        status="paid",
        account_id="a" * 64,
        file_digest="f" * 64,
        **{name: one for name, one in HEADER.items() if name != "parts"},
        block_number=9,
        parts=(signed(FIRST), signed(SECOND)),
        file=signed(FILING),
        payout=signed(PAYOUT),
    )
    return SettlementAnswer.from_json(replace(made, **changed).to_json())


def kinds(
    *settlements: SettlementAnswer, book: Any = BOOK, account: str | None = None
) -> list[str]:
    found = compare(DAY, settlements, book, PROFILE, account)
    return [one.kind.value for one in found]


def test_a_settlement_that_is_equal() -> None:
    assert kinds(answer()) == []
    assert kinds(answer(status="stated", payout=None), account="a" * 64) == []


NOT_EQUAL = ["not_settled"]  # o-1, which is then in no settlement that counts
FIRST_TEXT = signed(FIRST)
OTHER_HEADER: dict[str, Any] = {"net": FIRST.net + 1}
LIES: list[tuple[str, dict[str, Any], str]] = [
    ("a part is kept back", {"parts": (signed(FIRST),)}, "not_whole"),
    ("none", {"parts": ()}, "not_whole"),
    ("twice the same", {"parts": (signed(FIRST), signed(FIRST))}, "not_whole"),
    ("a stranger's", {"parts": (signed(FIRST), signed(SECOND, STRANGER))}, "not_signed"),
    ("a revoked key's", {"parts": (signed(FIRST), signed(SECOND, RETIRED))}, "not_signed"),
    ("no JWS", {"parts": ("paid, promise",)}, "not_signed"),
    ("a file as part", {"parts": (signed(FILING), signed(SECOND))}, "not_signed"),
    ("another run", {"parts": (signed(FIRST, run=2), signed(SECOND))}, "not_signed"),
    ("another day", {"parts": (signed(FIRST, clearing_date="2026-11-22"),)}, "not_signed"),
    ("another merchant's", {"parts": (signed(FIRST, merchant_id="M-2"),)}, "not_signed"),
    ("another network's", {"parts": (signed(FIRST, network="other"),)}, "not_signed"),
    ("another header", {"parts": (FIRST_TEXT, signed(SECOND, account_id="b" * 64))}, "not_whole"),
    ("a line is missing", {"parts": (FIRST_TEXT, signed(SECOND, entries=LINES[2:4]))}, "not_whole"),
    ("the gateway's net", {"net": 1}, "not_whole"),
    ("the gateway's payee", {"account_id": "b" * 64}, "not_whole"),
    ("no file", {"file": None}, "file_differs"),
    ("another file", {"file": signed(FILING, file_digest="e" * 64)}, "file_differs"),
    ("a file that differs", {"file": signed(FILING, fees=35)}, "file_differs"),
    ("a stranger's file", {"file": signed(FILING, STRANGER)}, "not_signed"),
    ("paid without a payout", {"payout": None}, "payout_differs"),
    ("returned, not paid", {"payout": signed(PAYOUT, status=Paid.RETURNED)}, "payout_differs"),
    ("paid to another", {"payout": signed(PAYOUT, account_id="b" * 64)}, "payout_differs"),
    ("paid less", {"payout": signed(PAYOUT, amount=1)}, "payout_differs"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "kind"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES]
)
def test_what_is_not_proven_is_named(changed: dict[str, Any], kind: str) -> None:
    assert kinds(answer(**changed)) == [kind, *NOT_EQUAL]


def test_a_net_that_is_wrong_is_named_although_the_bank_signed_it() -> None:
    parts = tuple(signed(part, **OTHER_HEADER) for part in (FIRST, SECOND))
    assert kinds(answer(parts=parts, **OTHER_HEADER)) == ["not_whole", *NOT_EQUAL]


def test_another_payee_is_named() -> None:
    assert kinds(answer(), account="b" * 64) == ["payee_differs", *NOT_EQUAL]


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({("o-1", 1, 0): None}, ["not_in_book"]),
        ({("o-1", 1, 0): Booked("o-1", 1, "declined")}, ["not_paid_in_book"]),
        ({("o-1", 1, 0): booked("o-1", 1, amount=2932)}, ["amount_differs"]),
        ({("o-1", 1, 0): booked("o-1", 1, clearing_date="2026-11-24")}, ["day_differs"]),
        ({("o-1", 1, 0): booked("o-1", 1, acquirer_id="other")}, ["not_paid_in_book"]),
        (
            {("o-1", 1, 0): replace(booked("o-1", 1), merchant_code="1")},
            ["not_paid_in_book"],
        ),
        ({("o-9", 1, 0): booked("o-9", 1)}, ["not_settled"]),
        ({("o-1", 1, 1): booked("o-1", 1, refund_no=1)}, ["not_settled"]),
    ],
)
def test_what_the_book_does_not_have_is_named(
    entry: dict[Any, Booked | None], found: list[str]
) -> None:
    book = {key: one for key, one in (BOOK | entry).items() if one is not None}
    assert kinds(answer(), book=book) == found


def test_a_payment_in_two_settlements_is_named() -> None:
    second: dict[str, Any] = {"run": 2, "parts": 1, "part": 1, "carried": 0}
    again = Filing(**COMMON, file_digest="f" * 64, lines=1, payments=2933, refunds=0, fees=0,
                   adjustments=0)  # fmt: skip
    part = replace(FIRST, **second, lines=1, payments=2933, fees=0, adjustments=0, net=2933,
                   entries=LINES[:1])  # fmt: skip
    other = answer(
        id=settlement_id(FIRST.place, 2), run=2, status="stated", lines=1, payments=2933, fees=0,
        adjustments=0, carried=0, net=2933, parts=(signed(part),), file=signed(again), payout=None,
    )  # fmt: skip
    assert kinds(answer(), other) == ["settled_twice"]


def test_an_answer_of_another_form_is_none() -> None:
    sound = answer().to_json()
    for name, value in (("net", True), ("lines", "5"), ("parts", "x"), ("parts", [1]),
                        ("status", "gone"), ("file", 1), ("id", None)):  # fmt: skip
        with pytest.raises(ValueError):
            SettlementAnswer.from_json(sound | {name: value})
    with pytest.raises(ValueError, match="not an object"):
        SettlementAnswer.from_json([])
