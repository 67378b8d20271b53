"""The shim over a real socket: what the peer may do to it, what a contract may do with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from chaincode_tls import Authority
from fake_peer import CHANNEL, TYPE, FakePeer, serialized_identity, transaction
from shim_world import PACKAGE_ID, House, Probe, house, run

from chaincode.shim.errors import PeerError, ShimError
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


@pytest.mark.parametrize("request_name", ["GET_STATE_MULTIPLE", "WRITE_BATCH_STATE"])
def test_a_peers_error_raises(authority: Authority, tmp_path: Path, request_name: str) -> None:
    seen = []

    async def function(stub: Stub) -> bytes:
        try:
            await stub.get_states(["a", "b"])
            stub.put_state("k", b"v")
            await stub.flush()
        except PeerError as error:
            seen.append(str(error))
            raise
        return b""

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            peer.errors[request_name] = "no ledger context"
            answer = await peer.invoke([b"f"], here.creator)
            assert (answer.status, answer.message) == (500, "ledger_error: no ledger context")
            assert seen == ["no ledger context"]
            # The stream lives on.
            peer.errors.clear()
            assert (await peer.invoke([b"f"], here.creator)).status == 200

    run(test())


def test_a_peers_error_on_the_last_writes(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        stub.put_state("k", b"v")
        stub.set_event("e", b"")
        return b"well"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            peer.errors["WRITE_BATCH_STATE"] = "refused"
            answer = await peer.invoke([b"f"], here.creator)
            assert (answer.status, answer.message) == (500, "ledger_error: refused")
            assert answer.event is None

    run(test())


def test_a_contracts_exception_is_a_500_and_no_more(authority: Authority, tmp_path: Path) -> None:
    async def fails(stub: Stub) -> bytes:
        raise RuntimeError("4111111111111111 must not get out")

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": fails})) as here:
            peer = await here.peer()
            for _ in range(2):
                answer = await peer.invoke([b"f"], here.creator)
                assert answer.status == 500
                assert answer.message == "internal_error: the contract failed"

    run(test())


def test_many_transactions_at_once(authority: Authority, tmp_path: Path) -> None:
    """Each of 60 transactions sees its own values, on one stream, mixed."""
    together = asyncio.Event()
    running = 0

    async def function(stub: Stub) -> bytes:
        nonlocal running
        name = stub.args[1].decode()
        assert await stub.get_state(f"k{name}") == name.encode()
        running += 1
        if running == 60:
            together.set()
        await together.wait()
        # Asked for at once: one request after the other all the same.
        found = await asyncio.gather(*(stub.get_state(f"k{name}") for _ in range(3)))
        assert found == [name.encode()] * 3
        stub.put_state(f"w{name}", name.encode())
        return name.encode()

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            names = [str(number) for number in range(60)]
            peer.state.update({f"k{name}": name.encode() for name in names})
            answers = await asyncio.gather(
                *(peer.invoke([b"f", name.encode()], here.creator) for name in names)
            )
            assert [answer.payload.decode() for answer in answers] == names
            assert peer.most_running == 60
            for name, answer in zip(names, answers, strict=True):
                assert answer.writes == [("PUT_STATE", f"w{name}", name.encode())]

    run(test())


def test_the_peer_dies_in_mid_transaction(authority: Authority, tmp_path: Path) -> None:
    """The transaction is cancelled, other peers' streams live on."""
    cancelled = asyncio.Event()

    async def waits(stub: Stub) -> bytes:
        try:
            await stub.get_state("k")
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": waits})) as here:
            dying, living = await here.peer(), await here.peer()
            dying.hold.add("GET_STATE")
            tx_id, message = transaction([b"f"], here.creator)
            tx = dying.start(tx_id)
            await dying.send(message)
            await tx.asked.wait()
            dying.call.cancel()
            await asyncio.wait_for(cancelled.wait(), 5)
            assert (await living.invoke([b"f"], here.creator)).payload == b"here"
            again = await here.peer()
            assert (await again.invoke([b"f"], here.creator)).payload == b"here"

    run(test())


def test_a_peer_that_never_answers(authority: Authority, tmp_path: Path) -> None:
    async def waits(stub: Stub) -> bytes:
        await stub.get_state("k")
        return b"here"

    async def test() -> None:
        probe = Probe({"f": waits})
        async with house(authority, tmp_path, probe, transaction_timeout_seconds=1) as here:
            peer = await here.peer()
            peer.hold.add("GET_STATE")
            tx_id, message = transaction([b"f"], here.creator)
            tx = peer.start(tx_id)
            await peer.send(message)
            answer = await peer.finish(tx)
            assert (answer.status, answer.message) == (500, "timed_out: not done within 1 s")
            # Its answer comes late, and twice: at nobody's cost.
            for _ in range(2):
                await peer.send(peer.release(tx))
            peer.hold.clear()
            assert (await peer.invoke([b"f"], here.creator)).payload == b"here"

    run(test())


def test_the_same_transaction_again_while_it_runs(authority: Authority, tmp_path: Path) -> None:
    """A peer that gave up and asks anew must not get the answers of both mixed up."""

    async def waits(stub: Stub) -> bytes:
        await stub.get_state("k")
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": waits})) as here:
            peer = await here.peer()
            peer.hold.add("GET_STATE")
            tx_id, message = transaction([b"f"], here.creator)
            first = peer.start(tx_id)
            await peer.send(message)
            await first.asked.wait()
            second = peer.start(tx_id)
            await peer.send(message)
            answer = await peer.finish(second)
            assert (answer.status, answer.requests) == (-1, [])
            assert "still running" in answer.message
            peer.hold.clear()
            assert (await peer.run(tx_id, message)).payload == b"here"
            assert peer.stray == []

    run(test())


def test_wrong_messages_end_the_stream(authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        async with house(authority, tmp_path, Probe()) as here:
            for wrong in (
                TYPE(type=TYPE.READY).SerializeToString(),
                TYPE(type=TYPE.GET_STATE, txid="t").SerializeToString(),
                b"\xff\xff\xff",
            ):
                peer = await here.peer()
                await peer.call.write(wrong)
                assert await peer.ended() is grpc.StatusCode.INVALID_ARGUMENT
            assert (await here.peer()).registered_as == PACKAGE_ID

    run(test())


def test_strays_and_keepalive(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            await peer.send(TYPE(type=TYPE.RESPONSE, txid="none", channel_id=CHANNEL))
            await peer.send(TYPE(type=TYPE.KEEPALIVE))
            assert (await peer.invoke([b"f"], here.creator)).payload == b"here"
            assert [message.type for message in peer.stray] == [TYPE.KEEPALIVE]

    run(test())


@dataclass(frozen=True)
class At:
    """A proposal this far from the server's clock, and whether it is taken."""

    away: timedelta
    taken: bool


@pytest.mark.parametrize(
    "case",
    [
        At(timedelta(), True),
        At(timedelta(minutes=5), True),
        At(timedelta(minutes=-5), True),
        At(timedelta(minutes=5, seconds=1), False),
        At(timedelta(minutes=-5, seconds=-1), False),
        At(timedelta(days=-20000), False),
    ],
    ids=lambda case: str(case.away),
)
def test_timestamp_window(authority: Authority, tmp_path: Path, case: At) -> None:
    clock = datetime(2026, 11, 23, 8, tzinfo=UTC)

    async def function(stub: Stub) -> bytes:
        return b"here"

    async def test() -> None:
        probe = Probe({"f": function})
        async with house(authority, tmp_path, probe, clock=lambda: clock) as here:
            peer = await here.peer()
            answer = await peer.invoke([b"f"], here.creator, timestamp=clock + case.away)
            if case.taken:
                assert answer.payload == b"here"
            else:
                assert answer.status == 400
                assert answer.message.startswith("timestamp_out_of_window: ")

    run(test())


async def broken(here: House, peer: FakePeer, change: Any) -> Any:
    tx_id, message = transaction([b"f"], here.creator)
    change(message)
    return await peer.run(tx_id, message)


def test_proposals_that_cannot_be_read(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return stub.identity.msp_id.encode()

    def no_proposal(message: Any) -> None:
        message.ClearField("proposal")

    def garbage(message: Any) -> None:
        message.proposal.proposal_bytes = b"\xff\xff"

    def another(message: Any) -> None:
        _, other = transaction([b"f"], b"creator")
        message.proposal.CopyFrom(other.proposal)

    def bad_input(message: Any) -> None:
        message.payload = b"\xff\xff"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            for change in (no_proposal, garbage, another, bad_input):
                answer = await broken(here, peer, change)
                assert answer.status == 400, change
                assert answer.message.startswith("proposal_invalid: ")
            for creator in (b"\xff", serialized_identity("BankOne", b"no certificate")):
                answer = await peer.invoke([b"f"], creator)
                assert answer.status == 400
                assert answer.message.startswith("proposal_invalid: ")
            assert (await peer.invoke([b"f"], here.creator)).payload == b"BankOne"

    run(test())


def test_attributes_that_are_none(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return (stub.identity.attribute("clearline.role") or "none").encode()

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": function})) as here:
            peer = await here.peer()
            cases = [
                (None, 200, b"none"),
                ({"attrs": {"clearline.role": 7}}, 200, b"none"),
                ({"attrs": {"clearline.role": "auditor"}}, 200, b"auditor"),
                ({"attrs": []}, 400, b""),
                ([], 400, b""),
            ]
            for attributes, status, payload in cases:
                leaf = authority.leaf("somebody", attributes)
                creator = serialized_identity("BankOne", leaf.certificate)
                answer = await peer.invoke([b"f"], creator)
                assert (answer.status, answer.payload) == (status, payload), attributes

    run(test())


def test_messages_over_the_limit(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        return b"here"

    async def test() -> None:
        probe = Probe({"f": function})
        async with house(authority, tmp_path, probe, max_transaction_bytes=100_000) as here:
            peer = await here.peer()
            answer = await peer.invoke([b"f", b"x" * 60_000], here.creator)
            assert answer.status == 400
            assert answer.message.startswith("message_too_large: ")
            assert (await peer.invoke([b"f", b"x" * 40_000], here.creator)).status == 200

    run(test())


def test_more_transactions_than_allowed(authority: Authority, tmp_path: Path) -> None:
    async def waits(stub: Stub) -> bytes:
        await stub.get_state("k")
        return b"here"

    async def test() -> None:
        async with house(authority, tmp_path, Probe({"f": waits}), max_transactions=2) as here:
            peer = await here.peer()
            peer.hold.add("GET_STATE")
            held = []
            for _ in range(2):
                tx_id, message = transaction([b"f"], here.creator)
                held.append(peer.start(tx_id))
                await peer.send(message)
            answer = await peer.invoke([b"f"], here.creator)
            assert answer.status == 503
            assert answer.message.startswith("overloaded: ")
            for tx in held:
                await tx.asked.wait()
            peer.hold.clear()
            for tx in held:
                await peer.send(peer.release(tx))
                assert (await peer.finish(tx)).payload == b"here"
            assert (await peer.invoke([b"f"], here.creator)).payload == b"here"

    run(test())


def test_mistakes_of_a_contract(authority: Authority, tmp_path: Path) -> None:
    async def function(stub: Stub) -> bytes:
        for wrong in (
            lambda: stub.put_state("", b"v"),
            lambda: stub.put_state("k", b""),
            lambda: stub.delete_state(""),
            lambda: stub.set_event("", b""),
        ):
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


def test_the_wrong_peer(authority: Authority, tmp_path: Path) -> None:
    """A name that isn't allowed, another CA, no certificate: no stream."""

    async def test() -> None:
        async with house(authority, tmp_path, Probe()) as here:
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await here.peer(authority.leaf("peer0.banktwo"))
            assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
            stranger = Authority.create("another").leaf("peer0.bankone")
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await here.peer(stranger)
            assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
            assert (await here.peer()).registered_as == PACKAGE_ID

    run(test())


def test_without_a_certificate(authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        async with house(authority, tmp_path, Probe()) as here:
            credentials = grpc.ssl_channel_credentials(authority.pem)
            options = (("grpc.ssl_target_name_override", "chaincode.bankone"),)
            target = f"127.0.0.1:{here.port}"
            async with grpc.aio.secure_channel(target, credentials, options=options) as channel:
                call = channel.stream_stream("/protos.Chaincode/Connect")()
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await call.read()
                assert failure.value.code() is grpc.StatusCode.UNAVAILABLE

    run(test())
