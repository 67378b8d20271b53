"""One clock is ten minutes wrong: what is refused has a clear code, and all ends afterwards.

The clocks jump while the processes run, and jump back.
"""

import json
import os
import struct
import subprocess
import time
from pathlib import Path

from fault_load import Load, Till
from faulty_house import CLOCKS, INJECT, FaultyHouse

from clearline.house import command

WRONG = 600.0
WRONG_SECONDS = 1.0


def test_every_clock_jumps_and_jumps_back(faulty: FaultyHouse) -> None:
    before = {status.name: status.restarts for status in faulty.everyone()}
    begun = {name: len(faulty.log(name)) for name in CLOCKS}
    with Load(faulty.house.merchant_dir, "clock") as load:
        load.more()
        for number, name in enumerate(CLOCKS):
            ahead = WRONG if number % 2 else -WRONG
            print(f"{name}: {ahead:+} s")
            faulty.shift(name, ahead)
            time.sleep(WRONG_SECONDS)  # the fault itself
            faulty.shift(name, 0.0)
            load.more()
    assert {status.name: status.restarts for status in faulty.everyone()} == before
    said = {name: faulty.log(name)[begun[name] :] for name in CLOCKS}
    # Nothing was given up because of a clock, and the contract's server did refuse for one.
    assert [name for name, text in said.items() if "item refused" in text] == []
    assert "timestamp_out_of_window" in said["committer-bankone"]


def test_a_gateways_wrong_clock_refuses_by_name(faulty: FaultyHouse) -> None:
    with Till.opened(faulty.house.merchant_dir, expires_in=400) as till:
        numbers = till.add("by-name", [("unionpay", "tok_approve")] * 2)
        early, late = (till.sign(till.intent(number)) for number in numbers)
        assert faulty.post(0, early).status_code == 201
        try:
            faulty.shift("committer-bankone", WRONG)
            expired = faulty.post(0, late)
            assert (expired.status_code, expired.json()["code"]) == (422, "expired")
            faulty.shift("gateway-bankone", WRONG)
            assert faulty.read(0, numbers[0]) == (401, "token_expired")
            faulty.shift("gateway-bankone", -WRONG)
            assert faulty.read(0, numbers[0]) == (401, "unauthenticated")
        finally:
            faulty.shift("gateway-bankone", 0.0)
            faulty.shift("committer-bankone", 0.0)
        assert faulty.read(0, numbers[0]) == (200, None)
        assert not till.finish(numbers).open
        assert till.statuses(numbers) == ["paid", "paid"]


def test_a_merchants_wrong_clock(faulty: FaultyHouse, tmp_path: Path) -> None:
    """Ahead: its intents are of the future, told by name, and renewed once the clock is right."""
    home = faulty.house.merchant_dir
    with Till.opened(home) as till:
        numbers = till.add("merchant-clock", [("unionpay", "tok_approve")])
    shown = _tool(tmp_path, WRONG, "pay", "--home", home, *numbers, "--timeout", "5", "--json")
    assert [item["code"] for item in shown["open"]] == ["not_yet_valid"]
    words = ("pay", "--home", home, *numbers, "--renew", "--json")
    assert _tool(tmp_path, 0.0, *words)["counts"] == {"paid": 1}
    with Till.opened(home) as till:
        numbers = till.add("merchant-late", [("unionpay", "tok_approve")])
    shown = _tool(tmp_path, -WRONG, "pay", "--home", home, *numbers, "--timeout", "5", "--json")
    assert shown["counts"] == {"paid": 1} or shown["open"][0]["code"] == "token_expired"
    assert _tool(tmp_path, 0.0, "pay", "--home", home, *numbers, "--json")["counts"] == {"paid": 1}


def _tool(folder: Path, ahead: float, *words: str | Path) -> dict[str, object]:
    """`clearline merchant` with a clock of its own; its JSON."""
    (folder / "tool.clock").write_bytes(struct.pack("d", ahead))
    faults = {"PYTHONPATH": str(INJECT), "FAULTS_FOLDER": str(folder), "FAULTS_NAME": "tool"}
    done = subprocess.run(
        command.argv("merchant", *words), env=os.environ | faults, timeout=60, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    shown: dict[str, object] = json.loads(done.stdout)
    return shown
