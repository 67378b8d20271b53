"""A gateway's workers, which read what anybody sends, have no way to the ledger's nodes: in none of
them is gRPC loaded (DESIGN 5). Their committers have it."""

import sys
from pathlib import Path

import parties
import pytest
from parties import MERCHANT, OWNER
from security_world import World

from clearline import supervisor

GRPC = "cygrpc"  # the library that gRPC's calls are made by


def family(number: int) -> set[int]:
    """A process and all that it has forked."""
    children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
    return {number}.union(*(family(int(child)) for child in children))


def loads_grpc(number: int) -> bool:
    return GRPC in Path(f"/proc/{number}/maps").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows what a process has mapped")
def test_no_worker_has_loaded_grpc(world: World) -> None:
    """After requests of each kind, for what is loaded late."""
    status = supervisor.status(world.house.run_dir, "rooms")
    assert status is not None
    ids = {one.name: one.id.pid for one in status.processes if one.id is not None}
    for gateway, web in zip(world.house.gateways, world.web, strict=True):
        wanted = parties.intent()
        assert web.post(parties.item(wanted)["intent"], Prefer="wait=0").ok
        token = web.token(MERCHANT, OWNER)
        for path in ("/v1/payments", "/v1/settlements", "/v1/events", "/v1/gateway", "/metrics"):
            assert web.ask("GET", path, headers=token).ok
        server, committer = ids[gateway.name], ids[gateway.name.replace("gateway", "committer")]
        workers = family(server)
        assert len(workers) > 1
        assert [one for one in workers if loads_grpc(one)] == []
        assert loads_grpc(committer)
