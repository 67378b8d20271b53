"""The auditor's model of what an approved proposal does to the register.

All that an approval makes is in the draft only when all its checks have passed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from audit.changes import check_network, moved, read_change, verify_change
from audit.draft import Draft, Record, Refused
from audit.findings import Check
from audit.keys import MOST as MOST_KEYS
from audit.keys import key_record, key_records
from audit.relations import attest, check_use, end_by_bank
from clearline.codes import Code

_MOST_CODES, _MOST_ACQUIRERS = 16, 8


def carry_out(proposal: Record, draft: Draft) -> None:
    """Make what the proposal says. Raises Refused, and then nothing is made."""
    _DONE[proposal["kind"]](proposal["body"], proposal["msp_id"], draft)


def check_signed(kind: str, body: Record, msp: str, draft: Draft) -> None:
    """What only its merchant may ask for is signed by it, for its own bank. Raises Refused."""
    if "change" in body:
        _signed(kind, body, msp, draft)


def registration(body: Record) -> str:
    """One registration is one entity, however its number is spelt."""
    number = "".join(c for c in body["registration_no"] if c not in ".-").upper()
    return f"registration/{body['country']}/{number}"


def _entity(body: Record, msp: str, draft: Draft) -> None:
    key, number = f"entity/{body['entity_id']}", registration(body)
    for one in (key, number):
        _free(one, draft)
    draft.made[key] = _new("entity", body, msp, draft)
    draft.made[number] = {
        "type": "registration",
        "country": body["country"],
        "registration_no": body["registration_no"],
        "entity_id": body["entity_id"],
        "txs": [draft.invocation.tx_id],
    }


def _account(body: Record, msp: str, draft: Draft) -> None:
    key = f"account/{body['account_id']}"
    before = draft.get(key)
    _check_entity(body["entity_id"], draft)
    if before is not None and before["entity_id"] != body["entity_id"]:
        raise Refused(Code.ACCOUNT_TAKEN, Check.OWNERSHIP, f"{key} is another entity's")
    _free(key, draft)
    draft.made[key] = _new("account", body, msp, draft)


def _merchant(body: Record, msp: str, draft: Draft) -> None:
    key = f"merchant/{body['merchant_id']}"
    _free(key, draft)
    _check_entity(body["entity_id"], draft)
    account = draft.get(f"account/{body['account_id']}")
    if account is None:
        raise Refused(Code.ACCOUNT_UNKNOWN, Check.OWNERSHIP, f"{key}: there is no such account")
    check_use(account, body["entity_id"], draft.day, draft)
    indexes: dict[str, Record] = {}
    for acquirer_id in sorted(body["codes"]):
        for code in body["codes"][acquirer_id]:
            one = {"acquirer_id": acquirer_id, "code": code, "merchant_id": body["merchant_id"]}
            indexes |= _own_code(one, msp, draft)
    record = _new("merchant", body, msp, draft)
    own = {"keys": key_records(body["keys"]), "accounts": [], "status": "active"}
    draft.made |= indexes | {key: record | own}


def _merchant_code(body: Record, msp: str, draft: Draft) -> None:
    """A further code, of the bank `msp`, for a merchant that any bank registered."""
    key, acquirer_id = f"merchant/{body['merchant_id']}", body["acquirer_id"]
    before = draft.get(key)
    if before is None:
        raise Refused(Code.MERCHANT_UNKNOWN, Check.RECORD, f"{key} is not registered")
    index = _own_code(body, msp, draft)
    codes = before["codes"] | {acquirer_id: [*before["codes"].get(acquirer_id, ()), body["code"]]}
    if len(codes) > _MOST_ACQUIRERS or len(codes[acquirer_id]) > _MOST_CODES:
        raise Refused(Code.RECORD_FULL, Check.RECORD, f"{key} has as many codes as it may")
    draft.made |= index | {key: draft.touched(before, codes=codes)}


def _acquirer(body: Record, msp: str, draft: Draft) -> None:
    key = f"acquirer/{body['acquirer_id']}"
    _free(key, draft)
    record = _new("acquirer", body, msp, draft)
    draft.made[key] = record | {"keys": key_records(body["keys"]), "status": "active"}


def _merchant_key(body: Record, msp: str, draft: Draft) -> None:
    """The merchant's signature adds a key, for a day to come; its bank revokes one, now."""
    if body["action"] == "revoke":
        key, before = _own("merchant", body, msp, draft)
        keys = _revoked(key, before["keys"], body["key_id"])
    else:
        key, before, said = _signed("merchant_key", body, msp, draft)
        keys = _with_key(key, before["keys"], said["jwk"], said["from"])
    draft.made[key] = draft.touched(before, keys=keys)


def _merchant_account(body: Record, msp: str, draft: Draft) -> None:
    key, before, said = _signed("merchant_account", body, msp, draft)
    draft.made[key] = draft.touched(before, accounts=moved(before, said, draft))


def _acquirer_key(body: Record, msp: str, draft: Draft) -> None:
    key, before = _own("acquirer", body, msp, draft)
    if body["action"] == "revoke":
        keys = _revoked(key, before["keys"], body["key_id"])
    else:
        keys = _with_key(key, before["keys"], body["jwk"], "")
    draft.made[key] = draft.touched(before, keys=keys)


def _relation(body: Record, msp: str, draft: Draft) -> None:
    """Attested only: the supervisor makes the record."""
    attest(body, msp, draft)


def _status(kind: str) -> Callable[[Record, str, Draft], None]:
    def change(body: Record, msp: str, draft: Draft) -> None:
        key, before = _own(kind, body, msp, draft)
        draft.made[key] = draft.touched(before, status=body["status"])

    return change


_DONE: Final[dict[str, Callable[[Record, str, Draft], None]]] = {
    "entity": _entity,
    "account": _account,
    "merchant": _merchant,
    "acquirer": _acquirer,
    "merchant_code": _merchant_code,
    "merchant_key": _merchant_key,
    "merchant_account": _merchant_account,
    "acquirer_key": _acquirer_key,
    "merchant_status": _status("merchant"),
    "acquirer_status": _status("acquirer"),
    "relation": _relation,
    "relation_end": end_by_bank,
}


def _revoked(owner: str, keys: Record, key_id: str) -> Record:
    """Keys are revoked once, and never deleted."""
    there = keys.get(key_id)
    if there is None:
        raise Refused(Code.KEY_UNKNOWN, Check.KEY, f"{owner} has no such key to revoke")
    if there["status"] != "active":
        raise Refused(Code.KEY_REVOKED, Check.KEY, f"{owner}: the key is revoked already")
    return keys | {key_id: there | {"status": "revoked"}}


def _with_key(owner: str, keys: Record, jwk: Record, valid_from: str) -> Record:
    """A key is added once, for good; it counts from this day on (empty: from the first)."""
    key_id, added = key_record(jwk)
    if key_id in keys:
        raise Refused(Code.KEY_REFUSED, Check.KEY, f"{owner} has the key already")
    if len(keys) >= MOST_KEYS:
        raise Refused(Code.KEY_REFUSED, Check.KEY, f"{owner} has as many keys as it may")
    return keys | {key_id: added | {"valid_from": valid_from}}


def _signed(kind: str, body: Record, msp: str, draft: Draft) -> tuple[str, Record, Record]:
    """The merchant's ledger key and record, and the change it signed. Raises Refused."""
    token = read_change(kind, body)
    check_network(token.payload, draft.network)
    key, merchant = _own("merchant", body, msp, draft)
    verify_change(token, merchant, draft.invocation.time)
    return key, merchant, token.payload


def _own(kind: str, body: Record, msp: str, draft: Draft) -> tuple[str, Record]:
    """The record to be changed, which must be the proposing bank's."""
    key = f"{kind}/{body[f'{kind}_id']}"
    before = draft.get(key)
    if before is None:
        unknown = Code.MERCHANT_UNKNOWN if kind == "merchant" else Code.ACQUIRER_UNKNOWN
        raise Refused(unknown, Check.RECORD, f"{key} is changed but not registered")
    if before["msp_id"] != msp:
        raise Refused(
            Code.ROLE_FORBIDDEN, Check.OWNERSHIP, f"{key} is {before['msp_id']}'s, not {msp}'s"
        )
    return key, before


def _own_code(body: Record, msp: str, draft: Draft) -> dict[str, Record]:
    """The index record of a merchant's new code, given by the bank whose acquirer it is at."""
    owner = f"merchant_code/{body['acquirer_id']}/{body['code']}"
    acquirer, taken = draft.get(f"acquirer/{body['acquirer_id']}"), draft.get(owner)
    if acquirer is None:
        raise Refused(Code.ACQUIRER_UNKNOWN, Check.OWNERSHIP, f"{owner}: there is no such acquirer")
    if acquirer["msp_id"] != msp:
        raise Refused(Code.ROLE_FORBIDDEN, Check.OWNERSHIP, f"{owner}: the acquirer is not {msp}'s")
    if taken is not None:
        same = taken["merchant_id"] == body["merchant_id"]
        code = Code.RECORD_EXISTS if same else Code.MERCHANT_CODE_TAKEN
        raise Refused(code, Check.OWNERSHIP, f"{owner} is {taken['merchant_id']}'s already")
    return {owner: {**body, "type": "merchant_code", "txs": [draft.invocation.tx_id]}}


def _new(kind: str, body: Record, msp: str, draft: Draft) -> Record:
    return {**body, "type": kind, "msp_id": msp, "txs": [draft.invocation.tx_id]}


def _check_entity(entity_id: str, draft: Draft) -> None:
    if draft.get(f"entity/{entity_id}") is None:
        raise Refused(Code.ENTITY_UNKNOWN, Check.OWNERSHIP, f"{entity_id} is no entity")


def _free(key: str, draft: Draft) -> None:
    if draft.get(key) is not None:
        raise Refused(Code.RECORD_EXISTS, Check.OWNERSHIP, f"{key} is registered already")
