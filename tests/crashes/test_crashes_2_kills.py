"""kill -9 of orderer, peers and chaincode servers under load, and what must hold afterwards.

Nothing a client was told is lost, no block is half-applied, all peers stand level with one state
hash, every item is decided, and the network is back by itself (the bar: 5 s after any one kill).
"""

from __future__ import annotations

from statistics import median

import pytest
from crash_load import LIMITS
from crash_plan import ALONE
from crash_run import ALONE_TIMES, BAR_SECONDS, BUSY_SECONDS, Run, report
from ledger_audit import audit, replay

from network.embedded.peer.ledger import Ledger


def test_the_load_went_on_between_the_kills(crashed: Run) -> None:
    assert len(crashed.told) > 20 * len(crashed.recoveries)


def test_enough_was_killed(crashed: Run) -> None:
    assert crashed.killed >= crashed.planned
    assert all(len(found) >= ALONE_TIMES for found in crashed.alone().values()), report(crashed)


@pytest.mark.parametrize("kind", ALONE)
def test_the_network_came_back_by_itself_within_the_bar(crashed: Run, kind: str) -> None:
    """The median of each kind, for this machine may do other things; no round takes longer than
    BUSY_SECONDS."""
    found = crashed.alone()[kind]
    assert median(found) <= BAR_SECONDS, report(crashed)
    assert max(found) <= BUSY_SECONDS, report(crashed)


def test_what_was_in_flight_at_a_kill_was_sent_again(crashed: Run) -> None:
    """Otherwise no kill met a transaction on its way, and the run showed nothing."""
    assert crashed.resubmitted > 0, report(crashed)


def test_an_unknown_outcome_was_resolved_by_the_rule(crashed: Run) -> None:
    """The commit queue's: the same bytes until their fate is known, the same items anew after."""
    ledger = Ledger(crashed.network.peer_ledger(crashed.network.peers[0]))
    try:
        codes = {tx_id: found[2] for tx_id, found in replay(ledger).transactions.items()}
    finally:
        ledger.close()
    assert crashed.witness.broken(codes, LIMITS.resubmit_s) == []
    assert crashed.witness.resolved(codes) > 0, report(crashed)


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
