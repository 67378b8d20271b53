"""The same promises held against the system calls of the process, as strace saw them.

A promise's mark is written just before its bytes go to a socket, so a sync that returned before
the mark returned before the socket was written to.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Final

from promises import Promise, Store
from recorder import Kind

_WRITES: Final = frozenset({"write", "writev", "pwrite64", "pwritev"})
_SYNCS: Final = frozenset({"fsync", "fdatasync"})
_NAMES: Final = frozenset({"rename", "renameat", "renameat2", "link", "linkat"})
_CALLS: Final = ",".join(sorted({*_WRITES, *_SYNCS, *_NAMES, "openat"}))
_LINE: Final = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(.*)")
_DESCRIPTOR: Final = re.compile(r"\((\d+)<([^>]*)>")
_OPENED: Final = re.compile(r"= (\d+)<([^>]*)>$")
_TEXT: Final = re.compile(r'"([^"]*)"')


class Done(Enum):
    """What a system call did."""

    WROTE = auto()
    WROTE_SYNCED = auto()
    """Through a descriptor that syncs by itself (O_DSYNC), as LMDB writes its last page."""
    SYNCED = auto()
    RENAMED = auto()


@dataclass(frozen=True)
class Call:
    """A call that returned without an error, on a file or folder; `source`: of a rename."""

    done: Done
    path: str
    source: str = ""


def tracer(trace: Path) -> list[str]:
    """The beginning of a command line that traces the rest; empty where strace isn't or mayn't.

    Newer ones stop the process at the calls that are asked for only.
    """
    if shutil.which("strace") is None:
        return []
    for options in (["--seccomp-bpf"], []):
        made = ["strace", *options, "-f", "-y", "-s", "64", "-e", f"trace={_CALLS}", "-o"]
        tried = subprocess.run([*made, "/dev/null", "true"], capture_output=True, check=False)
        if tried.returncode == 0:
            return [*made, str(trace)]
    return []


def broken(lines: Sequence[str], promise: Promise) -> str:
    """What is wrong with the way a promise was made; empty when nothing is."""
    begin = _mark(lines, f"{Kind.BEGIN} {promise.name}")
    told = _mark(lines, f"{Kind.TOLD} {promise.name}")
    if begin is None or told is None:
        return "it was never made"
    opened = frozenset(_syncing(lines[:begin]))
    before = list(_calls(lines[begin:told], opened))
    if promise.store is Store.FILE:
        return _broken_file(before, promise.path)
    inner = "/data.mdb" if promise.store is Store.LMDB else "-wal"
    ours = [call for call in before if fnmatch(call.path, promise.path + inner)]
    written = [at for at, call in enumerate(ours) if call.done is not Done.SYNCED]
    if not written:
        return "nothing was stored before"
    if promise.store is Store.LMDB:
        # The pages, a sync, then the page that makes them count, which syncs by itself
        # (liblmdb, mdb_env_write_meta).
        between = Done.SYNCED in [call.done for call in ours[written[0] : written[-1]]]
        last = ours[-1].done in {Done.WROTE_SYNCED, Done.SYNCED}
        return "" if between and last else "what was stored was not synced"
    synced = sum(
        call.done is Done.SYNCED and before.done is Done.WROTE for before, call in pairwise(ours)
    )
    return "" if synced >= promise.commits else "what was stored was not synced"


def _broken_file(before: Sequence[Call], path: str) -> str:
    for at, call in enumerate(before):
        if call.done is Done.RENAMED and fnmatch(call.path, path):
            if Call(Done.SYNCED, call.source) not in before[:at]:
                return "the file was not synced before its rename"
            folder = Call(Done.SYNCED, str(PurePath(call.path).parent))
            return "" if folder in before[at:] else "the folder was not synced"
    return "nothing was stored before"


def _mark(lines: Sequence[str], text: str) -> int | None:
    return next((at for at, line in enumerate(lines) if f'"{text}\\n"' in line), None)


def _syncing(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Descriptors that sync by themselves, with their paths."""
    for _, line in _whole(lines):
        found = _OPENED.search(line)
        if found is not None and "O_DSYNC" in line:
            yield found[1], found[2]


def _calls(lines: Sequence[str], syncing: frozenset[tuple[str, str]]) -> Iterator[Call]:
    for name, line in _whole(lines):
        result = line.rpartition(" = ")[2]
        if result.startswith("-1"):
            continue
        if name in _NAMES:
            *_, source, target = _TEXT.findall(line)
            yield Call(Done.RENAMED, target, source)
        elif (found := _DESCRIPTOR.match(line)) is None:
            continue
        elif name in _SYNCS:
            yield Call(Done.SYNCED, found[2])
        elif name in _WRITES:
            itself = (found[1], found[2]) in syncing
            yield Call(Done.WROTE_SYNCED if itself else Done.WROTE, found[2])


def _whole(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name, and arguments with result, of each call when it returned; halves are put together."""
    halves: dict[str, str] = {}
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        process, name, rest = found.groups()
        if rest.endswith("<unfinished ...>"):
            halves[process] = rest.removesuffix("<unfinished ...>")
        elif rest.startswith(" resumed>"):
            yield name, halves.pop(process, "") + rest.removeprefix(" resumed>")
        else:
            yield name, rest
