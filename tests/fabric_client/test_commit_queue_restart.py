"""The commit queue across restarts and cancelled waits: what was taken is brought to its end."""

import asyncio
from pathlib import Path

import pytest
from fabric_fake_peer import CHAINCODE, FakePeer
from helpers_fabric import connect, run
from helpers_queue import item, opened, world

from clearline.fabric.queue_items import QueueClosed, QueueLimits


def test_accepted_items_survive_a_close(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = gateway.network("payments").contract(CHAINCODE)
            peer.script.down = True
            async with opened(contract, tmp_path) as queue:
                await asyncio.gather(*(queue.accept(item(f"k{n}")) for n in range(5)))
                waiting = asyncio.create_task(queue.submit(item("k0")))
                await asyncio.sleep(0)
            with pytest.raises(QueueClosed):
                await waiting
            with pytest.raises(QueueClosed):
                await queue.submit(item("x"))
            peer.script.down = False
            async with opened(contract, tmp_path) as queue:
                await queue.drained()
                done = [await queue.result(f"k{n}") for n in range(5)]
            assert [r and r.outcome["code"] for r in done] == ["ok"] * 5
            async with opened(contract, tmp_path) as queue:
                assert [await queue.result(f"k{n}") for n in range(5)] == done
                assert queue.depth() == 0
            assert peer.applied == {f"k{n}": 1 for n in range(5)}

    run(scenario())


@pytest.mark.parametrize("ordered", [True, False])
def test_a_stored_envelope_is_taken_up_byte_for_byte(tmp_path: Path, ordered: bool) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = gateway.network("payments").contract(CHAINCODE)
            peer.script.submit.append(None if ordered else "swallow")
            peer.script.status.append("hang")
            async with opened(contract, tmp_path, QueueLimits()) as queue:
                waiting = asyncio.create_task(queue.submit(item("a")))
                await peer.until(lambda: len(peer.requests) >= 3)
            with pytest.raises(QueueClosed):
                await waiting
            async with opened(contract, tmp_path) as queue:
                await queue.drained()
                result = await queue.result("a")
            assert result is not None
            assert (result.outcome["code"], result.block_number) == ("ok", 1)
            assert len(peer.endorsed) == 1
            assert len(set(peer.submitted)) == 1
            assert peer.applied == {"a": 1}

    run(scenario())


def test_a_stored_envelope_that_became_invalid_is_endorsed_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = gateway.network("payments").contract(CHAINCODE)
            peer.script.submit.append("swallow")
            async with opened(contract, tmp_path, QueueLimits()) as queue:
                waiting = asyncio.create_task(queue.submit(item("a")))
                await peer.until(lambda: len(peer.requests) >= 3)
            with pytest.raises(QueueClosed):
                await waiting
            peer.put("a", "other")
            async with opened(contract, tmp_path) as queue:
                await queue.drained()
                result = await queue.result("a")
            assert result is not None
            assert result.outcome["code"] == "conflict"
            assert peer.applied == {}

    run(scenario())


def test_a_cancelled_wait_leaves_the_item(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.script.down = True
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(queue.submit(item("a")), 0.05)
            await queue.accept(item("a"))
            peer.script.down = False
            await queue.drained()
            result = await queue.result("a")
            assert result is not None
            assert result.outcome["code"] == "ok"
            await queue.accept(item("a"))
            assert queue.depth() == 0
            assert peer.applied == {"a": 1}

    run(scenario())
