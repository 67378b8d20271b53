"""Running peers: joins, lifecycle, configuration, and what happens when something fails."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_pb2, query_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from kv_chaincode import Type
from peer_world import (
    CHANNEL,
    ORGANIZATIONS,
    World,
    endorse,
    failure,
    make_world,
    prepare,
    proposal,
    run,
    system,
)

from clearline.fabric.errors import EndorseError, EvaluateError
from clearline.fabric.proposal import ProposalOptions
from network import lifecycle


def test_a_chaincode_that_hangs_dies_or_restarts_costs_nobody_else(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            hanging = asyncio.create_task(failure(contract.evaluate("silent"), EvaluateError))
            for number in range(5):
                await contract.submit("put", f"k{number}", "1")
            assert "timeout expired while executing transaction" in str(await hanging)
            error = await failure(contract.evaluate("drop"), EvaluateError)
            assert "chaincode stream terminated" in str(error)
            assert await contract.submit("put", "a", "1") == b"done"
            port = world.chaincode.port
            await world.chaincode.stop()
            error = await failure(contract.submit("put", "a", "2"), EndorseError)
            assert "could not launch chaincode" in str(error)
            await world.chaincode.start(port)
            assert await contract.submit("put", "a", "3") == b"done"
        ready = chaincode_pb2.ChaincodeAdditionalParams.FromString(world.chaincode.ready[0].payload)
        assert (ready.use_write_batch, ready.use_get_multiple_keys) == (True, True)
        assert world.chaincode.ready[0].type == Type.READY

    run(tmp_path, scenario)


def test_a_chaincode_that_breaks_the_protocol_loses_its_stream_only(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            assert await contract.evaluate("twice", "late") == b"first"
            for function in ("strange", "garbage"):
                error = await failure(contract.evaluate(function), EvaluateError)
                assert "chaincode stream terminated" in str(error)
                assert await contract.submit("put", "a", function) == b"done"
            assert await contract.evaluate("get", "late") == b""
            await world.chaincode.stop()
            right, world.chaincode.package_id = world.chaincode.package_id, "somebody:else"
            await world.chaincode.start(world.chaincode.port)
            error = await failure(contract.submit("put", "a", "1"), EndorseError)
            assert "registered as 'somebody:else'" in str(error)
            world.chaincode.package_id = right
            assert await contract.submit("put", "a", "1") == b"done"

    run(tmp_path, scenario)


def test_transient_data_of_a_query_stays_in_the_own_organisation(tmp_path: Path) -> None:
    """internal/pkg/gateway/evaluate.go: other organisations are asked only when they are named."""

    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            for options, asked in (
                (ProposalOptions(), list(ORGANIZATIONS)),
                (ProposalOptions(transient={"secret": b"1"}), ["BankOne"]),
                (
                    ProposalOptions(transient={"secret": b"1"}, organizations=("BankTwo",)),
                    ["BankTwo"],
                ),
            ):
                lost = contract.new_proposal("drop", [], options).evaluate()
                error = await failure(lost, EvaluateError)
                assert sorted(detail.msp_id for detail in error.details) == asked

    run(tmp_path, scenario)


def test_a_peer_that_is_down_is_named_and_done_without(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.peers.pop("BankTwo").stop(0)
        async with world.gateway("BankOne") as contract:
            assert await contract.submit("put", "a", "1") == b"done"
            only = contract.new_proposal(
                "put", ["a", "2"], ProposalOptions(organizations=("BankOne", "BankTwo"))
            )
            error = await failure(only.endorse(), EndorseError)
            assert error.code is grpc.StatusCode.ABORTED
            assert [(item.msp_id, item.address) for item in error.details] == [
                ("BankTwo", world.endpoint("BankTwo"))
            ]
            await world.peers.pop("Supervisor").stop(0)
            error = await failure(contract.submit("put", "a", "3"), EndorseError)
            assert {item.msp_id for item in error.details} == {"BankTwo", "Supervisor"}
            await world.start_peer("BankTwo")
            await world.level()
            assert await contract.submit("put", "a", "4") == b"done"

    run(tmp_path, scenario)


def test_restarted_nodes_go_on_where_they_stood(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            await contract.submit("put", "a", "1")
            before = await world.level()
            await world.peers.pop("Supervisor").stop(0)
            await contract.submit("put", "a", "2")
            await world.start_peer("Supervisor")
            assert world.peers["Supervisor"].channels.joined[CHANNEL].height >= before
            await world.level()
            assert world.orderer is not None
            await world.orderer.stop(0)
            await world.start_orderer()
            assert await contract.submit("put", "a", "3") == b"done"
            await world.level()
        async with world.gateway("BankOne") as contract:
            assert await contract.evaluate("get", "a") == b"3"
        assert len({world.ledger(name).commit_hash for name in ORGANIZATIONS}) == 1

    run(tmp_path, scenario)


def test_a_peer_that_lost_its_data_joins_again_catches_up_and_endorses(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.gateway("BankOne") as contract:
            await asyncio.gather(*(contract.submit("put", f"k{n}", "1") for n in range(30)))
        await world.peers.pop("Supervisor").stop(0)
        shutil.rmtree(world.home.node_settings("peer0.supervisor").parent / "data")
        await world.start_peer("Supervisor")
        assert dict(world.peers["Supervisor"].channels.joined) == {}
        assert world.package is not None
        admin = world.signer("Supervisor", "admin")
        genesis = world.home.genesis_block.read_bytes()
        install = lifecycle_pb2.InstallChaincodeArgs(
            chaincode_install_package=world.package.content
        )
        for chaincode, args in (
            ("cscc", [b"JoinChain", genesis]),
            ("_lifecycle", [b"InstallChaincode", install.SerializeToString()]),
        ):
            answer = await system(world, admin, "", chaincode, args, "Supervisor")
            assert answer.status == 200, answer.message
        await world.level()
        assert len({world.ledger(name).commit_hash for name in ORGANIZATIONS}) == 1
        # Its own copy of the approval is gone, as on a real peer; its public hash is enough.
        _, _, signed = proposal(world.signer("BankOne"), "put", ["a", "1"])
        assert (await endorse(world, "Supervisor", signed)).HasField("endorsement")
        # And `up` sees that nothing is to be approved or committed again.
        height = world.ledger("BankOne").height
        again = await lifecycle.bring_up(world.home, world.layout, world.package, lambda _: None)
        assert (again.sequence, again.changed) == (1, False)
        assert world.ledger("BankOne").height == height

    run(tmp_path, scenario)


def test_joining_asks_for_an_administrator_and_a_genesis_block(tmp_path: Path) -> None:
    async def main() -> None:
        world = make_world(tmp_path)
        await prepare(world)
        try:
            await world.start_peer("BankOne")
            admin, client = world.signer("BankOne", "admin"), world.signer("BankOne")
            other = world.signer("BankTwo", "admin")
            genesis = world.home.genesis_block.read_bytes()
            bare = common_pb2.Block.FromString(genesis)
            bare.ClearField("metadata")
            later = common_pb2.Block.FromString(genesis)
            later.header.number = 3
            rows = [
                (client, genesis, 500, "access denied for [JoinChain][payments]"),
                (admin, b"\xff\xff", 500, "Failed to reconstruct the genesis block"),
                (admin, b"", 500, "failed to extract channel id"),
                (admin, bare.SerializeToString(), 500, "no slot for validation flags"),
                (admin, later.SerializeToString(), 500, "not a genesis block"),
                (admin, genesis, 200, ""),
                (admin, genesis, 500, "already exists with state [ACTIVE]"),
            ]
            for signer, block, status, text in rows:
                answer = await system(world, signer, "", "cscc", [b"JoinChain", block])
                assert answer.status == status
                assert text in answer.message
            error = await failure(
                system(world, other, "", "cscc", [b"GetChannels"]), grpc.aio.AioRpcError
            )
            assert "creator org unknown" in error.details()
            answer = await system(world, client, "", "cscc", [b"GetChannels"])
            channels = query_pb2.ChannelQueryResponse.FromString(answer.payload).channels
            assert [item.channel_id for item in channels] == [CHANNEL]
        finally:
            await world.stop()

    asyncio.run(main())


def test_the_lifecycle_answers_what_was_done(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        admin, client = world.signer("BankOne", "admin"), world.signer("BankOne")
        assert world.package is not None

        async def ask(signer: Any, channel_id: str, function: str, **fields: Any) -> Any:
            message = getattr(lifecycle_pb2, f"{function}Args")(**fields)
            args = [function.encode(), message.SerializeToString()]
            return await system(world, signer, channel_id, "_lifecycle", args)

        def result(function: str, answer: Any) -> Any:
            assert answer.status == 200, answer.message
            return getattr(lifecycle_pb2, f"{function}Result").FromString(answer.payload)

        name = "QueryInstalledChaincodes"
        installed = result(name, await ask(admin, "", name)).installed_chaincodes
        assert [item.package_id for item in installed] == [world.package.id]
        references = installed[0].references[CHANNEL].chaincodes
        assert [(item.name, item.version) for item in references] == [("clearline", "0.1")]
        name = "QueryChaincodeDefinition"
        found = result(name, await ask(client, CHANNEL, name, name="clearline"))
        assert dict(found.approvals) == dict.fromkeys(ORGANIZATIONS, True)
        assert (await ask(client, CHANNEL, name, name="none")).status == 404
        name = "QueryApprovedChaincodeDefinition"
        approved = result(name, await ask(admin, CHANNEL, name, name="clearline"))
        assert approved.source.local_package.package_id == world.package.id
        name = "QueryApprovedChaincodeDefinitions"
        every = result(name, await ask(admin, CHANNEL, name)).approved_chaincode_definitions
        assert [(item.name, item.sequence, item.version) for item in every] == [
            ("clearline", 1, "0.1")
        ]
        assert every[0].source.local_package.package_id == world.package.id
        name = "CheckCommitReadiness"
        ready = result(
            name, await ask(client, CHANNEL, name, name="clearline", version="2", sequence=2)
        )
        assert dict(ready.approvals) == dict.fromkeys(ORGANIZATIONS, False)
        rows: list[tuple[Any, str, str, dict[str, Any], str]] = [
            (client, "", "QueryInstalledChaincodes", {}, "failed ACL check"),
            (client, CHANNEL, "ApproveChaincodeDefinitionForMyOrg", {}, "failed ACL check"),
            (admin, "", "InstallChaincode", {"chaincode_install_package": b"x"}, "gzip"),
            (
                admin, "", "InstallChaincode",
                {"chaincode_install_package": world.package.content}, "already successfully",
            ),
            (
                client, CHANNEL, "CommitChaincodeDefinition",
                {"name": "clearline", "version": "2", "sequence": 2},
                "not agreed to by this org (BankOne)",
            ),
            (
                client, CHANNEL, "CommitChaincodeDefinition",
                {"name": "clearline", "version": "2", "sequence": 5},
                "new definition must be sequence 2",
            ),
            (
                admin, CHANNEL, "ApproveChaincodeDefinitionForMyOrg",
                {"name": "bad name", "version": "1", "sequence": 1}, "invalid chaincode name",
            ),
            (
                admin, CHANNEL, "ApproveChaincodeDefinitionForMyOrg",
                {"name": "clearline", "version": "9", "sequence": 1}, "different parameters",
            ),
        ]  # fmt: skip
        for signer, channel_id, function, fields, text in rows:
            answer = await ask(signer, channel_id, function, **fields)
            assert answer.status == 500
            assert text in answer.message

    run(tmp_path, scenario)


def test_a_configuration_update_takes_effect_and_stays(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        assert (await world.order(world.batch_size_update(3))).status == 200
        async with world.gateway("BankOne") as contract:
            await asyncio.gather(*(contract.submit("put", f"k{n}", "1") for n in range(12)))
        await world.level()
        await world.peers.pop("BankTwo").stop(0)
        await world.start_peer("BankTwo")
        for node in world.peers.values():
            channel = node.channels.joined[CHANNEL]
            assert channel.bundle.orderer.batch_size.max_message_count == 3
            last = common_pb2.Block.FromString(channel.block(channel.height - 1))
            assert len(last.data.data) <= 3
        client = world.signer("BankTwo")
        block = await system(world, client, "", "cscc", [b"GetConfigBlock", b"payments"], "BankTwo")
        assert common_pb2.Block.FromString(block.payload).header.number > 0

    run(tmp_path, scenario)
