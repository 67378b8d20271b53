"""Where the committer notes what connectors report and blocks show, and the workers read it.

A file of its own beside the projection: it is no copy of the ledger, and means nothing after a
restart, so it is emptied when the committer starts and never synced. One that is torn is begun
anew.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearline import torn
from clearline.acquirer_health import Health, HealthReport
from clearline.logs import get_logger
from gateway.availability import UNLINKED, Backlog, Bounds, Heard, Judgement, Paced, judge

_FRESH: Final = 0.1  # seconds a worker may look at what it read before
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS reports (
    acquirer_id TEXT NOT NULL,
    connector TEXT NOT NULL,
    health TEXT NOT NULL,
    reason TEXT NOT NULL,
    depth INTEGER NOT NULL,
    heard_at REAL NOT NULL,
    PRIMARY KEY (acquirer_id, connector)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS backlogs (
    acquirer_id TEXT PRIMARY KEY,
    waiting INTEGER NOT NULL,
    pace REAL NOT NULL,
    noted_at REAL NOT NULL
) WITHOUT ROWID;
"""
_log = get_logger("clearline.gateway.link")


class HealthBoard:
    """The committer's side. Raises OSError when the file can't be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._connection, _ = torn.opened(path, _prepare)
        except sqlite3.Error as error:
            raise OSError(f"can't keep acquirers' health in {path}: {error}") from error
        self._last: dict[tuple[str, str], Health] = {}

    def note(self, report: HealthReport, now: float) -> None:
        """A connector's newest report, heard at `now` (time.monotonic). Raises OSError."""
        self._write(
            "INSERT OR REPLACE INTO reports VALUES (?, ?, ?, ?, ?, ?)",
            report.acquirer_id,
            report.connector,
            report.health.value,
            report.reason,
            report.depth,
            now,
        )
        name = (report.acquirer_id, report.connector)
        if self._last.get(name) is not report.health:
            self._last[name] = report.health
            fields = {"acquirer": name[0], "connector": name[1], "health": report.health.value}
            _log.info("an acquirer's health", extra=fields | {"reason": report.reason})

    def note_backlog(self, acquirer_id: str, backlog: Backlog, now: float) -> None:
        """What waits for an acquirer at `now` (time.monotonic). Raises OSError."""
        self._write(
            "INSERT OR REPLACE INTO backlogs VALUES (?, ?, ?, ?)",
            acquirer_id,
            backlog.waiting,
            backlog.pace,
            now,
        )

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def _write(self, statement: str, *row: object) -> None:
        try:
            try:
                self._connection.execute(statement, row)
            except sqlite3.DatabaseError as error:
                if not torn.is_torn(error):
                    raise
                # Who reported reports again soon: nothing is lost that would not be stale.
                self._connection.close()
                torn.condemn(self._path)
                self._connection, _ = torn.opened(self._path, _prepare)
                self._connection.execute(statement, row)
        except sqlite3.Error as error:
            raise OSError(f"can't note acquirers' health in {self._path}: {error}") from error


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = OFF")
    connection.executescript(_SCHEMA)
    connection.execute("DELETE FROM reports")
    connection.execute("DELETE FROM backlogs")


@dataclass(frozen=True, slots=True)
class _Board:
    """What was read."""

    heard: Mapping[str, list[Heard]]
    paced: Mapping[str, Paced]


class Availabilities:
    """The workers' side; safe to use from many threads."""

    def __init__(
        self, path: Path, bounds: Bounds, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._bounds = bounds
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._read_at = float("-inf")
        self._board = _Board({}, {})
        self._crowded: Mapping[str, Judgement] = {}

    def of(self, acquirer_id: str) -> Judgement:
        """How available an acquirer is now."""
        board = self._newest()
        return self._judged(board, acquirer_id) if acquirer_id in board.heard else UNLINKED

    def all(self) -> dict[str, Judgement]:
        """Every acquirer somebody reported."""
        board = self._newest()
        return {name: self._judged(board, name) for name in board.heard}

    def crowded(self) -> Mapping[str, Judgement]:
        """Those that take no more for what waits for them: of the last look, so that it costs
        nothing to ask this for each request."""
        self._newest()
        return self._crowded

    def _judged(self, board: _Board, name: str) -> Judgement:
        return judge(board.heard[name], self._clock(), self._bounds, board.paced.get(name))

    def _newest(self) -> _Board:
        if self._clock() - self._read_at < _FRESH:
            return self._board
        with self._lock:
            now = self._clock()
            if now - self._read_at >= _FRESH:
                board = self._board = self._read()
                judged = {
                    name: self._judged(board, name) for name in board.paced if name in board.heard
                }
                self._crowded = {name: one for name, one in judged.items() if one.crowded}
                self._read_at = now
        return self._board

    def _read(self) -> _Board:
        """What is on the board; what was read before when it can't be read, for it goes stale."""
        try:
            self._look_which_file()
            if self._connection is None:
                uri = f"{self._path.resolve().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(
                    uri, uri=True, isolation_level=None, check_same_thread=False
                )
            rows = self._connection.execute(
                "SELECT acquirer_id, health, reason, depth, heard_at FROM reports"
            ).fetchall()
            backlogs = self._connection.execute("SELECT * FROM backlogs").fetchall()
        except (sqlite3.Error, OSError):  # before the committer's first start there is no board
            self._forget()
            return self._board
        heard: dict[str, list[Heard]] = {}
        for name, health, reason, depth, heard_at in rows:
            heard.setdefault(name, []).append(Heard(Health(health), reason, depth, heard_at))
        paced = {row[0]: Paced(Backlog(row[1], row[2]), row[3]) for row in backlogs}
        return _Board(heard, paced)

    def _look_which_file(self) -> None:
        """One that was begun anew is another file: nothing is noted in the old one any more."""
        file = torn.identity(self._path)
        if file != self._file:
            self._forget()
            self._file = file

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
