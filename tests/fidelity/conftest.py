"""Two networks with one history, each followed by a peer of the other kind. Needs FABRIC_BIN."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# The forger of envelopes and the differ of configurations are the nodes' own tests'.
for folder in ("embedded_orderer", "embedded_peer", "conformance", "fidelity"):
    sys.path.insert(0, str(Path(__file__).parent.parent / folder))

from fidelity_world import Follower, level, start, stop  # noqa: E402
from mischief_chaincode import Mischief  # noqa: E402
from transcript import play  # noqa: E402

from network.topology import Engine  # noqa: E402

# Another number plays another history.
SEED = int(os.environ.get("FIDELITY_SEED", "20261123"))


@pytest.fixture(scope="package", params=list(Engine), ids=["embedded", "fabric"])
def follower(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Follower]:
    """The history is played on a network of one engine; a peer of the other follows it."""
    root = tmp_path_factory.mktemp(f"fidelity-{request.param.value}")
    net = start(root / "home", request.param)
    try:
        with Mischief(net) as mischief, Follower(net, root / "follower") as follower:
            asyncio.run(_play_and_follow(follower, mischief))
            yield follower
    finally:
        stop(net.home)


async def _play_and_follow(follower: Follower, mischief: Mischief) -> None:
    net = follower.net
    async with asyncio.timeout(150):
        await mischief.deploy()
        await play(net, SEED)
        await follower.join()
        async with follower.administration() as peer:
            await mischief.install(peer)
        async with net.administration("BankTwo") as own, follower.administration() as other:
            await level([own, other])
