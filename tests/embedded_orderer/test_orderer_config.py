"""The channel's configuration: what is taken at the start."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from config_kit import batch_size, set_value
from fabric_protos.common import common_pb2, configuration_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from orderer_world import CHANNEL, World, normal

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


def _capability(name: str) -> Any:
    message = configuration_pb2.Capabilities()
    message.capabilities[name].SetInParent()
    return message


def _timeout(text: str) -> Callable[[Any], None]:
    return set_value("Orderer", "BatchTimeout", orderer_pb2.BatchTimeout(timeout=text))


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
    (batch_size(0, 10, 10), "max message count"),
    (batch_size(1, 0, 10), "absolute max bytes"),
    (batch_size(1, 10, 0), "preferred max bytes"),
    (batch_size(1, 10, 11), "greater than the absolute"),
    (set_value("", "Capabilities", _capability("V9_9")), "not supported"),
    (set_value("Application", "Capabilities", _capability("V1_1")), "not supported"),
    (set_value("", "Surprise", ADDRESSES()), "Unexpected key Surprise"),
    (set_value("Application/BankOne", "Endpoints", ADDRESSES()), "Unexpected key Endpoints"),
    (set_value("", "OrdererAddresses", ADDRESSES(addresses=["a:1"])), "V3_0"),
    (set_value("Orderer/Supervisor", "Endpoints", ADDRESSES()), "endpoints are empty"),
    (set_value("", "HashingAlgorithm", configuration_pb2.HashingAlgorithm(name="MD5")), "hashing"),
    (set_value("Application/BankOne", "MSP", ADDRESSES()), "empty MSP ID"),
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
