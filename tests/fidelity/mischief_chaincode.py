"""A second chaincode on the channel, which misbehaves as it is told: for both kinds of peer.

Run as a program it serves without TLS: mischief_chaincode.py PORT PACKAGE_ID
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).parent.parent / "embedded_peer"))

from kv_chaincode import KvChaincode

from clearline import free_ports

NAME = "mischief"
"""Any organisation's endorsement is enough for it."""
STRICT = "strict"
"""Needs everybody's; the same program, which nobody calls by this name."""


async def serve(port: int, package_id: str) -> None:
    chaincode = KvChaincode()
    chaincode.package_id = package_id
    await chaincode.start(port)
    await asyncio.Event().wait()


class Mischief:
    """The server of a network's second chaincode, and its package."""

    def __init__(self, net: Any) -> None:
        from chaincode_deployment import Server, _package

        port = free_ports.choose()
        package = _package(NAME, {"address": f"127.0.0.1:{port}", "dial_timeout": "5s"})
        words = (sys.executable, __file__, str(port), package.id)
        log = net.home.root / "mischief.log"
        self._net = net
        self.server = Server(words, ("127.0.0.1", port), package, log)

    def __enter__(self) -> Self:
        self.server.start()
        self.server.until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()

    async def deploy(self) -> None:
        """Install it at the network's peers, and define both names."""
        from chaincode_deployment import Definition, deploy

        home, topology = self._net.home, self._net.topology
        servers = [self.server for _ in topology.peers()]
        everybody = len(servers)
        await deploy(home, topology, servers, [Definition(NAME, 1), Definition(STRICT, everybody)])

    async def install(self, peer: Any) -> None:
        """Install it at one more peer, of an organisation that has approved it."""
        from chaincode_deployment import _install

        await _install(peer, self.server)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
