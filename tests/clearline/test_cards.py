"""Card numbers are found; order numbers are left alone."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearline.cards import holds_card_number, is_card_number, luhn, redact

# Published test numbers of the schemes.
CARDS = [
    "4111111111111111", "4012888888881881", "4222222222222", "5555555555554444",
    "5105105105105100", "2223003122003222", "378282246310005", "371449635398431",
    "6011111111111117", "3530111333300000", "30569309025904", "38520000023237",
    "6200000000000005", "6212345678901232", "6205500000000000004", "6759649826438453",
]  # fmt: skip


@pytest.mark.parametrize("card", CARDS)
def test_found_alone_grouped_and_inside_text(card: str) -> None:
    grouped = "-".join(card[i : i + 4] for i in range(0, len(card), 4))
    spaced = grouped.replace("-", " ")
    for text in (card, grouped, spaced, f"order {card}.", f"A_{card}_B", f"12-{grouped}-7"):
        assert holds_card_number(text), text
        assert card not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "20261123-0001", "ORDER-4111", "4111111111111112", "41111111111111111", "898310148990001",
        "20261123120000", "1" * 40, "", "abc", "T0000001", "0000000000000000",
        "4111_1111_1111_1111",
    ],
)  # fmt: skip
def test_left_alone(text: str) -> None:
    assert not holds_card_number(text)
    assert redact(text) == text


def test_full_width_digits_are_digits() -> None:
    wide = "4111111111111111".translate({48 + d: 0xFF10 + d for d in range(10)})
    assert holds_card_number(f"店 {wide}")
    assert redact(f"店 {wide}。") == "店 [card data]。"
    assert not holds_card_number("２０２６１１２３")
    assert redact("店 ２０２６") == "店 ２０２６"


@given(st.integers(10**7, 10**11 - 1))
def test_short_numeric_order_numbers_are_never_refused(number: int) -> None:
    assert not holds_card_number(str(number))


@given(st.text("0123456789", min_size=1, max_size=30), st.integers(0, 29), st.integers(1, 9))
def test_luhn_sees_every_single_wrong_digit(digits: str, place: int, shift: int) -> None:
    check = next(d for d in "0123456789" if luhn(digits + d))
    good = digits + check
    place %= len(good)
    bad = good[:place] + str((int(good[place]) + shift) % 10) + good[place + 1 :]
    assert luhn(good)
    assert not luhn(bad)


def patient(text: str) -> bool:
    """The rule without any short cut."""
    for start in range(len(text)):
        for end in range(start + 12, len(text) + 1):
            part = text[start:end]
            grouped = re.fullmatch(r"[0-9]+(?:[ -][0-9]+)*", part)
            whole = (
                not (text[start - 1 : start] or "x")[-1].isdigit()
                and not (text[end : end + 1] or "x").isdigit()
            )
            if grouped and whole and is_card_number(re.sub("[ -]", "", part)):
                return True
    return False


@given(
    st.lists(
        st.sampled_from([*CARDS, "4111", "1111", "62", " ", "-", "--", "a", "0", "9" * 20]),
        max_size=6,
    ).map("".join)
)
def test_the_short_cuts_change_nothing(text: str) -> None:
    assert holds_card_number(text) == patient(text)
