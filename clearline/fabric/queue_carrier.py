"""What to do when a batch's attempt fails: again, split, wait, refuse the one bad item."""

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from clearline.fabric.errors import Outcome
from clearline.fabric.queue_batch import Applied, BatchRunner, NotApplied, Verdict
from clearline.fabric.queue_items import ItemRefused
from clearline.fabric.ready_queue import Entry
from clearline.logs import get_logger

_SHORTEST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_TRIES_TOGETHER = 3  # for a batch whose failure may pass by itself, before it is halved
_TRIES_REFUSED = 2  # for one item: a chaincode error may come from its peer
_TRIES_INVALID = 5  # for one item, before it is refused

_log = get_logger("clearline.fabric.queue")


class Sink(Protocol):
    """Where a carrier's items end: the commit queue."""

    def decide(self, entries: Sequence[Entry], verdict: Applied) -> None:
        """A batch is committed, or answered from committed state."""

    def refuse(self, entry: Entry, refusal: ItemRefused) -> None:
        """An item that stood alone is refused."""

    def put_back(self, entries: Iterable[Entry]) -> None:
        """These items wait again."""

    def forget(self, tx_id: str) -> None:
        """An envelope needn't be asked for any more; its items stay queued."""


@dataclass
class Pause:
    """Backs off while the ledger is away: all slots share it. until: loop time."""

    until: float = 0.0
    length: float = _SHORTEST_PAUSE_S

    def begin(self, now: float) -> None:
        """Another failure; those of batches that were already under way don't add up."""
        if now < self.until:
            return
        self.until = now + self.length * _jitter()
        self.length = min(2 * self.length, _LONGEST_PAUSE_S)

    def end(self) -> None:
        """The ledger answers."""
        self.until, self.length = 0.0, _SHORTEST_PAUSE_S


class BatchCarrier:
    """Brings each batch it is given to an end: decided, refused or put back."""

    def __init__(self, runner: BatchRunner, sink: Sink) -> None:
        self._runner = runner
        self._sink = sink
        self.pause = Pause()
        self.split_batches = 0

    async def carry(self, batch: list[Entry]) -> None:
        """Bring a batch to its end, splitting it where it must be."""
        parts = [batch] if batch else []
        while parts:
            part = parts.pop()
            try:
                verdict = await self._attempt(part)
            except Exception:
                _log.exception("a batch failed unexpectedly", extra={"items": len(part)})
                verdict = NotApplied("unavailable", "an unexpected error")
            if isinstance(verdict, Applied):
                self.pause.end()
                self._sink.decide(part, verdict)
            elif verdict.kind == "unavailable":
                _log.warning("the ledger is away", extra={"reason": verdict.reason})
                self.pause.begin(asyncio.get_running_loop().time())
                self._sink.put_back(part)
            elif len(part) == 1:
                self._single_failed(part[0], verdict)
            else:
                self.split_batches += 1
                fields = {"items": len(part), "reason": verdict.reason}
                _log.warning("splitting a batch", extra=fields)
                parts += reversed(_split(part, verdict))

    def failed(self, part: Sequence[Entry], verdict: NotApplied) -> None:
        """Forget the attempt's envelope; one that may yet be ordered leaves a mark."""
        if verdict.tx_id:
            self._sink.forget(verdict.tx_id)
        if verdict.kind == "expired":
            for entry in part:
                entry.uncertain = True

    async def _attempt(self, part: list[Entry]) -> Verdict:
        """Run a part, again where the failure may pass by itself."""
        tries = 0
        while True:
            verdict = await self._runner.run(part)
            if isinstance(verdict, Applied):
                return verdict
            self.failed(part, verdict)
            tries += 1
            if verdict.kind in ("unavailable", "refused") or tries >= _TRIES_TOGETHER:
                return verdict
            if verdict.kind != "expired":  # peers level, or the faster transaction is read
                await asyncio.sleep(_SHORTEST_PAUSE_S * 2**tries * _jitter())

    def _single_failed(self, entry: Entry, verdict: NotApplied) -> None:
        """One item alone: refuse it, or try again later without holding a slot."""
        entry.failures += 1
        limit = {"refused": _TRIES_REFUSED, "invalid": _TRIES_INVALID}.get(verdict.kind)
        if limit is not None and entry.failures >= limit:
            name = entry.item.item_id
            _log.error("item refused", extra={"item_id": name, "reason": verdict.reason})
            outcome: Outcome = "unknown" if entry.uncertain else "not_applied"
            self._sink.refuse(entry, ItemRefused(name, verdict.reason, verdict.tx_id, outcome))
            return
        entry.alone = True
        pause = min(_SHORTEST_PAUSE_S * 2 ** min(entry.failures, 10), _LONGEST_PAUSE_S)
        asyncio.get_running_loop().call_later(pause, self._sink.put_back, [entry])


def _split(part: list[Entry], verdict: NotApplied) -> list[list[Entry]]:
    """The item that the contract named and the others; two halves when it named none."""
    place = verdict.culprit
    if place is None or place >= len(part):
        middle = len(part) // 2
        return [part[:middle], part[middle:]]
    # It was refused once, in company: what it is told alone is the last word.
    part[place].failures += 1
    return [part[:place] + part[place + 1 :], [part[place]]]


def _jitter() -> float:
    """Two queues that met once should not meet again in step."""
    return random.uniform(0.75, 1.25)  # noqa: S311  not a secret
