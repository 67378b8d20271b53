"""`python -m network.embedded.peer --config node.json`: run one peer until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from clearline import garbage
from clearline.fabric.identity import IdentityError
from clearline.logs import configure, get_logger
from network.embedded import wire
from network.embedded.channelconfig import ChannelConfigError
from network.embedded.msp import MSPError
from network.embedded.peer.config import PeerConfig, load
from network.embedded.peer.ledger import LedgerError
from network.embedded.peer.node import PeerNode
from network.embedded.peer.packages import PackageError
from network.embedded.settings import ConfigError

_log = get_logger(__name__)
# Blocks are validated in a thread; with Python's 5 ms a waiting call would wait as long.
_SWITCH_SECONDS = 0.0005


async def _serve(config: PeerConfig) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    node = PeerNode(config)
    await node.start()
    garbage.settle()
    await stopped.wait()
    await node.stop()
    return 0


def main() -> int:
    """Answers the process's exit status: 0 after a signal, 1 when it can't start."""
    parser = argparse.ArgumentParser(
        prog="python -m network.embedded.peer",
        description="Run an embedded Fabric peer.",
        epilog="example: python -m network.embedded.peer --config nodes/peer0.bankone/node.json",
    )
    parser.add_argument("--config", type=Path, required=True, help="the node's node.json")
    arguments = parser.parse_args()
    configure()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        return wire.run(_serve(load(arguments.config)))
    except (
        ConfigError,
        IdentityError,
        MSPError,
        LedgerError,
        PackageError,
        ChannelConfigError,
        OSError,
    ) as error:
        _log.error("peer can't run: %s", error)
        return 1


if __name__ == "__main__":
    sys.exit(main())
