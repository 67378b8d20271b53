"""kill -9 of a process with a queue, at different moments: nothing accepted is lost or doubled."""

import asyncio
import sys
from pathlib import Path

import pytest
from fabric_fake_peer import CHAINCODE, FakePeer
from helpers_fabric import connect, run

from clearline.fabric.commit_queue import CommitQueue
from clearline.fabric.queue_items import QueueLimits
from clearline.fabric.store import QueueStore

PROGRAM = Path(__file__).parent / "queue_process.py"
ITEMS = 120


async def _run_until(peer: FakePeer, store: Path, first: int, word: str, count: int) -> list[str]:
    """Start the process, kill it after `count` lines that begin with word; the lines it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(PROGRAM),
        peer.endpoint,
        str(store),
        str(first),
        str(first + ITEMS),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[str] = []
    while sum(line.startswith(word) for line in lines) < count:
        line = await process.stdout.readline()
        assert line, "the process ended before it was killed"
        lines.append(line.decode().strip())
    process.kill()
    rest, _ = await process.communicate()
    assert process.returncode == -9
    # The last line may be cut where the kill hit.
    return lines + [
        text.strip() for text in rest.decode().splitlines(keepends=True) if "\n" in text
    ]


@pytest.mark.parametrize(
    ("word", "count", "fault"),
    [("accepted", 1, None), ("done", 1, None), ("done", 45, "swallow"), ("done", 70, "lost_after")],
)
def test_kill_and_reopen(tmp_path: Path, word: str, count: int, fault: str | None) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            if fault is not None:
                peer.script.submit += [None] * 5 + [fault] * 2
            store = tmp_path / "queue"
            lines = await _run_until(peer, store, 0, word, count)
            said = [line.split() for line in lines]
            accepted = {words[1] for words in said if words[0] == "accepted"}
            done = {words[1]: words[2] for words in said if words[0] == "done"}
            contract = gateway.network("payments").contract(CHAINCODE)
            limits = QueueLimits(commit_status_s=0.5)
            queue = CommitQueue(contract, QueueStore(store), limits)
            await queue.start()
            await queue.drained()
            results = {name: await queue.result(name) for name in accepted}
            await queue.close()
            assert accepted
            assert set(peer.applied) >= accepted
            assert set(peer.applied.values()) == {1}
            assert set(done.values()) <= {"ok"}
            codes = {result.outcome["code"] for result in results.values() if result}
            assert None not in results.values()
            assert codes <= {"ok", "duplicate"}
            assert peer.shared_keys == []

    run(scenario(), 30)


def test_killed_again_and_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            store = tmp_path / "queue"
            accepted: set[str] = set()
            for round_ in range(3):
                lines = await _run_until(peer, store, round_ * ITEMS // 2, "done", 20)
                accepted |= {line.split()[1] for line in lines if line.startswith("accepted")}
            contract = gateway.network("payments").contract(CHAINCODE)
            queue = CommitQueue(contract, QueueStore(store), QueueLimits(commit_status_s=0.5))
            await queue.start()
            await queue.drained()
            await queue.close()
            assert set(peer.applied) >= accepted
            assert set(peer.applied.values()) == {1}

    run(scenario(), 30)
