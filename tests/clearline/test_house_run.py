"""`clearline run`: whose folder it removes, what stops it and what doesn't, and Ctrl-C."""

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from clearline.cli import cli
from clearline.house import bringup, command, demonstration
from clearline.house.bringup import Choice, Say
from clearline.house.command import Answer
from clearline.house.layout import House, HouseError

HOUSE = House(Path("home"), "clearline-dev", (), ())


def _say(_: str) -> None:
    pass


def _made_by_run(home: Path) -> Path:
    """A home as an earlier run leaves it."""
    (home / "run").mkdir(parents=True)
    (home / "run" / "made-by-clearline-run").touch()
    (home / "home.json").write_text("{}")
    return home


def _refuse_up(*_: object) -> House:
    raise HouseError("not in this test")


@pytest.mark.parametrize("what", ["home.json", "thesis.tex"])
def test_a_run_removes_no_home_but_a_run_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(bringup, "up", _refuse_up)
    (tmp_path / what).write_text("{}")
    (tmp_path / "run").mkdir()
    result = CliRunner().invoke(cli, ["run", "--home", str(tmp_path)])
    assert result.exit_code == 1
    assert "was not made by `clearline run`" in result.output and "--home" in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([what, "run"])
    assert not list((tmp_path / "run").iterdir())


def test_what_could_not_be_stopped_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = _made_by_run(tmp_path / "home")

    def down(*_: object) -> None:
        raise HouseError("a peer would not go")

    monkeypatch.setattr(bringup, "down", down)
    monkeypatch.setattr(bringup, "up", _refuse_up)
    with pytest.raises(HouseError, match=r"could not be stopped.*a peer would not go"):
        demonstration.demonstrate(Choice(home), [], _say)
    assert (home / "home.json").exists()


def test_a_run_s_home_is_removed_by_the_next_one_until_somebody_works_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Path] = []
    monkeypatch.setattr(bringup, "down", lambda home, _: stopped.append(home))
    monkeypatch.setattr(bringup, "up", _refuse_up)
    home = _made_by_run(tmp_path / "home")
    with pytest.raises(HouseError, match="not in this test"):
        demonstration.demonstrate(Choice(home), [], _say)
    assert stopped == [home] and not (home / "home.json").exists()
    (home / "home.json").write_text("{}")
    CliRunner().invoke(cli, ["up", "--home", str(home)])
    with pytest.raises(HouseError, match="was not made by"):
        demonstration.demonstrate(Choice(home), [], _say)
    assert (home / "home.json").exists()


@pytest.mark.parametrize("failing", ["import", "pay", "verify"])
def test_a_step_that_fails_stops_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    steps: list[str] = []

    def step(words: Sequence[str | Path]) -> bool:
        name = next(word for word in ("import", "pay", "verify") if word in words)
        steps.append(name)
        return name != failing

    def run(*words: str | Path) -> None:
        if not step(words):
            raise HouseError(f"`{words[-1]}` failed")

    def ask(*words: str | Path) -> Answer:
        good = '{"added":1,"same":0,"updated":0,"bad":[]}'
        return Answer(0, good) if step(words) else Answer(1, "")

    def up(choice: Choice, say: Say) -> House:
        (choice.home / "home.json").write_text("{}")
        return HOUSE

    monkeypatch.setattr(command, "run", run)
    monkeypatch.setattr(command, "ask", ask)
    monkeypatch.setattr(bringup, "up", up)
    monkeypatch.setattr(bringup, "down", lambda *_: steps.append("down"))
    with pytest.raises(HouseError, match="not all of it went well"):
        demonstration.demonstrate(Choice(tmp_path / "home"), [Path("orders.csv")], _say)
    assert steps == ["import", "pay", "verify", "down"]


def test_ctrl_c_while_a_command_s_interpreter_starts_shows_no_traceback() -> None:
    early = ["sh", "-c", 'kill -INT $$; exec "$@"', "sh"]  # it comes before the first instruction
    # A suite that runs in a shell's background ignores it, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with command._interrupts_held():
            process = subprocess.Popen(
                [*early, *command.argv("--version")],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130
