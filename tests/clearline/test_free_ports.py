"""A port is given to one asker: side by side, after a spoilt note, and when few are left."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from clearline import free_ports, ports
from clearline.ports import PortError


@pytest.fixture
def note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which this test's choices are noted."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"clearline-ports-{os.getuid()}.json"


@pytest.fixture
def few(note: Path, monkeypatch: pytest.MonkeyPatch) -> range:
    """Three ports are all there are."""
    lowest = next(
        port for port in range(15_000, 32_000)
        if all(ports.available("127.0.0.1", port + more) for more in range(3))
    )  # fmt: skip
    monkeypatch.setattr(free_ports, "LOWEST", lowest)
    monkeypatch.setattr(free_ports, "HIGHEST", lowest + 3)
    return range(lowest, lowest + 3)


def test_askers_side_by_side_are_given_different_ones(note: Path) -> None:
    program = "from clearline import free_ports\nfor _ in range(100): print(free_ports.choose())"
    environment = os.environ | {"TMPDIR": str(note.parent)}
    askers = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
        for _ in range(4)
    ]
    given = [int(port) for asker in askers for port in asker.communicate(timeout=60)[0].split()]
    assert len(set(given)) == len(given) == 400
    assert {int(port) for port in json.loads(note.read_bytes())} == set(given)


def test_when_all_were_given_one_that_is_free_is_given_again(few: range, note: Path) -> None:
    assert sorted(free_ports.choose() for _ in few) == list(few)
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", few[0]))
        taker.listen()
        assert {free_ports.choose() for _ in range(20)} == set(few[1:])
        with pytest.raises(PortError, match="no free port between"):
            free_ports.choose(but=few[1:])


def test_what_was_given_long_ago_is_given_again(few: range, note: Path) -> None:
    now = time.time()
    note.write_text(json.dumps({few[0]: now, few[1]: now - 3600, few[2]: now + 3600}))
    assert {free_ports.choose(), free_ports.choose()} == set(few[1:])


@pytest.mark.parametrize("spoilt", [b"", b"{", b"\xff\xfe", b"[1]", b'{"a": 1}', b'{"1": null}'])
def test_a_spoilt_note_is_begun_anew(few: range, note: Path, spoilt: bytes) -> None:
    note.write_bytes(spoilt)
    port = free_ports.choose()
    assert [int(noted) for noted in json.loads(note.read_bytes())] == [port]


def test_without_a_note_it_is_left_to_chance(few: range, note: Path, tmp_path: Path) -> None:
    """Somebody else's file, or a link to one, is not written to."""
    other = tmp_path / "other"
    other.write_bytes(b"{}")
    note.symlink_to(other)
    assert free_ports.choose() in few
    assert other.read_bytes() == b"{}"
    note.unlink()
    note.mkdir()
    assert free_ports.choose() in few
