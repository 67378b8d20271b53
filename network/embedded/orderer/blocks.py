"""Builds and signs blocks (orderer/common/multichannel/blockwriter.go)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from clearline.fabric import protoutil
from clearline.fabric.identity import Signer

_INDEX = common_pb2.BlockMetadataIndex
METADATA_SLOTS = len(_INDEX.values())
"""Five: signatures, last config, validation flags, orderer (unused), commit hash."""


class BlockError(ValueError):
    """A block that can't be one of a channel's; the text says why."""


class Assembler:
    """Makes each next block: number, previous hash, data hash, and the orderer's metadata."""

    def __init__(self, tip: bytes, signer: Signer) -> None:
        """`tip` is the last serialised block. Raises BlockError."""
        block = _parse(tip)
        self._signer = signer
        self._number: int = block.header.number
        self._hash = protoutil.block_header_hash(block.header)
        self.last_config = last_config_of(block)

    def next_block(self, envelopes: Sequence[bytes]) -> bytes:
        """The serialised next block of these envelopes, signed."""
        header = common_pb2.BlockHeader(
            number=self._number + 1,
            previous_hash=self._hash,
            data_hash=protoutil.block_data_hash(envelopes),
        )
        return self._finish(header, envelopes)

    def next_config_block(self, envelope: bytes) -> bytes:
        """The serialised next block of one CONFIG envelope: itself the last configuration."""
        self.last_config = self._number + 1
        return self.next_block((envelope,))

    def _finish(self, header: Any, envelopes: Sequence[bytes]) -> bytes:
        metadata = [b""] * METADATA_SLOTS
        last_config = common_pb2.LastConfig(index=self.last_config)
        metadata[_INDEX.LAST_CONFIG] = common_pb2.Metadata(
            value=last_config.SerializeToString()
        ).SerializeToString()
        metadata[_INDEX.SIGNATURES] = self._signatures(header, last_config)
        block = common_pb2.Block(
            header=header,
            data=common_pb2.BlockData(data=envelopes),
            metadata=common_pb2.BlockMetadata(metadata=metadata),
        )
        self._number = header.number
        self._hash = protoutil.block_header_hash(header)
        return bytes(block.SerializeToString())

    def _signatures(self, header: Any, last_config: Any) -> bytes:
        """Signed are value || signature header || header (blockwriter.go addBlockSignature).

        A single orderer has no consenter metadata.
        """
        value = common_pb2.OrdererBlockMetadata(last_config=last_config).SerializeToString()
        signature_header = protoutil.make_signature_header(
            self._signer.identity, protoutil.new_nonce()
        ).SerializeToString()
        signed = value + signature_header + protoutil.block_header_bytes(header)
        signature = common_pb2.MetadataSignature(
            signature_header=signature_header, signature=self._signer.sign(signed)
        )
        return bytes(common_pb2.Metadata(value=value, signatures=[signature]).SerializeToString())


def check_genesis(raw: bytes) -> None:
    """Raise BlockError unless this is a block 0 that Fabric's nodes would survive.

    A peer panics on a block without five metadata entries (docs/fabric.md).
    """
    block = _parse(raw)
    if block.header.number != 0:
        raise BlockError(f"a genesis block has number 0, this one {block.header.number}")
    if len(block.data.data) != 1:
        raise BlockError("a genesis block carries exactly one message")
    if block.header.data_hash != protoutil.block_data_hash(block.data.data):
        raise BlockError("the genesis block's data hash is wrong")
    if len(block.metadata.metadata) != METADATA_SLOTS:
        raise BlockError(
            f"a genesis block has {METADATA_SLOTS} metadata entries, "
            f"this one {len(block.metadata.metadata)}"
        )


def last_config_of(block: Any) -> int:
    """Number of the configuration in force at a common.Block; a genesis block is its own.

    Raises BlockError.
    """
    if block.header.number == 0:
        return 0
    try:
        raw = block.metadata.metadata[_INDEX.LAST_CONFIG]
        value = common_pb2.Metadata.FromString(raw).value
        return int(common_pb2.LastConfig.FromString(value).index)
    except (IndexError, DecodeError) as error:
        raise BlockError(
            f"block {block.header.number} doesn't say which configuration it follows"
        ) from error


def _parse(raw: bytes) -> Any:
    try:
        return common_pb2.Block.FromString(raw)
    except DecodeError as error:
        raise BlockError("not a block") from error
