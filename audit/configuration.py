"""A configuration after block 0: whether the one in force leads to it.

Semantics: Fabric's core/peer/channel.go (Apply), common/configtx/validator.go (Validate) and
common/channelconfig/bundle.go (ValidateNew), which peers hold a CONFIG transaction against;
core/common/validation/msgvalidation.go for its envelope, and what an orderer's own must meet,
orderer/common/msgprocessor/standardchannel.go. What a configuration says of batches, consensus,
addresses, hashing and capabilities is not judged: the auditor's checks are the same under each.
"""

from __future__ import annotations

from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from audit.blocks import AuditedTransaction
from audit.channel import Channel
from audit.config_update import updated
from audit.findings import Check, Wrong
from audit.transactions import check_channel, check_creator

_WRITERS: Final = "/Channel/Writers"


def successor(transaction: AuditedTransaction, channel: Channel, channel_id: str) -> Channel:
    """The configuration that a CONFIG transaction puts in force after `channel`.

    Raises Wrong for the first thing wrong: `transaction_form` and `creator` for its envelope,
    `configuration` for what it holds.
    """
    check_channel(transaction, channel_id)
    signer = check_creator(transaction, channel)
    if not channel.accepts(_WRITERS, [signer]):
        raise Wrong(Check.CREATOR, f"{_WRITERS} refuses {signer.msp_id} {signer.kind}")
    envelope = _config_envelope(transaction.payload)
    due = channel.sequence + 1
    if envelope.config.sequence != due:
        raise _wrong(f"it has sequence {envelope.config.sequence} where {due} is due")
    if updated(envelope.last_update, channel, channel_id) != envelope.config.channel_group:
        raise _wrong("its last update makes another configuration than this")
    return _followed(channel, envelope.config)


def _config_envelope(raw: bytes) -> Any:
    """The common.ConfigEnvelope in an envelope's payload; its header must be of epoch 0 and have
    a nonce (msgvalidation.go validateCommonHeader)."""
    try:
        payload = common_pb2.Payload.FromString(raw)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        signer = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
        envelope = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    except DecodeError as error:
        raise _wrong(f"it can't be parsed: {error}") from None
    if header.epoch != 0 or not signer.nonce:
        raise Wrong(Check.TRANSACTION_FORM, "its header has an epoch, or no nonce")
    return envelope


def _followed(channel: Channel, config: Any) -> Channel:
    """The configuration, when it is one that may follow."""
    try:
        new = Channel(config)
    except ValueError as error:
        raise _wrong(f"not a configuration: {error}") from None
    for place, msp_id in channel.msp_ids.items():
        after = new.msp_ids.get(place, msp_id)
        if after != msp_id:
            raise _wrong(f"{'/'.join(place)} is {msp_id} and becomes {after}")
    return new


def _wrong(detail: str) -> Wrong:
    return Wrong(Check.CONFIGURATION, detail)
