"""Those who carry and those who endorse, lying: what each can do, and who finds it.

Single forgeries are tests/audit's; here two peers of a running network write one together.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from types import MappingProxyType
from typing import Any

import parties
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from fabric_protos.gateway import gateway_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import proposal_pb2, proposal_response_pb2
from parties import ONE, OWNER
from security_world import PEERS, Web, World, dumped

from audit.findings import Check, Finding
from audit.source import from_peer
from audit.verifier import Verifier
from clearline import answers, canonical, intents, jws, times
from clearline.answers import PaymentAnswer
from clearline.fabric import protoutil
from clearline.intents import PayIntent
from clearline.jws import Algorithm, KeySigner
from merchant.profile import Pins
from merchant.verify import Asked, Dispute, DisputedError, verify
from network.administration import assemble


def audited(world: World) -> tuple[Verifier, Finding | None]:
    """The ledger of the Supervisor's peer, verified block by block to the first finding."""
    verifier = Verifier(world.network, "clearline")

    async def found() -> Finding | None:
        async for raw in from_peer(world.profile("Supervisor", "auditor")):
            finding = verifier.take(raw)
            if finding is not None:
                return finding
        return None

    return verifier, asyncio.run(found())


def forged(action: Any, key: str, **members: Any) -> bytes:
    """The read-write set with members of one written record changed."""
    sets = rwset_pb2.TxReadWriteSet.FromString(action.results)
    for one in sets.ns_rwset:
        kv = kv_rwset_pb2.KVRWSet.FromString(one.rwset)
        for write in kv.writes:
            if write.key == key:
                write.value = canonical.dumps(json.loads(write.value) | members)
        one.rwset = kv.SerializeToString()
    return bytes(sets.SerializeToString())


def endorsed_by(world: World, banks: tuple[str, ...], payload: bytes) -> list[Any]:
    """ProposalResponses over this payload, signed with the peers' own keys."""
    signers = [world.node(PEERS[bank], bank) for bank in banks]
    return [
        proposal_response_pb2.ProposalResponse(
            payload=payload,
            endorsement=proposal_response_pb2.Endorsement(
                endorser=signer.identity, signature=signer.sign(payload + signer.identity)
            ),
        )
        for signer in signers
    ]


def write_together(world: World, wanted: PayIntent, **members: Any) -> int:
    """A request for payment, endorsed by two colluding peers with another record than the
    contract's; the block it is VALID in."""
    submitter = world.user("BankOne", "gateway")
    args = [b"SubmitIntents", dumped([parties.item(wanted)])]
    transaction_id, proposal = protoutil.make_chaincode_proposal(
        "payments", "clearline", args, submitter.identity
    )
    world.channel("BankOne")
    signed = protoutil.sign_proposal(submitter, proposal)
    honest = world.run(world.endorsement("BankOne", signed))
    payload = proposal_response_pb2.ProposalResponsePayload.FromString(honest.payload)
    action = proposal_pb2.ChaincodeAction.FromString(payload.extension)
    action.results = forged(action, f"payment/{wanted.merchant_id}/{wanted.order_no}/0001",
                            **members)  # fmt: skip
    payload.extension = action.SerializeToString()
    responses = endorsed_by(world, ("BankOne", "BankTwo"), payload.SerializeToString())
    prepared = gateway_pb2.PreparedTransaction(
        transaction_id=transaction_id, envelope=assemble(proposal, responses)
    )
    transaction = world.gateway(submitter).new_transaction(prepared.SerializeToString())
    transaction.sign()

    async def committed() -> Any:
        return await (await transaction.submit()).status()

    status = world.run(committed())
    assert status.code_name == "VALID"
    return int(status.block_number)


def test_two_peers_that_collude_are_found(world: World) -> None:
    """Everything hostile until now left nothing wrong on the ledger. Then two banks' peers write
    a success that no acquirer signed: every peer takes it, the auditor names it, and the merchant
    believes nothing."""
    verifier, finding = audited(world)
    assert finding is None, str(finding)
    assert verifier.totals.blocks > 5
    wanted = parties.intent()
    block = write_together(world, wanted, status="succeeded", reason="approved")
    shown = world.web[1].ask(
        "GET",
        f"/v1/payments/{wanted.order_no}?min_block={block}",
        headers=world.web[1].token(parties.MERCHANT, OWNER),
    )
    answer = PaymentAnswer.from_json(shown.json())
    assert (answer.status, answer.final, answer.result) == ("succeeded", True, None)
    with pytest.raises(DisputedError) as disputed:
        verify(
            answer,
            Asked(wanted.key, {wanted.digest(): wanted}),
            Pins(MappingProxyType({}), frozenset()),
        )
    assert disputed.value.code is Dispute.RESULT_MISSING
    _, finding = audited(world)
    assert finding is not None
    assert (finding.block, finding.check) == (block, Check.RECORD)


def received(web: Web) -> tuple[PayIntent, Any]:
    """An intent and its 202; now and then the ledger is quicker than the answer."""
    for _ in range(20):
        wanted = parties.intent()
        answer = web.post(intents.sign(wanted, OWNER), Prefer="respond-async")
        if answer.status_code == 202:
            return wanted, answer.json()
        assert answer.status_code == 201, answer.text
    raise AssertionError("never a 202 in twenty")


def test_a_gateway_that_drops_has_signed_that_it_would_not(world: World) -> None:
    """Its word, made before it did anything: a receipt, signed with the key of the certificate
    that the bank's CA gave it, with a deadline. Without the payment on the ledger at the deadline
    it proves the omission to whoever has the CA."""
    for web in world.web:
        wanted, answer = received(web)
        receipt, token = answers.parse_receipt(answer["receipt"])
        certificate = x509.load_pem_x509_certificate(
            world.profile(web.bank, "gateway").certificate.read_bytes()
        )
        certificate.verify_directly_issued_by(world.authority(web.bank).certificate)
        public = certificate.public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        jws.public_key(jws.public_jwk(public), Algorithm.ES256).verify(token)
        assert receipt.intent_digest == wanted.digest()
        assert (receipt.order_no, receipt.attempt) == (wanted.order_no, 1)
        assert times.now() < receipt.deadline <= times.after(times.now(), 301)
        with pytest.raises(jws.SignatureInvalidError):
            other = KeySigner.generate(Algorithm.ES256)
            jws.public_key(other.jwk, Algorithm.ES256).verify(token)


def test_a_gateway_that_says_nothing_costs_another_post(world: World) -> None:
    """Dropped without a receipt: the merchant posts the same intent elsewhere, and whatever the
    first one does later is a duplicate."""
    compact = intents.sign(parties.intent(), OWNER)
    assert world.web[1].post(compact).status_code == 201
    late = world.submit(
        world.user("BankOne", "gateway"),
        "SubmitIntents",
        [{"intent": compact, "acquirer_id": ONE}],
    )
    assert late.codes == ["duplicate"]


def test_evidence_is_of_the_bytes_that_were_signed(world: World) -> None:
    """Two of a kind with the same digest are one report, however its text is spelt elsewhere."""
    wanted = parties.requested(world)
    report = parties.signed_report(wanted)
    digest = hashlib.sha256(jws.decode(report.split(".")[1])).hexdigest()
    connector = world.user("BankOne", "connector")
    assert world.submit(connector, "SubmitReports", [report]).codes == ["ok"]
    record = world.record("payment", f"{wanted.merchant_id}/{wanted.order_no}/0001")
    assert record["reports"][0][3] == digest
