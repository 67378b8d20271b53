"""The shim over a real socket: what a contract may do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from chaincode_tls import Authority
from fake_peer import CHANNEL, transaction
from shim_world import PACKAGE_ID, Probe, house, run

from chaincode.shim.errors import ShimError
from chaincode.shim.stub import Stub
from chaincode.shim.wire import Response


def test_registers_with_the_package_id(authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        async with house(authority, tmp_path, Probe()) as here:
            assert (await here.peer()).registered_as == PACKAGE_ID

    run(test())


def call(authority: Authority, folder: Path, function: Any, **peer: Any) -> Any:
    """The answer to one call of `function` by a peer in the state `peer` describes."""
    setup = {name: peer.pop(name) for name in ("state", "policies", "history") if name in peer}

    async def test() -> Any:
        async with house(authority, folder, Probe({"f": function})) as here:
            there = await here.peer(**peer)
            for name, value in setup.items():
                getattr(there, name).update(value)
            return await there.invoke([b"f", b"x"], here.creator)

    return asyncio.run(asyncio.wait_for(test(), 20))


def test_arguments_identity_and_header(authority: Authority, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    async def function(stub: Stub) -> bytes:
        seen.update(
            args=stub.args,
            msp=stub.identity.msp_id,
            name=stub.identity.common_name,
            role=stub.identity.attribute("clearline.role"),
            none=stub.identity.attribute("other"),
            channel=stub.channel_id,
            tx_id=stub.tx_id,
            timestamp=stub.timestamp,
            transient=dict(stub.transient),
            creator=stub.creator,
            binding=len(stub.binding),
        )
        return b"done"

    at = datetime.now(UTC).replace(microsecond=5000)

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            tx_id, message = transaction([b"f", b"x"], here.creator, at, {"secret": b"s"})
            answer = await peer.run(tx_id, message)
            assert (answer.status, answer.payload, answer.event) == (200, b"done", None)
            assert seen == {
                "args": (b"f", b"x"),
                "msp": "BankOne",
                "name": "gateway@bankone",
                "role": "gateway",
                "none": None,
                "channel": CHANNEL,
                "tx_id": tx_id,
                "timestamp": at,
                "transient": {"secret": b"s"},
                "creator": here.creator,
                "binding": 32,
            }

    run(test())


async def reads_and_writes(stub: Stub) -> bytes:
    values = await stub.get_states([f"k{number}" for number in range(250)])
    assert values == [b"v" if number < 3 else None for number in range(250)]
    assert await stub.get_state("k0") == b"v"
    assert await stub.get_state("none") is None
    for number in range(250):
        stub.put_state(f"w{number:03d}", b"1")
    stub.put_state("w000", b"2")
    stub.delete_state("w001")
    stub.set_validation_parameter("w002", b"policy")
    stub.set_event("name", b"first")
    stub.set_event("name", b"payload")
    return b""


STATE = {f"k{number}": b"v" for number in range(3)}


WRITES = {
    ("PUT_STATE", "w000", b"2"),
    ("DEL_STATE", "w001", b""),
    ("PUT_STATE", "w002", b"1"),
    ("PUT_STATE_METADATA", "w002", b"policy"),
    *(("PUT_STATE", f"w{number:03d}", b"1") for number in range(3, 250)),
}


def test_batches_where_the_peer_takes_them(authority: Authority, tmp_path: Path) -> None:
    answer = call(authority, tmp_path, reads_and_writes, state=STATE)
    assert (answer.status, answer.message) == (200, "")
    assert set(answer.writes) == WRITES
    assert len(answer.writes) == len(WRITES)
    assert answer.event == ("name", b"payload")
    assert answer.requests == ["GET_STATE_MULTIPLE", "GET_STATE", "GET_STATE", "WRITE_BATCH_STATE"]


def test_batches_are_cut_to_the_peers_size(authority: Authority, tmp_path: Path) -> None:
    # A peer that announces less than 100 takes 100 (fabric-chaincode-go shim/handler.go).
    answer = call(authority, tmp_path, reads_and_writes, state=STATE, multi_get=7, write_batch=120)
    assert set(answer.writes) == WRITES
    assert answer.requests.count("GET_STATE_MULTIPLE") == 3
    assert answer.requests.count("WRITE_BATCH_STATE") == 3


def test_one_by_one_where_it_does_not(authority: Authority, tmp_path: Path) -> None:
    answer = call(authority, tmp_path, reads_and_writes, state=STATE, multi_get=0, write_batch=0)
    assert answer.status == 200
    assert set(answer.writes) == WRITES
    assert answer.requests.count("GET_STATE") == 252
    assert answer.requests.count("PUT_STATE") == 249
    assert answer.requests.count("DEL_STATE") == 1
    assert answer.requests.count("PUT_STATE_METADATA") == 1


def test_a_refusal_writes_nothing(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> Response:
        stub.put_state("k", b"v")
        stub.set_event("name", b"")
        return Response(400, message="no: because")

    answer = call(authority, tmp_path, function)
    assert (answer.status, answer.message, answer.writes) == (400, "no: because", [])
    assert answer.event is None
    assert answer.requests == []


def test_flush_lets_a_contract_see_the_peers_refusal(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        stub.put_state("k", b"v")
        await stub.flush()
        return b"flushed"

    answer = call(authority, tmp_path, function)
    assert answer.payload == b"flushed"
    assert answer.requests == ["WRITE_BATCH_STATE"]


def test_ranges_come_in_parts(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        async with await stub.range("a", "c") as found:
            entries = [entry.key async for entry in found]
        async with await stub.range("", "") as found:
            everything = [entry.key async for entry in found]
        async with await stub.range("x", "y") as found:
            assert [entry async for entry in found] == []
        return ",".join([*entries, "|", *everything]).encode()

    state = dict.fromkeys(("a1", "a2", "a3", "b1", "b2", "c1"), b"v")
    answer = call(authority, tmp_path, function, state=state)
    assert answer.payload == b"a1,a2,a3,b1,b2,|,a1,a2,a3,b1,b2,c1"
    assert answer.requests.count("QUERY_STATE_NEXT") == 4
    assert answer.requests.count("QUERY_STATE_CLOSE") == 0


def test_a_range_left_early_is_closed(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        async with await stub.range("a", "") as found:
            async for entry in found:
                return entry.key.encode()
        return b""

    answer = call(authority, tmp_path, function, state={f"a{n}": b"v" for n in range(5)})
    assert answer.payload == b"a0"
    assert answer.requests == ["GET_STATE_BY_RANGE", "QUERY_STATE_CLOSE"]


def test_pages(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        bookmark, pages = "", []
        while True:
            page = await stub.range_page("a", "b", 2, bookmark)
            pages.append("".join(entry.key for entry in page.items))
            bookmark = page.bookmark
            if not bookmark:
                return "|".join(pages).encode()

    answer = call(authority, tmp_path, function, state={f"a{n}": b"v" for n in range(5)})
    assert answer.payload == b"a0a1|a2a3|a4"


def test_composite_keys(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        async with await stub.composite_range("order", ["M1"]) as found:
            keys = [entry.value async for entry in found]
        page = await stub.composite_page("order", ["M1"], 1)
        return b"".join([*keys, b"|", *(entry.value for entry in page.items)])

    state = {
        "\x00order\x00M1\x001\x00": b"a",
        "\x00order\x00M1\x002\x00": b"b",
        "\x00order\x00M10\x001\x00": b"c",
        "order": b"d",
    }
    assert call(authority, tmp_path, function, state=state).payload == b"ab|a"


def test_history_and_validation_parameter(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        async with await stub.history("k") as changes:
            found = [(c.tx_id, c.value, c.is_delete, c.timestamp.year) async for c in changes]
        assert found == [
            ("t3", b"", True, 2023),
            ("t2", b"b", False, 2023),
            ("t1", b"a", False, 2023),
        ]
        assert await stub.get_validation_parameter("none") is None
        return await stub.get_validation_parameter("k") or b""

    answer = call(
        authority,
        tmp_path,
        function,
        history={"k": [("t3", b""), ("t2", b"b"), ("t1", b"a")]},
        policies={"k": b"policy"},
    )
    assert answer.payload == b"policy"


def test_mistakes_of_a_contract(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        mistakes: tuple[Callable[[], None], ...] = (
            lambda: stub.put_state("", b"v"),
            lambda: stub.put_state("k", b""),
            lambda: stub.delete_state(""),
            lambda: stub.set_event("", b""),
        )
        for wrong in mistakes:
            with pytest.raises(ShimError):
                wrong()
        for question in (
            stub.get_state(""),
            stub.get_states(["a", ""]),
            stub.range("\x00", ""),
            stub.range_page("a", "b", 0),
            stub.composite_range("a\x00", []),
            stub.composite_range("a", ["\U0010ffff"]),
        ):
            with pytest.raises(ShimError):
                await question
        return b"all refused"

    answer = call(authority, tmp_path, function)
    assert (answer.payload, answer.requests) == (b"all refused", [])
