"""Rows of relations between the owners of one account, and of who is settled by one.

E-1 owns the account that BankOne attested; E-2 is the entity that may use it while a relation is in
force. Days begin with today, 2026-11-23.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import contract_world as w
from contract_world import (
    CHECKER,
    MAKER,
    NOW,
    SUPERVISOR,
    Ledger,
    account_body,
    approved,
    proposal,
    report_item,
    verdict,
)
from rule_rows import DECIDE, MAKE, PAN, Row
from rules_of_clearing import CLEAR, FILING, PART, PAYOUT, RULE, item, ruling

from clearline.clearing_schema import Paid

SIGN, END = "CountersignRelations", "EndRelations"
DAY = timedelta(days=1)
TODAY, TOMORROW, THIRD, FOURTH = (f"2026-11-{day}" for day in (23, 24, 25, 26))
LAST = "2026-12-31"
OPEN = verdict("open")
SIGNED = verdict("rel")
TWO = "E-2"
OF_TWO = f"{w.ACCOUNT}/{TWO}"


def relation(**changed: Any) -> dict[str, Any]:
    """The body of a proposal: E-1 is E-2's franchisor, from tomorrow to the year's end."""
    body = {
        "account_id": w.ACCOUNT,
        "owner_id": "E-1",
        "entity_id": TWO,
        "relationship": "franchisor",
        "since": TOMORROW,
        "until": LAST,
        "document_digest": "d" * 64,
    }
    return {name: value for name, value in (body | changed).items() if value is not None}


AGENT = relation(relationship="licensed_agent", licence_no="L-2026-7")


def ending(until: str = FOURTH, **changed: Any) -> dict[str, Any]:
    """An item of EndRelations, and the body of a bank's relation_end."""
    return {"account_id": w.ACCOUNT, "entity_id": TWO, "until": until} | changed


def made(**changed: Any) -> dict[str, Any]:
    return proposal("n", "relation", **relation(**changed))


def two() -> Ledger:
    """Both entities, the account and the acquirer; no merchant."""
    ledger = Ledger()
    wanted = (
        proposal("p1", "entity", **w.entity()),
        proposal("p2", "account", **w.account()),
        proposal("p3", "acquirer", **w.acquirer()),
        proposal("p4", "entity", **w.entity(TWO)),
    )
    assert approved(ledger, *wanted) == ["ok"] * 4
    return ledger


def of_the_supervisor() -> Ledger:
    """The same, and the account is attested by the supervisor's organisation."""
    ledger = Ledger()
    wanted = (
        proposal("p1", "entity", **w.entity()),
        proposal("p2", "account", **w.account()),
        proposal("p4", "entity", **w.entity(TWO)),
    )
    assert approved(ledger, *wanted, bank="Supervisor") == ["ok"] * 3
    return ledger


def opened(
    kind: str, body: dict[str, Any], given: Callable[[], Ledger] = two, bank: str = "BankOne"
) -> Callable[[], Ledger]:
    """`open` waits for its checker."""

    def made_so() -> Ledger:
        ledger = given()
        maker = replace(MAKER, msp_id=bank)
        assert ledger.codes(MAKE, [proposal("open", kind, **body)], submitter=maker) == ["ok"]
        return ledger

    return made_so


def attested(
    given: Callable[[], Ledger] = two, name: str = "rel", **changed: Any
) -> Callable[[], Ledger]:
    """It waits for the supervisor."""

    def made_so() -> Ledger:
        ledger = given()
        assert approved(ledger, proposal(name, "relation", **relation(**changed))) == ["ok"]
        return ledger

    return made_so


def related(given: Callable[[], Ledger] = two, **changed: Any) -> Callable[[], Ledger]:
    """The relation is countersigned."""

    def made_so() -> Ledger:
        ledger = attested(given, "rel", **changed)()
        assert ledger.codes(SIGN, [SIGNED]) == ["ok"]
        return ledger

    return made_so


def ended(until: str, given: Callable[[], Ledger] | None = None) -> Callable[[], Ledger]:
    """The supervisor ended it today."""

    def made_so() -> Ledger:
        ledger = (given or related())()
        assert ledger.codes(END, [ending(until)]) == ["ok"]
        return ledger

    return made_so


def refused() -> Ledger:
    ledger = attested()()
    assert ledger.codes(SIGN, [verdict("rel", "reject")]) == ["ok"]
    return ledger


def rejected() -> Ledger:
    ledger = opened("relation", relation())()
    assert ledger.codes(DECIDE, [verdict("open", "reject")]) == ["ok"]
    return ledger


def two_attested() -> Ledger:
    """Both say something of the same days, and one is countersigned."""
    ledger = attested()()
    assert approved(ledger, proposal("again", "relation", **relation(until=FOURTH))) == ["ok"]
    assert ledger.codes(SIGN, [SIGNED]) == ["ok"]
    return ledger


def often() -> Ledger:
    """As many terms as a record holds; one more is attested."""
    ledger = two()
    for number in range(33):
        day = f"2027-{1 + number // 28:02d}-{1 + number % 28:02d}"
        body = relation(since=day, until=day)
        if number < 32:
            assert approved(ledger, proposal(f"r{number}", "relation", **body)) == ["ok"]
            assert ledger.codes(SIGN, [verdict(f"r{number}")]) == ["ok"]
    assert ledger.codes(MAKE, [proposal("open", "relation", **body)]) == ["ok"]
    return ledger


def merchant_of_two() -> Ledger:
    """A merchant of E-2, whose own account is another, and both are in a relation."""
    ledger = related()()
    own = w.account(w.OTHER_ACCOUNT, TWO)
    body = w.merchant(entity_id=TWO, account_id=w.OTHER_ACCOUNT)
    wanted = (proposal("a2", "account", **own), proposal("m2", "merchant", **body))
    assert approved(ledger, *wanted) == ["ok", "ok"]
    return ledger


def moves(account_id: str = w.ACCOUNT, **changed: Any) -> Callable[[], Ledger]:
    """Its merchant names this account; `open` waits for the checker."""
    return opened("merchant_account", account_body(account_id, **changed), merchant_of_two)


def registering(given: Callable[[], Ledger], at: timedelta = DAY) -> Callable[[], Ledger]:
    """A merchant of E-2 with E-1's account is registered at once; `open` waits for the checker."""

    def made_so() -> Ledger:
        body = w.merchant(entity_id=TWO, codes={"unionpay": [w.CODE]})
        ledger = given()
        when = NOW + at
        assert ledger.codes(MAKE, [proposal("open", "merchant", **body)], at=when) == ["ok"]
        return ledger

    return made_so


def sharing(day: str = TOMORROW, last: str = LAST) -> Ledger:
    """A merchant of E-2 with E-1's account is paid on this day, and the file is there."""
    ledger = registering(related(until=last))()
    assert ledger.codes(DECIDE, [OPEN], at=NOW + DAY) == ["ok"]
    assert ledger.codes("SubmitIntents", [w.intent_item()]) == ["ok"]
    assert ledger.codes("SubmitReports", [report_item(clearing_date=day)]) == ["ok"]
    assert ledger.codes(CLEAR, [item(FILING, clearing_date=day)]) == ["ok"]
    return ledger


def moved_on(ledger: Ledger) -> Ledger:
    """Its merchant names its entity's own account, from the third day on."""
    change = account_body(valid_from=THIRD)
    wanted = (
        proposal("a2", "account", **w.account(w.OTHER_ACCOUNT, TWO)),
        proposal("c2", "merchant_account", **change),
    )
    assert approved(ledger, *wanted) == ["ok", "ok"]
    return ledger


def to_two(**changed: Any) -> str:
    """A settlement of tomorrow to E-1's account."""
    return item(PART, **({"clearing_date": TOMORROW} | changed))


def proposed_then(until: str | None) -> Callable[[], Ledger]:
    """The settlement is proposed, and then the relation ended."""

    def given() -> Ledger:
        ledger = sharing()
        assert ledger.codes(CLEAR, [to_two()]) == ["ok"]
        return ledger if until is None else ended(until, lambda: ledger)()

    return given


def stated_then(until: str | None) -> Callable[[], Ledger]:
    """The settlement is stated, and then the relation ended, today."""

    def given() -> Ledger:
        ledger = proposed_then(None)()
        assert ledger.codes(RULE, [ruling(settlement=NAME)]) == ["ok"]
        return ledger if until is None else ended(until, lambda: ledger)()

    return given


def other_direction() -> Ledger:
    """E-1's merchant would use E-2's account: the relation does not go both ways."""
    ledger = related()()
    own = w.account(w.OTHER_ACCOUNT, TWO)
    body = w.merchant(account_id=w.OTHER_ACCOUNT)
    assert approved(ledger, proposal("a2", "account", **own)) == ["ok"]
    assert ledger.codes(MAKE, [proposal("open", "merchant", **body)]) == ["ok"]
    return ledger


NAME = f"unionpay/{w.CODE}/CNY/{TOMORROW}/01"
FROM_TWO = replace(MAKER, msp_id="BankTwo")
CHECKS_TWO = replace(CHECKER, msp_id="BankTwo")
BANKS_OWN = replace(SUPERVISOR, msp_id="BankOne")


def paid(**changed: Any) -> str:
    return item(PAYOUT, **({"clearing_date": TOMORROW, "value_date": TOMORROW} | changed))


def deciding(rule: str, code: str, given: Callable[[], Ledger], **more: Any) -> Row:
    return Row(rule, code, DECIDE, OPEN, given, **more)


def signing(rule: str, code: str, given: Callable[[], Ledger], **more: Any) -> Row:
    return Row(rule, code, SIGN, SIGNED, given, **more)


RELATIONS = [
    Row("relation 1 a franchisor", "ok", MAKE, made(), two),
    Row("relation 1 an agent", "ok", MAKE, proposal("n", "relation", **AGENT), two),
    Row("relation 1 of one day", "ok", MAKE, made(until=TOMORROW), two),
    Row("relation 1 of three years", "ok", MAKE, made(until="2029-11-26"), two),
    Row("relation 1 of longer", "malformed", MAKE, made(until="2029-11-27"), two),
    Row("relation 1 that ends before it begins", "malformed", MAKE, made(until=TODAY), two),
    Row("relation 1 to itself", "malformed", MAKE, made(entity_id="E-1"), two),
    Row("relation 1 of another kind", "malformed", MAKE, made(relationship="friend"), two),
    Row("relation 1 an agent without licence", "malformed", MAKE,
        made(relationship="licensed_agent"), two),
    Row("relation 1 a licence of no agent", "malformed", MAKE, made(licence_no="L1"), two),
    Row("relation 1 no document", "malformed", MAKE, made(document_digest=None), two),
    Row("relation 2 in an entity", "card_data_refused", MAKE, made(entity_id=PAN), two),
    Row("relation 2 in the owner", "card_data_refused", MAKE, made(owner_id=PAN), two),
    Row("relation 2 in the licence", "card_data_refused", MAKE,
        made(relationship="licensed_agent", licence_no=PAN), two),
    Row("relation_end 2 in the entity", "card_data_refused", MAKE,
        proposal("n", "relation_end", **ending(entity_id=PAN)), two),
    # a bank attests
    deciding("a relation is attested", "ok", opened("relation", relation())),
    deciding("a the supervisor's own", "role_forbidden",
             opened("relation", relation(), of_the_supervisor, "Supervisor"),
             submitter=replace(CHECKER, msp_id="Supervisor")),
    deciding("b no such entity", "entity_unknown", opened("relation", relation(entity_id="E-9"))),
    deciding("b no such owner", "entity_unknown", opened("relation", relation(owner_id="E-9"))),
    deciding("c another's account", "account_unknown",
             opened("relation", relation(owner_id=TWO, entity_id="E-1"))),
    deciding("c no such account", "account_unknown",
             opened("relation", relation(account_id="c" * 64))),
    deciding("d another bank's account", "role_forbidden",
             opened("relation", relation(), bank="BankTwo"), submitter=CHECKS_TWO),
    deciding("e its first day has come", "change_too_late", opened("relation", relation()),
             after=DAY),
    deciding("f a term that overlaps", "record_exists",
             opened("relation", relation(since=LAST, until="2027-01-31"), related())),
    deciding("f the term that follows", "ok",
             opened("relation", relation(since="2027-01-01", until="2027-01-31"), related())),
    deciding("f after an early end", "ok",
             opened("relation", relation(since=FOURTH), ended(THIRD))),
    deciding("g once too often", "record_full", often),
    Row("attested so before", "duplicate", DECIDE, SIGNED, attested()),
    Row("attested and countersigned before", "duplicate", DECIDE, SIGNED, related()),
    Row("attested and refused before", "duplicate", DECIDE, SIGNED, refused),
    Row("rejected after it was attested", "proposal_decided", DECIDE, verdict("rel", "reject"),
        attested()),
    # the supervisor countersigns
    signing("countersigned", "ok", attested()),
    signing("an agent's is countersigned", "ok",
            attested(relationship="licensed_agent", licence_no="L-2026-7")),
    Row("a further term is countersigned", "ok", SIGN, verdict("next"),
        attested(related(), "next", since="2027-01-01", until="2027-01-31")),
    Row("refused by the supervisor", "ok", SIGN, verdict("rel", "reject"), attested()),
    Row("countersign 1 no object", "malformed", SIGN, 7, attested()),
    Row("countersign 1 no such decision", "malformed", SIGN, verdict("rel", "see"), attested()),
    Row("countersign 1 in the id", "card_data_refused", SIGN, verdict(PAN), attested()),
    signing("countersign 2 a supervisor of the bank's making", "role_forbidden", attested(),
            submitter=BANKS_OWN),
    signing("countersign 3 unknown", "proposal_unknown", two),
    Row("countersign 4 an entity", "role_forbidden", SIGN, verdict("p1"), two),
    signing("countersign 5 again", "duplicate", related()),
    Row("countersign 5 refused again", "duplicate", SIGN, verdict("rel", "reject"), refused),
    Row("countersign 6 before the checker", "not_attested", SIGN, OPEN,
        opened("relation", relation())),
    signing("countersign 6 after refusing", "proposal_decided", refused),
    Row("countersign 6 refused after it was signed", "proposal_decided", SIGN,
        verdict("rel", "reject"), related()),
    Row("countersign 6 rejected by the bank", "proposal_decided", SIGN, OPEN, rejected),
    signing("countersign 7 its first day has come", "change_too_late", attested(), after=DAY),
    Row("countersign 7 another term was signed since", "record_exists", SIGN, verdict("again"),
        two_attested),
    # the end
    Row("end by the supervisor", "ok", END, ending(), related()),
    Row("end for days gone by", "ok", END, ending("2026-10-01"), related()),
    Row("end 1 no date", "malformed", END, ending("2026-11-31"), related()),
    Row("end 1 a member more", "malformed", END, ending(why="x"), related()),
    Row("end 1 in the entity", "card_data_refused", END, ending(entity_id=PAN), related()),
    Row("end 2 a supervisor of the bank's making", "role_forbidden", END, ending(), related(),
        submitter=BANKS_OWN),
    Row("end 3 unknown", "relation_unknown", END, ending(entity_id="E-1"), related()),
    Row("end 3 only attested", "relation_unknown", END, ending(), attested()),
    Row("end 5 again", "duplicate", END, ending(), ended(FOURTH)),
    Row("end 7 later than its end", "relation_not_in_force", END, ending(LAST), related()),
    Row("end 7 later than its early end", "relation_not_in_force", END, ending(LAST),
        ended(FOURTH)),
    deciding("end by its bank", "ok", opened("relation_end", ending(), related())),
    deciding("end by its bank, today", "ok", opened("relation_end", ending(TODAY), related())),
    deciding("end 3 of none", "relation_unknown", opened("relation_end", ending())),
    deciding("end 4 by another bank", "role_forbidden",
             opened("relation_end", ending(), related(), bank="BankTwo"), submitter=CHECKS_TWO),
    deciding("end 6 by its bank for days gone by", "change_too_late",
             opened("relation_end", ending(TODAY), related()), after=DAY),
    deciding("end 7 by its bank, later than its end", "relation_not_in_force",
             opened("relation_end", ending(LAST), related())),
]  # fmt: skip
SHARED = [
    deciding("a merchant with a related account", "ok", registering(related()), after=DAY),
    deciding("a merchant before the relation", "relation_not_in_force",
             registering(related(), timedelta())),
    deciding("a merchant after its end", "relation_not_in_force", registering(related(until=THIRD)),
             after=3 * DAY),
    deciding("a merchant after its early end", "relation_not_in_force",
             registering(ended(TODAY)), after=DAY),
    deciding("a merchant with an attested relation only", "account_unknown",
             registering(attested()), after=DAY),
    deciding("a merchant of the other direction", "account_unknown",
             other_direction),
    deciding("a related account named", "ok", moves()),
    deciding("a related account named for the day after its end", "relation_not_in_force",
             moves(valid_from="2027-01-01", created="2026-11-23T08:00:01.000Z")),
    Row("15 a related account", "ok", CLEAR, to_two(), sharing),
    Row("15 on the relation's last day, later", "ok", CLEAR, to_two(),
        lambda: sharing(last=TOMORROW), after=5 * DAY),
    Row("15 a day after its end", "relation_not_in_force", CLEAR, to_two(clearing_date=THIRD),
        lambda: sharing(THIRD, TOMORROW)),
    Row("15 ended early", "relation_not_in_force", CLEAR, to_two(),
        ended(TODAY, sharing)),
    Row("15 ended early, to the account named since", "ok", CLEAR,
        to_two(account_id=w.OTHER_ACCOUNT), ended(TODAY, lambda: moved_on(sharing()))),
    Row("15 in force, to the account named since", "payee_mismatch", CLEAR,
        to_two(account_id=w.OTHER_ACCOUNT), lambda: moved_on(sharing())),
    Row("15 ended early, to an account never named", "payee_mismatch", CLEAR,
        to_two(account_id="c" * 64), ended(TODAY, lambda: moved_on(sharing()))),
    Row("7 a related payee", "ok", RULE, ruling(settlement=NAME), proposed_then(None)),
    Row("7 the relation ended since", "relation_not_in_force", RULE, ruling(settlement=NAME),
        proposed_then(TODAY)),
    Row("7 rejected when it ended", "ok", RULE, ruling("reject", NAME), proposed_then(TODAY)),
    Row("payout 15 to a related account", "ok", CLEAR, paid(), stated_then(None)),
    Row("payout 15 paid on the day it ended", "ok", CLEAR, paid(value_date=TODAY),
        stated_then(TODAY)),
    Row("payout 15 paid after it ended", "relation_not_in_force", CLEAR, paid(),
        stated_then(TODAY)),
    Row("payout 15 came back after it ended", "ok", CLEAR, paid(status=Paid.RETURNED),
        stated_then(TODAY)),
    Row("payout 15 after an end that leaves the day", "ok", CLEAR, paid(value_date=LAST),
        stated_then(TOMORROW)),
]  # fmt: skip
