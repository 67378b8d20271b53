"""To which account a day is settled: contract, auditor and the bank's desk say the same, each by
code of its own, for any history of a merchant's accounts and of relations."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import contract_world as w
import pytest
from contract_world import NETWORK
from test_second_readings import identity

from audit import relations as auditor
from audit.draft import Draft, Refused
from audit.invocation import Invocation
from bank.desk import DeskError
from bank.payees import payee
from chaincode.contract import payees
from chaincode.contract.overlay import Overlay
from clearline import canonical, records
from clearline.codes import Refusal
from clearline.records import Account, Merchant
from clearline.relations import Relation

DAYS = tuple(f"2026-11-{day:02d}" for day in range(10, 20))
ACCOUNTS = tuple(letter * 64 for letter in "abcd")
OWN = "E-2"
CALL = Invocation(1, 0, "t", "", identity(w.MAKER), (), (), 200, b"", None, {})


@dataclass(frozen=True)
class Case:
    """A merchant of E-2, and the ledger around it."""

    merchant: Merchant
    ledger: dict[str, bytes | None]

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        """The desk's ledger."""
        assert function == "GetRecords"
        found = [self.ledger.get(f"{kind}/{name}") for kind, name in json.loads(args[0])]
        return canonical.dumps([None if one is None else json.loads(one) for one in found])

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        raise AssertionError(function)


def made(chance: random.Random) -> Case:
    """Accounts of E-1 and E-2, relations of E-2 to some, terms that were ended or not."""
    ledger: dict[str, bytes | None] = {}
    for account_id in ACCOUNTS:
        owner = chance.choice(("E-1", "E-1", OWN))
        account = Account(account_id, owner, "BKONCNBJ", "0001", "CNY", "BankOne")
        ledger[f"account/{account_id}"] = records.dump(account)
        relation = Relation(account_id, owner, OWN, "BankOne", "active", _terms(chance), ["t"])
        there = owner != OWN and chance.random() < 0.8
        ledger[f"relation/{relation.id}"] = records.dump(relation) if there else None
    days = sorted(chance.sample(DAYS, chance.randint(0, 3)))
    named = [{"account_id": chance.choice(ACCOUNTS), "valid_from": day} for day in days]
    merchant = Merchant(
        "M-2", OWN, chance.choice(ACCOUNTS), "Shop", "5411", [], {}, {}, "active", "BankOne", named
    )
    ledger["merchant/M-2"] = records.dump(merchant)
    return Case(merchant, ledger)


def _terms(chance: random.Random) -> list[dict[str, str]]:
    ends = sorted(chance.sample(DAYS, chance.choice((2, 4))))
    terms = []
    for since, until in zip(ends[::2], ends[1::2], strict=True):
        ended = chance.choice((*DAYS, "", ""))
        last = chance.choice(DAYS) if ended else until
        terms.append({"since": since, "until": last, "ended_on": ended})
    return terms


def said(refusals: type[Refusal] | type[Refused], ask: Callable[..., None], *about: Any) -> str:
    """The code by which it is refused, `ok` for none."""
    try:
        ask(*about)
    except (Refusal, Refused) as refused:
        assert isinstance(refused, refusals)
        return refused.code.value
    return "ok"


def both(case: Case, account_id: str, day: str, then: str) -> dict[str, str]:
    """The contract's answers about this account, which must be the auditor's."""
    there = {key: json.loads(one) for key, one in case.ledger.items() if one is not None}
    draft = Draft(CALL, there, NETWORK)
    about = {"merchant_id": "M-2", "account_id": account_id, "clearing_date": day,
             "value_date": then}  # fmt: skip
    mine = (account_id, case.merchant, day)
    overlay = Overlay(_planned(case, account_id, day))
    whole = Overlay(case.ledger)
    found = {
        "payee": said(Refusal, payees.require_payee, *mine, overlay),
        "still": said(Refusal, payees.require_still, *mine, whole),
        "paid": said(Refusal, payees.require_paid_in_time, *mine, then, whole),
    }
    assert found == {
        "payee": said(Refused, auditor.check_payee, about, draft),
        "still": said(Refused, auditor.check_still, about, draft),
        "paid": said(Refused, auditor.check_paid, about, draft),
    }, (about, there)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_all_three_say_the_same(seed: int) -> None:
    chance = random.Random(seed)
    seen: set[tuple[str, str]] = set()
    for _ in range(60):
        case = made(chance)
        day, then = chance.choice(DAYS), chance.choice(DAYS)
        told = {account_id: both(case, account_id, day, then) for account_id in ACCOUNTS}
        seen |= {pair for found in told.values() for pair in found.items()}
        taken = [account_id for account_id in ACCOUNTS if told[account_id]["payee"] == "ok"]
        try:
            assert [asyncio.run(payee(case, case.merchant, day))] == taken
        except DeskError:
            assert taken == []
    barred = "relation_not_in_force"
    assert seen == {
        *(("payee", "ok"), ("payee", "payee_mismatch"), ("payee", barred)),
        *(("still", "ok"), ("still", barred), ("paid", "ok"), ("paid", barred)),
    }


def _planned(case: Case, account_id: str, day: str) -> dict[str, bytes | None]:
    """What the contract reads for it, in as many rounds as it asks for; nothing else is there."""
    read: dict[str, bytes | None] = {}
    for _ in range(2):
        wanted = payees.touches("M-2", account_id, read, day)
        read |= {key: case.ledger.get(key) for key in wanted}
    assert set(payees.touches("M-2", account_id, read, day)) <= set(read)
    return read


def test_a_merchant_that_is_not_there_has_no_payee() -> None:
    case = made(random.Random(1))
    gone = replace(case, ledger=case.ledger | {"merchant/M-2": None})
    assert set(_planned(gone, ACCOUNTS[0], DAYS[0])) == {"merchant/M-2", f"account/{ACCOUNTS[0]}"}
