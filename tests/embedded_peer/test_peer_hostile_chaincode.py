"""Chaincodes that answer never, twice, wrongly, or too much: at nobody else's cost."""

import asyncio
import random
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.peer import chaincode_shim_pb2 as shim
from kv_chaincode import Type
from peer_world import World, failure, run
from protobuf_mischief import mutated

from clearline.fabric.errors import EvaluateError
from network.embedded.peer import chaincode_stream

LIMIT_BYTES = 100 * 1024 * 1024
"""Of a message (Fabric's internal/pkg/comm/config.go)."""
REQUESTS: dict[int, Any] = {
    Type.GET_STATE: shim.GetState(key="k"),
    Type.PUT_STATE: shim.PutState(key="k", value=b"v"),
    Type.DEL_STATE: shim.DelState(key="k"),
    Type.GET_STATE_BY_RANGE: shim.GetStateByRange(startKey="a", endKey="z"),
    Type.GET_HISTORY_FOR_KEY: shim.GetHistoryForKey(key="k"),
    Type.QUERY_STATE_NEXT: shim.QueryStateNext(id="1"),
    Type.QUERY_STATE_CLOSE: shim.QueryStateClose(id="1"),
    Type.GET_STATE_METADATA: shim.GetStateMetadata(key="k"),
    Type.PUT_STATE_METADATA: shim.PutStateMetadata(key="k"),
    Type.GET_STATE_MULTIPLE: shim.GetStateMultiple(keys=["a", "b"]),
    Type.WRITE_BATCH_STATE: shim.WriteBatchState(rec=[shim.WriteRecord(key="k")]),
}


def test_damaged_requests_get_an_error_and_the_transaction_goes_on(tmp_path: Path) -> None:
    """Each request of the protocol with a payload that is none: the peer's ERROR, or an answer
    when the damage left a message."""

    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            for kind, request in REQUESTS.items():
                chance = random.Random(f"chaincode/{kind}")
                payloads = [b"\x0a\x02\xff\xfe"]  # text that is no UTF-8
                payloads += [mutated(request.SerializeToString(), chance) for _ in range(15)]
                for payload in payloads:
                    try:
                        await contract.evaluate("raw", str(kind), payload.hex())
                    except EvaluateError as caught:
                        assert "failed: transaction ID" in str(caught), (kind, payload.hex())
            error = await failure(
                contract.evaluate("raw", str(Type.GET_STATE), "0a02fffe"), EvaluateError
            )
            assert "unmarshal failed: string field contains invalid UTF-8" in str(error)
            # Fabric's handler panics over the message that isn't there.
            error = await failure(
                contract.evaluate("raw", str(Type.PUT_STATE_METADATA), "0a016b"), EvaluateError
            )
            assert "PUT_STATE_METADATA failed" in str(error)
            assert "panic during execution" in str(error)
            assert len(world.chaincode.ready) == 1, "the stream was lost"

    run(tmp_path, scenario)


@pytest.mark.parametrize("kind", ["1", "2", "3", "99", "127"])
def test_messages_that_have_no_place_end_the_stream_only(tmp_path: Path, kind: str) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            error = await failure(contract.evaluate("raw", kind, ""), EvaluateError)
            assert "chaincode stream terminated" in str(error)
            assert await contract.submit("put", "a", kind) == b"done"

    run(tmp_path, scenario)


def test_a_message_above_the_limit_ends_the_stream_only(tmp_path: Path) -> None:
    """A message of the limit's size is read and answered, one of a byte more is not."""

    async def scenario(world: World) -> None:
        await world.peers["BankOne"].stop(0.2)
        world.execute_seconds = 20.0  # for a busy machine: so many bytes take a second
        await world.start_peer("BankOne")
        async with world.gateway("BankOne") as contract:
            await contract.submit("put", "k", "v")
            assert await contract.evaluate("huge", str(LIMIT_BYTES)) == b"v"
            error = await failure(contract.evaluate("huge", str(LIMIT_BYTES + 1)), EvaluateError)
            assert "error sending: chaincode stream terminated" in str(error)
            assert await contract.submit("put", "k", "w") == b"done"

    run(tmp_path, scenario)


def test_answers_that_nobody_reads_don_t_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood fills the sockets and then stands still; another peer's clients notice nothing."""
    most: list[int] = []
    filled, limit = asyncio.Event(), chaincode_stream._MOST_UNREAD_BYTES
    send = chaincode_stream._Stream._send

    def watch(self: Any, message: Any) -> None:
        send(self, message)
        most.append(self._unread_bytes)
        if self._unread_bytes > limit / 2:
            filled.set()

    monkeypatch.setattr(chaincode_stream._Stream, "_send", watch)

    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as hostile, world.gateway("BankTwo") as honest:
            await hostile.submit("put", "k", "x" * 100_000)
            before = await _latency(honest)
            flooding = asyncio.create_task(
                failure(hostile.evaluate("flood", "200000", "0"), EvaluateError)
            )
            filling = await _latency(honest)
            await filled.wait()
            full = await _latency(honest)
            assert str(await flooding).endswith(
                "error sending: timeout expired while executing transaction"
            )
            assert limit / 2 < max(most) < 2 * limit
            assert max(filling, full) < 4 * before + 0.1, (before, filling, full)

    run(tmp_path, scenario)


async def _latency(contract: Any) -> float:
    """Median seconds of a call."""
    took = []
    for _ in range(15):
        began = time.perf_counter()
        await contract.evaluate("get", "k")
        took.append(time.perf_counter() - began)
    return statistics.median(took)
