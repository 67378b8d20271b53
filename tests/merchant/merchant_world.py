"""A merchant's surroundings in miniature: gateways over TLS on loopback, one ledger, one bank.

The gateways speak the real REST interface; what they do wrong is set per gateway.
"""

import http.server
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from click.testing import CliRunner, Result
from merchant_tls import TlsFiles

from clearline import bearer, intents, jws, refunds, reports
from clearline.cli import cli
from clearline.codes import Code, Refusal
from clearline.intents import CloseIntent, PayIntent
from clearline.jws import KeySigner
from clearline.refunds import RefundIntent
from clearline.reports import Report, acquirer_reference
from clearline.statuses import Reason, ReportKind, Status

MERCHANT = "M-0001"
CODE = "898310148990001"
DECLINES = {"tok_do_not_honor": Reason.DO_NOT_HONOR}


def sign_result(intent: PayIntent, signer: KeySigner, **changes: Any) -> str:
    """The bank's result about an intent, as the token decides; `changes` of its fields."""
    route = intent.acquirers[0]
    reason = DECLINES.get(route.payer_token, Reason.APPROVED)
    report = Report(
        kind=ReportKind.RESULT,
        network=intent.network,
        acquirer_id=route.acquirer_id,
        merchant_id=intent.merchant_id,
        order_no=intent.order_no,
        attempt=intent.attempt,
        intent_digest=intent.digest(),
        sequence=1,
        status=Status.SUCCEEDED if reason is Reason.APPROVED else Status.DECLINED,
        reason=reason,
        amount=intent.amount,
        currency=intent.currency,
        acquirer_reference=acquirer_reference(intent.key, intent.network),
        merchant_code=route.merchant_code,
    )
    return reports.sign(replace(report, **changes), signer)


def answer_for(intent: PayIntent, status: Status, result: str | None) -> dict[str, Any]:
    """A gateway's honest answer."""
    committed = status is not Status.RECEIVED
    return {
        "merchant_id": intent.merchant_id,
        "order_no": intent.order_no,
        "attempt": intent.attempt,
        "status": status.value,
        "final": status.final,
        "amount": intent.amount,
        "currency": intent.currency,
        "acquirer_id": intent.acquirers[0].acquirer_id,
        "intent_digest": intent.digest(),
        "reason": "",
        "response": None,
        "result": result if status.final else None,
        "receipt": None,
        "tx_id": "ab" * 32 if committed else None,
        "block_number": 7 if committed else None,
    }


def receipts_of(entry: "Entry | None", refund: RefundIntent | None) -> dict[str, Any]:
    """What an honest gateway shows for receipts, at block 7; `refund`: the one that was named."""
    shown = None
    if entry is not None:
        shown = {
            "intent_digest": entry.intent.digest(),
            "requested_at": entry.intent.created,
            "submitter": "",
            "block_number": 7,
            "closing": bool(entry.close) or entry.ended,
        }
    given_back = None
    if refund is not None:
        given_back = {
            "intent_digest": refund.digest(),
            "requested_at": refund.created,
            "submitter": "",
            "block_number": 7,
        }
    return {"last_block": 7, "payment": shown, "refund": given_back, "refusals": []}


@dataclass
class Entry:
    """A payment on the fake ledger; it ends after `asks` reads. tok_never ends by a close only."""

    intent: PayIntent
    compact: str
    asks: int
    close: str = ""
    ended: bool = False


class Ledger:
    """What both gateways see: one payment a key, as the contract keeps it."""

    def __init__(self, signer: KeySigner) -> None:
        self.signer = signer
        self.entries: dict[tuple[str, int], Entry] = {}
        # Put here by tests: no gateway of these takes one.
        self.refunds: dict[tuple[str, int, int], RefundIntent] = {}
        self.lock = threading.Lock()
        # How often a payment is asked about before it has ended.
        self.asks = 0

    def submit(self, compact: str) -> tuple[Code, Entry | None]:
        intent = intents.parse_any(compact).intent
        if isinstance(intent, CloseIntent):
            return self._close(compact, intent)
        with self.lock:
            key = (intent.order_no, intent.attempt)
            found = self.entries.get(key)
            if found is None:
                self.entries[key] = Entry(intent, compact, self.asks)
                return Code.OK, self.entries[key]
            if found.intent.digest() != intent.digest():
                return Code.CONFLICT, None
            return Code.DUPLICATE, found

    def _close(self, compact: str, intent: CloseIntent) -> tuple[Code, Entry | None]:
        with self.lock:
            entry = self.entries.get((intent.order_no, intent.attempt))
            if entry is None:
                return Code.PAYMENT_UNKNOWN, None
            if entry.close:
                return Code.DUPLICATE, entry
            if entry.ended:
                return Code.ALREADY_FINAL, None
            entry.close = compact
            return Code.OK, entry

    def view(self, entry: Entry) -> dict[str, Any]:
        closing = {"close": entry.close or None}
        with self.lock:
            never = entry.intent.acquirers[0].payer_token == "tok_never"
            if entry.asks > 0 or (never and not entry.close):
                entry.asks -= 1
                return answer_for(entry.intent, Status.REQUESTED, None) | closing
            entry.ended = True
        unpaid = {"status": Status.CLOSED, "reason": Reason.CLOSED_BY_MERCHANT} if never else {}
        result = sign_result(entry.intent, self.signer, **unpaid)
        status = reports.parse(result).report.status
        return answer_for(entry.intent, status, result) | closing


@dataclass(frozen=True)
class Fault:
    """What a gateway does instead: `before` or after the ledger has it."""

    kind: str  # reset | hang | http | garbage | truncated | redirect
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b"{}"
    after: bool = False


Behave = Callable[[str, str], Fault | None]


@dataclass
class FakeGateway:
    """One gateway; `behave(method, order_no)` may name a fault, `lie` may change an answer."""

    ledger: Ledger
    tls: TlsFiles
    merchant_keys: dict[str, Any]
    behave: Behave = lambda method, order_no: None
    lie: Callable[[dict[str, Any]], Any] = lambda answer: answer
    # The same of what it shows for receipts.
    tell: Callable[[dict[str, Any]], Any] = lambda answer: answer
    batches: bool = True
    posts: list[tuple[str, str]] = field(default_factory=list)
    gets: list[str] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)
    bad_tokens: list[str] = field(default_factory=list)
    reached: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    release: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        outer = self

        class Handler(_Handler):
            gateway = outer

        self.server = _Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls.certificate, self.tls.key)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away in these tests; that is no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    gateway: FakeGateway

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        gateway = self.gateway
        gateway.connections.add(self.client_address)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/v1/payments/batch":
            self._batch(json.loads(body)["intents"])
            return
        assert self.headers["Content-Type"] == "application/jose"
        compact = body.decode()
        order_no = refunds.parse_any(compact).intent.order_no
        with gateway.lock:
            gateway.posts.append((order_no, compact))
        fault = gateway.behave("POST", order_no)
        if fault is not None and not fault.after:
            self._fail(fault)
            return
        if self.path.endswith("/refunds"):
            self._problem(Code.NOT_FOUND)
            return
        code, entry = gateway.ledger.submit(compact)
        if fault is not None:
            self._fail(fault)
        elif entry is None:
            self._problem(code)
        else:
            self._send(code.http_status, gateway.lie(gateway.ledger.view(entry)))

    def _batch(self, compacts: list[str]) -> None:
        gateway = self.gateway
        if not gateway.batches:
            self._problem(Code.NOT_FOUND)
            return
        gateway.batch_sizes.append(len(compacts))
        outcomes: list[dict[str, Any]] = []
        for compact in compacts:
            order_no = intents.parse(compact).intent.order_no
            with gateway.lock:
                gateway.posts.append((order_no, compact))
            fault = gateway.behave("BATCH", order_no)
            if fault is not None and fault.kind != "http":
                self._fail(fault)
                return
            if fault is not None:
                refused = json.loads(fault.body)
                outcomes.append({"code": refused["code"], "detail": "", "payment": None})
                continue
            code, entry = gateway.ledger.submit(compact)
            payment = None if entry is None else gateway.lie(gateway.ledger.view(entry))
            outcomes.append({"code": code.value, "detail": "", "payment": payment})
        self._send(200, {"outcomes": outcomes})

    def do_GET(self) -> None:
        gateway = self.gateway
        gateway.connections.add(self.client_address)
        parts = urlsplit(self.path)
        order_no = parts.path.split("/")[3]
        asked = parse_qs(parts.query)
        attempt, refund_no = int(asked["attempt"][0]), int(asked.get("refund_no", ["0"])[0])
        with gateway.lock:
            gateway.gets.append(order_no)
        try:
            compact = self.headers["Authorization"].removeprefix("Bearer ")
            claimed = bearer.parse(compact, gateway.url, time.time())
            gateway.merchant_keys[claimed.token.key_id].verify(claimed.token)
        except (Refusal, KeyError) as error:
            gateway.bad_tokens.append(str(error))
            self._problem(Code.UNAUTHENTICATED)
            return
        fault = gateway.behave("GET", order_no)
        if fault is not None:
            self._fail(fault)
            return
        entry = gateway.ledger.entries.get((order_no, attempt))
        if parts.path.endswith("/receipts"):
            refund = gateway.ledger.refunds.get((order_no, attempt, refund_no))
            self._send(200, gateway.tell(receipts_of(entry, refund)))
        elif entry is None:
            self._problem(Code.PAYMENT_UNKNOWN)
        else:
            self._send(200, gateway.lie(gateway.ledger.view(entry)))

    def _problem(self, code: Code) -> None:
        body = {"type": code.type_uri, "status": code.http_status, "code": code.value}
        self._send(code.http_status, body | {"detail": "as asked"})

    def _send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Clearline-Block", "7")
        self.end_headers()
        self.wfile.write(data)

    def _fail(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.kind == "hang":
            self.gateway.reached.release()
            self.gateway.release.wait(30)
        elif fault.kind == "reset":
            # SO_LINGER with no time: the other side sees a reset, not an end.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault.kind == "truncated":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"status": "succe')
        else:
            self.send_response(fault.status)
            for name, value in fault.headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(fault.body)))
            self.end_headers()
            self.wfile.write(fault.body)


def problem(code: Code, **headers: str) -> Fault:
    """A fault that answers this code as problem details."""
    body = json.dumps({"code": code.value, "detail": "as asked", "status": code.http_status})
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Fault("http", code.http_status, named, body.encode())


class World:
    """A merchant's folder with key and profile, two gateways, a bank."""

    def __init__(self, home: Path, tls: TlsFiles) -> None:
        self.home = home
        self.bank = KeySigner.generate()
        self.ledger = Ledger(self.bank)
        self.signer = KeySigner.generate()
        home.mkdir()
        self.signer.save(home / "key.pem")
        keys = {self.signer.key_id: jws.public_key(self.signer.jwk, self.signer.algorithm)}
        self.gateways = [FakeGateway(self.ledger, tls, keys) for _ in range(2)]
        # Released whenever a gateway begins to hang.
        self.reached = self.gateways[0].reached = self.gateways[1].reached
        self.profile: dict[str, Any] = {
            "network": "clearline-dev",
            "merchant_id": MERCHANT,
            "gateways": [{"url": g.url, "ca": str(tls.ca)} for g in self.gateways],
            "acquirer_keys": {"unionpay": [self.bank.jwk]},
            "routes": [{"acquirer_id": "unionpay", "merchant_code": CODE}],
            "defaults": {
                "store": "store-1",
                "terminal": "T0000001",
                "mcc": "5411",
                "product": "card",
                "goods_category": "groceries",
                "site": "shop.example",
                "currency": "CNY",
                "payer_token": "tok_approve",
            },
        }
        self.save_profile()

    def save_profile(self, **changes: Any) -> None:
        self.profile |= changes
        (self.home / "merchant.json").write_text(json.dumps(self.profile))

    def close(self) -> None:
        for gateway in self.gateways:
            gateway.close()

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        """`clearline merchant ...` in this process."""
        command, *rest = arguments
        return CliRunner().invoke(
            cli, ["merchant", command, "--home", str(self.home), *rest], input=stdin
        )

    def spawn(self, *arguments: str) -> subprocess.Popen[str]:
        """`clearline merchant ...` as a process of its own."""
        command, *rest = arguments
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                # A shell starts what it puts in the background with SIGINT ignored, and all below.
                "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
                "from clearline.cli import main; main()",
                "merchant",
                command,
                "--home",
                str(self.home),
                *rest,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )

    def orders(self, *order_nos: str, **fields: str) -> None:
        """Put orders of 29.33 into the book."""
        columns = ",".join(["order_no", "amount", *fields])
        rows = "".join(f"{name},29.33,{','.join(fields.values())}\n" for name in order_nos)
        text = (columns + "\n" + rows).replace(",\n", "\n")
        result = self.run("import", "-", "--format", "csv", stdin=text)
        assert result.exit_code == 0, result.output

    def pay(self, *arguments: str) -> dict[str, Any]:
        """`pay --json`: its document."""
        result = self.run("pay", *arguments, "--json")
        assert result.exit_code in (0, 1), result.output
        document: dict[str, Any] = json.loads(result.stdout)
        assert document["exit_code"] == result.exit_code
        return document

    def posted(self) -> dict[str, set[str]]:
        """Every intent that reached a gateway, by order."""
        found: dict[str, set[str]] = {}
        for gateway in self.gateways:
            for order_no, compact in gateway.posts:
                found.setdefault(order_no, set()).add(compact)
        return found
