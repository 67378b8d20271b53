"""To which account the desk settles a merchant's clearing date: as the contract will hold it.

The merchant's account of that day; if that is another entity's and no relation is in force on that
day, the next one the merchant named that it may use.
"""

from __future__ import annotations

from bank import desk
from bank.desk import DeskError
from bank.patience import Ledger
from clearline.codes import Code
from clearline.records import Account, Kind, Merchant, from_json
from clearline.relations import Relation, relation_id


async def payee(ledger: Ledger, merchant: Merchant, day: str) -> str:
    """The account's id. Raises FabricError; DeskError `relation_not_in_force` when what the day
    came to must wait for the merchant to name an account of its own."""
    for account_id in merchant.accounts_from(day):
        if await _usable(ledger, merchant, account_id, day):
            return account_id
    raise DeskError(
        f"{Code.RELATION_NOT_IN_FORCE}: {merchant.merchant_id} may use no account it named for"
        f" {day}; it waits until {merchant.merchant_id} signs a change to one of its own entity's"
        " (clearline merchant change), or its relation has a further term"
    )


async def _usable(ledger: Ledger, merchant: Merchant, account_id: str, day: str) -> bool:
    found = await desk.record(ledger, Kind.ACCOUNT.value, account_id, desk.AT_ONCE)
    if found is None:
        return False
    try:
        if from_json(Account, found).entity_id == merchant.entity_id:
            return True
        name = relation_id(account_id, merchant.entity_id)
        found = await desk.record(ledger, Kind.RELATION.value, name, desk.AT_ONCE)
        return found is not None and from_json(Relation, found).covers(day)
    except ValueError as error:
        raise DeskError(f"the ledger answered {error}") from None
