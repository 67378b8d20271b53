"""The channel's genesis block, as configtxgen makes it, from the topology and the certificates.

Sources: internal/configtxgen/encoder/encoder.go (groups and values), common/genesis/genesis.go
(the block), common/channelconfig (what nodes check). docs/fabric.md lists what a real node refuses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.orderer.etcdraft import configuration_pb2 as raft_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from clearline.fabric import protoutil
from network.channelpolicies import implicit_meta, one_of
from network.home import Home
from network.topology import Organization, Rule, Topology

# The channel uses Fabric 3 features; the orderer group stays at V2_0, V3_0 is refused there.
CHANNEL_CAPABILITY: Final = "V3_0"
ORDERER_CAPABILITY: Final = "V2_0"
APPLICATION_CAPABILITY: Final = "V2_5"
_METADATA_SLOTS: Final = 5
_ADMINS: Final = "Admins"
_MAX_UINT32: Final = 0xFFFFFFFF
_CONFIG_HEADER_VERSION: Final = 1


class GenesisError(ValueError):
    """A genesis block that nodes would refuse; the text says what is wrong with it."""


def create(home: Home, topology: Topology) -> bytes:
    """The serialised genesis block. Needs crypto/ below the home. Raises GenesisError."""
    config = configtx_pb2.Config(sequence=0, channel_group=_channel(home, topology))
    block = _block(topology.channel.id, config)
    raw: bytes = block.SerializeToString(deterministic=True)
    verify(raw)
    return raw


def verify(raw: bytes) -> None:
    """Check what makes real peers and orderers panic (docs/fabric.md). Raises GenesisError."""
    block = common_pb2.Block()
    try:
        block.ParseFromString(raw)
    except ValueError as error:
        raise GenesisError(f"not a block: {error}") from error
    if block.header.number != 0 or block.header.previous_hash:
        raise GenesisError("a genesis block has number 0 and no previous hash")
    if len(block.data.data) != 1:
        raise GenesisError("a genesis block holds exactly one configuration")
    if block.header.data_hash != protoutil.block_data_hash(list(block.data.data)):
        raise GenesisError("the data hash is not the data's")
    if len(block.metadata.metadata) != _METADATA_SLOTS:
        raise GenesisError(f"the metadata must have {_METADATA_SLOTS} entries: nodes would panic")


def _block(channel_id: str, config: Any) -> Any:
    nonce = protoutil.new_nonce()
    channel_header = protoutil.make_channel_header(
        common_pb2.HeaderType.CONFIG, channel_id, protoutil.tx_id(nonce, b"")
    )
    channel_header.version = _CONFIG_HEADER_VERSION
    payload = protoutil.make_payload(
        channel_header,
        protoutil.make_signature_header(b"", nonce),
        configtx_pb2.ConfigEnvelope(config=config).SerializeToString(deterministic=True),
    )
    envelope = common_pb2.Envelope(payload=payload.SerializeToString())
    data = [envelope.SerializeToString()]
    header = common_pb2.BlockHeader(number=0, data_hash=protoutil.block_data_hash(data))
    metadata = [b""] * _METADATA_SLOTS
    last_config = common_pb2.LastConfig(index=0)
    metadata[common_pb2.BlockMetadataIndex.LAST_CONFIG] = common_pb2.Metadata(
        value=last_config.SerializeToString()
    ).SerializeToString()
    orderer_metadata = common_pb2.OrdererBlockMetadata(last_config=last_config)
    metadata[common_pb2.BlockMetadataIndex.SIGNATURES] = common_pb2.Metadata(
        value=orderer_metadata.SerializeToString()
    ).SerializeToString()
    return common_pb2.Block(
        header=header,
        data=common_pb2.BlockData(data=data),
        metadata=common_pb2.BlockMetadata(metadata=metadata),
    )


def _channel(home: Home, topology: Topology) -> Any:
    group = _group(_meta_policies(topology.channel.admins))
    _value(group, "HashingAlgorithm", configuration_pb2.HashingAlgorithm(name="SHA256"))
    # One SHA-256 over all envelopes: a "Merkle tree" as wide as it can be.
    structure = configuration_pb2.BlockDataHashingStructure(width=_MAX_UINT32)
    _value(group, "BlockDataHashingStructure", structure)
    _value(group, "Capabilities", _capabilities(CHANNEL_CAPABILITY))
    group.groups["Orderer"].CopyFrom(_orderer(home, topology))
    group.groups["Application"].CopyFrom(_application(home, topology))
    return group


def _orderer(home: Home, topology: Topology) -> Any:
    group = _group(_meta_policies(topology.channel.admins))
    _policy(group, "BlockValidation", implicit_meta(Rule.ANY, "Writers"))
    batch = topology.channel.batch
    size = orderer_pb2.BatchSize(
        max_message_count=batch.max_message_count,
        absolute_max_bytes=batch.absolute_max_bytes,
        preferred_max_bytes=batch.preferred_max_bytes,
    )
    _value(group, "BatchSize", size)
    _value(group, "BatchTimeout", orderer_pb2.BatchTimeout(timeout=f"{batch.timeout_ms}ms"))
    _value(group, "ChannelRestrictions", orderer_pb2.ChannelRestrictions())
    _value(group, "Capabilities", _capabilities(ORDERER_CAPABILITY))
    consensus = orderer_pb2.ConsensusType(
        type="etcdraft", metadata=_raft(home, topology).SerializeToString()
    )
    _value(group, "ConsensusType", consensus)
    for organization in topology.organizations:
        if organization.orderers:
            group.groups[organization.name].CopyFrom(_orderer_organization(home, organization))
    return group


def _raft(home: Home, topology: Topology) -> Any:
    """Consenters with their TLS certificates; the ticks notice a lost leader within a second."""
    consenters = []
    for organization, orderer in topology.orderers():
        pem = (home.node(organization.name, orderer.name) / "tls" / "cert.pem").read_bytes()
        consenters.append(
            raft_pb2.Consenter(
                host=orderer.host, port=orderer.port, client_tls_cert=pem, server_tls_cert=pem
            )
        )
    options = raft_pb2.Options(
        tick_interval="100ms",
        election_tick=10,
        heartbeat_tick=1,
        max_inflight_blocks=5,
        snapshot_interval_size=16 << 20,
    )
    return raft_pb2.ConfigMetadata(consenters=consenters, options=options)


def _orderer_organization(home: Home, organization: Organization) -> Any:
    name = organization.name
    group = _group(_organization_policies(name))
    _policy(group, "Writers", one_of(name, "admin", "orderer"))
    _value(group, "MSP", _msp(home.organization(name) / "msp", name))
    endpoints = [orderer.endpoint for orderer in organization.orderers]
    _value(group, "Endpoints", configuration_pb2.OrdererAddresses(addresses=endpoints))
    return group


def _application(home: Home, topology: Topology) -> Any:
    channel = topology.channel
    group = _group(_meta_policies(channel.admins))
    _policy(group, "Endorsement", implicit_meta(channel.endorsement, "Endorsement"))
    lifecycle = implicit_meta(channel.lifecycle_endorsement, "Endorsement")
    _policy(group, "LifecycleEndorsement", lifecycle)
    _value(group, "Capabilities", _capabilities(APPLICATION_CAPABILITY))
    for organization in topology.organizations:
        if organization.peers:
            member = _application_organization(home, organization)
            group.groups[organization.name].CopyFrom(member)
    return group


def _application_organization(home: Home, organization: Organization) -> Any:
    name = organization.name
    group = _group(_organization_policies(name))
    _policy(group, "Endorsement", one_of(name, "peer"))
    _value(group, "MSP", _msp(home.organization(name) / "msp", name))
    anchors = [peer_pb2.AnchorPeer(host=peer.host, port=peer.port) for peer in organization.peers]
    _value(group, "AnchorPeers", peer_pb2.AnchorPeers(anchor_peers=anchors))
    return group


def _msp(folder: Path, name: str) -> Any:
    """The verifying MSP of an organisation (msp/configbuilder.go GetVerifyingMspConfig)."""
    root = (folder / "cacerts" / "ca.pem").read_bytes()
    tls_root = (folder / "tlscacerts" / "ca.pem").read_bytes()

    def unit(text: str) -> Any:
        return msp_config_pb2.FabricOUIdentifier(
            certificate=root, organizational_unit_identifier=text
        )

    config = msp_config_pb2.FabricMSPConfig(
        name=name,
        root_certs=[root],
        tls_root_certs=[tls_root],
        crypto_config=msp_config_pb2.FabricCryptoConfig(
            signature_hash_family="SHA2", identity_identifier_hash_function="SHA256"
        ),
        fabric_node_ous=msp_config_pb2.FabricNodeOUs(
            enable=True,
            client_ou_identifier=unit("client"),
            peer_ou_identifier=unit("peer"),
            admin_ou_identifier=unit("admin"),
            orderer_ou_identifier=unit("orderer"),
        ),
    )
    return msp_config_pb2.MSPConfig(type=0, config=config.SerializeToString())


def _meta_policies(admins: Rule) -> dict[str, Any]:
    return {
        "Readers": implicit_meta(Rule.ANY, "Readers"),
        "Writers": implicit_meta(Rule.ANY, "Writers"),
        _ADMINS: implicit_meta(admins, _ADMINS),
    }


def _organization_policies(name: str) -> dict[str, Any]:
    """Readers and writers by the roles configtxgen's samples use; administrators by the OU."""
    return {
        "Readers": one_of(name, "member"),
        "Writers": one_of(name, "admin", "client"),
        _ADMINS: one_of(name, "admin"),
    }


def _capabilities(name: str) -> Any:
    message = configuration_pb2.Capabilities()
    message.capabilities[name].SetInParent()
    return message


def _group(policies: dict[str, Any]) -> Any:
    group = configtx_pb2.ConfigGroup(mod_policy=_ADMINS)
    for name, policy in policies.items():
        _policy(group, name, policy)
    return group


def _policy(group: Any, name: str, policy: Any) -> None:
    group.policies[name].CopyFrom(configtx_pb2.ConfigPolicy(mod_policy=_ADMINS, policy=policy))


def _value(group: Any, name: str, message: Any) -> None:
    value = message.SerializeToString(deterministic=True)
    group.values[name].CopyFrom(configtx_pb2.ConfigValue(mod_policy=_ADMINS, value=value))
