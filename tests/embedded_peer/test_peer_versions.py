"""Version checks and what valid transactions leave: one row a rule, in memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import transaction_pb2
from hypothesis import given
from hypothesis import strategies as st

from network.embedded.peer import mvcc
from network.embedded.peer.commit_hash import commit_hash, update_bytes, version_bytes
from network.embedded.peer.rwset import NsRwSet, RangeQuery
from network.embedded.peer.statedb import Version, VersionedValue

NS = "cc"
VALID, MVCC, PHANTOM = mvcc.VALID, mvcc.MVCC_READ_CONFLICT, mvcc.PHANTOM_READ_CONFLICT


class Committed:
    """Committed state in a dictionary."""

    def __init__(self, items: dict[str, Version], metadata: bytes = b"") -> None:
        self.items = {
            (NS, key.encode()): VersionedValue(f"old {key}".encode(), metadata, version)
            for key, version in items.items()
        }

    def get(self, namespace: str, key: bytes) -> VersionedValue | None:
        return self.items.get((namespace, key))

    def scan(
        self, namespace: str, start: bytes, end: bytes
    ) -> Iterator[tuple[bytes, VersionedValue]]:
        for (name, key), item in sorted(self.items.items()):
            if name == namespace and key >= start and (not end or key < end):
                yield key, item


def one(public: Any) -> tuple[NsRwSet, ...]:
    return (NsRwSet(NS, public, ()),)


def reads(*entries: tuple[str, Version | None]) -> Any:
    message = kv_rwset_pb2.KVRWSet()
    for key, version in entries:
        read = message.reads.add(key=key)
        if version is not None:
            read.version.SetInParent()
            read.version.block_num, read.version.tx_num = version
    return message


def writes(*entries: tuple[str, str]) -> Any:
    message = kv_rwset_pb2.KVRWSet()
    for key, value in entries:
        message.writes.add(key=key, value=value.encode(), is_delete=not value)
    return message


def after(*sets: Any, state: Committed) -> mvcc.Updates:
    updates = mvcc.Updates()
    for index, public in enumerate(sets):
        mvcc.apply(one(public), (9, index), state, updates)
    return updates


STATE = Committed({"a": (1, 0), "b": (1, 1), "c": (2, 0), "d": (0, 0)})


@pytest.mark.parametrize(
    ("public", "earlier", "code"),
    [
        (reads(("a", (1, 0))), (), VALID),
        (reads(("a", (1, 1))), (), MVCC),
        (reads(("a", (2, 0))), (), MVCC),
        (reads(("a", None)), (), MVCC),
        (reads(("z", None)), (), VALID),
        (reads(("z", (1, 0))), (), MVCC),
        (reads(("d", (0, 0))), (), VALID),
        (reads(("d", None)), (), MVCC),
        (reads(("a", (1, 0))), (writes(("a", "new")),), MVCC),
        (reads(("a", (1, 0))), (writes(("a", "")),), MVCC),
        (reads(("z", None)), (writes(("z", "")),), MVCC),
        (reads(("a", (1, 0))), (writes(("b", "new")),), VALID),
        (writes(("a", "blind")), (writes(("a", "new")),), VALID),
    ],
)
def test_reads(public: Any, earlier: Sequence[Any], code: int) -> None:
    updates = after(*earlier, state=STATE)
    assert mvcc.check(one(public), STATE, updates) == code


def ranged(start: str, end: str, results: Sequence[tuple[str, Version]], exhausted: int) -> Any:
    query = RangeQuery(start, end, bool(exhausted))
    for key, version in results:
        query.results.add(key, version)
    message = kv_rwset_pb2.KVRWSet()
    message.range_queries_info.append(query.to_proto())
    return message


AB = [("a", (1, 0)), ("b", (1, 1))]


@pytest.mark.parametrize(
    ("query", "earlier", "code"),
    [
        (ranged("a", "c", AB, 1), (), VALID),
        (ranged("a", "c", AB[:1], 1), (), PHANTOM),
        (ranged("a", "c", [*AB, ("bb", (1, 1))], 1), (), PHANTOM),
        (ranged("a", "c", [("a", (1, 0)), ("b", (1, 2))], 1), (), PHANTOM),
        (ranged("a", "c", AB, 1), (writes(("bb", "new")),), PHANTOM),
        (ranged("a", "c", AB, 1), (writes(("b", "new")),), PHANTOM),
        (ranged("a", "c", AB, 1), (writes(("a", "")),), PHANTOM),
        (ranged("a", "c", AB, 1), (writes(("c", "new")),), VALID),
        (ranged("a", "c", AB, 1), (writes(("bb", "x")), writes(("bb", ""))), VALID),
        # Not exhausted: the end key itself was read, what comes behind it was not.
        (ranged("a", "b", AB, 0), (), VALID),
        (ranged("a", "b", AB, 0), (writes(("b", "new")),), PHANTOM),
        (ranged("a", "b", AB, 0), (writes(("bb", "new")),), VALID),
        (ranged("a", "b", AB[:1], 0), (), PHANTOM),
        (ranged("x", "z", [], 1), (), VALID),
        (ranged("x", "z", [], 1), (writes(("y", "new")),), PHANTOM),
        (ranged("", "", [*AB, ("c", (2, 0)), ("d", (0, 0))], 1), (), VALID),
    ],
)
def test_ranges(query: Any, earlier: Sequence[Any], code: int) -> None:
    updates = after(*earlier, state=STATE)
    assert mvcc.check(one(query), STATE, updates) == code


MANY = {f"k{number:04}": (number, 1) for number in range(2700)}


@pytest.mark.parametrize("count", [50, 51, 52, 101, 102, 103, 2601, 2602, 2700])
def test_long_ranges_are_compared_by_their_merkle_summary(count: int) -> None:
    results = list(MANY.items())[:count]
    state = Committed(dict(results))
    query = ranged("k", "l", results, 1)
    info = query.range_queries_info[0]
    assert info.HasField("reads_merkle_hashes") == (count > 50)
    assert mvcc.check(one(query), state, mvcc.Updates()) == VALID
    for key in (results[0][0], results[count // 2][0], results[-1][0]):
        changed = after(writes((key, "new")), state=state)
        assert mvcc.check(one(query), state, changed) == PHANTOM
        deleted = after(writes((key, "")), state=state)
        assert mvcc.check(one(query), state, deleted) == PHANTOM
    grown = after(writes(("k0000a", "new")), state=state)
    assert mvcc.check(one(query), state, grown) == PHANTOM


def test_a_forged_degree_is_a_conflict_and_not_an_end() -> None:
    query = kv_rwset_pb2.KVRWSet()
    query.range_queries_info.add(start_key="a").reads_merkle_hashes.max_degree = 1
    assert mvcc.check(one(query), STATE, mvcc.Updates()) == PHANTOM


@given(st.integers(0, 400), st.integers(0, 400))
def test_a_summary_holds_for_its_own_results_only(recorded: int, present: int) -> None:
    items = list(MANY.items())
    state = Committed(dict(items[:present]))
    query = ranged("k", "l", items[:recorded], 1)
    expected = VALID if recorded == present else PHANTOM
    assert mvcc.check(one(query), state, mvcc.Updates()) == expected


def metadata(*entries: tuple[str, dict[str, str]]) -> Any:
    message = kv_rwset_pb2.KVRWSet()
    for key, names in entries:
        write = message.metadata_writes.add(key=key)
        for name, value in names.items():
            write.entries.add(name=name, value=value.encode())
    return message


def merged(*parts: Any) -> Any:
    message = kv_rwset_pb2.KVRWSet()
    for part in parts:
        message.MergeFrom(part)
    return message


def stored(names: dict[str, str]) -> bytes:
    message = kv_rwset_pb2.KVMetadataWrite()
    for name, value in names.items():
        message.entries.add(name=name, value=value.encode())
    return bytes(message.SerializeToString())


OLD, NEW = stored({"p": "old"}), stored({"p": "new"})


@pytest.mark.parametrize(
    ("sets", "key", "value", "kept"),
    [
        ([writes(("a", "v"))], "a", b"v", OLD),
        ([writes(("z", "v"))], "z", b"v", b""),
        ([writes(("a", ""))], "a", None, b""),
        ([metadata(("a", {"p": "new"}))], "a", b"old a", NEW),
        ([metadata(("a", {}))], "a", b"old a", b""),
        ([metadata(("z", {"p": "new"}))], "z", "absent", b""),
        ([merged(writes(("a", "v")), metadata(("a", {"p": "new"})))], "a", b"v", NEW),
        ([merged(writes(("a", "v")), metadata(("a", {})))], "a", b"v", b""),
        ([merged(writes(("a", "")), metadata(("a", {"p": "new"})))], "a", None, b""),
        ([writes(("a", "v")), metadata(("a", {"p": "new"}))], "a", b"v", NEW),
        ([metadata(("a", {"p": "new"})), writes(("a", "v"))], "a", b"v", NEW),
        ([writes(("a", "")), metadata(("a", {"p": "new"}))], "a", None, b""),
        # Fabric adds its flags: two writes of one key in one set read as a metadata update.
        ([writes(("z", "1"), ("z", "2"))], "z", "absent", b""),
        ([writes(("a", "1"), ("a", "2"))], "a", b"old a", b""),
    ],
)
def test_what_a_write_leaves(sets: Sequence[Any], key: str, value: Any, kept: bytes) -> None:
    state = Committed({"a": (1, 0)}, OLD)
    item = after(*sets, state=state).get(NS, "", key.encode())
    if value == "absent":
        assert item is None
    else:
        assert item is not None
        assert (item.value, item.metadata) == (value, kept)


def test_hashed_reads_and_writes_stand_in_their_own_space() -> None:
    hashed = kv_rwset_pb2.HashedRWSet()
    hashed.hashed_reads.add(key_hash=b"k")
    hashed.hashed_writes.add(key_hash=b"k", value_hash=b"v")
    entry = (NsRwSet(NS, kv_rwset_pb2.KVRWSet(), (("coll", hashed, b""),)),)
    updates = mvcc.Updates()
    assert mvcc.check(entry, STATE, updates) == VALID
    mvcc.apply(entry, (9, 0), STATE, updates)
    assert mvcc.check(entry, STATE, updates) == MVCC
    assert updates.flatten() == {(f"{NS}$$hcoll", b"k"): VersionedValue(b"v", b"", (9, 0))}


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((0, 0), "0000"),
        ((1, 0), "010100"),
        ((255, 256), "01ff020100"),
        ((2**64 - 1, 1), "08ffffffffffffffff0101"),
    ],
)
def test_versions_in_the_commit_hash_are_order_preserving(version: Version, expected: str) -> None:
    assert version_bytes(version).hex() == expected


def test_update_bytes_name_a_namespace_once_and_leave_the_configuration_out() -> None:
    updates = mvcc.Updates()
    for namespace in ("b", "a", ""):
        updates.put(namespace, "", b"k2", VersionedValue(None, b"", (1, 0)))
        updates.put(namespace, "", b"k1", VersionedValue(b"v", b"", (1, 0)))
    updates.put("a", "c", b"h", VersionedValue(b"w", b"", (1, 0)))
    in_a = "0a0f 0a0161 1a026b31 2a0176 3203010100" + "0a0b 1a026b32 2001 3203010100"
    in_collection = "0a0e 120163 1a0168 2a0177 3203010100"
    in_b = "0a0f 0a0162 1a026b31 2a0176 3203010100" + "0a0b 1a026b32 2001 3203010100"
    assert update_bytes(updates).hex() == (in_a + in_collection + in_b).replace(" ", "")


def test_the_commit_hash_covers_flags_updates_and_the_one_before() -> None:
    empty = mvcc.Updates()
    code: int = transaction_pb2.TxValidationCode.MVCC_READ_CONFLICT
    hashes = {
        commit_hash(b"\0", empty, b""),
        commit_hash(bytes([code]), empty, b""),
        commit_hash(b"\0\0", empty, b""),
        commit_hash(b"\0", after(writes(("a", "v")), state=STATE), b""),
        commit_hash(b"\0", empty, b"x"),
    }
    assert len(hashes) == 5
