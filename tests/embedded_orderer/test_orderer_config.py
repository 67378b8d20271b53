"""The channel's configuration: what is taken at the start, and what may change it afterwards."""

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
from config_kit import update_envelope, wrap
from cryptography import x509
from fabric_protos.common import common_pb2, configtx_pb2, configuration_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from fabric_protos.peer import configuration_pb2 as peer_pb2
from orderer_world import CHANNEL, SEEK, STATUS, World, normal

from network import certificates as issuing
from network.channelpolicies import one_of
from network.embedded import configtx, wire
from network.embedded.channelconfig import Bundle, ChannelConfigError, parse_duration
from network.embedded.orderer.blocks import BlockError, check_genesis
from network.embedded.orderer.ledger import LedgerError
from network.embedded.orderer.node import OrdererNode


def test_what_a_bundle_says(world: World) -> None:
    bundle = Bundle.from_config_block(world.genesis)
    assert (bundle.channel_id, bundle.sequence) == (CHANNEL, 0)
    assert set(bundle.msp_manager.msps) == {"BankOne", "BankTwo", "Supervisor"}
    assert set(bundle.application_orgs) == {"BankOne", "BankTwo", "Supervisor"}
    assert bundle.orderer_endpoints() == (("Supervisor", "127.0.0.1:7050"),)
    assert bundle.application_orgs["BankOne"].anchor_peers == (("127.0.0.1", 7051),)
    assert bundle.orderer.batch_timeout_seconds == 0.02
    assert bundle.orderer.batch_size.max_message_count == 500
    assert bundle.channel_capabilities == {"V3_0"}
    tls_ca = (world.home.organization("BankTwo") / "tlsca" / "cert.pem").read_bytes()
    assert bundle.tls_roots_of("BankTwo") == tls_ca
    assert bundle.tls_roots().count(b"BEGIN CERTIFICATE") == 3
    assert bundle.tls_roots_of("Nobody") == b""
    assert bundle.acl("event/Block", "/default") == "/default"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("2s", 2),
        ("1m30s", 90),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("100us", 0.0001),
        ("0", 0),
        ("-1s", -1),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "s", "2 s", "2x", "1s2", "--1s"])
def test_bad_durations(text: str) -> None:
    with pytest.raises(ChannelConfigError):
        parse_duration(text)


def _set(group: str, key: str, message: Any) -> Callable[[Any], None]:
    def change(config: Any) -> None:
        target = config.channel_group
        for name in group.split("/") if group else ():
            target = target.groups[name]
        target.values[key].value = message.SerializeToString()

    return change


def _capability(name: str) -> Any:
    message = configuration_pb2.Capabilities()
    message.capabilities[name].SetInParent()
    return message


def _timeout(text: str) -> Callable[[Any], None]:
    return _set("Orderer", "BatchTimeout", orderer_pb2.BatchTimeout(timeout=text))


def _batch(count: int, most: int, preferred: int) -> Callable[[Any], None]:
    size = orderer_pb2.BatchSize(
        max_message_count=count, absolute_max_bytes=most, preferred_max_bytes=preferred
    )
    return _set("Orderer", "BatchSize", size)


def _drop_group(config: Any) -> None:
    del config.channel_group.groups["Application"]


def _extra_group(config: Any) -> None:
    config.channel_group.groups["Consortiums"].SetInParent()


def _no_root(config: Any) -> None:
    config.ClearField("channel_group")


def _other_msp(config: Any) -> None:
    group = config.channel_group.groups["Application"].groups["Supervisor"]
    msp = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
    inner = msp_config_pb2.FabricMSPConfig.FromString(msp.config)
    inner.fabric_node_ous.ClearField("orderer_ou_identifier")
    msp.config = inner.SerializeToString()
    group.values["MSP"].value = msp.SerializeToString()


ADDRESSES = configuration_pb2.OrdererAddresses
BAD_CONFIGURATIONS: list[tuple[Callable[[Any], None], str]] = [
    (_timeout("soon"), "invalid duration"),
    (_timeout("0s"), "non-positive"),
    (_batch(0, 10, 10), "max message count"),
    (_batch(1, 0, 10), "absolute max bytes"),
    (_batch(1, 10, 0), "preferred max bytes"),
    (_batch(1, 10, 11), "greater than the absolute"),
    (_set("", "Capabilities", _capability("V9_9")), "not supported"),
    (_set("Application", "Capabilities", _capability("V1_1")), "not supported"),
    (_set("", "Surprise", ADDRESSES()), "Unexpected key Surprise"),
    (_set("Application/BankOne", "Endpoints", ADDRESSES()), "Unexpected key Endpoints"),
    (_set("", "OrdererAddresses", ADDRESSES(addresses=["a:1"])), "V3_0"),
    (_set("Orderer/Supervisor", "Endpoints", ADDRESSES()), "endpoints are empty"),
    (_set("", "HashingAlgorithm", configuration_pb2.HashingAlgorithm(name="MD5")), "hashing"),
    (_set("Application/BankOne", "MSP", ADDRESSES()), "empty MSP ID"),
    (_drop_group, "does not contain the Application group"),
    (_extra_group, "Disallowed channel group"),
    (_no_root, "must contain a channel group"),
    (_other_msp, "two different versions of MSP"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_CONFIGURATIONS)
def test_configurations_that_nobody_takes(
    world: World, change: Callable[[Any], None], reason: str
) -> None:
    with pytest.raises(ChannelConfigError, match=reason):
        Bundle.from_config_block(world.reconfigured(change))


def test_blocks_that_are_no_configuration(world: World) -> None:
    message = normal(world.signer()).SerializeToString()
    block = common_pb2.Block(data=common_pb2.BlockData(data=[message]))
    for raw in (b"\xff", b"", block.SerializeToString()):
        with pytest.raises(ChannelConfigError):
            Bundle.from_config_block(raw)


def test_genesis_blocks_that_would_kill_a_peer(world: World) -> None:
    def change(edit: Callable[[Any], None]) -> bytes:
        block = common_pb2.Block.FromString(world.genesis)
        edit(block)
        return bytes(block.SerializeToString())

    def fewer_slots(block: Any) -> None:
        del block.metadata.metadata[2:]

    check_genesis(world.genesis)
    for raw, reason in (
        (change(lambda block: block.ClearField("metadata")), "metadata"),
        (change(fewer_slots), "metadata"),
        (change(lambda block: setattr(block.header, "number", 1)), "number 0"),
        (change(lambda block: setattr(block.header, "data_hash", b"x")), "data hash"),
        (change(lambda block: block.data.data.append(b"x")), "exactly one"),
        (b"\xff\xff", "not a block"),
    ):
        with pytest.raises(BlockError, match=reason):
            check_genesis(raw)


def test_another_genesis_block_than_the_ledgers(world: World, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world.orderer(tmp_path):
            pass
        with pytest.raises(LedgerError, match="belongs to another channel"):
            OrdererNode(world.settings(tmp_path, world.reconfigured(_timeout("1s"))))

    asyncio.run(scenario())


# ---- updates


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
        envelope = _orderer_change(world, _batch(1, 1000, 500))
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
            envelope = _orderer_change(world, _batch(7, 1000, 500))
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
            early = wire.channel(
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
                call = channel.stream_stream("/orderer.AtomicBroadcast/Deliver")()
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
    return update_envelope(config, _batch(1, 10, 10), _admins(world, "Supervisor"))


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
    return _set(f"Application/{organization}", "AnchorPeers", peers)


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
    ("not the orderer's", lambda w: _by(w, _batch(1, 10, 10), "BankOne"), "policy for"),
    (
        "no administrator",
        lambda w: _by(w, _batch(1, 10, 10), "Supervisor", "supervisor"),
        "not satisfied",
    ),
    ("a neighbour's anchor", lambda w: _by(w, _anchor("BankTwo"), "BankOne"), "policy for"),
    ("stale", _stale, "to version 5, but key is at version 0"),
    ("empty", _empty, "delta set was empty"),
    ("read too new", lambda w: _read(w, 2, "Capabilities"), "be at version 2"),
    ("read unknown", lambda w: _read(w, 0, "Nothing"), "does not contain element"),
    ("new with a version", _new_value_with_a_version, "but key does not exist"),
    ("no mod_policy", lambda w: _orderer_change(w, _without_mod_policy), "mod_policy not set"),
    ("bad batch", lambda w: _orderer_change(w, _batch(1, 10, 11)), "greater than the absolute"),
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
                _orderer_change(world, _batch(count, 99_999, 500)).SerializeToString()
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
