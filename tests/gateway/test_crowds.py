"""Crowds: clients that say nothing, or half of it, or hang on, hold nobody up and are closed in
the end; of more posts than the ledger takes the rest is refused at once and told when to come back.
And workers go with their master."""

import json
import resource
import selectors
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psutil
import pytest
from helpers_committer import HeldCommitter
from helpers_gateway import new_intent, signed, until
from helpers_served import Served, ended, open_served

from gateway.settings import Settings

WORKERS, THREADS = 2, 16  # see helpers_gateway.write_settings
SEATS = THREADS - 2
CROWD = 120  # of each kind of clients that hold threads up if they can
POSTS = 300
MOST = 450  # connections a worker keeps
PROMPT = 8.0  # seconds; far beyond what an answer takes
LINE = b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose\r\n"
BIG = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 40


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    limits = {
        "commit_wait_s": 15,
        "handshake_s": 4,
        "first_byte_s": 4,
        "request_s": 4,
        "connections": MOST,
    }
    try:
        with open_served(tmp_path_factory.mktemp("abused"), **limits) as opened:
            yield opened
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def assert_served(served: Served) -> None:
    """Health, a post and a read over new connections, promptly."""
    begun = time.monotonic()
    assert served.session().get(f"{served.url}/healthz", timeout=PROMPT).status_code == 200
    intent = new_intent()
    assert served.post(signed(intent)).status_code == 201
    assert served.get(f"/v1/payments/{intent.order_no}").status_code == 200
    assert time.monotonic() - begun < PROMPT


def assert_closed(crowd: list[socket.socket]) -> None:
    """The server lets go of each by itself."""
    for one in crowd:
        one.settimeout(20)
    assert all(ended(one) for one in crowd)


def test_crowds_that_stop_half_way_hold_nobody_up(served: Served) -> None:
    context = served.context()
    with ExitStack() as open_:
        crowd = [open_.enter_context(served.tcp()) for _ in range(CROWD)]
        half = [open_.enter_context(served.tcp()) for _ in range(CROWD)]
        for one in half:
            one.sendall(b"\x16\x03\x01")
        crowd += half
        assert_served(served)
        for said in (
            b"",
            b"GET /healthz HT",
            LINE,
            LINE + b"Content-Length: 900\r\n\r\nx",
            LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        ):
            for _ in range(CROWD):
                one = open_.enter_context(served.tls(context))
                if said:
                    one.sendall(said)
                crowd.append(one)
            assert_served(served)
        assert_closed(crowd)


def test_crowds_that_hang_on_after_their_answer_hold_nobody_up(served: Served) -> None:
    context = served.context()
    with ExitStack() as open_:
        for _ in range(CROWD):
            one = open_.enter_context(served.tls(context))
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert_served(served)
        for _ in range(CROWD):  # they ask for more than fits between, and read nothing of it
            plain = open_.enter_context(socket.socket())
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one = open_.enter_context(context.wrap_socket(plain, server_hostname="localhost"))
            one.connect(("127.0.0.1", served.port))
            one.sendall(BIG)
        assert_served(served)


def test_one_too_many_takes_the_place_of_one_that_says_nothing(served: Served) -> None:
    with ExitStack() as open_:
        polite = open_.enter_context(served.session())
        assert polite.get(f"{served.url}/healthz", timeout=PROMPT).status_code == 200
        for _ in range(2 * MOST + CROWD):
            open_.enter_context(served.tcp())
        assert_served(served)
        answered = polite.get(f"{served.url}/healthz", timeout=PROMPT)
        assert answered.status_code == 200
    # The log says, once a second, how many were dropped.
    until(lambda: '"connections":' in served.server.log.read_text())


@pytest.fixture
def held(served: Served) -> Iterator[HeldCommitter]:
    """In the committer's place, which comes back after it."""
    served.committer.stop()
    committer = HeldCommitter(Settings.load(served.folder / "settings.json").socket)
    try:
        yield committer
    finally:
        committer.close()
        served.committer.start()
        until(served.ready, 20)


def post(connection: ssl.SSLSocket) -> None:
    """Send a post and don't wait for its answer."""
    compact = signed(new_intent())
    connection.sendall(
        "POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose\r\n"
        f"Content-Length: {len(compact)}\r\n\r\n{compact}".encode()
    )


def answer(connection: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, body."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        assert part, "it closed instead of answering"
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65_536)
    return int(first.split()[1]), headers, body


def test_the_rest_is_refused_at_once_and_told_when_to_come_back(
    served: Served, held: HeldCommitter
) -> None:
    context = served.context()
    # What makes a socket readable is an answer then: TLS 1.3 sends tickets by the way.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with ExitStack() as open_:
        crowd = []
        for _ in range(POSTS):
            crowd.append(one := open_.enter_context(served.tls(context)))
            post(one)
        until(lambda: held.held == WORKERS * SEATS)
        # Reads and health have threads of their own.
        assert served.session().get(f"{served.url}/healthz", timeout=5).status_code == 200
        assert served.get("/v1/payments").status_code == 200
        # Nothing is committed before `release`: what is answered until then is refused, but for
        # the few threads beyond the seats, which have their posts stored instead.
        waiting = selectors.DefaultSelector()
        for one in crowd:
            waiting.register(one, selectors.EVENT_READ)
        answers: list[tuple[Any, int, dict[str, str], bytes]] = []
        while len(answers) < POSTS - WORKERS * SEATS:
            ready = waiting.select(10)
            assert ready, f"only {len(answers)} were answered"
            for key, _ in ready:
                waiting.unregister(key.fileobj)
                answers.append((key.fileobj, *answer(key.fileobj)))
        refused = [item for item in answers if item[1] == 503]
        for _, _, headers, body in refused:
            assert headers["content-type"] == "application/problem+json"
            assert headers["retry-after"] == "1"
            assert json.loads(body)["code"] == "overloaded"
        assert len(refused) > POSTS // 2
        assert {status for _, status, _, _ in answers} <= {202, 503}
        held.release()
        left = [key.fileobj for key in waiting.get_map().values()]
        assert [answer(one)[0] for one in left] == [201] * WORKERS * SEATS
        waiting.close()
        post(refused[0][0])  # its connection is as good as before
        assert answer(refused[0][0])[0] == 201
    metrics = served.session().get(f"{served.url}/metrics", timeout=10).text
    assert f'clearline_refusals_total{{code="overloaded"}} {float(len(refused))}' in metrics


def test_workers_are_gone_soon_after_their_master(served: Served, held: HeldCommitter) -> None:
    context = served.context()
    with ExitStack() as open_:
        for _ in range(4):  # they have something to do
            post(open_.enter_context(served.tls(context)))
        until(lambda: held.held == 4)
        assert served.server.pid is not None
        workers = psutil.Process(served.server.pid).children()
        assert len(workers) == WORKERS
        served.server.kill()
        _, alive = psutil.wait_procs(workers, timeout=5)
        assert not alive
    served.server.start()
    until(served.alive, 20)
    # It bound the port at its first try.
    assert "in use" not in served.server.log.read_text()
