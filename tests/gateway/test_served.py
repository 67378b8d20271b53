"""Both processes as they run: gunicorn over TLS, the committer behind it, killed and restarted."""

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from helpers_gateway import (
    REGISTRY,
    Process,
    free_port,
    new_intent,
    record_name,
    signed,
    token,
    until,
    write_identity,
    write_settings,
)
from helpers_ledger import Ledger

from clearline import records
from clearline.fabric.profile import Profile


@dataclass
class Served:
    """A gateway of two processes over a ledger in this one."""

    ledger: Ledger
    committer: Process
    server: Process
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def session(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.folder / "cert.pem")
        return session

    def post(self, compact: str, session: requests.Session | None = None, **headers: str) -> Any:
        return (session or self.session()).post(
            f"{self.url}/v1/payments",
            data=compact,
            headers={"Content-Type": "application/jose"} | headers,
            timeout=20,
        )

    def get(self, path: str) -> Any:
        return self.session().get(self.url + path, headers=token(), timeout=20)

    def ready(self) -> bool:
        try:
            return bool(self.session().get(f"{self.url}/readyz", timeout=5).ok)
        except requests.ConnectionError:
            return False

    def raw(self, data: bytes) -> bytes:
        """What the server answers to these bytes over TLS."""
        context = ssl.create_default_context(cafile=str(self.folder / "cert.pem"))
        with (
            socket.create_connection(("127.0.0.1", self.port), 10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            wrapped.sendall(data)
            answer = b""
            while part := wrapped.recv(65_536):
                answer += part
                if b"\r\n\r\n" in answer and answer.endswith(b"}"):
                    break
            return answer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    write_identity(folder)
    ledger = Ledger(folder / "cert.pem", folder / "key.pem")
    port = free_port()
    path = write_settings(folder, ledger.peer.endpoint, port, commit_wait_s=3)
    ledger.use(Profile.load(folder / "profile.json"))
    for record in REGISTRY:
        ledger.write(records.record_key(*record_name(record)), records.dump(record))
    committer = Process(folder, "committer", "committer", "--config", str(path))
    server = Process(folder, "serve", "serve", "--config", str(path))
    committer.start()
    server.start()
    opened = Served(ledger, committer, server, folder, port)
    try:
        until(opened.ready, 20)
        yield opened
    finally:
        statuses = (server.stop(), committer.stop())
        ledger.close()
    assert statuses == (0, 0), (server.log.read_text(), committer.log.read_text())


def test_a_payment_over_tls(served: Served) -> None:
    intent = new_intent()
    posted = served.post(signed(intent))
    assert posted.status_code == 201, posted.text
    assert served.get(posted.headers["Location"]).json() == posted.json()


def test_many_at_once_over_kept_connections(served: Served) -> None:
    local = threading.local()

    def post(compact: str) -> int:
        if not hasattr(local, "session"):
            local.session = served.session()
        return int(served.post(compact, local.session).status_code)

    compacts = [signed() for _ in range(150)]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(post, compacts)) == [201] * 150
        assert list(pool.map(post, compacts)) == [200] * 150


def test_one_order_posted_by_many_at_once_is_one_payment(served: Served) -> None:
    intent, other = new_intent(), None
    other = new_intent(order_no=intent.order_no, amount=1)
    compacts = [signed(intent), signed(other)] * 10
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(served.post, compacts))
    digests = {answer.json()["intent_digest"] for answer in answers if answer.ok}
    assert len(digests) == 1
    assert {answer.status_code for answer in answers} <= {200, 201, 422}
    assert sum(answer.status_code == 422 for answer in answers) == 10
    assert served.get(f"/v1/payments/{intent.order_no}").json()["intent_digest"] in digests


def test_received_survives_kill_9_of_the_committer(served: Served) -> None:
    intents = [new_intent() for _ in range(5)]
    served.ledger.down()
    try:
        for intent in intents:
            assert served.post(signed(intent), Prefer="respond-async").status_code == 202
        served.committer.kill()
        refused = served.post(signed())
        assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
        assert refused.headers["Retry-After"] == "1"
        assert served.get(f"/v1/payments/{intents[0].order_no}").json()["status"] == "received"
    finally:
        served.ledger.up()
        served.committer.start()
    begun = time.monotonic()
    until(served.ready, 15)
    assert time.monotonic() - begun < 5
    until(lambda: all(served.ledger.holds(intent.key) for intent in intents))
    for intent in intents:
        assert served.post(signed(intent)).status_code == 200


def test_kill_9_under_load_contradicts_nothing(served: Served) -> None:
    intents = [new_intent() for _ in range(120)]
    killed = threading.Event()

    def post(place: int) -> int:
        if place == 40:
            served.committer.kill()
            served.committer.start()
            killed.set()
        return int(served.post(signed(intents[place])).status_code)

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(post, range(len(intents))))
    assert killed.is_set()
    assert set(statuses) <= {200, 201, 202, 503}
    assert 503 in statuses
    until(served.ready, 15)
    for intent, status in zip(intents, statuses, strict=True):
        if status == 503:
            assert served.post(signed(intent)).status_code in (200, 201)
    until(lambda: all(served.ledger.holds(intent.key) for intent in intents))
    assert max(served.ledger.peer.applied[records.payment_key(i.key)] for i in intents) == 1


def test_what_is_no_http_is_a_problem_too(served: Served) -> None:
    for data in (
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
        b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ):
        answer = served.raw(data)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b" 400 " in head.splitlines()[0], (data[:40], answer)
        assert b"application/problem+json" in head
        assert json.loads(body)["code"] == "malformed"


def test_a_chunked_body_is_held_to_the_limit(served: Served) -> None:
    answer = served.session().post(
        f"{served.url}/v1/payments",
        data=iter([b"x" * 10_000] * 4),
        headers={"Content-Type": "application/jose"},
        timeout=10,
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_old_tls_is_refused(served: Served) -> None:
    context = ssl.create_default_context(cafile=str(served.folder / "cert.pem"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", served.port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        assert wrapped.version() in ("TLSv1.2", "TLSv1.3")
    with socket.create_connection(("127.0.0.1", served.port), 10) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP/1.1 200")


def test_logs_have_ids_and_nothing_secret(served: Served) -> None:
    intent = new_intent()
    compact = signed(intent)
    served.post(compact)
    card = "4111111111111111"
    served.session().get(f"{served.url}/v1/payments/{card}", headers=token(), timeout=10)
    log = served.server.log.read_text() + served.committer.log.read_text()
    lines = [json.loads(line) for line in served.server.log.read_text().splitlines()]
    name = f"{intent.merchant_id}/{intent.order_no}/1"
    (answered,) = [line for line in lines if line.get("payment") == name]
    assert answered["status"] == 201
    assert answered["tx_id"] and answered["request_id"]
    assert compact not in log
    assert card not in log
    assert "tok_approve" not in log
    assert "Bearer" not in log
