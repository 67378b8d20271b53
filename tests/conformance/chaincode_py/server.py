"""Serves the suite's chaincode with our shim: `python server.py settings.json`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from contract import Conformance

from chaincode.server import ChaincodeServer
from chaincode.settings import ServerSettings, TlsFiles


async def main(raw: dict[str, str]) -> None:
    tls = TlsFiles(Path(raw["certificate"]), Path(raw["key"]), Path(raw["client_ca"]))
    settings = ServerSettings(
        package=Path(raw["package"]),
        chaincode_id=raw["chaincode_id"],
        listen=raw["listen"],
        tls=tls,
        peer_names=(raw["peer"],),
        network=raw["network"],
    )
    server = ChaincodeServer(settings, Conformance(raw["organization"]))
    await server.start()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await stopping.wait()
    await server.stop()


asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))
