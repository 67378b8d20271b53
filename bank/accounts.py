"""Settlement accounts as the ledger names them: a keyed hash, never the number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from clearline.records import account_id

MIN_SECRET: Final = 16  # bytes; below, numbers could be tried against the hash
_BANK_CODE: Final = re.compile("[A-Z0-9]{4,14}")
_NUMBER: Final = re.compile("[A-Z0-9]{4,34}")  # ISO 13616 allows an IBAN 34 characters


class AccountError(ValueError):
    """The account can't be named; the message never holds the number."""


@dataclass(frozen=True, slots=True)
class AccountName:
    """What of an account goes onto the ledger."""

    account_id: str
    bank_code: str
    last4: str


def name_account(secret: bytes, bank_code: str, number: str) -> AccountName:
    """The ledger's name of an account. `secret`: the bytes of the banks' shared key file, as they
    are. Spaces and dashes in the number don't count, nor does its case, so that one account has
    one name. Raises AccountError.
    """
    if len(secret) < MIN_SECRET:
        raise AccountError(f"the secret has {len(secret)} bytes, at least {MIN_SECRET} are needed")
    if not _BANK_CODE.fullmatch(bank_code):
        raise AccountError("--bank-code must be a BIC or national bank code: 4 to 14 of A-Z 0-9")
    plain = re.sub("[ -]", "", number.strip()).upper()
    if not _NUMBER.fullmatch(plain):
        raise AccountError("the account number must be 4 to 34 letters and digits")
    digits = re.sub("[^0-9]", "", plain)
    if len(digits) < 4:
        raise AccountError("the account number must hold at least four digits")
    return AccountName(account_id(secret, bank_code, plain), bank_code, digits[-4:])
