"""Framing, lanes and deadlines of the HTTP server, each by itself."""

import os
import select
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.server.connection import Phase, Stream
from gateway.server.framing import Extent, Framing
from gateway.server.lanes import Kind, Lane, Place, Width, kind_of, widths
from gateway.server.table import Table

HEAD, BODY = 200, 50
LINE = b"POST /v1/payments HTTP/1.1\r\nHost: x\r\n"
CHUNKED = LINE + b"Transfer-Encoding: chunked\r\n\r\n"
MORE = b"GET / HTTP/1.1\r\n"


def with_length(text: bytes) -> bytes:
    return LINE + b"Content-Length: " + text + b"\r\n\r\n"


WHOLE = {
    "no body": LINE + b"\r\n",
    "a length": with_length(b"5") + b"abcde",
    "no length at all": with_length(b"0"),
    "the longest body": with_length(b"50") + b"x" * 50,
    "one more, to be refused by name": with_length(b"51") + b"x" * 51,
    "names in any case": LINE + b"cOnTent-LENGTH:5\r\n\r\nabcde",
    "chunks": CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
    "chunks that look like an end": CHUNKED + b"a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
    "no chunk": CHUNKED + b"0\r\n\r\n",
    "trailers": CHUNKED + b"1\r\na\r\n0\r\nA: b\r\nC: d\r\n\r\n",
}
ODD = {
    "a body that is too long": (with_length(b"52"), b"x" * 60),
    "a length that is none": (with_length(b"5x"), b""),
    "a negative length": (with_length(b"-1"), b""),
    "two lengths": (LINE + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", b"a"),
    "both": (LINE + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n"),
    "no chunk's size": (CHUNKED + b"zz\r\n", b""),
    "chunks without an end": (CHUNKED + b"ffffff\r\n" + b"x" * (BODY + 1), b""),
    "an endless chunk's line": (CHUNKED + b"1;" + b"x" * 8200, b""),
    "endless trailers": (CHUNKED + b"0\r\n" + b"x" * (HEAD + 1), b""),
}


@pytest.mark.parametrize("request_", WHOLE.values(), ids=WHOLE.keys())
@given(cut=st.integers(1, 400))
def test_a_request_ends_where_it_ends_however_it_comes(request_: bytes, cut: int) -> None:
    framing = Framing(HEAD, BODY)
    data = bytearray()
    for start in range(0, len(request_), cut):
        data += request_[start : start + cut]
        if len(data) < len(request_):
            assert framing.look(data) is None
    data += MORE
    assert framing.look(data) == Extent(len(request_))


@pytest.mark.parametrize(("head", "rest"), ODD.values(), ids=ODD.keys())
def test_what_is_odd_is_passed_on_and_ends_its_connection(head: bytes, rest: bytes) -> None:
    extent = Framing(HEAD, BODY).look(bytearray(head + rest))
    assert extent is not None
    assert not extent.whole
    assert extent.head


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_without_end_is_seen(end: bytes) -> None:
    extent = Framing(HEAD, BODY).look(bytearray(b"x" * (HEAD + 1) + end))
    assert extent is not None
    assert not extent.head


@pytest.mark.parametrize(
    ("said", "awaited"), [(b"", False), (b"Expect: 100-Continue\r\n", True)], ids=["no", "yes"]
)
def test_who_waits_to_send_a_body_is_known(said: bytes, awaited: bool) -> None:
    framing = Framing(HEAD, BODY)
    assert framing.look(bytearray(LINE + said + b"Content-Length: 5\r\n\r\n")) is None
    assert framing.awaited is awaited


def test_lanes_by_the_first_bytes() -> None:
    assert kind_of(b"GET /healthz HTTP") is Kind.HEALTH
    assert kind_of(b"GET /healthzz HTT") is Kind.READS
    assert kind_of(b"HEAD / HTTP/1.1") is Kind.READS
    assert {kind_of(word + b" /v1/webhooks/a") for word in (b"POST", b"PUT", b"DELETE", b"?")} == {
        Kind.WRITES
    }
    assert set(widths(3)) == set(Kind)


def test_a_lane_has_threads_then_a_line_then_refusals() -> None:
    lane = Lane[str](Width(threads=2, line=2, patience=1.0))
    places = [lane.enter(name, 0.0) for name in "abcde"]
    assert places == [Place.THREAD] * 2 + [Place.LINE] * 2 + [Place.REFUSED]
    assert lane.leave() == "c"
    assert lane.enter("f", 0.5) is Place.LINE
    assert lane.overdue(1.0) == []
    assert lane.overdue(1.1) == ["d"]
    assert lane.leave() == "f"
    assert (lane.leave(), lane.leave()) == (None, None)
    assert lane.enter("g", 2.0) is Place.THREAD


class At:
    """As much of a connection as the table looks at."""

    def __init__(self, held: int = 0) -> None:
        self.phase, self.deadline, self.held = Phase.GREETING, 0.0, held


def table() -> Table:
    return Table({Phase.GREETING: 5.0, Phase.SENDING: 10.0, Phase.IDLE: 75.0})


def new(of: Table, now: float, held: int = 0) -> Any:
    one: Any = At(held)
    of.add(one, now)
    return one


def late(of: Table, now: float) -> list[Any]:
    found = []
    for one in of.late(now):
        of.remove(one)
        found.append(one)
    return found


def test_each_phase_has_its_time_and_more_bytes_give_no_more() -> None:
    held = table()
    first, second, third = new(held, 0.0), new(held, 1.0), new(held, 2.0)
    held.move(second, Phase.SENDING, 3.0)
    held.move(third, Phase.ANSWERING, 3.0)
    assert late(held, 4.9) == []
    assert late(held, 5.1) == [first]
    held.move(second, Phase.SENDING, 12.0)
    assert late(held, 12.9) == []
    assert late(held, 13.1) == [second]
    assert late(held, 1e9) == []  # an answer takes as long as it takes
    assert len(held) == 1


def test_room_is_made_by_who_has_shown_least() -> None:
    held = table()
    idle, sending, older, newer = (new(held, 0.0) for _ in range(4))
    held.move(idle, Phase.IDLE, 0.0)
    held.move(sending, Phase.SENDING, 0.0)
    gone = []
    while (one := held.dispensable()) is not None:
        held.remove(one)
        gone.append(one)
    assert gone == [older, newer, sending, idle]


def test_the_largest_unfinished_request_is_known() -> None:
    held = table()
    sizes = [3, 9, 5]
    for size in sizes:
        held.move(new(held, 0.0, size), Phase.SENDING, 0.0)
    largest = held.largest()
    assert largest is not None
    assert (largest.held, held.held) == (9, 17)


def test_a_shorter_phase_is_shorter_for_those_in_it() -> None:
    held = table()
    one = new(held, 0.0)
    held.move(one, Phase.IDLE, 0.0)
    held.shorten(Phase.IDLE, 2.0, 10.0)
    assert late(held, 11.9) == []
    assert late(held, 12.1) == [one]


def test_a_stream_gives_one_request_and_keeps_the_answer() -> None:
    stream = Stream()
    stream.feed(b"abcde")
    assert (stream.recv(3), stream.unread) == (b"abc", True)
    assert (stream.recv(3), stream.unread, stream.recv(3)) == (b"de", False, b"")
    stream.sendall(b"x")
    stream.sendall(b"y")
    assert stream.answer == b"xy"


def test_a_child_goes_with_its_parent() -> None:
    program = (
        "import os, sys, time\n"
        "from gateway.server.tether import Tether\n"
        "tether = Tether()\n"
        "if os.fork():\n"
        "    sys.stdin.read()\n"
        "else:\n"
        "    tether.hold()\n"
        "    os.write(1, b'held')\n"
        "    time.sleep(30)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        assert os.read(parent.stdout.fileno(), 4) == b"held"
        parent.kill()
        # The child has the pipe's other end: the pipe ends when the child does.
        assert select.select([parent.stdout], [], [], 10)[0]
        assert parent.stdout.read() == b""
