"""kill -9 of orderer, peers and chaincode servers under load, and what must hold afterwards.

Nothing a client was told is lost, no block is half-applied, all peers stand level with one state
hash, every item is decided, and the network is back by itself (the bar: 5 s after any one kill).
"""

from __future__ import annotations

from crash_run import RECOVERY_SECONDS, Run, report
from ledger_audit import audit


def test_the_load_went_on_between_the_kills(crashed: Run) -> None:
    assert len(crashed.told) > 20 * len(crashed.recoveries)


def test_the_network_came_back_by_itself(crashed: Run) -> None:
    slow = [entry for entry in crashed.recoveries if entry[1] > RECOVERY_SECONDS]
    assert not slow, report(crashed)


def test_every_item_was_decided(crashed: Run) -> None:
    """No unknown outcome is left, and nobody's item is refused for a crash."""
    assert crashed.refused == []
    assert len(crashed.told) == crashed.sent
    assert len({item.item_id for item in crashed.told}) == crashed.sent


def test_nothing_is_lost_or_half_done_and_all_peers_are_equal(crashed: Run) -> None:
    network = crashed.network
    findings, hashes = audit(
        {peer: network.peer_ledger(peer) for peer in network.peers},
        network.orderer_data(),
        network.topology.chaincode.name,
        crashed.told,
    )
    assert findings == []
    assert len(hashes) == 3
