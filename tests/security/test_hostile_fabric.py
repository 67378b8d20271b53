"""Below the contract: certificates, proposals and envelopes that no honest client would send."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import parties
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2
from security_world import Who, World, dumped

from clearline.fabric import protoutil
from clearline.fabric.errors import EndorseError, FabricError, SubmitError
from clearline.fabric.identity import X509Signer
from clearline.fabric.transaction import Transaction
from network.administration import assemble
from network.certificates import ATTRIBUTES_OID, Authority, create_authority

READ = [["merchant", parties.MERCHANT]]


def certified(authority: Authority, starts: timedelta, lives: timedelta) -> X509Signer:
    """A gateway of BankOne, by this authority, valid from `starts` on for `lives`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "client"),
            x509.NameAttribute(NameOID.COMMON_NAME, "gateway"),
        ]
    )
    role = b'{"attrs":{"clearline.role":"gateway"}}'
    begin = datetime.now(UTC) + starts
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + lives)
        .add_extension(x509.UnrecognizedExtension(ATTRIBUTES_OID, role), critical=False)
        .sign(authority.private_key, hashes.SHA256())
    )
    return X509Signer("BankOne", certificate.public_bytes(Encoding.PEM), key)


@pytest.mark.parametrize("at", ["BankOne", "BankTwo", "Supervisor"])
def test_who_is_nobody(world: World, at: str) -> None:
    """Expired, another CA's under the CA's name, another MSP's than the CA's, an MSP of no
    member: refused by every peer, for reading too."""
    # A member's CA is five minutes old, and who is older than its CA is nobody anyway.
    minute = timedelta(minutes=1)
    foreign = create_authority("BankOne", "ca.bankone")
    for signer in (
        certified(world.authority("BankOne"), -3 * minute, minute),
        certified(foreign, -3 * minute, 60 * minute),
        world.signer(Who("BankOne", "gateway", claims="BankTwo")),
        world.signer(Who("BankTwo", "gateway", claims="BankOne")),
        world.signer(Who("BankOne", "gateway", claims="Elsewhere")),
    ):
        answer = world.evaluate(signer, "GetRecords", READ, at)
        assert answer.refused == "peer", answer
    mine = certified(world.authority("BankOne"), -3 * minute, 60 * minute)
    answer = world.evaluate(mine, "GetRecords", READ, at)
    assert answer.refused == "", answer


def test_somebody_elses_certificate_without_its_key(world: World) -> None:
    """A certificate is public: it is the signature that counts."""

    class Thief:
        msp_id = "BankOne"
        identity = world.user("BankOne", "gateway").identity
        sign = staticmethod(world.user("BankTwo", "gateway").sign)

    thief: Any = Thief()
    answer = world.evaluate(thief, "GetRecords", READ, "BankOne")
    assert answer.refused == "peer"


def endorsed(world: World, items: Any, bank: str = "BankOne") -> Transaction:
    """A transaction of this bank's gateway, ready to be submitted."""
    gateway = world.gateway(world.user(bank, "gateway"))
    contract = gateway.network("payments").contract("clearline")
    transaction = world.run(contract.new_proposal("SubmitIntents", [dumped(items)]).endorse())
    transaction.sign()
    return transaction


async def flag(transaction: Transaction) -> str:
    """Submit it; the name of the code it is committed with, or `refused`."""
    try:
        commit = await transaction.submit()
    except SubmitError as error:
        assert error.outcome == "not_applied"
        return "refused"
    return (await commit.status()).code_name


def test_one_envelope_five_times(world: World) -> None:
    """The first copy counts; the others are nothing, and the payment is there once."""
    wanted = parties.intent()
    transaction = endorsed(world, [parties.item(wanted)])

    async def five_times() -> list[str]:
        return await asyncio.gather(*(flag(transaction) for _ in range(5)))

    assert set(world.run(five_times())) == {"VALID"}  # the status is the first copy's
    gateway = world.user("BankOne", "gateway")
    again = world.submit(gateway, "SubmitIntents", [parties.item(wanted)])
    assert again.codes == ["duplicate"]
    record = world.record("payment", f"{wanted.merchant_id}/{wanted.order_no}/0001")
    assert record["txs"] == [transaction.transaction_id]


def test_a_proposal_is_endorsed_once(world: World) -> None:
    """Its transaction is on the ledger: the same proposal again is refused."""
    gateway = world.gateway(world.user("BankOne", "gateway"))
    contract = gateway.network("payments").contract("clearline")
    proposal = contract.new_proposal("SubmitIntents", [dumped([parties.item(parties.intent())])])
    transaction = world.run(proposal.endorse())
    assert world.run(flag(transaction)) == "VALID"
    with pytest.raises(EndorseError, match="duplicate transaction found"):
        world.run(proposal.endorse())


def with_payload(transaction: Transaction, change: Any) -> Any:
    """The transaction with its payload changed, the signature kept."""
    prepared = gateway_pb2.PreparedTransaction.FromString(transaction.to_bytes())
    payload = common_pb2.Payload.FromString(prepared.envelope.payload)
    change(payload)
    prepared.envelope.payload = payload.SerializeToString()
    return prepared


def test_an_envelope_altered_after_it_was_signed(world: World) -> None:
    wanted = parties.intent()
    transaction = endorsed(world, [parties.item(wanted)])

    def longer(payload: Any) -> None:
        payload.data += b"\x12\x00"

    prepared: Any = with_payload(transaction, longer)
    gateway = world.gateway(world.user("BankOne", "gateway"))
    forged = gateway.new_transaction(prepared.SerializeToString())
    assert world.run(flag(forged)) in ("refused", "BAD_CREATOR_SIGNATURE")
    assert world.record("payment", f"{wanted.merchant_id}/{wanted.order_no}/0001") is None


def test_the_endorsement_of_one_bank_alone(world: World) -> None:
    """A bank's peer signs what it likes: every peer commits it as nothing."""
    wanted = parties.intent()
    signer = world.user("BankOne", "gateway")
    argument = dumped([parties.item(wanted)])
    transaction_id, proposal = protoutil.make_chaincode_proposal(
        "payments", "clearline", [b"SubmitIntents", argument], signer.identity
    )
    signed = protoutil.sign_proposal(signer, proposal)
    world.channel("BankOne")
    response = world.run(world.endorsement("BankOne", signed))
    for responses in ([response], [response, response]):
        envelope = assemble(proposal, responses)
        prepared = gateway_pb2.PreparedTransaction(transaction_id=transaction_id, envelope=envelope)
        gateway = world.gateway(signer)
        transaction = gateway.new_transaction(prepared.SerializeToString())
        assert world.run(flag(transaction)) == "ENDORSEMENT_POLICY_FAILURE"
    assert world.record("payment", f"{wanted.merchant_id}/{wanted.order_no}/0001") is None


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_proposal_of_another_time(world: World, minutes: int) -> None:
    """Who could choose the transaction's time could make an expired intent good."""
    signer = world.user("BankOne", "gateway")
    wanted = parties.intent()
    _, raw = protoutil.make_chaincode_proposal(
        "payments", "clearline", [b"SubmitIntents", dumped([parties.item(wanted)])],
        signer.identity,
    )  # fmt: skip
    proposal = proposal_pb2.Proposal.FromString(raw)
    header = common_pb2.Header.FromString(proposal.header)
    channel = common_pb2.ChannelHeader.FromString(header.channel_header)
    channel.timestamp.seconds = int(time.time()) + minutes * 60
    header.channel_header = channel.SerializeToString()
    proposal.header = header.SerializeToString()
    signed = protoutil.sign_proposal(signer, proposal.SerializeToString())
    world.channel("BankOne")
    response = world.run(world.endorsement("BankOne", signed)).response
    assert (response.status, response.message[:24]) == (400, "timestamp_out_of_window:")


def test_what_a_gateway_orders_alone_is_in_a_block_and_nothing(world: World) -> None:
    """Anybody who may write can have bytes ordered. They stand there, flagged; nothing is
    written. (docs/trust.md says what that means for card data.)"""
    wanted = parties.intent()
    signer = world.user("BankOne", "gateway")
    transaction_id, proposal = protoutil.make_chaincode_proposal(
        "payments", "clearline", [b"SubmitIntents", dumped([parties.item(wanted)])],
        signer.identity,
    )  # fmt: skip
    world.channel("BankOne")
    honest = world.run(world.endorsement("BankOne", protoutil.sign_proposal(signer, proposal)))
    honest.ClearField("endorsement")
    envelope = assemble(proposal, [honest])
    prepared = gateway_pb2.PreparedTransaction(transaction_id=transaction_id, envelope=envelope)
    transaction = world.gateway(signer).new_transaction(prepared.SerializeToString())
    assert world.run(flag(transaction)) == "ENDORSEMENT_POLICY_FAILURE"
    assert world.record("payment", f"{wanted.merchant_id}/{wanted.order_no}/0001") is None


def test_errors_say_who_refused(world: World) -> None:
    """A client can tell a refusal that changed nothing from what it does not know."""
    contract = world.gateway(world.user("BankOne", "connector")).network("payments")
    proposal = contract.contract("clearline").new_proposal("SubmitIntents", ["[1]"])
    with pytest.raises(FabricError) as caught:
        world.run(proposal.endorse())
    assert caught.value.outcome == "not_applied"
