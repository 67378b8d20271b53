"""The wallet's adapter against a wallet that misbehaves, over real sockets; messages as tables."""

import asyncio
import hashlib
import http.client
import json
import secrets
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from acquirers.qr_wallet.create import create
from clearline.statuses import Reason
from connector.adapter import Answer, Heard, NoAnswerError, NotSentError, Order, Verdict
from connector.qr_wallet import messages
from connector.qr_wallet.adapter import NoticePlace, QrWalletAdapter, Timing, load_partner
from connector.qr_wallet.wire import Native
from connector.settings import SettingsError

ORDER = Order(
    "0a" * 20, 2933, "CNY", "QRW0000000001", "tok_approve", "5411", "T1", "dynamic_qr",
    "2099-01-01T00:00:00.000Z",
)  # fmt: skip
VIEW: dict[str, Any] = {
    "reference": ORDER.reference, "state": "waiting", "wallet_no": "W1", "amount": 2933,
    "currency": "CNY", "merchant_code": "QRW0000000001", "merchant_name": "SHOP", "mcc": "5411",
    "payer_token": "tok_approve", "pay_url": f"https://pay/{ORDER.reference}",
}  # fmt: skip
PAID = VIEW | {"state": "paid", "clearing_route": "R", "clearing_date": "2026-11-23"}


def signature(
    key: Ed25519PrivateKey, kind: str, subject: str, body: bytes, at: float | None = None
) -> dict[str, str]:
    """Headers as the wallet makes them."""
    mark = (str(int(time.time() if at is None else at)), secrets.token_hex(16))
    digest = hashlib.sha256(body).hexdigest()
    text = "\n".join(("QRW1", kind, subject, *mark, digest)).encode()
    return {"Qrw-Time": mark[0], "Qrw-Nonce": mark[1], "Qrw-Signature": key.sign(text).hex()}


@dataclass
class Rogue:
    """A wallet whose answers a test makes: `answer(status, nonce, body)` -> headers, body sent."""

    folder: Path
    key: Ed25519PrivateKey
    answer: Callable[[int, str, bytes], tuple[dict[str, str], bytes] | None]
    seen: list[str]


@contextmanager
def rogue(folder: Path) -> Iterator[Rogue]:
    """Listens where partner.json says; signs as it should until a test changes `answer`."""
    create(folder, "127.0.0.1", 0, "clearline-test")
    key = load_pem_private_key((folder / "wallet-key.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)

    def honest(status: int, nonce: str, body: bytes) -> tuple[dict[str, str], bytes]:
        return signature(key, "answer", f"{status} {nonce}", body), body

    made = Rogue(folder, key, honest, [])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps({"name": "rogue"} if self.path == "/v1/ping" else VIEW).encode()
            self.reply(200, body, honest if self.path == "/v1/ping" else made.answer)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply(201, json.dumps(VIEW).encode(), made.answer)

        def reply(self, status: int, body: bytes, make: Any) -> None:
            made.seen.append(f"{self.command} {self.path}")
            told = make(status, self.headers["Qrw-Nonce"], body)
            if told is None:
                self.close_connection = True
                return
            self.send_response(status)
            for name, text in {**told[0], "Content-Length": str(len(told[1]))}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(told[1])

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem", folder / "tls-key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    path = folder / "partner.json"
    partner = json.loads(path.read_text()) | {
        "url": f"https://127.0.0.1:{server.server_port}", "pay_url": "https://pay/{reference}",
    }  # fmt: skip
    path.write_text(json.dumps(partner))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def started(
    folder: Path, heard: Heard | None = None, timing: Timing | None = None
) -> AsyncIterator[QrWalletAdapter]:
    """An adapter that is ready."""

    async def no_notice(reference: str, answer: Answer) -> bool:
        raise AssertionError(reference)

    adapter = QrWalletAdapter(
        load_partner(folder / "partner.json"),
        timing or Timing(answer_seconds=0.5, echo_seconds=5.0),
        NoticePlace(memory=folder / "port"),
    )
    await adapter.start(heard or Heard(lambda *_: None, no_notice))
    try:
        async with asyncio.timeout(5):
            await adapter.ready()
        yield adapter
    finally:
        await adapter.stop()


def test_a_create_over_the_wire(tmp_path: Path) -> None:
    async def run(wallet: Rogue) -> None:
        async with started(tmp_path) as adapter:
            answer = await adapter.pay(ORDER, adapter.new_trace())
            assert (answer.verdict, answer.amount) == (Verdict.ACCEPTED, 2933)
            assert (await adapter.inquire(ORDER, "")).verdict is Verdict.ACCEPTED
        assert wallet.seen.count("POST /v1/payments") == 1

    with rogue(tmp_path) as wallet:
        asyncio.run(run(wallet))


Make = Callable[[Rogue], Callable[[int, str, bytes], tuple[dict[str, str], bytes] | None]]
LIES: dict[str, Make] = {
    "cut": lambda r: lambda s, n, b: None,
    "not signed": lambda r: lambda s, n, b: ({}, b),
    "a stranger's": lambda r: lambda s, n, b: (
        signature(Ed25519PrivateKey.generate(), "answer", f"{s} {n}", b), b,
    ),
    "another request's": lambda r: lambda s, n, b: (
        signature(r.key, "answer", f"{s} {'0' * 32}", b), b,
    ),
    "another status": lambda r: lambda s, n, b: (signature(r.key, "answer", f"409 {n}", b), b),
    "a notice's": lambda r: lambda s, n, b: (signature(r.key, "notice", f"{s} {n}", b), b),
    "changed after signing": lambda r: lambda s, n, b: (
        signature(r.key, "answer", f"{s} {n}", b), b.replace(b"2933", b"2934"),
    ),
    "an hour old": lambda r: lambda s, n, b: (
        signature(r.key, "answer", f"{s} {n}", b, time.time() - 3600), b,
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_is_not_the_acquirer_s_is_none(tmp_path: Path, lie: str) -> None:
    async def run() -> None:
        async with started(tmp_path) as adapter:
            with pytest.raises(NoAnswerError):
                await adapter.pay(ORDER, "")
            async with asyncio.timeout(5):
                await adapter.ready()  # it goes on

    with rogue(tmp_path) as wallet:
        wallet.answer = LIES[lie](wallet)
        asyncio.run(run())


def test_silence_is_no_answer_and_nobody_there_is_not_sent(tmp_path: Path) -> None:
    hold = threading.Event()

    def silent(status: int, nonce: str, body: bytes) -> None:
        hold.wait(5)

    async def run() -> None:
        async with started(tmp_path) as adapter:
            with pytest.raises(NoAnswerError) as caught:
                await adapter.pay(ORDER, "")
            assert caught.value.reason is Reason.TIMED_OUT
            hold.set()

    with rogue(tmp_path) as wallet:
        wallet.answer = silent
        asyncio.run(run())

    async def gone() -> None:
        adapter = QrWalletAdapter(
            load_partner(tmp_path / "partner.json"), Timing(0.5), NoticePlace()
        )
        with pytest.raises(NotSentError, match="not started"):
            await adapter.pay(ORDER, "")
        with pytest.raises(NotSentError, match="can't connect"):
            await adapter.inquire(ORDER, "")
        await adapter.stop()

    asyncio.run(gone())


def test_another_authority_s_certificate_is_not_sent_to(tmp_path: Path) -> None:
    async def run() -> None:
        adapter = QrWalletAdapter(
            load_partner(tmp_path / "a" / "partner.json"), Timing(0.5), NoticePlace()
        )
        with pytest.raises(NotSentError, match="CERTIFICATE_VERIFY_FAILED"):
            await adapter.inquire(ORDER, "")
        await adapter.stop()

    create(tmp_path / "b", "127.0.0.1", 0, "clearline-test")
    with rogue(tmp_path / "a") as wallet:
        assert wallet.seen == []
        (tmp_path / "a" / "ca.pem").write_bytes((tmp_path / "b" / "ca.pem").read_bytes())
        asyncio.run(run())


def post(port: int, folder: Path, path: str, body: bytes, headers: dict[str, str]) -> int:
    """A notice to the connector's listener; the status it answers."""
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    try:
        connection.request("POST", path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def test_notices_are_taken_from_the_acquirer_only(tmp_path: Path) -> None:
    came: list[tuple[str, Answer]] = []
    stored = [True]

    async def notice(reference: str, answer: Answer) -> bool:
        came.append((reference, answer))
        return stored[0]

    async def run(wallet: Rogue) -> None:
        async with started(tmp_path, Heard(lambda *_: None, notice)):
            port = int((tmp_path / "port").read_text())
            body = json.dumps(PAID).encode()
            good = signature(wallet.key, "notice", "POST /notices", body)
            stranger = signature(Ed25519PrivateKey.generate(), "notice", "POST /notices", body)
            old = signature(wallet.key, "notice", "POST /notices", body, time.time() - 3600)
            answer = signature(wallet.key, "answer", "POST /notices", body)
            empty = signature(wallet.key, "notice", "POST /notices", b"{}")
            told = [
                await asyncio.to_thread(post, port, tmp_path, *said)
                for said in (
                    ("/notices", body, good),
                    ("/notices", body, stranger),
                    ("/notices", body, old),
                    ("/notices", body, answer),
                    ("/notices", body.replace(b"2933", b"1"), good),
                    ("/notices", body, {}),
                    ("/elsewhere", body, good),
                    ("/notices", b"{}", empty),
                )
            ]
            assert told == [204, 401, 401, 401, 401, 401, 404, 503]
            stored[0] = False
            assert await asyncio.to_thread(post, port, tmp_path, "/notices", body, good) == 503
        assert [reference for reference, _ in came] == [ORDER.reference] * 2
        assert came[0][1].verdict is Verdict.APPROVED
        async with started(tmp_path):
            assert int((tmp_path / "port").read_text()) == port  # the same after a restart

    with rogue(tmp_path) as wallet:
        asyncio.run(run(wallet))


@pytest.mark.parametrize(
    ("status", "view", "verdict", "reason"),
    [
        (201, VIEW, Verdict.ACCEPTED, Reason.ACCEPTED),
        (201, PAID, Verdict.APPROVED, Reason.APPROVED),
        (201, VIEW | {"pay_url": "https://elsewhere/x"}, Verdict.UNSURE, Reason.OTHER),
        (201, VIEW | {"amount": 2934}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
        (201, VIEW | {"amount": 2933.0}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
        (201, VIEW | {"currency": "USD"}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
        (201, VIEW | {"payer_token": "tok_x"}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
        (201, VIEW | {"merchant_code": "QRW0000000002"}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
        (201, VIEW | {"reference": "0b" * 20}, Verdict.UNSURE, Reason.OTHER),
        (201, VIEW | {"state": "dancing"}, Verdict.UNSURE, Reason.OTHER),
        (201, {}, Verdict.UNSURE, Reason.OTHER),
        (409, {"error": "closed_before"}, Verdict.REVERSED, Reason.REVERSED),
        (409, {"error": "reference_used"}, Verdict.UNSURE, Reason.DUPLICATE),
        (422, {"error": "expired"}, Verdict.CLOSED, Reason.EXPIRED),
        (422, {"error": "merchant_unknown"}, Verdict.DECLINED, Reason.INVALID_MERCHANT),
        (422, {"error": "payer_unknown"}, Verdict.DECLINED, Reason.INVALID_CARD),
        (422, {"error": ["x"]}, Verdict.UNSURE, Reason.OTHER),
        (401, {"error": "signature_wrong"}, Verdict.UNSURE, Reason.OTHER),
        (503, {"error": "unavailable"}, Verdict.UNSURE, Reason.OTHER),
    ],
)
def test_what_a_create_s_answer_means(
    status: int, view: dict[str, Any], verdict: Verdict, reason: Reason
) -> None:
    answer = messages.create_answer(
        ORDER, Native(status, json.dumps(view).encode()), VIEW["pay_url"]
    )
    assert (answer.verdict, answer.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("status", "state", "asked", "reversed_"),
    [
        (200, "waiting", Verdict.ACCEPTED, Verdict.UNSURE),
        (200, "paid", Verdict.APPROVED, Verdict.UNSURE),
        (200, "refused", Verdict.DECLINED, Verdict.DECLINED),
        (200, "closed", Verdict.CLOSED, Verdict.REVERSED),
        (200, "expired", Verdict.CLOSED, Verdict.REVERSED),
        (200, "reversed", Verdict.REVERSED, Verdict.REVERSED),
        (404, "", Verdict.UNSURE, Verdict.UNSURE),
        (500, "paid", Verdict.UNSURE, Verdict.UNSURE),
    ],
)
def test_what_a_view_means(status: int, state: str, asked: Verdict, reversed_: Verdict) -> None:
    native = Native(status, json.dumps(VIEW | {"state": state}).encode())
    assert messages.view_answer(ORDER, native).verdict is asked
    assert messages.reversal_answer(ORDER, native).verdict is reversed_


def test_nothing_of_the_acquirer_s_can_spoil_a_report() -> None:
    strange = PAID | {
        "merchant_name": "x" * 65, "mcc": "54111", "clearing_route": "a b", "clearing_date": "soon",
    }  # fmt: skip
    answer = messages.notice_answer(json.dumps(strange).encode())
    assert (answer.merchant_name, answer.mcc, answer.clearing_route, answer.clearing_date) == (
        None, None, None, None,
    )  # fmt: skip
    for raw in (b"", b"[]", b"{}", b"[" * 100000, b"\xff", b'{"reference": 5}'):
        with pytest.raises(ValueError, match="reference"):
            messages.notice_reference(raw)


CARD = "4111111111111111"


@pytest.mark.parametrize(
    ("name", "value", "ends"),
    [
        ("merchant_name", f"SHOP {CARD}", Verdict.APPROVED),
        ("merchant_name", "SHOP ", Verdict.APPROVED),
        ("merchant_code", "378282246310005", Verdict.UNSURE),
        ("payer_token", CARD, Verdict.UNSURE),
        ("payer_token", f"tok_{CARD}", Verdict.UNSURE),
        ("clearing_route", CARD, Verdict.APPROVED),
        ("currency", "ZZZ", Verdict.UNSURE),
        ("amount", 10**12, Verdict.UNSURE),
        ("amount", -1, Verdict.UNSURE),
    ],
)
def test_what_no_report_may_say_is_left_out(name: str, value: object, ends: Verdict) -> None:
    """Of an end it is left out; an approval that lacks what was asked is none."""
    for state, verdict in (("paid", ends), ("refused", Verdict.DECLINED)):
        raw = json.dumps(PAID | {"state": state, name: value}).encode()
        answer = messages.view_answer(ORDER, Native(200, raw))
        honest = json.dumps(PAID | {"state": state}).encode()
        whole = messages.view_answer(ORDER, Native(200, honest))
        assert getattr(whole, name) is not None
        assert answer == replace(
            whole, verdict=verdict, reason=answer.reason, native=raw, **{name: None}
        )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"url": "http://127.0.0.1:1"}, "https"),
        ({"pay_url": "https://pay/"}, "reference"),
        ({"wallet_key": "zz"}, "hex"),
        ({"private_key": "missing.pem"}, "No such file"),
        ({"private_key": "tls-key.pem"}, "Ed25519"),
        ({"partner_id": None}, "partner_id"),
    ],
)
def test_a_partner_file_that_can_not_be_used(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    create(tmp_path, "127.0.0.1", 1, "clearline-test")
    path = tmp_path / "partner.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match=said):
        load_partner(path)


def test_an_order_is_sent_as_it_is() -> None:
    body = json.loads(messages.create(ORDER, "https://n/"))
    assert body["expires_at"] == ORDER.expires_at
    assert body["amount"] == ORDER.amount
    other = json.loads(messages.create(replace(ORDER, amount=1), "https://n/"))
    assert {name for name in body if body[name] != other[name]} == {"amount"}
