"""Damaged messages: a real and an embedded peer answer the same bytes with the same status and
text.

The damage is seeded: FIDELITY_SEED draws another one.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterator
from itertools import islice
from statistics import median
from typing import Any

import pytest
from fabric_programs import needs_fabric
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from fidelity_world import CHAINCODE, CHANNEL, FOLLOWED, Follower, Net, level
from mischief_chaincode import NAME as MISCHIEF
from pokes import COMMIT_STATUS, EVENTS, PROCESS, Pair, Said, differences, peers, poke
from protobuf_mischief import damaged_proposals, mutated
from test_peer_hostile_chaincode import LIMIT_BYTES, REQUESTS

from clearline.fabric import protoutil
from network.topology import Engine

pytestmark = [needs_fabric, pytest.mark.slow]

SEED = os.environ.get("FIDELITY_SEED", "20261123")
DAMAGED = 25
"""Damaged messages a method."""
PROPOSALS = 8
"""Damaged proposals a function of a chaincode."""
FLOOD = "100000"
"""Requests, whose answers are 10 MB; an embedded peer lets 4 MB wait."""
FLOOD_SECONDS = 36.0
"""After a peer has given up, which it does after 30 s."""
PATIENCE = 15.0
LONGEST_SECONDS = 30.0
"""All of one test here; on an idle machine it is a third of that."""

FUNCTIONS = [name.removesuffix("Args") for name in dir(lifecycle_pb2) if name.endswith("Args")]
# A real follower hears of no other peers: only the network's own peers gossip with each other.
ALONE = "no combination of peers can be derived which satisfy the endorsement policy"
# Refused by both, each with its own text: Fabric says which key it couldn't read, or that a channel
# has no such collection.
WORDED_OTHERWISE = (
    "no channel: this function needs one",
    "private data collections are not supported by the embedded engine",
)
# What a node answers of its own: approvals are private to the peer that stored them, and each Raft
# orderer signs a block itself.
ITS_OWN = ("QueryApprovedChaincodeDefinitions", "GetBlockByNumber", "GetConfigBlock")


def seeded(name: str) -> random.Random:
    return random.Random(f"{SEED}/{name}")


def requests(net: Net) -> dict[str, bytes]:
    """A valid request of each method that a client calls."""
    signer = net.signer(FOLLOWED, "gateway")
    tx_id, raw = protoutil.make_chaincode_proposal(
        CHANNEL, CHAINCODE, [b"get", b"k"], signer.identity
    )
    signed = protoutil.sign_proposal(signer, raw)
    fields = {"transaction_id": tx_id, "channel_id": CHANNEL}
    status = gateway_pb2.CommitStatusRequest(**fields, identity=signer.identity)
    events = gateway_pb2.ChaincodeEventsRequest(
        channel_id=CHANNEL, chaincode_id=CHAINCODE, identity=signer.identity
    )
    submit = gateway_pb2.SubmitRequest(**fields)
    submit.prepared_transaction.payload, submit.prepared_transaction.signature = b"p", b"s"
    seek = ab_pb2.SeekInfo()
    seek.start.oldest.SetInParent()
    seek.stop.oldest.SetInParent()
    envelope = protoutil.create_signed_envelope(
        common_pb2.HeaderType.DELIVER_SEEK_INFO,
        CHANNEL,
        signer,
        seek.SerializeToString(),
        tls_cert_hash=net.profile(FOLLOWED, "gateway").tls_cert_hash(),
    )
    messages: dict[str, Any] = {
        PROCESS: signed,
        "/gateway.Gateway/Evaluate": gateway_pb2.EvaluateRequest(
            **fields, proposed_transaction=signed
        ),
        "/gateway.Gateway/Endorse": gateway_pb2.EndorseRequest(
            **fields, proposed_transaction=signed
        ),
        "/gateway.Gateway/Submit": submit,
        COMMIT_STATUS: gateway_pb2.SignedCommitStatusRequest(
            request=status.SerializeToString(), signature=signer.sign(status.SerializeToString())
        ),
        EVENTS: gateway_pb2.SignedChaincodeEventsRequest(
            request=events.SerializeToString(), signature=signer.sign(events.SerializeToString())
        ),
        "/protos.Deliver/Deliver": envelope,
        "/protos.Deliver/DeliverFiltered": envelope,
    }
    return {method: message.SerializeToString() for method, message in messages.items()}


def reworded(real: Said, embedded: Said) -> bool:
    """Whether the texts differ on purpose, and nothing else does."""
    return (
        embedded[0] == "OK"
        and embedded[2].endswith(WORDED_OTHERWISE)
        and (real[:2], real[3:]) == (embedded[:2], embedded[3:])
    )


def its_own(name: str, real: Said, embedded: Said) -> bool:
    """Whether both answered what each has of its own."""
    return name.endswith(ITS_OWN) and real[:3] == embedded[:3] == ("OK", 200, "")


def alone(follower: Follower, real: Said, embedded: Said) -> bool:
    """The one difference that comes from who gossips with whom."""
    return (
        follower.net.engine is Engine.EMBEDDED
        and embedded == ("OK",)
        and real[0] == "FAILED_PRECONDITION"
        and real[1].startswith(ALONE)
    )


def test_damaged_requests_of_every_method(follower: Follower) -> None:
    async def main() -> None:
        found: list[tuple[str, Said, Said]] = []
        statuses: set[str] = set()
        async with peers(follower) as pair:
            for method, good in requests(follower.net).items():
                chance = seeded(method)
                for raw in [good, b"", *(mutated(good, chance) for _ in range(DAMAGED))]:
                    real, embedded = await pair.both(method, raw)
                    statuses.add(str(real[0]))
                    if not alone(follower, real, embedded):
                        found.append((f"{method} {raw.hex()}", real, embedded))
        assert differences(found) == ""
        # The damage got past the parser, and was stopped at the door, too.
        assert {"OK", "INTERNAL", "INVALID_ARGUMENT", "UNKNOWN", "content", "status"} <= statuses

    bounded(main())


def bounded(coroutine: Any) -> None:
    began = time.monotonic()
    asyncio.run(coroutine)
    assert time.monotonic() - began < LONGEST_SECONDS


def system_calls() -> Iterator[tuple[str, str, list[bytes]]]:
    """(channel, chaincode, arguments): the tests' chaincode and the system chaincodes."""
    channel = CHANNEL.encode()
    yield CHANNEL, CHAINCODE, [b"get", b"k"]
    for name in ("GetChainInfo", "GetBlockByNumber", "GetBlockByHash", "GetTransactionByID",
                 "GetBlockByTxID"):  # fmt: skip
        yield CHANNEL, "qscc", [name.encode(), channel, b"1"]
    for name in ("JoinChain", "GetChannels", "GetConfigBlock", "GetChannelConfig"):
        yield "", "cscc", [name.encode(), channel]
    for name in FUNCTIONS:
        message = getattr(lifecycle_pb2, f"{name}Args")()
        for field in ("name", "version", "package_id"):
            if hasattr(message, field):
                setattr(message, field, CHAINCODE)
        if hasattr(message, "sequence"):
            message.sequence = 3
        for channel_id in ("", CHANNEL):
            yield channel_id, "_lifecycle", [name.encode(), message.SerializeToString()]


def test_damaged_proposals_of_every_function(follower: Follower) -> None:
    """Signed as it must be, damaged in one layer: the text says which one."""

    async def main() -> None:
        found: list[tuple[str, Said, Said]] = []
        admin = follower.net.signer(FOLLOWED, "admin")
        async with peers(follower) as pair:
            for channel_id, chaincode, args in system_calls():
                name = f"{channel_id or '-'} {chaincode} {args[0].decode()}"
                proposals = damaged_proposals(admin, channel_id, chaincode, args, seeded(name))
                for raw in islice(proposals, PROPOSALS):
                    real, embedded = await pair.both(PROCESS, raw)
                    if not reworded(real, embedded) and not its_own(name, real, embedded):
                        found.append((f"{name} {raw.hex()}", real, embedded))
        assert differences(found) == ""
        assert len({real for _, real, _ in found}) > 20

    bounded(main())


def proposal(signer: Any, chaincode: str, *args: str) -> bytes:
    words = [item.encode() for item in args]
    _, raw = protoutil.make_chaincode_proposal(CHANNEL, chaincode, words, signer.identity)
    return bytes(protoutil.sign_proposal(signer, raw).SerializeToString())


async def call(pair: Pair, signer: Any, *args: str) -> tuple[Said, Said]:
    return await pair.both(PROCESS, proposal(signer, MISCHIEF, *args))


MISBEHAVIOURS = [
    ["put", "k", "v"], ["get", "k"], ["twice", "late"], ["get", "late"], ["nosuch"], ["rich"],
    ["status", "600", "x"], ["put", "", "v"], ["put", "\0x", "v"], ["put", "k", ""],
    ["span", "b", "a"], ["page", "", "", "-1"], ["page", "", "", "0"], ["lock", "k", "ff"],
    ["lock", "", ""], ["delete", ""], ["raw", "6", ""], ["huge", str(LIMIT_BYTES)],
]  # fmt: skip
# A flood that ends with its stream; a message of 100 MB is read, one of a byte more is not.
STREAM_ENDERS = [["drop"], ["strange"], ["garbage"], ["flood", "2000", "0", "0.5"],
                 ["huge", str(LIMIT_BYTES + 1)], *(["raw", str(kind), ""] for kind in
                 (1, 2, 3, 4, 5, 12, 99, 127))]  # fmt: skip


def test_a_chaincode_that_misbehaves(follower: Follower) -> None:
    """One server for both peers: what it does to each stream, each peer answers alike."""

    async def main() -> None:
        net = follower.net
        signer = net.signer(FOLLOWED, "gateway")
        found: list[tuple[str, Said, Said]] = []
        async with net.administration(FOLLOWED) as own, follower.administration() as other:
            await level([own, other])
        async with peers(follower) as pair:
            for args in MISBEHAVIOURS:
                found.append((str(args), *await call(pair, signer, *args)))
            for kind, request in REQUESTS.items():
                chance = seeded(f"chaincode/{kind}")
                payloads = [b"\x0a\x02\xff\xfe"]
                payloads += [mutated(request.SerializeToString(), chance) for _ in range(8)]
                for payload in payloads:
                    args = ["raw", str(kind), payload.hex()]
                    real, embedded = await call(pair, signer, *args)
                    if not reworded(real, embedded):
                        found.append((str(args), real, embedded))
            for args in STREAM_ENDERS:
                found.append((str(args), *await call(pair, signer, *args)))
                await until_back(pair, signer)
        assert differences(found) == ""
        assert sum("panic during execution" in str(real) for _, real, _ in found) > 0

    bounded(main())


async def until_back(pair: Pair, signer: Any) -> None:
    """The peers come back by themselves, each in its own time."""
    async with asyncio.timeout(PATIENCE):
        while {answer[:2] for answer in await call(pair, signer, "get", "k")} != {("OK", 200)}:
            pass


async def latency(channel: Any, signer: Any) -> float:
    """Median seconds of a call of the other chaincode."""
    took = []
    for _ in range(9):
        began = time.monotonic()
        said = await poke(channel, PROCESS, proposal(signer, CHAINCODE, "get", "k"), PATIENCE)
        assert said[:2] == ("OK", 200)
        took.append(time.monotonic() - began)
    return median(took)


def test_a_flood_that_nobody_reads(follower: Follower) -> None:
    """Answers wait at each peer until its patience with the chaincode ends. Fabric holds them all,
    the embedded peer stops reading; both say the same, and its other clients hardly notice."""

    async def main() -> None:
        signer = follower.net.signer(FOLLOWED, "gateway")
        async with peers(follower) as pair:
            await until_back(pair, signer)
            before = await latency(pair.embedded, signer)
            raw = proposal(signer, MISCHIEF, "flood", FLOOD, "0", str(FLOOD_SECONDS))
            flooded = asyncio.gather(
                poke(pair.real, PROCESS, raw, FLOOD_SECONDS + 5),
                poke(pair.embedded, PROCESS, raw, FLOOD_SECONDS + 5),
            )
            during = [await latency(pair.embedded, signer) for _ in range(3)]
            real, embedded = await flooded
            await until_back(pair, signer)
        assert differences([("flood", real, embedded)]) == ""
        assert real[1] == 500
        assert real[2].endswith("error sending: timeout expired while executing transaction")
        assert max(during) < 4 * before + 0.25, (before, during)

    asyncio.run(main())
