"""A channel's configuration, read once and never changed (Fabric's common/channelconfig).

    bundle = Bundle.from_config_block(raw_block)
    bundle.policies.policy("/Channel/Application/Writers").evaluate(signed)

A new configuration is a new Bundle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2
from google.protobuf.message import DecodeError

from network.embedded.msp import MSP, MSPError, MSPManager
from network.embedded.policies import Policy, PolicyError, PolicyManager

CHANNEL_READERS = "/Channel/Readers"
CHANNEL_WRITERS = "/Channel/Writers"
ORDERER_READERS = "/Channel/Orderer/Readers"
ORDERER_WRITERS = "/Channel/Orderer/Writers"
BLOCK_VALIDATION = "/Channel/Orderer/BlockValidation"
APPLICATION_READERS = "/Channel/Application/Readers"
APPLICATION_WRITERS = "/Channel/Application/Writers"
APPLICATION_ADMINS = "/Channel/Application/Admins"

_CHANNEL_ID = re.compile(r"[a-z][a-z0-9.-]{0,248}")
_CAPABILITIES = {
    "Channel": frozenset({"V2_0", "V3_0"}),
    "Orderer": frozenset({"V2_0"}),
    "Application": frozenset({"V2_0", "V2_5"}),
}
_VALUES = {
    "Channel": {
        "HashingAlgorithm",
        "BlockDataHashingStructure",
        "OrdererAddresses",
        "Orderers",
        "Consortium",
        "Capabilities",
    },
    "Orderer": {
        "ConsensusType",
        "BatchSize",
        "BatchTimeout",
        "KafkaBrokers",
        "ChannelRestrictions",
        "Orderers",
        "Capabilities",
    },
    "Application": {"ACLs", "Capabilities"},
    "orderer organisation": {"MSP", "Endpoints"},
    "application organisation": {"MSP", "AnchorPeers"},
}
_UNITS = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("0.001"),
    "us": Decimal("0.000001"),
    "µs": Decimal("0.000001"),
    "μs": Decimal("0.000001"),
    "ns": Decimal("0.000000001"),
}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")


class ChannelConfigError(ValueError):
    """A configuration that Fabric, or the embedded engine, wouldn't take; the text says why."""


@dataclass(frozen=True)
class BatchSize:
    """When a block is cut: messages, and bytes of payload and signature."""

    max_message_count: int
    absolute_max_bytes: int
    preferred_max_bytes: int


@dataclass(frozen=True)
class OrdererSettings:
    """The Orderer group's own values."""

    batch_size: BatchSize
    batch_timeout_seconds: float
    consensus_type: str
    consensus_metadata: bytes
    maintenance: bool


@dataclass(frozen=True)
class Organization:
    """An organisation of a group; `name` is the group's key, the MSP id is `msp.msp_id`.

    endpoints: host:port of its orderers. anchor_peers: (host, port) of its peers.
    """

    name: str
    msp: MSP
    endpoints: tuple[str, ...] = ()
    anchor_peers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Bundle:
    """Everything a node asks a channel's configuration for.

    orderer_orgs and application_orgs by group key; acls: resource name -> policy reference.
    """

    channel_id: str
    config: Any
    sequence: int
    msp_manager: MSPManager
    policies: PolicyManager
    orderer: OrdererSettings
    orderer_orgs: Mapping[str, Organization]
    application_orgs: Mapping[str, Organization]
    channel_capabilities: Set[str]
    orderer_capabilities: Set[str]
    application_capabilities: Set[str]
    acls: Mapping[str, str]

    @classmethod
    def from_config(cls, channel_id: str, config: Any) -> Bundle:
        """Build from a common.Config message. Raises ChannelConfigError."""
        try:
            return _build(channel_id, config)
        except (MSPError, PolicyError) as error:
            raise ChannelConfigError(str(error)) from error
        except DecodeError as error:
            raise ChannelConfigError("failed to deserialize values") from error

    @classmethod
    def from_config_envelope(cls, envelope: bytes) -> Bundle:
        """Build from a serialised common.Envelope of type CONFIG. Raises ChannelConfigError."""
        channel_id, config = config_of_envelope(envelope)
        return cls.from_config(channel_id, config)

    @classmethod
    def from_config_block(cls, block: bytes) -> Bundle:
        """Build from a serialised common.Block whose first message is a configuration.

        Raises ChannelConfigError.
        """
        try:
            data = common_pb2.Block.FromString(block).data.data
        except DecodeError as error:
            raise ChannelConfigError("the block can't be parsed") from error
        if not data:
            raise ChannelConfigError("the block is empty")
        return cls.from_config_envelope(data[0])

    def policy(self, name: str) -> Policy:
        """A policy by its absolute path; a missing one refuses everything."""
        return self.policies.policy(name)

    def acl(self, resource: str, default: str) -> str:
        """The policy path for a resource such as "event/Block"; relative references are of the
        Application group (core/aclmgmt, common/channelconfig/acls.go)."""
        reference = self.acls.get(resource)
        if reference is None:
            return default
        return reference if reference.startswith("/") else f"/Channel/Application/{reference}"

    def tls_roots(self) -> bytes:
        """PEM bundle of the TLS CAs of all organisations."""
        return b"".join(self.tls_roots_of(msp_id) for msp_id in self.msp_manager.msps)

    def tls_roots_of(self, msp_id: str) -> bytes:
        """PEM bundle of one organisation's TLS CAs, b"" for an unknown MSP id."""
        msp = self.msp_manager.msps.get(msp_id)
        if msp is None:
            return b""
        pems = (*msp.tls_root_certs, *msp.tls_intermediate_certs)
        return b"".join(pem.strip() + b"\n" for pem in pems)

    def orderer_endpoints(self) -> tuple[tuple[str, str], ...]:
        """(MSP id, host:port) of each orderer."""
        return tuple(
            (org.msp.msp_id, endpoint)
            for org in self.orderer_orgs.values()
            for endpoint in org.endpoints
        )


def config_of_envelope(envelope: bytes) -> tuple[str, Any]:
    """The channel id and common.Config of a serialised CONFIG envelope.

    Raises ChannelConfigError.
    """
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        if header.type != common_pb2.HeaderType.CONFIG:
            raise ChannelConfigError("the message is not of type CONFIG")
        config = configtx_pb2.ConfigEnvelope.FromString(payload.data).config
    except DecodeError as error:
        raise ChannelConfigError("the configuration message can't be parsed") from error
    return header.channel_id, config


def is_config_envelope(envelope: bytes) -> bool:
    """Whether a serialised common.Envelope carries a channel configuration."""
    try:
        payload = common_pb2.Payload.FromString(common_pb2.Envelope.FromString(envelope).payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    except DecodeError:
        return False
    return bool(header.type == common_pb2.HeaderType.CONFIG)


def parse_duration(text: str) -> float:
    """Seconds of a duration as Go's time.ParseDuration reads it ("20ms", "1m30s").

    Raises ChannelConfigError.
    """
    sign = -1 if text.startswith("-") else 1
    rest = text.removeprefix("-") if sign < 0 else text.removeprefix("+")
    if rest == "0":
        return 0.0
    total, position = Decimal(0), 0
    for match in _DURATION_PART.finditer(rest):
        if match.start() != position:
            break
        total += Decimal(match[1]) * _UNITS[match[2]]
        position = match.end()
    if not rest or position != len(rest):
        raise ChannelConfigError(
            f'Attempted to set the batch timeout to a invalid value: invalid duration "{text}"'
        )
    return float(sign * total)


def _build(channel_id: str, config: Any) -> Bundle:
    if not _CHANNEL_ID.fullmatch(channel_id):
        raise ChannelConfigError(f"bad channel ID: '{channel_id}'")
    if not config.HasField("channel_group"):
        raise ChannelConfigError("config must contain a channel group")
    root = config.channel_group
    for name in root.groups:
        if name not in ("Application", "Orderer"):
            raise ChannelConfigError(f"Disallowed channel group: {name}")
    for name in ("Orderer", "Application"):
        if name not in root.groups:
            raise ChannelConfigError(f"config does not contain the {name} group")
    channel_capabilities = _check_channel(root)
    orderer_group, application_group = root.groups["Orderer"], root.groups["Application"]
    msps: dict[str, tuple[bytes, MSP]] = {}
    orderer_orgs = {
        name: _orderer_org(name, group, msps) for name, group in orderer_group.groups.items()
    }
    application_orgs = {
        name: _application_org(name, group, msps)
        for name, group in application_group.groups.items()
    }
    manager = MSPManager(msp for _, msp in msps.values())
    acls = _value(application_group, "ACLs", peer_pb2.ACLs).acls
    _check_keys("Orderer", orderer_group)
    _check_keys("Application", application_group)
    return Bundle(
        channel_id=channel_id,
        config=config,
        sequence=int(config.sequence),
        msp_manager=manager,
        policies=PolicyManager("Channel", root, manager),
        orderer=_orderer_settings(orderer_group),
        orderer_orgs=orderer_orgs,
        application_orgs=application_orgs,
        channel_capabilities=channel_capabilities,
        orderer_capabilities=_capabilities("Orderer", orderer_group),
        application_capabilities=_capabilities("Application", application_group),
        acls={name: item.policy_ref for name, item in acls.items()},
    )


def _check_channel(root: Any) -> frozenset[str]:
    _check_keys("Channel", root)
    hashing = _value(root, "HashingAlgorithm", configuration_pb2.HashingAlgorithm).name
    if hashing != "SHA256":
        raise ChannelConfigError(f"Unknown hashing algorithm type: {hashing}")
    structure = _value(
        root, "BlockDataHashingStructure", configuration_pb2.BlockDataHashingStructure
    )
    if structure.width != 0xFFFFFFFF:
        raise ChannelConfigError(
            "BlockDataHashStructure width only supported at MaxUint32 in this version"
        )
    capabilities = _capabilities("Channel", root)
    addresses = _value(root, "OrdererAddresses", configuration_pb2.OrdererAddresses).addresses
    if "V3_0" in capabilities and addresses:
        raise ChannelConfigError(
            "global OrdererAddresses are not allowed with V3_0 capability, "
            "use org specific addresses only"
        )
    return capabilities


def _capabilities(name: str, group: Any) -> frozenset[str]:
    found = frozenset(_value(group, "Capabilities", configuration_pb2.Capabilities).capabilities)
    unknown = found - _CAPABILITIES[name]
    if unknown or not found:
        wanted = ", ".join(sorted(_CAPABILITIES[name]))
        said = ", ".join(sorted(found)) or "none"
        raise ChannelConfigError(
            f"{name} capabilities [{said}] are not supported by the embedded engine: use {wanted}"
        )
    return found


def _orderer_settings(group: Any) -> OrdererSettings:
    size = _value(group, "BatchSize", orderer_pb2.BatchSize)
    consensus = _value(group, "ConsensusType", orderer_pb2.ConsensusType)
    timeout = parse_duration(_value(group, "BatchTimeout", orderer_pb2.BatchTimeout).timeout)
    for field in ("max_message_count", "absolute_max_bytes", "preferred_max_bytes"):
        if getattr(size, field) == 0:
            raise ChannelConfigError(
                f"Attempted to set the batch size {field.replace('_', ' ')} to an invalid value: 0"
            )
    if size.preferred_max_bytes > size.absolute_max_bytes:
        raise ChannelConfigError(
            f"Attempted to set the batch size preferred max bytes ({size.preferred_max_bytes}) "
            f"greater than the absolute max bytes ({size.absolute_max_bytes})."
        )
    if timeout <= 0:
        raise ChannelConfigError("Attempted to set the batch timeout to a non-positive value")
    return OrdererSettings(
        batch_size=BatchSize(
            size.max_message_count, size.absolute_max_bytes, size.preferred_max_bytes
        ),
        batch_timeout_seconds=timeout,
        consensus_type=consensus.type,
        consensus_metadata=consensus.metadata,
        maintenance=consensus.state == orderer_pb2.ConsensusType.STATE_MAINTENANCE,
    )


def _orderer_org(name: str, group: Any, msps: dict[str, tuple[bytes, MSP]]) -> Organization:
    _check_org("orderer organisation", name, group)
    endpoints = _value(group, "Endpoints", configuration_pb2.OrdererAddresses).addresses
    if not endpoints:
        raise ChannelConfigError(f"some orderer organizations endpoints are empty: {name}")
    return Organization(name, _msp(name, group, msps), endpoints=tuple(endpoints))


def _application_org(name: str, group: Any, msps: dict[str, tuple[bytes, MSP]]) -> Organization:
    _check_org("application organisation", name, group)
    anchors = _value(group, "AnchorPeers", peer_pb2.AnchorPeers).anchor_peers
    return Organization(
        name,
        _msp(name, group, msps),
        anchor_peers=tuple((item.host, item.port) for item in anchors),
    )


def _check_org(kind: str, name: str, group: Any) -> None:
    if group.groups:
        raise ChannelConfigError(f"{kind} {name} does not allow sub-groups")
    _check_keys(kind, group)


def _check_keys(kind: str, group: Any) -> None:
    for key in group.values:
        if key not in _VALUES[kind]:
            raise ChannelConfigError(f"{kind}: Unexpected key {key}")


def _msp(name: str, group: Any, msps: dict[str, tuple[bytes, MSP]]) -> MSP:
    """The organisation's MSP; one MSP id means one definition wherever it appears."""
    raw = group.values["MSP"].value if "MSP" in group.values else b""
    inner = msp_config_pb2.FabricMSPConfig.FromString(
        msp_config_pb2.MSPConfig.FromString(raw).config
    )
    if not inner.name:
        raise ChannelConfigError(f"MSP for org {name} has empty MSP ID")
    known = msps.get(inner.name)
    if known is None:
        known = msps[inner.name] = (raw, MSP.from_bytes(raw))
    elif known[0] != raw:
        raise ChannelConfigError(f"Attempted to define two different versions of MSP: {inner.name}")
    return known[1]


def _value(group: Any, key: str, message: Any) -> Any:
    """A group's value as its message; an empty one when it isn't there."""
    return message.FromString(group.values[key].value if key in group.values else b"")
