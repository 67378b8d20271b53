"""One history, two kinds of peer: the same blocks, flags and hashes, the same answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from fabric_programs import needs_fabric
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from fidelity_world import CHAINCODE, CHANNEL, FOLLOWED, Follower, block, height, level, slots
from transcript import CODES, LEAST_TRANSACTIONS, LOCKS

from clearline.fabric import protoutil
from clearline.fabric.blocks import code_name
from clearline.fabric.gateway import Gateway
from network.administration import AdministrationError, PeerAdministration
from network.topology import Engine

pytestmark = [needs_fabric, pytest.mark.slow]

SIGNATURES = common_pb2.BlockMetadataIndex.SIGNATURES
FLAGS = common_pb2.BlockMetadataIndex.TRANSACTIONS_FILTER
COMMIT_HASH = common_pb2.BlockMetadataIndex.COMMIT_HASH


async def both_ledgers(follower: Follower) -> list[tuple[bytes, bytes]]:
    net = follower.net
    async with net.administration(FOLLOWED) as own, follower.administration() as other:
        count = await level([own, other])
        assert count == await height(other)
        return [(await block(own, n), await block(other, n)) for n in range(count)]


@pytest.fixture(scope="module")
def ledgers(follower: Follower) -> list[tuple[bytes, bytes]]:
    """Each block as the network's own peer has it, and as the follower has it."""
    return asyncio.run(both_ledgers(follower))


def test_the_history_reaches_every_code(ledgers: list[tuple[bytes, bytes]]) -> None:
    codes = Counter(code_name(flag) for own, _ in ledgers for flag in slots(own)[1][FLAGS])
    print(dict(codes))
    assert set(codes) == CODES
    assert sum(codes.values()) >= LEAST_TRANSACTIONS
    assert codes["VALID"] >= LEAST_TRANSACTIONS / 3


def agreed(raw: bytes) -> tuple[Any, list[bytes]]:
    """A block but for its signatures: each Raft orderer signs a block itself, and two peers may
    have asked different ones."""
    message, metadata = slots(raw)
    metadata[SIGNATURES] = common_pb2.Metadata.FromString(metadata[SIGNATURES]).value
    return message, metadata


def test_blocks_are_byte_identical(follower: Follower, ledgers: list[tuple[bytes, bytes]]) -> None:
    for number, (own, other) in enumerate(ledgers):
        assert agreed(own) == agreed(other), number
        if follower.net.engine is Engine.EMBEDDED:
            assert own == other, number


def test_every_block_has_flags_and_commit_hash(ledgers: list[tuple[bytes, bytes]]) -> None:
    for number, (_, other) in enumerate(ledgers):
        message, metadata = slots(other)
        assert len(metadata[FLAGS]) == len(message.data.data)
        # The chain of commit hashes begins with the block after the genesis block.
        assert bool(metadata[COMMIT_HASH]) == (number > 0)


def lifecycle(function: str, **fields: Any) -> list[bytes]:
    message = getattr(lifecycle_pb2, f"{function}Args")(**fields)
    return [function.encode(), message.SerializeToString()]


CALLS = [
    "put z=1", "put z=1 a= k001=5", "put l0=1", "get k002 h0 none", "add h0 2", "add nothing 1",
    "span k l", "span k00 k02", "span y z", "span k l w", "span k000 k051 w", "span k000 k050",
    "first k l w", "first y z w", "page k l 3", "page k l 3 k050", "page k l 60", "page k l 1000",
    "page y z 5", "page_then_put q", "tag colour a b", "tagged colour h1", "history h0",
    "history none", "history k001", "lock l0", f"lock new {LOCKS[0]}", "locked l0", "locked none",
    "answer 200 fine", "answer 399 fine", "answer 400 bad", "answer 404 gone", "answer 500 broken",
    "answer 700 odd", "nosuch", "add h0 x", "who", "put",
]  # fmt: skip
SYSTEM: list[tuple[str, str, str, list[bytes]]] = [
    ("admin", CHANNEL, "_lifecycle", lifecycle("QueryChaincodeDefinition", name=CHAINCODE)),
    ("admin", CHANNEL, "_lifecycle", lifecycle("QueryChaincodeDefinitions")),
    ("admin", CHANNEL, "_lifecycle", lifecycle("QueryApprovedChaincodeDefinition", name="none")),
    (
        "admin",
        CHANNEL,
        "_lifecycle",
        lifecycle("CheckCommitReadiness", name=CHAINCODE, version="0.1", sequence=3),
    ),
    (
        "admin",
        CHANNEL,
        "_lifecycle",
        lifecycle("ApproveChaincodeDefinitionForMyOrg", name=CHAINCODE, version="1", sequence=3),
    ),
    (
        "admin",
        CHANNEL,
        "_lifecycle",
        lifecycle("CommitChaincodeDefinition", name=CHAINCODE, version="1", sequence=3),
    ),
    ("admin", "", "_lifecycle", lifecycle("QueryInstalledChaincodes")),
    ("admin", "", "cscc", [b"GetChannels"]),
    ("admin", "", "cscc", [b"GetConfigBlock", CHANNEL.encode()]),
    ("admin", "", "cscc", [b"GetChannelConfig", CHANNEL.encode()]),
    ("gateway", CHANNEL, "qscc", [b"GetChainInfo", CHANNEL.encode()]),
    ("gateway", CHANNEL, "qscc", [b"GetBlockByNumber", CHANNEL.encode(), b"9999"]),
    ("gateway", CHANNEL, "qscc", [b"GetTransactionByID", CHANNEL.encode(), b"none"]),
    ("gateway", CHANNEL, "nowhere", [b"x"]),
    ("gateway", "elsewhere", CHAINCODE, [b"x"]),
]


def installed(raw: bytes) -> list[Any]:
    """The packages, each with who uses it: Fabric lists them, too, as it finds them in a map
    (core/chaincode/lifecycle/cache.go, ListInstalledChaincodes)."""
    found: list[Any] = []
    for item in lifecycle_pb2.QueryInstalledChaincodesResult.FromString(raw).installed_chaincodes:
        uses = [
            (channel, use.name, use.version)
            for channel, references in item.references.items()
            for use in references.chaincodes
        ]
        found.append((item.package_id, item.label, sorted(uses)))
    return sorted(found)


# Answers with maps, or made from one: Go goes through a map in another order each time.
READERS: dict[bytes, Callable[[bytes], Any]] = {
    b"QueryInstalledChaincodes": installed,
    b"QueryChaincodeDefinitions": lambda raw: sorted(
        lifecycle_pb2.QueryChaincodeDefinitionsResult.FromString(raw).chaincode_definitions,
        key=lambda item: str(item.name),
    ),
    b"QueryChaincodeDefinition": lifecycle_pb2.QueryChaincodeDefinitionResult.FromString,
    b"CheckCommitReadiness": lifecycle_pb2.CheckCommitReadinessResult.FromString,
    b"GetChannelConfig": configtx_pb2.Config.FromString,
    b"GetConfigBlock": agreed,
}


async def answers(
    peers: Sequence[PeerAdministration], follower: Follower, call: tuple[str, str, str, list[bytes]]
) -> list[Any]:
    """Each peer's ProposalResponse for one signed proposal, without the signature."""
    user, channel_id, chaincode, args = call
    signer = follower.net.signer(FOLLOWED, user)
    _, raw = protoutil.make_chaincode_proposal(channel_id, chaincode, args, signer.identity)
    signed = protoutil.sign_proposal(signer, raw)
    found: list[Any] = []
    for peer in peers:
        try:
            response = await peer.process("proposal", signed)
        except AdministrationError as error:
            found.append(error.reason.encode())
            continue
        if args[0] in READERS:
            answer = response.response
            found.append((answer.status, answer.message, READERS[args[0]](answer.payload)))
            continue
        # ECDSA draws a random number; the endorser's certificate stays and is the same.
        response.endorsement.signature = b""
        found.append(response.SerializeToString(deterministic=True))
    return found


def test_proposal_responses_are_byte_equal(follower: Follower) -> None:
    async def main() -> None:
        net = follower.net
        calls = SYSTEM + [
            ("gateway", CHANNEL, CHAINCODE, [word.encode() for word in call.split()])
            for call in CALLS
        ]
        different = []
        async with net.administration(FOLLOWED) as own, follower.administration() as other:
            await level([own, other])
            for call in calls:
                left, right = await answers((own, other), follower, call)
                if left != right:
                    different.append((call[2], call[3], left, right))
        assert different == []

    asyncio.run(main())


def test_statuses_come_from_a_stream_of_either_kind(follower: Follower) -> None:
    """Valid ones and a conflict, each with the code and block that the peer answers when asked."""

    async def main() -> None:
        profile = follower.net.profile("BankOne", "gateway")
        async with Gateway.connect(profile) as gateway:
            network = gateway.network(CHANNEL)
            async with asyncio.timeout(30), network.commit_stream() as stream:
                await stream.opened()
                contract = network.contract(CHAINCODE)
                calls = [contract.new_proposal("add", ["streamed", "1"]) for _ in range(9)]
                endorsed = [await call.endorse() for call in calls]
                commits = [await one.submit() for one in endorsed]
                assert all(one.told is not None for one in commits)
                told = [await one.status() for one in commits]
                assert told == [await one.new_commit().status() for one in endorsed]
        codes = [one.code_name for one in told]
        assert codes == ["VALID"] + ["MVCC_READ_CONFLICT"] * 8

    asyncio.run(main())
