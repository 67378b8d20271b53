"""Which items may go together: a table of the rules, and random schedules against them."""

from hypothesis import given
from hypothesis import strategies as st

from clearline.fabric.queue_items import QueueItem
from clearline.fabric.ready_queue import Entry, ReadyQueue


def _entry(
    seq: int,
    keys: str,
    *,
    priority: int = 1,
    function: str = "f",
    size: int = 1,
    owner: str = "",
) -> Entry:
    return Entry(QueueItem(f"i{seq}", function, "x" * size, tuple(keys), priority, owner), seq)


def _queue(*entries: Entry) -> ReadyQueue:
    ready = ReadyQueue()
    for entry in entries:
        ready.add(entry, 0.0)
    return ready


def _ids(entries: list[Entry]) -> list[str]:
    return [entry.item.item_id for entry in entries]


def test_by_age_up_to_the_number() -> None:
    ready = _queue(*(_entry(n, chr(97 + n)) for n in range(5)))
    assert _ids(ready.take(3, 100)) == ["i0", "i1", "i2"]
    assert _ids(ready.take(3, 100)) == ["i3", "i4"]
    assert ready.take(3, 100) == []


def test_results_before_requests() -> None:
    ready = _queue(_entry(0, "a"), _entry(1, "b", priority=0), _entry(2, "c", priority=0))
    assert _ids(ready.take(2, 100)) == ["i1", "i2"]


def test_owners_take_turns_each_by_age() -> None:
    ready = _queue(
        *(_entry(n, chr(97 + n), owner="A") for n in range(4)),
        _entry(4, "e", owner="B"),
        _entry(5, "f", owner="C"),
        _entry(6, "g", owner="B"),
        _entry(7, "h", owner="A", priority=0),
    )
    assert _ids(ready.take(5, 100)) == ["i7", "i0", "i4", "i5", "i1"]
    assert _ids(ready.take(5, 100)) == ["i6", "i2", "i3"]
    assert ready.ready_count == 0


def test_an_owner_whose_turn_it_is_keeps_it_over_a_batchs_end() -> None:
    ready = _queue(*(_entry(n, chr(97 + n), owner="AB"[n % 2]) for n in range(6)))
    assert [_ids(ready.take(1, 100)) for _ in range(4)] == [["i0"], ["i1"], ["i2"], ["i3"]]


def test_bytes_limit_but_never_an_empty_batch() -> None:
    ready = _queue(_entry(0, "a", size=50), _entry(1, "b", size=50), _entry(2, "c", size=500))
    assert _ids(ready.take(9, 99)) == ["i0"]
    assert _ids(ready.take(9, 99)) == ["i1"]
    assert _ids(ready.take(9, 99)) == ["i2"]


def test_bytes_are_counted_in_utf8() -> None:
    assert Entry(QueueItem("i", "f", '"é"', ()), 0).size == 4


def test_one_function_a_batch() -> None:
    ready = _queue(_entry(0, "a"), _entry(1, "b", function="g"), _entry(2, "c"))
    assert _ids(ready.take(9, 99)) == ["i0", "i2"]
    assert _ids(ready.take(9, 99)) == ["i1"]


def test_a_key_holds_the_next_until_released() -> None:
    first, second, third = _entry(0, "ab"), _entry(1, "bc"), _entry(2, "c")
    ready = _queue(first, second, third)
    assert _ids(ready.take(9, 99)) == ["i0"]
    ready.release(first, 0.0)
    assert _ids(ready.take(9, 99)) == ["i1"]
    ready.release(second, 0.0)
    assert _ids(ready.take(9, 99)) == ["i2"]


def test_a_later_item_does_not_pass_on_a_shared_key() -> None:
    """Even a result waits for the request of its own payment."""
    request, result = _entry(0, "a"), _entry(1, "a", priority=0)
    ready = _queue(request, result)
    assert _ids(ready.take(9, 99)) == ["i0"]
    ready.put_back(request, 0.0)
    assert _ids(ready.take(9, 99)) == ["i0"]
    ready.release(request, 0.0)
    assert _ids(ready.take(9, 99)) == ["i1"]


def test_a_suspect_goes_alone() -> None:
    suspect = _entry(1, "b")
    suspect.alone = True
    ready = _queue(_entry(0, "a"), suspect, _entry(2, "c"))
    assert [_ids(ready.take(9, 99)) for _ in range(3)] == [["i0"], ["i1"], ["i2"]]


def test_a_key_named_twice_is_one_key() -> None:
    entry = _entry(0, "aa")
    ready = _queue(entry)
    assert ready.take(9, 99) == [entry]
    ready.release(entry, 0.0)
    assert ready.take(9, 99) == []


@given(
    st.lists(st.tuples(st.sets(st.sampled_from("abcde"), max_size=3), st.integers(0, 1))),
    st.lists(st.integers(0, 3)),
)
def test_no_schedule_shares_a_key_and_none_is_forgotten(
    items: list[tuple[set[str], int]], steps: list[int]
) -> None:
    ready, flying, done = ReadyQueue(), list[Entry](), list[Entry]()
    waiting = [
        _entry(n, "".join(sorted(keys)), priority=priority)
        for n, (keys, priority) in enumerate(items)
    ]
    total = len(waiting)

    def step(kind: int) -> None:
        if kind == 0 and waiting:
            ready.add(waiting.pop(0), 0.0)
        elif kind == 1:
            flying.extend(ready.take(2, 100))
        elif kind == 2 and flying:
            ready.put_back(flying.pop(), 0.0)
        elif kind == 3 and flying:
            done.append(flying.pop(0))
            ready.release(done[-1], 0.0)
        keys = [key for entry in flying for key in entry.item.keys]
        assert len(keys) == len(set(keys))

    for kind in steps:
        step(kind)
    for _ in range(3 * total + 1):
        for kind in (0, 1, 3):
            step(kind)
    while flying:
        step(3)
        step(1)
    assert len(done) == total
    for key in "abcde":
        order = [entry.seq for entry in done if key in entry.item.keys]
        assert order == sorted(order)


def test_two_resumed_entries_of_one_key_are_decided_in_any_order() -> None:
    """An outcome that could not be stored leaves two envelopes of a key behind."""
    for first in (0, 1):
        ready = ReadyQueue()
        entries = [_entry(n, "a") for n in range(2)]
        for entry in entries:
            entry.resumed = True
            ready.hold(entry)
        ready.add(_entry(2, "a"), 0.0)
        ready.release(entries[first], 0.0)
        assert ready.take(9, 100) == []  # the other one is in flight
        ready.release(entries[1 - first], 0.0)
        assert _ids(ready.take(9, 100)) == ["i2"]


def test_a_resumed_entry_that_is_put_back_waits_for_its_turn() -> None:
    ready = ReadyQueue()
    first, second = _entry(0, "a"), _entry(1, "a")
    for entry in (first, second):
        entry.resumed = True
        ready.hold(entry)
    assert ready.must_wait(second)
    assert not ready.must_wait(first)
    ready.put_back(second, 0.0)
    assert ready.take(9, 100) == []
    ready.release(first, 0.0)
    assert _ids(ready.take(9, 100)) == ["i1"]
