"""The connector's commands and settings: what they say when something is wrong."""

import asyncio
import json
from pathlib import Path

import pytest
from benches import unionpay
from click.testing import CliRunner
from helpers_connector import World, connected

from connector import settings
from connector.cli import connector
from connector.settings import SettingsError

GOOD: dict[str, object] = {
    "name": "connector-bankone", "network": "clearline-dev", "acquirer_id": "unionpay",
    "adapter": "unionpay_iso8583", "profile": "profile.json", "signer": {"file": "bank.pem"},
    "data_dir": "connector", "partner": "unionpay/partner.json",
}  # fmt: skip


def written(folder: Path, **changes: object) -> Path:
    path = folder / "connector.json"
    path.write_text(json.dumps({k: v for k, v in (GOOD | changes).items() if v is not None}))
    return path


def test_good_settings(tmp_path: Path) -> None:
    loaded = settings.load(written(tmp_path, in_flight=8, answer_timeout_seconds=1))
    assert loaded.outbox == tmp_path / "connector" / "outbox.db"
    assert (loaded.in_flight, loaded.connections, loaded.answer_timeout_seconds) == (8, 2, 1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": None}, "name"),
        ({"network": 5}, "network"),
        ({"adapter": "pigeon"}, "adapter must be one of unionpay_iso8583"),
        ({"surprise": 1}, "unknown members surprise"),
        ({"in_flight": 0}, "in_flight"),
        ({"in_flight": True}, "in_flight"),
        ({"answer_timeout_seconds": "5"}, "answer_timeout_seconds"),
        ({"stop_seconds": 0}, "stop_seconds"),
    ],
)
def test_bad_settings_say_what_is_wrong(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        settings.load(written(tmp_path, **change))


@pytest.mark.parametrize("text", ["", "[]", "{", "\0"])
def test_a_file_that_is_no_object(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(SettingsError, match="JSON"):
        settings.load(tmp_path / "x.json")
    with pytest.raises(SettingsError, match="No such file"):
        settings.load(tmp_path / "missing.json")


def test_serve_says_what_is_missing(tmp_path: Path) -> None:
    run = CliRunner().invoke
    config = written(tmp_path)
    without_profile = run(connector, ["serve", "--config", str(config)])
    assert without_profile.exit_code == 1
    assert "profile.json" in without_profile.output
    early = run(connector, ["status", "--config", str(config)])
    assert early.exit_code == 1
    assert "has the connector run yet" in early.output
    for command in ("serve", "status"):
        assert "Example: clearline connector" in run(connector, [command, "--help"]).output


def test_status_shows_depth_while_it_runs(tmp_path: Path) -> None:
    world = World.make(tmp_path)
    config = written(tmp_path)

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            keys = world.request(ledger, *(world.intent(n) for n in range(3)))
            await ledger.until_final(keys)
            invoked = await asyncio.to_thread(
                CliRunner().invoke, connector, ["status", "--config", str(config), "--json"]
            )
            shown = json.loads(invoked.output)
            assert sum(shown["payments"].values()) == 3
            assert shown["stuck"] == {}
            assert shown["block"] >= 1
        ledger.close()

    asyncio.run(run())
    table = CliRunner().invoke(connector, ["status", "--config", str(config)]).output
    assert "reported" in table
