"""Peers, orderer and a chaincode on real sockets: the services as a client meets them."""

import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certificate_kit as kit
import grpc
import grpc.aio
import pytest
from block_factory import code_name
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2
from forged_transactions import Forgery, catalogue, rwset
from peer_world import (
    CHANNEL,
    ENDORSER,
    ORGANIZATIONS,
    World,
    endorse,
    failure,
    proposal,
    run,
)

from clearline.fabric.errors import EvaluateError
from clearline.fabric.proposal import ProposalOptions
from clearline.fabric.protoutil import (
    make_chaincode_proposal,
    make_channel_header,
    sign_proposal,
)
from network.embedded import wire
from network.embedded.peer.endorsement_policies import member_policy


def test_transactions_are_endorsed_ordered_and_committed_alike_by_all(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as one, world.gateway("BankTwo") as two:
            # Endorsers that are a block apart disagree, as Fabric's do: level them in between.
            assert await one.submit("add", "n", "5") == b"5"
            await world.level()
            assert await two.submit("add", "n", "6") == b"11"
            await world.level()
            assert await two.evaluate("get", "n") == b"11"
            await one.submit("batch", "x=1", "y=2", "n=")
            assert json.loads(await one.evaluate("many", "x", "n", "y")) == ["1", "", "2"]
            entries = json.loads(await one.evaluate("history", "n"))
            assert [entry[1:] for entry in entries] == [["", True], ["11", False], ["5", False]]
            await world.level()
            proposals = [one.new_proposal("add", ("hot", "1")) for _ in range(8)]
            # All endorsed before the first is ordered: each has read the same version.
            rivals = [await proposal.endorse() for proposal in proposals]
            commits = [await rival.submit() for rival in rivals]
            codes = sorted([(await commit.status()).code_name for commit in commits])
        assert codes == ["MVCC_READ_CONFLICT"] * 7 + ["VALID"]
        height = await world.level()
        hashes = {world.ledger(name).commit_hash for name in ORGANIZATIONS}
        assert len(hashes) == 1
        blocks = {world.ledger(name).block(height - 1) for name in ORGANIZATIONS}
        assert len(blocks) == 1

    run(tmp_path, scenario)


def test_ranges_and_pages_of_any_length(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        pairs = [f"k{number:03}={number}" for number in range(250)]
        async with world.gateway("BankOne") as contract:
            await contract.submit("batch", *pairs)
            found = json.loads(await contract.evaluate("span", "k", "l"))
            assert [f"{key}={value}" for key, value in found] == pairs
            keys, bookmark = [], ""
            while True:
                answer = await contract.evaluate("page", "k", "l", "60", bookmark)
                page, count, bookmark = json.loads(answer)
                assert count == len(page)
                keys += page
                if not bookmark:
                    break
            assert keys == [key for key, _ in found]
            await contract.submit("span", "k", "l", "count")
            assert await contract.evaluate("get", "count") == b"250"
            error = await failure(contract.evaluate("page_then_put", "x"), EvaluateError)
            assert "Writes are not allowed" in str(error)
            # The range was read before its end changed in another block: a phantom.
            transaction = await contract.new_proposal("span", ["k24", "l", "late"]).endorse()
            await contract.submit("put", "k2499", "new")
            status = await (await transaction.submit()).status()
            assert status.code_name == "PHANTOM_READ_CONFLICT"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("status", "endorsed", "payload"),
    [(200, True, True), (399, True, True), (400, False, False), (499, False, False),
     (500, False, True), (700, False, True)],
)  # fmt: skip
def test_a_chaincodes_status_decides_what_the_endorser_signs(
    tmp_path: Path, status: int, endorsed: bool, payload: bool
) -> None:
    async def scenario(world: World) -> None:
        _, _, signed = proposal(world.signer("BankOne"), "status", [str(status), "text"])
        response = await endorse(world, "BankOne", signed)
        assert (response.response.status, response.response.message) == (status, "text")
        assert response.HasField("endorsement") == endorsed
        assert bool(response.payload) == payload

    run(tmp_path, scenario)


def test_a_proposal_that_the_filters_stop_goes_to_every_peer(tmp_path: Path) -> None:
    """Fabric's gateway takes a filter's error for a peer out of reach (apiutils.go)."""

    async def scenario(world: World) -> None:
        ca = kit.stored_authority(world.home.organization("BankOne") / "ca")
        end = datetime.now(UTC) - timedelta(seconds=1)
        leaf = kit.Leaf(start=end - timedelta(hours=1), end=end)
        _, _, signed = proposal(kit.signer(ca, "BankOne", leaf), "get", ["a"])
        request = gateway_pb2.EvaluateRequest(proposed_transaction=signed).SerializeToString()
        channel = world.channel("BankOne")
        call = channel.unary_unary("/gateway.Gateway/Evaluate")(request)
        error = await failure(call, grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        assert details.count(b"proposal client identity expired") == len(ORGANIZATIONS)
        error = await failure(endorse(world, "BankOne", signed), grpc.aio.AioRpcError)
        assert error.details() == "proposal client identity expired"
        await channel.close()

    run(tmp_path, scenario)


def test_requests_that_are_none_get_the_status_that_go_gives(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        channel = world.channel("BankOne")
        for method in ("Evaluate", "Endorse", "Submit", "CommitStatus"):
            call = channel.unary_unary(f"/gateway.Gateway/{method}")(b"\xff")
            error = await failure(call, grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.INTERNAL
            assert error.details().startswith("grpc: error unmarshalling request: proto: ")
        events = channel.unary_stream("/gateway.Gateway/ChaincodeEvents")(b"\xff")
        error = await failure(anext(aiter(events)), grpc.aio.AioRpcError)
        assert error.code() is grpc.StatusCode.INTERNAL
        await channel.close()

    run(tmp_path, scenario)


def test_every_forged_transaction_through_the_orderer(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        peers = [world.node_signer("BankOne"), world.node_signer("BankTwo")]
        rows = catalogue(world.signer("BankOne"), peers, world.signer("BankTwo"))
        async with world.gateway("BankOne") as contract:
            await contract.submit("put", "a0", "1")
        for _, forgery, _ in rows:
            assert (await world.order(forgery.envelope())).status == 200
        last = Forgery(world.signer("BankOne"), peers, rwset([("last", "1")]))
        await world.order(last.envelope())
        channel = world.peers["BankTwo"].channels.joined[CHANNEL]
        assert code_name((await channel.tx_status(last.id)).code) == "VALID"
        for name, forgery, code in rows:
            location = channel.ledger.tx_location(forgery.tx_id or forgery.id)
            assert location is not None, name
            assert code_name(location.code) == code, name

    run(tmp_path, scenario)


def test_what_is_wrong_with_a_proposal_is_refused_at_the_door(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        client = world.signer("BankOne")
        _, _, good = proposal(client, "get", ["a"])
        bad = type(good)(proposal_bytes=good.proposal_bytes, signature=client.sign(b"else"))
        async with world.gateway("BankOne") as contract:
            transaction = await contract.new_proposal("put", ["a", "1"]).endorse()
            await (await transaction.submit()).status()
            sent = transaction.transaction_id
        timed = make_channel_header(3, CHANNEL).SerializeToString()
        nameless = proposal_pb2.Proposal(
            header=common_pb2.Header(channel_header=timed).SerializeToString()
        )
        for signed, text in (
            (bad, "creator org [BankOne]"),
            (type(good)(proposal_bytes=b"\xff"), "failed parsing proposal: error unmarshalling"),
            (type(good)(), "incorrect timestamp 1970-01-01T00:00:00Z"),
            (
                type(good)(proposal_bytes=nameless.SerializeToString()),
                "ChaincodeHeaderExtension.ChaincodeId is nil",
            ),
        ):
            error = await failure(endorse(world, "BankOne", signed), grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.UNKNOWN
            assert text in error.details()
        assert world.ledger("BankOne").tx_location(sent) is not None
        _, _, nowhere = proposal(client, "get", ["a"], "nowhere")
        response = await endorse(world, "BankOne", nowhere)
        assert response.response.status == 500
        assert "make sure the chaincode nowhere has been successfully defined" in (
            response.response.message
        )

    run(tmp_path, scenario)


def test_a_system_chaincode_that_the_invocation_does_not_name(tmp_path: Path) -> None:
    """The header says whom to call, the invocation another one, or none."""
    rows = [
        ("cscc", "", "other", "Rejecting invoke of CSCC from another chaincode, original "
         "invocation for 'other'"),
        ("cscc", "", None, "Failed to identify the called chaincode: chaincode id is nil"),
        ("qscc", CHANNEL, "cscc", "Rejecting invoke of QSCC from another chaincode because of "
         "potential for deadlocks, original invocation for 'cscc'"),
        ("qscc", CHANNEL, None, "Failed to identify the called chaincode: chaincode id is nil"),
    ]  # fmt: skip

    async def scenario(world: World) -> None:
        client = world.signer("BankOne", "admin")
        for chaincode, channel_id, named, text in rows:
            _, raw = make_chaincode_proposal(
                channel_id, chaincode, [b"GetChannels", b"x"], client.identity
            )
            call = proposal_pb2.Proposal.FromString(raw)
            payload = proposal_pb2.ChaincodeProposalPayload.FromString(call.payload)
            invocation = chaincode_pb2.ChaincodeInvocationSpec.FromString(payload.input)
            invocation.chaincode_spec.ClearField("chaincode_id")
            if named is not None:
                invocation.chaincode_spec.chaincode_id.name = named
            payload.input = invocation.SerializeToString()
            call.payload = payload.SerializeToString()
            signed = sign_proposal(client, call.SerializeToString())
            answer = (await endorse(world, "BankOne", signed)).response
            assert (answer.status, answer.message) == (500, text), (chaincode, named)

    run(tmp_path, scenario)


def test_an_old_clock_is_refused(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        from clearline.fabric import protoutil

        client = world.signer("BankOne")
        _, raw = protoutil.make_chaincode_proposal(
            CHANNEL, "clearline", [b"get", b"a"], client.identity, timestamp_ns=0
        )
        signed = protoutil.sign_proposal(client, raw)
        error = await failure(endorse(world, "BankOne", signed), grpc.aio.AioRpcError)
        assert "incorrect timestamp 1970-01-01T00:00:00Z" in error.details()

    run(tmp_path, scenario)


def test_events_come_from_a_block_on_and_after_a_transaction(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        peers = [world.node_signer("BankOne")]
        async with world.gateway("BankOne") as contract:
            ids = []
            for number in range(3):
                transaction = await contract.new_proposal("add", [f"e{number}", "1"]).endorse()
                await (await transaction.submit()).status()
                ids.append(transaction.transaction_id)
        from forged_transactions import event

        invalid = Forgery(world.signer("BankOne"), peers, rwset([("x", "1")]), events=event())
        await world.order(invalid.envelope())
        await world.peers["BankOne"].channels.joined[CHANNEL].tx_status(invalid.id)
        assert await _events(world, 3, start=0) == list(zip(ids, ("e0", "e1", "e2"), strict=True))
        assert await _events(world, 1, after=ids[1]) == [(ids[2], "e2")]
        async with world.gateway("BankOne") as contract:
            for number in range(9):  # in more blocks than the newest events are kept of
                await contract.submit("add", f"more{number}", "1")
        told = [payload for _, payload in await _events(world, 12, start=0)]
        assert told == ["e0", "e1", "e2", *(f"more{number}" for number in range(9))]
        live = asyncio.create_task(_events(world, 1))
        await asyncio.sleep(0)
        async with world.gateway("BankOne") as contract:
            for number in itertools.count():
                # A key each: the peers needn't be level for it.
                await contract.submit("add", f"live{number}", "1")
                if live.done():
                    break
        assert (await live)[0][1].startswith("live")

    run(tmp_path, scenario)


async def _events(
    world: World, count: int, start: int | None = None, after: str = ""
) -> list[tuple[str, str]]:
    """(transaction id, payload) of the first events."""
    client = world.signer("BankOne")
    request = gateway_pb2.ChaincodeEventsRequest(
        channel_id=CHANNEL,
        chaincode_id="clearline",
        identity=client.identity,
        after_transaction_id=after,
    )
    if start is not None:
        request.start_position.specified.number = start
    raw = request.SerializeToString()
    signed = gateway_pb2.SignedChaincodeEventsRequest(request=raw, signature=client.sign(raw))
    channel = world.channel("BankOne")
    found: list[tuple[str, str]] = []
    try:
        call = channel.unary_stream("/gateway.Gateway/ChaincodeEvents")(signed.SerializeToString())
        while len(found) < count:
            response = gateway_pb2.ChaincodeEventsResponse.FromString(await call.read())
            for item in response.events:
                assert (item.chaincode_id, item.event_name) == ("clearline", "added")
                found.append((item.tx_id, item.payload.decode()))
        return found
    finally:
        await channel.close()


def test_commit_status_waits_for_an_id_that_is_in_no_block_yet(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            transaction = await contract.new_proposal("put", ["a", "1"]).endorse()
            transaction.sign()
            waiting = asyncio.create_task(contract.new_commit(transaction.transaction_id).status())
            await contract.submit("put", "b", "1")
            assert not waiting.done()
            await transaction.submit()
            status = await waiting
            assert (status.successful, status.transaction_id) == (True, transaction.transaction_id)
            again = await contract.new_commit(transaction.transaction_id).status()
            assert again.block_number == status.block_number

    run(tmp_path, scenario)


def test_a_key_level_policy_chooses_its_own_endorsers(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        everybody = member_policy(ORGANIZATIONS, 3)
        async with world.gateway("BankOne") as contract:
            await contract.submit("put", "key", "1")
            await contract.submit("lock", "key", everybody.hex())
            assert await contract.evaluate("locked", "key") == everybody.hex().encode()
            transaction = await contract.new_proposal("put", ["key", "2"]).endorse()
            assert (await (await transaction.submit()).status()).successful
            two = contract.new_proposal(
                "put", ["key", "3"], ProposalOptions(organizations=("BankOne", "BankTwo"))
            )
            transaction = await two.endorse()
            status = await (await transaction.submit()).status()
            assert status.code_name == "ENDORSEMENT_POLICY_FAILURE"
            assert await contract.evaluate("get", "key") == b"2"

    run(tmp_path, scenario)


def test_what_is_left_out_says_so(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        channel = world.channel("BankOne")
        try:
            for method in ("/discovery.Discovery/Discover", "/protos.Snapshot/Generate"):
                error = await failure(channel.unary_unary(method)(b""), grpc.aio.AioRpcError)
                assert error.code() is grpc.StatusCode.UNIMPLEMENTED
                assert "left out" in error.details()
            health = await channel.unary_unary("/grpc.health.v1.Health/Check")(b"")
            assert health == b"\x08\x01"
            error = await failure(channel.unary_unary(ENDORSER)(b"\xff"), grpc.aio.AioRpcError)
            assert error.code() is grpc.StatusCode.INTERNAL
        finally:
            await channel.close()
        async with world.gateway("BankOne") as contract:
            for function, text in (("rich", "ExecuteQuery"), ("other", "chaincode-to-chaincode")):
                error = await failure(contract.evaluate(function), EvaluateError)
                assert text in str(error)

    run(tmp_path, scenario)


def test_nobody_connects_without_a_certificate_of_the_channel(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        roots = (world.home.organization("BankOne") / "tlsca" / "cert.pem").read_bytes()
        credentials = grpc.ssl_channel_credentials(roots)
        bare: Any = grpc.aio.secure_channel(world.endpoint("BankOne"), credentials)
        folder = world.home.user("BankOne", "gateway") / "msp"
        # The identity CA's certificate, not the TLS CA's.
        wrong: Any = wire.channel(
            world.endpoint("BankOne"),
            roots,
            wire.TlsIdentity(
                (folder / "signcerts" / "cert.pem").read_bytes(),
                (folder / "keystore" / "key.pem").read_bytes(),
            ),
        )
        for channel in (bare, wrong):
            try:
                error = await failure(
                    channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=5),
                    grpc.aio.AioRpcError,
                )
                assert error.code() is grpc.StatusCode.UNAVAILABLE
            finally:
                await channel.close()

    run(tmp_path, scenario)
