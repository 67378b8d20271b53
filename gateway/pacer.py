"""Counts acquirers' backlogs in the committer and notes them where the workers look."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clearline.acquirer_health import HealthReport
from clearline.logs import get_logger
from gateway.health_board import HealthBoard
from gateway.pace import Backlogs
from gateway.projected import PaymentChange

_EVERY_S: Final = 0.1  # between two notes while blocks come
_log = get_logger("clearline.gateway.pacer")


class Pacer:
    """Told of each report and each block. Times by time.monotonic."""

    def __init__(self, board: HealthBoard, bound: float) -> None:
        """`bound`: seconds; see Backlogs."""
        self._board = board
        self._backlogs = Backlogs(bound)
        self._noted_at = float("-inf")
        self._failed = False

    def note(self, report: HealthReport, now: float) -> None:
        """A connector's newest report. Raises OSError when it can't be noted."""
        self._board.note(report, now)
        self._backlogs.heard(report.acquirer_id, report.under_way)
        self._note(report.acquirer_id, now)

    def applied(self, changes: Iterable[PaymentChange], now: float) -> None:
        """A block was applied to the projection. A full disk is no reason not to take it."""
        self._backlogs.applied(changes, now)
        if now - self._noted_at < _EVERY_S:
            return
        self._noted_at = now
        try:
            for acquirer_id in self._backlogs.acquirers:
                self._note(acquirer_id, now)
        except OSError as error:
            if not self._failed:
                _log.error("backlogs can't be noted", extra={"reason": str(error)})
            self._failed = True
        else:
            self._failed = False

    def _note(self, acquirer_id: str, now: float) -> None:
        self._board.note_backlog(acquirer_id, self._backlogs.of(acquirer_id), now)
