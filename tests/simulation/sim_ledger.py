"""The ledger: an orderer that is slow, forgets and reorders, peers that lag, and versions of keys.

What a transaction does is decided by the contract itself; here is what Fabric adds: read versions,
validation in block order, one history, and each peer somewhere on it.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sim_process import Base
from sim_weather import Weather

from chaincode.contract.context import Submitter, Transaction
from chaincode.contract.decision import Decision
from chaincode.contract.functions import Writer, function
from clearline.codes import Code, Outcome, Refusal
from clearline.fabric.blocks import Block, BlockTransaction, Write

CHAINCODE, NETWORK = "clearline", "clearline-dev"
VALID, DUPLICATE_TXID, POLICY_FAILURE, MVCC_CONFLICT = 0, 9, 10, 11
PEERS = ("peer-one", "peer-two", "peer-super")
BOUND_S = 59.0  # in which an envelope that is in no block must be waited for: QueueLimits
Version = tuple[int, int]


@dataclass(frozen=True)
class Envelope:
    """An endorsed transaction: `reads` with the versions that were read, None for no record."""

    tx_id: str
    owner: str
    function: str
    argument: bytes
    time: datetime
    submitter: Submitter
    reads: Mapping[str, Version | None]
    writes: tuple[tuple[str, bytes], ...]
    outcomes: tuple[Outcome, ...]
    answer: bytes


@dataclass(frozen=True)
class Ordered:
    """An envelope in a block."""

    envelope: Envelope
    code: int


@dataclass
class Peer:
    """Sees the first `height` blocks."""

    name: str
    height: int = 0
    up: bool = True
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def wake(self) -> None:
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            if not one.done():
                one.set_result(None)

    async def news(self) -> None:
        """Until something changed here."""
        one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(one)
        await one


class Flights:
    """Which keys each service has on their way: envelopes that were submitted, are in no block and
    may yet be. Two that share a key may not be (docs/architecture.md)."""

    def __init__(self, world: Base, decided: Mapping[str, object]) -> None:
        """`decided`: ids that are in a block."""
        self._world = world
        self._decided = decided
        self._flying: dict[str, tuple[Envelope, float]] = {}

    def submitted(self, envelope: Envelope) -> None:
        if envelope.tx_id in self._decided:
            return
        now = self._world.loop.time()
        mine = {key for key, _ in envelope.writes}
        for other, since in self._flying.values():
            if other.owner != envelope.owner or other.tx_id == envelope.tx_id:
                continue
            shared = sorted(mine.intersection(key for key, _ in other.writes))
            if shared and now - since < BOUND_S:
                self._world.broken("one in flight", f"{shared[0]} in {other.tx_id} and "
                                   f"{envelope.tx_id} of {envelope.owner}")  # fmt: skip
        self._flying.setdefault(envelope.tx_id, (envelope, now))

    def ended(self, tx_id: str) -> None:
        self._flying.pop(tx_id, None)

    def forget(self, owner: str) -> None:
        """The service has lost its memory, or its clock: it can't know."""
        for tx_id, (envelope, _) in list(self._flying.items()):
            if envelope.owner == owner:
                del self._flying[tx_id]


class SimLedger:
    """Chain, state and orderer."""

    def __init__(self, world: Base, weather: Callable[[], Weather]) -> None:
        self._world = world
        self._weather = weather
        self.blocks: list[tuple[Ordered, ...]] = []
        self.shown: list[Block] = []
        self.codes: dict[str, tuple[int, int]] = {}
        self.envelopes: dict[str, Envelope] = {}
        self.history: dict[str, list[tuple[Version, bytes]]] = {}
        self.flights = Flights(world, self.codes)
        self.peers = {name: Peer(name) for name in PEERS}
        self._awaited: dict[str, list[asyncio.Future[None]]] = {}
        self._pending: list[Envelope] = []
        self._cutting = False

    # what a peer knows

    def state(self, key: str, height: int) -> tuple[Version | None, bytes | None]:
        """Version and value of a key after the first `height` blocks."""
        for version, value in reversed(self.history.get(key, ())):
            if version[0] < height:
                return version, value
        return None, None

    def newest(self, key: str) -> bytes | None:
        """The committed value."""
        return self.state(key, len(self.blocks))[1]

    async def written(self, key: str, seconds: float) -> bool:
        """Wait, at most so long, until a block writes this key; whether one did."""
        one: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(key, []).append(one)
        try:
            async with asyncio.timeout(max(seconds, 0.01)):  # time passes, whatever is asked
                await one
        except TimeoutError:
            return False
        return True

    def keys(self, kind: str) -> list[str]:
        """All keys of a kind of record."""
        return sorted(key for key in self.history if key.startswith(f"{kind}/"))

    def decide(
        self, name: str, argument: bytes, transaction: Transaction, height: int
    ) -> tuple[Decision, dict[str, Version | None]]:
        """What the contract says at this height. Raises Refusal."""
        called = function(name, transaction.submitter)
        if not isinstance(called, Writer):
            raise Refusal(Code.FUNCTION_UNKNOWN, name)
        batch = called.batch(argument)
        committed: dict[str, bytes | None] = {}
        reads: dict[str, Version | None] = {}
        while missing := batch.missing(committed):
            for key in missing:
                reads[key], committed[key] = self.state(key, height)
        return batch.decide(transaction, committed), reads

    # what the orderer does

    def order(self, envelope: Envelope) -> None:
        """Taken: in a block soon, or later, or forgotten."""
        weather = self._weather()
        if self._world.happens(weather.swallowed):
            self._world.note("orderer", "forgets", envelope.tx_id)
        elif self._world.happens(weather.held):
            seconds = self._world.chance.choice((0.5, 3.0, 20.0, 75.0))
            self._world.note("orderer", "holds", envelope.tx_id, seconds)
            self._world.later(seconds, self._enter, envelope)
        else:
            self._enter(envelope)

    def _enter(self, envelope: Envelope) -> None:
        self._pending.append(envelope)
        if not self._cutting:
            self._cutting = True
            low, high = self._weather().block_seconds
            self._world.later(self._world.chance.uniform(low, high), self._cut)

    def _cut(self) -> None:
        self._cutting = False
        envelopes, self._pending = self._pending, []
        self._world.chance.shuffle(envelopes)
        self.append(envelopes)

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """A block of these, validated in their order."""
        number = len(self.blocks)
        ordered: list[Ordered] = []
        for index, envelope in enumerate(envelopes):
            code = self._code(envelope)
            ordered.append(Ordered(envelope, code))
            self._world.note("orderer", "block", number, envelope.owner, envelope.tx_id, code)
            self.flights.ended(envelope.tx_id)
            if code == DUPLICATE_TXID:
                continue
            self.codes[envelope.tx_id] = (code, number)
            if code == VALID:
                for key, value in envelope.writes:
                    self.history.setdefault(key, []).append(((number, index), value))
                    for one in self._awaited.pop(key, ()):
                        if not one.done():
                            one.set_result(None)
        self.blocks.append(tuple(ordered))
        self.shown.append(self._show(number, ordered))
        for peer in self.peers.values():
            low, high = self._weather().peer_seconds
            self._world.later(self._world.chance.uniform(low, high), self._arrive, peer, number)

    def _code(self, envelope: Envelope) -> int:
        if envelope.tx_id in self.codes:
            return DUPLICATE_TXID
        newest = len(self.blocks) + 1
        if any(self.state(key, newest)[0] != read for key, read in envelope.reads.items()):
            return MVCC_CONFLICT
        if envelope.function and self._world.happens(self._weather().invalid):
            return POLICY_FAILURE
        return VALID

    def _arrive(self, peer: Peer, number: int) -> None:
        if peer.up and number >= peer.height:
            peer.height = number + 1
            peer.wake()

    def fall(self, peer: Peer) -> None:
        """A peer goes."""
        peer.up = False
        peer.wake()

    def rise(self, peer: Peer) -> None:
        """A peer comes back and catches up."""
        peer.up = True
        peer.height = len(self.blocks)
        peer.wake()

    def _show(self, number: int, ordered: Sequence[Ordered]) -> Block:
        previous = self.shown[-1].header_hash if self.shown else b""
        names = ",".join(f"{one.envelope.tx_id}:{one.code}" for one in ordered)
        data = hashlib.sha256(names.encode()).digest()
        transactions = tuple(
            BlockTransaction(
                index=index,
                code=one.code,
                tx_id=one.envelope.tx_id,
                writes=tuple(
                    Write(CHAINCODE, key, value, value == b"") for key, value in one.envelope.writes
                ),
            )
            for index, one in enumerate(ordered)
        )
        header = hashlib.sha256(number.to_bytes(8, "big") + previous + data).digest()
        return Block(number, previous, data, header, b"", transactions)

    # what a peer tells

    async def status(self, peer: Peer, tx_id: str) -> tuple[int, int]:
        """Code and block, once the peer has it."""
        while True:
            found = self.codes.get(tx_id)
            if found is not None and found[1] < peer.height:
                return found
            await peer.news()

    async def stream(self, peer: Peer, start: int) -> AsyncIterator[Block]:
        """Blocks as the peer gets them, without end."""
        number = start
        while True:
            while number >= peer.height:
                await peer.news()
            yield self.shown[number]
            number += 1
