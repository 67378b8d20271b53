"""A house in a temporary folder on free ports, with bench merchants and rooms as wanted."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmark.intents import MERCHANTS, SINK, Signing, merchant_code, merchant_id
from benchmark.usage import Meter
from clearline import supervisor
from clearline.house import bringup, command, rooms
from clearline.house.bringup import Choice
from clearline.house.layout import ACQUIRER_BANK, ACQUIRER_ID, House, HouseError
from clearline.jws import KeySigner
from clearline.processes import GroupSpec
from network import topology_file
from network.topology import Engine, Topology

_GRACE = 10.0


class Rooms(Enum):
    """What runs on top of the network: nothing, all but connectors and acquirers, all."""

    NONE = ()
    WITHOUT_CONNECTOR = ("committer", "gateway", "notifier")
    ALL = (*WITHOUT_CONNECTOR, "connector", "acquirer")


@dataclass
class BenchHouse:
    """A running house and what the loads need to know of it."""

    house: House
    engine: str
    running: Rooms
    _runs: int = 0

    @property
    def meter(self) -> Meter:
        """CPU and memory of its processes."""
        return Meter(self.house.home)

    @property
    def topology(self) -> Topology:
        """The network as it was made."""
        return topology_file.load(self.house.home / "network.yaml", Engine(self.engine))

    @property
    def keys(self) -> Path:
        """The bench merchants' keys."""
        return self.house.home / "merchant" / "bench"

    def signing(self, acquirer_id: str) -> Signing:
        """Intents that no measurement made before."""
        self._runs += 1
        return Signing(self.keys, self.house.network, f"b{self._runs}", acquirer_id)

    @contextmanager
    def limits(self, **limits: int) -> Iterator[None]:
        """Have the gateways run with these limits for as long. Raises SupervisorError."""
        running = self.running
        self.use(Rooms.NONE)
        files = [self.house.room_dir(one.name) / "settings.json" for one in self.house.gateways]
        before = [file.read_text() for file in files]
        for file, text in zip(files, before, strict=True):
            file.write_text(json.dumps(json.loads(text) | {"limits": limits}))
        self.use(running)
        try:
            yield
        finally:
            self.use(Rooms.NONE)
            for file, text in zip(files, before, strict=True):
                file.write_text(text)
            self.use(running)

    def use(self, wanted: Rooms) -> None:
        """Have exactly these rooms run. Raises SupervisorError."""
        if wanted is self.running:
            return
        supervisor.stop(self.house.run_dir, rooms.GROUP, _GRACE)
        self.running = Rooms.NONE
        if wanted is not Rooms.NONE:
            whole = rooms.specification(self.house)
            chosen = tuple(spec for spec in whole.processes if spec.name.startswith(wanted.value))
            group = GroupSpec(whole.group, chosen, whole.grace_seconds)
            supervisor.start(group, self.house.run_dir)
            self.running = wanted


def _say(text: str) -> None:
    """Progress goes beside the report, which may be JSON."""
    print(text, file=sys.stderr)


@contextmanager
def bench_house(engine: str) -> Iterator[BenchHouse]:
    """A whole house; stopped and removed at the end, whatever happens. Raises HouseError."""
    home = Path(tempfile.mkdtemp(prefix="clearline-bench-"))
    try:
        house = bringup.up(Choice(home / "home", engine, "free"), _say)
        found = BenchHouse(house, engine, Rooms.ALL)
        _register(found)
        yield found
    finally:
        with suppress(HouseError):
            bringup.down(home / "home")
        shutil.rmtree(home, ignore_errors=True)


def _register(bench: BenchHouse) -> None:
    """The acquirer that answers nobody, and merchants enough to stay below one's rate limit."""
    bench.keys.mkdir(parents=True)
    signers = [KeySigner.generate() for _ in range(MERCHANTS)]
    for number, signer in enumerate(signers):
        signer.save(bench.keys / f"{number}.pem")
    records: list[dict[str, object]] = [
        {
            "proposal_id": "bench-sink",
            "kind": "acquirer",
            "body": {
                "acquirer_id": SINK,
                "name": "An acquirer without a connector",
                "currencies": ["CNY"],
                "licence_no": "Z2000131000014",
                "licence_valid_until": "2036-12-31",
                "keys": [KeySigner.generate().jwk],
            },
        }
    ]
    records += [
        {
            "proposal_id": f"bench-merchant-{number}",
            "kind": "merchant",
            "body": {
                "merchant_id": merchant_id(number),
                "entity_id": "E-0001",
                "account_id": bringup.account_id(bench.house),
                "name": f"Bench {number}",
                "mcc": "5411",
                "goods_categories": ["groceries"],
                "codes": {ACQUIRER_ID: [merchant_code(number)], SINK: [merchant_code(number)]},
                "keys": [signer.jwk],
            },
        }
        for number, signer in enumerate(signers)
    ]
    path = bench.house.home / "bank" / "bench.json"
    path.write_text(json.dumps(records))
    command.output(
        "bank", "apply", path,
        "--maker", bench.house.profile(ACQUIRER_BANK, "maker"),
        "--checker", bench.house.profile(ACQUIRER_BANK, "checker"),
    )  # fmt: skip
