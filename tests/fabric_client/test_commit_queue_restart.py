"""The commit queue across restarts and cancelled waits: what was taken is brought to its end."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from fabric_fake_peer import CHAINCODE, FakePeer
from helpers_fabric import connect, run
from helpers_queue import item, opened, world

from clearline.fabric.contract import Contract
from clearline.fabric.queue_items import QueueClosed, QueueItem, QueueLimits

PATIENT = QueueLimits(commit_status_s=0.5)  # however slow the machine is: no second endorsement


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


def test_two_stored_envelopes_of_one_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first one's outcome could not be stored (a full disk, say), then the process died: the
    second item is not endorsed anew while its own envelope is on its way."""

    async def left(peer: FakePeer, contract: Contract, name: str, value: str) -> Path:
        payload = json.dumps({"key": "k", "value": value})
        path = tmp_path / name
        path.mkdir()
        peer.script.submit.append("swallow")
        async with opened(contract, path, PATIENT) as queue:
            seen = len(peer.submitted)
            await queue.accept(QueueItem(name, "Put", payload, ("k",)))
            await peer.until(lambda: len(peer.submitted) > seen)
        return path / "queue"

    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = gateway.network("payments").contract(CHAINCODE)
            one = await left(peer, contract, "one", "1")
            two = await left(peer, contract, "two", "2")
            with closing(sqlite3.connect(two)) as db, db:
                db.execute("UPDATE items SET seq = 2")
                db.execute("ATTACH ? AS other", (str(one),))
                for table in ("items", "envelopes"):
                    db.execute(f"INSERT INTO main.{table} SELECT * FROM other.{table}")
            peer.script.status += ["hang"]  # the first one's outcome comes late
            async with opened(contract, two.parent, PATIENT) as queue:
                await queue.drained()
                results = [await queue.result(name) for name in ("one", "two")]
        assert sorted(str(r and r.outcome["code"]) for r in results) == ["conflict", "ok"]
        assert len(peer.endorsed) == 3  # each once, and the second again after the first

    run(scenario())
    assert [record for record in caplog.records if record.levelname == "CRITICAL"] == []
