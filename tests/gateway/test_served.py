"""Both processes as they run: gunicorn over TLS, the committer behind it, killed and restarted."""

import json
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from helpers_gateway import new_intent, routes, signed, token, until
from helpers_served import Served, open_served

from clearline import records
from clearline.acquirer_health import Health, HealthReport
from gateway.availability import Backlog
from gateway.health_board import HealthBoard
from gateway.settings import Settings


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with open_served(tmp_path_factory.mktemp("served")) as opened:
        yield opened


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


def test_a_post_to_a_crowded_acquirer_is_refused_without_a_thread(served: Served) -> None:
    known = new_intent()
    assert served.post(signed(known)).status_code == 201
    board = HealthBoard(Settings.load(served.folder / "settings.json").health_board)

    def crowd(waiting: int) -> None:
        now = time.monotonic()
        report = HealthReport(known.network, "unionpay", "c", Health.UP, "", 0)
        board.note(report, now)
        board.note_backlog("unionpay", Backlog(waiting, 10.0), now)

    def answered(session: requests.Session, status: int) -> bool:
        crowd(50 if status == 503 else 0)
        return bool(served.post(signed(), session).status_code == status)

    try:
        with served.session() as session:
            until(lambda: answered(session, 503))
            crowd(50)
            refused = served.post(signed(), session)
            assert (refused.status_code, refused.json()["code"]) == (503, "acquirer_unavailable")
            assert refused.json()["detail"].startswith("unionpay: 50 payments wait for it, 5.0 s")
            assert refused.headers["Retry-After"] == "2"
            # On the same connection: what is on the ledger, and what takes more than a glance.
            assert served.post(signed(known), session).status_code == 200
            assert served.post("a.b.c", session).json()["code"] == "malformed"
            elsewhere = signed(new_intent(acquirers=routes("unionpay", "second")))
            assert served.post(elsewhere, session).status_code == 201
            until(lambda: answered(session, 201))
    finally:
        board.close()
    # A line a second in the log, and none a refusal.
    until(lambda: '"crowded":' in served.server.log.read_text())


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


def test_a_client_that_waits_to_send_its_body_is_told_to(served: Served) -> None:
    compact = signed().encode()
    with served.tls(served.context()) as wrapped:
        head = b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose\r\n"
        wrapped.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(compact))
        assert wrapped.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wrapped.sendall(compact)
        assert wrapped.recv(100).startswith(b"HTTP/1.1 201 ")


def test_requests_in_a_row_are_answered_in_a_row(served: Served) -> None:
    one = b"GET /%s HTTP/1.1\r\nHost: x\r\n%s\r\n"
    last = b"Connection: close\r\n"
    answer = served.raw(one % (b"healthz", b"") * 20 + b"\r\n" + one % (b"v1/gateway", last), 21)
    assert answer.count(b"HTTP/1.1 200 OK") == 21
    assert answer.endswith(b"}")
    assert answer.rindex(b'"receipt_keys"') > answer.rindex(b'"alive"')


@pytest.mark.parametrize(
    ("rest", "status", "code"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed"),
        (b"Transfer-Encoding: 17\r\n\r\n", 400, "malformed"),
        (b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400, "malformed"),
        (b"Content-Length: 99999999\r\n\r\nabc", 413, "payload_too_large"),
        (b"Content-Length: 20000\r\n\r\n" + b"x" * 20_000, 413, "payload_too_large"),
        (b"A: " + b"x" * 40_000 + b"\r\n\r\n", 400, "malformed"),
        (b"A: " + b"x" * 40_000, 400, "malformed"),
    ],
    ids=[
        "no chunk",
        "a foreign coding",
        "a wrong chunk",
        "far too long",
        "too long",
        "a long head",
        "no end of a head",
    ],
)
def test_odd_bodies_are_problems_too(served: Served, rest: bytes, status: int, code: str) -> None:
    head = b"POST /v1/payments HTTP/1.1\r\nHost: x\r\nContent-Type: application/jose\r\n"
    answered, _, body = served.raw(head + rest).partition(b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body)["code"] == code


def test_old_tls_is_refused(served: Served) -> None:
    context = served.context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with served.tls(context) as wrapped:
        assert wrapped.version() in ("TLSv1.2", "TLSv1.3")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        served.tls(context).close()
    with served.tcp() as plain:
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
