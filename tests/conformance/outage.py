"""Nodes that are killed and stay away until they are let back."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psutil
from conformance_world import SECONDS, Network

from clearline import supervisor
from network import bringup


@contextmanager
def away(network: Network, names: Collection[str]) -> Iterator[None]:
    """Kill these processes; whoever would start them again stands still until the end."""
    status = supervisor.status(network.home.run, bringup.GROUP)
    assert status is not None
    keeper = psutil.Process(status.supervisor.pid)
    keeper.suspend()
    try:
        _until(keeper, psutil.STATUS_STOPPED)
        for process in status.processes:
            if process.name in names:
                assert process.id is not None
                killed = psutil.Process(process.id.pid)
                killed.kill()
                _until(killed, psutil.STATUS_ZOMBIE)  # its sockets are closed; nobody reaps it
        yield
    finally:
        keeper.resume()


def _until(process: psutil.Process, status: str) -> None:
    deadline = time.monotonic() + SECONDS
    while process.status() != status:
        assert time.monotonic() < deadline, f"{process} is not {status}"
        time.sleep(0.005)  # another process's doing


def orderers(network: Network) -> list[str]:
    return [orderer.name for _, orderer in network.topology.orderers()]


def other_peers(network: Network) -> list[str]:
    """All but BankOne's."""
    return [peer.name for owner, peer in network.topology.peers() if owner.name != "BankOne"]
