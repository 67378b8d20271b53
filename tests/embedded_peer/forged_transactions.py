"""Envelopes that no honest client would send: one builder, each test bends one thing."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fabric_protos.common import common_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import (
    chaincode_event_pb2,
    chaincode_pb2,
    proposal_pb2,
    proposal_response_pb2,
    transaction_pb2,
)

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer


def rwset(
    writes: Sequence[tuple[str, str]] = (),
    reads: Sequence[tuple[str, tuple[int, int] | None]] = (),
    namespace: str = "clearline",
) -> bytes:
    """A serialised TxReadWriteSet of one namespace."""
    content = kv_rwset_pb2.KVRWSet()
    for key, version in reads:
        read = content.reads.add(key=key)
        if version is not None:
            read.version.SetInParent()
            read.version.block_num, read.version.tx_num = version
    for key, value in writes:
        content.writes.add(key=key, value=value.encode(), is_delete=not value)
    message = rwset_pb2.TxReadWriteSet()
    message.ns_rwset.add(namespace=namespace, rwset=content.SerializeToString())
    return bytes(message.SerializeToString())


def event(chaincode: str = "clearline", tx_id: str = "any") -> bytes:
    """A serialised ChaincodeEvent."""
    message = chaincode_event_pb2.ChaincodeEvent(
        chaincode_id=chaincode, tx_id=tx_id, event_name="e"
    )
    return bytes(message.SerializeToString())


@dataclass
class Forgery:
    """An endorser transaction, right unless a field says otherwise."""

    creator: X509Signer
    endorsers: Sequence[X509Signer]
    results: bytes = b""
    channel: str = "payments"
    header_type: int = common_pb2.HeaderType.ENDORSER_TRANSACTION
    epoch: int = 0
    version: int = 0
    nonce: bytes = field(default_factory=protoutil.new_nonce)
    tx_id: str | None = None
    timestamp_ns: int | None = None
    header_chaincode: str | None = "clearline"
    action_chaincode: str | None = "clearline"
    chaincode_version: str = "0.1"
    events: bytes = b""
    status: int = 200
    actions: int = 1
    action_nonce: bytes | None = None
    proposal_hash: bytes | None = None
    tampered_results: bytes | None = None
    """Put into the transaction after endorsing."""
    endorsements: Sequence[tuple[bytes, bytes]] | None = None
    extra_endorsements: Sequence[tuple[bytes, bytes]] = ()
    high_s: bool = False
    signature: bytes | None = None
    extension: bytes | None = None

    @property
    def id(self) -> str:
        return protoutil.tx_id(self.nonce, self.creator.identity)

    def header(self) -> Any:
        extension = proposal_pb2.ChaincodeHeaderExtension()
        if self.header_chaincode is not None:
            extension.chaincode_id.name = self.header_chaincode
        raw = extension.SerializeToString() if self.extension is None else self.extension
        channel_header = protoutil.make_channel_header(
            self.header_type,
            self.channel,
            self.id if self.tx_id is None else self.tx_id,
            timestamp_ns=self.timestamp_ns,
            extension=raw,
            epoch=self.epoch,
        )
        channel_header.version = self.version
        signature_header = protoutil.make_signature_header(self.creator.identity, self.nonce)
        return common_pb2.Header(
            channel_header=channel_header.SerializeToString(),
            signature_header=signature_header.SerializeToString(),
        )

    def response_payload(self, header: Any, proposed: bytes, results: bytes) -> bytes:
        action = proposal_pb2.ChaincodeAction(results=results, events=self.events)
        action.response.status = self.status
        if self.action_chaincode is not None:
            action.chaincode_id.name = self.action_chaincode
            action.chaincode_id.version = self.chaincode_version
        digest = hashlib.sha256(header.channel_header + header.signature_header + proposed).digest()
        payload = proposal_response_pb2.ProposalResponsePayload(
            proposal_hash=digest if self.proposal_hash is None else self.proposal_hash,
            extension=action.SerializeToString(),
        )
        return bytes(payload.SerializeToString())

    def envelope(self) -> bytes:
        """The signed, serialised common.Envelope."""
        header = self.header()
        invocation = chaincode_pb2.ChaincodeInvocationSpec()
        invocation.chaincode_spec.chaincode_id.name = "clearline"
        invocation.chaincode_spec.input.args.append(b"forged")
        proposed = proposal_pb2.ChaincodeProposalPayload(
            input=invocation.SerializeToString()
        ).SerializeToString()
        endorsed = self.response_payload(header, proposed, self.results)
        action = transaction_pb2.ChaincodeActionPayload(chaincode_proposal_payload=proposed)
        action.action.proposal_response_payload = endorsed
        if self.tampered_results is not None:
            action.action.proposal_response_payload = self.response_payload(
                header, proposed, self.tampered_results
            )
        for endorser, signature in self._endorsements(endorsed):
            action.action.endorsements.add(endorser=endorser, signature=signature)
        signature_header = header.signature_header
        if self.action_nonce is not None:
            signature_header = protoutil.make_signature_header(
                self.creator.identity, self.action_nonce
            ).SerializeToString()
        transaction = transaction_pb2.Transaction()
        for _ in range(self.actions):
            transaction.actions.add(header=signature_header, payload=action.SerializeToString())
        payload = common_pb2.Payload(header=header, data=transaction.SerializeToString())
        raw = payload.SerializeToString()
        signature = self.creator.sign(raw) if self.signature is None else self.signature
        envelope = common_pb2.Envelope(payload=raw, signature=signature)
        return bytes(envelope.SerializeToString())

    def _endorsements(self, endorsed: bytes) -> list[tuple[bytes, bytes]]:
        if self.endorsements is not None:
            return list(self.endorsements)
        found = []
        for signer in self.endorsers:
            signature = signer.sign(endorsed + signer.identity)
            found.append((signer.identity, _high(signature) if self.high_s else signature))
        return [*self.extra_endorsements, *found]


_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _high(signature: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import (
        decode_dss_signature,
        encode_dss_signature,
    )

    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, _ORDER - s)


def catalogue(
    creator: X509Signer, peers: Sequence[X509Signer], client: X509Signer
) -> list[tuple[str, Forgery, str]]:
    """(name, forgery, the code that Fabric gives) of everything docs/fabric.md lists.

    creator: who submits. peers: two organisations' peers, enough for the policy. client: a client
    certificate. Only those that an orderer lets pass.
    """
    one = peers[0]
    garbage = (peers[1].identity, b"garbage")

    def make(name: str, code: str, **fields: Any) -> tuple[str, Forgery, str]:
        fields.setdefault("results", rwset([(f"forged-{name}", "1")]))
        fields.setdefault("endorsers", peers)
        return name, Forgery(creator, **fields), code

    two_namespaces = rwset([("a", "1")]) + rwset([("b", "1")])
    unknown = rwset([("a", "1")]) + rwset([("b", "1")], namespace="unknown")
    policy, chaincode = "ENDORSEMENT_POLICY_FAILURE", "INVALID_CHAINCODE"
    other, endorser_tx = "INVALID_OTHER_REASON", "INVALID_ENDORSER_TRANSACTION"
    return [
        make("plain", "VALID"),
        make("status-0", "VALID", status=0),
        make("status-500", "VALID", status=500),
        make("wrong-version", "VALID", chaincode_version="9"),
        make("event-tx-id", "VALID", events=event(tx_id="wrong")),
        make("no-timestamp", "VALID", timestamp_ns=0),
        make("header-version", "VALID", version=9),
        make("empty-rwset", "VALID", results=b""),
        make("garbage-endorsement", "VALID", extra_endorsements=[(b"x", b"y")]),
        make("bad-signature-first", "VALID", extra_endorsements=[garbage]),
        make("same-endorser", policy, endorsers=[one, one]),
        make("one-endorser", policy, endorsers=[one]),
        make("client-endorser", policy, endorsers=[one, client]),
        make("no-endorser", policy, endorsers=[]),
        make("high-s", policy, high_s=True),
        make("tampered", policy, tampered_results=rwset([("forged-tampered", "2")])),
        make("unknown-namespace", chaincode, results=unknown),
        make("empty-version", chaincode, chaincode_version=""),
        make("name-mismatch", chaincode, action_chaincode="elsewhere"),
        make("empty-name", chaincode, header_chaincode=""),
        make("not-defined", chaincode, header_chaincode="qq", action_chaincode="qq"),
        make("event-mismatch", other, events=event("elsewhere")),
        make("event-garbage", other, events=b"\xff\xff\xff"),
        make("no-header-id", other, header_chaincode=None),
        make("no-action-id", other, action_chaincode=None),
        make("bad-extension", "BAD_HEADER_EXTENSION", extension=b"\xff\xff"),
        make("two-of-one-namespace", "ILLEGAL_WRITESET", results=two_namespaces),
        make("rwset-garbage", "BAD_RWSET", results=b"\xff\xff\xff"),
        make("proposal-hash", endorser_tx, proposal_hash=b"\0" * 32),
        make("two-actions", endorser_tx, actions=2),
        make("no-action", endorser_tx, actions=0),
        make("action-nonce", endorser_tx, action_nonce=b""),
        make("wrong-tx-id", "BAD_PROPOSAL_TXID", tx_id="0" * 64),
        make("no-tx-id", "BAD_PROPOSAL_TXID", tx_id=""),
        make("epoch", "BAD_COMMON_HEADER", epoch=1),
        make("stale-read", "MVCC_READ_CONFLICT", results=_stale("a0")),
        make("absent-read", "VALID", results=_stale("never-written")),
    ]


def _stale(key: str) -> bytes:
    return rwset([("forged-read", "1")], [(key, None)])
