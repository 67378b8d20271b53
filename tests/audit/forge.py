"""A channel made by hand: right blocks from real certificates, the real genesis and the real
contract - and whatever a forger would make of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    policy_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2
from registrations import registrations
from samples import INTENT, REPORT

from chaincode.contract import functions
from chaincode.contract.context import ROLE_ATTRIBUTE, Submitter, Transaction
from chaincode.shim.identity import client_identity
from clearline import intents, reports
from clearline.codes import Refusal
from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer
from clearline.intents import CloseIntent
from clearline.jws import KeySigner
from clearline.records import EVENT
from network import genesis, identities, topology_file
from network.certificates import Authority, issue_identity
from network.embedded.orderer.blocks import Assembler
from network.home import Home
from network.topology import DEFAULT_TOPOLOGY

NETWORK = "clearline-dev"
CLOSE = CloseIntent(NETWORK, INTENT.merchant_id, "O-1", 1, "2026-11-23T08:20:00.000Z")
NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
OWN = "the forger's own transaction"  # what a forged record may call it before it has an id
PEERS = {"BankOne": "peer0.bankone", "BankTwo": "peer0.banktwo", "Supervisor": "peer0.supervisor"}
Writes = Mapping[str, bytes]
Answer = list[dict[str, Any]]


@dataclass(frozen=True)
class Decided:
    """What a contract answers a transaction: what it read, wrote, answered and told."""

    reads: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    writes: dict[str, bytes] = field(default_factory=dict)
    answer: Any = ()
    event: bytes = b""
    status: int = 200


@dataclass(frozen=True)
class Tx:
    """A transaction to make. Whatever is not None replaces what an honest one would carry."""

    function: str
    items: Sequence[Any]
    user: tuple[str, str] = ("BankOne", "gateway")
    endorsers: tuple[str, ...] = ("BankOne", "Supervisor")
    writes: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    answer: Callable[[Answer], Any] | None = None
    event: bytes | None = None
    lie: Callable[[str, Decided], Decided] | None = None  # by the transaction's id
    status: int = 200
    argument: bytes | None = None
    time: datetime = NOW
    proposal_hash: bytes | None = None
    tx_id: str | None = None
    signer: tuple[str, str] | None = None
    stale: bool = False
    channel: str = "payments"


@dataclass
class Forge:
    """Makes a channel's blocks one by one, and keeps the state they lead to."""

    home: Home
    merchant: KeySigner = field(default_factory=KeySigner.generate)
    acquirer: KeySigner = field(default_factory=KeySigner.generate)
    blocks: list[bytes] = field(default_factory=list)
    state: dict[str, tuple[bytes, tuple[int, int]]] = field(default_factory=dict)
    actors: dict[tuple[str, str], X509Signer] = field(default_factory=dict)
    drafts: list[str] = field(default_factory=lambda: [OWN])  # ids of transactions not sent

    @classmethod
    def start(cls, folder: Path) -> Forge:
        """Identities, genesis, the contract's definition, and the registered merchant."""
        forge = cls.blank(folder)
        forge.register()
        return forge

    @classmethod
    def blank(cls, folder: Path) -> Forge:
        """The same with nobody registered."""
        plan = topology_file.load(DEFAULT_TOPOLOGY)
        forge = cls(Home(folder))
        identities.create(forge.home, plan)
        first = common_pb2.Block.FromString(genesis.create(forge.home, plan))
        first.metadata.metadata[2] = b"\0"  # as peers keep it
        forge.blocks.append(first.SerializeToString())
        forge.define()
        return forge

    def copy(self) -> Forge:
        """The same channel, to go on differently."""
        drafts, blocks = list(self.drafts), list(self.blocks)
        return dataclasses.replace(self, blocks=blocks, state=dict(self.state), drafts=drafts)

    def user(self, organization: str, name: str) -> X509Signer:
        """A user's signer."""
        known = self.actors.get((organization, name))
        if known is not None:
            return known
        return self._signer(organization, self.home.user(organization, name) / "msp")

    def actor(self, who: Submitter) -> tuple[str, str]:
        """A user that is this person in this role, whose certificate is made when first asked."""
        name = f"{who.person}-as-{who.role}"
        if (who.msp_id, name) not in self.actors:
            folder = self.home.organization(who.msp_id) / "ca"
            secret: Any = serialization.load_pem_private_key(
                (folder / "key.pem").read_bytes(), None
            )
            certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
            authority = Authority(certificate, secret)
            attributes = {ROLE_ATTRIBUTE: who.role} if who.role else {}
            made = issue_identity(authority, who.msp_id, "client", who.person, attributes)
            key: Any = serialization.load_pem_private_key(made.private_key, None)
            self.actors[who.msp_id, name] = X509Signer(who.msp_id, made.certificate, key)
        return who.msp_id, name

    def peer(self, organization: str) -> X509Signer:
        """A peer's signer."""
        return self._signer(organization, self.home.node(organization, PEERS[organization]) / "msp")

    def orderer(self) -> X509Signer:
        """The orderer's signer."""
        return self._signer("Supervisor", self.home.node("Supervisor", "orderer0") / "msp")

    def add(self, *transactions: Tx, flags: bytes | None = None) -> bytes:
        """A block of these transactions; flags default to VALID, and only VALID ones count."""
        number = len(self.blocks)
        flags = bytes(len(transactions)) if flags is None else flags
        envelopes = []
        for index, transaction in enumerate(transactions):
            _, envelope, writes = self._made(transaction)
            envelopes.append(envelope)
            if flags[index] == 0:
                for key, value in writes.items():
                    self.state[key] = (value, (number, index))
        return self.seal(envelopes, flags)

    def seal(self, envelopes: Sequence[bytes], flags: bytes) -> bytes:
        """The next block of these envelopes, signed by the orderer, with a peer's flags."""
        raw = Assembler(self.blocks[-1], self.orderer()).next_block(envelopes)
        block = common_pb2.Block.FromString(raw)
        block.metadata.metadata[2] = flags
        self.blocks.append(block.SerializeToString())
        return self.blocks[-1]

    def envelope(self, tx: Tx) -> tuple[bytes, dict[str, bytes]]:
        """A signed transaction that is not sent, and what it writes."""
        tx_id, envelope, writes = self._made(tx)
        self.drafts.append(tx_id)
        return envelope, writes

    def _made(self, tx: Tx) -> tuple[str, bytes, dict[str, bytes]]:
        submitter = self.user(*tx.user)
        argument = tx.argument or json.dumps(list(tx.items)).encode()
        tx_id, proposal_bytes = protoutil.make_chaincode_proposal(
            tx.channel, "clearline", [tx.function.encode(), argument], submitter.identity,
            timestamp_ns=int(tx.time.timestamp()) * 10**9,
        )  # fmt: skip
        proposal = proposal_pb2.Proposal.FromString(proposal_bytes)
        decided = self._forged(tx, self._decide(tx, tx_id, submitter))
        if tx.lie is not None:
            decided = tx.lie(tx_id, decided)
        decided = dataclasses.replace(decided, writes=self._as_its_own(decided.writes, tx_id))
        changes = rwset("clearline", decided.reads, decided.writes)
        return tx_id, self._assemble(tx, tx_id, proposal, changes, decided=decided), decided.writes

    def _as_its_own(self, writes: dict[str, bytes], tx_id: str) -> dict[str, bytes]:
        """A forger takes records from an honest transaction that was never sent; in them it names
        its own, or every forgery would be found by that name."""
        for other in self.drafts:
            writes = {
                key: value.replace(other.encode(), tx_id.encode()) for key, value in writes.items()
            }
        return writes

    def _forged(self, tx: Tx, honest: Decided) -> Decided:
        """What lying endorsers sign in the place of what the contract decided."""
        changed: dict[str, Any] = {"status": tx.status}
        if tx.writes is not None:
            changed["writes"] = tx.writes(honest.writes)
        if tx.stale:
            changed["reads"] = dict.fromkeys(honest.reads, (0, 0))
        if tx.answer is not None:
            changed["answer"] = tx.answer(honest.answer)
        if tx.event is not None:
            changed["event"] = tx.event
        return dataclasses.replace(honest, **changed)

    def define(self, policy: policy_pb2.ApplicationPolicy | None = None) -> None:
        """A committed definition of the contract, endorsed by the channel's policy or `policy`."""
        policy = policy or policy_pb2.ApplicationPolicy(
            channel_config_policy_reference="/Channel/Application/Endorsement"
        )
        info = chaincode_definition_pb2.ChaincodeValidationInfo(
            validation_plugin="vscc", validation_parameter=policy.SerializeToString()
        )
        data = db_pb2.StateData(Bytes=info.SerializeToString()).SerializeToString()
        key = "namespaces/fields/clearline/ValidationInfo"
        self.seal([self.raw("_lifecycle", rwset("_lifecycle", {}, {key: data}))], b"\0")

    def raw(
        self, chaincode: str, results: bytes, endorsers: tuple[str, ...] = ("BankOne", "BankTwo")
    ) -> bytes:
        """A signed transaction of another chaincode with this read-write set."""
        submitter = self.user("BankOne", "admin")
        tx_id, proposal_bytes = protoutil.make_chaincode_proposal(
            "payments", chaincode, [b"x"], submitter.identity
        )
        proposal = proposal_pb2.Proposal.FromString(proposal_bytes)
        tx = Tx("", (), user=("BankOne", "admin"), endorsers=endorsers)
        return self._assemble(tx, tx_id, proposal, results, chaincode)

    def register(self) -> None:
        """Acquirer, entity, account and merchant, by BankOne's maker and checker."""
        wanted = registrations(self.merchant, self.acquirer)
        self.add(Tx("ProposeRecords", wanted, ("BankOne", "maker")))
        decisions = [{"proposal_id": w["proposal_id"], "decision": "approve"} for w in wanted]
        self.add(Tx("DecideRecords", decisions, ("BankOne", "checker")))

    def intent(self, order_no: str = "O-1", signer: KeySigner | None = None, **changes: Any) -> Tx:
        """A request for payment."""
        wanted = dataclasses.replace(INTENT, order_no=order_no, **changes)
        compact = intents.sign(wanted, signer or self.merchant)
        return Tx("SubmitIntents", [{"intent": compact, "acquirer_id": "unionpay"}])

    def report(self, order_no: str = "O-1", signer: KeySigner | None = None, **changes: Any) -> Tx:
        """A report on it; by default the result `succeeded`."""
        wanted = dataclasses.replace(INTENT, order_no=order_no)
        key = wanted.key._replace(attempt=changes.get("attempt", 1))
        about = {
            "order_no": order_no,
            "intent_digest": wanted.digest(),
            "acquirer_reference": reports.acquirer_reference(key, NETWORK),
        }
        said = dataclasses.replace(REPORT, **(about | changes))
        compact = reports.sign(said, signer or self.acquirer)
        return Tx("SubmitReports", [compact], ("BankOne", "connector"))

    def close(self, order_no: str = "O-1", signer: KeySigner | None = None, **changed: Any) -> Tx:
        """A merchant's close of it."""
        wanted = dataclasses.replace(CLOSE, order_no=order_no, **changed)
        return Tx("SubmitIntents", [{"intent": intents.sign(wanted, signer or self.merchant)}])

    def lease(self, epoch: int, holder: str = "a", bank: str = "BankOne") -> Tx:
        """A takeover of the acquirer's lease."""
        item = {"acquirer_id": "unionpay", "epoch": epoch, "holder": holder}
        return Tx("TakeLease", [item], (bank, "connector"))

    def _decide(self, tx: Tx, tx_id: str, submitter: X509Signer) -> Decided:
        """What the contract answers; nothing where it refuses the call as a whole, or reads."""
        who = Submitter(submitter.msp_id, role(submitter), person(submitter))
        try:
            writer = functions.function(tx.function, who)
            if isinstance(writer, functions.KeyReader | functions.RangeReader):
                return Decided()
            batch = writer.batch(tx.argument or json.dumps(list(tx.items)).encode())
        except Refusal:
            return Decided()
        committed: dict[str, bytes | None] = {}
        while missing := batch.missing(committed):
            committed |= {key: self.state.get(key, (None,))[0] for key in missing}
        decision = batch.decide(Transaction(tx_id, tx.time, NETWORK, who), committed)
        reads = {key: self.state[key][1] if key in self.state else None for key in committed}
        answer = [outcome.to_json() for outcome in decision.outcomes]
        return Decided(reads, dict(decision.writes), answer, decision.event)

    def _assemble(
        self,
        tx: Tx,
        tx_id: str,
        proposal: Any,
        results: bytes,
        chaincode: str = "clearline",
        decided: Decided = Decided(),
    ) -> bytes:
        header = common_pb2.Header.FromString(proposal.header)
        action = proposal_pb2.ChaincodeAction(
            results=results, chaincode_id=chaincode_pb2.ChaincodeID(name=chaincode, version="0.1")
        )
        action.response.status = decided.status
        action.response.payload = json.dumps(decided.answer).encode()
        if decided.event:
            action.events = chaincode_event_pb2.ChaincodeEvent(
                chaincode_id=chaincode, tx_id=tx_id, event_name=EVENT, payload=decided.event
            ).SerializeToString()
        digest = hashlib.sha256(header.channel_header + header.signature_header + proposal.payload)
        response = proposal_response_pb2.ProposalResponsePayload(
            proposal_hash=tx.proposal_hash or digest.digest(),
            extension=action.SerializeToString(),
        ).SerializeToString()
        endorsements = [
            proposal_response_pb2.Endorsement(
                endorser=signer.identity, signature=signer.sign(response + signer.identity)
            )
            for signer in map(self.peer, tx.endorsers)
        ]
        body = transaction_pb2.ChaincodeActionPayload(
            chaincode_proposal_payload=proposal.payload,
            action=transaction_pb2.ChaincodeEndorsedAction(
                proposal_response_payload=response, endorsements=endorsements
            ),
        )
        if tx.tx_id is not None:
            channel = common_pb2.ChannelHeader.FromString(header.channel_header)
            channel.tx_id = tx.tx_id
            header.channel_header = channel.SerializeToString()
        transaction = transaction_pb2.Transaction(
            actions=[
                transaction_pb2.TransactionAction(
                    header=header.signature_header, payload=body.SerializeToString()
                )
            ]
        )
        payload = common_pb2.Payload(header=header, data=transaction.SerializeToString())
        signer = self.user(*(tx.signer or tx.user))
        return bytes(
            protoutil.sign_payload(signer, payload.SerializeToString()).SerializeToString()
        )

    def _signer(self, msp_id: str, folder: Path) -> X509Signer:
        return _from_files(msp_id, folder)


@cache
def _from_files(msp_id: str, folder: Path) -> X509Signer:
    return X509Signer.from_files(
        msp_id, folder / "signcerts" / "cert.pem", folder / "keystore" / "key.pem"
    )


def person(signer: X509Signer) -> str:
    """The contract's name of a person."""
    return client_identity(signer.identity).names_sha256


def role(signer: X509Signer) -> str:
    """The role in a certificate."""
    return client_identity(signer.identity).attribute(ROLE_ATTRIBUTE) or ""


def rwset(
    namespace: str, reads: Mapping[str, tuple[int, int] | None], writes: Mapping[str, bytes]
) -> bytes:
    kv = kv_rwset_pb2.KVRWSet()
    for key in sorted(reads):
        read = kv.reads.add(key=key)
        version = reads[key]
        if version is not None:
            read.version.SetInParent()
            read.version.block_num, read.version.tx_num = version
    for key in sorted(writes):
        kv.writes.add(key=key, value=writes[key], is_delete=not writes[key])
    one = rwset_pb2.NsReadWriteSet(namespace=namespace, rwset=kv.SerializeToString())
    return bytes(rwset_pb2.TxReadWriteSet(ns_rwset=[one]).SerializeToString())
