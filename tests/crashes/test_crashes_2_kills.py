"""kill -9 of orderer, peers and chaincode servers under load, and what must hold afterwards.

Nothing a client was told is lost, no block is half-applied, all peers stand level with one state
hash, every item is decided, and the network is back by itself (the bar: 5 s after any one kill).
"""

from __future__ import annotations

from statistics import median

from crash_load import LIMITS
from crash_plan import ALONE
from crash_run import BAR_SECONDS, Run, report
from ledger_audit import audit, replay

from network.embedded.peer.ledger import Ledger


def test_the_load_went_on_between_the_kills(crashed: Run) -> None:
    assert len(crashed.told) > 20 * len(crashed.recoveries)


def test_the_network_came_back_by_itself_within_the_bar(crashed: Run) -> None:
    """The median, for this machine may do other things; any one round has RECOVERY_SECONDS."""
    single = [seconds for names, seconds in crashed.recoveries if names in ALONE]
    assert single
    assert median(single) <= BAR_SECONDS, report(crashed)


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
