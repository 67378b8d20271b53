"""Verification of a whole channel, block by block; it fails closed.

For each block, in this order, and nothing counts that can't be done:

     1  it is a block, with the next number                        block_form, block_number
     2  it names the header hash of the one before                 header_chain
     3  its data hash is its data's                                data_hash
     4  an orderer of the configuration signed it                  orderer_signature
     5  there is a flag for each transaction                       flags

and for each transaction flagged VALID

     6  form, id, submitter's membership and signature             transaction_form, .._id, creator
     7  the id is new                                              duplicate_id
     8  endorsers answered this proposal, and meet the policies    proposal_hash, endorsement
     9  it read what was committed                                 read_versions
    10  what was called, by whom, without card numbers            call, card_data, role
    11  each item's outcome is what follows from it: its form,
        the signature on it, what it names, its time and turn     form, merchant_signature, ...
    12  the answer says so, item by item                          outcome
    13  the records are what follows from the items, all of them  record
    14  the event tells what changed                              event

A transaction flagged invalid must fail one of 6 to 9: flags are not signed by orderers, so a peer
that hides a transaction is found here.

A configuration after block 0 has checks of its own, whatever its flag: no honest orderer lets one
into a block that is not alone there, signed by who may write, made by an update that the
configuration in force allows, and so VALID                    transaction_form, creator,
                                                               configuration, flags
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from fabric_protos.common import common_pb2

from audit.balances import Balances
from audit.blocks import (
    CONFIG,
    VALID,
    AuditedBlock,
    AuditedTransaction,
    read_block,
    read_transaction,
)
from audit.channel import Channel
from audit.checkpoints import Checkpoints
from audit.configuration import successor
from audit.draft import Record
from audit.findings import Check, Finding, Wrong
from audit.history import History
from audit.invocation import Invocation, read_invocation
from audit.jose import strict_json
from audit.membership import Identity, Signed
from audit.model import Model
from audit.payments import Payments
from audit.registry import Registry
from audit.snapshots import Snapshot
from audit.state import WorldState
from audit.transactions import check_endorsed, check_origin


@dataclass
class Totals:
    """What was checked."""

    blocks: int = 0
    transactions: int = 0
    invalid: int = 0
    tip: str = ""
    genesis: str = ""
    endorsements: dict[str, int] = field(default_factory=dict)


class Verifier:
    """Takes a channel's blocks from number 0 on and keeps the first thing wrong."""

    def __init__(self, network: str, chaincode: str) -> None:
        self._network = network
        self._chaincode = chaincode
        self._channel: Channel | None = None
        self._channel_id = ""
        self._config = b""
        self.history = History(network)
        self._state = WorldState(self.history)
        self._next = 0
        self._previous = b""
        self._model = Model(network)
        self.checkpoints = Checkpoints(self.history)
        self.registry = Registry(self._model.records)
        self.payments = Payments(self._model.records, self._model.steps)
        self.balances = Balances(self._model.records)
        self.totals = Totals()

    def take(self, raw: bytes) -> Finding | None:
        """Verify the next block; the finding when something is wrong with it."""
        number, index, tx_id = self._next, None, ""
        try:
            block = read_block(raw)
            self._check_block(block, number)
            self._state.begin_block()
            for index, envelope in enumerate(block.envelopes):
                tx_id = ""
                transaction = _parsed(envelope, block.flags[index])
                tx_id = transaction.tx_id if transaction else ""
                self._check_transaction(block, index, transaction)
        except Wrong as wrong:
            return Finding(number, index, tx_id, wrong.check, wrong.detail)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            # A shape no check foresaw: what can't be checked is wrong.
            return Finding(number, index, tx_id, Check.UNCHECKED, f"can't be followed: {error!r}")
        self._previous = block.header_hash
        self._next += 1
        self.totals.blocks += 1
        self.totals.tip = block.header_hash.hex()
        self.history.ended(number, self.totals.tip)
        return None

    @property
    def records(self) -> dict[str, Record]:
        """Every record of the contract by ledger key, as derived; not to be changed."""
        return self._model.records

    @property
    def last(self) -> int:
        """The number of the last block that was taken, or that a snapshot stands for; -1: none."""
        return self._next - 1

    def snapshot(self) -> Snapshot:
        """The state after the last block. There must be one."""
        return Snapshot(
            network=self._network,
            block=self.last,
            header_hash=self._previous.hex(),
            config=self._config,
            ids=dict(self.history.ids),
            values=tuple(self._state.values()),
            hashed=tuple(self._state.hashed()),
        )

    @classmethod
    def resume(cls, snapshot: Snapshot, chaincode: str) -> Verifier:
        """A verifier that goes on after a snapshot's block; what vouches for the snapshot is the
        checkpoint that it must meet, and a digest from elsewhere (docs/audit.md).

        Raises Wrong or ValueError when the snapshot holds no state of a channel.
        """
        one = cls(snapshot.network, chaincode)
        one._configure(snapshot.block, snapshot.config, Channel.of_block(snapshot.config))
        one._channel_id = read_transaction(snapshot.config).channel
        for namespace, key, value, version in snapshot.values:
            one._state.put(namespace, key, value, version)
            if namespace == chaincode:
                one._model.records[key] = strict_json(value)
        for namespace, collection, key_hash, version in snapshot.hashed:
            one._state.put_hashed(namespace, collection, key_hash, version)
        one.history.ids.update(snapshot.ids)
        one.history.ended(snapshot.block, snapshot.header_hash)
        one._previous = bytes.fromhex(snapshot.header_hash)
        one._next = snapshot.block + 1
        one.totals.tip = snapshot.header_hash
        return one

    def _configure(self, block: int, envelope: bytes, channel: Channel) -> None:
        self._channel = channel
        self._config = envelope
        self.history.configured(block, envelope)

    def _check_block(self, block: AuditedBlock, number: int) -> None:
        if block.number != number:
            raise Wrong(Check.BLOCK_NUMBER, f"number {block.number} where {number} is due")
        if block.previous_hash != self._previous:
            raise Wrong(Check.HEADER_CHAIN, "it does not name the block before it")
        if hashlib.sha256(b"".join(block.envelopes)).digest() != block.data_hash:
            raise Wrong(Check.DATA_HASH, "the data is not what the header says")
        if number == 0:
            self._begin(block)
        else:
            self._check_orderer(block)
        if len(block.flags) != len(block.envelopes):
            raise Wrong(
                Check.FLAGS, f"{len(block.flags)} flags for {len(block.envelopes)} transactions"
            )

    def _begin(self, block: AuditedBlock) -> None:
        if len(block.envelopes) != 1:
            raise Wrong(Check.CONFIGURATION, "a genesis block holds one configuration")
        self._configure(0, block.envelopes[0], Channel.of_block(block.envelopes[0]))
        self._channel_id = read_transaction(block.envelopes[0]).channel
        self.totals.genesis = block.header_hash.hex()

    def _check_orderer(self, block: AuditedBlock) -> None:
        """Slot SIGNATURES: value || signature header || block header, by BlockValidation."""
        signed = []
        for one in block.signatures.signatures:
            try:
                header = common_pb2.SignatureHeader.FromString(one.signature_header)
            except ValueError:
                continue
            message = block.signatures.value + one.signature_header + block.header
            signed.append(Signed(header.creator, message, one.signature))
        signers = self._configured.membership.signers(signed)
        if not self._configured.accepts("/Channel/Orderer/BlockValidation", signers):
            raise Wrong(Check.ORDERER_SIGNATURE, "no orderer of the configuration signed it")

    @property
    def _configured(self) -> Channel:
        if self._channel is None:
            raise Wrong(Check.CONFIGURATION, "there is no configuration before this block")
        return self._channel

    def _check_transaction(
        self, block: AuditedBlock, index: int, transaction: AuditedTransaction | None
    ) -> None:
        self.totals.transactions += 1
        self.totals.invalid += block.flags[index] != VALID
        if transaction is not None and transaction.kind == CONFIG:
            self._check_configuration(block, index, transaction)
            return
        if block.flags[index] != VALID:
            if transaction is not None:
                self._check_rejected(block, index, transaction)
            return
        if transaction is None:
            raise Wrong(Check.TRANSACTION_FORM, "flagged VALID but can't be read")
        submitter, endorsers = self._accepted(transaction)
        self.history.ids[transaction.tx_id] = block.number
        assert transaction.endorsed is not None  # noqa: S101 - _accepted has checked it
        self._state.check_followed(transaction.endorsed)
        invocation = read_invocation(
            transaction, (block.number, index), submitter, endorsers, self._chaincode
        )
        if invocation is not None:
            self._model.take(invocation)
            self._meet_checkpoints(invocation)
        self._state.apply(transaction.endorsed, (block.number, index))
        for one in endorsers:
            self.totals.endorsements[one.msp_id] = self.totals.endorsements.get(one.msp_id, 0) + 1

    def _check_configuration(
        self, block: AuditedBlock, index: int, transaction: AuditedTransaction
    ) -> None:
        """A configuration that follows from the one in force is in force from here on. A wrong
        one is a finding under an invalid flag too: only an orderer could have put it there."""
        if block.number == 0:
            return  # _begin took it on trust
        if len(block.envelopes) > 1:
            raise Wrong(Check.CONFIGURATION, "a configuration beside other transactions")
        channel = successor(transaction, self._configured, self._channel_id)
        if block.flags[index] != VALID:
            raise Wrong(Check.FLAGS, f"flagged {block.flags[index]}, but nothing is wrong with it")
        self._configure(block.number, block.envelopes[index], channel)

    def _meet_checkpoints(self, invocation: Invocation) -> None:
        for key in invocation.writes:
            if key.startswith("checkpoint/"):
                record = self._model.records[key]
                self.checkpoints.meet(record, invocation.block, invocation.index)

    def _accepted(self, transaction: AuditedTransaction) -> tuple[Identity, tuple[Identity, ...]]:
        """Checks 6 to 9: what a peer must have found right to flag it VALID."""
        submitter = check_origin(transaction, self._channel_id, self._configured)
        if transaction.tx_id in self.history.ids:
            raise Wrong(Check.DUPLICATE_ID, "an earlier valid transaction has this id")
        endorsers = check_endorsed(transaction, self._configured, self._state)
        if transaction.endorsed is not None:
            self._state.check_reads(transaction.endorsed)
        return submitter, endorsers

    def _check_rejected(
        self, block: AuditedBlock, index: int, transaction: AuditedTransaction
    ) -> None:
        """A rejected transaction must have a fault the auditor finds too."""
        try:
            self._accepted(transaction)
        except Wrong:
            return
        raise Wrong(Check.FLAGS, f"flagged {block.flags[index]}, but nothing is wrong with it")


def _parsed(envelope: bytes, flag: int) -> AuditedTransaction | None:
    """The transaction; None when it can't be read and is flagged so."""
    try:
        return read_transaction(envelope)
    except Wrong:
        if flag == VALID:
            raise
        return None
