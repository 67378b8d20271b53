"""Which items may go next: first come first served per key, results before requests, owners in
turn.

Pure bookkeeping, no I/O. Each key has a line of the items that will write it; an item is ready
when it heads all its lines, and keeps its place while it is in flight. So items that share a key
are never in flight together, nor in one batch, and keep their order.
"""

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from clearline.fabric.queue_items import QueueItem


@dataclass(eq=False, slots=True)
class Entry:
    """A pending item and what the queue knows about it."""

    item: QueueItem
    seq: int
    ready_at: float = 0.0  # loop time at which it became ready
    stored: bool = False  # on stable storage, or in a write that will be
    alone: bool = False  # under suspicion: goes in a batch of its own
    failures: int = 0  # attempts that said not applied
    uncertain: bool = False  # an envelope of it may still be ordered
    resumed: bool = False  # in flight by a stored envelope, though it may not head its lines
    size: int = field(init=False, repr=False)  # bytes its payload adds to a batch
    _blocked: int = field(default=0, repr=False)

    def __post_init__(self) -> None:
        self.size = len(self.item.payload.encode())


class _Lane:
    """Ready entries of one function and priority: a heap by age for each owner, owners in turn."""

    def __init__(self) -> None:
        self._heaps: OrderedDict[str, list[tuple[int, Entry]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._heaps)

    def push(self, entry: Entry) -> None:
        """An owner that had nothing ready comes last."""
        heapq.heappush(self._heaps.setdefault(entry.item.owner, []), (entry.seq, entry))

    def head(self) -> Entry:
        """The oldest entry of the owner whose turn it is."""
        return next(iter(self._heaps.values()))[0][1]

    def pop(self) -> Entry:
        """Take the head; the next owner's turn comes."""
        owner, heap = self._heaps.popitem(last=False)
        entry = heapq.heappop(heap)[1]
        if heap:
            self._heaps[owner] = heap
        return entry


class ReadyQueue:
    """Lines of entries by key, lanes of ready entries by priority and function."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Entry]] = {}
        self._lanes: dict[tuple[int, str], _Lane] = {}
        self.ready_count = 0

    def add(self, entry: Entry, now: float) -> None:
        """A new entry joins the lines of its keys."""
        if self.hold(entry):
            self.put_back(entry, now)

    def hold(self, entry: Entry) -> bool:
        """As add, but an entry that heads all its lines counts as in flight: True then. One that
        is `resumed` counts so wherever it stands: an outcome that could not be stored leaves two
        envelopes of one key behind."""
        blocked = 0
        for key in dict.fromkeys(entry.item.keys):
            line = self._lines.setdefault(key, deque())
            line.append(entry)
            blocked += len(line) > 1
        entry._blocked = blocked
        return not blocked

    def put_back(self, entry: Entry, now: float) -> None:
        """An entry that heads all its lines is ready, for the first time or again; one that was
        resumed and doesn't yet waits until it does."""
        entry.resumed = False
        if entry._blocked:
            return
        entry.ready_at = now
        self._lanes.setdefault((entry.item.priority, entry.item.function), _Lane()).push(entry)
        self.ready_count += 1

    def release(self, entry: Entry, now: float) -> None:
        """An entry in flight is decided: it leaves its lines, which may ready others."""
        for key in dict.fromkeys(entry.item.keys):
            line = self._lines[key]
            if line[0] is not entry:
                if not entry.resumed:
                    raise AssertionError(f"{entry.item.item_id} doesn't head the line of {key}")
                line.remove(entry)
                continue
            line.popleft()
            if not line:
                del self._lines[key]
                continue
            line[0]._blocked -= 1
            if not line[0]._blocked and not line[0].resumed:
                self.put_back(line[0], now)

    def must_wait(self, entry: Entry) -> bool:
        """Whether another entry, which came before, is to be decided first."""
        return entry._blocked > 0

    def first(self) -> Entry | None:
        """The entry that goes next: of the functions, the one whose turn has waited longest."""
        heads = [(name[0], lane.head().seq, lane.head()) for name, lane in self._lanes.items()]
        return min(heads)[2] if heads else None

    def take(self, max_items: int, max_bytes: int) -> list[Entry]:
        """The next batch: one function, by priority, then owners in turn. At least one entry when
        any is ready, however large."""
        first = self.first()
        if first is None:
            return []
        taken: list[Entry] = []
        size = 0
        for name in sorted(name for name in self._lanes if name[1] == first.item.function):
            lane = self._lanes[name]
            while lane and len(taken) < max_items:
                entry = lane.head()
                if taken and (size + entry.size > max_bytes or entry.alone or taken[0].alone):
                    self.ready_count -= len(taken)
                    return taken
                taken.append(lane.pop())
                size += entry.size
            if not lane:
                del self._lanes[name]
        self.ready_count -= len(taken)
        return taken
