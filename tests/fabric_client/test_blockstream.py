"""The follower: nothing lost, nothing skipped, across cut streams, restarts and bad checkpoints."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import pytest
from fabric_fake_peer import FakePeer
from helpers_fabric import connect, run

from clearline.fabric.blocks import Block, BlockError
from clearline.fabric.blockstream import BlockFollower, CheckpointAheadError, FileBlockCheckpoint


async def _chain(peer: FakePeer, blocks: int) -> None:
    while len(peer.blocks) < blocks:
        await peer.add_block([b"garbage %d" % len(peer.blocks)], b"\x01")


async def _take(peer: FakePeer, path: Path, count: int, start_block: int = 0) -> list[int]:
    """Follow count blocks, each done, as a new process would."""
    numbers: list[int] = []
    async with connect(peer.endpoint) as gateway:
        follower = BlockFollower(
            gateway.network("payments"),
            FileBlockCheckpoint(path),
            start_block=start_block,
            ahead_patience_s=0.3,
        )
        stream = cast(AsyncGenerator[Block, None], aiter(follower))
        async for block in stream:
            numbers.append(block.number)
            await follower.done(block)
            if len(numbers) == count:
                break
        await stream.aclose()
    return numbers


def test_follows_from_the_checkpoint_across_restarts(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer:
            await _chain(peer, 6)
            assert await _take(peer, tmp_path / "cp", 3) == [0, 1, 2]
            assert await _take(peer, tmp_path / "cp", 3) == [3, 4, 5]

    run(scenario())


def test_a_block_that_is_not_done_comes_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            await _chain(peer, 4)
            assert await _take(peer, tmp_path / "cp", 2) == [0, 1]
            for _ in range(2):
                follower = BlockFollower(
                    gateway.network("payments"), FileBlockCheckpoint(tmp_path / "cp")
                )
                stream = cast(AsyncGenerator[Block, None], aiter(follower))
                assert (await anext(stream)).number == 2
                await stream.aclose()

    run(scenario())


def test_cut_and_refused_streams_are_taken_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer:
            await _chain(peer, 8)
            peer.script.deliver += [2, "FORBIDDEN", 1, "SERVICE_UNAVAILABLE", 3, "NOT_FOUND"]
            assert await _take(peer, tmp_path / "cp", 8) == list(range(8))
            assert peer.script.deliver == []

    run(scenario())


def test_a_restarted_peer_is_followed_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        peer = FakePeer()
        await peer.start()
        await _chain(peer, 3)
        following = asyncio.create_task(_take(peer, tmp_path / "cp", 5))
        await peer.until(lambda: bool(peer.requests))
        await peer.stop()
        await _chain(peer, 5)
        await peer.start()
        assert await following == [0, 1, 2, 3, 4]
        await peer.stop()

    run(scenario())


@pytest.mark.parametrize("torn", [b"", b"{", b'{"values": "{}"}', b"[]", None])
def test_torn_and_missing_checkpoints_start_over_and_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, torn: bytes | None
) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer:
            await _chain(peer, 5)
            assert await _take(peer, tmp_path / "cp", 3) == [0, 1, 2]
            (tmp_path / "cp").unlink()
            if torn is not None:
                (tmp_path / "cp").write_bytes(torn)
            with caplog.at_level(logging.WARNING):
                assert await _take(peer, tmp_path / "cp", 2, start_block=1) == [1, 2]
            said = "no checkpoint" if torn is None else "torn"
            assert said in caplog.text

    run(scenario())


def test_a_flipped_bit_in_the_checkpoint_is_torn(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer:
            await _chain(peer, 5)
            path = tmp_path / "cp"
            await _take(peer, path, 3)
            document = json.loads(path.read_text(encoding="utf-8"))
            document["values"] = document["values"].replace('"block": 2', '"block": 4')
            path.write_text(json.dumps(document), encoding="utf-8")
            assert await _take(peer, path, 1) == [0]

    run(scenario())


def test_a_checkpoint_ahead_of_the_peer_is_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, FakePeer() as emptied:
            await _chain(peer, 5)
            await _take(peer, tmp_path / "cp", 5)
            await _chain(emptied, 3)
            with pytest.raises(CheckpointAheadError, match="block 4"):
                await _take(emptied, tmp_path / "cp", 1)

    run(scenario())


def test_a_peer_that_catches_up_in_time_is_followed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, FakePeer() as behind:
            await _chain(peer, 5)
            await _take(peer, tmp_path / "cp", 5)
            following = asyncio.create_task(_take(behind, tmp_path / "cp", 1))
            await behind.until(lambda: bool(behind.requests))
            await _chain(behind, 6)
            assert await following == [5]

    run(scenario())


def test_another_history_is_an_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, FakePeer() as other:
            await _chain(peer, 3)
            await _take(peer, tmp_path / "cp", 3)
            await other.add_block([b"something else"])
            await _chain(other, 5)
            with pytest.raises(BlockError, match="another history"):
                await _take(other, tmp_path / "cp", 1)

    run(scenario())


@pytest.mark.parametrize(
    ("field", "reason"), [("previous_hash", "doesn't continue"), ("number", "instead of 2")]
)
def test_blocks_must_continue_the_chain(tmp_path: Path, field: str, reason: str) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer:
            await _chain(peer, 4)
            header = peer.blocks[2].header
            setattr(header, field, 7 if field == "number" else b"x" * 32)
            with pytest.raises(BlockError, match=reason):
                await _take(peer, tmp_path / "cp", 4)

    run(scenario())
