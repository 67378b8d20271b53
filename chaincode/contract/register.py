"""What an approved proposal does to the register: entities, accounts, merchants, acquirers, keys.

    entity            no entity of this id, none of this registration      record_exists
    account           its entity is registered                             entity_unknown
                      the account is no other entity's / not this one's    account_taken / record_exists
    merchant          no merchant of this id                               record_exists
                      its entity is registered                             entity_unknown
                      its account is registered and that entity's          account_unknown
                      ... or a relation lets it use it today       relation_not_in_force
                      each acquirer it has codes at is registered          acquirer_unknown
                      ... and the proposing organisation's                 role_forbidden
                      each code is no other merchant's there               merchant_code_taken
    merchant_code     the merchant is registered                           merchant_unknown
                      the acquirer is registered                           acquirer_unknown
                      ... and the proposing organisation's                 role_forbidden
                      the code is no other merchant's / not this one's     merchant_code_taken / record_exists
                      16 codes at most there, at 8 acquirers               record_full
    merchant_account  the merchant signed it               chaincode/contract/changes.py
                      the account is registered, its entity's, as signed   account_unknown
                      ... or a relation lets it use it that day    relation_not_in_force
                      it is another than the last                          record_exists
                      signed later, and for no earlier day, than the last  change_too_late
                      32 changes at most                                   record_full
    acquirer          no acquirer of this id                               record_exists
    merchant_key,     the record is there           merchant_unknown, acquirer_unknown
    acquirer_key,     ... and the proposing organisation's                 role_forbidden
    ..._status        add to a merchant: it signed it      chaincode/contract/changes.py
                      add: a new key, its id the key's thumbprint          key_refused
                      revoke: a key of the record / not revoked yet        key_unknown / key_revoked

Nothing is written unless all of a proposal's checks pass. A key is revoked, never deleted; a
revoked one can't be added again. To revoke needs no signature of the merchant: it stops payments,
and makes none. Relations have a table of their own: chaincode/contract/relations.py.
"""  # noqa: E501

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from chaincode.contract import changes, payees, signers
from chaincode.contract.context import Transaction
from chaincode.contract.overlay import Overlay
from clearline import jws
from clearline.changes import AccountChange, KeyChange, MerchantChange
from clearline.codes import Code, Refusal
from clearline.jws import JwsError
from clearline.records import (
    Account,
    Acquirer,
    Entity,
    KeyRecord,
    Kind,
    Merchant,
    MerchantCode,
    Registration,
    merchant_code_key,
    record_key,
    registration_key,
    touched,
)
from clearline.relations import relation_key

# A proposal's body: a JSON object of the kind's closed schema (clearline/records.py, PROPOSALS).
Body: TypeAlias = dict[str, Any]
ACTIVE, REVOKED = "active", "revoked"
# What brings the key that a change of this kind adds: the merchant's signed text, or the key.
_ADDED = {"merchant_key": "change", "acquirer_key": "jwk"}
MAX_KEYS = 32  # revoked ones included, so that a record stays small
# As many as a merchant can be registered with (clearline/proposals.py).
MAX_CODES, MAX_ACQUIRERS = 16, 8
MAX_ACCOUNTS = 32  # changes of account, so that a record stays small


@dataclass(frozen=True, slots=True)
class Change:
    """A proposal that is made or approved: its kind, body, the organisation whose maker proposed
    it, and the transaction that does."""

    kind: str
    body: Body
    msp_id: str
    at: Transaction


def check_form(kind: str, body: Body) -> None:
    """What can be said of a body without the ledger; raises Refusal."""
    if kind in ("merchant", "acquirer"):
        _key_records(body["keys"])
    if kind in _ADDED:
        name = _ADDED[kind]
        if (body["action"] == "add") != (name in body):
            raise Refusal(
                Code.MALFORMED, f"/body/{name}: goes with the action add, and only with it"
            )
        if "jwk" in body and _key_record(body["jwk"])[0] != body["key_id"]:
            raise Refusal(Code.KEY_REFUSED, "/body/key_id: is not the key's RFC 7638 thumbprint")
    if "change" in body:
        changes.parse(kind, body)
    for acquirer_id, codes in body.get("codes", {}).items():
        if len(frozenset(codes)) != len(codes):
            raise Refusal(Code.MALFORMED, f"/body/codes/{acquirer_id}: names a code twice")


def touches_signed(body: Body) -> list[str]:
    """The keys that proposing this reads, to hold what its merchant signed against the record."""
    return [record_key(Kind.MERCHANT, body["merchant_id"])] if "change" in body else []


def check_signed(change: Change, overlay: Overlay) -> None:
    """That the merchant signed what only it may ask for; raises Refusal."""
    if "change" in change.body:
        _signed(change, overlay)


def touches(kind: str, body: Body) -> list[str]:
    """The keys that approving this proposal reads; it writes no others."""
    named = (
        (Kind.ENTITY, "entity_id"),
        (Kind.ACCOUNT, "account_id"),
        (Kind.MERCHANT, "merchant_id"),
        (Kind.ACQUIRER, "acquirer_id"),
    )
    keys = [record_key(of, body[name]) for of, name in named if name in body]
    if kind == "entity":
        keys.append(registration_key(body["country"], body["registration_no"]))
    if kind == "merchant_code":
        keys.append(merchant_code_key(body["acquirer_id"], body["code"]))
    if kind == "merchant":
        keys.append(relation_key(body["account_id"], body["entity_id"]))
        for acquirer_id, codes in sorted(body["codes"].items()):
            keys.append(record_key(Kind.ACQUIRER, acquirer_id))
            keys += [merchant_code_key(acquirer_id, code) for code in codes]
    return keys


def apply(change: Change, overlay: Overlay) -> None:
    """Write what the proposal asks for; raises Refusal, and then nothing is written."""
    _APPLY[change.kind](change, overlay)


def _entity(change: Change, overlay: Overlay) -> None:
    entity = Entity(msp_id=change.msp_id, txs=[change.at.tx_id], **change.body)
    key = record_key(Kind.ENTITY, entity.entity_id)
    if overlay.get(Entity, key) is not None:
        raise Refusal(Code.RECORD_EXISTS, f"entity {entity.entity_id} exists")
    # One legal entity under two ids could hold what one may not.
    number = registration_key(entity.country, entity.registration_no)
    registered = overlay.get(Registration, number)
    if registered is not None:
        raise Refusal(Code.RECORD_EXISTS, f"the registration is entity {registered.entity_id}'s")
    overlay.put(key, entity)
    overlay.put(
        number,
        Registration(entity.country, entity.registration_no, entity.entity_id, [change.at.tx_id]),
    )


def _account(change: Change, overlay: Overlay) -> None:
    account = Account(msp_id=change.msp_id, txs=[change.at.tx_id], **change.body)
    if overlay.get(Entity, record_key(Kind.ENTITY, account.entity_id)) is None:
        raise Refusal(Code.ENTITY_UNKNOWN, f"no entity {account.entity_id}")
    key = record_key(Kind.ACCOUNT, account.account_id)
    before = overlay.get(Account, key)
    if before is not None and before.entity_id != account.entity_id:
        raise Refusal(Code.ACCOUNT_TAKEN, "the account is another entity's")
    if before is not None:
        raise Refusal(Code.RECORD_EXISTS, "the account is registered")
    overlay.put(key, account)


def _merchant(change: Change, overlay: Overlay) -> None:
    body = {name: value for name, value in change.body.items() if name != "keys"}
    merchant = Merchant(
        keys=_key_records(change.body["keys"]),
        status=ACTIVE,
        msp_id=change.msp_id,
        txs=[change.at.tx_id],
        **body,
    )
    key = record_key(Kind.MERCHANT, merchant.merchant_id)
    if overlay.get(Merchant, key) is not None:
        raise Refusal(Code.RECORD_EXISTS, f"merchant {merchant.merchant_id} exists")
    if overlay.get(Entity, record_key(Kind.ENTITY, merchant.entity_id)) is None:
        raise Refusal(Code.ENTITY_UNKNOWN, f"no entity {merchant.entity_id}")
    account = overlay.get(Account, record_key(Kind.ACCOUNT, merchant.account_id))
    if account is None:
        raise Refusal(Code.ACCOUNT_UNKNOWN, f"no such account of entity {merchant.entity_id}")
    payees.require_usable(account, merchant.entity_id, change.at.day, overlay)
    indexes = [
        MerchantCode(acquirer_id, code, merchant.merchant_id, [change.at.tx_id])
        for acquirer_id, codes in sorted(merchant.codes.items())
        for code in codes
    ]
    for index in indexes:
        _free_code(index, change.msp_id, overlay)
    overlay.put(key, merchant)
    for index in indexes:
        overlay.put(merchant_code_key(index.acquirer_id, index.code), index)


def _merchant_code(change: Change, overlay: Overlay) -> None:
    """A further code, by the bank whose acquirer gave it: it need not be the merchant's bank."""
    index = MerchantCode(txs=[change.at.tx_id], **change.body)
    key = record_key(Kind.MERCHANT, index.merchant_id)
    merchant = overlay.get(Merchant, key)
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, "no such merchant")
    _free_code(index, change.msp_id, overlay)
    there = merchant.codes.get(index.acquirer_id, [])
    if len(there) >= MAX_CODES:
        raise Refusal(Code.RECORD_FULL, f"a merchant has at most {MAX_CODES} codes there")
    if not there and len(merchant.codes) >= MAX_ACQUIRERS:
        raise Refusal(Code.RECORD_FULL, f"a merchant has codes at most at {MAX_ACQUIRERS}")
    codes = merchant.codes | {index.acquirer_id: [*there, index.code]}
    overlay.put(key, touched(replace(merchant, codes=codes), change.at.tx_id))
    overlay.put(merchant_code_key(index.acquirer_id, index.code), index)


def _free_code(index: MerchantCode, msp_id: str, overlay: Overlay) -> None:
    acquirer = overlay.get(Acquirer, record_key(Kind.ACQUIRER, index.acquirer_id))
    if acquirer is None:
        raise Refusal(Code.ACQUIRER_UNKNOWN, f"no acquirer {index.acquirer_id}")
    # Only the bank that runs the acquirer knows whose its codes are.
    if acquirer.msp_id != msp_id:
        raise Refusal(Code.ROLE_FORBIDDEN, f"acquirer {index.acquirer_id} is another bank's")
    taken = overlay.get(MerchantCode, merchant_code_key(index.acquirer_id, index.code))
    if taken is not None and taken.merchant_id == index.merchant_id:
        raise Refusal(Code.RECORD_EXISTS, f"code {index.code} is this merchant's already")
    if taken is not None:
        raise Refusal(
            Code.MERCHANT_CODE_TAKEN,
            f"code {index.code} at {index.acquirer_id} is another merchant's",
        )


def _acquirer(change: Change, overlay: Overlay) -> None:
    body = {name: value for name, value in change.body.items() if name != "keys"}
    acquirer = Acquirer(
        keys=_key_records(change.body["keys"]),
        status=ACTIVE,
        msp_id=change.msp_id,
        txs=[change.at.tx_id],
        **body,
    )
    key = record_key(Kind.ACQUIRER, acquirer.acquirer_id)
    if overlay.get(Acquirer, key) is not None:
        raise Refusal(Code.RECORD_EXISTS, f"acquirer {acquirer.acquirer_id} exists")
    overlay.put(key, acquirer)


def _merchant_key(change: Change, overlay: Overlay) -> None:
    """The merchant's signature adds a key, for a day to come; its bank revokes one, now."""
    key_id = change.body["key_id"]
    if change.body["action"] == "add":
        key, merchant, wanted = _signed(change, overlay)
        assert isinstance(wanted, KeyChange)  # noqa: S101 - the form has just said so
        added = replace(_key_record(wanted.jwk)[1], valid_from=wanted.valid_from)
        keys = _with_key(merchant.keys, key_id, added)
    else:
        key, merchant = _own_merchant(change, overlay)
        keys = _revoked(merchant.keys, key_id)
    overlay.put(key, touched(replace(merchant, keys=keys), change.at.tx_id))


def _merchant_account(change: Change, overlay: Overlay) -> None:
    key, merchant, wanted = _signed(change, overlay)
    assert isinstance(wanted, AccountChange)  # noqa: S101 - the form has just said so
    account = overlay.get(Account, record_key(Kind.ACCOUNT, wanted.account_id))
    said = (wanted.bank_code, wanted.last4)
    if account is None or (account.bank_code, account.last4) != said:
        raise Refusal(Code.ACCOUNT_UNKNOWN, f"no such account of entity {merchant.entity_id}")
    payees.require_usable(account, merchant.entity_id, wanted.valid_from, overlay)
    last = merchant.accounts[-1] if merchant.accounts else {"account_id": merchant.account_id}
    if last["account_id"] == wanted.account_id:
        raise Refusal(Code.RECORD_EXISTS, "it is the merchant's account already")
    later = wanted.created > last.get("signed_at", "")
    if not later or wanted.valid_from < last.get("valid_from", ""):
        raise Refusal(Code.CHANGE_TOO_LATE, "a change signed later, or for a later day, was taken")
    if len(merchant.accounts) >= MAX_ACCOUNTS:
        raise Refusal(Code.RECORD_FULL, f"a record holds at most {MAX_ACCOUNTS} changes of account")
    entry = {
        "account_id": wanted.account_id,
        "valid_from": wanted.valid_from,
        "signed_at": wanted.created,
        "tx_id": change.at.tx_id,
    }
    changed = replace(merchant, accounts=[*merchant.accounts, entry])
    overlay.put(key, touched(changed, change.at.tx_id))


def _acquirer_key(change: Change, overlay: Overlay) -> None:
    key, acquirer = _own_acquirer(change, overlay)
    body = change.body
    if body["action"] == "add":
        keys = _with_key(acquirer.keys, *_key_record(body["jwk"]))
    else:
        keys = _revoked(acquirer.keys, body["key_id"])
    overlay.put(key, touched(replace(acquirer, keys=keys), change.at.tx_id))


def _merchant_status(change: Change, overlay: Overlay) -> None:
    key, merchant = _own_merchant(change, overlay)
    overlay.put(key, touched(replace(merchant, status=change.body["status"]), change.at.tx_id))


def _acquirer_status(change: Change, overlay: Overlay) -> None:
    key, acquirer = _own_acquirer(change, overlay)
    overlay.put(key, touched(replace(acquirer, status=change.body["status"]), change.at.tx_id))


_APPLY: dict[str, Callable[[Change, Overlay], None]] = {
    "entity": _entity,
    "account": _account,
    "merchant": _merchant,
    "acquirer": _acquirer,
    "merchant_code": _merchant_code,
    "merchant_key": _merchant_key,
    "merchant_account": _merchant_account,
    "acquirer_key": _acquirer_key,
    "merchant_status": _merchant_status,
    "acquirer_status": _acquirer_status,
}


def _own_merchant(change: Change, overlay: Overlay) -> tuple[str, Merchant]:
    key = record_key(Kind.MERCHANT, change.body["merchant_id"])
    merchant = overlay.get(Merchant, key)
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, "no such merchant")
    if merchant.msp_id != change.msp_id:
        raise Refusal(Code.ROLE_FORBIDDEN, f"the merchant is {merchant.msp_id}'s")
    return key, merchant


def _signed(change: Change, overlay: Overlay) -> tuple[str, Merchant, MerchantChange]:
    """The merchant's ledger key and record, and what it signed; raises Refusal."""
    signed = changes.parse(change.kind, change.body)
    changes.check_network(signed, change.at)
    key, merchant = _own_merchant(change, overlay)
    changes.verify(signed, merchant, change.at)
    return key, merchant, signed.change


def _own_acquirer(change: Change, overlay: Overlay) -> tuple[str, Acquirer]:
    acquirer_id = change.body["acquirer_id"]
    acquirer = signers.acquirer_owned_by(change.msp_id, acquirer_id, overlay)
    return record_key(Kind.ACQUIRER, acquirer_id), acquirer


def _with_key(keys: dict[str, KeyRecord], key_id: str, added: KeyRecord) -> dict[str, KeyRecord]:
    before = keys.get(key_id)
    if before is not None:
        raise Refusal(Code.KEY_REFUSED, f"the key is registered and {before.status}")
    if len(keys) >= MAX_KEYS:
        raise Refusal(Code.KEY_REFUSED, f"a record holds at most {MAX_KEYS} keys")
    return keys | {key_id: added}


def _revoked(keys: dict[str, KeyRecord], key_id: str) -> dict[str, KeyRecord]:
    before = keys.get(key_id)
    if before is None:
        raise Refusal(Code.KEY_UNKNOWN, "the record has no such key")
    if before.status != ACTIVE:
        raise Refusal(Code.KEY_REVOKED, "the key is revoked already")
    return keys | {key_id: replace(before, status=REVOKED)}


def _key_records(keys: list[dict[str, str]]) -> dict[str, KeyRecord]:
    found = dict(_key_record(jwk) for jwk in keys)
    if len(found) != len(keys):
        raise Refusal(Code.KEY_REFUSED, "/body/keys: names a key twice")
    return found


def _key_record(jwk: dict[str, str]) -> tuple[str, KeyRecord]:
    try:
        algorithm = jws.algorithm_of(jwk)
        jws.public_key(jwk, algorithm)
        return jws.thumbprint(jwk), KeyRecord(algorithm.value, jwk, ACTIVE)
    except JwsError as error:
        raise Refusal(Code.KEY_REFUSED, str(error)) from None
