"""A client hears VALID only after the block is on stable storage."""

import asyncio
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from block_factory import Chain, define
from fabric_protos.common import common_pb2
from forged_transactions import Forgery, rwset
from peer_world import CHANNEL, World
from sync_recorder import BEGIN, TOLD

from network.embedded.deliver import Height
from network.embedded.peer.block_processor import BlockProcessor, genesis_commit
from network.embedded.peer.channel import Channel
from network.embedded.peer.ledger import BlockCommit, Ledger


class SlowLedger(Ledger):
    """Holds a commit up after the sync and before it returns."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.stored = threading.Event()
        self.release = threading.Event()
        self.armed = False

    def commit(self, batch: BlockCommit) -> None:
        super().commit(batch)
        if self.armed:
            self.stored.set()
            assert self.release.wait(10)


def test_nobody_hears_of_a_block_before_its_commit_returns(
    certificates: World, tmp_path: Path
) -> None:
    """Commit status, block readers and the height itself wait for the write transaction."""

    async def scenario() -> None:
        ledger = SlowLedger(tmp_path)
        flags = ledger.environment.flags()
        assert flags["sync"]
        assert flags["metasync"]
        assert not flags["writemap"]
        genesis = common_pb2.Block.FromString(certificates.home.genesis_block.read_bytes())
        ledger.commit(genesis_commit(genesis))
        define(ledger)
        channel = Channel(CHANNEL, ledger)
        chain = Chain(certificates, ledger, BlockProcessor(ledger, channel.bundle))
        made = Forgery(chain.client(), chain.peers(), rwset([("k", "1")]))
        ledger.armed = True
        status = asyncio.create_task(channel.tx_status(made.id))
        reader = asyncio.create_task(channel.wait_above(2))
        block = chain.block([made.envelope()]).SerializeToString()
        applying = asyncio.create_task(channel.apply(block))
        assert await asyncio.to_thread(ledger.stored.wait, 10)
        # On disk, but the commit hasn't come back: nobody may know.
        assert isinstance(channel._height, Height)
        assert (ledger.height, channel.height) == (3, 2)
        assert not status.done()
        assert not reader.done()
        ledger.release.set()
        await asyncio.wait_for(asyncio.gather(applying, reader), 10)
        assert (await status).code == 0
        await channel.close()

    asyncio.run(scenario())


def _trace(certificates: World, folder: Path, mode: str) -> list[str]:
    """System calls of sync_recorder.py between the block's arrival and the client's answer."""
    trace = folder / f"{mode}.trace"
    script = Path(__file__).with_name("sync_recorder.py")
    watched = "trace=fsync,fdatasync,msync,pwrite64,pwritev,write,writev,openat"
    done = subprocess.run(
        ["strace", "-f", "-y", "-e", watched, "-o", str(trace), sys.executable, str(script),
         str(certificates.home.root), str(folder / mode), mode],
        capture_output=True,
        check=False,
    )  # fmt: skip
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode == 0, done.stderr.decode()
    lines = trace.read_text().splitlines()
    begin = next(at for at, line in enumerate(lines) if BEGIN.decode().strip() in line)
    told = next(at for at, line in enumerate(lines) if TOLD.decode().strip() in line)
    return lines[begin:told]


def unsynced(calls: list[str]) -> str:
    """What is wrong with the order of writes and syncs; empty when nothing is.

    LMDB writes a transaction's pages, syncs the file, then writes the page that makes them count
    through a descriptor that syncs by itself (O_DSYNC, liblmdb mdb_env_write_meta).
    """
    writes = [at for at, line in enumerate(calls) if re.search(r"write.*data\.mdb", line)]
    syncs = [
        at
        for at, line in enumerate(calls)
        if re.search(r"(fdatasync|fsync)(\(.*data\.mdb.*| resumed.*)= 0", line)
    ]
    if len(writes) < 2:
        return "the block was not written"
    if not any(writes[0] < at < writes[-1] for at in syncs):
        return "the pages were not synced before the commit counted"
    return ""


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace: system calls aren't seen")
def test_a_sync_comes_before_the_answer(certificates: World, tmp_path: Path) -> None:
    assert unsynced(_trace(certificates, tmp_path, "sync")) == ""
    # The planted bug: the same commit without syncs.
    assert "not synced" in unsynced(_trace(certificates, tmp_path, "nosync"))
