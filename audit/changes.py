"""The auditor's reading of what a merchant signs about itself: a further key, another account.

A bank can't make either: the change counts when one of the merchant's keys signed it, one that was
active and whose day had come, and only for a day later than the transaction's. It is held when it
is proposed and again when it is approved.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any, Final

from audit import cards, forms
from audit.draft import Draft, Record, Refused
from audit.findings import Check
from audit.jose import JoseError, Signed, read, verify
from audit.keys import key_record
from audit.relations import check_use
from clearline.codes import Code

TYP: Final = "clearline-change+jws"
AHEAD: Final = timedelta(minutes=5)  # a merchant's clock may be
_FARTHEST: Final = timedelta(days=90)
_MOST_ACCOUNTS: Final = 32


def read_change(kind: str, body: Record) -> Signed:
    """Form, cards and key of the change in a proposal's body, and that it is about what the body
    names. Raises Refused."""
    try:
        token = read(body["change"], TYP)
    except JoseError as error:
        raise _malformed(f"its change is {error}") from None
    _scan("kid", token.key_id)
    said = token.payload
    of_account = said.get("kind") == "account"
    fault = (forms.ACCOUNT_CHANGE if of_account else forms.KEY_CHANGE).fault(said)
    if fault is not None:
        raise _malformed(f"its change: {fault}")
    for name in ("network", "merchant_id", *(("bank_code",) if of_account else ())):
        _scan(name, said[name])
    days = date.fromisoformat(said["from"]) - date.fromisoformat(said["created"][:10])
    if not timedelta() < days <= _FARTHEST:
        raise _malformed(f"from {said['from']}, signed {said['created']}")
    if not of_account:
        _check_new_key(said)
    named = {"merchant_key": ("key", "key_id"), "merchant_account": ("account", "account_id")}
    wanted, name = named[kind]
    if said["kind"] != wanted or any(said[one] != body[one] for one in ("merchant_id", name)):
        raise _malformed("the change is not about what the proposal names")
    return token


def _check_new_key(said: Record) -> None:
    key_id, key = key_record(said["jwk"])
    if (said["key_id"], said["algorithm"]) != (key_id, key["algorithm"]):
        raise Refused(Code.KEY_REFUSED, Check.KEY, "the new key is not the one the change names")


def check_network(said: Record, network: str) -> None:
    """Raise Refused for a change signed for another network."""
    if said["network"] != network:
        raise _unsigned(Code.NETWORK_MISMATCH, f"the change is for network {said['network']}")


def verify_change(token: Signed, merchant: Record, now: str) -> None:
    """Raise Refused unless a key of this merchant signed it, and it is good at this time."""
    said, key = token.payload, merchant["keys"].get(token.key_id)
    if key is None:
        raise _unsigned(Code.KEY_UNKNOWN, "the key that signed the change is not the merchant's")
    try:
        verify(token, key)
    except JoseError as error:
        raise _unsigned(Code.SIGNATURE_INVALID, f"the change: {error}") from None
    check_active(key, now[:10])
    if datetime.fromisoformat(said["created"]) > datetime.fromisoformat(now) + AHEAD:
        raise _unsigned(Code.NOT_YET_VALID, f"the change was signed at {said['created']}")
    if said["from"] <= now[:10]:
        raise _unsigned(Code.CHANGE_TOO_LATE, f"its day, {said['from']}, had come")


def check_active(key: Record, day: str) -> None:
    """Raise Refused unless what this key of a merchant signed counts on this day, YYYY-MM-DD."""
    if key["status"] != "active":
        raise _unsigned(Code.KEY_REVOKED, "the key that signed was revoked")
    if key["valid_from"] > day:
        raise _unsigned(
            Code.KEY_NOT_YET_VALID, f"the key that signed counts from {key['valid_from']}"
        )


def moved(merchant: Record, change: Record, draft: Draft) -> list[Record]:
    """The merchant's accounts after a change of account. Raises Refused."""
    place = f"merchant/{change['merchant_id']}"
    account = draft.get(f"account/{change['account_id']}")
    said = [change["bank_code"], change["last4"]]
    if account is None or [account[one] for one in ("bank_code", "last4")] != said:
        raise Refused(
            Code.ACCOUNT_UNKNOWN, Check.OWNERSHIP, f"{place}: there is no account as signed"
        )
    check_use(account, merchant["entity_id"], change["from"], draft)
    accounts: list[Record] = merchant["accounts"]
    if (accounts[-1] if accounts else merchant)["account_id"] == change["account_id"]:
        raise Refused(Code.RECORD_EXISTS, Check.OWNERSHIP, f"{place} has this account already")
    if accounts and not (
        accounts[-1]["signed_at"] < change["created"]
        and accounts[-1]["valid_from"] <= change["from"]
    ):
        raise Refused(
            Code.CHANGE_TOO_LATE, Check.RECORD, f"{place}: a later change of account was taken"
        )
    if len(accounts) >= _MOST_ACCOUNTS:
        raise Refused(Code.RECORD_FULL, Check.RECORD, f"{place}: its account changed too often")
    entry = {
        "account_id": change["account_id"],
        "valid_from": change["from"],
        "signed_at": change["created"],
        "tx_id": draft.invocation.tx_id,
    }
    return [*accounts, entry]


def _unsigned(code: Code, detail: str) -> Refused:
    return Refused(code, Check.MERCHANT_SIGNATURE, detail)


def _malformed(detail: str) -> Refused:
    return Refused(Code.MALFORMED, Check.FORM, detail)


def _scan(name: str, value: Any) -> None:
    if cards.held(value):
        raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, f"{name} looks like a card number")
