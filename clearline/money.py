"""Money: integers in the currency's minor unit, with the ISO 4217 code. No floats anywhere."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

# Minor-unit digits of ISO 4217 list one; a currency that is not here is refused, never guessed.
_TWO = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD "
    "CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ "
    "GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL "
    "MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR "
    "PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT "
    "TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW"
)
_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
MINOR_DIGITS: Final[dict[str, int]] = (
    dict.fromkeys(_TWO.split(), 2) | dict.fromkeys(_ZERO.split(), 0)
    | dict.fromkeys(_THREE.split(), 3)
)  # fmt: skip
# ISO 4217 numeric codes of the currencies an ISO 8583 acquirer here can carry (field 49).
NUMERIC: Final[dict[str, str]] = {
    "CNY": "156", "HKD": "344", "MOP": "446", "TWD": "901", "JPY": "392", "KRW": "410",
    "SGD": "702", "THB": "764", "MYR": "458", "USD": "840", "EUR": "978", "GBP": "826",
    "CHF": "756", "AUD": "036", "CAD": "124", "KWD": "414", "INR": "356",
}  # fmt: skip
MAX_AMOUNT: Final = 999_999_999_999  # ISO 8583 field 4 has twelve digits
_DECIMAL: Final = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,6}))?")


class MoneyError(ValueError):
    """An amount or currency that can't be taken exactly; the message says why."""


@dataclass(frozen=True, slots=True)
class Money:
    """`amount` minor units of `currency` (2933 CNY is 29.33 yuan)."""

    amount: int
    currency: str

    def __str__(self) -> str:
        digits = MINOR_DIGITS[self.currency]
        if digits == 0:
            return f"{self.amount} {self.currency}"
        sign = "-" if self.amount < 0 else ""
        whole, minor = divmod(abs(self.amount), 10**digits)
        return f"{sign}{whole}.{minor:0{digits}d} {self.currency}"


def minor_digits(currency: str) -> int:
    """Digits after the point of an ISO 4217 currency. Raises MoneyError when it is not listed."""
    try:
        return MINOR_DIGITS[currency]
    except KeyError:
        raise MoneyError(f"{currency[:8]!r} is not an ISO 4217 currency known here") from None


def parse_decimal(text: str, currency: str) -> Money:
    """`"29.33"`, `"CNY"` as Money(2933, "CNY"), exactly.

    Takes ASCII digits with one point. Raises MoneyError for signs, thousands separators,
    exponents, more fraction digits than the currency has, zero, and amounts over MAX_AMOUNT.
    """
    digits = minor_digits(currency)
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise MoneyError(f"amount {text[:40]!r} is not a decimal number such as 29.33")
    whole, fraction = match[1], match[2] or ""
    if len(fraction.rstrip("0")) > digits:
        raise MoneyError(f"amount {text} has more than {digits} decimals, which {currency} has not")
    amount = int(whole) * 10**digits + int(fraction[:digits].ljust(digits, "0") or "0")
    if not 0 < amount <= MAX_AMOUNT:
        raise MoneyError(f"amount {text} is outside 1..{MAX_AMOUNT} minor units")
    return Money(amount, currency)
