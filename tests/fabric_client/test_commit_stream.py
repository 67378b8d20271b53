"""Statuses out of a stream of filtered blocks, and what happens where it has none."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from fabric_fake_peer import CHAINCODE, MVCC_READ_CONFLICT, FakePeer
from fabric_protos.gateway import gateway_pb2
from helpers_fabric import connect, run

from clearline.fabric.contract import Contract
from clearline.fabric.errors import CommitError, CommitStatusError, SubmitError


def _item(key: str) -> str:
    return f'[{{"key":"{key}","value":"1"}}]'


@asynccontextmanager
async def _streamed(peer: FakePeer) -> AsyncIterator[Contract]:
    """A contract whose statuses come from a stream that has begun."""
    async with connect(peer.endpoint) as gateway:
        network = gateway.network("payments")
        async with network.commit_stream() as stream:
            await stream.opened()
            yield network.contract(CHAINCODE)


def _asked(peer: FakePeer) -> int:
    """How many statuses were asked for by a call."""
    return sum(isinstance(one, gateway_pb2.SignedCommitStatusRequest) for one in peer.requests)


def test_many_statuses_come_from_one_stream() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, _streamed(peer) as contract:
            await asyncio.gather(*(contract.submit("Put", _item(str(n))) for n in range(20)))
            assert sum(peer.applied.values()) == 20
            transaction = await contract.new_proposal("Put", [_item("a")]).endorse()
            commit = await transaction.submit()
            status = await commit.status()
            assert (status.code_name, status.block_number) == ("VALID", len(peer.blocks) - 1)
            assert await commit.status() == status
            assert _asked(peer) == 0
            # Of a transaction that was sent before, by whom it may be.
            assert (await transaction.new_commit().status()) == status
            assert _asked(peer) == 1

    run(scenario())


def test_an_invalid_transaction_has_its_code() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, _streamed(peer) as contract:
            peer.script.before_commit.append(lambda: peer.put("a", "other"))
            with pytest.raises(CommitError) as caught:
                await contract.submit("Put", _item("a"))
            assert caught.value.code == MVCC_READ_CONFLICT
            assert _asked(peer) == 0

    run(scenario())


def test_the_same_envelope_again_keeps_its_first_code() -> None:
    """The stream tells of the copy only; what became of the first one the peer knows."""

    async def scenario() -> None:
        async with FakePeer() as peer, _streamed(peer) as contract:
            transaction = await contract.new_proposal("Put", [_item("a")]).endorse()
            unsigned = transaction.to_bytes()
            first = await (await transaction.submit()).status()
            assert (first.code_name, _asked(peer)) == ("VALID", 0)
            assert await (await contract.new_transaction(unsigned).submit()).status() == first
            assert _asked(peer) == 1
            # The very same bytes may have been sent by anybody who stored them.
            assert await (await transaction.submit()).status() == first
            assert _asked(peer) == 2

    run(scenario())


@pytest.mark.parametrize("deliver", [[1], ["FORBIDDEN", "FORBIDDEN"]], ids=["cut", "refused"])
def test_without_a_stream_statuses_are_asked_for(deliver: list[Any]) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            # One is cut at the block with the transaction, the other is never there.
            peer.script.deliver += deliver
            network = gateway.network("payments")
            async with network.commit_stream() as stream:
                if deliver == [1]:
                    await stream.opened()
                await network.contract(CHAINCODE).submit("Put", _item("a"))
                assert _asked(peer) == 1

    run(scenario())


def test_a_stream_that_broke_comes_back() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            peer.script.deliver.append("SERVICE_UNAVAILABLE")
            network = gateway.network("payments")
            async with network.commit_stream() as stream:
                await stream.opened()
                await network.contract(CHAINCODE).submit("Put", _item("a"))
                assert _asked(peer) == 0

    run(scenario())


def test_a_transaction_in_no_block_is_unknown_at_its_deadline() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, _streamed(peer) as contract:
            peer.script.submit.append("swallow")
            transaction = await contract.new_proposal("Put", [_item("a")]).endorse()
            with pytest.raises(CommitStatusError, match="until the deadline") as caught:
                await (await transaction.submit()).status(deadline=0.05)
            assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert caught.value.outcome == "unknown"

    run(scenario())


def test_who_does_not_wait_is_forgotten() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            network = gateway.network("payments")
            async with network.commit_stream() as stream:
                await stream.opened()
                peer.script.submit += ["lost_before", "swallow"]
                contract = network.contract(CHAINCODE)
                with pytest.raises(SubmitError):
                    await contract.submit("Put", "[]")
                transaction = await contract.new_proposal("Put", ["[]"]).endorse()
                commit = await transaction.submit()
                gc.collect()
                assert len(stream) == 1
                assert commit.told is stream.expect(transaction.transaction_id)
                del commit
                assert len(stream) == 0

    run(scenario())
