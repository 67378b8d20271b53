"""The genesis block has what real nodes insist on, and Fabric's own tool reads it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.orderer.etcdraft import configuration_pb2 as raft_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2

from clearline.fabric import protoutil
from network import genesis
from network.genesis import GenesisError

if TYPE_CHECKING:
    from conftest import Made


@pytest.fixture(scope="module")
def block(made: Made) -> Any:
    return common_pb2.Block.FromString(made.home.genesis_block.read_bytes())


@pytest.fixture(scope="module")
def channel(block: Any) -> Any:
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    return configtx_pb2.ConfigEnvelope.FromString(payload.data).config.channel_group


def test_block_is_one_nodes_do_not_panic_on(block: Any) -> None:
    assert block.header.number == 0
    assert block.header.previous_hash == b""
    assert block.header.data_hash == protoutil.block_data_hash(list(block.data.data))
    assert len(block.metadata.metadata) == 5
    signatures = common_pb2.Metadata.FromString(block.metadata.metadata[0])
    orderer = common_pb2.OrdererBlockMetadata.FromString(signatures.value)
    assert orderer.HasField("last_config")


def test_envelope_is_a_config_of_the_channel(block: Any, made: Made) -> None:
    payload = common_pb2.Payload.FromString(
        common_pb2.Envelope.FromString(block.data.data[0]).payload
    )
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    assert header.type == common_pb2.HeaderType.CONFIG
    assert header.channel_id == made.topology.channel.id
    signature = common_pb2.SignatureHeader.FromString(payload.header.signature_header)
    assert header.tx_id == protoutil.tx_id(signature.nonce, b"")


def test_capabilities(channel: Any) -> None:
    for group, expected in (
        (channel, "V3_0"),
        (channel.groups["Orderer"], "V2_0"),
        (channel.groups["Application"], "V2_5"),
    ):
        value = configuration_pb2.Capabilities.FromString(group.values["Capabilities"].value)
        assert list(value.capabilities) == [expected]


def test_channel_values(channel: Any) -> None:
    assert "OrdererAddresses" not in channel.values  # refused under V3_0
    hashing = configuration_pb2.HashingAlgorithm.FromString(
        channel.values["HashingAlgorithm"].value
    )
    assert hashing.name == "SHA256"
    structure = configuration_pb2.BlockDataHashingStructure.FromString(
        channel.values["BlockDataHashingStructure"].value
    )
    assert structure.width == 2**32 - 1


def test_ordering(channel: Any, made: Made) -> None:
    group = channel.groups["Orderer"]
    size = orderer_pb2.BatchSize.FromString(group.values["BatchSize"].value)
    batch = made.topology.channel.batch
    assert size.max_message_count == batch.max_message_count
    assert size.preferred_max_bytes == batch.preferred_max_bytes
    assert size.absolute_max_bytes == batch.absolute_max_bytes
    timeout = orderer_pb2.BatchTimeout.FromString(group.values["BatchTimeout"].value)
    assert timeout.timeout == "20ms"
    consensus = orderer_pb2.ConsensusType.FromString(group.values["ConsensusType"].value)
    assert consensus.type == "etcdraft"
    raft = raft_pb2.ConfigMetadata.FromString(consensus.metadata)
    orderer = made.topology.organization("Supervisor").orderers[0]
    assert [(item.host, item.port) for item in raft.consenters] == [(orderer.host, orderer.port)]
    pem = (made.home.node("Supervisor", "orderer0") / "tls" / "cert.pem").read_bytes()
    assert raft.consenters[0].server_tls_cert == raft.consenters[0].client_tls_cert == pem
    assert raft.options.election_tick > raft.options.heartbeat_tick
    assert list(group.groups) == ["Supervisor"]
    endpoints = configuration_pb2.OrdererAddresses.FromString(
        group.groups["Supervisor"].values["Endpoints"].value
    )
    assert list(endpoints.addresses) == [orderer.endpoint]


def test_members_have_msp_anchors_and_policies(channel: Any, made: Made) -> None:
    group = channel.groups["Application"]
    assert set(group.groups) == {"BankOne", "BankTwo", "Supervisor"}
    for name, member in group.groups.items():
        assert set(member.policies) == {"Readers", "Writers", "Admins", "Endorsement"}
        msp = msp_config_pb2.MSPConfig.FromString(member.values["MSP"].value)
        config = msp_config_pb2.FabricMSPConfig.FromString(msp.config)
        assert msp.type == 0
        assert config.name == name
        root = (made.home.organization(name) / "ca" / "cert.pem").read_bytes()
        assert list(config.root_certs) == [root]
        assert len(config.tls_root_certs) == 1
        units = config.fabric_node_ous
        assert units.enable
        for field in ("client", "peer", "admin", "orderer"):
            unit = getattr(units, f"{field}_ou_identifier")
            assert unit.organizational_unit_identifier == field
            assert unit.certificate == root
        anchors = peer_pb2.AnchorPeers.FromString(member.values["AnchorPeers"].value)
        assert len(anchors.anchor_peers) == 1


@pytest.mark.parametrize(
    ("groups", "name", "sub_policy", "rule"),
    [
        ((), "Readers", "Readers", "ANY"),
        ((), "Writers", "Writers", "ANY"),
        ((), "Admins", "Admins", "MAJORITY"),
        (("Orderer",), "BlockValidation", "Writers", "ANY"),
        (("Application",), "Endorsement", "Endorsement", "MAJORITY"),
        (("Application",), "LifecycleEndorsement", "Endorsement", "MAJORITY"),
    ],
)
def test_meta_policies(
    channel: Any, groups: tuple[str, ...], name: str, sub_policy: str, rule: str
) -> None:
    group = channel
    for step in groups:
        group = group.groups[step]
    policy = group.policies[name].policy
    assert policy.type == policies_pb2.Policy.IMPLICIT_META
    meta = policies_pb2.ImplicitMetaPolicy.FromString(policy.value)
    assert meta.sub_policy == sub_policy
    assert policies_pb2.ImplicitMetaPolicy.Rule.Name(meta.rule) == rule


def test_everything_says_who_may_change_it(channel: Any) -> None:
    def walk(group: Any) -> int:
        assert group.mod_policy == "Admins"
        items = [*group.values.values(), *group.policies.values()]
        assert all(item.mod_policy == "Admins" for item in items)
        return len(items) + sum(walk(below) for below in group.groups.values())

    assert walk(channel) > 40


def test_only_ordering_nodes_and_admins_sign_blocks(channel: Any) -> None:
    policy = channel.groups["Orderer"].groups["Supervisor"].policies["Writers"].policy
    envelope = policies_pb2.SignaturePolicyEnvelope.FromString(policy.value)
    from fabric_protos.msp import msp_principal_pb2

    roles = {
        msp_principal_pb2.MSPRole.MSPRoleType.Name(
            msp_principal_pb2.MSPRole.FromString(identity.principal).role
        )
        for identity in envelope.identities
    }
    assert roles == {"ADMIN", "ORDERER"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda block: block.metadata.metadata.pop(), "metadata must have 5"),
        (lambda block: setattr(block.header, "number", 1), "number 0"),
        (lambda block: setattr(block.header, "data_hash", b"x"), "data hash"),
        (lambda block: block.data.data.append(b"x"), "exactly one"),
    ],
)
def test_a_block_nodes_would_die_of_is_refused(made: Made, damage: Any, reason: str) -> None:
    block = common_pb2.Block.FromString(made.home.genesis_block.read_bytes())
    damage(block)
    with pytest.raises(GenesisError, match=reason):
        genesis.verify(block.SerializeToString())


def configtxlator() -> str:
    """Fabric's tool; the engine needs `peer` and `orderer` only, so it may not be there."""
    folder = os.environ.get("FABRIC_BIN")
    found = shutil.which("configtxlator", path=folder) if folder else None
    if found is None:
        pytest.skip("FABRIC_BIN doesn't name a folder with Fabric's configtxlator")
    return found


def test_fabrics_own_tool_reads_all_of_it(made: Made) -> None:
    tool = configtxlator()
    decoded = subprocess.run(
        [tool, "proto_decode", "--type", "common.Block", "--input", made.home.genesis_block],
        capture_output=True,
        check=True,
    )
    document = json.loads(decoded.stdout)
    config = document["data"]["data"][0]["payload"]["data"]["config"]["channel_group"]
    assert set(config["groups"]) == {"Application", "Orderer"}
    raft = config["groups"]["Orderer"]["values"]["ConsensusType"]["value"]
    assert raft["metadata"]["options"]["election_tick"] == 10
    encoded = subprocess.run(
        [tool, "proto_encode", "--type", "common.Block"],
        input=decoded.stdout,
        capture_output=True,
        check=True,
    )
    again = common_pb2.Block.FromString(encoded.stdout)
    original = common_pb2.Block.FromString(made.home.genesis_block.read_bytes())
    assert again.header.data_hash == original.header.data_hash
