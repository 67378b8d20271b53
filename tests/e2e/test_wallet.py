"""The second acquirer in the whole house: its endings, kills, and a takeover between connectors."""

import csv
import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from books import differences, read_books

from clearline import processes, supervisor
from clearline.house import command
from clearline.house.layout import House

ENDINGS = {
    "tok_approve": "paid",
    "tok_slow": "paid",
    "tok_refuses": "declined",
    "tok_create_lost": "closed",
    "tok_create_unanswered": "paid",
    "tok_notice_twice": "paid",
    "tok_notice_lost": "paid",
    "tok_notice_wrong_amount": "paid",
    "tok_wrong_amount": "closed",
}
MIXED = ["tok_approve", "tok_slow", "tok_refuses", "tok_notice_twice", "tok_create_unanswered"]


def import_orders(house: House, path: Path, prefix: str, tokens: list[str]) -> None:
    """Orders for the wallet."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order_no", "amount", "currency", "acquirer", "payer_token"])
        for number, token in enumerate(tokens):
            writer.writerow([f"{prefix}-{number:03d}", "12.34", "CNY", "qr_wallet", token])
    command.output("merchant", "--home", house.merchant_dir, "import", path)


def pay(house: House) -> None:
    """All that is not paid yet, to its end."""
    command.output("merchant", "pay", "--home", house.merchant_dir, "--all")


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)  # between two looks, not in place of one


def test_every_ending_agrees_in_all_books(house: House, tmp_path: Path) -> None:
    import_orders(house, tmp_path / "orders.csv", "wallet", list(ENDINGS))
    pay(house)
    books = read_books(house)
    assert differences(books) == []
    said = {no: order["status"] for no, order in books.merchant.items() if "wallet-" in no}
    assert list(said.values()) == list(ENDINGS.values())
    first = next(record for key, record in books.ledger.items() if key.order_no == "wallet-000")
    assert [entry[1:3] for entry in first["reports"]] == [
        ["response", "accepted"], ["result", "succeeded"],
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["connector-qr_wallet", "acquirer-qr_wallet"])
def test_the_books_agree_after_a_kill(house: House, tmp_path: Path, name: str) -> None:
    import_orders(house, tmp_path / "orders.csv", name, MIXED * 8)
    words = command.argv("merchant", "pay", "--home", house.merchant_dir, "--all")
    with (tmp_path / "pay.log").open("w") as log:
        paying = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            wait_until(lambda: _accepted(house) > 3, 30, "the first payments are accepted")
            victim = _process(house, name)
            assert victim.id is not None
            assert processes.send_signal(victim.id, signal.SIGKILL)
            assert paying.wait(timeout=90) == 0, (tmp_path / "pay.log").read_text()
        finally:
            paying.kill()
            paying.wait()
    wait_until(lambda: _process(house, name).ready, 20, f"{name} is back")
    assert differences(read_books(house)) == []


@dataclass(frozen=True)
class Standby:
    """A second connector of the wallet: its settings, its folder, its process."""

    config: Path
    data: Path
    process: subprocess.Popen[bytes]


@contextmanager
def standby(house: House, folder: Path) -> Iterator[Standby]:
    """It runs beside the house's own, and stands by."""
    own = house.room_dir("connector-qr_wallet") / "settings.json"
    settings: dict[str, Any] = json.loads(own.read_text()) | {
        "name": "connector-qr_wallet-2",
        "data_dir": str(folder / "data"),
    }
    config = folder / "settings.json"
    config.write_text(json.dumps(settings))
    with (folder / "standby.log").open("wb") as log:
        process = subprocess.Popen(
            command.argv("connector", "serve", "--config", config, "--standby"),
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield Standby(config, folder / "data", process)
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0, (folder / "standby.log").read_text()


def test_a_standby_takes_over_and_gives_back(house: House, tmp_path: Path) -> None:
    own = house.room_dir("connector-qr_wallet")
    with standby(house, tmp_path) as second:
        wait_until((second.data / "standby").exists, 20, "the second one stands by")
        import_orders(house, tmp_path / "orders.csv", "lease-a", MIXED * 2)
        pay(house)
        told = command.output("connector", "take-over", "--config", second.config)
        assert "connector-qr_wallet-2 holds epoch 1 of qr_wallet" in told
        wait_until((second.data / "ready").exists, 20, "the second one acts")
        wait_until((own / "data" / "standby").exists, 20, "the first one stands by")
        assert not (own / "data" / "ready").exists()
        import_orders(house, tmp_path / "more.csv", "lease-b", MIXED * 2)
        pay(house)
        assert json.loads(
            command.output("connector", "status", "--config", second.config, "--json")
        )["epoch"] == 1  # fmt: skip
        command.output("connector", "take-over", "--config", own / "settings.json")
        wait_until((own / "data" / "ready").exists, 20, "the first one acts again")
        import_orders(house, tmp_path / "last.csv", "lease-c", MIXED * 2)
        pay(house)
    books = read_books(house)
    assert differences(books) == []
    leased = [key for key in books.ledger if key.order_no.startswith("lease-")]
    assert len(leased) == 6 * len(MIXED)


def _accepted(house: House) -> int:
    config = house.room_dir("connector-qr_wallet") / "settings.json"
    shown = json.loads(command.output("connector", "status", "--config", config, "--json"))
    return int(shown["payments"]["accepted"])


def _process(house: House, name: str) -> processes.ProcessStatus:
    status = supervisor.status(house.run_dir, "rooms")
    assert status is not None
    return next(process for process in status.processes if process.name == name)
