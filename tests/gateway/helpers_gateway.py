"""A gateway for tests: settings, merchants and keys on a ledger, the committer in the ledger's
loop or as a process, the application in this process or served by gunicorn."""

import asyncio
import ipaddress
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from flask import Flask
from helpers_ledger import Ledger
from samples import INTENT

from clearline import bearer, intents, records, times
from clearline.fabric.profile import Profile
from clearline.intents import PayIntent, Route
from clearline.jws import Algorithm, KeySigner
from clearline.records import Acquirer, KeyRecord, Kind, Merchant
from gateway import service
from gateway.app import create_app
from gateway.settings import Settings

AUDIENCE = "https://127.0.0.1:8441"
OWNER = KeySigner.generate()
ES256 = KeySigner.generate(Algorithm.ES256)
REVOKED = KeySigner.generate()
OTHER = KeySigner.generate()
SUSPENDED = KeySigner.generate()
MERCHANT, OTHER_MERCHANT, SUSPENDED_MERCHANT = "M-0001", "M-0002", "M-0003"
CODE = "898310148990001"
_orders = count(1)


def _keys(*signers: KeySigner) -> dict[str, KeyRecord]:
    return {
        signer.key_id: KeyRecord(
            signer.algorithm.value, signer.jwk, "revoked" if signer is REVOKED else "active"
        )
        for signer in signers
    }


def merchant(merchant_id: str, status: str, *signers: KeySigner) -> Merchant:
    """A merchant's record."""
    return Merchant(
        merchant_id=merchant_id,
        entity_id="E-1",
        account_id="0" * 64,
        name="A shop",
        mcc="5411",
        goods_categories=["groceries"],
        codes={name: [CODE] for name in ("unionpay", "second", "asleep", "ended")},
        keys=_keys(*signers),
        status=status,
        msp_id="BankOne",
    )


def acquirer(acquirer_id: str, status: str = "active", until: str = "2099-12-31") -> Acquirer:
    """An acquirer's record."""
    return Acquirer(
        acquirer_id=acquirer_id,
        name="An acquirer",
        msp_id="BankTwo",
        currencies=["CNY"],
        licence_no="L-1",
        licence_valid_until=until,
        keys={},
        status=status,
    )


REGISTRY: tuple[Any, ...] = (
    merchant(MERCHANT, "active", OWNER, ES256, REVOKED),
    merchant(OTHER_MERCHANT, "active", OTHER),
    merchant(SUSPENDED_MERCHANT, "suspended", SUSPENDED),
    acquirer("unionpay"),
    acquirer("second"),
    acquirer("asleep", "suspended"),
    acquirer("ended", "active", "2020-01-01"),
)


def new_intent(**changes: Any) -> PayIntent:
    """An intent with an order number of its own, created now."""
    now = times.now()
    fields = {
        "order_no": f"order-{next(_orders)}",
        "created": now,
        "expires_at": times.after(now, 900),
    }
    return replace(INTENT, **(fields | changes))


def signed(intent: PayIntent | None = None, signer: KeySigner = OWNER) -> str:
    """An intent as the merchant posts it."""
    return intents.sign(intent or new_intent(), signer)


def routes(*names: str) -> tuple[Route, ...]:
    """Acceptable acquirers, in order."""
    return tuple(Route(name, CODE, "tok_approve") for name in names)


def token(
    merchant_id: str = MERCHANT, signer: KeySigner = OWNER, audience: str = AUDIENCE
) -> dict[str, str]:
    """An Authorization header for reading."""
    return {"Authorization": f"Bearer {bearer.issue(merchant_id, audience, signer)}"}


def write_identity(folder: Path) -> None:
    """cert.pem and key.pem: one self-signed identity for peer, client and gateway."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def write_settings(
    folder: Path, endpoint: str, port: int = 8441, link: dict[str, Any] | None = None, **limits: int
) -> Path:
    """profile.json and settings.json; the settings' path."""
    profile = {
        "network": INTENT.network,
        "channel": "payments",
        "chaincode": "clearline",
        "msp_id": "BankOne",
        "certificate": "cert.pem",
        "private_key": "key.pem",
        "tls_certificate": "cert.pem",
        "tls_private_key": "key.pem",
        "peer": {"endpoint": endpoint, "server_name": "localhost", "tls_ca": "cert.pem"},
    }
    (folder / "profile.json").write_text(json.dumps(profile))
    settings = {
        "name": "gateway-bankone",
        "network": INTENT.network,
        "listen": f"127.0.0.1:{port}",
        "audience": AUDIENCE,
        "tls": {"certificate": "cert.pem", "private_key": "key.pem"},
        "profile": "profile.json",
        "data_dir": "data",
        "workers": 2,
        "threads": 16,
        "limits": {"commit_wait_s": 5, "block_wait_s": 1} | limits,
    }
    if link is not None:
        settings["link"] = link
    path = folder / "settings.json"
    path.write_text(json.dumps(settings))
    return path


@dataclass
class Committer:
    """A committer in the ledger's loop."""

    ledger: Ledger
    settings: Settings
    _stop: asyncio.Event | None = None
    _task: Any = None

    def start(self) -> None:
        """Run it until its socket is there."""

        async def begin() -> None:
            self._stop = asyncio.Event()
            self._task = asyncio.create_task(service.serve(self.settings, self._stop))
            while not self.settings.socket.exists():
                await asyncio.sleep(0.01)
                if self._task.done():
                    self._task.result()

        self.settings.socket.unlink(missing_ok=True)
        self.ledger.run(begin())

    def stop(self) -> None:
        """Stop it as SIGTERM does."""

        async def end() -> None:
            assert self._stop is not None
            self._stop.set()
            await self._task

        self.ledger.run(end())


@dataclass
class Site:
    """A gateway with its ledger."""

    ledger: Ledger
    committer: Committer
    settings: Settings
    app: Flask
    folder: Path
    started: list[Callable[[], None]] = field(default_factory=list)

    @property
    def client(self) -> Any:
        """A client of the application, without a server between; its answers' `json` is Any."""
        return self.app.test_client()

    def post(self, compact: str | bytes, **headers: str) -> Any:
        """POST /v1/payments."""
        return self.client.post(
            "/v1/payments",
            data=compact,
            content_type="application/jose",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def batch(self, compacts: list[Any], **headers: str) -> Any:
        """POST /v1/payments/batch."""
        return self.client.post(
            "/v1/payments/batch",
            json={"intents": compacts},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )

    def get(self, path: str, **headers: str) -> Any:
        """GET as the merchant, unless Authorization says otherwise."""
        return self.client.get(path, headers=token() | headers)


@contextmanager
def open_site(folder: Path, link: dict[str, Any] | None = None, **limits: int) -> Iterator[Site]:
    """A ledger with REGISTRY on it, a committer that has applied it, an application."""
    write_identity(folder)
    ledger = Ledger(folder / "cert.pem", folder / "key.pem")
    path = write_settings(folder, ledger.peer.endpoint, link=link, **limits)
    settings = Settings.load(path)
    ledger.use(Profile.load(settings.profile))
    committer = Committer(ledger, settings)
    last = 0
    for record in REGISTRY:
        kind, name = record_name(record)
        last = ledger.write(records.record_key(kind, name), records.dump(record))
    committer.start()
    app = create_app(settings)
    site = Site(ledger, committer, settings, app, folder)
    try:
        answer = site.client.get("/v1/payments", headers=token(), query_string={"limit": 1})
        until(lambda: site.client.get("/readyz").json.get("last_block", -1) >= last)
        assert answer.status_code in (200, 401, 503)
        yield site
    finally:
        app.extensions["clearline"].courier.close()
        committer.stop()
        ledger.close()


def record_name(record: Merchant | Acquirer) -> tuple[Kind, str]:
    """What a registry record is called on the ledger."""
    if isinstance(record, Merchant):
        return Kind.MERCHANT, record.merchant_id
    return Kind.ACQUIRER, record.acquirer_id


def until(condition: Callable[..., bool], seconds: float = 10.0) -> None:
    """Look until something holds; fails the test after `seconds`."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        pause.wait(0.02)


class Process:
    """A clearline command as a process; its output is kept in a file."""

    def __init__(self, folder: Path, name: str, *words: str) -> None:
        self.log = folder / f"{name}.log"
        self._words = [sys.executable, "-m", "gateway_process", *words]
        self._environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, None before the first start."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._words, stdout=log, stderr=log, env=self._environment
            )

    def wait(self) -> int:
        """Its exit status, once it ends by itself."""
        assert self._process is not None
        return self._process.wait(20)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
            raise
