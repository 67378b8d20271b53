"""Each function by each role of each organisation, at the chaincode of a running network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import parties
import pytest
import roles_table as table
from roles_table import May
from security_world import Who, World

from chaincode.contract.functions import FUNCTIONS
from clearline.intents import PayIntent
from clearline.statuses import Reason, Status

CELLS = [
    (function, msp, role)
    for function in table.FUNCTIONS
    for msp in table.MSPS
    for role in table.ROLES
]
UNIT_CELLS = [
    (function, msp, unit)
    for function in table.FUNCTIONS
    for msp in table.MSPS
    for unit in table.UNITS
]


RELATED = {"account_id": parties.ACCOUNT, "entity_id": "E-OTHER"}
RULE = {
    "rule_id": "R-NEW",
    "version": 1,
    "kind": "left_open",
    "parameters": {"days": 3},
    "valid_from": "2026-11-24",
    "action": "enforce",
}


@dataclass(frozen=True)
class Stage:
    """BankOne's objects that calls are about."""

    waiting: PayIntent
    ended: PayIntent
    proposal_id: str
    settlement: str
    relation: str

    def arguments(self) -> Mapping[str, Callable[[], Any]]:
        """A sound argument for each function, its effect not yet on the ledger."""
        contradiction: dict[str, Any] = {"status": Status.DECLINED, "reason": Reason.DO_NOT_HONOR}
        entity = {
            "entity_id": "E-NEW",
            "name": "Another",
            "country": "CN",
            "registration_no": "R-NEW",
        }
        return {
            "SubmitIntents": lambda: [parties.item(parties.intent())],
            "SubmitReports": lambda: [parties.signed_report(self.waiting)],
            "SubmitEvidence": lambda: [parties.signed_report(self.ended, **contradiction)],
            "TakeLease": lambda: [{"acquirer_id": parties.ONE, "epoch": 1, "holder": "x"}],
            "ProposeRecords": lambda: [
                {"proposal_id": parties.order_no("p"), "kind": "entity", "body": entity}
            ],
            "DecideRecords": lambda: [{"proposal_id": self.proposal_id, "decision": "reject"}],
            "CountersignRelations": lambda: [{"proposal_id": self.relation, "decision": "reject"}],
            "EndRelations": lambda: [dict(RELATED, until="2026-01-01")],
            "SubmitClearing": lambda: [parties.filing("2026-11-24")],
            "DecideSettlements": lambda: [{"settlement": self.settlement, "decision": "reject"}],
            "SubmitRules": lambda: [RULE],
            "SubmitCheckpoints": lambda: [
                {"block": 1, "header_hash": "1" * 64, "state_digest": "2" * 64}
            ],
            "GetPayments": lambda: [list(self.ended.key)],
            "GetRecords": lambda: [["merchant", parties.MERCHANT]],
            "ListPayments": lambda: {
                "merchant_id": parties.MERCHANT,
                "start_after": None,
                "limit": 1,
            },
            "ListProposals": lambda: {"status": None, "start_after": None, "limit": 1},
            "ListSettlements": lambda: {
                "acquirer_id": parties.ONE,
                "start_after": None,
                "limit": 1,
            },
            "ListRelations": lambda: {"entity_id": "E-SEC", "start_after": None, "limit": 1},
        }


@pytest.fixture(scope="module")
def stage(world: World) -> Stage:
    """A payment that waits, one that ended and is in a settlement, a proposal that is open, a
    relation that is attested beside one that is in force: BankOne's all."""
    ended = parties.requested(world)
    connector = world.user("BankOne", "connector")
    done = world.submit(connector, "SubmitReports", [parties.signed_report(ended)])
    assert done.codes == ["ok"]
    proposal_id = parties.order_no("p")
    body = {"merchant_id": parties.MERCHANT, "status": "suspended"}
    made = world.submit(
        world.user("BankOne", "maker"),
        "ProposeRecords",
        [{"proposal_id": proposal_id, "kind": "merchant_status", "body": body}],
    )
    assert made.codes == ["ok"]
    settlement = parties.settlement(world, ended)
    later = {"since": "2091-01-01", "until": "2091-12-31"}
    relations = [attested(world), attested(world, **later)]
    signed = [{"proposal_id": relations[0], "decision": "approve"}]
    supervisor = world.user("Supervisor", "supervisor")
    assert world.submit(supervisor, "CountersignRelations", signed).codes == ["ok"]
    return Stage(parties.requested(world), ended, proposal_id, settlement, relations[1])


def attested(world: World, **changed: str) -> str:
    """A relation that BankOne's maker and checker agree on: its proposal."""
    name = parties.order_no("r")
    body = parties.relation_body(**changed)
    item = {"proposal_id": name, "kind": "relation", "body": body}
    assert world.submit(world.user("BankOne", "maker"), "ProposeRecords", [item]).codes == ["ok"]
    verdict = [{"proposal_id": name, "decision": "approve"}]
    assert world.submit(world.user("BankOne", "checker"), "DecideRecords", verdict).codes == ["ok"]
    return name


def test_every_function_has_a_row() -> None:
    assert set(table.FUNCTIONS) == set(FUNCTIONS)


def test_every_role_has_a_column() -> None:
    assert {role for row in FUNCTIONS.values() for role in row.roles} <= set(table.ROLES)


@pytest.mark.parametrize(("function", "msp", "role"), CELLS)
def test_cell(world: World, stage: Stage, function: str, msp: str, role: str) -> None:
    """Refused where the table says so, by the contract and not endorsed; else taken."""
    signer = world.signer(Who(msp, role))
    argument = stage.arguments()[function]()
    cell = table.may(function, role)
    if cell is May.NO:
        answer = world.endorse(signer, function, argument)
        assert answer.refused == "contract"
        assert "role_forbidden: " in answer.said
        return
    answer = world.evaluate(signer, function, argument)
    assert answer.refused == "", answer.said
    if cell is May.OWN and msp != table.OWNERS[function]:
        assert answer.codes == ["role_forbidden"]
    elif isinstance(answer.value[0], dict) and "code" in answer.value[0]:
        assert answer.codes == ["ok"]
    else:
        assert answer.value[0] is not None


@pytest.mark.parametrize(("function", "msp", "unit"), UNIT_CELLS)
def test_unit(world: World, stage: Stage, function: str, msp: str, unit: str) -> None:
    """The right role in a certificate of another kind."""
    role = next(iter(table.FUNCTIONS[function]))
    signer = world.signer(Who(msp, role, unit))
    answer = world.evaluate(signer, function, stage.arguments()[function]())
    if table.UNITS[unit]:
        assert answer.refused == "", answer.said
    else:
        assert answer.refused == "peer"


def test_a_refused_call_changed_nothing(world: World, stage: Stage) -> None:
    """Nothing of all these calls is on the ledger: the objects are as they were staged."""
    waiting = f"{parties.MERCHANT}/{stage.waiting.order_no}/0001"
    assert world.record("payment", waiting)["status"] == "requested"
    assert world.record("proposal", stage.relation)["status"] == "attested"
    (term,) = world.record("relation", f"{parties.ACCOUNT}/E-OTHER")["terms"]
    assert term["ended_on"] == ""
    assert world.record("proposal", stage.proposal_id)["status"] == "proposed"
    assert world.record("lease", parties.ONE) is None
    assert world.record("entity", "E-NEW") is None
    assert world.record("rule", "R-NEW/0001") is None
    assert world.record("checkpoint", "0000000001") is None
    assert world.record("settlement", stage.settlement)["status"] == "proposed"
    assert world.record("acquirer_file", f"{parties.ONE}/{parties.CODE_ONE}/CNY/2026-11-24") is None


def test_a_maker_does_not_check(world: World, stage: Stage) -> None:
    """Neither with the maker's certificate, nor the same person with a checker's."""
    verdict = [{"proposal_id": stage.proposal_id, "decision": "approve"}]
    maker = world.endorse(world.user("BankOne", "maker"), "DecideRecords", verdict)
    assert "role_forbidden: " in maker.said
    made = world.signer(Who("BankOne", "bank-maker", name="somebody"))
    same = world.signer(Who("BankOne", "bank-checker", name="somebody"))
    body = {"merchant_id": parties.MERCHANT, "status": "suspended"}
    item: dict[str, Any] = {
        "proposal_id": parties.order_no("p"),
        "kind": "merchant_status",
        "body": body,
    }
    assert world.submit(made, "ProposeRecords", [item]).codes == ["ok"]
    verdict = [{"proposal_id": item["proposal_id"], "decision": "approve"}]
    assert world.submit(same, "DecideRecords", verdict).codes == ["same_person"]
    assert world.record("merchant", parties.MERCHANT)["status"] == "active"


def test_a_rule_takes_two_persons_of_the_supervisor(world: World) -> None:
    """A bank's own `supervisor` counts for nothing, and nobody is two persons with two
    certificates of one name."""
    item = RULE | {"rule_id": parties.order_no("R")}
    one = world.user("Supervisor", "supervisor")
    assert world.submit(one, "SubmitRules", [item]).codes == ["ok"]
    banks = world.signer(Who("BankOne", "supervisor"))
    assert world.submit(banks, "SubmitRules", [item]).codes == ["role_forbidden"]
    same = world.signer(Who("Supervisor", "supervisor", name="supervisor"))
    assert world.submit(same, "SubmitRules", [item]).codes == ["duplicate"]
    assert world.record("rule", f"{item['rule_id']}/0001")["status"] == "proposed"
    other = world.user("Supervisor", "supervisor2")
    assert world.submit(other, "SubmitRules", [item]).codes == ["ok"]
    assert world.record("rule", f"{item['rule_id']}/0001")["status"] == "in_force"


def test_another_banks_checker_does_not_decide(world: World, stage: Stage) -> None:
    verdict = [{"proposal_id": stage.proposal_id, "decision": "approve"}]
    done = world.submit(world.user("BankTwo", "checker"), "DecideRecords", verdict)
    assert done.codes == ["role_forbidden"]
    assert world.record("proposal", stage.proposal_id)["status"] == "proposed"


def test_no_bank_relates_two_entities_by_itself(world: World, stage: Stage) -> None:
    """It has a certificate with the supervisor's role made; its maker attests another's account."""
    made = world.signer(Who("BankOne", "supervisor", name="made-supervisor"))
    signed = [{"proposal_id": stage.relation, "decision": "approve"}]
    assert world.submit(made, "CountersignRelations", signed).codes == ["role_forbidden"]
    body = parties.relation_body(since="2092-01-01", until="2092-12-31")
    item = {"proposal_id": parties.order_no("r"), "kind": "relation", "body": body}
    assert world.submit(world.user("BankTwo", "maker"), "ProposeRecords", [item]).codes == ["ok"]
    verdict = [{"proposal_id": item["proposal_id"], "decision": "approve"}]
    done = world.submit(world.user("BankTwo", "checker"), "DecideRecords", verdict)
    assert done.codes == ["role_forbidden"]


def test_another_banks_maker_changes_nothing_of_a_bank(world: World) -> None:
    """It may propose what it likes; its own checker's approval is refused."""
    key = {"action": "revoke", "key_id": parties.BANK_ONE.key_id}
    wanted = [
        ("merchant_status", {"merchant_id": parties.MERCHANT, "status": "suspended"}),
        ("acquirer_status", {"acquirer_id": parties.ONE, "status": "suspended"}),
        ("acquirer_key", {"acquirer_id": parties.ONE} | key),
        ("merchant_key", {"merchant_id": parties.MERCHANT, "action": "revoke",
                          "key_id": parties.OWNER.key_id}),
        ("merchant_code", {"merchant_id": parties.MERCHANT, "acquirer_id": parties.ONE,
                           "code": "NEW1"}),
    ]  # fmt: skip
    items = [
        {"proposal_id": parties.order_no("p"), "kind": kind, "body": body} for kind, body in wanted
    ]
    assert set(world.submit(world.user("BankTwo", "maker"), "ProposeRecords", items).codes) == {
        "ok"
    }
    verdicts = [{"proposal_id": one["proposal_id"], "decision": "approve"} for one in items]
    done = world.submit(world.user("BankTwo", "checker"), "DecideRecords", verdicts)
    assert done.codes == ["role_forbidden"] * len(items)


def test_a_supervisor_with_a_banks_roles_is_a_bank(world: World) -> None:
    """The contract can't tell. It stays visible: the record names the organisation; and it gets
    no further than any other bank into what is a bank's own."""
    maker = world.signer(Who("Supervisor", "bank-maker", name="made-maker"))
    checker = world.signer(Who("Supervisor", "bank-checker", name="made-checker"))
    entity = {
        "entity_id": "E-SUP",
        "name": "The supervisor's own",
        "country": "CN",
        "registration_no": "R-SUP",
    }
    taken = {"merchant_id": parties.MERCHANT, "acquirer_id": parties.ONE, "code": "SUP1"}
    items = [
        {"proposal_id": parties.order_no("p"), "kind": "entity", "body": entity},
        {"proposal_id": parties.order_no("p"), "kind": "merchant_code", "body": taken},
    ]
    assert world.submit(maker, "ProposeRecords", items).codes == ["ok", "ok"]
    verdicts = [{"proposal_id": one["proposal_id"], "decision": "approve"} for one in items]
    done = world.submit(checker, "DecideRecords", verdicts)
    assert done.codes == ["ok", "role_forbidden"]
    assert world.record("entity", "E-SUP")["msp_id"] == "Supervisor"
