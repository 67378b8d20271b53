"""The shim's stream over a real socket: many transactions on it, and what a peer may do to them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from chaincode_tls import Authority
from fake_peer import CHANNEL, TYPE, transaction
from shim_world import PACKAGE_ID, Probe, house, run

from chaincode.shim.errors import PeerError
from chaincode.shim.stub import Stub


@pytest.mark.parametrize("request_name", ["GET_STATE_MULTIPLE", "WRITE_BATCH_STATE"])
def test_a_peers_error_raises(authority: Authority, tmp_path: Path, request_name: str) -> None:
    seen = []

    async def function(stub: Stub) -> bytes:
        try:
            await stub.get_states(["a", "b"])
            stub.put_state("k", b"v")
            await stub.flush()
        except PeerError as error:
            seen.append(str(error))
            raise
        return b""

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            peer.errors[request_name] = "no ledger context"
            answer = await peer.invoke([b"f"], here.creator)
            assert (answer.status, answer.message) == (500, "ledger_error: no ledger context")
            assert seen == ["no ledger context"]
            # The stream lives on.
            peer.errors.clear()
            assert (await peer.invoke([b"f"], here.creator)).status == 200

    run(test())


def test_a_peers_error_on_the_last_writes(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        stub.put_state("k", b"v")
        stub.set_event("e", b"")
        return b"well"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            peer.errors["WRITE_BATCH_STATE"] = "refused"
            answer = await peer.invoke([b"f"], here.creator)
            assert (answer.status, answer.message) == (500, "ledger_error: refused")
            assert answer.event is None

    run(test())


def test_a_contracts_exception_is_a_500_and_no_more(authority: Authority, tmp_path: Path) -> None:
    async def fails(stub: Stub) -> bytes:
        raise RuntimeError("4111111111111111 must not get out")

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": fails})) as here:
            peer = await here.peer()
            for _ in range(2):
                answer = await peer.invoke([b"f"], here.creator)
                assert answer.status == 500
                assert answer.message == "internal_error: the contract failed"

    run(test())


def test_many_transactions_at_once(authority: Authority, tmp_path: Path) -> None:
    """Each of 60 transactions sees its own values, on one stream, mixed."""
    together = asyncio.Event()
    running = 0

    async def function(stub: Stub) -> bytes:
        nonlocal running
        name = stub.args[1].decode()
        assert await stub.get_state(f"k{name}") == name.encode()
        running += 1
        if running == 60:
            together.set()
        await together.wait()
        # Asked for at once: one request after the other all the same.
        found = await asyncio.gather(*(stub.get_state(f"k{name}") for _ in range(3)))
        assert found == [name.encode()] * 3
        stub.put_state(f"w{name}", name.encode())
        return name.encode()

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            names = [str(number) for number in range(60)]
            peer.state.update({f"k{name}": name.encode() for name in names})
            answers = await asyncio.gather(
                *(peer.invoke([b"f", name.encode()], here.creator) for name in names)
            )
            assert [answer.payload.decode() for answer in answers] == names
            assert peer.most_running == 60
            for name, answer in zip(names, answers, strict=True):
                assert answer.writes == [("PUT_STATE", f"w{name}", name.encode())]

    run(test())


def test_the_peer_dies_in_mid_transaction(authority: Authority, tmp_path: Path) -> None:
    """The transaction is cancelled, other peers' streams live on."""
    cancelled = asyncio.Event()

    async def waits(stub: Stub) -> bytes:
        try:
            await stub.get_state("k")
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": waits})) as here:
            dying, living = await here.peer(), await here.peer()
            dying.hold.add("GET_STATE")
            tx_id, message = transaction([b"f"], here.creator)
            tx = dying.start(tx_id)
            await dying.send(message)
            await tx.asked.wait()
            dying.call.cancel()
            await asyncio.wait_for(cancelled.wait(), 5)
            assert (await living.invoke([b"f"], here.creator)).payload == b"here"
            again = await here.peer()
            assert (await again.invoke([b"f"], here.creator)).payload == b"here"

    run(test())


def test_a_peer_that_never_answers(authority: Authority, tmp_path: Path) -> None:
    async def waits(stub: Stub) -> bytes:
        await stub.get_state("k")
        return b"here"

    async def test() -> None:
        probe = Probe({"f": waits})
        async with house(authority, tmp_path, probe, transaction_timeout_seconds=1) as here:
            peer = await here.peer()
            peer.hold.add("GET_STATE")
            tx_id, message = transaction([b"f"], here.creator)
            tx = peer.start(tx_id)
            await peer.send(message)
            answer = await peer.finish(tx)
            assert (answer.status, answer.message) == (500, "timed_out: not done within 1 s")
            # Its answer comes late, and twice: at nobody's cost.
            for _ in range(2):
                await peer.send(peer.release(tx))
            peer.hold.clear()
            assert (await peer.invoke([b"f"], here.creator)).payload == b"here"

    run(test())


def test_the_same_transaction_again_while_it_runs(authority: Authority, tmp_path: Path) -> None:
    """A peer that gave up and asks anew must not get the answers of both mixed up."""

    async def waits(stub: Stub) -> bytes:
        await stub.get_state("k")
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": waits})) as here:
            peer = await here.peer()
            peer.hold.add("GET_STATE")
            tx_id, message = transaction([b"f"], here.creator)
            first = peer.start(tx_id)
            await peer.send(message)
            await first.asked.wait()
            second = peer.start(tx_id)
            await peer.send(message)
            answer = await peer.finish(second)
            assert (answer.status, answer.requests) == (-1, [])
            assert "still running" in answer.message
            peer.hold.clear()
            assert (await peer.run(tx_id, message)).payload == b"here"
            assert peer.stray == []

    run(test())


def test_wrong_messages_end_the_stream(authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        async with house(authority, tmp_path, Probe()) as here:
            for wrong in (
                TYPE(type=TYPE.READY).SerializeToString(),
                TYPE(type=TYPE.GET_STATE, txid="t").SerializeToString(),
                b"\xff\xff\xff",
            ):
                peer = await here.peer()
                await peer.call.write(wrong)
                assert await peer.ended() is grpc.StatusCode.INVALID_ARGUMENT
            assert (await here.peer()).registered_as == PACKAGE_ID

    run(test())


def test_strays_and_keepalive(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            await peer.send(TYPE(type=TYPE.RESPONSE, txid="none", channel_id=CHANNEL))
            await peer.send(TYPE(type=TYPE.KEEPALIVE))
            assert (await peer.invoke([b"f"], here.creator)).payload == b"here"
            assert [message.type for message in peer.stray] == [TYPE.KEEPALIVE]

    run(test())
