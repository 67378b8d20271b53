"""The ledger: order of keys of any length, history, snapshots, and a crash at any moment."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_writer import KEYS, commit_of

from network.embedded.peer.ledger import BlockCommit, Ledger, LedgerError
from network.embedded.peer.statedb import StateView, VersionedValue, _lmdb_key, encode_record


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path / "ledger")
    yield made
    made.close()


def _commit(ledger: Ledger, items: dict[tuple[str, bytes], bytes | None]) -> None:
    number = ledger.height
    ledger.commit(
        BlockCommit(
            number=number,
            header_hash=number.to_bytes(32, "big"),
            previous_hash=ledger.info.current_hash,
            block=b"%d" % number,
            commit_hash=b"",
            state={
                place: VersionedValue(value, b"", (number, 0)) for place, value in items.items()
            },
        )
    )


_keys = st.one_of(
    st.binary(max_size=8).map(lambda key: key.replace(b"\xff", b"")),
    st.tuples(
        st.sampled_from([440, 446, 447, 448, 449, 460]), st.text("aé\U0010ffff", max_size=60)
    ).map(lambda parts: b"p" * parts[0] + parts[1].encode()),
)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sets(_keys, max_size=25), _keys, _keys)
def test_ranges_come_in_byte_order_whatever_the_length(
    tmp_path_factory: pytest.TempPathFactory, keys: set[bytes], start: bytes, end: bytes
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    try:
        items: dict[tuple[str, bytes], bytes | None] = {("ac", b"k"): b"other"}
        items.update({("aa", key): b"other" for key in keys})
        items.update({("ab", key): key[:5] + b"!" for key in keys})
        _commit(ledger, items)
        with ledger.snapshot() as snapshot:
            found = [key for key, _ in snapshot.state.scan("ab", start, end)]
            expected = sorted(key for key in keys if key >= start and (not end or key < end))
            assert found == expected
            for key in keys:
                item = snapshot.state.get("ab", key)
                assert item is not None
                assert item.value == key[:5] + b"!"
    finally:
        ledger.close()


def test_long_keys_are_deleted_like_others(ledger: Ledger) -> None:
    long = b"k" * 2000
    _commit(ledger, {("cc", long): b"1", ("cc", long + b"x"): b"2"})
    _commit(ledger, {("cc", long): None})
    with ledger.snapshot() as snapshot:
        assert [key for key, _ in snapshot.state.scan("cc", b"", b"")] == [long + b"x"]


def test_a_snapshot_does_not_see_later_commits(ledger: Ledger) -> None:
    _commit(ledger, {("cc", b"k"): b"1"})
    with ledger.snapshot() as before:
        _commit(ledger, {("cc", b"k"): b"2"})
        with ledger.snapshot() as now:
            old, new = before.state.get("cc", b"k"), now.state.get("cc", b"k")
        assert old is not None
        assert new is not None
        assert (old.value, before.height()) == (b"1", 1)
        assert (new.value, ledger.height) == (b"2", 2)


def test_only_the_next_block_is_taken(ledger: Ledger) -> None:
    for number in (1, 5):
        with pytest.raises(LedgerError, match="is not next"):
            ledger.commit(commit_of(number, b""))
    ledger.commit(commit_of(0, b""))
    with pytest.raises(LedgerError, match="is not next"):
        ledger.commit(commit_of(0, b""))
    assert ledger.height == 1


def test_a_commit_that_fails_changes_nothing(ledger: Ledger) -> None:
    ledger.commit(commit_of(0, b""))
    broken = commit_of(1, b"")
    bad = BlockCommit(**{**broken.__dict__, "header_hash": b""})  # LMDB refuses an empty key
    with pytest.raises(LedgerError, match="can't be stored"):
        ledger.commit(bad)
    assert (ledger.height, ledger.block(1), ledger.tx_location("tx1")) == (1, None, None)
    ledger.commit(broken)
    assert ledger.height == 2


def test_the_first_appearance_of_an_id_stays_in_the_index(ledger: Ledger) -> None:
    ledger.commit(commit_of(0, b""))
    second = commit_of(1, b"")
    again = BlockCommit(**{**second.__dict__, "tx_ids": [("tx0", 0, 9), ("", 1, 255)]})
    ledger.commit(again)
    location = ledger.tx_location("tx0")
    assert location is not None
    assert (location.block, location.code) == (0, 0)


def test_transient_writes_stay_until_their_block(ledger: Ledger) -> None:
    ledger.put_transient("tx0", b"private")
    assert ledger.transient("tx0") == b"private"
    first = commit_of(0, b"")
    ledger.commit(BlockCommit(**{**first.__dict__, "spent": ["tx0"]}))
    assert ledger.transient("tx0") is None


def _check_whole(ledger: Ledger, acknowledged: int) -> None:
    """Everything of every block up to the height is there, nothing of a later one."""
    height = ledger.height
    assert height >= acknowledged
    expected = commit_of(height - 1, b"")
    assert ledger.commit_hash == expected.commit_hash
    assert ledger.info.current_hash == expected.header_hash
    with ledger.snapshot() as snapshot:
        assert snapshot.height() == height
        for key in range(KEYS):
            item = snapshot.state.get("cc", b"key%d" % key)
            assert item is not None
            assert (item.value, item.version) == (b"%d" % (height - 1), (height - 1, 0))
        newest_first = [block for block, _ in snapshot.history("cc", b"key0")]
        assert newest_first == list(range(height - 1, -1, -1))
    for number in range(height):
        assert ledger.block(number) == commit_of(number, b"").block
        assert ledger.block_number_by_hash(commit_of(number, b"").header_hash) == number
        assert ledger.tx_location(f"tx{number}") == (number, 0, 0)
    assert ledger.block(height) is None
    assert ledger.tx_location(f"tx{height}") is None


def test_after_a_kill_at_any_moment_the_ledger_stands_at_a_whole_block(tmp_path: Path) -> None:
    chance = random.Random(7)
    script = Path(__file__).parent / "ledger_writer.py"
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "ledger")],
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(chance.randrange(3, 30)):
            acknowledged = int(writer.stdout.readline())
        # The next commit is under way; where in it the kill lands is left to the machine.
        writer.kill()
        rest = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        if rest:
            acknowledged = int(rest[-1])
        ledger = Ledger(tmp_path / "ledger")
        try:
            _check_whole(ledger, acknowledged)
        finally:
            ledger.close()


class _Reads:
    """An LMDB transaction that says how often it was asked."""

    def __init__(self, found: dict[bytes, bytes]) -> None:
        self._found = found
        self.asked: list[bytes] = []

    def get(self, key: bytes, db: object) -> bytes | None:
        self.asked.append(key)
        return self._found.get(key)


def test_a_view_remembers_small_items_and_missing_ones() -> None:
    small = VersionedValue(b"v", b"m", (7, 300))
    large = VersionedValue(b"x" * 5000, b"", (1, 2))
    long_key = b"k" * 600
    items = {b"small": small, b"large": large, long_key: small}
    with_space = {b"ns\0" + key: item for key, item in items.items()}
    reads = _Reads({_lmdb_key(key): encode_record(key, item) for key, item in with_space.items()})
    view = StateView(reads, None)
    for _ in range(3):
        assert [view.get("ns", key) for key in items] == list(items.values())
        assert view.get("ns", b"none") is None
        assert view.get("other", b"small") is None
    counts = Counter(reads.asked)
    assert counts.pop(b"ns\0large") == 3, "a large item is read anew: it would fill the memory"
    assert set(counts.values()) == {1}


def test_a_view_remembers_a_bounded_number_of_items() -> None:
    reads = _Reads({})
    view = StateView(reads, None)
    for _ in range(2):
        for number in range(5000):
            assert view.get("ns", b"%d" % number) is None
    assert len(reads.asked) == 2 * 5000 - 4096
