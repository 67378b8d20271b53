"""One peer's stream: many transactions at once, one pending request each.

States as in fabric-chaincode-go shim/handler.go: we send REGISTER, the peer answers REGISTERED,
then READY with what it can do; then transactions come. A peer drops a second request of a
transaction whose first it hasn't answered (Fabric core/chaincode/handler.go, registerTxid),
hence one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from chaincode.shim import wire
from chaincode.shim.errors import PeerError, ProposalError, ProtocolError, ShimError
from chaincode.shim.proposal import Proposal, read_proposal
from chaincode.shim.stub import Chaincode, Stub
from chaincode.shim.wire import Capabilities, Kind, Message, Response
from chaincode.transport.calls import MAX_MESSAGE_BYTES
from clearline.logs import get_logger

_log = get_logger(__name__)


Send = Callable[[bytes], None]
"""Has one message sent; never waits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one stream."""

    transaction_timeout: timedelta = timedelta(seconds=30)
    clock_window: timedelta = timedelta(minutes=5)
    max_transaction_bytes: int = 16 * 1024 * 1024
    max_transactions: int = 1000


class _State(Enum):
    CREATED = "created"
    ESTABLISHED = "established"
    READY = "ready"


@dataclass(slots=True)
class _Transaction:
    """A running transaction: its requests, one after the other."""

    channel_id: str
    tx_id: str
    send: Send
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    pending: asyncio.Future[Message] | None = None

    async def ask(self, kind: Kind, payload: bytes) -> bytes:
        """Send one request and wait for its answer; raises PeerError, ShimError."""
        async with self.turn:
            raw = wire.encode(Message(kind, self.channel_id, self.tx_id, payload))
            if len(raw) > MAX_MESSAGE_BYTES:
                raise ShimError(f"{kind.name} of {len(raw)} bytes is more than a message holds")
            self.pending = asyncio.get_running_loop().create_future()
            try:
                self.send(raw)
                answer = await self.pending
            finally:
                self.pending = None
        if answer.kind is Kind.ERROR:
            raise PeerError(answer.payload.decode(errors="replace"))
        return answer.payload


class PeerStream:
    """The chaincode's side of one stream: told what comes, it sends what is to go."""

    def __init__(
        self,
        chaincode: Chaincode,
        chaincode_id: str,
        limits: Limits,
        clock: Callable[[], datetime],
        send: Send,
    ) -> None:
        self._chaincode = chaincode
        self._chaincode_id = chaincode_id
        self._limits = limits
        self._timeout = limits.transaction_timeout.total_seconds()
        self._clock = clock
        self._send_raw = send
        self._state = _State.CREATED
        self._capabilities = Capabilities()
        self._transactions: dict[tuple[str, str], _Transaction] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def begin(self) -> None:
        """Register; the peer speaks after that."""
        self._send(wire.registration(self._chaincode_id))

    def received(self, raw: bytes) -> None:
        """Take a message; raises ProtocolError when the peer breaks the rules."""
        message = wire.decode(raw)
        try:
            self._take(message, len(raw))
        except ProtocolError as error:
            reason = str(error).encode()
            self._send(Message(Kind.ERROR, message.channel_id, message.tx_id, reason))
            raise

    async def end(self) -> None:
        """Cancel what runs and see it end: nobody waits for it any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _send(self, message: Message) -> None:
        self._send_raw(wire.encode(message))

    def _take(self, message: Message, size: int) -> None:
        kind = message.kind
        if kind is Kind.KEEPALIVE:
            self._send(Message(Kind.KEEPALIVE))
        elif self._state is _State.READY and kind in (Kind.RESPONSE, Kind.ERROR):
            self._answered(message)
        elif self._state is _State.READY and kind in (Kind.TRANSACTION, Kind.INIT):
            self._start(message, size)
        elif self._state is _State.CREATED and kind is Kind.REGISTERED:
            self._state = _State.ESTABLISHED
        elif self._state is _State.ESTABLISHED and kind is Kind.READY:
            self._capabilities = wire.capabilities(message.payload)
            self._state = _State.READY
            _log.info(
                "peer ready",
                extra={
                    "multi_get": self._capabilities.multi_get,
                    "write_batch": self._capabilities.write_batch,
                },
            )
        else:
            raise ProtocolError(f"{kind.name} has no place in the state {self._state.value}")

    def _answered(self, message: Message) -> None:
        transaction = self._transactions.get((message.channel_id, message.tx_id))
        pending = transaction.pending if transaction is not None else None
        if pending is None or pending.done():
            # Late, after a time-out of ours, or sent twice: at nobody else's cost.
            _log.debug("answer nobody waits for", extra={"tx_id": message.tx_id})
            return
        pending.set_result(message)

    def _start(self, message: Message, size: int) -> None:
        key = (message.channel_id, message.tx_id)
        if key in self._tasks:
            # The peer gave the first up and starts anew; answers of both would be mixed up.
            self._tasks[key].cancel()
            reason = b"the transaction is still running here; send it again"
            self._send(Message(Kind.ERROR, *key, reason))
            return
        if size > self._limits.max_transaction_bytes:
            limit = self._limits.max_transaction_bytes
            text = f"message_too_large: {size} bytes, at most {limit} are taken"
            self._complete(message, Response(400, message=text))
            return
        if len(self._tasks) >= self._limits.max_transactions:
            text = f"overloaded: {len(self._tasks)} transactions are running"
            self._complete(message, Response(503, message=text))
            return
        transaction = _Transaction(*key, self._send_raw)
        self._transactions[key] = transaction
        task = asyncio.create_task(self._execute(message, transaction))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._forget(key))

    def _forget(self, key: tuple[str, str]) -> None:
        self._tasks.pop(key, None)
        self._transactions.pop(key, None)

    async def _execute(self, message: Message, transaction: _Transaction) -> None:
        event: wire.Event | None = None
        try:
            async with asyncio.timeout(self._timeout):
                proposal = self._admit(message)
                arguments = wire.chaincode_input(message.payload)
                stub = Stub(transaction, self._capabilities, arguments, proposal)
                response = await self._chaincode.invoke(stub)
                if response.status < 400:
                    await stub.flush()
                    event = stub.event
        except _RefusedError as refusal:
            response = Response(400, message=str(refusal))
        except (ProposalError, ProtocolError) as error:
            response = Response(400, message=f"proposal_invalid: {error}")
        except PeerError as error:
            response = Response(500, message=f"ledger_error: {error}")
        except TimeoutError:
            text = f"timed_out: not done within {int(self._timeout)} s"
            response = Response(500, message=text)
        except Exception:  # whatever a contract raises ends its transaction, not the stream
            _log.exception("the contract failed", extra={"tx_id": message.tx_id})
            response = Response(500, message="internal_error: the contract failed")
        self._complete(message, response, event)

    def _admit(self, message: Message) -> Proposal:
        """Read the proposal and hold its timestamp against this server's clock."""
        proposal = read_proposal(message.proposal)
        if (proposal.channel_id, proposal.tx_id) != (message.channel_id, message.tx_id):
            raise ProposalError("the proposal is another transaction's")
        away = abs(proposal.timestamp - self._clock())
        if away > self._limits.clock_window:
            raise _RefusedError(
                f"timestamp_out_of_window: {int(away.total_seconds())} s from the clock of this "
                f"server, {int(self._limits.clock_window.total_seconds())} s are allowed"
            )
        return proposal

    def _complete(
        self, message: Message, response: Response, event: wire.Event | None = None
    ) -> None:
        payload = wire.response_bytes(response)
        if len(payload) + len(event.payload if event else b"") > MAX_MESSAGE_BYTES - 4096:
            too_large = Response(500, message="response_too_large: ask for less at a time")
            payload, event = wire.response_bytes(too_large), None
        self._send(Message(Kind.COMPLETED, message.channel_id, message.tx_id, payload, event=event))


class _RefusedError(Exception):
    """The server refuses a proposal; the message begins with the code."""
