"""Blocks as the orderer signs them, for a ledger without a network around it."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabric_protos.common import common_pb2
from peer_world import PEERS, World, make_world

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer
from network.embedded.channelconfig import Bundle
from network.embedded.peer.block_processor import BlockProcessor, genesis_commit
from network.embedded.peer.events import RecentEvents, block_events
from network.embedded.peer.ledger import BlockCommit, Ledger
from network.embedded.peer.lifecycle_state import (
    NAMESPACE,
    NAMESPACES,
    Definition,
    field_key,
    metadata_key,
)
from network.embedded.peer.statedb import VersionedValue
from network.embedded.peer.transactions import Code


def code_name(code: int) -> str:
    return str(Code.Name(code))


@dataclass
class Chain:
    """A ledger with genesis block, a first block that defines `clearline`, and what follows."""

    world: World
    ledger: Ledger
    processor: BlockProcessor

    def orderer(self) -> X509Signer:
        folder = self.world.home.node("Supervisor", "orderer0") / "msp"
        return X509Signer.from_files(
            "Supervisor", folder / "signcerts" / "cert.pem", folder / "keystore" / "key.pem"
        )

    def block(self, envelopes: Sequence[bytes], signer: X509Signer | None = None) -> Any:
        """The next common.Block of these envelopes, signed."""
        info = self.ledger.info
        block = common_pb2.Block()
        block.data.data.extend(envelopes)
        block.header.number = info.height
        block.header.previous_hash = info.current_hash
        block.header.data_hash = protoutil.block_data_hash(list(envelopes))
        sign(block, signer or self.orderer())
        return block

    def commit(self, *envelopes: bytes) -> list[str]:
        """Process the next block; the code of each transaction."""
        committed = self.processor.process(self.block(envelopes).SerializeToString())
        stored = common_pb2.Block.FromString(self.ledger.block(committed.number) or b"")
        flags = [code_name(code) for code in stored.metadata.metadata[2]]
        assert flags == [code_name(tx.code) for tx in committed.transactions]
        assert committed.raw == self.ledger.block(committed.number)
        recent = RecentEvents()
        recent.add(committed.number, committed.transactions)
        kept = recent.of(committed.number)
        assert kept is not None
        assert list(kept) == list(block_events(committed.raw))
        return flags

    def value(self, key: str, namespace: str = "clearline") -> bytes | None:
        with self.ledger.snapshot() as snapshot:
            item = snapshot.state.get(namespace, key.encode())
            return item.value if item is not None else None

    def peers(self, *organizations: str) -> list[X509Signer]:
        names = organizations or ("BankOne", "BankTwo")
        return [self.world.node_signer(name) for name in names]

    def client(self) -> X509Signer:
        return self.world.signer("BankOne")


def sign(block: Any, signer: X509Signer) -> None:
    """Fill a block's metadata as an orderer does."""
    header = protoutil.make_signature_header(signer.identity, protoutil.new_nonce())
    signature_header = header.SerializeToString()
    value = b"\x0a\x00"
    content = value + signature_header + protoutil.block_header_bytes(block.header)
    metadata = common_pb2.Metadata(value=value)
    metadata.signatures.add(signature_header=signature_header, signature=signer.sign(content))
    del block.metadata.metadata[:]
    block.metadata.metadata.extend([metadata.SerializeToString(), b"", b"", b"", b""])


def define(ledger: Ledger, name: str = "clearline", **fields: Any) -> None:
    """Commit a chaincode definition as if a lifecycle transaction had."""
    definition = Definition(1, "0.1", **fields).with_defaults()
    structure = definition.structure()
    state = {metadata_key(NAMESPACES, name): structure.metadata}
    for field, data in structure.fields:
        state[field_key(NAMESPACES, name, field)] = data
    info = ledger.info
    header = common_pb2.BlockHeader(number=info.height, previous_hash=info.current_hash)
    header_hash = hashlib.sha256(protoutil.block_header_bytes(header)).digest()
    version = (info.height, 0)
    ledger.commit(
        BlockCommit(
            number=info.height,
            header_hash=header_hash,
            previous_hash=info.current_hash,
            block=common_pb2.Block(header=header).SerializeToString(),
            commit_hash=b"\1" * 32,
            state={
                (NAMESPACE, key.encode()): VersionedValue(value, b"", version)
                for key, value in state.items()
            },
        )
    )


@contextlib.contextmanager
def chain(world: World, folder: Path, **fields: Any) -> Iterator[Chain]:
    """A fresh chain over an existing world's certificates."""
    ledger = Ledger(folder)
    try:
        genesis = common_pb2.Block.FromString(world.home.genesis_block.read_bytes())
        ledger.commit(genesis_commit(genesis))
        define(ledger, **fields)
        bundle = Bundle.from_config_block(ledger.config_block())
        yield Chain(world, ledger, BlockProcessor(ledger, bundle))
    finally:
        ledger.close()


__all__ = ["PEERS", "Chain", "chain", "code_name", "define", "make_world", "sign"]
