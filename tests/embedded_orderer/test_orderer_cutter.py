"""Cutting blocks: Fabric's table, and what holds for any sequence of messages."""

from hypothesis import given
from hypothesis import strategies as st

from network.embedded.channelconfig import BatchSize
from network.embedded.orderer.cutter import Cutter, Message

LIMITS = BatchSize(max_message_count=3, absolute_max_bytes=100, preferred_max_bytes=10)

# sizes of messages -> sizes of the batches cut at each, and what is pending at the end
TABLE: list[tuple[list[int], list[list[list[int]]], int]] = [
    ([4], [[]], 1),
    ([4, 4], [[], []], 2),
    ([1, 1, 1], [[], [], [[1, 1, 1]]], 0),  # count reached
    ([6, 5], [[], [[6]]], 1),  # would overflow: cut before it
    ([5, 5], [[], []], 2),  # exactly the preferred size is no overflow
    ([11], [[[11]]], 0),  # too large: alone
    ([4, 11], [[], [[4], [11]]], 0),  # ... after what waited
    ([10, 1], [[], [[10]]], 1),
    ([4, 11, 4], [[], [[4], [11]], []], 1),
]


def test_fabrics_table() -> None:
    for sizes, expected, pending in TABLE:
        cutter = Cutter()
        cut = [
            [[m.size for m in batch] for batch in cutter.ordered(Message(b"", size), LIMITS)]
            for size in sizes
        ]
        assert (cut, cutter.pending) == (expected, pending), sizes


def test_one_message_a_block() -> None:
    single = BatchSize(max_message_count=1, absolute_max_bytes=100, preferred_max_bytes=10)
    cutter = Cutter()
    assert cutter.ordered(Message(b"a", 1), single) == ((Message(b"a", 1),),)
    assert cutter.cut() == ()


@given(
    st.lists(st.integers(0, 30), max_size=60),
    st.integers(1, 6),
    st.integers(1, 25),
)
def test_nothing_is_lost_reordered_or_too_large(
    sizes: list[int], count: int, preferred: int
) -> None:
    limits = BatchSize(count, 100, preferred)
    cutter = Cutter()
    messages = [Message(b"%d" % index, size) for index, size in enumerate(sizes)]
    batches: list[tuple[Message, ...]] = []
    for message in messages:
        cut = cutter.ordered(message, limits)
        assert len(cut) <= 2
        batches += cut
        assert cutter.pending < count
    rest = cutter.cut()
    assert [m for batch in [*batches, rest] for m in batch] == messages
    for batch in batches:
        assert batch
        assert len(batch) <= count
        assert len(batch) == 1 or sum(m.size for m in batch) <= preferred
