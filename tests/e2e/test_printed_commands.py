"""What `clearline up` tells a newcomer to type works as it is printed, by `sh`."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

CLEARLINE = Path(sys.executable).with_name("clearline")
HOME = "a clerk's [first] house"  # each of it would end an unquoted word
ORDERS = [f"20261123-{number:04d},{number}.25,CNY,tok_approve\n" for number in range(1, 6)]


@dataclass(frozen=True)
class Up:
    """A house that is up: the folder it was started from, and what `up` printed."""

    folder: Path
    printed: str

    def sh(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line],
            capture_output=True, text=True, timeout=60, check=False, cwd=self.folder,
        )  # fmt: skip


def commands(printed: str) -> list[str]:
    """The indented lines, each joined with those that continue it."""
    found = re.findall(r"^  (\S(?:.*\\\n)*.*)$", printed, re.MULTILINE)
    assert len(found) == len(re.findall(r"^  \S", printed, re.MULTILINE))
    return found


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Started from a folder with an order file where the repository has its own."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "examples").mkdir()
    (folder / "examples" / "orders.csv").write_text(
        "order_no,amount,currency,payer_token\n" + "".join(ORDERS)
    )
    words = [str(CLEARLINE), "up", "--free-ports", "--home", HOME]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=100, check=False, cwd=folder
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield Up(folder, done.stdout.partition("Everything runs")[2])
    finally:
        subprocess.run(
            [str(CLEARLINE), "down", "--home", HOME], capture_output=True, check=True, cwd=folder
        )


def _paid(said: str) -> None:
    payment = json.loads(said)
    assert (payment["order_no"], payment["status"]) == ("20261123-0002", "succeeded")


def _has(text: str) -> Callable[[str], None]:
    def check(said: str) -> None:
        assert text in said

    return check


# In the order of the printed commands: what names each, and what it must say.
EXPECTED: list[tuple[str, Callable[[str], None]]] = [
    ("import examples/orders.csv", _has("5 orders added")),
    ("pay --all", _has("5 orders: 5 paid")),
    ("curl ", _paid),
    ("audit verify", _has("every check holds")),
    ("audit payment", _has("20261123-0002")),
    ("network status", _has("peer0.bankone")),
    (" status --home", _has("connector-unionpay")),
    ("tail -f", _has("{")),
    (" down ", _has("stopping the gateways")),
]


def test_every_printed_command_works(up: Up) -> None:
    printed = commands(up.printed)
    assert len(printed) == len(EXPECTED), printed
    for line, (name, check) in zip(printed, EXPECTED, strict=True):
        assert name in line
        if name == "curl " and shutil.which("curl") is None:
            continue
        if name == "tail -f":
            check(_first_line(line, up.folder))
            continue
        done = up.sh(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        check(done.stdout)


def _first_line(line: str, folder: Path) -> str:
    with subprocess.Popen(
        ["sh", "-c", f"exec {line}"], stdout=subprocess.PIPE, text=True, cwd=folder
    ) as process:
        try:
            assert process.stdout is not None
            return process.stdout.readline()
        finally:
            process.kill()
