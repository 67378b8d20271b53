"""Input that nobody honest sends: each gets a status, and the peer goes on as before."""

import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from fabric_protos.peer import proposal_response_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from peer_world import CHAINCODE, CHANNEL, ENDORSER, World, proposal, run
from protobuf_mischief import damaged_proposals, mutated

from clearline.fabric import protoutil
from network.embedded import wire

Code = grpc.StatusCode
ROUNDS = 60


def _internal(code: Any, details: str) -> bool:
    """Whether grpcio says that a handler raised: nothing that Fabric would ever answer."""
    return code is Code.UNKNOWN and "Unexpected <class" in (details or "")


async def poke(call: Callable[[bytes], Any], raw: bytes) -> tuple[Any, str]:
    """(status, details) of a unary or streaming call; DEADLINE_EXCEEDED for one that waits."""
    try:
        running = call(raw)
        if isinstance(running, Awaitable):
            await running
        else:
            async for _ in running:
                break
            running.cancel()
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return Code.OK, ""


def seeded(name: str) -> random.Random:
    return random.Random(f"hostile/{name}")


def seek_envelope(world: World) -> bytes:
    seek = ab_pb2.SeekInfo()
    seek.start.oldest.SetInParent()
    seek.stop.oldest.SetInParent()
    return bytes(
        protoutil.create_signed_envelope(
            common_pb2.HeaderType.DELIVER_SEEK_INFO,
            CHANNEL,
            world.signer("BankOne"),
            seek.SerializeToString(),
            tls_cert_hash=wire.certificate_hash(world.tls("BankOne").certificate),
        ).SerializeToString()
    )


def requests(world: World) -> dict[str, bytes]:
    """A valid request for each method that takes one message."""
    signer = world.signer("BankOne")
    tx_id, _, signed = proposal(signer, "get", ["k"])
    status = gateway_pb2.CommitStatusRequest(
        transaction_id=tx_id, channel_id=CHANNEL, identity=signer.identity
    ).SerializeToString()
    events = gateway_pb2.ChaincodeEventsRequest(
        channel_id=CHANNEL, chaincode_id=CHAINCODE, identity=signer.identity
    ).SerializeToString()
    submit = gateway_pb2.SubmitRequest(transaction_id=tx_id, channel_id=CHANNEL)
    submit.prepared_transaction.payload = b"payload"
    submit.prepared_transaction.signature = b"signature"
    messages = {
        ENDORSER: signed,
        "/gateway.Gateway/Evaluate": gateway_pb2.EvaluateRequest(
            transaction_id=tx_id, channel_id=CHANNEL, proposed_transaction=signed
        ),
        "/gateway.Gateway/Endorse": gateway_pb2.EndorseRequest(
            transaction_id=tx_id, channel_id=CHANNEL, proposed_transaction=signed
        ),
        "/gateway.Gateway/Submit": submit,
        "/gateway.Gateway/CommitStatus": gateway_pb2.SignedCommitStatusRequest(
            request=status, signature=signer.sign(status)
        ),
        "/gateway.Gateway/ChaincodeEvents": gateway_pb2.SignedChaincodeEventsRequest(
            request=events, signature=signer.sign(events)
        ),
    }
    return {name: bytes(message.SerializeToString()) for name, message in messages.items()}


def caller(channel: Any, method: str) -> Callable[[bytes], Any]:
    """A call of a method with a short deadline, for what waits for ever."""
    if method == "/gateway.Gateway/ChaincodeEvents":
        return lambda raw: channel.unary_stream(method)(raw, timeout=0.1)
    if method.startswith("/gateway.") or method == ENDORSER:
        return lambda raw: channel.unary_unary(method)(raw, timeout=0.5)
    return lambda raw: channel.unary_stream(method)(raw, timeout=0.5)


STREAMS = (
    "/protos.Deliver/Deliver",
    "/protos.Deliver/DeliverFiltered",
    "/protos.Deliver/DeliverWithPrivateData",
)


def test_damaged_messages_on_every_method_get_a_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(world: World) -> None:
        valid = requests(world) | dict.fromkeys(STREAMS, seek_envelope(world))
        channel = world.channel("BankOne", "gateway")
        try:
            for method, raw in valid.items():
                chance = seeded(method)
                call = caller(channel, method)
                for _ in range(ROUNDS):
                    damaged = mutated(raw, chance)
                    code, details = await poke(call, damaged)
                    assert not _internal(code, details), (method, damaged.hex(), details)
        finally:
            await channel.close()
        await _honest(world)

    caplog.set_level(logging.ERROR)
    run(tmp_path, scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def _honest(world: World) -> None:
    """A client that does nothing wrong is served."""
    async with world.gateway("BankOne") as contract:
        assert await contract.submit("put", "honest", "1") == b"done"


LIFECYCLE = (
    "InstallChaincode", "QueryInstalledChaincode", "QueryInstalledChaincodes",
    "GetInstalledChaincodePackage", "ApproveChaincodeDefinitionForMyOrg",
    "QueryApprovedChaincodeDefinition", "QueryApprovedChaincodeDefinitions",
    "CheckCommitReadiness", "CommitChaincodeDefinition", "QueryChaincodeDefinition",
    "QueryChaincodeDefinitions",
)  # fmt: skip
CALLS: list[tuple[str, str, list[bytes]]] = [
    (CHANNEL, CHAINCODE, [b"get", b"k"]),
    *[
        (CHANNEL, "qscc", [name.encode(), CHANNEL.encode(), b"1"])
        for name in ("GetChainInfo", "GetBlockByNumber", "GetBlockByHash", "GetTransactionByID",
                     "GetBlockByTxID")
    ],
    *[("", "cscc", [name.encode(), CHANNEL.encode()])
      for name in ("JoinChain", "GetChannels", "GetConfigBlock", "GetChannelConfig")],
]  # fmt: skip


def _lifecycle_calls() -> list[tuple[str, str, list[bytes]]]:
    found = []
    for name in LIFECYCLE:
        message = getattr(lifecycle_pb2, f"{name}Args")()
        for field in ("name", "version", "package_id", "endorsement_plugin"):
            if hasattr(message, field):
                setattr(message, field, CHAINCODE)
        if hasattr(message, "sequence"):
            message.sequence = 2
        argument = message.SerializeToString()
        found += [(channel, "_lifecycle", [name.encode(), argument]) for channel in ("", CHANNEL)]
    return found


def test_damaged_proposals_that_are_signed_get_a_status(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The signature holds, so that the damage reaches what lies behind it."""

    async def scenario(world: World) -> None:
        signer = world.signer("BankOne", "admin")
        channel = world.channel("BankOne")
        call = caller(channel, ENDORSER)
        try:
            for channel_id, chaincode, args in [*CALLS, *_lifecycle_calls()]:
                chance = seeded(f"{chaincode}/{args[0]!r}")
                made = damaged_proposals(signer, channel_id, chaincode, args, chance)
                for _ in range(12):
                    raw = next(made)
                    code, details = await poke(call, raw)
                    assert not _internal(code, details), (args[0], raw.hex(), details)
                    assert code is not Code.DEADLINE_EXCEEDED, args[0]
        finally:
            await channel.close()
        await _honest(world)

    caplog.set_level(logging.ERROR)
    run(tmp_path, scenario)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_messages_above_the_limit_are_refused_by_size(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        folder = world.home.user("BankOne", "gateway") / "tls"
        channel = world.channel("BankOne", "gateway")
        assert (folder / "cert.pem").exists()
        try:
            large = bytes(wire.MAX_MESSAGE_BYTES - 1_000_000)
            code, details = await poke(
                lambda raw: channel.unary_unary(ENDORSER)(raw, timeout=20), large
            )
            assert code is Code.INTERNAL, details
        finally:
            await channel.close()
        roots = (world.home.organization("BankOne") / "tlsca" / "cert.pem").read_bytes()
        credentials = grpc.ssl_channel_credentials(
            roots, (folder / "key.pem").read_bytes(), (folder / "cert.pem").read_bytes()
        )
        boundless: Any = grpc.aio.secure_channel(
            world.endpoint("BankOne"), credentials, [("grpc.max_send_message_length", -1)]
        )
        try:
            code, details = await poke(
                lambda raw: boundless.unary_unary(ENDORSER)(raw, timeout=20),
                bytes(wire.MAX_MESSAGE_BYTES + 1),
            )
            assert code is Code.RESOURCE_EXHAUSTED
            assert "larger than max" in details
        finally:
            await boundless.close()
        await _honest(world)

    run(tmp_path, scenario)


def test_long_keys_and_strange_text(tmp_path: Path) -> None:
    """Fabric's LevelDB takes keys of any length; LMDB's limit is nobody's business."""

    async def scenario(world: World) -> None:
        keys = ["x" * 500, "x" * 512, "x" * 70_000, "\0", "\U0010ffff" * 300, "k\u202e\n"]
        async with world.gateway("BankOne") as contract:
            for number, key in enumerate(keys):
                await contract.submit("put", key, f"v{number}")
            for number, key in enumerate(keys):
                assert await contract.evaluate("get", key) == f"v{number}".encode()
                assert f"v{number}".encode() in await contract.evaluate("history", key)
            await contract.submit("delete", keys[2])
            assert await contract.evaluate("get", keys[2]) == b""
        hashes = (
            {world.ledger(name).commit_hash for name in world.peers}
            if (await world.level())
            else set()
        )
        assert len(hashes) == 1

    run(tmp_path, scenario)


def _response(raw: bytes) -> Any:
    return proposal_response_pb2.ProposalResponse.FromString(raw).response
