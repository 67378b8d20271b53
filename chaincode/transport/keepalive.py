"""Notices a client that is gone, or never says what it came for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds to wait: for a connection's first words, for anything before we ask, for the answer.

    The last two are gRPC's keepalive, by which a peer that vanished is noticed.
    """

    preface: float = 10.0
    quiet: float = 60.0
    pong: float = 20.0


class Keepalive:
    """One connection's timer. Whoever reads sets `heard`, and `greeted` once the first words are
    said. It calls `ask` after a while without a word, `leave` when none comes upon that, and
    `each` at every turn in which the client was there."""

    def __init__(
        self,
        patience: Patience,
        ask: Callable[[], None],
        leave: Callable[[], None],
        each: Callable[[], None],
    ) -> None:
        self.heard = False
        self.greeted = False
        self._patience = patience
        self._ask = ask
        self._leave = leave
        self._each = each
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to wait for the first words."""
        self._timer = self._loop.call_later(self._patience.preface, self._unheard)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _unheard(self) -> None:
        if not (self.heard and self.greeted):
            self._leave()
            return
        self._again()

    def _quiet(self) -> None:
        if self.heard:
            self._again()
        else:
            self._ask()
            self._timer = self._loop.call_later(self._patience.pong, self._unheard)

    def _again(self) -> None:
        self._each()
        self.heard = False
        self._timer = self._loop.call_later(self._patience.quiet, self._quiet)
