"""One transaction against the channel's rules: who made it, who endorsed it, is it new."""

from __future__ import annotations

import hashlib

from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2
from google.protobuf.message import DecodeError

from audit.blocks import AuditedTransaction, Endorsed, Namespace
from audit.channel import Channel
from audit.findings import Check, Wrong
from audit.membership import Identity, MembershipError, Signed
from audit.state import WorldState

_LIFECYCLE = "_lifecycle"
_IMPLICIT = "_implicit_org_"


def check_origin(transaction: AuditedTransaction, channel_id: str, channel: Channel) -> Identity:
    """The verified submitter. Raises Wrong for another channel, id, or signature."""
    check_channel(transaction, channel_id)
    expected = hashlib.sha256(transaction.nonce + transaction.creator).hexdigest()
    if transaction.tx_id != expected:
        raise Wrong(Check.TRANSACTION_ID, "the id is not the hash of nonce and creator")
    return check_creator(transaction, channel)


def check_channel(transaction: AuditedTransaction, channel_id: str) -> None:
    """Raise Wrong unless it is for this channel."""
    if transaction.channel != channel_id:
        raise Wrong(Check.TRANSACTION_FORM, f"it is for channel {transaction.channel!r}")


def check_creator(transaction: AuditedTransaction, channel: Channel) -> Identity:
    """The member that signed the envelope. Raises Wrong."""
    try:
        submitter = channel.membership.identity(transaction.creator)
        submitter.verify(transaction.payload, transaction.signature)
    except MembershipError as error:
        raise Wrong(Check.CREATOR, str(error)) from None
    return submitter


def check_endorsed(
    transaction: AuditedTransaction, channel: Channel, state: WorldState
) -> tuple[Identity, ...]:
    """The distinct endorsers that met the policies of every namespace written. Raises Wrong."""
    endorsed = transaction.endorsed
    if endorsed is None:
        raise Wrong(Check.TRANSACTION_FORM, "not an endorsed transaction")
    if endorsed.proposal_hash != endorsed.expected_proposal_hash:
        raise Wrong(Check.PROPOSAL_HASH, "the endorsers answered another proposal")
    endorsers = _endorsers(endorsed, channel)
    written = [one for one in endorsed.namespaces if one.kv.writes or one.collections]
    names = {one.name: one for one in written}
    if endorsed.chaincode not in names:
        _check_policy(endorsed.chaincode, None, endorsers, channel, state)
    for name, namespace in names.items():
        _check_policy(name, namespace, endorsers, channel, state)
    return tuple(endorsers)


def _endorsers(endorsed: Endorsed, channel: Channel) -> list[Identity]:
    """Distinct endorsers whose signatures match; a bad one beside enough good ones counts not."""
    return channel.membership.signers(
        Signed(serialized, endorsed.proposal_response + serialized, signature)
        for serialized, signature in endorsed.endorsements
    )


def _check_policy(
    name: str,
    namespace: Namespace | None,
    endorsers: list[Identity],
    channel: Channel,
    state: WorldState,
) -> None:
    if name == _LIFECYCLE:
        _check_lifecycle(namespace, endorsers, channel)
        return
    policy = _policy_of(name, state)
    if policy.WhichOneof("Type") == "signature_policy":
        met = channel.accepts_rule(policy.signature_policy.SerializeToString(), endorsers)
    else:
        met = channel.accepts(policy.channel_config_policy_reference, endorsers)
    if not met:
        named = ", ".join(f"{one.msp_id} {one.kind}" for one in endorsers) or "nobody"
        raise Wrong(Check.ENDORSEMENT, f"{name}: endorsed by {named}, which the policy refuses")


def _check_lifecycle(
    namespace: Namespace | None, endorsers: list[Identity], channel: Channel
) -> None:
    """_lifecycle's own policies (core/chaincode/lifecycle/deployedcc_infoprovider.go): its public
    keys need LifecycleEndorsement, an organisation's implicit collection that organisation."""
    if namespace is None:
        return
    paths = [
        f"/Channel/Application/{collection.removeprefix(_IMPLICIT)}/Endorsement"
        for collection, hashed in namespace.collections
        if hashed.hashed_writes
    ]
    if namespace.kv.writes:
        paths.append("/Channel/Application/LifecycleEndorsement")
    for path in paths:
        if not channel.accepts(path, endorsers):
            raise Wrong(Check.ENDORSEMENT, f"{_LIFECYCLE}: {path} is not met")


def _policy_of(chaincode: str, state: WorldState) -> policy_pb2.ApplicationPolicy:
    """The committed definition's endorsement policy. Raises Wrong when there is none."""
    raw = state.get(_LIFECYCLE, f"namespaces/fields/{chaincode}/ValidationInfo")
    if raw is None:
        raise Wrong(Check.ENDORSEMENT, f"{chaincode!r} is no chaincode of this channel")
    try:
        info = chaincode_definition_pb2.ChaincodeValidationInfo.FromString(
            db_pb2.StateData.FromString(raw).Bytes
        )
        return policy_pb2.ApplicationPolicy.FromString(info.validation_parameter)
    except DecodeError:
        raise Wrong(Check.CONFIGURATION, f"{chaincode}: the definition can't be read") from None
