"""The whole way once: start, register, import, pay, verify, stop."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from clearline.house import bringup, command
from clearline.house.bringup import Choice, Say
from clearline.house.layout import House, HouseError


def demonstrate(choice: Choice, orders: Sequence[Path], say: Say) -> None:
    """Run the demonstration in `choice.home`; whatever happens, everything is stopped at the end.

    Raises HouseError when a step fails: the logs stay in the home.
    """
    started = time.monotonic()
    _clear(choice.home, say)
    try:
        house = bringup.up(choice, say)
        say(f"everything is up after {time.monotonic() - started:.1f} s")
        _pay(house, orders, say)
        say("the auditor verifies every block from the Supervisor's peer")
        command.run("audit", "verify", "--profile", house.profile("Supervisor", "auditor"))
    finally:
        with contextlib.suppress(HouseError):
            bringup.down(choice.home, say)
    say(f"done in {time.monotonic() - started:.1f} s; logs and ledger stay in {choice.home}")


def _pay(house: House, orders: Sequence[Path], say: Say) -> None:
    merchant = house.merchant_dir
    for path in orders:
        say(f"the merchant imports {path}")
        command.run("merchant", "--home", merchant, "import", path)
    say(f"and pays every order through {len(house.gateways)} gateways")
    command.run("merchant", "--home", merchant, "pay", "--all")


def _clear(home: Path, say: Say) -> None:
    """Stop and remove what an earlier run left here; refuse a folder that is none of ours."""
    if not home.exists():
        return
    if not (home / "home.json").exists():
        if any(home.iterdir()):
            raise HouseError(f"{home} holds other files: name another folder with --home")
        return
    with contextlib.suppress(HouseError):
        bringup.down(home, say)
    shutil.rmtree(home)
