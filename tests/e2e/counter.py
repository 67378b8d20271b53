"""The demonstration merchant's counter: its tool as a process, and its key for what a test posts
itself. Whatever is posted is in its order book first, so that the books can be compared."""

import csv
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import reached
import requests

from clearline import bearer, intents, processes, supervisor, times
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from clearline.house import command
from clearline.house.layout import MERCHANT_ID, Acquirer, House
from clearline.intents import PayIntent
from clearline.jws import KeySigner
from clearline.processes import ProcessStatus
from merchant.attempts import NewIntent
from merchant.desk import opened
from merchant.orders import intent_for

UNIONPAY, WALLET = "unionpay", "qr_wallet"
Orders = Mapping[str, tuple[str, str]]  # order number: acquirer, payer token
# Fabric's own nodes take longer to come back than ours.
PATIENCE = 60.0 if os.environ.get("ENGINE") == "fabric" else 25.0


def wait_until(condition: Callable[..., bool], what: str, seconds: float = PATIENCE) -> None:
    """Look until it is so; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.05)  # between two looks, not in place of one


def numbered(prefix: str, acquirer: str, tokens: Iterable[str]) -> dict[str, tuple[str, str]]:
    """An order a token."""
    return {f"{prefix}-{n:03d}": (acquirer, token) for n, token in enumerate(tokens)}


@dataclass(frozen=True)
class Till:
    """`folder` is for files of one test."""

    house: House
    folder: Path

    def _words(self, verb: str, *words: str) -> list[str | Path]:
        return ["merchant", verb, "--home", self.house.merchant_dir, *words]

    def take(self, orders: Orders) -> list[str]:
        """Import orders of 12.34; their numbers."""
        path = self.folder / f"{next(iter(orders))}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["order_no", "amount", "currency", "acquirer", "payer_token"])
            for order_no, (acquirer, token) in orders.items():
                writer.writerow([order_no, "12.34", "CNY", acquirer, token])
        command.output(*self._words("import", str(path)))
        return list(orders)

    def run(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`clearline merchant VERB`, whatever it exits with."""
        argv = command.argv(*self._words(verb, *words))
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)

    def pay(self, *order_nos: str) -> None:
        """To their end."""
        done = self.run("pay", *order_nos)
        assert done.returncode == 0, done.stdout + done.stderr

    @contextmanager
    def paying(self, *words: str) -> Iterator["Paying"]:
        """`pay` in the background; ended by force when the block is left before its end."""
        log = self.folder / f"pay-{time.monotonic_ns()}.log"
        with log.open("w") as file:
            argv = command.argv(*self._words("pay", *words))
            process = subprocess.Popen(argv, stdout=file, stderr=file)
        try:
            yield Paying(process, log)
        finally:
            process.kill()
            process.wait()

    def close(self, *order_nos: str) -> dict[str, dict[str, Any]]:
        """`close --json`, by order number."""
        done = self.run("close", *order_nos, "--json")
        assert done.returncode in (0, 1), done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        reached.note(rows)
        return {row["order_no"]: row for row in rows}

    def refund(self, order_no: str) -> subprocess.CompletedProcess[str]:
        """`refund` of all that is left."""
        return self.run("refund", order_no)

    def status(self, order_no: str) -> dict[str, Any]:
        """`status --json`."""
        shown: dict[str, Any] = json.loads(self.run("status", order_no, "--json").stdout)
        return shown

    def ends(self, order_no: str) -> list[str]:
        """How each attempt at an order stands in the order book."""
        with opened(self.house.merchant_dir) as desk:
            return [attempt.status.value for attempt in desk.book.attempts(order_no)]

    def sign(self, order_no: str, attempt: int = 1, token: str = "", **changes: Any) -> str:
        """An intent for an attempt at an order, stored in the order book as `pay` does."""
        with opened(self.house.merchant_dir) as desk:
            intent = self.intent(order_no, attempt, token, **changes)
            compact = intents.sign(intent, desk.signer())
            new = NewIntent(order_no, attempt, intent.digest(), compact, intent.expires_at)
            (stored,) = desk.book.store([new])
        assert stored.compact == compact
        return compact

    def intent(self, order_no: str, attempt: int = 1, token: str = "", **changes: Any) -> PayIntent:
        """The same, neither signed nor stored."""
        with opened(self.house.merchant_dir) as desk:
            state = desk.book.state(order_no)
            assert state is not None
            intent = intent_for(state.order, attempt, desk.profile, times.now())
        if token:
            route = replace(intent.acquirers[0], payer_token=token)
            intent = replace(intent, acquirers=(route,))
        return replace(intent, **changes)

    @property
    def signer(self) -> KeySigner:
        """The merchant's key."""
        return KeySigner.load(self.house.merchant_dir / "key.pem")

    def post(self, compact: str, gateway: int = 0, prefer: str = "") -> requests.Response:
        """POST /v1/payments; again, as the answer says, while the acquirer can't be reached: the
        sandboxes cut connections on purpose, and a connector says so for a moment."""
        headers = {"Content-Type": "application/jose"} | ({"Prefer": prefer} if prefer else {})
        end = time.monotonic() + PATIENCE
        while True:
            answer = self.call("POST", "/v1/payments", gateway, headers, compact.encode())
            away = answer.status_code == 503 and answer.json()["code"] == "acquirer_unavailable"
            if not away or time.monotonic() > end:
                return answer
            time.sleep(int(answer.headers["Retry-After"]))

    def post_refund(
        self, order_no: str, compact: str, gateway: int = 0, prefer: str = ""
    ) -> requests.Response:
        """POST /v1/payments/{order_no}/refunds."""
        headers = {"Content-Type": "application/jose"} | ({"Prefer": prefer} if prefer else {})
        path = f"/v1/payments/{order_no}/refunds"
        return self.call("POST", path, gateway, headers, compact.encode())

    def get(self, order_no: str, gateway: int = 0, attempt: int = 1) -> dict[str, Any]:
        """The payment as a gateway shows it; the problem when it shows none."""
        path = f"/v1/payments/{order_no}?attempt={attempt}"
        shown: dict[str, Any] = self.call("GET", path, gateway, self.reading(gateway)).json()
        return shown

    def reading(self, gateway: int = 0) -> dict[str, str]:
        """The header that lets the merchant read at a gateway."""
        token = bearer.issue(MERCHANT_ID, self.house.gateways[gateway].url, self.signer)
        return {"Authorization": f"Bearer {token}"}

    def call(
        self, method: str, path: str, gateway: int, headers: dict[str, str], body: bytes = b""
    ) -> requests.Response:
        """Whatever a gateway answers to a request."""
        at = self.house.gateways[gateway]
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(self.house.tls_ca(at.bank))
            answer = session.request(
                method, at.url + path, headers=headers, data=body or None, timeout=40
            )
        reached.note_body(answer.content)
        return answer


@dataclass(frozen=True)
class Paying:
    """A run of `pay`, and what it says."""

    process: subprocess.Popen[bytes]
    log: Path

    def done(self) -> str:
        """Wait for its good end; what it said."""
        code = self.process.wait(timeout=100)
        said = self.log.read_text()
        assert code == 0, said
        return said


async def submit_report(house: House, acquirer: Acquirer, report: str) -> Any:
    """A report as its bank's connector submits it, under the epoch in force: its outcome."""
    profile = Profile.load(house.profile(acquirer.bank, "connector"))
    async with Gateway.connect(profile) as gateway:
        contract = gateway.network(profile.channel).contract(profile.chaincode)
        asked = json.dumps([["lease", acquirer.acquirer_id]])
        (lease,) = json.loads(await contract.evaluate("GetRecords", asked))
        item = {"report": report, "epoch": lease["epoch"] if lease else 0}
        (outcome,) = json.loads(await contract.submit("SubmitReports", json.dumps([item])))
        reached.note(outcome)
        return outcome


def process(house: House, group: str, name: str) -> ProcessStatus:
    """A process of the house as its supervisor knows it."""
    status = supervisor.status(house.run_dir, group)
    assert status is not None
    return next(item for item in status.processes if item.name == name)


def kill(house: House, group: str, name: str, number: Any) -> ProcessStatus:
    """Signal a process; as it was before."""
    victim = process(house, group, name)
    assert victim.id is not None
    assert processes.send_signal(victim.id, number)
    return victim
