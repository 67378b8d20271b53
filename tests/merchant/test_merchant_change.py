"""`clearline merchant change`: what is signed, and what is refused before it is."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from merchant_world import World

from clearline import changes, times
from clearline.changes import AccountChange, KeyChange
from clearline.cli import cli
from clearline.jws import Algorithm, KeySigner, public_key
from merchant.profile import load

ACCOUNT = {"account_id": "b" * 64, "bank_code": "BKONCNBJ", "last4": "0042"}


def days(number: int) -> str:
    return (times.parse(times.now()).date() + timedelta(days=number)).isoformat()


def change(world: World, out: Path, *arguments: str) -> Result:
    home = ["--home", str(world.home)]
    return CliRunner().invoke(
        cli, ["merchant", "change", arguments[0], *home, "--out", str(out), *arguments[1:]]
    )


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_further_key(world: World, tmp_path: Path, algorithm: Algorithm) -> None:
    out = tmp_path / "change.jws"
    done = change(world, out, "key", "--algorithm", algorithm.value, "--from", days(7))
    assert done.exit_code == 0, done.output
    signed = changes.parse(out.read_text().strip())
    new, old = KeySigner.load(world.home / "next-key.pem"), KeySigner.load(world.home / "key.pem")
    settings = load(world.home)
    assert isinstance(signed.change, KeyChange)
    assert signed.change.payload() | {"created": ""} == {
        "kind": "key",
        "version": 1,
        "network": settings.network,
        "merchant_id": settings.merchant_id,
        "key_id": new.key_id,
        "algorithm": algorithm.value,
        "jwk": new.jwk,
        "created": "",
        "from": days(7),
    }
    public_key(old.jwk, old.algorithm).verify(signed.token)
    again = change(world, tmp_path / "again.jws", "key")
    assert again.exit_code == 0, "the key that was made is taken again"
    said = changes.parse((tmp_path / "again.jws").read_text().strip()).change
    assert isinstance(said, KeyChange)
    assert said.key_id == new.key_id


def test_another_account(world: World, tmp_path: Path) -> None:
    file, out = tmp_path / "account.json", tmp_path / "change.jws"
    file.write_text(json.dumps(ACCOUNT))
    done = change(world, out, "account", str(file))
    assert done.exit_code == 0, done.output
    assert "BKONCNBJ that ends in 0042" in done.output
    told = changes.parse(out.read_text().strip()).change
    assert isinstance(told, AccountChange)
    assert (told.account_id, told.bank_code, told.last4) == tuple(ACCOUNT.values())
    assert told.valid_from == days(3)


BAD: list[tuple[list[str], str]] = [
    (["key", "--from", "tomorrow"], "/from"),
    (["key", "--from", "2026-02-30"], "/from"),
    (["key", "--from", "2020-01-01"], "/from"),
    (["key", "--from", "9999-12-31"], "/from"),
    (["key", "--new-key", "orders.db"], "orders.db"),
    (["account", "none.json"], "can't read none.json"),
    (["account", "merchant.json"], "/"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[" ".join(row[0]) for row in BAD])
def test_what_is_not_signed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(world.home)
    (world.home / "orders.db").touch()
    out = tmp_path / "change.jws"
    done: Any = change(world, out, *arguments)
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output
    assert not out.exists()


def test_a_change_that_is_there_is_not_overwritten(world: World, tmp_path: Path) -> None:
    out = tmp_path / "change.jws"
    out.write_text("mine")
    done = change(world, out, "key")
    assert done.exit_code == 1 and "never overwritten" in done.output
    assert out.read_text() == "mine"
