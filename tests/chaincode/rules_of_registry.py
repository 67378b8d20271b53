"""Rows of ProposeRecords and DecideRecords."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import contract_world as w
from contract_world import (
    CHECKER,
    MAKER,
    Ledger,
    approved,
    proposal,
    registered,
    verdict,
)
from rule_rows import DECIDE, MAKE, PAN, M, Row, revoked

from clearline import jws

SMALL_ORDER = {"kty": "OKP", "crv": "Ed25519", "x": jws.encode(bytes(32))}
PROPOSING = [
    Row("all checks pass", "ok", MAKE, proposal("n", "entity", **w.entity()), Ledger),
    Row("1 not an object", "malformed", MAKE, 7, Ledger),
    Row("1 unknown kind", "malformed", MAKE, proposal("n", "lease", a=1), Ledger),
    Row("1 body not an object", "malformed", MAKE, proposal("n", "entity") | {"body": 1}, Ledger),
    Row(
        "1 unknown member of the body",
        "malformed",
        MAKE,
        proposal("n", "entity", **w.entity(extra="x")),
        Ledger,
    ),
    Row(
        "1 add without a key",
        "malformed",
        MAKE,
        proposal("n", "acquirer_key", acquirer_id="A", action="add", key_id=w.BANK.key_id),
        Ledger,
    ),
    Row(
        "1 a code twice",
        "malformed",
        MAKE,
        proposal("n", "merchant", **w.merchant(codes={"unionpay": ["1", "1"]})),
        Ledger,
    ),
    Row(
        "2 in a name",
        "card_data_refused",
        MAKE,
        proposal("n", "entity", **w.entity(name=f"Shop {PAN}")),
        Ledger,
    ),
    Row(
        "2 in a code",
        "card_data_refused",
        MAKE,
        proposal("n", "merchant", **w.merchant(codes={"unionpay": ["378282246310005"]})),
        Ledger,
    ),
    Row(
        "3 an unsafe key",
        "key_refused",
        MAKE,
        proposal("n", "merchant", **w.merchant(keys=[SMALL_ORDER])),
        Ledger,
    ),
    Row(
        "3 an RSA key",
        "key_refused",
        MAKE,
        proposal("n", "acquirer", **w.acquirer(keys=[{"kty": "RSA"}])),
        Ledger,
    ),
    Row(
        "3 a key twice",
        "key_refused",
        MAKE,
        proposal("n", "merchant", **w.merchant(keys=[w.BANK.jwk, w.BANK.jwk])),
        Ledger,
    ),
    Row(
        "3 an id that is not the thumbprint",
        "key_refused",
        MAKE,
        proposal(
            "n",
            "acquirer_key",
            acquirer_id="A",
            action="add",
            key_id=w.BANK.key_id,
            jwk=w.STRANGER.jwk,
        ),
        Ledger,
    ),
    Row("4 again", "duplicate", MAKE, proposal("p1", "entity", **w.entity()), registered),
    Row("4 other body", "conflict", MAKE, proposal("p1", "entity", **w.entity("E-2")), registered),
    Row(
        "4 another maker",
        "conflict",
        MAKE,
        proposal("p1", "entity", **w.entity()),
        registered,
        replace(MAKER, person="else"),
    ),
]


def open_proposal(kind: str, **body: Any) -> Callable[[], Ledger]:
    """A registered ledger where `open` waits for its checker."""

    def given() -> Ledger:
        ledger = registered()
        assert ledger.codes(MAKE, [proposal("open", kind, **body)]) == ["ok"]
        return ledger

    return given


def foreign_proposal(kind: str, **body: Any) -> Callable[[], Ledger]:
    """The same by BankTwo."""

    def given() -> Ledger:
        ledger = registered()
        maker = replace(MAKER, msp_id="BankTwo")
        assert ledger.codes(MAKE, [proposal("open", kind, **body)], submitter=maker) == ["ok"]
        return ledger

    return given


def decided(decision: str) -> Callable[[], Ledger]:
    def given() -> Ledger:
        ledger = open_proposal("entity", **w.entity("E-2"))()
        assert ledger.codes(DECIDE, [verdict("open", decision)]) == ["ok"]
        return ledger

    return given


def foreign_entity() -> Ledger:
    """E-2 is registered too, and a proposal of E-1's account for E-2 is open."""
    ledger = registered()
    assert approved(ledger, proposal("e2", "entity", **w.entity("E-2"))) == ["ok"]
    body = w.account(w.ACCOUNT, "E-2")
    assert ledger.codes(MAKE, [proposal("open", "account", **body)]) == ["ok"]
    return ledger


TWO = replace(CHECKER, msp_id="BankTwo")
OPEN = verdict("open")
NEW_ENTITY = open_proposal("entity", **w.entity("E-2"))
ADD = {"action": "add", "key_id": w.STRANGER.key_id, "jwk": w.STRANGER.jwk}
ADD_AGAIN = {"action": "add", "key_id": w.BANK.key_id, "jwk": w.BANK.jwk}
REVOKE = {"action": "revoke", "key_id": w.STRANGER.key_id}


def revoked_again() -> Ledger:
    ledger = revoked("merchant_key", "merchant_id", M, w.MERCHANT)()
    body = {"merchant_id": M, "action": "revoke", "key_id": w.MERCHANT.key_id}
    assert ledger.codes(MAKE, [proposal("open", "merchant_key", **body)]) == ["ok"]
    return ledger


def merchant_proposal(**changed: Any) -> Callable[[], Ledger]:
    return open_proposal("merchant", **w.merchant("M-2", **changed))


CODE_2 = {"merchant_id": M, "acquirer_id": "unionpay", "code": "898310148990002"}


def bank_two_acquirer() -> Ledger:
    ledger = registered()
    body = w.acquirer("second", keys=[w.STRANGER.jwk])
    assert approved(ledger, proposal("a2", "acquirer", **body), bank="BankTwo") == ["ok"]
    return ledger


def open_by_two(**body: Any) -> Callable[[], Ledger]:
    def given() -> Ledger:
        ledger = bank_two_acquirer()
        maker = replace(MAKER, msp_id="BankTwo")
        items = [proposal("open", "merchant_code", **body)]
        assert ledger.codes(MAKE, items, submitter=maker) == ["ok"]
        return ledger

    return given


def code_of_another() -> Ledger:
    ledger = registered()
    body = w.merchant("M-2", codes={"unionpay": [CODE_2["code"]]})
    assert approved(ledger, proposal("m2", "merchant", **body)) == ["ok"]
    assert ledger.codes(MAKE, [proposal("open", "merchant_code", **CODE_2)]) == ["ok"]
    return ledger


def with_codes(count: int) -> Callable[[], Ledger]:
    """One code more is proposed for a merchant that has `count`."""

    def given() -> Ledger:
        ledger = registered()
        more = [
            proposal(f"c{number}", "merchant_code", **(CODE_2 | {"code": f"C{number}"}))
            for number in range(1, count)
        ]
        assert approved(ledger, *more) == ["ok"] * (count - 1)
        assert ledger.codes(MAKE, [proposal("open", "merchant_code", **CODE_2)]) == ["ok"]
        return ledger

    return given


def everywhere() -> Ledger:
    """A code at a ninth acquirer is proposed."""
    ledger = registered()
    for number in range(2, 10):
        made = proposal(f"a{number}", "acquirer", **w.acquirer(f"A{number}"))
        assert approved(ledger, made) == ["ok"]
    more = [
        proposal(f"c{number}", "merchant_code", **(CODE_2 | {"acquirer_id": f"A{number}"}))
        for number in range(2, 10)
    ]
    assert approved(ledger, *more[:-1]) == ["ok"] * 7
    last = more[-1] | {"proposal_id": "open"}
    assert ledger.codes(MAKE, [last]) == ["ok"]
    return ledger


FREE = {"unionpay": ["898310148990009"]}
DECIDING = [
    Row("approve", "ok", DECIDE, OPEN, NEW_ENTITY),
    Row("reject", "ok", DECIDE, verdict("open", "reject"), NEW_ENTITY),
    Row("1 no such decision", "malformed", DECIDE, verdict("open", "maybe"), NEW_ENTITY),
    Row("2 unknown", "proposal_unknown", DECIDE, verdict("none"), NEW_ENTITY),
    Row("3 another bank's", "role_forbidden", DECIDE, OPEN, NEW_ENTITY, TWO),
    Row(
        "4 the maker's own",
        "same_person",
        DECIDE,
        OPEN,
        NEW_ENTITY,
        replace(CHECKER, person=MAKER.person),
    ),
    Row("5 decided otherwise", "proposal_decided", DECIDE, OPEN, decided("reject")),
    Row(
        "5 decided by somebody else",
        "proposal_decided",
        DECIDE,
        OPEN,
        decided("approve"),
        replace(CHECKER, person="third"),
    ),
    Row("5 again", "duplicate", DECIDE, OPEN, decided("approve")),
    Row("entity exists", "record_exists", DECIDE, OPEN, open_proposal("entity", **w.entity("E-1"))),
    Row(
        "the same registration under another id",
        "record_exists",
        DECIDE,
        OPEN,
        open_proposal("entity", **w.entity("E-2", registration_no=w.entity()["registration_no"])),
    ),
    Row(
        "the same registration spelt otherwise",
        "record_exists",
        DECIDE,
        OPEN,
        open_proposal("entity", **w.entity("E-2", registration_no="reg.E-1")),
    ),
    Row(
        "the same number in another country",
        "ok",
        DECIDE,
        OPEN,
        open_proposal("entity", **w.entity("E-2", registration_no="REG-E-1", country="SG")),
    ),
    Row("account exists", "record_exists", DECIDE, OPEN, open_proposal("account", **w.account())),
    Row("account of another entity", "account_taken", DECIDE, OPEN, foreign_entity),
    Row(
        "account of no entity",
        "entity_unknown",
        DECIDE,
        OPEN,
        open_proposal("account", **w.account("c" * 64, "E-9")),
    ),
    Row("merchant", "ok", DECIDE, OPEN, merchant_proposal(codes=FREE)),
    Row(
        "merchant exists", "record_exists", DECIDE, OPEN, open_proposal("merchant", **w.merchant())
    ),
    Row(
        "merchant of no entity",
        "entity_unknown",
        DECIDE,
        OPEN,
        merchant_proposal(entity_id="E-9", codes=FREE),
    ),
    Row(
        "no such account",
        "account_unknown",
        DECIDE,
        OPEN,
        merchant_proposal(account_id=w.OTHER_ACCOUNT, codes=FREE),
    ),
    Row(
        "code at no acquirer",
        "acquirer_unknown",
        DECIDE,
        OPEN,
        merchant_proposal(codes={"none": ["1"]}),
    ),
    Row("code taken", "merchant_code_taken", DECIDE, OPEN, merchant_proposal()),
    Row("a further code", "ok", DECIDE, OPEN, open_proposal("merchant_code", **CODE_2)),
    Row(
        "a code at another bank's acquirer, by that bank",
        "ok",
        DECIDE,
        OPEN,
        open_by_two(merchant_id=M, acquirer_id="second", code="1"),
        TWO,
    ),
    Row(
        "a further code by another bank",
        "role_forbidden",
        DECIDE,
        OPEN,
        open_by_two(**CODE_2),
        TWO,
    ),
    Row(
        "a further code for no merchant",
        "merchant_unknown",
        DECIDE,
        OPEN,
        open_proposal("merchant_code", **(CODE_2 | {"merchant_id": "M-9"})),
    ),
    Row(
        "a further code at no acquirer",
        "acquirer_unknown",
        DECIDE,
        OPEN,
        open_proposal("merchant_code", **(CODE_2 | {"acquirer_id": "none"})),
    ),
    Row(
        "a further code that it has",
        "record_exists",
        DECIDE,
        OPEN,
        open_proposal("merchant_code", **(CODE_2 | {"code": w.CODE})),
    ),
    Row("a further code that is another's", "merchant_code_taken", DECIDE, OPEN, code_of_another),
    Row("a sixteenth code", "ok", DECIDE, OPEN, with_codes(15)),
    Row("a seventeenth code", "record_full", DECIDE, OPEN, with_codes(16)),
    Row("a code at a ninth acquirer", "record_full", DECIDE, OPEN, everywhere),
    Row(
        "code at another bank's acquirer",
        "role_forbidden",
        DECIDE,
        OPEN,
        foreign_proposal("merchant", **w.merchant("M-2", codes=FREE)),
        TWO,
    ),
    Row(
        "acquirer exists",
        "record_exists",
        DECIDE,
        OPEN,
        open_proposal("acquirer", **w.acquirer()),
    ),
    Row(
        "key of no merchant",
        "merchant_unknown",
        DECIDE,
        OPEN,
        open_proposal("merchant_key", merchant_id="M-9", **REVOKE),
    ),
    Row(
        "new key of an acquirer",
        "ok",
        DECIDE,
        OPEN,
        open_proposal("acquirer_key", acquirer_id="unionpay", **ADD),
    ),
    Row(
        "key there already",
        "key_refused",
        DECIDE,
        OPEN,
        open_proposal("acquirer_key", acquirer_id="unionpay", **ADD_AGAIN),
    ),
    Row(
        "revoke an unknown key",
        "key_unknown",
        DECIDE,
        OPEN,
        open_proposal("merchant_key", merchant_id=M, **REVOKE),
    ),
    Row("revoke a key twice", "key_revoked", DECIDE, OPEN, revoked_again),
    Row(
        "another bank's merchant",
        "role_forbidden",
        DECIDE,
        OPEN,
        foreign_proposal("merchant_key", merchant_id=M, **REVOKE),
        TWO,
    ),
    Row(
        "key of no acquirer",
        "acquirer_unknown",
        DECIDE,
        OPEN,
        open_proposal("acquirer_key", acquirer_id="none", **ADD),
    ),
    Row(
        "another bank's acquirer",
        "role_forbidden",
        DECIDE,
        OPEN,
        foreign_proposal("acquirer_status", acquirer_id="unionpay", status="suspended"),
        TWO,
    ),
]
