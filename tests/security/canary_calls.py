"""Card numbers into every argument of the chaincode, by members of the right role."""

from __future__ import annotations

import json
from typing import Any

import forged_jws as forge
import parties
from canary_inputs import Run, close_variants, pay_variants, refund_variants, signed_variants
from parties import BANK_ONE, ONE, OWNER
from roles_table import FUNCTIONS, OWNERS
from security_world import Answer, World

from clearline import changes, jws
from clearline.clearing_schema import SCHEMAS
from clearline.fabric.proposal import ProposalOptions
from clearline.proposals import PROPOSALS
from clearline.reports import REFUND_REPORT, REPORT


def told(run: Run, where: str, answer: Answer) -> None:
    """Keep what a peer or the contract said."""
    content = answer.said.encode() + json.dumps(answer.value).encode()
    run.answer(where, content, answer.refused == "contract")


def at_the_chaincode(world: World, run: Run) -> None:
    """By members of the right role, to be committed if anybody endorses it."""
    new = run.canaries.new
    gateway = world.user("BankOne", "gateway")

    def submit(where: str, function: str, argument: Any, who: Any = gateway) -> None:
        told(run, where, world.submit(who, function, argument))

    for where, compact in pay_variants(run, "chaincode", parties.intent(), OWNER):
        submit(where, "SubmitIntents", [{"intent": compact, "acquirer_id": ONE}])
    good = parties.item(parties.intent())
    for where, item in (
        ("item acquirer_id", good | {"acquirer_id": new("chaincode item acquirer_id")}),
        ("item member", good | {new("chaincode item member"): 1}),
        ("item", new("chaincode item")),
        ("number item", int(new("chaincode number item"))),
    ):
        submit(where, "SubmitIntents", [good, item])
    of = parties.requested(world)
    for variants in (close_variants, refund_variants):
        for where, compact in variants(run, "chaincode", of, OWNER):
            submit(where, "SubmitIntents", [{"intent": compact}])
    in_reports(world, run, submit)
    in_refund_reports(world, run, submit)
    in_records(world, run, submit)
    in_changes(world, run, submit)
    in_relations(world, run, submit)
    in_clearing(world, run, submit)
    in_supervision(world, run, submit)
    in_reads(run, submit)
    in_arguments(world, run, submit)
    submit("function", new("chaincode function"), [])
    submit("function and argument", new("chaincode function and argument"), ["x"])


def in_reports(world: World, run: Run, submit: Any) -> None:
    """Each member of a report, and of evidence."""
    waiting = parties.requested(world)
    connector, auditor = world.user("BankOne", "connector"), world.user("Supervisor", "auditor")
    sound = parties.signed_report(waiting)
    for function, who in (("SubmitReports", connector), ("SubmitEvidence", auditor)):
        for name in (*REPORT.members, "memo"):
            where = f"chaincode {function} /{name}"
            number = (run.canaries.short if name == "merchant_code" else run.canaries.new)(where)
            compact = forge.with_payload(sound, BANK_ONE, **{name: number})
            submit(where, function, [compact], who)
        for name in ("alg", "kid", "typ"):
            where = f"chaincode {function} header {name}"
            compact = forge.headed(sound, BANK_ONE, **{name: run.canaries.new(where)})
            submit(where, function, [compact], who)
    for name in ("acquirer_id", "holder", "epoch", "memo"):
        where = f"chaincode lease {name}"
        lease = {"acquirer_id": ONE, "epoch": 1, "holder": "x"} | {name: run.canaries.new(where)}
        submit(where, "TakeLease", [lease], connector)
    where = "chaincode report's member"
    submit(where, "SubmitReports", [{"report": sound, run.canaries.new(where): 0}], connector)
    assert sound  # what is sound is never submitted


def in_refund_reports(world: World, run: Run, submit: Any) -> None:
    """Each member of a report on a refund, and of evidence of one."""
    connector, auditor = world.user("BankOne", "connector"), world.user("Supervisor", "auditor")
    sound = parties.signed_refund_report(parties.refund(parties.intent()))
    for function, who in (("SubmitReports", connector), ("SubmitEvidence", auditor)):
        for where, compact in signed_variants(
            run, f"chaincode {function} of a refund", REFUND_REPORT, sound, BANK_ONE
        ):
            submit(where, function, [compact], who)
    where = "chaincode report of a refund, merchant_code"
    coded = forge.with_payload(sound, BANK_ONE, merchant_code=run.canaries.short(where))
    submit(where, "SubmitReports", [coded], connector)


def in_changes(world: World, run: Run, submit: Any) -> None:
    """Each member of what a merchant signs of its keys and its account, carried soundly."""
    maker = world.user("BankOne", "maker")
    key = parties.key_change(jws.KeySigner.generate(), OWNER)
    account = parties.account_change(OWNER)
    for kind, shape, body in (
        ("merchant_key", changes.KEY_CHANGE, key),
        ("merchant_account", changes.ACCOUNT_CHANGE, account),
    ):
        variants = signed_variants(run, f"chaincode {kind} change", shape, body["change"], OWNER)
        for where, compact in variants:
            item = {"proposal_id": parties.order_no("p"), "kind": kind,
                    "body": body | {"change": compact}}  # fmt: skip
            submit(where, "ProposeRecords", [item], maker)
    for name in ("kty", "crv", "x", "memo"):
        where = f"chaincode merchant_key change /jwk/{name}"
        jwk = OWNER.jwk | {name: run.canaries.new(where)}
        changed = key | {"change": forge.with_payload(key["change"], OWNER, jwk=jwk)}
        item = {"proposal_id": parties.order_no("p"), "kind": "merchant_key", "body": changed}
        submit(where, "ProposeRecords", [item], maker)


def in_arguments(world: World, run: Run, submit: Any) -> None:
    """An argument, or an item, that is no such thing, of each function there is."""
    new = run.canaries.new
    users = {"bank-maker": "maker", "bank-checker": "checker"}
    for function, roles in FUNCTIONS.items():
        role = next(iter(roles))
        who = world.user(OWNERS[function], users.get(role, role))
        for form, argument in (
            ("text", lambda n: n.encode()),
            ("no JSON", lambda n: f"[{n}".encode()),
            ("object", lambda n: {n: 1}),
            ("member", lambda n: {"memo": n}),
            ("item", lambda n: [n]),
            ("number item", lambda n: [int(n)]),
            ("item's member", lambda n: [{"memo": n}]),
            ("item's member's name", lambda n: [{n: 0}]),
            ("item's list", lambda n: [["x", [n]]]),
            ("JWS item", lambda n: [f"{jws.encode(n.encode())}.e30.AAAA"]),
        ):
            where = f"chaincode {function} argument, {form}"
            submit(where, function, argument(new(where)), who)


def in_records(world: World, run: Run, submit: Any) -> None:
    """Each member of each kind of proposal, and of a decision."""
    maker, checker = world.user("BankOne", "maker"), world.user("BankOne", "checker")
    new = run.canaries.new
    for kind, shape in PROPOSALS.items():
        body = sound_bodies()[kind]
        for name in (*shape.members, "memo"):
            where = f"chaincode {kind} /{name}"
            changed = body | {name: numbered(body.get(name), new(where))}
            item = {"proposal_id": parties.order_no("p"), "kind": kind, "body": changed}
            submit(where, "ProposeRecords", [item], maker)
    where = "chaincode merchant, wide digits"
    wide = new(where).translate(str.maketrans("0123456789", "０１２３４５６７８９"))
    body = sound_bodies()["merchant"] | {"name": f"店 {wide}"}
    item = {"proposal_id": parties.order_no("p"), "kind": "merchant", "body": body}
    submit(where, "ProposeRecords", [item], maker)
    where = "chaincode entity, with dots"
    number = new(where)
    dotted = ".".join(number[i : i + 4] for i in range(0, 16, 4))
    body = sound_bodies()["entity"] | {"registration_no": dotted}
    item = {"proposal_id": parties.order_no("p"), "kind": "entity", "body": body}
    submit(where, "ProposeRecords", [item], maker)
    for name in ("proposal_id", "kind", "memo"):
        where = f"chaincode proposal {name}"
        item = {"proposal_id": "p", "kind": "entity", "body": sound_bodies()["entity"]}
        submit(where, "ProposeRecords", [item | {name: new(where)}], maker)
    for name in ("proposal_id", "decision", "memo"):
        where = f"chaincode decision {name}"
        verdict = {"proposal_id": "p", "decision": "approve"} | {name: new(where)}
        submit(where, "DecideRecords", [verdict], checker)


def in_relations(world: World, run: Run, submit: Any) -> None:
    """Each member of what the supervisor says of relations."""
    supervisor = world.user("Supervisor", "supervisor")
    for function, sound in (
        ("CountersignRelations", {"proposal_id": "p", "decision": "approve"}),
        ("EndRelations", sound_bodies()["relation_end"]),
    ):
        for name in (*sound, "memo"):
            where = f"chaincode {function} {name}"
            submit(where, function, [sound | {name: run.canaries.new(where)}], supervisor)


def in_clearing(world: World, run: Run, submit: Any) -> None:
    """Each member of each object of clearing, and of a decision on a settlement."""
    maker, checker = world.user("BankOne", "maker"), world.user("BankOne", "checker")
    for kind, sound in parties.cleared().items():
        for name in (*SCHEMAS[kind].members, "memo"):
            where = f"chaincode {kind} /{name}"
            number = (run.canaries.short if name == "merchant_code" else run.canaries.new)(where)
            changed = [["payment", number, 1, 0, 5]] if name == "entries" else number
            compact = forge.with_payload(sound, BANK_ONE, **{name: changed})
            submit(where, "SubmitClearing", [compact], maker)
    for name in ("settlement", "decision", "memo"):
        where = f"chaincode settlement's decision {name}"
        item = {"settlement": f"{ONE}/C1/CNY/2026-11-23/01", "decision": "approve"}
        submit(where, "DecideSettlements", [item | {name: run.canaries.new(where)}], checker)


def in_supervision(world: World, run: Run, submit: Any) -> None:
    """Each member of a rule and of a checkpoint."""
    who = world.user("Supervisor", "supervisor")
    rule = {"rule_id": "R-C", "version": 1, "kind": "left_open", "parameters": {"days": 3},
            "valid_from": "2026-11-24", "action": "enforce"}  # fmt: skip
    stated = {"block": 1, "header_hash": "1" * 64, "state_digest": "2" * 64}
    for function, sound in (("SubmitRules", rule), ("SubmitCheckpoints", stated)):
        for name in (*sound, "memo"):
            where = f"chaincode {function} {name}"
            submit(where, function, [sound | {name: run.canaries.new(where)}], who)
    where = "chaincode rule's parameter"
    submit(where, "SubmitRules", [rule | {"parameters": {"days": run.canaries.new(where)}}], who)


def sound_bodies() -> dict[str, dict[str, Any]]:
    """A body of each kind that the form takes."""
    key = {"action": "revoke", "key_id": OWNER.key_id}
    return {
        "entity": {"entity_id": "E-C", "name": "N", "country": "CN", "registration_no": "R-C"},
        "account": {"account_id": "e" * 64, "entity_id": "E-C", "bank_code": "BKONCNBJ",
                    "last4": "0001", "currency": "CNY"},
        "merchant": {"merchant_id": "M-C", "entity_id": "E-C", "account_id": "e" * 64,
                     "name": "N", "mcc": "5411", "goods_categories": ["groceries"],
                     "codes": {ONE: ["C1"]}, "keys": [OWNER.jwk]},
        "acquirer": {"acquirer_id": "a-c", "name": "N", "currencies": ["CNY"],
                     "licence_no": "L1", "licence_valid_until": "2099-12-31",
                     "keys": [BANK_ONE.jwk]},
        "merchant_code": {"merchant_id": "M-C", "acquirer_id": ONE, "code": "C1"},
        "merchant_key": {"merchant_id": "M-C"} | key,
        "merchant_account": parties.account_change(OWNER),
        "acquirer_key": {"acquirer_id": ONE} | key,
        "merchant_status": {"merchant_id": "M-C", "status": "suspended"},
        "acquirer_status": {"acquirer_id": ONE, "status": "suspended"},
        "relation": parties.relation_body(),
        "relation_end": {"account_id": "e" * 64, "entity_id": "E-C", "until": "2027-01-01"},
    }  # fmt: skip


def numbered(value: Any, number: str) -> Any:
    """The number in a value's own form: in a list, as an object's name, else as it is."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [number]
    if isinstance(value, dict):
        return {number: ["C1"]}
    return number


def in_reads(run: Run, submit: Any) -> None:
    """Reads can be submitted like anything else: their arguments would stand in a block."""
    new = run.canaries.new
    for where, function, argument in (
        ("GetPayments merchant", "GetPayments", lambda n: [[n, "o", 1]]),
        ("GetPayments order", "GetPayments", lambda n: [["M", n, 1]]),
        ("GetPayments attempt", "GetPayments", lambda n: [["M", "o", int(n)]]),
        ("GetRecords kind", "GetRecords", lambda n: [[n, "x"]]),
        ("GetRecords id", "GetRecords", lambda n: [["merchant", n]]),
        ("GetRecords part of an id", "GetRecords", lambda n: [["merchant_code", f"{ONE}/{n}"]]),
        ("GetRecords item", "GetRecords", lambda n: [n]),
        ("ListPayments merchant", "ListPayments",
         lambda n: {"merchant_id": n, "start_after": None, "limit": 1}),
        ("ListPayments after", "ListPayments",
         lambda n: {"merchant_id": "M", "start_after": [n, 1], "limit": 1}),
        ("ListPayments member", "ListPayments",
         lambda n: {"merchant_id": "M", "start_after": None, "limit": 1, n: 1}),
        ("ListProposals after", "ListProposals",
         lambda n: {"status": None, "start_after": n, "limit": 1}),
        ("ListRelations entity", "ListRelations",
         lambda n: {"entity_id": n, "start_after": None, "limit": 1}),
        ("ListRelations after", "ListRelations",
         lambda n: {"entity_id": None, "start_after": f"{'e' * 64}/{n}", "limit": 1}),
        ("ListSettlements acquirer", "ListSettlements",
         lambda n: {"acquirer_id": n, "start_after": None, "limit": 1}),
        ("ListSettlements after", "ListSettlements",
         lambda n: {"acquirer_id": ONE, "start_after": f"{ONE}/{n}/CNY/2026-11-23/01", "limit": 1}),
        ("ListSettlements limit", "ListSettlements",
         lambda n: {"acquirer_id": ONE, "start_after": None, "limit": int(n)}),
        ("ListSettlements member", "ListSettlements",
         lambda n: {"acquirer_id": ONE, "start_after": None, "limit": 1, "memo": n}),
        ("ListProposals status", "ListProposals",
         lambda n: {"status": n, "start_after": None, "limit": 1}),
    ):  # fmt: skip
        submit(where, function, argument(new(f"chaincode {where}")))


def transient(world: World, run: Run) -> None:
    """What is handed to the endorsers in confidence is nobody's argument, and stays nowhere."""
    gateway = world.gateway(world.user("BankOne", "gateway"))
    contract = gateway.network("payments").contract("clearline")
    number = run.canaries.new("transient").encode()
    options = ProposalOptions(transient={"card": number, number.decode() + "x": b"1"})

    async def committed() -> bytes:
        proposal = contract.new_proposal("GetRecords", ['[["entity","x"]]'], options)
        transaction = await proposal.endorse()
        await (await transaction.submit()).status()
        return transaction.result

    run.answer("transient", world.run(committed()), was_refused=True)
