"""Forgeries of blocks, envelopes and endorsements, and of the plainest records: each makes a wrong
channel of a right one, and names the check that must find it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from forge import NOW, OWN, Forge, Tx, rwset
from payment_forgeries import KEY
from registrations import registrations

from audit.findings import Check
from clearline import canonical, reports
from clearline.fabric.protoutil import block_data_hash
from clearline.jws import KeySigner

MVCC_CONFLICT = bytes([11])
Forgery = Callable[[Forge], None]


def altered(raw: bytes, change: Callable[[Any], None]) -> bytes:
    block = common_pb2.Block.FromString(raw)
    change(block)
    return bytes(block.SerializeToString())


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
        return {key: canonical.dumps(value) for key, value in found.items()}

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
    items = forge.intent().items
    forge.add(Tx("SubmitReports", items, ("BankOne", "connector"), writes=lambda _: made))


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
    forged = {"payment/M-0001/O-1/0002": canonical.dumps(value)}
    forge.add(dataclasses.replace(second, writes=lambda _: forged))


def _deleted_payment(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(dataclasses.replace(forge.report(), writes=lambda _: {KEY: b""}))


def _reported(forge: Forge, signer: KeySigner | None = None, **changes: Any) -> Tx:
    """A report that two lying peers accept although the contract would not."""
    forge.add(forge.intent())
    honest = forge.envelope(forge.report())[1]
    tx = forge.report(signer=signer, **changes)

    said = reports.parse(tx.items[0]).report
    value = json.loads(honest[KEY])
    value.update(status=said.status.value, reason=said.reason.value, result=tx.items[0])
    value["reports"] = [[said.sequence, said.kind.value, said.status.value, said.digest(), OWN]]
    forged = {KEY: canonical.dumps(value)}
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
    forge.add(dataclasses.replace(forge.report("O-2"), writes=lambda _: honest))


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
        "merchant/M-2": canonical.dumps(written),
        "proposal/p-merchant-2": canonical.dumps(proposal),
    }
    forge.add(Tx("DecideRecords", decision, ("BankOne", "checker"), writes=lambda _: forged))


def _record_from_nowhere(forge: Forge) -> None:
    written = {"entity/E-9": b'{"type":"entity"}'}
    decision = [{"proposal_id": "none", "decision": "approve"}]
    forge.add(Tx("DecideRecords", decision, ("BankOne", "checker"), writes=lambda _: written))


def _broken_genesis(forge: Forge) -> None:
    def empty(block: Any) -> None:
        block.data.data[0] = common_pb2.Envelope(payload=b"").SerializeToString()

        block.header.data_hash = block_data_hash(list(block.data.data))

    forge.blocks[:] = [altered(forge.blocks[0], empty)]


BLOCK_FORGERIES: list[tuple[Forgery, Check]] = [
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
    (_by_another_function, Check.FORM),
    (_deleted_payment, Check.RECORD),
    (_record_from_nowhere, Check.MAKER_CHECKER),
    (_requested_by_a_connector, Check.ROLE),
    (_result_by_another_bank, Check.ROLE),
    (_invented_intent, Check.MERCHANT_SIGNATURE),
    (_expired_intent, Check.INTENT),
    (_second_attempt_at_once, Check.ATTEMPT),
    (_result_by_a_stranger, Check.ACQUIRER_SIGNATURE),
    (_result_for_another_amount, Check.REPORT),
    (_changed_without_report, Check.RECORD),
    (_checked_by_its_maker, Check.MAKER_CHECKER),
    (_merchant_code_of_another, Check.OWNERSHIP),
]
