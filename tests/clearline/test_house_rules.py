"""What holds for the whole repository: set-up, requirements, who may import whom."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_name_versions_and_hashes_only(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text, "a lock names no addresses"
    entries = re.findall(r"^([a-z0-9][^\n]*?)(?: \\)?\n((?:    --hash=sha256:[0-9a-f]{64}.*\n?)*)",
                         text, re.MULTILINE)  # fmt: skip
    assert entries
    for requirement, hashes in entries:
        assert re.match(r"[a-z0-9._-]+==", requirement), requirement
        assert "--hash" in hashes, f"{requirement} has no hash"


def test_the_fabric_ca_client_is_installed_and_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from hfc.fabric_ca.caservice import CAService; CAService"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_rooms_import_clearline_and_themselves_only() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True, text=True, check=False, timeout=60, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


# What `gateway serve` loads, and so every worker, which is forked from it (DESIGN 5).
WORKER = "gateway.cli, gateway.serve, gateway.app, gateway.server.worker"


@pytest.mark.parametrize("modules", ["merchant.cli", "acquirers.cli", WORKER])
def test_a_merchant_an_acquirer_and_a_gateways_worker_load_no_grpc(modules: str) -> None:
    check = f"import sys, {modules}; sys.exit(3 if 'grpc' in sys.modules else 0)"
    done = subprocess.run([sys.executable, "-c", check], check=False, timeout=60, cwd=ROOT)
    assert done.returncode == 0


def test_an_old_python_is_told_what_is_needed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(sys, "argv", ["setup.py", ".venv-of-a-test"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "scripts" / "setup.py"), run_name="__main__")
    assert stopped.value.code == 1
    assert "needs Python 3.11 or newer" in capsys.readouterr().err
    assert not (ROOT / ".venv-of-a-test").exists()


def test_a_python_without_venv_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "venv", None)
    monkeypatch.setattr(sys, "argv", ["setup.py", ".venv-of-a-test"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "scripts" / "setup.py"), run_name="__main__")
    assert stopped.value.code == 1
    assert "python3-venv" in capsys.readouterr().err


def test_set_up_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    setup = runpy.run_path(str(ROOT / "scripts" / "setup.py"), run_name="setup")
    setup["run"].__globals__["EVERY"] = 0.0
    lines = ["Collecting a==1", "  Using cached a", "Collecting b==2",
             "Installing collected packages: a, b"]  # fmt: skip
    pip = [sys.executable, "-c", f"print({chr(10).join(lines)!r})"]
    setup["run"](pip, "no", 2)
    assert capsys.readouterr().out.splitlines() == [
        "setup:   1 of 2 fetched", "setup:   2 of 2 fetched",
        "setup:   2 fetched, now they are installed",
    ]  # fmt: skip
    assert setup["packages"](str(ROOT / "requirements" / "build.txt")) == 3


def test_a_step_of_set_up_that_fails_shows_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    setup = runpy.run_path(str(ROOT / "scripts" / "setup.py"), run_name="setup")
    program = "import sys; print('no matching version'); sys.exit(1)"
    with pytest.raises(SystemExit):
        setup["run"]([sys.executable, "-c", program], "could not install it")
    assert capsys.readouterr().err == "no matching version\nsetup: could not install it\n"


def test_every_command_has_help_with_an_example() -> None:
    import click

    from clearline.cli import cli

    missing = []

    def look(command: click.Command, path: str) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None, f"{path} {name}"
                look(child, f"{path} {name}")
        if "Example" not in (command.help or ""):
            missing.append(path)

    look(cli, "clearline")
    assert missing == []


def test_every_acquirers_adapter_has_the_same_files() -> None:
    """Knowing one is knowing all (docs/acquirers.md): verbs, messages, wire."""
    from connector.settings import ADAPTERS

    folders = {path.parent.name for path in (ROOT / "connector").glob("*/adapter.py")}
    assert folders == set(ADAPTERS)
    for name in ADAPTERS:
        found = {path.stem for path in (ROOT / "connector" / name).glob("*.py")}
        assert found >= {"adapter", "messages", "wire"}, name
        assert (ROOT / "acquirers" / name).is_dir(), name
