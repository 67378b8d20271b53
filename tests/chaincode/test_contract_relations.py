"""Lists about relations: two of one thing in one list, what the record keeps, who can't undo it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import contract_world as w
from contract_world import CHECKER, MAKER, NOW, Ledger, approved, intent_item, proposal, verdict
from rule_rows import DECIDE, MAKE
from rules_of_clearing import CLEAR, FILING, NEXT, NOTHING, PART, RULE, item, ruling
from rules_of_relations import (
    END,
    FOURTH,
    LAST,
    NAME,
    OF_TWO,
    SIGN,
    SIGNED,
    THIRD,
    TODAY,
    TOMORROW,
    attested,
    ended,
    ending,
    merchant_of_two,
    moved_on,
    paid,
    proposed_then,
    related,
    relation,
    sharing,
    stated_then,
    to_two,
)

from clearline import records
from clearline.clearing_schema import Paid
from clearline.records import Merchant
from clearline.relations import Relation

DAY = timedelta(days=1)


def of(ledger: Ledger) -> Relation:
    return records.load(Relation, ledger.state[f"relation/{OF_TWO}"])


def test_a_relation_is_three_persons_word_and_names_its_transactions() -> None:
    ledger = attested()()
    assert f"relation/{OF_TWO}" not in ledger.state
    assert ledger.codes(SIGN, [SIGNED]) == ["ok"]
    made = f"tx{ledger.height}"
    assert of(ledger) == Relation(
        account_id=w.ACCOUNT,
        owner_id="E-1",
        entity_id="E-2",
        msp_id="BankOne",
        status="active",
        terms=[
            {
                "relationship": "franchisor", "since": TOMORROW, "until": LAST,
                "document_digest": "d" * 64, "licence_no": "", "tx_id": made,
                "ended_on": "", "ended_by": "", "ended_tx": "",
            }
        ],
        txs=[made],
    )  # fmt: skip
    assert [of(ledger).covers(day) for day in (TODAY, TOMORROW, LAST, "2027-01-01")] == [
        False, True, True, False,
    ]  # fmt: skip


def test_two_relations_of_the_same_days_in_one_list() -> None:
    ledger = attested()()
    assert approved(ledger, proposal("again", "relation", **relation(until=FOURTH))) == ["ok"]
    both = [verdict("again"), SIGNED, SIGNED, verdict("again")]
    assert ledger.codes(SIGN, both) == ["ok", "record_exists", "record_exists", "duplicate"]
    assert [term["until"] for term in of(ledger).terms] == [FOURTH]


def test_terms_follow_each_other_in_one_list_and_the_last_may_come_first() -> None:
    ledger = attested()()
    later = relation(since="2027-01-01", until="2027-12-31", relationship="parent")
    assert approved(ledger, proposal("later", "relation", **later)) == ["ok"]
    assert ledger.copy().codes(SIGN, [SIGNED, verdict("later")]) == ["ok", "ok"]
    assert ledger.codes(SIGN, [verdict("later"), SIGNED]) == ["ok", "record_exists"]


def test_two_ends_in_one_list() -> None:
    ledger = related()()
    wanted = [ending(FOURTH), ending(LAST), ending(THIRD), ending(THIRD), ending(FOURTH)]
    assert ledger.codes(END, wanted) == [
        "ok", "relation_not_in_force", "ok", "duplicate", "relation_not_in_force",
    ]  # fmt: skip
    (term,) = of(ledger).terms
    assert (term["until"], term["ended_on"], term["ended_by"]) == (THIRD, TODAY, "Supervisor")
    assert of(ledger).status == "ended"


def test_an_end_before_its_first_day_leaves_no_day() -> None:
    ledger = ended("2026-01-01")()
    assert not any(of(ledger).covers(day) for day in ("2026-01-01", TODAY, TOMORROW, LAST))


def test_a_bank_gives_back_nothing_that_the_supervisor_ended() -> None:
    ledger = ended(TODAY)()
    longer = proposal("longer", "relation_end", **ending(LAST))
    assert approved(ledger, longer) == ["relation_not_in_force"]
    assert approved(ledger, proposal("anew", "relation", **relation())) == ["ok"]
    assert not of(ledger).covers(TOMORROW)
    assert ledger.codes(SIGN, [verdict("anew")]) == ["ok"]
    assert (of(ledger).covers(TOMORROW), of(ledger).status) == (True, "active")
    assert [term["ended_by"] for term in of(ledger).terms] == ["Supervisor", ""]


def test_an_end_and_who_would_use_it_in_one_list() -> None:
    """In either order: what follows sees what was decided before it."""
    moves = proposal("moves", "merchant_account", **w.account_body(w.ACCOUNT, valid_from=FOURTH))
    ends = proposal("ends", "relation_end", **ending(THIRD))
    for order, codes in (
        ([ends, moves], ["ok", "relation_not_in_force"]),
        ([moves, ends], ["ok", "ok"]),
    ):
        ledger = merchant_of_two()
        assert approved(ledger, *order) == codes
    moved = records.load(Merchant, ledger.state["merchant/M-0001"])
    assert [one["account_id"] for one in moved.accounts] == [w.ACCOUNT]


def test_owner_and_user_of_one_account_in_one_list() -> None:
    """A third entity's claim to the account, and a merchant of an entity that is in no relation."""
    ledger = related()()
    wanted = (
        proposal("e3", "entity", **w.entity("E-3")),
        proposal("a3", "account", **w.account(w.ACCOUNT, "E-3")),
        proposal("m3", "merchant", **w.merchant("M-3", entity_id="E-3")),
        proposal("m2", "merchant", **w.merchant("M-2", entity_id="E-2")),
    )
    assert ledger.codes(MAKE, wanted) == ["ok"] * 4
    verdicts = [verdict(one["proposal_id"]) for one in wanted]
    answers = ledger.codes(DECIDE, verdicts, at=NOW + DAY)
    assert answers == ["ok", "account_taken", "account_unknown", "ok"]


def test_an_account_registered_and_named_in_one_list_reads_what_it_must() -> None:
    ledger = merchant_of_two()
    body = w.account_body("c" * 64)
    wanted = (
        proposal("c1", "account", **w.account("c" * 64, "E-1")),  # the other entity's
        proposal("c2", "merchant_account", **body),
    )
    assert approved(ledger, *wanted) == ["ok", "account_unknown"]


def test_the_merchant_goes_on_being_paid_for_when_its_relation_has_ended() -> None:
    """The end stops where the money goes to, not the merchant: nothing is lost, it waits."""
    ledger = ended(TODAY, sharing)()
    assert ledger.codes("SubmitIntents", [intent_item(order_no="later")]) == ["ok"]
    assert ledger.codes(CLEAR, [to_two()]) == ["relation_not_in_force"]
    assert ledger.codes(CLEAR, [to_two(account_id=w.OTHER_ACCOUNT)]) == ["payee_mismatch"]
    moved_on(ledger)
    assert ledger.codes(CLEAR, [to_two()]) == ["relation_not_in_force"]
    assert ledger.codes(CLEAR, [to_two(account_id=w.OTHER_ACCOUNT)]) == ["ok"]
    assert ledger.codes(RULE, [ruling(settlement=NAME)]) == ["ok"]


def test_what_waits_for_the_checker_when_it_ends_is_settled_anew() -> None:
    ledger = proposed_then(TODAY)()
    assert ledger.codes(RULE, [ruling(settlement=NAME)]) == ["relation_not_in_force"]
    assert ledger.codes(RULE, [ruling("reject", NAME)]) == ["ok"]
    moved_on(ledger)
    anew = to_two(run=2, account_id=w.OTHER_ACCOUNT)
    assert ledger.codes(CLEAR, [to_two(run=2), anew]) == ["relation_not_in_force", "ok"]


def test_what_was_stated_when_it_ends_comes_back_and_goes_to_the_account_named_since() -> None:
    ledger = moved_on(stated_then(TODAY)())
    late, back = paid(), paid(status=Paid.RETURNED)
    assert ledger.codes(CLEAR, [late, back]) == ["relation_not_in_force", "ok"]
    third: dict[str, Any] = {"clearing_date": THIRD}
    assert ledger.codes(CLEAR, [item(FILING, **third, **NOTHING)]) == ["ok"]
    both = {"carried": PART.net, "net": PART.net}
    carried: dict[str, Any] = {**both, "entries": (), "account_id": w.OTHER_ACCOUNT}
    assert ledger.codes(CLEAR, [item(PART, **third, **NOTHING, **carried)]) == ["ok"]
    assert NEXT["clearing_date"] == TOMORROW


def test_of_two_banks_the_accounts_attests_and_the_merchants_registers() -> None:
    ledger = Ledger()
    ours = (
        proposal("p1", "entity", **w.entity()),
        proposal("p2", "account", **w.account()),
        proposal("p3", "acquirer", **w.acquirer()),
    )
    assert approved(ledger, *ours) == ["ok"] * 3
    assert approved(ledger, proposal("e2", "entity", **w.entity("E-2")), bank="BankTwo") == ["ok"]
    theirs = proposal("theirs", "relation", **relation())
    assert approved(ledger, theirs, bank="BankTwo") == ["role_forbidden"]
    ledger = attested(lambda: ledger)()
    assert ledger.codes(SIGN, [SIGNED]) == ["ok"]
    maker, checker = (replace(one, msp_id="BankTwo") for one in (MAKER, CHECKER))
    body = w.merchant("M-2", entity_id="E-2", codes={"second": ["2"]})
    wanted = [
        proposal("a2", "acquirer", **w.acquirer("second", keys=[w.STRANGER.jwk])),
        proposal("m2", "merchant", **body),
    ]
    assert ledger.codes(MAKE, wanted, submitter=maker) == ["ok", "ok"]
    verdicts = [verdict("a2"), verdict("m2")]
    assert ledger.codes(DECIDE, verdicts, submitter=checker, at=NOW + DAY) == ["ok", "ok"]
    stops = proposal("stops", "relation_end", **ending())
    assert approved(ledger, stops, bank="BankTwo") == ["role_forbidden"]
