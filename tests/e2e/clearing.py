"""A day's end at the house: the acquirer's files, the bank's desk, the merchant's statement."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result

from acquirers.bookfile import clearing_date
from acquirers.cli import acquirer as acquirer_command
from bank.cli import bank
from clearline.house.layout import Acquirer, House
from merchant.cli import merchant


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
        done = run(acquirer_command, verb, self.acquirer.kind, "--config", self.config, *words)
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    def close_day(self, day: str) -> list[Path]:
        """The files of a clearing date, which ends with it."""
        return [Path(line) for line in self.acquirer_says("file", "--date", day)]

    def new_day(self) -> str:
        """A clearing date on which nothing was charged yet."""
        with closing(sqlite3.connect(self.config.parent / "data" / "book.db")) as db:
            today = clearing_date(db, datetime.now(UTC))
        self.close_day(today)
        return next_day(today)

    def desk(self, *words: str | Path, user: str = "maker", signs: bool = True) -> Result:
        """`clearline bank ...` by one of the bank's clerks, whatever it exits with."""
        profile = self.house.profile(self.acquirer.bank, user)
        key = ("--key", self.house.signer_key(self.acquirer)) if signs else ()
        return run(bank, *words, "--profile", profile, *key)

    def bring_in(self, *files: Path) -> Result:
        return self.desk("file", "import", *files)

    def settle(self, day: str) -> Result:
        return self.desk("settle", "--date", day, "--files", self.delivery)

    def decide(self, verb: str, *names: str) -> Result:
        return self.desk("settlement", verb, *names, user="checker", signs=False)

    def settlements(self, day: str) -> list[dict[str, Any]]:
        """As the checker sees them."""
        words = ("settlement", "list", "--acquirer", self.acquirer.acquirer_id, "--date", day)
        done = self.desk(*words, user="checker", signs=False)
        assert done.exit_code == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def stated(self, day: str) -> str:
        """Close the day, import, settle, approve: the one settlement's id."""
        files = self.close_day(day)
        for done in (self.bring_in(*files), self.settle(day)):
            assert done.exit_code == 0, done.output
        (made,) = self.settlements(day)
        done = self.decide("approve", made["settlement"])
        assert done.exit_code == 0, done.output
        return str(made["settlement"])

    def statement(self, day: str, *words: str) -> Result:
        """`clearline merchant statement` of a day."""
        return run(merchant, "statement", "--home", self.house.merchant_dir, "--date", day, *words)


def run(command: click.Command, *words: str | Path) -> Result:
    """A command in this process: an interpreter each would cost more than what they do."""
    return CliRunner().invoke(command, list(map(str, words)))


def next_day(day: str) -> str:
    """The one after it."""
    return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
