"""A channel, seen from a client: its contracts and its streams of events."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from clearline.fabric.blocks import Block
from clearline.fabric.client import FabricClient
from clearline.fabric.commit_stream import CommitStream
from clearline.fabric.contract import Contract
from clearline.fabric.events import (
    BlockEventsRequest,
    ChaincodeEventsRequest,
    CommittedEvent,
    FilteredBlock,
    Start,
    new_block_events_request,
    new_chaincode_events_request,
)
from clearline.fabric.identity import Signer

_NEXT, _NEWEST = Start(), Start(newest=True)


class Network:
    """One channel on one peer."""

    def __init__(
        self, client: FabricClient, signer: Signer, channel_id: str, tls_cert_hash: bytes
    ) -> None:
        self._client = client
        self._signer = signer
        self._tls_cert_hash = tls_cert_hash
        self.channel_id = channel_id

    def contract(self, chaincode: str) -> Contract:
        """The chaincode of that name."""
        return Contract(self._client, self._signer, self.channel_id, chaincode)

    @asynccontextmanager
    async def commit_stream(self) -> AsyncIterator[CommitStream]:
        """Meanwhile statuses of transactions that are sent come from one stream of filtered blocks
        where it has them, instead of a call each: for many at a time."""
        stream = CommitStream(lambda: self.block_events_request(_NEWEST))
        streams = self._client.commit_streams
        async with stream.running():
            streams[self.channel_id] = stream
            try:
                yield stream
            finally:
                streams.pop(self.channel_id, None)

    def chaincode_events(
        self, chaincode: str, start: Start = _NEXT
    ) -> AsyncGenerator[CommittedEvent, None]:
        """Events of VALID transactions of a chaincode, as they commit.

        Ends only by an EventsError or aclose(). Without a start: from the next block on.
        """
        return self.chaincode_events_request(chaincode, start).events()

    def chaincode_events_request(
        self, chaincode: str, start: Start = _NEXT
    ) -> ChaincodeEventsRequest:
        """A request whose `digest` can be signed elsewhere."""
        return new_chaincode_events_request(
            self._client, self._signer, self.channel_id, chaincode, start
        )

    def block_events(self, start: Start = _NEXT) -> AsyncGenerator[Block, None]:
        """Full blocks as they commit. Raises EventsError; BlockError for what is no block."""
        return self.block_events_request(start).blocks()

    def filtered_block_events(self, start: Start = _NEXT) -> AsyncGenerator[FilteredBlock, None]:
        """Transaction ids, codes and event names only. Raises EventsError."""
        return self.block_events_request(start).filtered_blocks()

    def block_events_request(self, start: Start = _NEXT) -> BlockEventsRequest:
        """A request whose `digest` can be signed elsewhere."""
        return new_block_events_request(
            self._client, self._signer, self.channel_id, self._tls_cert_hash, start
        )
