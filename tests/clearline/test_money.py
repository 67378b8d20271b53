"""Decimals become exact minor units, or are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearline.money import MAX_AMOUNT, MINOR_DIGITS, NUMERIC, Money, MoneyError, parse_decimal


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("29.33", "CNY", 2933),
        ("0.01", "CNY", 1),
        ("29.3", "CNY", 2930),
        ("29", "CNY", 2900),
        ("29.330", "CNY", 2933),
        ("1", "JPY", 1),
        ("1.0", "JPY", 1),
        ("0.001", "KWD", 1),
        ("9999999999.99", "USD", MAX_AMOUNT),
    ],
)
def test_exact(text: str, currency: str, amount: int) -> None:
    assert parse_decimal(text, currency) == Money(amount, currency)


@pytest.mark.parametrize(
    ("text", "currency"),
    [
        ("29.333", "CNY"), ("0.1", "JPY"), ("0", "CNY"), ("0.00", "CNY"), ("-1", "CNY"),
        ("+1", "CNY"), ("1,000", "CNY"), ("1e3", "CNY"), (".5", "CNY"), ("5.", "CNY"), ("", "CNY"),
        (" 1", "CNY"), ("1\n", "CNY"), ("\u0661", "CNY"), ("10000000000.00", "CNY"),
        ("1", "XXX"), ("1", "cny"), ("1" * 400, "CNY"), ("NaN", "CNY"),
    ],
)  # fmt: skip
def test_refused(text: str, currency: str) -> None:
    with pytest.raises(MoneyError):
        parse_decimal(text, currency)


@given(st.integers(1, MAX_AMOUNT), st.sampled_from(sorted(MINOR_DIGITS)))
def test_showing_and_parsing_give_the_amount_back(amount: int, currency: str) -> None:
    shown, code = str(Money(amount, currency)).split()
    if len(shown.split(".")[0]) <= 12:
        assert parse_decimal(shown, code) == Money(amount, currency)


def test_every_numeric_code_is_a_currency_and_no_two_share_one() -> None:
    assert set(NUMERIC) <= set(MINOR_DIGITS)
    assert len(set(NUMERIC.values())) == len(NUMERIC)
