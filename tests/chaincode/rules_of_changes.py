"""Rows of what a merchant must have signed: changes of its key and account, proposed and approved,
and the day from which a new key counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import contract_world as w
from contract_world import (
    CHECKER,
    MAKER,
    Ledger,
    account_body,
    approved,
    close_item,
    intent_item,
    key_body,
    proposal,
    registered,
    requested,
    verdict,
)
from rule_rows import DECIDE, MAKE, PAN, M, Row, tampered
from samples import INTENT

from clearline import changes, jws
from clearline.jws import Typ

DAY = timedelta(days=1)
OPEN = verdict("open")
KEY, ACCOUNT = "merchant_key", "merchant_account"
TWO_MAKES = replace(MAKER, msp_id="BankTwo")


def proposing(kind: str, body: dict[str, Any]) -> dict[str, Any]:
    return proposal("n", kind, **body)


def payload(**changed: Any) -> str:
    """A change with these members, signed by the merchant, whatever they are."""
    made = w.key_change().payload() | changed
    return jws.sign({n: v for n, v in made.items() if v is not None}, Typ.CHANGE, w.MERCHANT)


def carrying(change: str, **changed: Any) -> dict[str, Any]:
    return key_body() | {"change": change} | changed


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {member: value for member, value in body.items() if member != name}


def second_account() -> Ledger:
    ledger = registered()
    assert approved(ledger, proposal("a2", "account", **w.account(w.OTHER_ACCOUNT))) == ["ok"]
    return ledger


def opened(
    kind: str, body: dict[str, Any], given: Callable[[], Ledger] = registered
) -> Callable[[], Ledger]:
    """A ledger where `open` waits for its checker."""

    def made() -> Ledger:
        ledger = given()
        assert ledger.codes(MAKE, [proposal("open", kind, **body)]) == ["ok"]
        return ledger

    return made


def signer_revoked() -> Ledger:
    """The signing key was revoked between maker and checker."""
    ledger = opened(KEY, key_body())()
    revoke = {"merchant_id": M, "action": "revoke", "key_id": w.MERCHANT.key_id}
    assert approved(ledger, proposal("r", KEY, **revoke)) == ["ok"]
    return ledger


def key_added(given: Callable[[], Ledger] = registered) -> Callable[[], Ledger]:
    """The stranger's key is the merchant's from tomorrow on."""

    def made() -> Ledger:
        ledger = given()
        assert approved(ledger, proposal("k", KEY, **key_body())) == ["ok"]
        return ledger

    return made


def moved(*bodies: dict[str, Any]) -> Callable[[], Ledger]:
    """These accounts are the merchant's, one after the other."""

    def made() -> Ledger:
        ledger = second_account()
        for number, body in enumerate(bodies):
            assert approved(ledger, proposal(f"m{number}", ACCOUNT, **body)) == ["ok"]
        return ledger

    return made


def often() -> Ledger:
    """The account changed as often as a record holds; once more is proposed."""
    ledger = second_account()
    for number in range(32):
        accounts = (w.OTHER_ACCOUNT, w.ACCOUNT)
        body = account_body(accounts[number % 2], created=f"2026-11-23T08:00:{number:02d}.000Z")
        assert approved(ledger, proposal(f"m{number}", ACCOUNT, **body)) == ["ok"]
    last = account_body(created="2026-11-23T08:00:59.000Z")
    assert ledger.codes(MAKE, [proposal("open", ACCOUNT, **last)]) == ["ok"]
    return ledger


ES = w.MERCHANT_ES256
FIRST_MOVE = account_body(created="2026-11-23T08:00:20.000Z")
BACK = account_body(w.ACCOUNT, created="2026-11-23T08:00:10.000Z")
NEXT_DAY: dict[str, Any] = {
    "created": "2026-11-24T08:00:00.000Z",
    "expires_at": "2026-11-24T09:00:00.000Z",
}
CHANGES = [
    Row("5 key", "ok", MAKE, proposing(KEY, key_body()), registered),
    Row("an ES256 key", "ok", MAKE, proposing(KEY, key_body(signer=ES)), registered),
    Row("5 account", "ok", MAKE, proposing(ACCOUNT, account_body()), second_account),
    Row("1 a bare key", "malformed", MAKE,
        proposing(KEY, without(key_body(), "change") | {"jwk": w.STRANGER.jwk}), registered),
    Row("1 add, unsigned", "malformed", MAKE,
        proposing(KEY, without(key_body(), "change")), registered),
    Row("1 revoke, signed", "malformed", MAKE,
        proposing(KEY, key_body() | {"action": "revoke"}), registered),
    Row("1 an account, unsigned", "malformed", MAKE,
        proposing(ACCOUNT, without(account_body(), "change")), registered),
    Row("1 no JWS", "malformed", MAKE, proposing(KEY, carrying("x.y")), registered),
    Row("1 an intent in its place", "malformed", MAKE,
        proposing(KEY, carrying(intent_item()["intent"])), registered),
    Row("1 a surplus member", "malformed", MAKE,
        proposing(KEY, carrying(payload(note="x"))), registered),
    Row("1 a member short", "malformed", MAKE,
        proposing(KEY, carrying(payload(created=None))), registered),
    Row("1 for the day it is signed", "malformed", MAKE,
        proposing(KEY, key_body(valid_from="2026-11-23")), registered),
    Row("1 for a day far away", "malformed", MAKE,
        proposing(KEY, key_body(valid_from="2027-02-22")), registered),
    Row("2 in the signed text", "card_data_refused", MAKE,
        proposing(KEY, key_body(merchant_id=PAN)), registered),
    Row("2 as its network", "card_data_refused", MAKE,
        proposing(KEY, key_body(network=PAN)), registered),
    Row("2 as its bank", "card_data_refused", MAKE,
        proposing(ACCOUNT, account_body(bank_code="30569309025904")), second_account),
    Row("a another merchant", "malformed", MAKE,
        proposing(KEY, key_body() | {"merchant_id": "M-2"}), registered),
    Row("a another key", "malformed", MAKE,
        proposing(KEY, key_body() | {"key_id": w.BANK.key_id}), registered),
    Row("a another account", "malformed", MAKE,
        proposing(ACCOUNT, account_body() | {"account_id": "c" * 64}), registered),
    Row("a a key's change for an account", "malformed", MAKE,
        proposing(ACCOUNT, account_body() | {"change": key_body()["change"]}), registered),
    Row("a an account's change for a key", "malformed", MAKE,
        proposing(KEY, carrying(account_body()["change"])), registered),
    Row("3 another algorithm than the key's", "key_refused", MAKE,
        proposing(KEY, carrying(payload(algorithm="ES256"))), registered),
    Row("3 an unsafe key", "key_refused", MAKE,
        proposing(KEY, carrying(payload(jwk={"kty": "OKP", "crv": "Ed25519",
                                             "x": jws.encode(bytes(32))}))), registered),
    Row("b another network", "network_mismatch", MAKE,
        proposing(KEY, key_body(network="other")), registered),
    Row("c no such merchant", "merchant_unknown", MAKE,
        proposing(KEY, key_body(merchant_id="M-9")), registered),
    Row("c another bank's merchant", "role_forbidden", MAKE,
        proposing(KEY, key_body()), registered, TWO_MAKES),
    Row("d by the bank's own key", "key_unknown", MAKE,
        proposing(KEY, key_body(signer=w.BANK)), registered),
    Row("d by the new key itself", "key_unknown", MAKE,
        proposing(KEY, key_body(signer=w.STRANGER)), registered),
    Row("d an account by the bank's own key", "key_unknown", MAKE,
        proposing(ACCOUNT, account_body(signer=w.BANK)), second_account),
    Row("e another signature", "signature_invalid", MAKE,
        proposing(KEY, carrying(tampered(key_body()["change"]))), registered),
    Row("f a revoked key", "key_revoked", MAKE,
        proposing(KEY, key_body(w.ed25519_signer("third"))), signer_revoked),
    Row("f a key of tomorrow", "key_not_yet_valid", MAKE,
        proposing(KEY, key_body(w.ed25519_signer("third"), signer=w.STRANGER)), key_added()),
    Row("g of the future", "not_yet_valid", MAKE,
        proposing(KEY, key_body(created="2026-11-23T08:05:31.000Z")), registered),
    Row("h its day has come", "change_too_late", MAKE,
        proposing(KEY, key_body()), registered, after=DAY),
    # and again at the approval
    Row("new key", "ok", DECIDE, OPEN, opened(KEY, key_body())),
    Row("new key, signer revoked since", "key_revoked", DECIDE, OPEN, signer_revoked),
    Row("new key, its day came", "change_too_late", DECIDE, OPEN, opened(KEY, key_body()),
        after=DAY),
    Row("key there already", "key_refused", DECIDE, OPEN, opened(KEY, key_body(ES))),
    Row("new account", "ok", DECIDE, OPEN, opened(ACCOUNT, account_body(), second_account)),
    Row("no such account", "account_unknown", DECIDE, OPEN, opened(ACCOUNT, account_body())),
    Row("account at another bank than signed", "account_unknown", DECIDE, OPEN,
        opened(ACCOUNT, account_body(bank_code="OTHERBNK"), second_account)),
    Row("account with other digits than signed", "account_unknown", DECIDE, OPEN,
        opened(ACCOUNT, account_body(last4="0000"), second_account)),
    Row("the account it has", "record_exists", DECIDE, OPEN,
        opened(ACCOUNT, account_body(w.ACCOUNT))),
    Row("account signed before the last", "change_too_late", DECIDE, OPEN,
        opened(ACCOUNT, BACK, moved(FIRST_MOVE))),
    Row("account for a day before the last's", "change_too_late", DECIDE, OPEN,
        opened(ACCOUNT, account_body(w.ACCOUNT, created="2026-11-23T08:00:25.000Z"),
               moved(account_body(valid_from="2026-11-25")))),
    Row("the account it had", "ok", DECIDE, OPEN,
        opened(ACCOUNT, account_body(w.ACCOUNT, created="2026-11-23T08:00:25.000Z"),
               moved(FIRST_MOVE))),
    Row("account once too often", "record_full", DECIDE, OPEN, often),
    Row("another bank approves", "role_forbidden", DECIDE, OPEN, opened(KEY, key_body()),
        replace(CHECKER, msp_id="BankTwo")),
    # what a new key signs
    Row("8 a key of tomorrow", "key_not_yet_valid", "SubmitIntents", intent_item(w.STRANGER),
        key_added()),
    Row("8 on its day", "ok", "SubmitIntents", intent_item(w.STRANGER, **NEXT_DAY), key_added(),
        after=DAY),
    Row("8 the older key on that day", "ok", "SubmitIntents", intent_item(**NEXT_DAY), key_added(),
        after=DAY),
    Row("close 9 a key of tomorrow", "key_not_yet_valid", "SubmitIntents", close_item(w.STRANGER),
        key_added(requested)),
    Row("close 9 on its day", "ok", "SubmitIntents", close_item(w.STRANGER), key_added(requested),
        after=DAY),
]  # fmt: skip
assert changes.MAX_AHEAD == 90 * DAY
assert INTENT.merchant_id == M
