"""A running wallet on a free port, and a bank that speaks to it request by request."""

import hashlib
import http.client
import json
import secrets
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from acquirers.qr_wallet import settings
from acquirers.qr_wallet.book import Entry, read_entries
from acquirers.qr_wallet.create import create
from acquirers.qr_wallet.server import WalletServer

REFERENCE = "0123456789abcdef0123456789abcdef01234567"
PAYMENT: dict[str, Any] = {
    "reference": REFERENCE,
    "merchant_code": "QRW0000000001",
    "amount": 2933,
    "currency": "CNY",
    "payer_token": "tok_never_pays",
    "mcc": "5411",
    "terminal": "T0000001",
    "expires_at": "2099-01-01T00:00:00.000Z",
    "notify_url": "https://127.0.0.1:1/notices",
}


def text(kind: str, subject: str, at: str, nonce: str, body: bytes) -> bytes:
    """What is signed, written from docs/acquirers.md."""
    digest = hashlib.sha256(body).hexdigest()
    return f"QRW1\n{kind}\n{subject}\n{at}\n{nonce}\n{digest}".encode()


@dataclass
class Answer:
    """Status and body; `error` is the body's."""

    status: int
    body: dict[str, Any]

    @property
    def error(self) -> str:
        return str(self.body.get("error", ""))


@dataclass
class Bank:
    """A partner of the wallet; every answer's signature is checked."""

    folder: Path
    server: WalletServer
    partner: dict[str, str]
    key: Ed25519PrivateKey
    changed: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request, signed unless `headers` (as `Qrw_Time=`) say otherwise."""
        data = body if isinstance(body, bytes) else b"" if body is None else _dumped(body)
        at, nonce = str(int(time.time())), secrets.token_hex(16)
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        at, nonce = given.get("Qrw-Time", at), given.get("Qrw-Nonce", nonce)
        signature = self.key.sign(text("request", f"{method} {path}", at, nonce, data)).hex()
        sent = {
            "Qrw-Partner": self.partner["partner_id"], "Qrw-Time": at, "Qrw-Nonce": nonce,
            "Qrw-Signature": signature, **given,
        }  # fmt: skip
        return self.send(method, path, data, sent)

    def send(self, method: str, path: str, data: bytes, headers: dict[str, str]) -> Answer:
        """Send exactly this. Raises OSError, HTTPException when the connection is cut."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.server.port, timeout=5, context=context
        )
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            raw = answer.read()
            if not raw:
                return Answer(answer.status, {})
            wallet = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.partner["wallet_key"]))
            subject = f"{answer.status} {headers.get('Qrw-Nonce', '')}"
            at, nonce = (answer.getheader(name) or "" for name in ("Qrw-Time", "Qrw-Nonce"))
            signature = bytes.fromhex(answer.getheader("Qrw-Signature") or "")
            wallet.verify(signature, text("answer", subject, at, nonce, raw))
            return Answer(answer.status, json.loads(raw))
        finally:
            connection.close()

    def create(self, **changes: object) -> Answer:
        """A create of PAYMENT with changes; a member that is None is left out."""
        body = {name: value for name, value in (PAYMENT | changes).items() if value is not None}
        return self.ask("POST", "/v1/payments", body)

    def query(self, reference: str = REFERENCE) -> Answer:
        return self.ask("GET", f"/v1/payments/{reference}")

    def close(self, reference: str = REFERENCE) -> Answer:
        return self.ask("POST", f"/v1/payments/{reference}/close")

    def reverse(self, reference: str = REFERENCE) -> Answer:
        return self.ask("POST", f"/v1/payments/{reference}/reverse")

    def booked(self, reference: str = REFERENCE) -> Entry | None:
        """What the book says."""
        found = {item.reference: item for item in read_entries(self.server.settings.place.book)}
        return found.get(reference)

    def until(self, state: str, seconds: float = 5) -> Entry:
        """Wait until the book says so."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            entry = self.booked()
            if entry is not None and entry.state == state:
                return entry
            time.sleep(0.01)
        raise AssertionError(f"not {state}: {self.booked()}")


def _dumped(body: object) -> bytes:
    return json.dumps(body).encode()


@contextmanager
def running(folder: Path, **changes: Any) -> Iterator[Bank]:
    """A wallet in this folder, made when it is new; `changes` to its settings."""
    path = folder / "settings.json"
    if not path.exists():
        create(folder, "127.0.0.1", 0, "clearline-test")
    quick = {"pay_seconds": 0.05, "slow_seconds": 0.3, "late_seconds": 0.1}
    loaded = settings.load(path)
    place = replace(loaded.place, port=0)
    server = WalletServer(replace(loaded, place=place, **{**quick, **changes}))
    server.start()
    partner = json.loads((folder / "partner.json").read_text())
    key = load_pem_private_key((folder / "partner-key.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    try:
        yield Bank(folder, server, partner, key)
    finally:
        server.stop()


@dataclass
class Desk:
    """Takes notices: what came, verified; `answers` says what to answer, 204 when it is empty."""

    url: str = ""
    came: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def until(self, count: int, seconds: float = 5) -> list[dict[str, Any]]:
        """Wait for so many notices."""
        end = time.monotonic() + seconds
        while len(self.came) < count and time.monotonic() < end:
            time.sleep(0.01)
        assert len(self.came) >= count, self.came
        return self.came


@contextmanager
def desk(folder: Path) -> Iterator[Desk]:
    """A listener with the certificate that the wallet's folder holds for it."""
    taken = Desk()
    partner = json.loads((folder / "partner.json").read_text())
    wallet = Ed25519PublicKey.from_public_bytes(bytes.fromhex(partner["wallet_key"]))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            at, nonce = (self.headers[name] for name in ("Qrw-Time", "Qrw-Nonce"))
            signature = bytes.fromhex(self.headers["Qrw-Signature"])
            wallet.verify(signature, text("notice", f"POST {self.path}", at, nonce, body))
            self.send_response(taken.answers.pop(0) if taken.answers else 204)
            self.end_headers()
            taken.came.append(json.loads(body))

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "notice-tls.pem", folder / "notice-tls-key.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    taken.url = f"https://127.0.0.1:{server.server_port}/notices"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
