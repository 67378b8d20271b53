"""To which of a merchant's accounts a clearing date may be settled.

An account is its owner's. A merchant of another entity may use it on a day on which a relation
between the two is in force (chaincode/contract/relations.py). The payee of a clearing date is the
merchant's account of that day; while no relation lets its entity use that one, it is the next one
the merchant named that it may use. So what a relation's end holds back goes to no other account
than one the merchant signed for, and goes there without anybody's leave.
"""

from __future__ import annotations

from collections.abc import Mapping

from chaincode.contract.overlay import Overlay
from clearline.codes import Code, Refusal
from clearline.records import Account, Kind, Merchant, record_key
from clearline.relations import Relation, relation_key


def touches(
    merchant_id: str, account_id: str, committed: Mapping[str, bytes | None], day: str = ""
) -> list[str]:
    """The keys by which it is judged whether this merchant may use this account: merchant and
    account; once these are read, the relation, unless the account is the merchant's entity's own.

    With a clearing date, whether it is the payee: the same of each account that comes before it.
    """
    merchant_key, account_key = _merchant_key(merchant_id), _account_key(account_id)
    keys = [merchant_key, account_key]
    if not all(key in committed for key in keys):
        return keys
    overlay = Overlay(committed)
    merchant, account = overlay.get(Merchant, merchant_key), overlay.get(Account, account_key)
    if merchant is None:
        return keys
    first = _up_to(account_id, merchant.accounts_from(day)) if day else [account_id]
    own = account is not None and account.entity_id == merchant.entity_id
    if own and first == [account_id]:
        return keys
    for one in first:
        keys += [_account_key(one), relation_key(one, merchant.entity_id)]
    return keys


def require_usable(account: Account, entity_id: str, day: str, overlay: Overlay) -> None:
    """Raise Refusal unless merchants of this entity may use the account on this day."""
    if account.entity_id == entity_id:
        return
    relation = overlay.get(Relation, relation_key(account.account_id, entity_id))
    if relation is None:
        raise Refusal(Code.ACCOUNT_UNKNOWN, f"no such account of entity {entity_id}")
    if not relation.covers(day):
        raise Refusal(Code.RELATION_NOT_IN_FORCE, f"the account is another entity's on {day}")


def require_payee(account_id: str, merchant: Merchant, day: str, overlay: Overlay) -> None:
    """Raise Refusal unless this account is the payee of the merchant's on this clearing date."""
    first = _up_to(account_id, merchant.accounts_from(day))
    if not first:
        raise Refusal(Code.PAYEE_MISMATCH, "the merchant's account of that day is another")
    if any(_usable(one, merchant, day, overlay) for one in first[:-1]):
        raise Refusal(Code.PAYEE_MISMATCH, "the merchant's account of that day is another")
    require_still(account_id, merchant, day, overlay)


def require_still(account_id: str, merchant: Merchant, day: str, overlay: Overlay) -> None:
    """Raise Refusal unless the merchant may still use this payee of a clearing date."""
    if not _usable(account_id, merchant, day, overlay):
        raise Refusal(Code.RELATION_NOT_IN_FORCE, f"the payee is another entity's on {day}")


def require_paid_in_time(
    account_id: str, merchant: Merchant, day: str, value_date: str, overlay: Overlay
) -> None:
    """Raise Refusal unless the payee of a stated settlement could be paid on its value date: it
    may still be used for that clearing date, or nobody had ended the relation by then."""
    if _owns(merchant, account_id, overlay):
        return
    relation = overlay.get(Relation, relation_key(account_id, merchant.entity_id))
    if relation is None or not relation.covered(day, value_date):
        raise Refusal(
            Code.RELATION_NOT_IN_FORCE, f"on {value_date} the payee was another entity's again"
        )


def _usable(account_id: str, merchant: Merchant, day: str, overlay: Overlay) -> bool:
    if _owns(merchant, account_id, overlay):
        return True
    relation = overlay.get(Relation, relation_key(account_id, merchant.entity_id))
    return relation is not None and relation.covers(day)


def _owns(merchant: Merchant, account_id: str, overlay: Overlay) -> bool:
    account = overlay.get(Account, _account_key(account_id))
    return account is not None and account.entity_id == merchant.entity_id


def _up_to(account_id: str, named: list[str]) -> list[str]:
    """The accounts before this one, and it; none when it is not among them."""
    return named[: named.index(account_id) + 1] if account_id in named else []


def _merchant_key(merchant_id: str) -> str:
    return record_key(Kind.MERCHANT, merchant_id)


def _account_key(account_id: str) -> str:
    return record_key(Kind.ACCOUNT, account_id)
