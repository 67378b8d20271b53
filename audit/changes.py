"""The auditor's reading of what a merchant signs about itself: a further key, another account.

A bank can't make either: the change counts when one of the merchant's keys signed it, one that was
active and whose day had come, and only for a day later than the transaction's.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any, Final

from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import JoseError, Signed, read, thumbprint, verify

Record = dict[str, Any]
_COMMON: Final = {"kind", "version", "network", "merchant_id", "created", "from"}
_OWN: Final = {
    "key": {"key_id", "algorithm", "jwk"},
    "account": {"account_id", "bank_code", "last4"},
}
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_FARTHEST: Final = timedelta(days=90)
_AHEAD_MINUTES: Final = 5
_MOST_ACCOUNTS: Final = 32


def signed_change(
    kind: str, body: Record, merchant: Record | None, invocation: Invocation, network: str
) -> Record:
    """What the merchant signed for this proposal, at this transaction's time. Raises Wrong."""
    place = f"merchant/{body.get('merchant_id')}"
    try:
        token = read(str(body.get("change")), "clearline-change+jws")
        _form(token, kind, body, network)
        key = (merchant or {}).get("keys", {}).get(token.key_id)
        if key is None:
            raise JoseError("the signing key is not the merchant's")
        verify(token, key)
    except JoseError as error:
        raise Wrong(Check.MERCHANT_SIGNATURE, f"{place}: a change of {kind}: {error}") from None
    day = invocation.time[:10]
    if not active(key, day):
        raise Wrong(Check.MERCHANT_SIGNATURE, f"{place}: the signing key did not count on {day}")
    if _minutes_ahead(token.payload["created"], invocation.time) > _AHEAD_MINUTES:
        raise Wrong(Check.MERCHANT_SIGNATURE, f"{place}: signed after the transaction")
    if token.payload["from"] <= day:
        raise Wrong(Check.MERCHANT_SIGNATURE, f"{place}: its day had come when it was taken")
    return token.payload


def active(key: Record, day: str) -> bool:
    """Whether a ledger key record counts on this day, YYYY-MM-DD."""
    return bool(key["status"] == "active" and key["valid_from"] <= day)


def moved(merchant: Record, account: Record | None, change: Record, tx_id: str) -> Record:
    """The merchant's next entry of `accounts`. Raises Wrong."""
    place = f"merchant/{change['merchant_id']}"
    said = (merchant["entity_id"], change["bank_code"], change["last4"])
    if account is None or (account["entity_id"], account["bank_code"], account["last4"]) != said:
        raise Wrong(Check.OWNERSHIP, f"{place}: the account is not its entity's, or not as signed")
    accounts = merchant["accounts"]
    last = accounts[-1] if accounts else {"account_id": merchant["account_id"]}
    if last["account_id"] == change["account_id"]:
        raise Wrong(Check.RECORD, f"{place}: it has this account already")
    if change["created"] <= last.get("signed_at", "") or change["from"] < last.get(
        "valid_from", ""
    ):
        raise Wrong(Check.RECORD, f"{place}: a later change of account was taken before")
    if len(accounts) >= _MOST_ACCOUNTS:
        raise Wrong(Check.RECORD, f"{place} has more changes of account than it may")
    return {
        "account_id": change["account_id"],
        "valid_from": change["from"],
        "signed_at": change["created"],
        "tx_id": tx_id,
    }


def _form(token: Signed, kind: str, body: Record, network: str) -> None:
    """The closed schema, and that it is about what the proposal names. Raises JoseError."""
    said, wanted = token.payload, {"merchant_key": "key", "merchant_account": "account"}[kind]
    if said.get("kind") != wanted or set(said) != _COMMON | _OWN[wanted]:
        raise JoseError(f"not a change of {wanted}")
    if said["version"] != 1 or said["network"] != network:
        raise JoseError(f"version {said['version']} for network {said['network']}")
    named = "key_id" if wanted == "key" else "account_id"
    if (said["merchant_id"], said[named]) != (body["merchant_id"], body[named]):
        raise JoseError("it is about another merchant, key or account")
    if wanted == "key":
        algorithm = "Ed25519" if said["jwk"].get("kty") == "OKP" else "ES256"
        if (said["key_id"], said["algorithm"]) != (thumbprint(said["jwk"]), algorithm):
            raise JoseError("the key is not the one it names")
    if not _TIME.fullmatch(str(said["created"])):
        raise JoseError("created is no time")
    try:
        ahead = date.fromisoformat(str(said["from"])) - date.fromisoformat(said["created"][:10])
    except ValueError:
        raise JoseError("a date is none") from None
    if not timedelta() < ahead <= _FARTHEST:
        raise JoseError(f"from {said['from']}, signed {said['created']}")


def _minutes_ahead(created: str, time: str) -> float:
    return (datetime.fromisoformat(created) - datetime.fromisoformat(time)).total_seconds() / 60
