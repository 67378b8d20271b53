"""Every check of the auditor is reached by a forgery, and none by an honest ledger."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from change_forgeries import BANKS, CHANGE_FORGERIES, changed_by_its_merchant, next_day
from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from forge import NETWORK, NOW, Forge, Tx, registrations, rwset
from payment_forgeries import DECLINED, KEY, PAYMENT_FORGERIES, REVERSED, registering, shown

from audit.evidence import evidence, lines
from audit.findings import Check, Finding
from audit.source import Export, SourceError, from_file
from audit.verifier import Verifier
from clearline import reports
from clearline.fabric.protoutil import block_data_hash
from clearline.jws import KeySigner
from clearline.statuses import Reason, ReportKind, Status

MVCC_CONFLICT = bytes([11])


def verify(blocks: list[bytes]) -> tuple[Verifier, Finding | None]:
    verifier = Verifier(NETWORK, "clearline")
    for raw in blocks:
        finding = verifier.take(raw)
        if finding is not None:
            return verifier, finding
    return verifier, None


def altered(raw: bytes, change: Callable[[Any], None]) -> bytes:
    block = common_pb2.Block.FromString(raw)
    change(block)
    return bytes(block.SerializeToString())


def test_an_honest_ledger_has_nothing_wrong(forge: Forge) -> None:
    unknown = {"kind": ReportKind.UNKNOWN, "status": Status.UNKNOWN, "reason": Reason.TIMED_OUT}
    closed = {"status": Status.CLOSED, "reason": Reason.REVERSED, "sequence": 2}
    forge.add(forge.intent(), forge.intent("O-2"))
    forge.add(forge.report(), forge.report("O-2", **unknown))
    forge.add(forge.report("O-2", **closed))
    forge.add(forge.intent("O-2", attempt=2), forge.intent("O-3"))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.counts() == {"succeeded": 1, "closed": 1, "requested": 2}
    assert verifier.totals.blocks == len(forge.blocks)
    assert verifier.registry.counts()["merchant"] == 1


def test_both_reports_in_one_transaction_are_followed(forge: Forge) -> None:
    first = forge.report(kind=ReportKind.RESPONSE, status=Status.ACCEPTED, reason=Reason.ACCEPTED)
    second = forge.report(sequence=2)
    forge.add(forge.intent())
    forge.add(dataclasses.replace(first, items=[*first.items, *second.items]))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert [step.status for step in verifier.payments.steps[KEY]] == [
        "requested", "accepted", "succeeded",
    ]  # fmt: skip


def test_a_refused_item_before_the_one_that_counted_is_no_finding(forge: Forge) -> None:
    request = forge.intent()
    elsewhere = {"intent": request.items[0]["intent"], "acquirer_id": "elsewhere"}
    forge.add(dataclasses.replace(request, items=[elsewhere, *request.items]))
    assert verify(forge.blocks)[1] is None


def test_a_refused_decision_before_the_one_that_counted_is_no_finding(forge: Forge) -> None:
    proposal = registrations(forge.merchant, forge.acquirer)[1] | {"proposal_id": "p-again"}
    forge.add(Tx("ProposeRecords", [proposal], ("BankOne", "maker")))
    decisions = [{"proposal_id": "p-again", "decision": one} for one in ("approve", "reject")]
    forge.add(Tx("DecideRecords", decisions, ("BankOne", "checker")))
    assert verify(forge.blocks)[1] is None


def test_a_rightly_rejected_transaction_is_fine(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(dataclasses.replace(forge.intent("O-2"), stale=True), flags=MVCC_CONFLICT)
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.totals.invalid == 1


def test_an_honest_ledger_with_every_ending_has_nothing_wrong(forge: Forge) -> None:
    """Closes, late successes and reversals, contradictions, leases, further codes."""
    forge.add(forge.intent(), forge.intent("O-2"), forge.intent("O-3"))
    forge.add(forge.close(), forge.close("O-2"))
    forge.add(forge.report(status=Status.CLOSED, reason=Reason.CLOSED_BY_MERCHANT))
    forge.add(forge.report("O-3", **DECLINED))
    forge.add(forge.report("O-3", sequence=2, amount=1))  # not what was asked
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.exceptions() == {"open": 1, "equivocations": 0}
    forge.add(forge.report("O-3", sequence=3, amount=1, **REVERSED))
    forge.add(forge.intent("O-3", attempt=2))
    forge.add(forge.report(**DECLINED))  # a contradiction, refused and kept
    forge.add(shown(forge, order_no="O-3", sequence=2, **DECLINED))
    forge.add(forge.lease(1))
    forge.add(forge.lease(2, "b"))
    under = forge.report("O-2")
    leased = [{"report": under.items[0], "epoch": epoch} for epoch in (1, 2)]
    forge.add(dataclasses.replace(under, items=[*under.items, *leased]))
    body = {"merchant_id": "M-0001", "acquirer_id": "unionpay", "code": "77"}
    forge.add(registering(forge, "merchant_code", 1, **body))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.exceptions() == {"open": 0, "equivocations": 2}
    assert verifier.payments.counts() == {
        "closed": 1,
        "declined": 1,
        "requested": 1,
        "succeeded": 1,
    }
    assert verifier.leases.epoch("unionpay") == 2
    assert [step.what for step in verifier.payments.steps[KEY]] == [
        "intent",
        "close",
        "report",
        "contradiction",
    ]


@pytest.mark.parametrize("when", ["before the successor's", "after the successor's"])
def test_what_a_predecessor_says_after_a_takeover_is_no_contradiction(
    forge: Forge, when: str
) -> None:
    """It wakes, and its report on a payment that the successor ended otherwise travels with others
    to the ledger: refused as lease_lost, it stands in the arguments and nowhere else."""
    forge.add(forge.intent(), forge.intent("O-2"))
    forge.add(forge.lease(1))
    forge.add(forge.lease(2, "b"))
    own = [{"report": forge.report().items[0], "epoch": 2}]
    other = [{"report": forge.report("O-2").items[0], "epoch": 2}]
    woken = [{"report": forge.report(**DECLINED).items[0], "epoch": 1}]
    mixed = [woken + own, other] if when.startswith("before") else [own, woken + other]
    for items in mixed:
        forge.add(dataclasses.replace(forge.report(), items=items))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.counts() == {"succeeded": 2}
    assert verifier.payments.exceptions() == {"open": 0, "equivocations": 0}
    assert [step.what for step in verifier.payments.steps[KEY]] == ["intent", "report"]


def test_all_in_one_list_is_followed(forge: Forge) -> None:
    """What one item makes, a later one of the same list contradicts or resolves."""
    request = forge.intent()
    forge.add(dataclasses.replace(request, items=[*request.items, *forge.close().items]))
    told = [
        forge.report(**DECLINED),
        forge.report(sequence=2),
        forge.report(sequence=3, **REVERSED),
    ]
    other = forge.report(sequence=2, **DECLINED)
    items = [item for tx in (*told, other, told[0]) for item in tx.items]
    forge.add(dataclasses.replace(told[0], items=items))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    assert verifier.payments.exceptions() == {"open": 0, "equivocations": 1}


def test_a_payments_evidence_shows_what_was_signed(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(forge.close())
    forge.add(forge.report(**DECLINED))
    forge.add(forge.report(sequence=2))
    forge.add(shown(forge, sequence=1))
    payments = verify(forge.blocks)[0].payments
    told = evidence(payments.records[KEY], payments.steps[KEY])
    assert [step["signed"] for step in told["steps"]] == [
        "intent",
        "close",
        "report",
        "report",
        "contradiction",
    ]
    text = "\n".join(lines(told))
    assert "late_success by report 2: " in text and "CNY, open" in text
    assert "contradiction signed with key" in text


def test_what_a_merchant_signed_about_itself_is_followed(forge: Forge) -> None:
    changed_by_its_merchant(forge)
    forge.add(next_day(forge, BANKS))
    verifier, finding = verify(forge.blocks)
    assert finding is None
    merchant = verifier.registry.get("merchant", "M-0001")
    assert merchant is not None
    assert merchant["keys"][BANKS.key_id]["valid_from"] == "2026-11-24"
    assert [one["account_id"] for one in merchant["accounts"]] == ["f" * 64]
    assert verifier.payments.counts() == {"requested": 1}


def test_two_blocks_of_one_number_differ_in_the_tips(forge: Forge) -> None:
    """An orderer that shows two peers two histories: each is sound by itself."""
    tips = set()
    for order_no in ("O-1", "O-2"):
        other = forge.copy()
        other.add(other.intent(order_no))
        verifier, finding = verify(other.blocks)
        assert finding is None
        assert verifier.totals.blocks == len(forge.blocks) + 1
        tips.add(verifier.totals.tip)
    assert len(tips) == 2


# Each makes a wrong channel of a right one; the auditor must name this check, in this block.
Forgery = Callable[[Forge], None]


def _next_number(forge: Forge) -> None:
    del forge.blocks[2]


def _other_parent(forge: Forge) -> None:
    forge.blocks[-1] = altered(forge.blocks[-1], lambda b: setattr(b.header, "previous_hash", b"x"))


def _altered_data(forge: Forge) -> None:
    forge.add(forge.intent())

    def cut(block: Any) -> None:
        block.data.data[0] = block.data.data[0][:-1] + b"\0"

    forge.blocks[-1] = altered(forge.blocks[-1], cut)


def _unsigned_block(forge: Forge) -> None:
    forge.blocks[-1] = altered(forge.blocks[-1], lambda b: b.metadata.metadata.__setitem__(0, b""))


def _signed_by_a_peer(forge: Forge) -> None:
    other = forge.copy()
    other.orderer = lambda: forge.peer("BankOne")  # type: ignore[method-assign]
    forge.blocks.append(other.add(other.intent()))


def _missing_flags(forge: Forge) -> None:
    forge.add(forge.intent(), flags=b"\0\0")


def _hidden(forge: Forge) -> None:
    forge.add(forge.intent(), flags=MVCC_CONFLICT)


def _not_a_block(forge: Forge) -> None:
    forge.blocks.append(b"\xff\xff")


def _garbage(forge: Forge) -> None:
    forge.seal([b"\xff"], b"\0")


def _invented_id(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), tx_id="00" * 32))


def _signed_by_another(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), signer=("BankTwo", "gateway")))


def _other_proposal(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), proposal_hash=b"x" * 32))


def _twice(forge: Forge) -> None:
    envelope, _ = forge.envelope(forge.intent())
    forge.seal([envelope], b"\0")
    forge.seal([envelope], b"\0")


def _one_endorser(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), endorsers=("BankOne",)))


def _same_endorser_twice(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), endorsers=("BankOne", "BankOne")))


def _unknown_chaincode(forge: Forge) -> None:
    forge.seal([forge.raw("other", rwset("other", {}, {"k": b"v"}))], b"\0")


def _lifecycle_by_one(forge: Forge) -> None:
    change = rwset("_lifecycle", {}, {"namespaces/fields/clearline/ValidationInfo": b"x"})
    forge.seal([forge.raw("_lifecycle", change, endorsers=("BankOne",))], b"\0")


def _stale_read(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), stale=True))


def _key_policy(forge: Forge) -> None:
    change = rwset("clearline", {}, {})

    whole = rwset_pb2.TxReadWriteSet.FromString(change)
    kv = kv_rwset_pb2.KVRWSet()
    kv.metadata_writes.add(key="k")
    whole.ns_rwset[0].rwset = kv.SerializeToString()
    forge.seal([forge.raw("clearline", whole.SerializeToString())], b"\0")


def _written(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], Any]:
    def apply(writes: dict[str, bytes]) -> dict[str, bytes]:
        found = {key: json.loads(value) for key, value in writes.items()}
        for value in found.values():
            change(value)
        return {key: json.dumps(value).encode() for key, value in found.items()}

    return apply


def _two_peers_invent_an_amount(forge: Forge) -> None:
    inflate = _written(lambda payment: payment.update(amount=1))
    forge.add(dataclasses.replace(forge.intent(), writes=inflate))


def _requested_by_a_connector(forge: Forge) -> None:
    made = forge.envelope(forge.intent())[1]
    forge.add(
        dataclasses.replace(forge.intent(), user=("BankOne", "connector"), writes=lambda _: made)
    )


def _by_another_function(forge: Forge) -> None:
    made = forge.envelope(forge.intent())[1]
    forge.add(Tx("SubmitReports", [], ("BankOne", "connector"), writes=lambda _: made))


def _invented_intent(forge: Forge) -> None:
    """Two peers write a payment that the merchant's key never signed."""
    made = forge.envelope(forge.intent())[1]
    stranger = forge.intent(signer=KeySigner.generate())
    forge.add(dataclasses.replace(stranger, writes=lambda _: made))


def _expired_intent(forge: Forge) -> None:
    made = forge.envelope(forge.intent())[1]
    late = NOW.replace(hour=10)
    forge.add(dataclasses.replace(forge.intent(), time=late, writes=lambda _: made))


def _second_attempt_at_once(forge: Forge) -> None:
    forge.add(forge.intent())
    second = forge.intent(attempt=2)
    writes = dict(forge.envelope(forge.intent("O-9"))[1])
    value = json.loads(writes["payment/M-0001/O-9/0001"])
    value.update(order_no="O-1", attempt=2, intent=second.items[0]["intent"])
    forged = {"payment/M-0001/O-1/0002": json.dumps(value).encode()}
    forge.add(dataclasses.replace(second, writes=lambda _: forged))


def _deleted_payment(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(Tx("SubmitReports", [], ("BankOne", "connector"), writes=lambda _: {KEY: b""}))


def _reported(forge: Forge, signer: KeySigner | None = None, **changes: Any) -> Tx:
    """A report that two lying peers accept although the contract would not."""
    forge.add(forge.intent())
    honest = forge.envelope(forge.report())[1]
    tx = forge.report(signer=signer, **changes)

    said = reports.parse(tx.items[0]).report
    value = json.loads(honest[KEY])
    value.update(status=said.status, reason=said.reason, result=tx.items[0])
    value["reports"] = [[said.sequence, said.kind, said.status, said.digest()]]
    forged = {KEY: json.dumps(value).encode()}
    return dataclasses.replace(tx, writes=lambda _: forged)


def _result_by_a_stranger(forge: Forge) -> None:
    forge.add(_reported(forge, signer=KeySigner.generate()))


def _result_for_another_amount(forge: Forge) -> None:
    forge.add(_reported(forge, amount=1))


def _result_by_another_bank(forge: Forge) -> None:
    forge.add(dataclasses.replace(_reported(forge), user=("BankTwo", "connector")))


def _changed_without_report(forge: Forge) -> None:
    forge.add(forge.intent())
    honest = forge.envelope(forge.report())[1]
    forge.add(Tx("SubmitReports", [], ("BankOne", "connector"), writes=lambda _: honest))


def _checked_by_its_maker(forge: Forge) -> None:
    proposals = [
        dict(p, proposal_id=p["proposal_id"] + "-2")
        for p in registrations(forge.merchant, forge.acquirer)
        if p["kind"] == "entity"
    ]
    proposals[0]["body"] |= {"entity_id": "E-2", "registration_no": "R2"}
    forge.add(Tx("ProposeRecords", proposals, ("BankOne", "maker")))
    decision = [{"proposal_id": "p-entity-2", "decision": "approve"}]
    honest = forge.envelope(Tx("DecideRecords", decision, ("BankOne", "checker")))[1]
    forge.add(Tx("DecideRecords", decision, ("BankTwo", "checker"), writes=lambda _: honest))


def _merchant_code_of_another(forge: Forge) -> None:
    proposals = [
        p for p in registrations(KeySigner.generate(), forge.acquirer) if p["kind"] == "merchant"
    ]
    proposals[0]["proposal_id"] = "p-merchant-2"
    proposals[0]["body"] |= {"merchant_id": "M-2"}
    forge.add(Tx("ProposeRecords", proposals, ("BankOne", "maker")))
    decision = [{"proposal_id": "p-merchant-2", "decision": "approve"}]
    written = json.loads(forge.state["merchant/M-0001"][0]) | {"merchant_id": "M-2"}
    proposal = json.loads(forge.state["proposal/p-merchant-2"][0]) | {"status": "approved"}
    forged = {
        "merchant/M-2": json.dumps(written).encode(),
        "proposal/p-merchant-2": json.dumps(proposal).encode(),
    }
    forge.add(Tx("DecideRecords", decision, ("BankOne", "checker"), writes=lambda _: forged))


def _record_from_nowhere(forge: Forge) -> None:
    written = {"entity/E-9": b'{"type":"entity"}'}
    forge.add(Tx("DecideRecords", [], ("BankOne", "checker"), writes=lambda _: written))


def _broken_genesis(forge: Forge) -> None:
    def empty(block: Any) -> None:
        block.data.data[0] = common_pb2.Envelope(payload=b"").SerializeToString()

        block.header.data_hash = block_data_hash(list(block.data.data))

    forge.blocks[:] = [altered(forge.blocks[0], empty)]


FORGERIES: list[tuple[Forgery, Check]] = [
    (_not_a_block, Check.BLOCK_FORM),
    (_next_number, Check.BLOCK_NUMBER),
    (_other_parent, Check.HEADER_CHAIN),
    (_altered_data, Check.DATA_HASH),
    (_unsigned_block, Check.ORDERER_SIGNATURE),
    (_signed_by_a_peer, Check.ORDERER_SIGNATURE),
    (_missing_flags, Check.FLAGS),
    (_hidden, Check.FLAGS),
    (_broken_genesis, Check.CONFIGURATION),
    (_garbage, Check.TRANSACTION_FORM),
    (_invented_id, Check.TRANSACTION_ID),
    (_signed_by_another, Check.CREATOR),
    (_other_proposal, Check.PROPOSAL_HASH),
    (_twice, Check.DUPLICATE_ID),
    (_one_endorser, Check.ENDORSEMENT),
    (_same_endorser_twice, Check.ENDORSEMENT),
    (_unknown_chaincode, Check.ENDORSEMENT),
    (_lifecycle_by_one, Check.ENDORSEMENT),
    (_stale_read, Check.READ_VERSIONS),
    (_key_policy, Check.UNCHECKED),
    (_two_peers_invent_an_amount, Check.RECORD),
    (_by_another_function, Check.RECORD),
    (_deleted_payment, Check.RECORD),
    (_record_from_nowhere, Check.RECORD),
    (_requested_by_a_connector, Check.ROLE),
    (_result_by_another_bank, Check.ROLE),
    (_invented_intent, Check.MERCHANT_SIGNATURE),
    (_expired_intent, Check.INTENT),
    (_second_attempt_at_once, Check.ATTEMPT),
    (_result_by_a_stranger, Check.ACQUIRER_SIGNATURE),
    (_result_for_another_amount, Check.REPORT),
    (_changed_without_report, Check.REPORT),
    (_checked_by_its_maker, Check.MAKER_CHECKER),
    (_merchant_code_of_another, Check.OWNERSHIP),
    *PAYMENT_FORGERIES,
    *CHANGE_FORGERIES,
]


@pytest.mark.parametrize(("forgery", "check"), FORGERIES, ids=[f.__name__ for f, _ in FORGERIES])
def test_a_forgery_is_named(forge: Forge, forgery: Forgery, check: Check) -> None:
    forgery(forge)
    _, finding = verify(forge.blocks)
    assert finding is not None
    assert finding.check is check, finding


def test_every_check_is_reached() -> None:
    assert {check for _, check in FORGERIES} == set(Check)


async def _read(path: Path) -> list[bytes]:
    return [raw async for raw in from_file(path)]


def test_an_export_holds_the_blocks_and_a_cut_one_is_refused(forge: Forge, tmp_path: Path) -> None:

    path = tmp_path / "blocks.bin"
    export = Export(path)
    for raw in forge.blocks:
        export.add(raw)
    export.close()
    assert asyncio.run(_read(path)) == forge.blocks
    whole = path.read_bytes()
    for cut, why in ((whole[:-1], "inside a block"), (b"x" + whole, "no export")):
        path.write_bytes(cut)
        with pytest.raises(SourceError, match=why):
            asyncio.run(_read(path))
