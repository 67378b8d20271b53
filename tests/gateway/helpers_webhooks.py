"""Receivers on real sockets, registrations, and a notifier in the ledger's loop or as a process."""

import asyncio
import http.server
import ipaddress
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flask import Flask
from helpers_gateway import MERCHANT, OWNER, Process, Site, new_intent, signed, token, until

from clearline import times, webhook_signatures, webhooks
from clearline.intents import PayIntent
from clearline.jws import KeySigner
from clearline.webhook_signatures import Headers
from clearline.webhooks import Action, EventType, Registration
from gateway.app import create_app
from gateway.settings import Settings
from gateway.webhooks import service
from gateway.webhooks.sender import Resolve, resolve
from gateway.webhooks.settings import WebhookSettings
from gateway.webhooks.targets import PortRange, TargetRules

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
RULES = TargetRules(("https", "http"), (PortRange(1, 65_535),), (LOOPBACK,))
ALL = tuple(EventType)


@dataclass
class Got:
    """A message as it arrived."""

    headers: Headers
    body: bytes
    path: str
    host: str
    at: float

    @property
    def event_id(self) -> str:
        return self.headers.message_id

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def tells(self) -> tuple[str, str]:
        return self.document["data"]["order_no"], self.document["type"]


@dataclass
class Reply:
    """What a receiver answers; `raw` instead of an HTTP answer; `hang` until released."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes | None = None
    hang: bool = False


class Receiver:
    """An HTTP server that keeps what it gets; `behave(got)` says what it answers."""

    def __init__(self, behave: Callable[[Got], Reply] = lambda _: Reply()) -> None:
        self.got: list[Got] = []
        self.behave = behave
        self.release = threading.Event()
        self.lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            receiver = outer

        self.server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return self.server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/events"

    def tls(self, certificate: Path, key: Path) -> str:
        """Speak TLS from now on; the URL."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        return f"https://localhost:{self.port}/events"

    def of(self, order_no: str) -> list[Got]:
        with self.lock:
            return [got for got in self.got if got.tells[0] == order_no]

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Senders that are killed are no news here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    receiver: Receiver

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        self.close_connection = True
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = (webhook_signatures.ID, webhook_signatures.TIMESTAMP, webhook_signatures.SIGNATURE)
        headers = Headers(*(self.headers[name] for name in names))
        got = Got(headers, body, self.path, self.headers["Host"], time.monotonic())
        reply = self.receiver.behave(got)
        with self.receiver.lock:
            self.receiver.got.append(got)
        if reply.hang:
            self.receiver.release.wait(30)
            return
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            return
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def wish(url: str, webhook_id: str = "till-1", **changes: Any) -> Registration:
    """A registration for now."""
    made = Registration(
        Action.REGISTER, "clearline-dev", "https://127.0.0.1:8441", MERCHANT, webhook_id,
        times.now(), time.time_ns() // 1000, url, ALL,
    )  # fmt: skip
    return replace(made, **changes)


def removal(webhook_id: str = "till-1", **changes: Any) -> Registration:
    """A removal for now."""
    return wish("", webhook_id, action=Action.REMOVE, events=(), **changes)


@dataclass
class House:
    """A site whose application and notifier send webhooks to loopback."""

    site: Site
    settings: Settings
    app: Flask
    resolver: Resolve = resolve
    receivers: list[Receiver] = field(default_factory=list)
    _stop: asyncio.Event | None = None
    _task: Any = None

    def receiver(self, behave: Callable[[Got], Reply] = lambda _: Reply()) -> Receiver:
        made = Receiver(behave)
        self.receivers.append(made)
        return made

    def send(self, method: str, path: str, registration: Registration, signer: KeySigner) -> Any:
        return self.app.test_client().open(
            path, method=method, data=webhooks.sign(registration, signer),
            content_type="application/jose",
        )  # fmt: skip

    def put(self, registration: Registration, signer: KeySigner = OWNER) -> Any:
        path = f"/v1/webhooks/{registration.webhook_id}"
        return self.send("PUT", path, registration, signer)

    def delete(self, registration: Registration, signer: KeySigner = OWNER) -> Any:
        path = f"/v1/webhooks/{registration.webhook_id}"
        return self.send("DELETE", path, registration, signer)

    def register(self, url: str, webhook_id: str = "till-1", **changes: Any) -> Any:
        answer = self.put(wish(url, webhook_id, **changes))
        assert answer.status_code in (200, 201), answer.text
        return answer.json

    def get(self, path: str, **headers: str) -> Any:
        return self.app.test_client().get(path, headers=token() | headers)

    def shown(self, webhook_id: str = "till-1") -> Any:
        return self.get(f"/v1/webhooks/{webhook_id}").json

    def pay(self, status: str | None = "succeeded", **changes: Any) -> PayIntent:
        """A payment on the ledger, ended unless `status` is None."""
        intent = new_intent(**changes)
        assert self.site.post(signed(intent)).status_code == 201
        if status is not None:
            self.site.ledger.finish(intent.key, status)
        return intent

    def start(self) -> None:
        """Run a notifier in the ledger's loop until it is ready."""

        async def begin() -> None:
            self._stop = asyncio.Event()
            work = service.serve(self.settings, self._stop, self.resolver)
            self._task = asyncio.create_task(work)
            while not (self.settings.data_dir / service.READY).exists():
                await asyncio.sleep(0.01)
                if self._task.done():
                    self._task.result()

        self.site.ledger.run(begin())

    def stop(self) -> None:
        """Stop it as SIGTERM does."""

        async def end() -> None:
            assert self._stop is not None
            self._stop.set()
            await self._task

        if self._stop is not None:
            self.site.ledger.run(end())
            self._stop = None

    def process(self) -> Process:
        """A notifier as a process, not started."""
        path = self.site.folder / "settings.json"
        document = json.loads(path.read_text())
        document["webhooks"] = {
            "allow_private": ["127.0.0.0/8"],
            "schemes": ["https", "http"],
            "ports": ["1-65535"],
        }
        path.write_text(json.dumps(document))
        return Process(self.site.folder, "notifier", "notifier", "--config", str(path))

    def caught_up(self) -> None:
        """Wait until the notifier has applied the last block there is."""
        last = len(self.site.ledger.peer.blocks) - 1
        until(lambda: self.get("/v1/events?limit=1").json["last_block"] >= last)


@contextmanager
def open_house(site: Site, **chosen: Any) -> Iterator[House]:
    """`chosen`: fields of WebhookSettings."""
    settings = replace(site.settings, webhooks=WebhookSettings(**({"rules": RULES} | chosen)))
    house = House(site, settings, create_app(settings))
    try:
        yield house
    finally:
        house.stop()
        for receiver in house.receivers:
            receiver.close()
        house.app.extensions["clearline"].courier.close()
