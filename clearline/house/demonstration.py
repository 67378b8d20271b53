"""The whole way once: start, register, import, pay, verify, stop."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from clearline.house import bringup, command
from clearline.house.bringup import Choice, Say
from clearline.house.layout import House, HouseError

_SHOWN: Final = 20  # bad rows of a file named in the summary


def demonstrate(choice: Choice, orders: Sequence[Path], say: Say) -> None:
    """Run the demonstration in `choice.home`; whatever happens, everything is stopped at the end.

    A bad row, a payment without an end or a failed check stops nothing after it. Raises HouseError
    when a step failed, at the end: the logs stay in the home.
    """
    started = time.monotonic()
    _clear(choice.home, say)
    _mark(choice.home)
    try:
        house = bringup.up(choice, say)
        say(f"everything is up after {time.monotonic() - started:.1f} s")
        faults = _pay(house, orders, say) + _verify(house, say)
    except BaseException:
        try:
            _stop(choice.home, say)
        except HouseError as error:
            say(str(error))  # the first failure is the one to tell of
        raise
    _stop(choice.home, say)
    say(f"done in {time.monotonic() - started:.1f} s; logs and ledger stay in {choice.home}")
    if faults:
        raise HouseError("\n".join(["not all of it went well:", *faults]))


def keep(home: Path) -> None:
    """Make the home of a run one that no run removes: somebody works with it from now on."""
    _mark_of(home).unlink(missing_ok=True)


def _pay(house: House, orders: Sequence[Path], say: Say) -> list[str]:
    faults = []
    for path in orders:
        say(f"the merchant imports {path}")
        faults += _import(house, path, say)
    say(f"and pays every order through {len(house.gateways)} gateways")
    try:
        command.run("merchant", "--home", house.merchant_dir, "pay", "--all")
    except HouseError as error:
        faults.append(f"{error}: its summary says which orders have no proven end")
    return faults


def _import(house: House, path: Path, say: Say) -> list[str]:
    """Import one file; what of it was not taken."""
    words = ("merchant", "--home", house.merchant_dir, "import", "--json", path)
    answer = command.ask(*words)
    try:
        result: dict[str, Any] = json.loads(answer.output)
    except ValueError:  # the file as a whole: the reason was shown
        return [f"{path}: not imported"]
    bad = result["bad"]
    say(
        f"{result['added']} orders added, {result['same']} there already, "
        f"{result['updated']} updated by the profile, {len(bad)} not taken"
    )
    if not bad:
        return []
    rows = [
        f"  line {row['line']}{' (order ' + row['order_no'] + ')' if row['order_no'] else ''}: "
        f"{row['code']}: {row['detail']}"
        for row in bad[:_SHOWN]
    ]
    more = [f"  and {len(bad) - _SHOWN} more, named above"] if len(bad) > _SHOWN else []
    return [f"{path}: {len(bad)} not taken", *rows, *more]


def _verify(house: House, say: Say) -> list[str]:
    say("the auditor verifies every block from the Supervisor's peer")
    try:
        command.run("audit", "verify", "--profile", house.profile("Supervisor", "auditor"))
    except HouseError as error:
        return [str(error)]
    return []


def _stop(home: Path, say: Say) -> None:
    if (home / "home.json").exists():  # else not even the network was made
        bringup.down(home, say)


def _mark_of(home: Path) -> Path:
    """The file that says that the home is a run's own, to be removed by the next one."""
    # In run/, which a home may have before its network is made.
    return home / "run" / "made-by-clearline-run"


def _mark(home: Path) -> None:
    mark = _mark_of(home)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _clear(home: Path, say: Say) -> None:
    """Stop and remove what an earlier run left here; refuse every other folder that holds things.

    Raises HouseError; what could not be stopped is not removed.
    """
    if not home.exists() or (home.is_dir() and not any(home.iterdir())):
        return
    if not _mark_of(home).exists():
        raise HouseError(
            f"{home} was not made by `clearline run`, which begins by removing its folder: "
            "nothing was touched. Name another one with --home, or remove this one yourself."
        )
    try:
        _stop(home, say)
        shutil.rmtree(home)
    except (HouseError, OSError) as error:
        raise HouseError(
            f"what an earlier run left in {home} could not be stopped and removed: {error}"
        ) from None
