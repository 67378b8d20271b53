"""Who and what the shim lets in: peers by name, proposals by clock, form and size."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from chaincode_tls import Authority
from fake_peer import FakePeer, serialized_identity, transaction
from shim_world import PACKAGE_ID, House, Probe, house, run

from chaincode.shim.stub import Stub


@dataclass(frozen=True)
class At:
    """A proposal this far from the server's clock, and whether it is taken."""

    away: timedelta
    taken: bool


@pytest.mark.parametrize(
    "case",
    [
        At(timedelta(), True),
        At(timedelta(minutes=5), True),
        At(timedelta(minutes=-5), True),
        At(timedelta(minutes=5, seconds=1), False),
        At(timedelta(minutes=-5, seconds=-1), False),
        At(timedelta(days=-20000), False),
    ],
    ids=lambda case: str(case.away),
)
def test_timestamp_window(authority: Authority, tmp_path: Path, case: At) -> None:
    clock = datetime(2026, 11, 23, 8, tzinfo=UTC)

    async def function(stub: Stub) -> bytes:
        return b"here"

    async def test() -> None:
        probe = Probe({"f": function})
        async with house(authority, tmp_path, probe, clock=lambda: clock) as here:
            peer = await here.peer()
            answer = await peer.invoke([b"f"], here.creator, timestamp=clock + case.away)
            if case.taken:
                assert answer.payload == b"here"
            else:
                assert answer.status == 400
                assert answer.message.startswith("timestamp_out_of_window: ")

    run(test())


async def broken(here: House, peer: FakePeer, change: Any) -> Any:
    tx_id, message = transaction([b"f"], here.creator)
    change(message)
    return await peer.run(tx_id, message)


def test_proposals_that_cannot_be_read(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return stub.identity.msp_id.encode()

    def no_proposal(message: Any) -> None:
        message.ClearField("proposal")

    def garbage(message: Any) -> None:
        message.proposal.proposal_bytes = b"\xff\xff"

    def another(message: Any) -> None:
        _, other = transaction([b"f"], b"creator")
        message.proposal.CopyFrom(other.proposal)

    def bad_input(message: Any) -> None:
        message.payload = b"\xff\xff"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            for change in (no_proposal, garbage, another, bad_input):
                answer = await broken(here, peer, change)
                assert answer.status == 400, change
                assert answer.message.startswith("proposal_invalid: ")
            for creator in (b"\xff", serialized_identity("BankOne", b"no certificate")):
                answer = await peer.invoke([b"f"], creator)
                assert answer.status == 400
                assert answer.message.startswith("proposal_invalid: ")
            assert (await peer.invoke([b"f"], here.creator)).payload == b"BankOne"

    run(test())


def test_attributes_that_are_none(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return (stub.identity.attribute("clearline.role") or "none").encode()

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            cases: list[tuple[Any, int, bytes]] = [
                (None, 200, b"none"),
                ({"attrs": {"clearline.role": 7}}, 200, b"none"),
                ({"attrs": {"clearline.role": "auditor"}}, 200, b"auditor"),
                ({"attrs": []}, 400, b""),
                ([], 400, b""),
            ]
            for attributes, status, payload in cases:
                leaf = authority.leaf("somebody", attributes)
                creator = serialized_identity("BankOne", leaf.certificate)
                answer = await peer.invoke([b"f"], creator)
                assert (answer.status, answer.payload) == (status, payload), attributes

    run(test())


def test_messages_over_the_limit(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return b"here"

    async def test() -> None:
        probe = Probe({"f": function})
        async with house(authority, tmp_path, probe, max_transaction_bytes=100_000) as here:
            peer = await here.peer()
            answer = await peer.invoke([b"f", b"x" * 60_000], here.creator)
            assert answer.status == 400
            assert answer.message.startswith("message_too_large: ")
            assert (await peer.invoke([b"f", b"x" * 40_000], here.creator)).status == 200

    run(test())


def test_more_transactions_than_allowed(authority: Authority, tmp_path: Path) -> None:
    async def waits(stub: Stub) -> bytes:
        await stub.get_state("k")
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": waits}), max_transactions=2) as here:
            peer = await here.peer()
            peer.hold.add("GET_STATE")
            held = []
            for _ in range(2):
                tx_id, message = transaction([b"f"], here.creator)
                held.append(peer.start(tx_id))
                await peer.send(message)
            answer = await peer.invoke([b"f"], here.creator)
            assert answer.status == 503
            assert answer.message.startswith("overloaded: ")
            for tx in held:
                await tx.asked.wait()
            peer.hold.clear()
            for tx in held:
                await peer.send(peer.release(tx))
                assert (await peer.finish(tx)).payload == b"here"
            assert (await peer.invoke([b"f"], here.creator)).payload == b"here"

    run(test())


def test_the_wrong_peer(authority: Authority, tmp_path: Path) -> None:
    """A name that isn't allowed, another CA, no certificate: no stream."""

    async def test() -> None:
        async with house(authority, tmp_path, Probe()) as here:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await here.peer(authority.leaf("peer0.banktwo"))
            assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
            stranger = Authority.create("another").leaf("peer0.bankone")
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await here.peer(stranger)
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
            assert (await here.peer()).registered_as == PACKAGE_ID

    run(test())


def test_without_a_certificate(authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        async with house(authority, tmp_path, Probe()) as here:
            credentials = grpc.ssl_channel_credentials(authority.pem)
            options = (("grpc.ssl_target_name_override", "chaincode.bankone"),)
            target = f"127.0.0.1:{here.port}"
            async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
                connect: Any = channel.stream_stream
                call = connect("/protos.Chaincode/Connect")()
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await call.read()
                assert failure.value.code() is grpc.StatusCode.UNAVAILABLE

    run(test())
