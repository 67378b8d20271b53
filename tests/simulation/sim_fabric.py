"""The ports the commit queue and the block follower reach the ledger by, with what goes wrong.

Shaped like clearline.fabric's Contract, Proposal, Transaction, Commit and Network, as far as those
two use them; errors are the client's own.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import timedelta

import grpc
from sim_ledger import NETWORK, Envelope, Peer, SimLedger
from sim_process import Base, own_process
from sim_storage import SimQueueStore
from sim_weather import Weather

from chaincode.contract.context import Submitter, Transaction
from clearline import records
from clearline.codes import Code, Refusal
from clearline.fabric.blocks import Action, Block
from clearline.fabric.commit import CommitStatus
from clearline.fabric.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EventsError,
    GrpcFailure,
    PeerError,
    SubmitError,
    submit_outcome,
)
from clearline.fabric.events import Start

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
_WINDOW = timedelta(minutes=5)
_ENDORSE_S, _SUBMIT_S, _STATUS_S = 15.0, 5.0, 60.0


class SimNetwork:
    """A channel on one peer, as one process reaches it. `store`: the queue's, to look into."""

    def __init__(
        self,
        world: Base,
        ledger: SimLedger,
        weather: Callable[[], Weather],
        peer: str,
        submitter: Submitter,
        store: SimQueueStore | None = None,
    ) -> None:
        self.world = world
        self.ledger = ledger
        self.weather = weather
        self.peer: Peer = ledger.peers[peer]
        self.submitter = submitter
        self.store = store
        self.owner = own_process().service

    def contract(self, name: str) -> "SimContract":
        return SimContract(self)

    async def block_events(self, start: Start) -> AsyncGenerator[Block, None]:
        """Raises EventsError."""
        await self.call("asks for blocks")
        first = start.block_number
        assert first is not None
        if start.stop is not None and start.stop >= self.peer.height:
            raise events_error(grpc.StatusCode.NOT_FOUND)
        async for block in self.ledger.stream(self.peer, first):
            if not self.peer.up or (start.stop is None and self.world.happens(self.weather().cut)):
                raise events_error(UNAVAILABLE)
            own_process().point("before a block is taken")
            yield block
            if block.number == start.stop:
                return

    async def call(self, what: str) -> None:
        """The way of a call; a place to die at."""
        own_process().point(what)
        low, high = self.weather().call_seconds
        await asyncio.sleep(self.world.chance.uniform(low, high))


class SimContract:
    """clearline.fabric.contract.Contract."""

    def __init__(self, network: SimNetwork) -> None:
        self._network = network

    def new_proposal(self, name: str, args: Sequence[str | bytes] = ()) -> "SimProposal":
        (argument,) = args
        raw = argument.encode() if isinstance(argument, str) else argument
        return SimProposal(self._network, name, raw)

    def new_transaction(self, stored: bytes) -> "SimTransaction":
        return SimTransaction(self._network, self._network.ledger.envelopes[stored.decode()])

    async def evaluate(self, name: str, *args: bytes | str) -> bytes:
        """GetRecords. Raises EndorseError (a FabricError as EvaluateError is)."""
        network = self._network
        await network.call("asks for a record")
        if not network.peer.up:
            raise endorse_error("", "the peer is down")
        found = [network.ledger.state(records.record_key(*one), network.peer.height)[1]
                 for one in json.loads(args[0])]  # fmt: skip
        return json.dumps(
            [None if value is None else json.loads(value) for value in found]
        ).encode()

    async def submit(self, name: str, *args: bytes | str) -> bytes:
        """Endorse, submit, wait. Raises FabricError."""
        transaction = await self.new_proposal(name, args).endorse()
        if transaction.action.changes_ledger:
            await transaction.submit()
            status = await transaction.new_commit().status()
            if not status.successful:
                raise CommitError(transaction.transaction_id, status.code, status.block_number)
        return transaction.result


class SimProposal:
    """A call that nobody has endorsed."""

    def __init__(self, network: SimNetwork, name: str, argument: bytes) -> None:
        self._network = network
        self._name = name
        self._argument = argument

    async def endorse(self, deadline: float | None = None) -> "SimTransaction":
        """Raises EndorseError."""
        network, world = self._network, self._network.world
        tx_id = f"tx-{world.chance.getrandbits(64):016x}"
        at = world.process_wall()
        await network.call("before an endorsement")
        weather = network.weather()
        if world.happens(weather.endorse_hangs):
            await asyncio.sleep(deadline or _ENDORSE_S)
            raise endorse_error(tx_id, "no answer", grpc.StatusCode.DEADLINE_EXCEEDED)
        if not network.peer.up or world.happens(weather.endorse_fails):
            raise endorse_error(tx_id, "the peer is down")
        if abs(at - world.wall()) > _WINDOW:
            raise endorse_error(tx_id, "failed to endorse", grpc.StatusCode.ABORTED,
                                "chaincode response 400, timestamp_out_of_window")  # fmt: skip
        transaction = Transaction(tx_id, at, NETWORK, network.submitter)
        height = network.peer.height
        try:
            decision, reads = network.ledger.decide(self._name, self._argument, transaction, height)
        except Refusal as refusal:
            status = 403 if refusal.code is Code.ROLE_FORBIDDEN else 400
            raise endorse_error(
                tx_id, "failed to endorse", grpc.StatusCode.ABORTED,
                f"chaincode response {status}, {refusal.code}: {refusal.detail}",
            ) from None  # fmt: skip
        others = [peer for peer in network.ledger.peers.values() if peer is not network.peer]
        other = world.chance.choice(others)
        if any(network.ledger.state(key, other.height)[0] != read for key, read in reads.items()):
            world.note(network.owner, "endorsers disagree", tx_id)
            raise endorse_error(tx_id, "failed to collect enough", grpc.StatusCode.ABORTED,
                                "ProposalResponsePayloads do not match")  # fmt: skip
        answer = decision.answer()
        envelope = Envelope(
            tx_id, network.owner, self._name, self._argument, at, network.submitter, reads,
            decision.writes, decision.outcomes, answer,
        )  # fmt: skip
        network.ledger.envelopes[tx_id] = envelope
        codes = ",".join(f"{one.code}:{'/'.join(map(str, one.key))}" for one in decision.outcomes)
        world.note(network.owner, "endorsed", tx_id, self._name, codes)
        await network.call("after an endorsement")
        return SimTransaction(network, envelope)


class SimTransaction:
    """An endorsed transaction; its bytes are its id, the ledger keeps the rest unchanged."""

    def __init__(self, network: SimNetwork, envelope: Envelope) -> None:
        self._network = network
        self._envelope = envelope
        self.transaction_id = envelope.tx_id
        self.result = envelope.answer
        self.action = Action(changes_ledger=bool(envelope.writes))

    def sign(self) -> None:
        """Nobody checks it here."""

    def to_bytes(self) -> bytes:
        return self.transaction_id.encode()

    async def submit(self, deadline: float | None = None) -> "SimCommit":
        """Raises SubmitError."""
        network, world = self._network, self._network.world
        store = None if self._envelope.function == "TakeLease" else network.store
        if store is not None and not store.holds_envelope(self.transaction_id):
            world.broken("envelope stored", f"{self.transaction_id} is not")
        await network.call("before a submission")
        weather = network.weather()
        if not network.peer.up or world.happens(weather.submit_lost):
            raise self._failed(UNAVAILABLE, "not taken")
        if world.happens(weather.submit_refused):
            raise self._failed(grpc.StatusCode.ABORTED, "refused at the door")
        world.note(network.owner, "submitted", self.transaction_id)
        if store is not None:
            network.ledger.flights.submitted(self._envelope)
        for _ in range(2 if world.happens(weather.submit_twice) else 1):
            network.ledger.order(self._envelope)
        await network.call("after a submission")
        if world.happens(weather.submit_taken):
            raise self._failed(UNAVAILABLE, "taken, and nobody says so")
        return self.new_commit()

    def new_commit(self) -> "SimCommit":
        return SimCommit(self._network, self.transaction_id)

    def _failed(self, code: grpc.StatusCode, why: str) -> SubmitError:
        self._network.world.note(self._network.owner, "submit fails", self.transaction_id, why)
        if submit_outcome(code) == "not_applied":
            self._network.ledger.flights.ended(self.transaction_id)
        failure = GrpcFailure(code, why)
        return SubmitError("Submit", self.transaction_id, submit_outcome(code), failure)


class SimCommit:
    """A submitted transaction."""

    def __init__(self, network: SimNetwork, tx_id: str) -> None:
        self._network = network
        self._tx_id = tx_id

    async def status(self, deadline: float | None = None) -> CommitStatus:
        """Raises CommitStatusError."""
        network, weather = self._network, self._network.weather()
        await network.call("before the status")
        if not network.peer.up or network.world.happens(weather.status_fails):
            raise self._unknown(UNAVAILABLE)
        seconds = _STATUS_S if deadline is None else deadline
        try:
            async with asyncio.timeout(seconds):
                if network.world.happens(weather.status_hangs):
                    await asyncio.sleep(seconds + 1)
                code, number = await network.ledger.status(network.peer, self._tx_id)
        except TimeoutError:
            raise self._unknown(grpc.StatusCode.DEADLINE_EXCEEDED) from None
        await network.call("after the status")
        return CommitStatus(self._tx_id, code, number)

    def _unknown(self, code: grpc.StatusCode) -> CommitStatusError:
        failure = GrpcFailure(code, "no status")
        return CommitStatusError("CommitStatus", self._tx_id, "unknown", failure)


def endorse_error(
    tx_id: str, message: str, code: grpc.StatusCode = UNAVAILABLE, detail: str = ""
) -> EndorseError:
    details = (PeerError("peer:1", "BankTwo", detail),) if detail else ()
    return EndorseError("Endorse", tx_id, "not_applied", GrpcFailure(code, message, details))


def events_error(code: grpc.StatusCode) -> EventsError:
    return EventsError("Deliver", "", "not_applied", GrpcFailure(code, "the stream ended"))
