"""Certificates, genesis blocks, orderers in this process or another, and clients over TLS."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import ab_pb2

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer
from network import genesis, identities, topology_file
from network.embedded import wire
from network.embedded.orderer import config as orderer_config
from network.embedded.orderer.node import OrdererNode
from network.home import Home
from network.topology import DEFAULT_TOPOLOGY

CHANNEL = "payments"
STATUS = common_pb2.Status
SEEK = ab_pb2.SeekInfo
_BROADCAST = "/orderer.AtomicBroadcast/Broadcast"
_DELIVER = "/orderer.AtomicBroadcast/Deliver"


@dataclass(frozen=True)
class World:
    """A home folder with crypto/, and the genesis block made from it."""

    home: Home
    genesis: bytes

    def signer(self, organization: str = "BankOne", user: str = "gateway") -> X509Signer:
        folder = self.home.user(organization, user) / "msp"
        return _signer(organization, folder)

    def node_signer(self, organization: str, node: str) -> X509Signer:
        return _signer(organization, self.home.node(organization, node) / "msp")

    def tls(self, organization: str = "BankOne", user: str = "gateway") -> wire.TlsIdentity:
        folder = self.home.user(organization, user) / "tls"
        return wire.TlsIdentity(
            (folder / "cert.pem").read_bytes(), (folder / "key.pem").read_bytes()
        )

    def seek(
        self,
        signer: X509Signer,
        start: str | int,
        stop: str | int,
        *,
        behavior: int = SEEK.BLOCK_UNTIL_READY,
        channel: str = CHANNEL,
        content: int = SEEK.BLOCK,
        tls: wire.TlsIdentity | None = None,
    ) -> bytes:
        """A signed seek, serialised, bound to the certificate that `client` connects with."""
        info = SEEK(
            start=position(start), stop=position(stop), behavior=behavior, content_type=content
        )
        envelope = protoutil.create_signed_envelope(
            common_pb2.HeaderType.DELIVER_SEEK_INFO,
            channel,
            signer,
            info.SerializeToString(),
            tls_cert_hash=wire.certificate_hash((tls or self.tls()).certificate),
        )
        return bytes(envelope.SerializeToString())

    def orderer_roots(self) -> bytes:
        return (self.home.organization("Supervisor") / "tlsca" / "cert.pem").read_bytes()

    def settings(self, folder: Path, block: bytes | None = None) -> orderer_config.OrdererConfig:
        """node.json of an orderer with its data in `folder`, written and read back."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "genesis.block").write_bytes(block or self.genesis)
        node = self.home.node("Supervisor", "orderer0")
        document = {
            "name": "orderer0",
            "msp_id": "Supervisor",
            "msp_dir": str(node / "msp"),
            "listen": "127.0.0.1:0",
            "tls": {
                "certificate": str(node / "tls" / "cert.pem"),
                "private_key": str(node / "tls" / "key.pem"),
                "client_roots": [str(node / "tls" / "ca.pem")],
            },
            "data_dir": "data",
            "genesis_block": "genesis.block",
        }
        (folder / "node.json").write_text(json.dumps(document))
        return orderer_config.load(folder / "node.json")

    @contextlib.asynccontextmanager
    async def orderer(
        self, folder: Path, block: bytes | None = None
    ) -> AsyncIterator[tuple[OrdererNode, "Client"]]:
        """An orderer in this process on a free port, and a client of it."""
        node = OrdererNode(self.settings(folder, block))
        try:
            await node.start()
            async with self.client(node.port) as client:
                yield node, client
        finally:
            await node.stop(0.2)

    @contextlib.asynccontextmanager
    async def client(self, port: int) -> AsyncIterator["Client"]:
        channel: Any = wire.channel(
            f"127.0.0.1:{port}", self.orderer_roots(), self.tls(), "orderer0"
        )
        try:
            yield Client(channel)
        finally:
            await channel.close()

    def reconfigured(self, change: Callable[[Any], None]) -> bytes:
        """The genesis block after `change` of its common.Config."""
        block = common_pb2.Block.FromString(self.genesis)
        envelope = common_pb2.Envelope.FromString(block.data.data[0])
        payload = common_pb2.Payload.FromString(envelope.payload)
        content = configtx_pb2.ConfigEnvelope.FromString(payload.data)
        change(content.config)
        payload.data = content.SerializeToString()
        envelope.payload = payload.SerializeToString()
        block.data.data[0] = envelope.SerializeToString()
        block.header.data_hash = protoutil.block_data_hash(block.data.data)
        return bytes(block.SerializeToString())


def _signer(msp_id: str, folder: Path) -> X509Signer:
    return X509Signer.from_files(
        msp_id, folder / "signcerts" / "cert.pem", folder / "keystore" / "key.pem"
    )


def make_world(root: Path) -> World:
    layout = topology_file.load(DEFAULT_TOPOLOGY)
    home = Home(root)
    identities.create(home, layout)
    return World(home, genesis.create(home, layout))


class Client:
    """Speaks orderer.AtomicBroadcast in raw bytes."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    async def broadcast(self, envelopes: Sequence[bytes]) -> list[Any]:
        """Send one after the other; answers the responses.

        After one that isn't SUCCESS nothing more is sent, and the stream must be at its end.
        """
        call = self.channel.stream_stream(_BROADCAST)()
        answers = []
        for raw in envelopes:
            await call.write(raw)
            answers.append(ab_pb2.BroadcastResponse.FromString(await call.read()))
            if answers[-1].status != STATUS.SUCCESS:
                assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
                return answers
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF  # type: ignore[attr-defined]
        return answers

    async def pipeline(self, envelopes: Sequence[bytes]) -> int:
        """Send all without waiting; answers how many were taken."""
        call = self.channel.stream_stream(_BROADCAST)()

        async def send() -> None:
            for raw in envelopes:
                await call.write(raw)
            await call.done_writing()

        sender = asyncio.create_task(send())
        taken = 0
        async for answer in call:
            taken += ab_pb2.BroadcastResponse.FromString(answer).status == STATUS.SUCCESS
        await sender
        return taken

    def deliver(self) -> Any:
        return self.channel.stream_stream(_DELIVER)()

    async def fetch(self, request: bytes) -> tuple[list[bytes], int]:
        """Blocks of one seek, and the status that ends it."""
        call = self.deliver()
        await call.write(request)
        blocks: list[bytes] = []
        while True:
            response = ab_pb2.DeliverResponse.FromString(await call.read())
            if response.WhichOneof("Type") == "status":
                call.cancel()
                return blocks, response.status
            blocks.append(response.block.SerializeToString())


def normal(
    signer: X509Signer, data: bytes = b"payment", channel: str = CHANNEL, kind: int = 3
) -> Any:
    """A signed envelope of a header type, by default ENDORSER_TRANSACTION."""
    return protoutil.create_signed_envelope(kind, channel, signer, data)


def position(where: str | int) -> Any:
    """A seek position: "oldest", "newest", "next_commit" or a block number."""
    result = ab_pb2.SeekPosition()
    if isinstance(where, int):
        result.specified.number = where
    else:
        getattr(result, where).SetInParent()
    return result


class OrdererProcess:
    """An orderer as its own process."""

    def __init__(self, settings: orderer_config.OrdererConfig, folder: Path, port: int) -> None:
        document = json.loads((folder / "node.json").read_text())
        document["listen"] = f"127.0.0.1:{port}"
        (folder / "node.json").write_text(json.dumps(document))
        self.settings = replace(settings, listen=document["listen"])
        with (folder / "orderer.log").open("ab") as log:
            command = [sys.executable, "-m", "network.embedded.orderer"]
            command += ["--config", str(folder / "node.json")]
            self.process = subprocess.Popen(command, stderr=log)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def terminate(self) -> int:
        self.process.terminate()
        return self.process.wait(10)
