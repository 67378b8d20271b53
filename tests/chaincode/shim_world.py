"""A chaincode server on a free port with the peers that a test wants, all over mutual TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chaincode_tls import Authority, Leaf
from fake_peer import FakePeer, serialized_identity

from chaincode.server import ChaincodeServer
from chaincode.settings import ServerSettings, TlsFiles
from chaincode.shim.stub import Chaincode, Stub
from chaincode.shim.wire import Response

PACKAGE_ID = "clearline:" + "0" * 64
Function = Callable[[Stub], Awaitable[bytes | Response]]


@dataclass
class Probe:
    """A contract made of a test's own functions, by name."""

    functions: dict[str, Function] = field(default_factory=dict)

    async def invoke(self, stub: Stub) -> Response:
        answer = await self.functions[stub.args[0].decode()](stub)
        return answer if isinstance(answer, Response) else Response(200, answer)


@dataclass
class House:
    """A running server and how to reach it."""

    port: int
    authority: Authority
    peer_leaf: Leaf
    creator: bytes
    peers: list[FakePeer] = field(default_factory=list)

    async def peer(self, leaf: Leaf | None = None, **kwargs: Any) -> FakePeer:
        """A peer with a stream that is ready."""
        peer = await FakePeer.connect(self.port, self.authority, leaf or self.peer_leaf, **kwargs)
        self.peers.append(peer)
        return peer


@asynccontextmanager
async def house(
    authority: Authority,
    folder: Path,
    chaincode: Chaincode,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    **changed: Any,
) -> AsyncIterator[House]:
    """Serve `chaincode`; the settings are the development network's with `changed`."""
    authority.write(folder, authority.leaf("chaincode.bankone"))
    settings = ServerSettings(
        package=folder / "clearline.tar.gz",
        chaincode_id=PACKAGE_ID,
        listen="127.0.0.1:0",
        tls=TlsFiles(folder / "cert.pem", folder / "key.pem", folder / "client_ca.pem"),
        peer_names=("peer0.bankone",),
        network="clearline-dev",
        **changed,
    )
    server = ChaincodeServer(settings, chaincode, clock)
    client = authority.leaf(
        "gateway@bankone", {"attrs": {"clearline.role": "gateway", "hf.Type": "client"}}
    )
    port = await server.start()
    found = House(
        port,
        authority,
        authority.leaf("peer0.bankone"),
        serialized_identity("BankOne", client.certificate),
    )
    try:
        yield found
    finally:
        for peer in found.peers:
            await peer.close()
        await server.stop()


def run(test: Coroutine[Any, Any, None]) -> None:
    """One test in an event loop of its own, bounded."""
    asyncio.run(asyncio.wait_for(test, 20))
