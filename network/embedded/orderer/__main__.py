"""An orderer process: `python -m network.embedded.orderer --config node.json`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from clearline import garbage, logs
from clearline.fabric.identity import IdentityError
from network.embedded import wire
from network.embedded.channelconfig import ChannelConfigError
from network.embedded.orderer import config
from network.embedded.orderer.blocks import BlockError
from network.embedded.orderer.ledger import LedgerError
from network.embedded.orderer.node import OrdererNode
from network.embedded.settings import ConfigError

_log = logs.get_logger(__name__)
_START_ERRORS = (
    ConfigError,
    IdentityError,
    ChannelConfigError,
    BlockError,
    LedgerError,
    OSError,
)


def main() -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 1 otherwise."""
    parser = argparse.ArgumentParser(
        prog="python -m network.embedded.orderer",
        description="Run one orderer of the embedded engine.",
        epilog="Example: python -m network.embedded.orderer "
        "--config .clearline/nodes/orderer0/node.json",
    )
    parser.add_argument("--config", type=Path, required=True, help="the node's node.json")
    arguments = parser.parse_args()
    logs.configure()
    try:
        settings = config.load(arguments.config)
        return wire.run(_serve(settings))
    except _START_ERRORS as error:
        _log.error("orderer can't start: %s", error)
        return 1


async def _serve(settings: config.OrdererConfig) -> int:
    node = OrdererNode(settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await node.start()
        garbage.settle()
        failed = asyncio.create_task(node.failed())
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((failed, stopped), return_when=asyncio.FIRST_COMPLETED)
        status = 1 if failed.done() else 0
        failed.cancel()
        stopped.cancel()
        return status
    finally:
        await node.stop()


if __name__ == "__main__":
    sys.exit(main())
