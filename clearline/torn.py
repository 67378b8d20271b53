"""A daemon's SQLite file that is torn: kept aside for people, and begun anew, by itself.

Torn is what SQLite says of a file whose pages contradict each other, or that is no database: a
part of it was lost when the machine died. Everything these files hold is on the ledger, or is asked
about there and at the acquirer by whoever has lost his file (docs/faults.md). A file that can't be
read or written for another reason is never touched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from clearline.logs import get_logger

_TORN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_FAILING = frozenset({sqlite3.SQLITE_IOERR})
_HEADER = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat2.html, 1.3
_log = get_logger("clearline.torn")


def is_torn(error: BaseException) -> bool:
    """Whether SQLite says that the file is torn."""
    return _primary(error) in _TORN


def is_failing(error: BaseException) -> bool:
    """Whether the disk failed: nobody knows what of the file it holds until it is opened anew."""
    return _primary(error) in _FAILING


def condemn(path: Path) -> None:
    """The open file was found torn: whoever opens it next begins anew."""
    _mark(path).touch()


def identity(path: Path) -> tuple[int, int] | None:
    """Which file `path` names now, None for none: one that was begun anew is another. Raises
    OSError."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def opened(
    path: Path, prepare: Callable[[sqlite3.Connection], object]
) -> tuple[sqlite3.Connection, bool]:
    """A connection without transactions of its own, for any thread, that `prepare` has had; and
    whether the file was torn and is a new one. Nobody else may have it open to write.

    Raises sqlite3.Error, OSError, and what `prepare` raises.
    """
    if not _mark(path).exists():
        try:
            return _connect(path, prepare), False
        except sqlite3.DatabaseError as error:
            if not is_torn(error) or _foreign(path):
                raise
    _set_aside(path)
    return _connect(path, prepare), True


def _connect(path: Path, prepare: Callable[[sqlite3.Connection], object]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _foreign(path: Path) -> bool:
    """Whether it was never a database: somebody's file, which stays as it is."""
    with path.open("rb") as file:
        return file.read(len(_HEADER)) not in (_HEADER, bytes(len(_HEADER)))


def _set_aside(path: Path) -> None:
    # Its log first: it belongs to this file and to no other.
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    aside = Path(f"{path}.torn")
    if path.exists():
        path.replace(aside)
    _mark(path).unlink(missing_ok=True)
    _log.error("torn: it is begun anew", extra={"file": str(path), "kept": str(aside)})


def _mark(path: Path) -> Path:
    return Path(f"{path}.condemned")


def _primary(error: BaseException) -> int:
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
