"""Following the orderers: blocks of one channel, one after the other, for as long as it takes.

After core/deliverservice and internal/pkg/peer/blocksprovider. A lost stream or a refused block
means another orderer after a short wait.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2
from google.protobuf.message import DecodeError

from clearline.fabric.identity import Signer
from clearline.fabric.protoutil import create_signed_envelope, delivered_block
from clearline.logs import get_logger
from network.embedded.peer.block_processor import BlockRefusedError
from network.embedded.peer.channel import Channel
from network.embedded.peer.grpc_errors import grpc_text
from network.embedded.peer.ledger import LedgerError
from network.embedded.peer.registry import Address, Dial

_log = get_logger(__name__)
_DELIVER = "/orderer.AtomicBroadcast/Deliver"
_EOF: Any = getattr(grpc.aio, "EOF")  # noqa: B009 - missing in the stubs
# An orderer is back within a second of its crash: who waits longer than that makes others wait.
_FIRST_WAIT, _LONGEST_WAIT = 0.05, 0.4
_LAST = 2**64 - 1


class _StreamEndedError(Exception):
    """The orderer ended the stream, with a status or without."""


class BlockPuller:
    """Keeps one channel level with its orderers."""

    def __init__(self, channel: Channel, signer: Signer, dial: Dial, tls_hash: bytes) -> None:
        self._channel = channel
        self._signer = signer
        self._dial = dial
        self._tls_hash = tls_hash

    async def run(self) -> None:
        """Pull until cancelled."""
        wait = _FIRST_WAIT
        while True:
            before = self._channel.height
            bundle = self._channel.bundle
            endpoints = list(bundle.orderer_endpoints())
            random.shuffle(endpoints)
            for msp_id, endpoint in endpoints:
                address = Address(msp_id, endpoint)
                reason = await self._follow(address, bundle.tls_roots_of(msp_id))
                _log.info(
                    "block stream ended",
                    extra={"orderer": endpoint, "height": self._channel.height, "why": reason},
                )
                if self._channel.height > before:
                    break
            wait = _FIRST_WAIT if self._channel.height > before else min(wait * 2, _LONGEST_WAIT)
            await asyncio.sleep(wait * (0.5 + random.random()))  # noqa: S311 - spread, not secrecy

    async def _follow(self, address: Address, roots: bytes) -> str:
        """Commit what one orderer delivers; answers why it ended."""
        connection = self._dial(address, roots)
        try:
            call = connection.unary_stream(_DELIVER)(self._seek())
            while (raw := await call.read()) is not _EOF:
                await self._take(raw)
            return "EOF"
        except grpc.aio.AioRpcError as error:
            return grpc_text(error)
        except (BlockRefusedError, LedgerError, _StreamEndedError, DecodeError) as error:
            _log.warning("block not taken", extra={"orderer": address.endpoint, "why": str(error)})
            return str(error)
        except Exception as error:
            # Whatever it is, the channel must not stand still for good.
            _log.exception("block not taken", extra={"orderer": address.endpoint})
            return repr(error)
        finally:
            await connection.close()

    async def _take(self, raw: bytes) -> None:
        block = delivered_block(raw)
        if block is None:
            status = ab_pb2.DeliverResponse.FromString(raw).status
            raise _StreamEndedError(f"status {status}")
        await self._channel.apply(block)

    def _seek(self) -> bytes:
        seek = ab_pb2.SeekInfo(behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY)
        seek.start.specified.number = self._channel.height
        seek.stop.specified.number = _LAST
        envelope = create_signed_envelope(
            common_pb2.HeaderType.DELIVER_SEEK_INFO,
            self._channel.channel_id,
            self._signer,
            seek.SerializeToString(),
            tls_cert_hash=self._tls_hash,
        )
        return bytes(envelope.SerializeToString())
