"""What the orderer takes at its door (orderer/common/broadcast, orderer/common/msgprocessor).

Each check that fails is a Refusal with the status and the text that Fabric answers.
"""

from __future__ import annotations

import time
from typing import Any

from fabric_protos.common import common_pb2

from clearline.fabric import protoutil
from clearline.fabric.identity import Signer
from network.embedded import configtx, goproto
from network.embedded.channelconfig import CHANNEL_WRITERS, ORDERER_WRITERS, Bundle
from network.embedded.expiry import expires_at
from network.embedded.orderer.cutter import Message
from network.embedded.policies import PolicyError, envelope_signed_data

_STATUS = common_pb2.Status
_TYPE = common_pb2.HeaderType


class Refusal(Exception):  # noqa: N818 - carries the answer
    """The message is not taken: a common.Status and what to say."""

    def __init__(self, status: int, info: str) -> None:
        super().__init__(info)
        self.status = status
        self.info = info


def channel_header(envelope: Any) -> Any:
    """The common.ChannelHeader of an envelope. Raises Refusal."""
    payload = _part(common_pb2.Payload, "Payload", envelope.payload)
    if not payload.HasField("header"):
        raise _bad("could not determine channel ID: header not set")
    if not payload.header.channel_header:
        raise _bad("could not determine channel ID: channel header not set")
    name = "channel header: error unmarshalling ChannelHeader"
    return _part(common_pb2.ChannelHeader, name, payload.header.channel_header)


def _part(message_type: Any, name: str, raw: bytes) -> Any:
    try:
        return goproto.parse(message_type, raw)
    except goproto.GoDecodeError as error:
        raise _bad(
            f"could not determine channel ID: error unmarshalling {name}: {error}"
        ) from error


def is_config_update(header: Any) -> bool:
    """Whether to treat the message as a configuration update rather than a normal message.

    Raises Refusal for types that only an orderer makes (multichannel/registrar.go).
    """
    if header.type == _TYPE.CONFIG:
        raise _bad("message is of type that cannot be processed directly")
    if header.type == _TYPE.ORDERER_TRANSACTION:
        raise _bad("message is of type that is no longer supported")
    return bool(header.type == _TYPE.CONFIG_UPDATE)


def check_normal(bundle: Bundle, envelope: Any) -> None:
    """Check a message that isn't a configuration update. Raises Refusal."""
    if bundle.orderer.maintenance:
        raise Refusal(
            _STATUS.SERVICE_UNAVAILABLE, "normal transactions are rejected: maintenance mode"
        )
    _filter(bundle, envelope)


def make_config(bundle: Bundle, envelope: Any, signer: Signer) -> Any:
    """The CONFIG envelope, signed by this orderer, that a CONFIG_UPDATE envelope leads to.

    Raises Refusal.
    """
    try:
        _filter(bundle, envelope)
    except Refusal as refusal:
        raise Refusal(
            refusal.status,
            f"config update for existing channel did not pass initial checks: {refusal.info}",
        ) from refusal
    try:
        proposed = configtx.propose(bundle, envelope)
    except configtx.ConfigUpdateError as error:
        raise _bad(
            f"error applying config update to existing channel '{bundle.channel_id}': {error}"
        ) from error
    config = protoutil.create_signed_envelope(
        _TYPE.CONFIG, bundle.channel_id, signer, proposed.SerializeToString()
    )
    try:
        _filter(bundle, config)
    except Refusal as refusal:
        raise Refusal(
            refusal.status,
            f"config update for existing channel did not pass final checks: {refusal.info}",
        ) from refusal
    return config


def message_of(raw: bytes, envelope: Any) -> Message:
    """The message as it goes into a block: as Go marshals what it has parsed, fields that nobody
    knows at the end.

    `raw` is what arrived; it is kept when it says payload and signature and nothing else.
    """
    payload, signature = len(envelope.payload), len(envelope.signature)
    canonical = _field_size(payload) + _field_size(signature)
    if len(raw) != canonical:
        raw = envelope.SerializeToString(deterministic=True)
    return Message(raw, payload + signature)


def _field_size(length: int) -> int:
    """Bytes of a length-delimited field with a one-byte tag."""
    return 1 + max(1, -(-length.bit_length() // 7)) + length if length else 0


def _filter(bundle: Bundle, envelope: Any) -> None:
    """Empty, size, expiry, signature: in this order (msgprocessor/standardchannel.go)."""
    if not envelope.payload:
        raise _bad("Message was empty")
    size = len(envelope.payload) + len(envelope.signature)
    limit = bundle.orderer.batch_size.absolute_max_bytes
    if size > limit:
        raise _bad(f"message payload is {size} bytes and exceeds maximum allowed {limit} bytes")
    try:
        signed = envelope_signed_data(envelope)
    except PolicyError as error:
        raise _bad(str(error)) from error
    ends = expires_at(signed.identity)
    if ends is not None and time.time() >= ends:
        raise _bad("broadcast client identity expired")
    policy = ORDERER_WRITERS if bundle.orderer.maintenance else CHANNEL_WRITERS
    try:
        bundle.policy(policy).evaluate([signed])
    except PolicyError as error:
        raise Refusal(_STATUS.FORBIDDEN, f"{error}: permission denied") from error


def _bad(info: str) -> Refusal:
    return Refusal(_STATUS.BAD_REQUEST, info)
