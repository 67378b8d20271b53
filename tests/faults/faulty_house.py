"""The whole house with faults at hand: proxies, clocks, disks, signals, tampering."""

import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import reached
import requests
from furniture import change, furnished
from wires import Between, Meddler, Proxy, Wires

from clearline import processes, supervisor
from clearline.house import bringup, command
from clearline.house.bringup import Choice
from clearline.house.layout import House
from clearline.processes import ProcessId, ProcessStatus

INJECT = Path(__file__).with_name("inject")
ANSWER_SECONDS = 1.5  # the connectors' time-out, so that stops of seconds exceed it
LATE_SECONDS = 2.2
# Whose clock can be wrong, and whose disk can fail: known when a process starts.
CLOCKS = {
    "BankOne": ("gateway-bankone", "committer-bankone", "notifier-bankone", "chaincode.bankone",
                "peer0.bankone"),
    "BankTwo": ("gateway-banktwo", "committer-banktwo", "notifier-banktwo", "chaincode.banktwo",
                "peer0.banktwo"),
    "others": ("connector-unionpay", "connector-qr_wallet", "acquirer-unionpay", "orderer0",
               "chaincode.supervisor", "peer0.supervisor"),
    "wallet": ("acquirer-qr_wallet",),
}  # fmt: skip
DISKS = ("committer-bankone", "committer-banktwo", "connector-unionpay", "connector-qr_wallet")
# A gateway's committer and notifier have one profile, and so one way to their peer.
BEHIND_PROXIES = DISKS
LOCKS = {
    "connector": "outbox.db.lock",
    "committer": "queue.db.lock",
    "notifier": "notifier.lock",
}


def wait_until(condition: Callable[..., bool], seconds: float, what: str) -> None:
    """Fails with `what` when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)  # between two looks, not in place of one


@dataclass(frozen=True)
class FaultyHouse:
    """`proxies` by the name of the process whose way to its peer they are."""

    house: House
    folder: Path
    proxies: dict[str, Proxy]
    meddler: Meddler

    def process(self, name: str) -> ProcessStatus:
        """As its supervisor has it now."""
        return next(item for item in self.everyone() if item.name == name)

    def everyone(self) -> list[ProcessStatus]:
        """Every process of the house."""
        found: list[ProcessStatus] = []
        for group in ("network", "rooms"):
            status = supervisor.status(self.house.run_dir, group)
            assert status is not None
            found += status.processes
        return found

    def wait_alive(self, before: ProcessStatus) -> None:
        """Another process has taken its place, ready or not."""
        wait_until(
            lambda: self.process(before.name).id not in (None, before.id), 20, f"{before.name} runs"
        )

    def kill(self, name: str) -> ProcessStatus:
        """kill -9; answers how it stood before."""
        before = self.process(name)
        assert before.id is not None
        assert processes.send_signal(before.id, signal.SIGKILL)
        return before

    def wait_back(self, before: ProcessStatus, seconds: float = 20) -> None:
        """It has been started again since, and is ready; before it may have been dying."""

        def back() -> bool:
            now = self.process(before.name)
            return now.ready and (now.restarts > before.restarts or not before.ready)

        wait_until(back, seconds, f"{before.name} is back")

    def workers(self, name: str) -> list[int]:
        """The process ids of a gateway's workers."""
        master = self.process(name).id
        assert master is not None
        return [child.pid for child in psutil.Process(master.pid).children()]

    def worker(self, name: str) -> ProcessId:
        """One of them."""
        found = processes.identify(self.workers(name)[0])
        assert found is not None
        return found

    def log(self, name: str) -> str:
        """What it has logged so far."""
        return Path(self.process(name).log).read_text(errors="replace")

    def ask(self, gateway: int, method: str, path: str, **more: Any) -> requests.Response:
        """One exchange with one of the gateways, under /v1/payments."""
        at = self.house.gateways[gateway]
        with requests.Session() as session:
            session.trust_env = False
            answer = session.request(
                method,
                f"{at.url}/v1/payments{path}",
                verify=str(self.house.tls_ca(at.bank)),
                timeout=60,
                **more,
            )
        reached.note_body(answer.content)
        return answer

    def get(self, gateway: int, path: str, headers: dict[str, str]) -> requests.Response:
        """A read at one of the gateways, of anything."""
        at = self.house.gateways[gateway]
        with requests.Session() as session:
            session.trust_env = False
            verify = str(self.house.tls_ca(at.bank))
            return session.get(f"{at.url}{path}", headers=headers, verify=verify, timeout=60)

    def post(self, gateway: int, compact: str, **headers: str) -> requests.Response:
        """An intent, posted to one of the gateways."""
        jose = {"Content-Type": "application/jose"} | headers
        return self.ask(gateway, "POST", "", data=compact, headers=jose)

    def shown(self, gateway: int, order_no: str) -> requests.Response:
        """A payment as it is read there, with a token the tool makes now."""
        words = ("merchant", "token", "--home", self.house.merchant_dir)
        token = command.output(*words, "--gateway", str(gateway + 1)).strip()
        return self.ask(
            gateway, "GET", f"/{order_no}", headers={"Authorization": f"Bearer {token}"}
        )

    def read(self, gateway: int, order_no: str) -> tuple[int, str | None]:
        """Status and code of that."""
        answer = self.shown(gateway, order_no)
        return answer.status_code, answer.json().get("code")

    def metric(self, gateway: int, name: str) -> float:
        """One of a gateway's numbers without labels."""
        at = self.house.gateways[gateway]
        with requests.Session() as session:
            session.trust_env = False
            shown = session.get(f"{at.url}/metrics", verify=str(self.house.tls_ca(at.bank)))
        (line,) = [text for text in shown.text.splitlines() if text.startswith(f"{name} ")]
        return float(line.split()[1])

    def wait_said(self, name: str, words: str, begun: int) -> str:
        """What it has logged from character `begun` on, once these words are in it."""
        wait_until(lambda: words in self.log(name)[begun:], 20, f"{name} says {words!r}")
        return self.log(name)[begun:]

    def data(self, name: str) -> Path:
        """The folder that a connector, or a gateway's committer or notifier, keeps its files in."""
        return self.house.room_dir(re.sub("^(committer|notifier)", "gateway", name)) / "data"

    def shift(self, name: str, seconds: float) -> None:
        """Its clock is ahead by so much from now on."""
        with (self.folder / f"{name}.clock").open("r+b") as file:
            file.write(struct.pack("d", seconds))

    def order(self, name: str, **what: Any) -> None:
        """See inject/faults_inside.py."""
        assert self.reached(name, **what), f"{name} is gone"

    def reached(self, name: str, **what: Any) -> bool:
        """An order to a process that may be gone: whether it was there."""
        (self.folder / f"{name}.order").write_text(json.dumps(what))
        status = self.process(name)
        return status.id is not None and processes.send_signal(status.id, signal.SIGUSR1)

    @contextmanager
    def stopped(self, *ids: ProcessId) -> Iterator[None]:
        """SIGSTOP, and SIGCONT at the end whatever happens."""
        with ExitStack() as stack:
            for one in ids:
                assert processes.send_signal(one, signal.SIGSTOP)
                stack.callback(processes.send_signal, one, signal.SIGCONT)
            yield

    @contextmanager
    def held(self, name: str) -> Iterator[Path]:
        """It is killed, and kept from its files by their own lock while these are tampered with;
        afterwards it is back. Gives its data folder."""
        with self.locked(name) as (data, before):
            yield data
        self.wait_back(before)

    @contextmanager
    def locked(self, name: str) -> Iterator[tuple[Path, ProcessStatus]]:
        """The same without waiting for its return; it may be dying already."""
        data = self.data(name)
        lock = data / LOCKS[name.partition("-")[0]]
        before = self.process(name)
        if before.id is not None:
            processes.send_signal(before.id, signal.SIGKILL)
        with lock.open("r+") as file:
            wait_until(lambda: _lock(file.fileno()), 10, f"the lock of {name}")
            yield data, before


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def database_files(path: Path) -> list[Path]:
    """A SQLite database's files that are there."""
    return [file for end in ("", "-wal", "-shm") if (file := Path(f"{path}{end}")).exists()]


def copy_database(path: Path, copy: Path) -> None:
    """A consistent copy, while its owner may be writing."""
    with (
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)


def put_back(copy: Path, path: Path) -> None:
    """The copy in the place of the database."""
    for file in database_files(path):
        file.unlink()
    shutil.copy(copy, path)


@contextmanager
def faulty_house(home: Path, folder: Path, engine: str) -> Iterator[FaultyHouse]:
    """The house of `make up`; before its rooms start, they are put behind proxies and given short
    times."""
    for name in itertools.chain(*CLOCKS.values()):
        (folder / f"{name}.clock").write_bytes(struct.pack("d", 0.0))
    for name in DISKS:
        (folder / f"{name}.order").write_text("{}")
    paths = os.pathsep.join(filter(None, [str(INJECT), os.environ.get("PYTHONPATH")]))
    given = {"PYTHONPATH": paths, "FAULTS_FOLDER": str(folder)}
    kept = {name: os.environ.get(name) for name in given}
    with ExitStack() as stack:
        wires = Wires()
        stack.callback(wires.close)
        stack.callback(bringup.down, home, print)
        made: list[FaultyHouse] = []
        os.environ.update(given)
        try:
            with furnished(lambda house: made.append(_rewired(house, folder, wires, stack))):
                bringup.up(Choice(home, engine, ports="free"), print)
        finally:
            for name, text in kept.items():
                if text is None:
                    del os.environ[name]
                else:
                    os.environ[name] = text
        yield made[0]


def _rewired(house: House, folder: Path, wires: Wires, stack: ExitStack) -> FaultyHouse:
    proxies = {}
    for name in BEHIND_PROXIES:
        settings = house.room_dir(name.replace("committer", "gateway")) / "settings.json"
        path = Path(json.loads(settings.read_text())["profile"])
        profile = json.loads(path.read_text())
        host, _, port = profile["peer"]["endpoint"].rpartition(":")
        proxies[name] = proxy = Proxy(wires, int(port))
        stack.callback(proxy.stop)
        profile["peer"]["endpoint"] = f"{host}:{proxy.port}"
        behind = path.with_name(f"{name}.json")
        behind.write_text(json.dumps(profile))
        change(settings, profile=str(behind))
    meddler = _meddler(house, wires)
    stack.callback(meddler.stop)
    unionpay = house.room_dir("connector-unionpay") / "settings.json"
    partner = Path(json.loads(unionpay.read_text())["partner"])
    meddled = partner.with_name("partner-meddled.json")
    meddled.write_text(json.dumps(json.loads(partner.read_text()) | {"port": meddler.port}))
    short = {"answer_timeout_seconds": ANSWER_SECONDS, "reversal_timeout_seconds": ANSWER_SECONDS,
             "inquiry_seconds": 0.5, "stop_seconds": 1.0}  # fmt: skip
    change(unionpay, partner=str(meddled), **short)
    change(house.room_dir("connector-qr_wallet") / "settings.json", **short)
    for acquirer in house.acquirers:
        quick: dict[str, Any] = {"slow_seconds": 0.4, "late_seconds": LATE_SECONDS}
        if acquirer.kind == "qr_wallet":
            quick = {"slow_seconds": 0.6, "late_seconds": 0.3, "pay_seconds": 0.2,
                     "notice_seconds": [0.3, 0.5, 1, 2, 4, 8]}  # fmt: skip
        change(house.acquirer_dir(acquirer) / "settings.json", **quick)
    return FaultyHouse(house, folder, proxies, meddler)


def _meddler(house: House, wires: Wires) -> Meddler:
    unionpay = next(acquirer for acquirer in house.acquirers if acquirer.acquirer_id == "unionpay")
    home = house.acquirer_dir(unionpay)
    settings = json.loads((home / "settings.json").read_text())
    partner = json.loads((home / "partner.json").read_text())
    between = Between(
        unionpay.port,
        str(home / settings["tls"]["certificate"]),
        str(home / settings["tls"]["private_key"]),
        str(home / partner["tls_ca"]),
        partner["server_name"],
        bytes.fromhex((home / settings["mac_key_file"]).read_text().strip()),
    )
    return Meddler(wires, between, LATE_SECONDS)
