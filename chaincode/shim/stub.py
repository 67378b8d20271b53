"""What a contract sees of its transaction: arguments, identity, state, event.

Reads go to the peer at once; writes are kept, the last one of a key counting, and go together
before the answer (Fabric has no read-your-own-writes, so that changes nothing a read shows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Protocol

from chaincode.shim import keys, wire
from chaincode.shim.errors import ShimError
from chaincode.shim.identity import ClientIdentity, client_identity
from chaincode.shim.iterators import ResultIterator
from chaincode.shim.proposal import Proposal
from chaincode.shim.wire import (
    Capabilities,
    Event,
    KeyModification,
    KeyValue,
    Kind,
    Response,
    Write,
    WriteKind,
)


class Chaincode(Protocol):
    """A contract as the shim runs it."""

    async def invoke(self, stub: Stub) -> Response:
        """Answer one transaction; an exception becomes a 500 with a stable message."""


class Requests(Protocol):
    """One transaction's way to its peer: one request at a time."""

    async def ask(self, kind: Kind, payload: bytes) -> bytes:
        """The payload of the peer's RESPONSE; raises PeerError on its ERROR."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a range and where the next begins; an empty bookmark: nothing follows."""

    items: tuple[KeyValue, ...]
    bookmark: str


class Stub:
    """One transaction. Not to be kept or used after `invoke` returned."""

    def __init__(
        self,
        requests: Requests,
        capabilities: Capabilities,
        arguments: wire.Input,
        proposal: Proposal,
    ) -> None:
        self._requests = requests
        self._capabilities = capabilities
        self._proposal = proposal
        self._writes: dict[tuple[bool, str], Write] = {}
        self._event: Event | None = None
        self.args: tuple[bytes, ...] = arguments.args
        self.decorations: Mapping[str, bytes] = arguments.decorations

    @property
    def channel_id(self) -> str:
        """The channel's name."""
        return self._proposal.channel_id

    @property
    def tx_id(self) -> str:
        """The transaction's id, hex."""
        return self._proposal.tx_id

    @property
    def timestamp(self) -> datetime:
        """The submitter's claim of the time, aware, from the channel header."""
        return self._proposal.timestamp

    @property
    def creator(self) -> bytes:
        """The submitter's SerializedIdentity as sent."""
        return self._proposal.creator

    @property
    def binding(self) -> bytes:
        """SHA-256 that binds nonce, creator and epoch."""
        return self._proposal.binding

    @cached_property
    def identity(self) -> ClientIdentity:
        """The submitter; raises ProposalError when the certificate can't be read."""
        return client_identity(self._proposal.creator)

    @cached_property
    def transient(self) -> Mapping[str, bytes]:
        """The proposal's transient map, which no block holds."""
        return self._proposal.transient()

    async def get_state(self, key: str) -> bytes | None:
        """A key's committed value, None where there is none."""
        return await self._requests.ask(Kind.GET_STATE, wire.get_state(_named(key))) or None

    async def get_states(self, names: Sequence[str]) -> list[bytes | None]:
        """Committed values in the order of `names`; one message where the peer takes several."""
        for key in names:
            _named(key)
        size = self._capabilities.multi_get
        if not size:
            return [await self.get_state(key) for key in names]
        values: list[bytes | None] = []
        for start in range(0, len(names), size):
            part = names[start : start + size]
            payload = await self._requests.ask(Kind.GET_STATE_MULTIPLE, wire.get_states(part))
            values += wire.states(payload, len(part))
        return values

    def put_state(self, key: str, value: bytes) -> None:
        """Write a value. Fabric takes an empty one as a delete: refused here."""
        if not value:
            raise ShimError(f"an empty value for {key!r} would be a delete")
        self._keep(Write(WriteKind.PUT, _named(key), value))

    def delete_state(self, key: str) -> None:
        """Delete a key."""
        self._keep(Write(WriteKind.DELETE, _named(key)))

    def set_validation_parameter(self, key: str, policy: bytes) -> None:
        """Set a key's own endorsement policy (SignaturePolicyEnvelope bytes).

        An empty one takes it back by half: it stays on the key, blocks are validated by the
        chaincode's policy again (Fabric statebased/validator_keylevel.go), but a peer still names
        it as the key's when a gateway chooses endorsers (endorser.go, parseWritesetMetadata). To
        take a policy back, set the chaincode's own.
        """
        self._keep(Write(WriteKind.VALIDATION, _named(key), policy))

    async def get_validation_parameter(self, key: str) -> bytes | None:
        """A key's own endorsement policy, None where the chaincode's applies."""
        payload = await self._requests.ask(Kind.GET_STATE_METADATA, wire.get_metadata(_named(key)))
        return wire.metadata(payload).get(wire.VALIDATION_PARAMETER) or None

    async def flush(self) -> None:
        """Send the kept writes now; the shim does it before the answer. Raises PeerError."""
        writes = list(self._writes.values())
        self._writes.clear()
        size = self._capabilities.write_batch
        if not size:
            for write in writes:
                await self._requests.ask(*wire.single_write(write))
            return
        for start in range(0, len(writes), size):
            batch = wire.write_batch(writes[start : start + size])
            await self._requests.ask(Kind.WRITE_BATCH_STATE, batch)

    async def range(self, start: str, end: str) -> ResultIterator[KeyValue]:
        """Simple keys from `start` to before `end`, both open when empty."""
        return await self._iterate(*keys.simple_range(start, end))

    async def range_page(self, start: str, end: str, page_size: int, bookmark: str = "") -> Page:
        """One page of a range. Fabric refuses writes in a transaction that paged."""
        return await self._page(keys.simple_range(start, end), page_size, bookmark)

    async def composite_range(
        self, object_type: str, attributes: Sequence[str]
    ) -> ResultIterator[KeyValue]:
        """All composite keys that begin with these parts."""
        return await self._iterate(*keys.composite_range(object_type, attributes))

    async def composite_page(
        self, object_type: str, attributes: Sequence[str], page_size: int, bookmark: str = ""
    ) -> Page:
        """One page of composite keys that begin with these parts."""
        return await self._page(keys.composite_range(object_type, attributes), page_size, bookmark)

    async def history(self, key: str) -> ResultIterator[KeyModification]:
        """The committed changes of a key, newest first."""
        payload = await self._requests.ask(Kind.GET_HISTORY_FOR_KEY, wire.get_history(_named(key)))
        return ResultIterator(self._requests, wire.query_page(payload), wire.key_modification)

    def set_event(self, name: str, payload: bytes) -> None:
        """Attach the transaction's event; a second one replaces the first."""
        if not name:
            raise ShimError("an event needs a name")
        self._event = Event(name, payload)

    @property
    def event(self) -> Event | None:
        """The event to be attached to the answer."""
        return self._event

    def _keep(self, write: Write) -> None:
        # A value and a policy of one key are two writes; otherwise the last one counts.
        slot = (write.kind is WriteKind.VALIDATION, write.key)
        self._writes.pop(slot, None)
        self._writes[slot] = write

    async def _iterate(self, start: str, end: str) -> ResultIterator[KeyValue]:
        request = wire.get_range(start, end, 0, "")
        payload = await self._requests.ask(Kind.GET_STATE_BY_RANGE, request)
        return ResultIterator(self._requests, wire.query_page(payload), wire.key_value)

    async def _page(self, bounds: tuple[str, str], size: int, bookmark: str) -> Page:
        if size < 1:
            raise ShimError("a page has at least one entry")
        request = wire.get_range(*bounds, size, bookmark)
        payload = await self._requests.ask(Kind.GET_STATE_BY_RANGE, request)
        page = wire.query_page(payload)
        return Page(tuple(wire.key_value(raw) for raw in page.results), page.bookmark)


def _named(key: str) -> str:
    if not key:
        raise ShimError("a key must not be empty")
    return key
