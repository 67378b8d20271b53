"""One clock is ten minutes wrong: what is refused has a clear code, and all ends afterwards.

The clocks jump while the processes run, and jump back.
"""

import itertools
import json
import os
import random
import struct
import subprocess
import time
from pathlib import Path
from typing import Any

from books import read_books
from fault_load import Load, Till
from faulty_house import CLOCKS, INJECT, FaultyHouse
from news import News

from clearline.house import command

WRONG = 600.0
SOON = 300  # seconds after which intents expire: between the right time and the wrong one
WRONG_SECONDS = 1.0


def test_every_clock_jumps_ahead_and_behind(
    faulty: FaultyHouse, news: News, chance: random.Random
) -> None:
    """All of a bank's at once, each ahead and behind, past the expiry of what is paid meanwhile:
    nothing ends by a clock that the ledger does not agree to."""
    home = faulty.house.merchant_dir
    running = {status.name for status in faulty.everyone()}
    jumping = [name for names in CLOCKS.values() for name in names if name in running]
    before = {status.name: status.restarts for status in faulty.everyone()}
    begun = {name: len(faulty.log(name)) for name in jumping}
    ahead = {name: chance.choice((WRONG, -WRONG)) for name in jumping}
    with Till.opened(home, SOON) as till, Load(home, "clock", SOON) as load:
        waiting = till.add("waits", [("qr_wallet", "tok_never_pays")] * 2)
        for number in waiting:
            assert faulty.post(0, till.sign(till.intent(number))).status_code == 201
        load.more()
        for names, sign in itertools.product(("BankOne", "BankTwo", "others"), (1, -1)):
            jump(faulty, load, {name: sign * ahead[name] for name in CLOCKS[names]})
        jump(faulty, load, {"acquirer-qr_wallet": -WRONG})
        assert {status(faulty, number) for number in waiting} == {"accepted"}
        closed = command.output("merchant", "close", "--home", home, *waiting)
        assert closed
        assert not till.finish(waiting).open
        assert till.statuses(waiting) == ["closed", "closed"]
        # An acquirer's own word is a result, by whichever clock it gave it.
        jump(faulty, load, {"acquirer-qr_wallet": WRONG})
    news.forgive()
    assert load.refunds
    assert {status.name: status.restarts for status in faulty.everyone()} == before
    said = {name: faulty.log(name)[begun[name] :] for name in jumping}
    # Nothing was given up because of a clock, and the contract's server did refuse for one.
    assert [name for name, text in said.items() if "item refused" in text] == []
    connectors = said["connector-unionpay"] + said["connector-qr_wallet"]
    assert "timestamp_out_of_window" in connectors
    ended = read_books(faulty.house).ledger.items()
    assert [
        str(key)
        for key, payment in ended
        if (payment["status"], payment["acquirer_id"]) == ("expired", "unionpay")
    ] == []


def jump(faulty: FaultyHouse, load: Load, ahead: dict[str, float]) -> None:
    """These clocks are wrong for a moment, under load, and right again."""
    print(ahead)
    for name, seconds in ahead.items():
        faulty.shift(name, seconds)
    time.sleep(WRONG_SECONDS)  # the fault itself
    for name in ahead:
        faulty.shift(name, 0.0)
    load.more()


def status(faulty: FaultyHouse, order_no: str) -> str:
    """As the second gateway shows it."""
    return str(faulty.shown(1, order_no).json()["status"])


def test_a_gateways_wrong_clock_refuses_by_name(faulty: FaultyHouse) -> None:
    home, begun = faulty.house.merchant_dir, len(faulty.log("committer-bankone"))
    with Till.opened(home, expires_in=400) as till, Till.opened(home) as patient:
        numbers = till.add("by-name", [("unionpay", "tok_approve")] * 2)
        early, late = (till.sign(till.intent(number)) for number in numbers)
        assert faulty.post(0, early).status_code == 201
        numbers += patient.add("patient", [("unionpay", "tok_approve")])
        waits = patient.sign(patient.intent(numbers[2]))
        try:
            faulty.shift("committer-bankone", WRONG)
            expired = faulty.post(0, late)
            assert (expired.status_code, expired.json()["code"]) == (422, "expired")
            # One that lasts is kept, and goes to the ledger when the clock is right.
            assert faulty.post(0, waits, Prefer="respond-async").status_code == 202
            faulty.wait_said("committer-bankone", "timestamp_out_of_window", begun)
            faulty.shift("gateway-bankone", WRONG)
            assert faulty.read(0, numbers[0]) == (401, "token_expired")
            faulty.shift("gateway-bankone", -WRONG)
            assert faulty.read(0, numbers[0]) == (401, "unauthenticated")
        finally:
            faulty.shift("gateway-bankone", 0.0)
            faulty.shift("committer-bankone", 0.0)
        assert faulty.read(0, numbers[0]) == (200, None)
        assert not till.finish(numbers).open
        assert till.statuses(numbers) == ["paid", "paid", "paid"]


def test_a_merchants_wrong_clock(faulty: FaultyHouse, tmp_path: Path) -> None:
    """Ahead: its intents are of the future, told by name, and renewed once the clock is right."""
    home = faulty.house.merchant_dir
    with Till.opened(home) as till:
        numbers = till.add("merchant-clock", [("unionpay", "tok_approve")])
    shown = _tool(tmp_path, WRONG, "pay", "--home", home, *numbers, "--timeout", "5", "--json")
    assert [item["code"] for item in shown["open"]] == ["not_yet_valid"]
    words: tuple[str | Path, ...] = ("pay", "--home", home, *numbers, "--renew", "--json")
    assert _tool(tmp_path, 0.0, *words)["counts"] == {"paid": 1}
    with Till.opened(home) as till:
        numbers = till.add("merchant-late", [("unionpay", "tok_approve")])
    shown = _tool(tmp_path, -WRONG, "pay", "--home", home, *numbers, "--timeout", "5", "--json")
    assert shown["counts"] == {"paid": 1} or shown["open"][0]["code"] == "token_expired"
    assert _tool(tmp_path, 0.0, "pay", "--home", home, *numbers, "--json")["counts"] == {"paid": 1}


def _tool(folder: Path, ahead: float, *words: str | Path) -> dict[str, Any]:
    """`clearline merchant` with a clock of its own; its JSON."""
    (folder / "tool.clock").write_bytes(struct.pack("d", ahead))
    faults = {"PYTHONPATH": str(INJECT), "FAULTS_FOLDER": str(folder), "FAULTS_NAME": "tool"}
    done = subprocess.run(
        command.argv("merchant", *words), env=os.environ | faults, timeout=60, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown
