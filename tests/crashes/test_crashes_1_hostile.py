"""Clients that hold streams open, read slowly or not at all: an honest one hardly notices.

Real processes; each test compares an honest client before and during, and the victim's memory.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest
from crash_network import Network
from fabric_protos.common import common_pb2
from fabric_protos.orderer import ab_pb2

from clearline import supervisor
from clearline.fabric.contract import Contract
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import Profile
from clearline.fabric.protoutil import create_signed_envelope
from network import bringup
from network.embedded import limits, wire

_FACTOR, _SLACK_SECONDS = 4.0, 0.25
_MOST_GROWTH = 300 * 1024 * 1024


def memory(network: Network, name: str) -> int:
    """A process's resident bytes."""
    status = supervisor.status(network.home.run, bringup.GROUP)
    assert status is not None
    found = next(item.id for item in status.processes if item.name == name)
    assert found is not None
    return int(psutil.Process(found.pid).memory_info().rss)


@asynccontextmanager
async def honest(network: Network) -> AsyncIterator[Contract]:
    """A client of BankTwo's peer, the one that is attacked."""
    profile = Profile.load(network.home.profile("BankTwo", "gateway"))
    async with Gateway.connect(profile) as gateway:
        yield gateway.network(profile.channel).contract(profile.chaincode)


_count = iter(range(10**9))


async def commit(contract: Contract, account: str = "") -> None:
    """One item, committed; by default on an account of its own, for peers a block apart would
    answer two totals of a shared one and the endorsement would fail."""
    name = f"h{next(_count)}"
    item = {"id": name, "account": account or name, "amount": 1}
    await contract.submit("Add", json.dumps([item]))


async def latency(contract: Contract) -> float:
    """Median seconds of a commit."""
    took = []
    for _ in range(7):
        began = time.perf_counter()
        await commit(contract)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def dial(network: Network, node: str) -> Any:
    """BankOne's gateway user at BankTwo's peer, or at the orderer."""
    folder = network.home.user("BankOne", "gateway") / "tls"
    tls = wire.TlsIdentity((folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes())
    endpoints = {peer.name: (org.name, peer.endpoint) for org, peer in network.topology.peers()}
    for org, orderer in network.topology.orderers():
        endpoints[orderer.name] = (org.name, orderer.endpoint)
    organization, endpoint = endpoints[node]
    roots = network.home.organization(organization) / "tlsca" / "cert.pem"
    return wire.channel(endpoint, roots.read_bytes(), tls)


def seek(network: Network, first: int | None) -> bytes:
    """Everything from a block on, or from the next one when None."""
    folder = network.home.user("BankOne", "gateway") / "msp"
    signer = X509Signer.from_files(
        "BankOne", folder / "signcerts" / "cert.pem", folder / "keystore" / "key.pem"
    )
    message = ab_pb2.SeekInfo(behavior=ab_pb2.SeekInfo.BLOCK_UNTIL_READY)
    if first is None:
        message.start.next_commit.SetInParent()
    else:
        message.start.specified.number = first
    message.stop.specified.number = 2**64 - 1
    envelope = create_signed_envelope(
        common_pb2.HeaderType.DELIVER_SEEK_INFO,
        network.topology.channel.id,
        signer,
        message.SerializeToString(),
        tls_cert_hash=wire.certificate_hash((folder.parent / "tls" / "cert.pem").read_bytes()),
    )
    return bytes(envelope.SerializeToString())


@pytest.mark.parametrize(
    ("node", "method", "most"),
    [
        ("peer0.banktwo", "/protos.Deliver/Deliver", limits.DELIVER),
        ("orderer0", "/orderer.AtomicBroadcast/Broadcast", limits.ORDERER),
    ],
)
def test_thousands_of_streams_that_say_nothing(
    network: Network, node: str, method: str, most: int
) -> None:
    """As many as the limit are held, more are refused at once; the honest client goes on."""

    async def scenario() -> None:
        async with honest(network) as contract:
            before, held = await latency(contract), memory(network, node)
            channel = dial(network, node)
            held_calls: list[Any] = []
            try:
                async with asyncio.timeout(60):
                    await _fill(channel.stream_stream(method), most, held_calls)
                during = await latency(contract)
                assert during < _FACTOR * before + _SLACK_SECONDS, (before, during)
                assert memory(network, node) - held < _MOST_GROWTH
            finally:
                for call in held_calls:
                    call.cancel()
                await channel.close()
            await commit(contract)

    asyncio.run(scenario())


async def _fill(open_method: Any, most: int, held: list[Any]) -> None:
    """Open streams until one is refused for the limit, which is Fabric's words and status.

    A burst is also refused by gRPC itself, which keeps a bounded queue: those are tried again.
    """
    while True:
        held += [open_method() for _ in range(max(50, min(500, most - len(held))))]
        # The server answers nothing to those it holds, so nothing tells when it took the last.
        await asyncio.sleep(0.1)
        ended = [call for call in held if call.done()]
        held[:] = [call for call in held if not call.done()]
        for call in ended:
            if await call.code() is grpc.StatusCode.UNKNOWN:
                assert "exceeding concurrency limit" in await call.details()
                # The network's own streams count too, and others of this burst may be ending.
                assert len(held) > 0.9 * most
                return


def test_readers_that_never_read(network: Network) -> None:
    """Forty streams over all blocks whose client takes nothing: a block each, not the ledger."""

    async def scenario() -> None:
        async with honest(network) as contract:
            for number in range(16):
                await commit(contract, f"{number}" * 200_000)
            before = await latency(contract)
            held = memory(network, "peer0.banktwo")
            channels = [dial(network, "peer0.banktwo") for _ in range(4)]
            try:
                calls = []
                for number in range(40):
                    call = channels[number % 4].stream_stream("/protos.Deliver/Deliver")()
                    await call.write(seek(network, 0))
                    calls.append(call)
                # Each one is being served: its first block is here.
                for call in calls:
                    assert await call.read()
                during = await latency(contract)
                assert during < _FACTOR * before + _SLACK_SECONDS, (before, during)
                assert memory(network, "peer0.banktwo") - held < _MOST_GROWTH
            finally:
                for channel in channels:
                    await channel.close()
            await commit(contract)

    asyncio.run(scenario())


def test_waiting_readers_are_woken_without_a_stall(network: Network) -> None:
    """Hundreds wait for the next block; each commit wakes them all."""

    async def scenario() -> None:
        async with honest(network) as contract:
            channel = dial(network, "peer0.banktwo")
            try:
                calls = []
                for _ in range(200):
                    call = channel.stream_stream("/protos.Deliver/DeliverFiltered")()
                    await call.write(seek(network, None))
                    calls.append(call)
                reading = [asyncio.create_task(call.read()) for call in calls]
                async with asyncio.timeout(30):
                    while not all(task.done() for task in reading):
                        await commit(contract)
                assert all(task.result() for task in reading)
            finally:
                await channel.close()

    asyncio.run(scenario())
