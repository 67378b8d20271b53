"""A chaincode as small as a payment's: read the keys, refuse what is there, write the rest.

Served with our shim by `python payments_chaincode.py settings.json`; go/main.go is the same in Go
on Fabric's own shim.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvloop

from chaincode.server import ChaincodeServer
from chaincode.settings import ServerSettings, TlsFiles
from chaincode.shim.stub import Stub
from chaincode.shim.wire import Response
from clearline import garbage


@dataclass(frozen=True, slots=True)
class Pay:
    """Arguments of `Pay` transactions: 288-byte values under keys that no other load uses."""

    prefix: str
    per_transaction: int
    transactions: int

    function = "Pay"

    def make(self) -> list[str]:
        """One JSON argument a transaction."""
        value = json.dumps({"merchant": "M-0001", "amount": 2933, "fill": ""})
        value = value[:-2] + "x" * (288 - len(value)) + value[-2:]
        return [
            json.dumps(
                [
                    {"key": f"{self.prefix}/{first + number}", "value": value}
                    for number in range(self.per_transaction)
                ]
            )
            for first in range(0, self.per_transaction * self.transactions, self.per_transaction)
        ]


class Payments:
    """The chaincode."""

    async def invoke(self, stub: Stub) -> Response:
        """`Pay` with a JSON list of {"key", "value"}; answers a list of {"code"}."""
        if len(stub.args) != 2 or stub.args[0] != b"Pay":
            return Response(500, message="the only function is Pay, with one argument")
        items = orjson.loads(stub.args[1])
        before = await stub.get_states([item["key"] for item in items])
        outcomes = []
        for item, there in zip(items, before, strict=True):
            if there is not None:
                outcomes.append({"code": "duplicate"})
                continue
            stub.put_state(item["key"], item["value"].encode())
            outcomes.append({"code": "ok"})
        return Response(200, orjson.dumps(outcomes))


def load(path: Path) -> ServerSettings:
    """The settings that deployment.start wrote."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return ServerSettings(
        package=path,
        chaincode_id=raw["chaincode_id"],
        listen=raw["listen"],
        tls=TlsFiles(Path(raw["certificate"]), Path(raw["key"]), Path(raw["client_ca"])),
        peer_names=(raw["peer"],),
        network="bench",
    )


async def serve(settings: ServerSettings) -> None:
    """Serve until SIGTERM."""
    server = ChaincodeServer(settings, Payments())
    await server.start()
    garbage.settle()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop()


if __name__ == "__main__":
    uvloop.run(serve(load(Path(sys.argv[1]))))
