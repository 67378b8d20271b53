"""Fabric's own peer beside ours: same blocks, same answers, its command line. Needs FABRIC_BIN."""

import asyncio
import contextlib
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from fabric_protos.common import ledger_pb2
from fabric_protos.peer import proposal_response_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2
from forged_transactions import catalogue
from kv_chaincode import arguments
from peer_world import CHANNEL, ENDORSER, World, running
from real_peer import RealPeer, executable

from clearline import free_ports
from clearline.fabric import protoutil
from network.embedded import wire
from network.embedded.peer.endorsement_policies import member_policy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="FABRIC_BIN names no folder with a peer"),
]
ORGANIZATION = "BankTwo"


class Both:
    """The embedded peer of an organisation and a real one with its identity."""

    def __init__(self, world: World, real: RealPeer) -> None:
        self.world = world
        folder = world.home.user(ORGANIZATION, "admin") / "tls"
        tls = wire.TlsIdentity(
            (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
        )
        roots = (world.home.organization(ORGANIZATION) / "tlsca" / "cert.pem").read_bytes()
        self.real: Any = wire.channel(real.endpoint, roots, tls)
        self.ours = world.channel(ORGANIZATION)

    async def ask(self, channel: Any, signed: bytes) -> Any:
        """A ProposalResponse, or the text of a gRPC error; waits for a peer that is starting."""
        while True:
            try:
                raw = await channel.unary_unary(ENDORSER)(signed)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    return error.details()
                await asyncio.sleep(0.05)
                continue
            response = proposal_response_pb2.ProposalResponse.FromString(raw)
            response.endorsement.signature = b""  # ECDSA signs differently each time
            return response

    def sign(self, user: str, channel_id: str, chaincode: str, args: list[bytes]) -> bytes:
        signer = self.world.signer(ORGANIZATION, user)
        _, raw = protoutil.make_chaincode_proposal(channel_id, chaincode, args, signer.identity)
        return bytes(protoutil.sign_proposal(signer, raw).SerializeToString())

    async def system(self, channel_id: str, chaincode: str, *args: bytes) -> Any:
        """A system call on the real peer as administrator."""
        signed = self.sign("admin", channel_id, chaincode, list(args))
        return (await self.ask(self.real, signed)).response

    async def level(self) -> None:
        """Wait until the real peer has what ours have."""
        height = await self.world.level()
        while True:
            answer = await self.system(CHANNEL, "qscc", b"GetChainInfo", CHANNEL.encode())
            if ledger_pb2.BlockchainInfo.FromString(answer.payload).height >= height:
                return
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    free = [free_ports.choose() for _ in range(3)]
    async with asyncio.timeout(90), running(tmp_path / "home") as world:
        await transcript(world)
        real = RealPeer(world, ORGANIZATION, tmp_path / "real", free)
        real.start()
        pair = Both(world, real)
        try:
            genesis = world.home.genesis_block.read_bytes()
            joined = await pair.system("", "cscc", b"JoinChain", genesis)
            assert joined.status == 200, joined.message
            await pair.level()
            yield pair
        finally:
            await pair.real.close()
            await pair.ours.close()
            real.stop()


async def transcript(world: World) -> None:
    """Valid and invalid transactions of every kind."""
    policy = member_policy(["BankOne", "BankTwo"], 2).hex()
    async with world.gateway("BankOne") as contract:
        await contract.submit("batch", *(f"k{number:03}={number}" for number in range(120)))
        await contract.submit("batch", "a0=1", "a1=1", "x=1")
        await contract.submit("batch", "x=2", "a1=")
        await contract.submit("put", "locked", "1")
        await contract.submit("lock", "locked", policy)
        await contract.submit("put", "locked", "2")
        await contract.submit("span", "k", "l", "count")
        await contract.submit("delete", "k003")
        racing = [contract.submit("add", "n", "1") for _ in range(10)]
        racing += [contract.submit("put", "k050b", "1"), contract.submit("delete", "k010")]
        racing += [contract.submit("span", "k0", "k1", f"c{number}") for number in range(3)]
        await asyncio.gather(*racing, return_exceptions=True)
    peers = [world.node_signer("BankOne"), world.node_signer("BankTwo")]
    for name, forgery, _ in catalogue(world.signer("BankOne"), peers, world.signer("BankTwo")):
        # Fabric 3.1.5 panics on a transaction without actions before a valid one in its block
        # (validator_keylevel.go extractDependenciesForTx): ours gives it a code.
        if name != "no-action":
            await world.order(forgery.envelope())
    assert (await world.order(world.batch_size_update(7))).status == 200
    async with world.gateway("BankOne") as contract:
        await asyncio.gather(*(contract.submit("put", f"w{number}", "1") for number in range(20)))


def test_a_real_peer_commits_byte_identical_blocks(tmp_path: Path) -> None:
    async def main() -> None:
        async with both(tmp_path) as pair:
            ledger = pair.world.ledger("BankOne")
            for number in range(ledger.height):
                answer = await pair.system(
                    CHANNEL, "qscc", b"GetBlockByNumber", CHANNEL.encode(), b"%d" % number
                )
                assert answer.payload == ledger.block(number), number

    asyncio.run(main())


KV_CALLS = [
    "put z 1", "get a0", "get none", "add n 2", "delete a0", "span k l", "span k00 k02",
    "span y z", "span k l w", "page k l 3", "page k l 3 k050", "page k l 1000",
    "page_then_put q", "batch a=1 b= c=3", "many a0 none x", "history n", "history none",
    "status 200 ok", "status 399 ok", "status 400 bad", "status 404 bad", "status 500 bad",
    "status 700 bad", "status 0 odd", "locked a0", "locked locked", "put locked v", "rich",
    "nosuch",
]  # fmt: skip


def _lifecycle(function: str, **fields: Any) -> list[bytes]:
    message = getattr(lifecycle_pb2, f"{function}Args")(**fields)
    return [function.encode(), message.SerializeToString()]


def _system_calls() -> list[tuple[str, str, str, list[bytes]]]:
    approve, commit = "ApproveChaincodeDefinitionForMyOrg", "CommitChaincodeDefinition"
    rows = [
        ("admin", CHANNEL, "_lifecycle", _lifecycle(function, **fields))
        for function in (approve, commit)
        for fields in (
            {"name": "clearline", "version": "0.1", "sequence": 2},
            {"name": "new", "version": "1", "sequence": 1},
            {"name": "new", "version": "1", "sequence": 3},
            {"name": "new", "version": "", "sequence": 1},
            {"name": "new", "version": "1"},
            {"name": "cscc", "version": "1", "sequence": 1},
            {"name": "n w", "version": "1", "sequence": 1},
            {"name": "clearline", "version": "9", "sequence": 1},
        )
    ]
    rows += [
        ("gateway", CHANNEL, "qscc", [item.encode() for item in call.split()])
        for call in (
            "GetChainInfo payments", "GetBlockByNumber payments 3",
            "GetBlockByNumber payments 999", "GetBlockByNumber payments x",
            "GetBlockByHash payments x", "GetTransactionByID payments no",
            "GetBlockByTxID payments no", "GetChainInfo none", "GetChainInfo",
            "GetBlockByNumber payments", "Nothing payments 1",
            "GetBlockByNumber payments 18446744073709551615",
        )
    ]  # fmt: skip
    rows += [
        (user, "", "cscc", [item.encode() for item in call.split()])
        for user in ("admin", "gateway")
        for call in (
            "GetChannels", "GetConfigBlock payments", "GetConfigBlock none", "JoinChain garbage",
            "Nothing x", "GetConfigBlock", "GetChannelConfig none",
        )
    ]  # fmt: skip
    rows += [
        ("admin", CHANNEL, "_lifecycle", _lifecycle("QueryChaincodeDefinition", name="none")),
        ("admin", CHANNEL, "_lifecycle", _lifecycle("QueryChaincodeDefinitions")),
        ("admin", "", "_lifecycle", _lifecycle("QueryInstalledChaincode", package_id="none")),
        ("admin", "", "_lifecycle", [b"QueryInstalledChaincode", b"\xff"]),
        ("admin", "", "_lifecycle", [b"QueryInstalledChaincode"]),
        ("gateway", CHANNEL, "nowhere", [b"x"]),
        ("gateway", "elsewhere", "clearline", [b"x"]),
    ]
    return rows


def test_a_real_peer_answers_proposals_with_the_same_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with both(tmp_path) as pair:
            assert pair.world.package is not None
            install = _lifecycle(
                "InstallChaincode", chaincode_install_package=pair.world.package.content
            )
            answer = await pair.system("", "_lifecycle", *install)
            assert answer.status == 200, answer.message
            rows = _system_calls()
            for call in KV_CALLS:
                function, *rest = call.split()
                rows.append(("gateway", CHANNEL, "clearline", arguments(function, rest)))
            for user, channel_id, chaincode, args in rows:
                signed = pair.sign(user, channel_id, chaincode, args)
                real = await pair.ask(pair.real, signed)
                ours = await pair.ask(pair.ours, signed)
                assert ours == real, (user, channel_id, chaincode, args)

    asyncio.run(main())


def _command(world: World, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Fabric's `peer` against the embedded peer, as BankTwo's administrator."""
    program = executable()
    assert program is not None
    user = world.home.user(ORGANIZATION, "admin")
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "FABRIC_CFG_PATH": str(folder),
        "FABRIC_LOGGING_SPEC": "error",
        "CORE_PEER_ADDRESS": world.endpoint(ORGANIZATION),
        "CORE_PEER_LOCALMSPID": ORGANIZATION,
        "CORE_PEER_MSPCONFIGPATH": str(user / "msp"),
        "CORE_PEER_TLS_ENABLED": "true",
        "CORE_PEER_TLS_ROOTCERT_FILE": str(
            world.home.organization(ORGANIZATION) / "tlsca" / "cert.pem"
        ),
        "CORE_PEER_TLS_CLIENTAUTHREQUIRED": "true",
        "CORE_PEER_TLS_CLIENTCERT_FILE": str(user / "tls" / "cert.pem"),
        "CORE_PEER_TLS_CLIENTKEY_FILE": str(user / "tls" / "key.pem"),
    }
    return subprocess.run(
        [str(program), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_fabrics_own_command_works_against_an_embedded_peer(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path / "home") as world:
            await commands(world)

    async def commands(world: World) -> None:
        from real_peer import sample

        folder = tmp_path / "client"
        folder.mkdir()
        core = sample()
        assert core is not None
        (folder / "core.yaml").write_bytes(core.read_bytes())
        user = world.home.user(ORGANIZATION, "admin") / "tls"
        supervisor = world.layout.organization("Supervisor")
        roots = [
            str(world.home.organization(name) / "tlsca" / "cert.pem")
            for name in ("BankOne", "BankTwo", "Supervisor")
        ]
        orderer = [
            "-o", supervisor.orderers[0].endpoint, "--tls", "--cafile", roots[2],
            "--clientauth", "--certfile", str(user / "cert.pem"),
            "--keyfile", str(user / "key.pem"),
        ]  # fmt: skip
        peers = []
        for name, root in zip(("BankOne", "BankTwo"), roots, strict=False):
            peers += ["--peerAddresses", world.endpoint(name), "--tlsRootCertFiles", root]

        async def peer(*arguments: str) -> str:
            done = await asyncio.to_thread(_command, world, folder, *arguments)
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        assert CHANNEL in await peer("channel", "list")
        assert '"height":' in await peer("channel", "getinfo", "-c", CHANNEL)
        definition = ["-C", CHANNEL, "-n", "clearline"]
        assert "Version: 0.1" in await peer("lifecycle", "chaincode", "querycommitted", *definition)
        installed = await peer("lifecycle", "chaincode", "queryinstalled")
        assert world.package is not None
        assert world.package.id in installed
        call = '{"Args":["put","cli","1"]}'
        invoke = ["chaincode", "invoke", *orderer, *definition, "-c", call, *peers]
        await peer(*invoke, "--waitForEvent")
        query = '{"Args":["get","cli"]}'
        assert "1" in await peer("chaincode", "query", *definition, "-c", query)
        next_one = [*definition, "-v", "0.2", "--sequence", "2"]
        approve = ["lifecycle", "chaincode", "approveformyorg", *orderer, *next_one]
        await peer(*approve, "--package-id", world.package.id, "--waitForEvent")
        ready = await peer("lifecycle", "chaincode", "checkcommitreadiness", *next_one)
        assert "BankTwo: true" in ready
        assert "BankOne: false" in ready
        fetched = folder / "block"
        await peer("channel", "fetch", "newest", str(fetched), "-c", CHANNEL)
        assert fetched.stat().st_size > 0

    asyncio.run(main())
