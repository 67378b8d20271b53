"""What a simulation reads and records: Fabric's read-write sets, byte order and oddities."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2

from network.embedded.peer.endorsement_policies import member_policy
from network.embedded.peer.ledger import BlockCommit, Ledger, Snapshot
from network.embedded.peer.rwset import RangeResults, RwSetBuilder
from network.embedded.peer.simulator import SimulationError, Simulator
from network.embedded.peer.statedb import VersionedValue

KEYS = [f"k{number:03}" for number in range(120)]
LOCK = member_policy(["BankOne"], 1)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    ledger = Ledger(tmp_path / "ledger")
    locked = kv_rwset_pb2.KVMetadataWrite()
    locked.entries.add(name="VALIDATION_PARAMETER", value=LOCK)
    state = {
        ("cc", key.encode()): VersionedValue(key.encode(), b"", (0, index))
        for index, key in enumerate(KEYS)
    }
    state["cc", b"locked"] = VersionedValue(b"v", locked.SerializeToString(), (0, 500))
    ledger.commit(
        BlockCommit(
            number=0, header_hash=b"h", previous_hash=b"", block=b"", commit_hash=b"", state=state
        )
    )
    made = Simulator(Snapshot(ledger), "tx")
    yield made
    made.done()
    ledger.close()


def public(simulator: Simulator, namespace: str = "cc") -> kv_rwset_pb2.KVRWSet:
    message = rwset_pb2.TxReadWriteSet.FromString(simulator.rwset.public_bytes())
    names = [entry.namespace for entry in message.ns_rwset]
    assert names == sorted(names)
    return kv_rwset_pb2.KVRWSet.FromString(message.ns_rwset[names.index(namespace)].rwset)


def test_reads_and_writes_are_sorted_and_there_is_no_read_your_own_writes(
    simulator: Simulator,
) -> None:
    simulator.set_state("cc", "z", b"1")
    simulator.set_state("cc", "a", b"2")
    assert simulator.get_state("cc", "z") == b""
    assert simulator.get_states("cc", ["k001", "k000"]) == [b"k001", b"k000"]
    found = public(simulator)
    assert [read.key for read in found.reads] == ["k000", "k001", "z"]
    assert found.reads[0].HasField("version")  # (0, 0) is an empty message, not a missing one
    assert not found.reads[2].HasField("version")
    assert [(item.key, item.value) for item in found.writes] == [("a", b"2"), ("z", b"1")]


def test_an_empty_value_is_a_delete(simulator: Simulator) -> None:
    simulator.set_state("cc", "k000", b"")
    assert public(simulator).writes[0].is_delete


@pytest.mark.parametrize("taken", [0, 1, 50, 51, 119, 120, 121])
def test_a_range_records_how_far_it_was_driven(simulator: Simulator, taken: int) -> None:
    items = simulator.range("cc", "k", "l")
    keys = [item[0] for item in (items.next() for _ in range(taken)) if item is not None]
    info = public(simulator).range_queries_info[0]
    assert keys == KEYS[:taken]
    assert info.itr_exhausted == (taken == 121)
    assert info.end_key == ("l" if taken == 121 else (keys[-1] if keys else ""))
    kind = "reads_merkle_hashes" if taken > 50 else "raw_reads" if taken else None
    assert info.WhichOneof("reads_info") == kind


def test_equal_ranges_are_recorded_once_and_keep_their_order(simulator: Simulator) -> None:
    for start, end in (("k01", "k02"), ("k00", "k01"), ("k01", "k02")):
        items = simulator.range("cc", start, end)
        while items.next() is not None:
            pass
    found = public(simulator).range_queries_info
    assert [(info.start_key, info.end_key) for info in found] == [("k01", "k02"), ("k00", "k01")]


def test_a_page_stops_where_it_is_full_and_names_the_next_key(simulator: Simulator) -> None:
    items = simulator.range_page("cc", "k", "l", 3)
    assert [item[0] for item in (items.next() for _ in range(3)) if item] == KEYS[:3]
    assert items.bookmark() == "k003"
    info = public(simulator).range_queries_info[0]
    assert (info.itr_exhausted, info.end_key) == (False, "k002")
    with pytest.raises(SimulationError, match="Writes are not allowed"):
        simulator.set_state("cc", "a", b"1")


def test_no_page_after_a_write(simulator: Simulator) -> None:
    simulator.set_state("cc", "a", b"1")
    with pytest.raises(SimulationError, match="read-only transaction"):
        simulator.range_page("cc", "", "", 1)


def test_nothing_goes_on_after_the_end(simulator: Simulator) -> None:
    simulator.done()
    for call in (
        lambda: simulator.get_state("cc", "a"),
        lambda: simulator.set_state("cc", "a", b"1"),
        lambda: simulator.range("cc", "", ""),
    ):
        with pytest.raises(SimulationError, match="Done"):
            call()


def test_the_interest_names_key_policies_and_whether_the_chaincodes_counts(
    simulator: Simulator,
) -> None:
    simulator.set_state("cc", "locked", b"1")
    simulator.get_state("_lifecycle", "x")
    alone = simulator.interest(frozenset({"_lifecycle"})).chaincodes
    assert [(call.name, call.disregard_namespace_policy) for call in alone] == [("cc", True)]
    assert [item.SerializeToString() for item in alone[0].key_policies] == [LOCK]
    simulator.set_state("cc", "free", b"1")
    both = simulator.interest(frozenset({"_lifecycle"})).chaincodes
    assert [(call.name, call.disregard_namespace_policy) for call in both] == [("cc", False)]


def test_private_writes_leave_hashes_in_public_and_nothing_else() -> None:
    builder = RwSetBuilder()
    builder.private_write("cc", "coll", "secret key", b"secret value")
    assert b"secret" not in builder.public_bytes()
    assert b"secret value" in builder.private_bytes()
    assert RwSetBuilder().private_bytes() == b""


def test_fifty_results_stay_raw_and_the_fifty_first_is_hashed() -> None:
    results = RangeResults()
    for key in KEYS[:50]:
        results.add(key, (1, 1))
    assert len(results.done()[0]) == 50
    more = RangeResults()
    for key in KEYS[:51]:
        more.add(key, (1, 1))
    raw, summary = more.done()
    assert raw == []
    assert summary is not None
    assert (summary.max_degree, summary.max_level, len(summary.hashes)) == (50, 1, 1)
