"""One channel at the orderer: from accepted messages to stored blocks.

A message is checked and put into the pending batch in one step of the event loop, so that no
configuration can come between. Batches are built, signed and stored by one writer, in order;
storing runs in a thread and returns after the sync, and only then does the height move.

An accepted message is a promise to order it, not to keep it: a kill may lose what is pending, as
with Fabric's own orderer (docs/fabric.md). Senders send the same envelope again.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2

from clearline.fabric.identity import Signer
from clearline.logs import get_logger
from network.embedded import configtx
from network.embedded.channelconfig import Bundle
from network.embedded.deliver import Height
from network.embedded.orderer import processor
from network.embedded.orderer.blocks import Assembler, check_genesis, last_config_of
from network.embedded.orderer.cutter import Batch, Cutter, Message
from network.embedded.orderer.ledger import Ledger, LedgerError
from network.embedded.orderer.processor import Refusal

_log = get_logger(__name__)
_UNAVAILABLE = common_pb2.Status.SERVICE_UNAVAILABLE
_MAX_QUEUED_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class _Job:
    """A batch for the writer; `config` is the configuration it brings into force."""

    batch: Batch
    config: Bundle | None = None

    @property
    def size(self) -> int:
        return sum(message.size for message in self.batch)


class Chain:
    """A channel's orderer and, for Deliver, its block source. Belongs to one event loop."""

    def __init__(self, ledger: Ledger, signer: Signer) -> None:
        """Resume from the ledger, which holds the genesis block at least.

        Raises BlockError or ChannelConfigError when it can't be read.
        """
        tip = ledger.block(ledger.height - 1)
        last_config = last_config_of(common_pb2.Block.FromString(tip))
        self.bundle = Bundle.from_config_block(ledger.block(last_config))
        self.failure: asyncio.Future[str] | None = None
        self._ledger = ledger
        self._signer = signer
        self._assembler = Assembler(tip, signer)
        self._height = Height(ledger.height)
        self._newest = (-1, b"")  # number and bytes: all peers that are level ask for this one
        self._cutter = Cutter()
        self._timer: asyncio.TimerHandle | None = None
        self._jobs: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._queued_bytes = 0
        self._config_pending = False
        self._open = asyncio.Event()
        self._stopped = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._writer: asyncio.Task[None] | None = None

    @property
    def channel_id(self) -> str:
        return self.bundle.channel_id

    @property
    def height(self) -> int:
        return self._height.value

    def block(self, number: int) -> bytes:
        if number >= self._height.value:
            raise LookupError(f"no block {number}")
        newest, data = self._newest
        return data if newest == number else self._ledger.block(number)

    async def wait_above(self, number: int) -> None:
        await self._height.wait_above(number)

    def start(self) -> None:
        """Begin to take messages; `failure` is set when blocks can't be stored any more."""
        self.failure = asyncio.get_running_loop().create_future()
        self._writer = asyncio.create_task(self._write())
        self._open.set()

    async def stop(self) -> None:
        """Take no more messages, store what is pending, end the readers."""
        self._stopped = True
        self._open.set()
        self._cut_pending()
        self._jobs.put_nowait(None)
        if self._writer is not None:
            await self._writer
        self._height.close()
        self._thread.shutdown()

    async def submit(self, raw: bytes, envelope: Any, header: Any) -> None:
        """Check a broadcast message and order it.

        raw: the bytes that arrived; envelope: the common.Envelope they say; header: its channel
        header. Raises Refusal.
        """
        is_update = processor.is_config_update(header)
        while not self._open.is_set():
            await self._open.wait()
        if self._stopped:
            raise Refusal(_UNAVAILABLE, "the orderer is stopping or can't store blocks")
        if is_update:
            self._order_config(processor.make_config(self.bundle, envelope, self._signer))
            return
        processor.check_normal(self.bundle, envelope)
        self._order(processor.message_of(raw, envelope))

    def _order(self, message: Message) -> None:
        for batch in self._cutter.ordered(message, self.bundle.orderer.batch_size):
            self._enqueue(_Job(batch))
        self._set_timer()

    def _order_config(self, envelope: Any) -> None:
        """What waits is cut first; a configuration stands alone in its block (etcdraft/chain.go).

        Nothing more is taken until it is in force.
        """
        payload = common_pb2.Payload.FromString(envelope.payload)
        proposed = configtx_pb2.ConfigEnvelope.FromString(payload.data)
        new = configtx.successor(self.bundle, proposed)
        self._cut_pending()
        self._config_pending = True
        message = Message(envelope.SerializeToString(), len(envelope.payload))
        self._enqueue(_Job((message,), new))

    def _cut_pending(self) -> None:
        if self._cutter.pending:
            self._enqueue(_Job(self._cutter.cut()))
        self._set_timer()

    def _set_timer(self) -> None:
        """Runs from the first pending message on, and isn't put off by later ones."""
        if not self._cutter.pending:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                self.bundle.orderer.batch_timeout_seconds, self._on_timer
            )

    def _on_timer(self) -> None:
        self._timer = None
        self._cut_pending()

    def _enqueue(self, job: _Job) -> None:
        self._queued_bytes += job.size
        self._jobs.put_nowait(job)
        self._set_open()

    def _set_open(self) -> None:
        """Closed while a configuration isn't in force yet or the disk is behind."""
        closed = self._config_pending or self._queued_bytes > _MAX_QUEUED_BYTES
        if closed and not self._stopped:
            self._open.clear()
        else:
            self._open.set()

    async def _write(self) -> None:
        """The writer: whatever has queued up goes into one transaction."""
        ended = False
        while not ended:
            jobs = [await self._jobs.get()]
            while not self._jobs.empty():
                jobs.append(self._jobs.get_nowait())
            ended = None in jobs
            try:
                await self._store([job for job in jobs if job is not None])
            except Exception as error:  # the chain can't go on, whatever it is
                self._fail(error)
                return

    async def _store(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        blocks = [self._build(job) for job in jobs]
        height = await asyncio.get_running_loop().run_in_executor(
            self._thread, self._ledger.append, blocks
        )
        for job in jobs:
            self._queued_bytes -= job.size
            if job.config is not None:
                self.bundle = job.config
                self._config_pending = False
                _log.info(
                    "configuration in force",
                    extra={"channel": self.channel_id, "sequence": self.bundle.sequence},
                )
        self._newest = (height - 1, blocks[-1])
        self._height.advance(height)
        self._set_open()

    def _build(self, job: _Job) -> bytes:
        if job.config is not None:
            return self._assembler.next_config_block(job.batch[0].raw)
        return self._assembler.next_block([message.raw for message in job.batch])

    def _fail(self, error: Exception) -> None:
        _log.error("blocks can't be stored", exc_info=error, extra={"channel": self.channel_id})
        self._stopped = True
        self._open.set()
        self._height.close()
        if self.failure is not None and not self.failure.done():
            self.failure.set_result(f"blocks can't be stored: {error}")


def bootstrap(ledger: Ledger, genesis: bytes) -> None:
    """Put the genesis block into an empty ledger, or make sure that it is this ledger's.

    Raises BlockError, ChannelConfigError or LedgerError.
    """
    if ledger.height == 0:
        check_genesis(genesis)
        bundle = Bundle.from_config_block(genesis)
        if bundle.orderer.consensus_type == "BFT":
            raise LedgerError(
                "BFT is left out: one embedded orderer can't sign for a quorum. "
                "Use etcdraft in the genesis block, or the fabric engine"
            )
        ledger.append([genesis])
    elif ledger.block(0) != genesis:
        raise LedgerError(
            "the data folder belongs to another channel: its genesis block is not the configured "
            "one. Use the old genesis block or an empty data folder"
        )
