"""A day's end at the house: the acquirer's files, the bank's desk, the merchant's statement."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearline import reports
from clearline.house import command
from clearline.house.layout import Acquirer, House
from merchant.attempts import OrderStatus
from merchant.desk import opened

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Clearing:
    """One acquirer's, and its bank's clerks."""

    house: House
    acquirer: Acquirer

    @property
    def config(self) -> Path:
        return self.house.acquirer_dir(self.acquirer) / "settings.json"

    @property
    def delivery(self) -> Path:
        return self.config.parent / "data" / "delivery"

    def acquirer_says(self, verb: str, *words: str) -> list[str]:
        """Lines of `clearline acquirer VERB`."""
        kind = self.acquirer.kind
        return command.output("acquirer", verb, kind, "--config", self.config, *words).splitlines()

    def close_day(self, day: str) -> list[Path]:
        """The files of a clearing date, which ends with it."""
        return [Path(line) for line in self.acquirer_says("file", "--date", day)]

    def desk(self, *words: str | Path, user: str = "maker", signs: bool = True) -> Done:
        """`clearline bank ...` by one of the bank's clerks, whatever it exits with."""
        profile = self.house.profile(self.acquirer.bank, user)
        key = ("--key", self.house.signer_key(self.acquirer)) if signs else ()
        argv = command.argv("bank", *words, "--profile", profile, *key)
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)

    def bring_in(self, *files: Path) -> Done:
        return self.desk("file", "import", *files)

    def settle(self, day: str) -> Done:
        return self.desk("settle", "--date", day, "--files", self.delivery)

    def decide(self, verb: str, *names: str) -> Done:
        return self.desk("settlement", verb, *names, user="checker", signs=False)

    def settlements(self, day: str) -> list[dict[str, Any]]:
        """As the checker sees them."""
        words = ("settlement", "list", "--acquirer", self.acquirer.acquirer_id, "--date", day)
        done = self.desk(*words, user="checker", signs=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def stated(self, day: str) -> str:
        """Close the day, import, settle, approve: the one settlement's id."""
        files = self.close_day(day)
        for done in (self.bring_in(*files), self.settle(day)):
            assert done.returncode == 0, done.stdout + done.stderr
        (made,) = self.settlements(day)
        done = self.decide("approve", made["settlement"])
        assert done.returncode == 0, done.stdout + done.stderr
        return str(made["settlement"])


def paid_on(house: House, *order_nos: str) -> set[str]:
    """The clearing dates of these paid orders, as their results say."""
    with opened(house.merchant_dir) as desk:
        found = set()
        for order_no in order_nos:
            state = desk.book.state(order_no)
            assert state is not None and state.attempt is not None
            assert state.status is OrderStatus.PAID, state.status
            day = reports.parse(state.attempt.result).report.clearing_date
            assert day is not None
            found.add(day)
    return found
