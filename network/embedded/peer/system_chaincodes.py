"""The system chaincodes `cscc` and `qscc`: joining, configuration, blocks and transactions.

After core/scc/cscc/configure.go and core/scc/qscc/query.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from fabric_protos.common import common_pb2, configtx_pb2, ledger_pb2
from fabric_protos.peer import query_pb2, transaction_pb2
from google.protobuf.message import DecodeError

from network.embedded import goproto, gostrconv
from network.embedded.channelconfig import Bundle, ChannelConfigError, config_of_envelope
from network.embedded.peer.acl import AccessControl, AccessError
from network.embedded.peer.channel import Channel
from network.embedded.peer.ledger import LedgerError
from network.embedded.peer.proposals import Proposal
from network.embedded.policies import SignedData

VERSION = "syscc"
SYSTEM = frozenset({"_lifecycle", "cscc", "lscc", "qscc"})
_BLOCK_SLOTS = 3

Answer = tuple[int, str, bytes]
"""(status, message, payload), as a chaincode's shim answers. A message that quotes bytes of the
caller's which are no UTF-8 holds them as surrogates, and can't be sent."""


class Channels(Protocol):
    """The channels of this peer."""

    @property
    def joined(self) -> Mapping[str, Channel]: ...

    async def join(self, channel_id: str, genesis: Any) -> None:
        """Raises JoinError."""


class JoinError(Exception):
    """The channel can't be joined; the text says why."""


def _error(text: str) -> Answer:
    return 500, text, b""


class ConfigurationChaincode:
    """`cscc`."""

    def __init__(self, channels: Channels, access: AccessControl) -> None:
        self._channels = channels
        self._access = access

    async def invoke(self, proposal: Proposal) -> Answer:
        """Answer a call whose proposal was checked."""
        args = proposal.args
        if not args:
            return _error("Incorrect number of arguments, 0")
        function = args[0].decode(errors="surrogateescape")
        if function not in ("GetChannels", "JoinBySnapshotStatus") and len(args) < 2:
            return _error(f"Incorrect number of arguments, {len(args)}")
        if proposal.named != "cscc":
            return _named_otherwise(proposal, "CSCC from another chaincode")
        if function == "JoinChain":
            return await self._join(args[1], proposal.signed_data)
        if function == "GetChannels":
            return self._channel_list(proposal.signed_data)
        if function in ("GetConfigBlock", "GetChannelConfig"):
            return self._config(function, args[1], proposal.signed_data)
        if function in ("JoinChainBySnapshot", "JoinBySnapshotStatus"):
            return _error(f"{function}: snapshots are not supported by the embedded engine")
        return _error(f"Requested function {function} not found.")

    async def _join(self, raw: bytes, signed: SignedData) -> Answer:
        try:
            block = goproto.parse(common_pb2.Block, raw)
        except goproto.GoDecodeError as error:
            return _error(
                f"Failed to reconstruct the genesis block, error unmarshalling Block: {error}"
            )
        try:
            channel_id = _channel_of(block)
        except ChannelConfigError as error:
            return _error(
                f'"JoinChain" request failed to extract channel id from the block due to [{error}]'
            )
        try:
            _check_genesis(block, raw)
        except ChannelConfigError as error:
            return _error(
                f'"JoinChain" for channelID = {channel_id} failed because of validation of '
                f"configuration block, because of {error}"
            )
        try:
            self._access.check("cscc/JoinChain", None, signed)
        except AccessError as error:
            return _error(f"access denied for [JoinChain][{channel_id}]: [{error}]")
        try:
            await self._channels.join(channel_id, block)
        except JoinError as error:
            return _error(str(error))
        return 200, "", b""

    def _channel_list(self, signed: SignedData) -> Answer:
        try:
            self._access.check("cscc/GetChannels", None, signed)
        except AccessError as error:
            return _error(f"access denied for [GetChannels]: {error}")
        message = query_pb2.ChannelQueryResponse()
        for channel_id in sorted(self._channels.joined):
            message.channels.add(channel_id=channel_id)
        return 200, "", message.SerializeToString()

    def _config(self, function: str, name: bytes, signed: SignedData) -> Answer:
        channel_id = name.decode(errors="surrogateescape")
        channel = self._channels.joined.get(channel_id)
        bundle = channel.bundle if channel is not None else None
        try:
            self._access.check(f"cscc/{function}", bundle, signed, channel_id)
        except AccessError as error:
            return _error(f"access denied for [{function}][{channel_id}]: {error}")
        if channel is None:
            return _error(f"Unknown channel ID, {channel_id}")
        block = channel.ledger.config_block()
        if function == "GetConfigBlock":
            return 200, "", block
        envelope = common_pb2.Block.FromString(block).data.data[0]
        return 200, "", config_of_envelope(envelope)[1].SerializeToString()


def _channel_of(block: Any) -> str:
    if not block.data.data:
        raise ChannelConfigError("failed to retrieve channel id - block is empty")
    try:
        payload = common_pb2.Payload.FromString(
            common_pb2.Envelope.FromString(block.data.data[0]).payload
        )
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    except DecodeError as error:
        raise ChannelConfigError(f"error unmarshalling the envelope: {error}") from error
    return str(header.channel_id)


def _check_genesis(block: Any, raw: bytes) -> None:
    """cscc validateConfigBlock, and what makes a real peer die. Raises ChannelConfigError."""
    if block.header.number != 0:
        raise ChannelConfigError(
            f"block {block.header.number} is not a genesis block: joining from a later "
            "configuration block needs a snapshot"
        )
    if len(block.metadata.metadata) < _BLOCK_SLOTS:
        raise ChannelConfigError("the block's metadata has no slot for validation flags")
    envelope = configtx_pb2.ConfigEnvelope()
    try:
        payload = common_pb2.Payload.FromString(
            common_pb2.Envelope.FromString(block.data.data[0]).payload
        )
        envelope.ParseFromString(payload.data)
    except DecodeError as error:
        raise ChannelConfigError(f"Bad configuration envelope: {error}") from error
    if not envelope.HasField("config"):
        raise ChannelConfigError("Nil config envelope Config")
    if "Application" not in envelope.config.channel_group.groups:
        raise ChannelConfigError(
            "Invalid configuration block, missing Application configuration group"
        )
    Bundle.from_config_block(raw)


class QueryChaincode:
    """`qscc`."""

    def __init__(self, channels: Channels, access: AccessControl) -> None:
        self._channels = channels
        self._access = access
        self._functions: dict[str, Callable[[Channel, bytes], Answer]] = {
            "GetBlockByNumber": _block_by_number,
            "GetBlockByHash": _block_by_hash,
            "GetTransactionByID": _transaction_by_id,
            "GetBlockByTxID": _block_by_tx_id,
        }

    async def invoke(self, proposal: Proposal) -> Answer:
        """Answer a call whose proposal was checked."""
        args = proposal.args
        if len(args) < 2:
            return _error(f"Incorrect number of arguments, {len(args)}")
        function, channel_id = (item.decode(errors="surrogateescape") for item in args[:2])
        if proposal.named != "qscc":
            why = "QSCC from another chaincode because of potential for deadlocks"
            return _named_otherwise(proposal, why)
        if function != "GetChainInfo" and len(args) < 3:
            return _error(f"missing 3rd argument for {function}")
        channel = self._channels.joined.get(channel_id)
        if channel is None:
            return _error(f"Invalid chain ID, {channel_id}")
        try:
            self._access.check(f"qscc/{function}", channel.bundle, proposal.signed_data)
        except AccessError as error:
            return _error(f"access denied for [{function}][{channel_id}]: [{error}]")
        if function == "GetChainInfo":
            return _chain_info(channel)
        handler = self._functions.get(function)
        if handler is None:
            return _error(f"Requested function {function} not found.")
        try:
            return handler(channel, args[2])
        except LedgerError as error:
            return _error(str(error))


def _named_otherwise(proposal: Proposal, what: str) -> Answer:
    """The answer to an invocation that names another chaincode than its header does."""
    if proposal.named is None:
        return _error("Failed to identify the called chaincode: chaincode id is nil")
    return _error(f"Rejecting invoke of {what}, original invocation for '{proposal.named}'")


def _chain_info(channel: Channel) -> Answer:
    info = channel.ledger.info
    message = ledger_pb2.BlockchainInfo(
        height=info.height,
        currentBlockHash=info.current_hash,
        previousBlockHash=info.previous_hash,
    )
    return 200, "", message.SerializeToString()


def _block_by_number(channel: Channel, argument: bytes) -> Answer:
    try:
        number = gostrconv.parse_uint64(argument)
    except ValueError as error:
        return _error(f"Failed to parse block number with error {error}")
    newest = 2**64 - 1  # Fabric's "last block"
    block = channel.ledger.block(channel.ledger.height - 1 if number == newest else number)
    if block is None:
        reason = f"no such block number [{number}] in index"
        return _error(f"Failed to get block number {number}, error {reason}")
    return 200, "", block


def _block_by_hash(channel: Channel, argument: bytes) -> Answer:
    number = channel.ledger.block_number_by_hash(argument)
    if number is None:
        reason = f"no such block hash [{argument.hex()}] in index"
        text = argument.decode(errors="surrogateescape")
        return _error(f"Failed to get block hash {text}, error {reason}")
    return 200, "", channel.block(number)


def _transaction_by_id(channel: Channel, argument: bytes) -> Answer:
    tx_id = argument.decode(errors="surrogateescape")
    found = channel.transaction(tx_id)
    if found is None:
        reason = f"no such transaction ID [{tx_id}] in index"
        return _error(f"Failed to get transaction with id {tx_id}, error {reason}")
    message = transaction_pb2.ProcessedTransaction(validationCode=found[1])
    message.transactionEnvelope.ParseFromString(found[0])
    return 200, "", message.SerializeToString()


def _block_by_tx_id(channel: Channel, argument: bytes) -> Answer:
    tx_id = argument.decode(errors="surrogateescape")
    location = channel.ledger.tx_location(tx_id)
    if location is None:
        reason = f"no such transaction ID [{tx_id}] in index"
        return _error(f"Failed to get block for txID {tx_id}, error {reason}")
    return 200, "", channel.block(location.block)


SystemInvoke = Callable[[Proposal], Awaitable[Answer]]
"""How the endorser calls `cscc` and `qscc`."""
