"""Updates of the channel's configuration: what may change it, and what it changes at once."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certificate_kit as kit
import grpc
import pytest
from certificate_kit import Leaf
from config_kit import batch_size, set_value, update_envelope, wrap
from cryptography import x509
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2
from orderer_world import CHANNEL, SEEK, STATUS, World, normal

from network import certificates as issuing
from network.channelpolicies import one_of
from network.embedded import configtx, wire
from network.embedded.channelconfig import Bundle
from network.embedded.orderer.node import OrdererNode


def _admins(world: World, *organizations: str) -> list[Any]:
    return [world.signer(name, "admin") for name in organizations]


def _orderer_change(world: World, change: Callable[[Any], None]) -> Any:
    """Supervisor alone runs the orderer: its administrator decides about the Orderer group."""
    config = Bundle.from_config_block(world.genesis).config
    return update_envelope(config, change, _admins(world, "Supervisor"))


def _add_bank(world: World, signers: list[Any]) -> tuple[Any, kit.Authority, issuing.Authority]:
    """An update that makes BankThree a member, its identity CA and its TLS CA."""
    config = Bundle.from_config_block(world.genesis).config
    authority = kit.make_authority("BankThree")
    tls = issuing.create_authority("BankThree", "tlsca.bankthree")
    return update_envelope(config, _new_bank(authority, tls), signers), authority, tls


def _new_bank(authority: kit.Authority, tls: issuing.Authority) -> Callable[[Any], None]:
    msp = kit.msp_config("BankThree", authority, tls_root_certs=[tls.pem])

    def change(new: Any) -> None:
        banks = new.channel_group.groups["Application"].groups
        raw = banks["BankOne"].SerializeToString().replace(b"BankOne", b"BankTre")
        banks["BankThree"].CopyFrom(configtx_pb2.ConfigGroup.FromString(raw))
        for policy in banks["BankThree"].policies.values():
            policy.policy.CopyFrom(one_of("BankThree", "member"))
        value = msp_config_pb2.MSPConfig(type=0, config=msp.SerializeToString())
        banks["BankThree"].values["MSP"].value = value.SerializeToString()

    return change


def test_a_batch_size_changes_and_survives_a_restart(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        envelope = _orderer_change(world, batch_size(1, 1000, 500))
        async with world.orderer(tmp_path) as (node, client):
            before = normal(world.signer()).SerializeToString()
            answers = await client.broadcast([before, envelope.SerializeToString()])
            assert [a.status for a in answers] == [STATUS.SUCCESS] * 2, answers
            await node.chain.wait_above(2)
            assert node.chain.bundle.sequence == 1
            assert node.chain.bundle.orderer.batch_size.max_message_count == 1
            pair = [normal(world.signer()).SerializeToString() for _ in range(2)]
            assert await client.pipeline(pair) == 2
            await node.chain.wait_above(4)
            large = await client.broadcast(
                [normal(world.signer(), b"x" * 1001).SerializeToString()]
            )
            assert "exceeds maximum allowed 1000" in large[0].info
            # What waited was cut before; the configuration stands alone; then one by one.
            sizes = [len(_block(node, number).data.data) for number in range(1, 5)]
            assert sizes == [1, 1, 1, 1]
            assert _block(node, 1).data.data[0] == before
            assert [_last_config(node, number) for number in range(1, 5)] == [0, 2, 2, 2]
        async with world.orderer(tmp_path) as (node, client):
            assert node.chain.bundle.sequence == 1
            await client.broadcast([normal(world.signer()).SerializeToString()])
            await node.chain.wait_above(5)
            assert _last_config(node, 5) == 2

    asyncio.run(scenario())


def _block(node: OrdererNode, number: int) -> Any:
    return common_pb2.Block.FromString(node.chain.block(number))


def _last_config(node: OrdererNode, number: int) -> int:
    raw = _block(node, number).metadata.metadata[1]
    return int(common_pb2.LastConfig.FromString(common_pb2.Metadata.FromString(raw).value).index)


def test_the_config_block_is_what_a_peer_validates(world: World, tmp_path: Path) -> None:
    async def scenario() -> bytes:
        async with world.orderer(tmp_path) as (node, client):
            envelope = _orderer_change(world, batch_size(7, 1000, 500))
            await client.broadcast([envelope.SerializeToString()])
            await node.chain.wait_above(1)
            return node.chain.block(1)

    raw = asyncio.run(scenario())
    old = Bundle.from_config_block(world.genesis)
    message = common_pb2.Envelope.FromString(common_pb2.Block.FromString(raw).data.data[0])
    payload = common_pb2.Payload.FromString(message.payload)
    proposed = configtx_pb2.ConfigEnvelope.FromString(payload.data)
    assert configtx.validate(old, proposed).orderer.batch_size.max_message_count == 7
    proposed.config.channel_group.groups["Orderer"].version += 1
    with pytest.raises(configtx.ConfigUpdateError, match="did not produce"):
        configtx.validate(old, proposed)
    proposed.config.sequence = 2
    with pytest.raises(configtx.ConfigUpdateError, match="at sequence 0, cannot validate"):
        configtx.validate(old, proposed)
    proposed.ClearField("config")
    with pytest.raises(configtx.ConfigUpdateError, match="nil config"):
        configtx.validate(old, proposed)


def test_a_new_organisation_is_in_without_a_restart(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            envelope, authority, tls = _add_bank(world, _admins(world, "BankOne", "BankTwo"))
            newcomer = kit.signer(authority, "BankThree", Leaf())
            issued = issuing.issue_tls(tls, "BankThree", "peer0.bankthree", ())
            identity = wire.TlsIdentity(issued.certificate, issued.private_key)
            early: Any = wire.channel(
                f"127.0.0.1:{node.port}", world.orderer_roots(), identity, "orderer0"
            )
            with pytest.raises(grpc.aio.AioRpcError):
                await early.stream_stream("/orderer.AtomicBroadcast/Broadcast")().read()
            await early.close()
            refused = await client.broadcast([normal(newcomer).SerializeToString()])
            assert refused[0].status == STATUS.FORBIDDEN
            answers = await client.broadcast([envelope.SerializeToString()])
            assert answers[0].status == STATUS.SUCCESS, answers
            await node.chain.wait_above(1)
            taken = await client.broadcast([normal(newcomer).SerializeToString()])
            assert taken[0].status == STATUS.SUCCESS
            async with wire.channel(
                f"127.0.0.1:{node.port}", world.orderer_roots(), identity, "orderer0"
            ) as channel:
                connect: Any = channel.stream_stream
                call = connect("/orderer.AtomicBroadcast/Deliver")()
                await call.write(world.seek(newcomer, "newest", "newest", tls=identity))
                response = ab_pb2.DeliverResponse.FromString(await call.read())
                assert response.block.header.number >= 1
                call.cancel()

    asyncio.run(scenario())


def test_a_reader_whose_certificate_is_revoked_gets_no_more_blocks(
    world: World, tmp_path: Path
) -> None:
    """Access is decided again when the configuration changes (common/deliver/acl.go)."""
    reader = world.signer("BankTwo", "connector")
    certificate = x509.load_pem_x509_certificate(reader.certificate_pem)
    authority = kit.stored_authority(world.home.organization("BankTwo") / "ca")
    revocations = kit.revocation_list(authority, [certificate])

    def revoke(config: Any) -> None:
        value = config.channel_group.groups["Application"].groups["BankTwo"].values["MSP"]
        msp = msp_config_pb2.MSPConfig.FromString(value.value)
        inner = msp_config_pb2.FabricMSPConfig.FromString(msp.config)
        inner.revocation_list.append(revocations)
        msp.config = inner.SerializeToString()
        value.value = msp.SerializeToString()

    async def scenario() -> None:
        config = Bundle.from_config_block(world.genesis).config
        envelope = update_envelope(config, revoke, _admins(world, "BankTwo"))
        async with world.orderer(tmp_path) as (node, client):
            call = client.deliver()
            await call.write(world.seek(reader, 1, 99))
            assert (await client.broadcast([normal(reader).SerializeToString()]))[0].status == 200
            response = ab_pb2.DeliverResponse.FromString(await call.read())
            assert response.block.header.number == 1
            answers = await client.broadcast([envelope.SerializeToString()])
            assert answers[0].status == STATUS.SUCCESS, answers
            response = ab_pb2.DeliverResponse.FromString(await call.read())
            assert response.status == STATUS.FORBIDDEN
            refused = await client.broadcast([normal(reader).SerializeToString()])
            assert refused[0].status == STATUS.FORBIDDEN
            fine = world.seek(world.signer(), 2, 2, behavior=SEEK.FAIL_IF_NOT_READY)
            assert (await client.fetch(fine))[1] == STATUS.SUCCESS
            assert node.chain.bundle.sequence == 1

    asyncio.run(scenario())


def _stale(world: World) -> Any:
    def old_version(config: Any) -> None:
        config.channel_group.groups["Orderer"].values["BatchSize"].version = 4

    config = Bundle.from_config_block(world.reconfigured(old_version)).config
    return update_envelope(config, batch_size(1, 10, 10), _admins(world, "Supervisor"))


def _empty(world: World) -> Any:
    return wrap(
        configtx_pb2.ConfigUpdate(channel_id=CHANNEL).SerializeToString(),
        _admins(world, "Supervisor"),
    )


def _read(world: World, version: int, key: str) -> Any:
    update = configtx_pb2.ConfigUpdate(channel_id=CHANNEL)
    update.read_set.values[key].version = version
    return wrap(update.SerializeToString(), _admins(world, "Supervisor"))


def _new_value_with_a_version(world: World) -> Any:
    update = configtx_pb2.ConfigUpdate(channel_id=CHANNEL)
    update.read_set.SetInParent()
    value = update.write_set.values["Consortium"]
    value.version, value.mod_policy = 3, "Admins"
    return wrap(update.SerializeToString(), _admins(world, "Supervisor"))


def _without_mod_policy(config: Any) -> None:
    config.channel_group.groups["Orderer"].values["BatchSize"].mod_policy = ""


def _other_consensus(config: Any) -> None:
    value = config.channel_group.groups["Orderer"].values["ConsensusType"]
    consensus = orderer_pb2.ConsensusType.FromString(value.value)
    consensus.type = "BFT"
    value.value = consensus.SerializeToString()


def _maintenance(config: Any) -> None:
    value = config.channel_group.groups["Orderer"].values["ConsensusType"]
    consensus = orderer_pb2.ConsensusType.FromString(value.value)
    consensus.state = orderer_pb2.ConsensusType.STATE_MAINTENANCE
    value.value = consensus.SerializeToString()


def _anchor(organization: str) -> Callable[[Any], None]:
    peers = peer_pb2.AnchorPeers(anchor_peers=[peer_pb2.AnchorPeer(host="h", port=1)])
    return set_value(f"Application/{organization}", "AnchorPeers", peers)


def _other_channel(world: World) -> Any:
    update = configtx_pb2.ConfigUpdate(channel_id="elsewhere")
    return wrap(update.SerializeToString(), _admins(world, "Supervisor"))


def _by(world: World, change: Callable[[Any], None], organization: str, user: str = "admin") -> Any:
    config = Bundle.from_config_block(world.genesis).config
    return update_envelope(config, change, [world.signer(organization, user)])


REFUSED_UPDATES: list[tuple[str, Callable[[World], Any], str]] = [
    ("one administrator of three", lambda w: _add_bank(w, _admins(w, "BankOne"))[0], "policy for"),
    (
        "the same administrator twice",
        lambda w: _add_bank(w, _admins(w, "BankOne", "BankOne"))[0],
        "policy for",
    ),
    ("not the orderer's", lambda w: _by(w, batch_size(1, 10, 10), "BankOne"), "policy for"),
    (
        "no administrator",
        lambda w: _by(w, batch_size(1, 10, 10), "Supervisor", "supervisor"),
        "not satisfied",
    ),
    ("a neighbour's anchor", lambda w: _by(w, _anchor("BankTwo"), "BankOne"), "policy for"),
    ("stale", _stale, "to version 5, but key is at version 0"),
    ("empty", _empty, "delta set was empty"),
    ("read too new", lambda w: _read(w, 2, "Capabilities"), "be at version 2"),
    ("read unknown", lambda w: _read(w, 0, "Nothing"), "does not contain element"),
    ("new with a version", _new_value_with_a_version, "but key does not exist"),
    ("no mod_policy", lambda w: _orderer_change(w, _without_mod_policy), "mod_policy not set"),
    ("bad batch", lambda w: _orderer_change(w, batch_size(1, 10, 11)), "greater than the absolute"),
    ("consensus", lambda w: _orderer_change(w, _other_consensus), "change consensus type"),
    ("maintenance", lambda w: _orderer_change(w, _maintenance), "maintenance mode"),
    ("another channel's", _other_channel, "for channel 'elsewhere'"),
]


def test_updates_that_are_refused(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            for name, make, reason in REFUSED_UPDATES:
                answers = await client.broadcast([make(world).SerializeToString()])
                assert answers[0].status == STATUS.BAD_REQUEST, name
                assert reason in answers[0].info, (name, answers[0].info)
            assert node.chain.bundle.sequence == 0
            own = _by(world, _anchor("BankOne"), "BankOne")
            answers = await client.broadcast([own.SerializeToString()])
            assert answers[0].status == STATUS.SUCCESS, answers

    asyncio.run(scenario())


def test_two_updates_from_one_configuration(world: World, tmp_path: Path) -> None:
    """The second is judged by what the first left, not by what it was made from."""

    async def scenario() -> None:
        async with world.orderer(tmp_path) as (node, client):
            envelopes = [
                _orderer_change(world, batch_size(count, 99_999, 500)).SerializeToString()
                for count in (5, 6)
            ]
            answers = await client.broadcast(envelopes)
            assert [a.status for a in answers] == [STATUS.SUCCESS, STATUS.BAD_REQUEST]
            assert "but key is at version 1" in answers[1].info
            assert node.chain.bundle.orderer.batch_size.max_message_count == 5

    asyncio.run(scenario())


def test_an_update_computed_by_fabrics_configtxlator(world: World, tmp_path: Path) -> None:
    folder = os.environ.get("FABRIC_BIN")
    tool = shutil.which("configtxlator", path=folder) if folder else None
    if tool is None:
        pytest.skip("FABRIC_BIN doesn't name a folder with Fabric's configtxlator")
    old = Bundle.from_config_block(world.genesis).config
    new = configtx_pb2.Config.FromString(old.SerializeToString())
    authority = kit.make_authority("BankThree")
    _new_bank(authority, issuing.create_authority("BankThree", "tlsca"))(new)
    names = {"original": old, "updated": new}
    for name, config in names.items():
        (tmp_path / name).write_bytes(config.SerializeToString())
    command = [tool, "compute_update", "--channel_id", CHANNEL]
    command += [f"--{name}={tmp_path / name}" for name in names]
    done = subprocess.run(command, capture_output=True, check=True, timeout=20)

    async def scenario() -> None:
        async with world.orderer(tmp_path / "orderer") as (node, client):
            for signers, status in (
                (_admins(world, "BankOne"), STATUS.BAD_REQUEST),
                (_admins(world, "BankOne", "Supervisor"), STATUS.SUCCESS),
            ):
                envelope = wrap(done.stdout, signers)
                answers = await client.broadcast([envelope.SerializeToString()])
                assert answers[0].status == status, answers
            await node.chain.wait_above(1)
            assert "BankThree" in node.chain.bundle.application_orgs

    asyncio.run(scenario())
