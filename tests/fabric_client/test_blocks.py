"""Blocks as a follower sees them, garbage included."""

import pytest
from fabric_fake_peer import CHAINCODE, FakePeer
from fabric_protos.common import common_pb2
from helpers_fabric import connect, run, signer
from hypothesis import given, settings
from hypothesis import strategies as st

from clearline.fabric.blocks import Block, BlockError, code_name, parse_transaction
from clearline.fabric.protoutil import block_data_hash


def _committed_envelope() -> tuple[bytes, bytes]:
    async def scenario() -> tuple[bytes, bytes]:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = gateway.network("payments").contract(CHAINCODE)
            await contract.submit("Put", '[{"key":"a","value":"1"}]')
            return peer.submitted[0], peer.blocks[1].SerializeToString()

    return run(scenario())


ENVELOPE, BLOCK = _committed_envelope()


def test_a_transaction_is_shown_whole() -> None:
    block = Block.parse(BLOCK)
    (transaction,) = block.transactions
    assert (block.number, block.raw, transaction.is_valid) == (1, BLOCK, True)
    assert transaction.code_name == "VALID"
    assert (transaction.channel, transaction.chaincode) == ("payments", "clearline")
    assert transaction.args == (b"Put", b'[{"key":"a","value":"1"}]')
    assert transaction.creator.msp_id == "BankOne"
    assert transaction.creator.cert_pem == signer().certificate_pem
    assert transaction.timestamp is not None
    assert transaction.timestamp.utcoffset() is not None
    (write,) = transaction.writes
    assert (write.namespace, write.key, write.value, write.is_delete) == (
        "clearline",
        "a",
        b"1",
        False,
    )
    assert transaction.response_status == 200
    assert transaction.event is not None
    assert transaction.event.name == "put.v1"
    assert transaction.malformed is None


@given(st.binary(max_size=200))
def test_garbage_never_raises(data: bytes) -> None:
    shown = parse_transaction(data, 3, 255)
    assert (shown.index, shown.code) == (3, 255)


@settings(max_examples=300)
@given(st.data())
def test_damaged_transactions_never_raise(data: st.DataObject) -> None:
    damaged = bytearray(ENVELOPE)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    assert parse_transaction(bytes(damaged[:cut]), 0, 0).index == 0


def test_what_could_be_read_of_a_broken_transaction_is_shown() -> None:
    envelope = common_pb2.Envelope.FromString(ENVELOPE)
    payload = common_pb2.Payload.FromString(envelope.payload)
    payload.data = b"\xff\xff"
    envelope.payload = payload.SerializeToString()
    shown = parse_transaction(envelope.SerializeToString(), 0, 10)
    assert shown.malformed is not None
    assert shown.creator.msp_id == "BankOne"
    assert len(shown.tx_id) == 64
    assert shown.writes == ()


def test_one_garbage_transaction_leaves_the_others() -> None:
    message = common_pb2.Block.FromString(BLOCK)
    message.data.data.insert(0, b"garbage")
    message.header.data_hash = block_data_hash(message.data.data)
    message.metadata.metadata[2] = bytes([1, 0])
    block = Block.parse(message.SerializeToString())
    assert [t.malformed is None for t in block.transactions] == [False, True]
    assert [t.code for t in block.transactions] == [1, 0]


def test_flags_that_are_missing_are_not_valid() -> None:
    message = common_pb2.Block.FromString(BLOCK)
    del message.metadata.metadata[2:]
    (transaction,) = Block.parse(message.SerializeToString()).transactions
    assert (transaction.code_name, transaction.is_valid) == ("NOT_VALIDATED", False)
    assert code_name(99) == "99"


def test_what_is_no_block_raises() -> None:
    message = common_pb2.Block.FromString(BLOCK)
    message.data.data.append(b"more")
    for raw, reason in [
        (b"\xff\xff\xff", "not a block"),
        (b"", "without a header"),
        (message.SerializeToString(), "data hash"),
    ]:
        with pytest.raises(BlockError, match=reason):
            Block.parse(raw)


def test_timestamps_out_of_range_are_none() -> None:
    envelope = common_pb2.Envelope.FromString(ENVELOPE)
    payload = common_pb2.Payload.FromString(envelope.payload)
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    header.timestamp.seconds = 2**62
    payload.header.channel_header = header.SerializeToString()
    envelope.payload = payload.SerializeToString()
    shown = parse_transaction(envelope.SerializeToString(), 0, 0)
    assert shown.timestamp is None
    assert shown.malformed is None
