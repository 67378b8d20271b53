"""Streams of events: chaincode events, full and filtered blocks, checkpoints."""

from __future__ import annotations

from pathlib import Path

from behaviours import behaviour
from conformance_clients import Json, to_bytes, to_text
from conformance_world import CHANNEL, VALID, Committed, Stack
from fabric_protos.common import common_pb2

from clearline.fabric.protoutil import block_header_hash

EVENTS = "Events"
MVCC_READ_CONFLICT = 11
CHAINCODE_SOURCE = "internal/pkg/gateway/chaincodeevents.go"
DELIVER_SOURCE = "common/deliver/deliver.go"


@behaviour(
    EVENTS,
    "Chaincode events from a block on: name, payload, transaction id and block",
    CHAINCODE_SOURCE,
)
def test_chaincode_events_from_a_block(stack: Stack) -> None:
    caller = stack.caller()
    done = [caller.commit("event", f"name{index}", f"payload {index}") for index in range(3)]
    with caller.events("chaincode", start=done[0].block) as events:
        for index, transaction in enumerate(done):
            assert events.next() == {
                "block": transaction.block,
                "tx_id": transaction.tx_id,
                "chaincode": stack.chaincode,
                "name": f"name{index}",
                "payload": to_text(f"payload {index}".encode()),
            }


@behaviour(
    EVENTS, "Chaincode events after a transaction id, its own block included", CHAINCODE_SOURCE
)
def test_chaincode_events_after_a_transaction(stack: Stack) -> None:
    caller = stack.caller()
    # Submitted together, so that they share blocks.
    made = [caller.endorse("event", "near", str(index)) for index in range(6)]
    commits = [caller.submit(transaction) for transaction in made]
    blocks = {commit["tx_id"]: caller.status(commit)["block"] for commit in commits}
    first = min(blocks.values())
    with caller.events("chaincode", start=first) as events:
        order = [events.next()["tx_id"] for _ in made]
    assert set(order) == set(blocks)
    after = {"block": blocks[order[2]], "tx_id": order[2]}
    with caller.events("chaincode", after=after) as events:
        assert [events.next()["tx_id"] for _ in range(3)] == order[3:]


@behaviour(
    EVENTS,
    "An unknown transaction id to start after: nothing before it, so nothing comes",
    CHAINCODE_SOURCE,
)
def test_chaincode_events_after_an_unknown_transaction(stack: Stack) -> None:
    caller = stack.caller()
    done = caller.commit("event", "unseen", "1")
    with caller.events("chaincode", after={"block": done.block, "tx_id": "ab" * 32}) as events:
        caller.commit("event", "unseen", "2")
        assert events.step(0.3) == {"timeout": True}


@behaviour(EVENTS, "Chaincode events without a start: from the next block on", CHAINCODE_SOURCE)
def test_live_chaincode_events(stack: Stack) -> None:
    caller = stack.caller()
    old = caller.commit("event", "old", "1")
    with caller.events("chaincode") as events:
        # The stream begins when the peer has read the request; until then events pass by.
        sent: list[Committed] = []
        step: Json = {"timeout": True}
        while "timeout" in step:
            sent.append(caller.commit("event", "live", str(len(sent))))
            step = events.step(0.2)
        seen = step["event"]["tx_id"]
        assert seen != old.tx_id
        assert seen in [transaction.tx_id for transaction in sent]
        last = caller.commit("event", "live", "last")
        while seen != last.tx_id:
            seen = events.next()["tx_id"]


@behaviour(
    EVENTS, "Chaincode events of the named chaincode only", "internal/pkg/gateway/event/block.go"
)
def test_events_of_one_chaincode(stack: Stack) -> None:
    caller = stack.caller()
    other = stack.caller(chaincode=stack.chaincode_of_all)
    first = other.commit("event", "another's", "1")
    own = caller.commit("event", "own", "1")
    with caller.events("chaincode", start=first.block) as events:
        assert events.next()["tx_id"] == own.tx_id
    with other.events("chaincode", start=first.block) as events:
        assert events.next()["chaincode"] == stack.chaincode_of_all


@behaviour(
    EVENTS,
    "Events of invalid transactions are not delivered",
    "internal/pkg/gateway/event/block.go",
)
def test_events_of_valid_transactions_only(stack: Stack) -> None:
    caller = stack.caller()
    first, second = (caller.endorse("add", "event counter", "1") for _ in range(2))
    valid, invalid = caller.order(first), caller.order(second)
    assert (valid.code, invalid.code) == (VALID, MVCC_READ_CONFLICT)
    last = caller.commit("event", "after", "1")
    with caller.events("chaincode", start=valid.block) as events:
        assert [events.next()["tx_id"] for _ in range(2)] == [valid.tx_id, last.tx_id]


@behaviour(
    EVENTS,
    "Full blocks from block 0 on, each with the hash of the one before",
    DELIVER_SOURCE,
)
def test_full_blocks(stack: Stack) -> None:
    caller = stack.caller()
    done = caller.commit("put", "in a block", "1")
    previous = b""
    with caller.events("block", start=0) as blocks:
        for number in range(done.block + 1):
            event = blocks.next()
            block = common_pb2.Block.FromString(to_bytes(event["raw"]))
            assert event["block"] == block.header.number == number
            assert block.header.previous_hash == previous
            previous = block_header_hash(block.header)
    assert any(done.tx_id.encode() in envelope for envelope in block.data.data)
    assert len(block.metadata.metadata[2]) == len(block.data.data)


@behaviour(
    EVENTS,
    "Full and filtered blocks without a start: from the next block on, without a gap",
    DELIVER_SOURCE,
)
def test_live_blocks(stack: Stack) -> None:
    caller = stack.caller()
    old = caller.commit("put", "old", "1")
    for kind in ("block", "filtered"):
        with caller.events(kind) as blocks:
            step: Json = {"timeout": True}
            while "timeout" in step:
                last = caller.commit("put", "next", "1")
                step = blocks.step(0.2)
            number = step["event"]["block"]
            assert number > old.block
            while number < last.block:
                number += 1
                assert blocks.next()["block"] == number


@behaviour(
    EVENTS,
    "Filtered blocks: ids, codes and event names of valid and invalid transactions",
    "core/peer/deliverevents.go",
)
def test_filtered_blocks(stack: Stack) -> None:
    caller = stack.caller()
    first, second = (caller.endorse("add", "filtered", "1") for _ in range(2))
    valid, invalid = caller.order(first), caller.order(second)
    quiet = caller.commit("put", "filtered", "0")
    found: dict[str, list[object]] = {}
    with caller.events("filtered", start=valid.block) as blocks:
        for number in range(valid.block, quiet.block + 1):
            block = blocks.next()
            assert (block["block"], block["channel"]) == (number, CHANNEL)
            found |= {tx_id: [code, names] for tx_id, code, names in block["transactions"]}
    assert found[valid.tx_id] == [VALID, ["added"]]
    assert found[invalid.tx_id] == [MVCC_READ_CONFLICT, ["added"]]
    assert found[quiet.tx_id] == [VALID, []]


@behaviour(
    EVENTS,
    "A file checkpointer resumes chaincode events: none lost, none twice",
    CHAINCODE_SOURCE,
)
def test_chaincode_checkpoint_resumes(stack: Stack, tmp_path: Path) -> None:
    caller = stack.caller()
    made = [caller.endorse("event", "checkpoint", str(index)) for index in range(6)]
    commits = [caller.submit(transaction) for transaction in made]
    first = min(caller.status(commit)["block"] for commit in commits)
    seen = []
    for _ in range(3):  # three sessions of two events each, every one begun from the file
        file = str(tmp_path / "checkpoint.json")
        with caller.events("chaincode", start=first, file=file) as events:
            for _ in range(2):
                seen.append(events.next()["tx_id"])
                events.checkpoint()
    assert len(seen) == len(set(seen)) == 6
    assert set(seen) == {transaction["tx_id"] for transaction in made}


@behaviour(EVENTS, "A file checkpointer resumes blocks after the one it holds", DELIVER_SOURCE)
def test_block_checkpoint_resumes(stack: Stack, tmp_path: Path) -> None:
    caller = stack.caller()
    for kind in ("block", "filtered"):
        file = str(tmp_path / f"{kind}.json")
        with caller.events(kind, start=1, file=file) as blocks:
            assert [blocks.next()["block"] for _ in range(2)] == [1, 2]
            blocks.checkpoint()
        with caller.events(kind, start=1, file=file) as blocks:
            assert blocks.next()["block"] == 3


@behaviour(
    EVENTS,
    "Blocks from the height on: nothing until that block commits",
    "common/ledger/blockledger/fileledger/impl.go",
)
def test_start_at_the_next_block(stack: Stack) -> None:
    caller = stack.caller()
    for kind in ("block", "filtered"):
        height = caller.commit("put", "height", "1").block + 1
        with caller.events(kind, start=height) as blocks:
            assert blocks.step(0.2) == {"timeout": True}
            caller.commit("put", "height", "2")
            assert blocks.next()["block"] == height


@behaviour(
    EVENTS,
    "Blocks from beyond the height: the stream ends without one",
    "common/ledger/blockledger/fileledger/impl.go",
)
def test_start_beyond_the_next_block(stack: Stack) -> None:
    caller = stack.caller()
    height = caller.commit("put", "height", "1").block + 1
    for kind in ("block", "filtered"):
        with caller.events(kind, start=height + 1000) as blocks:
            assert blocks.step().get("end")


@behaviour(
    EVENTS,
    "Chaincode events from beyond the height: nothing until that block commits",
    "common/ledger/blkstorage/blocks_itr.go",
)
def test_chaincode_events_from_the_future(stack: Stack) -> None:
    caller = stack.caller()
    height = caller.commit("put", "height", "1").block + 1
    with caller.events("chaincode", start=height + 1) as events:
        caller.commit("event", "too early", "1")
        second = caller.commit("event", "in time", "2")
        event = events.next()
        assert event["block"] >= height + 1
        assert event["name"] == "in time"
        assert event["tx_id"] == second.tx_id
