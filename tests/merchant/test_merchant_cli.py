"""The commands around paying: keys, profile, token, list, status; and their errors."""

import json
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import requests
from click.testing import CliRunner
from merchant_world import World

from clearline.cli import cli
from clearline.jws import Algorithm, KeySigner, public_key, thumbprint
from clearline.schema import SchemaError
from merchant.cli import merchant
from merchant.desk import opened
from merchant.orders import take
from merchant.profile import ProfileError, load, parse


def invoke(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(cli, ["merchant", *arguments], **options)


def test_every_command_shows_an_example() -> None:
    for name, command in merchant.commands.items():
        example = (command.help or "").partition("Example: ")[2]
        assert "clearline merchant" in example, name
        assert invoke(name, "--help").exit_code == 0
    assert set(merchant.commands) == {
        "keygen", "init", "import", "order", "pay", "status", "list", "watch", "token",
        "webhook", "listen", "omissions", "close", "change", "refund", "statement",
    }  # fmt: skip


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_keygen(tmp_path: Path, algorithm: Algorithm) -> None:
    home = tmp_path / "m"
    result = invoke("keygen", "--home", str(home), "--algorithm", algorithm.value)
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    signer = KeySigner.load(home / "key.pem")
    assert printed == {"kid": signer.key_id, "jwk": signer.jwk}
    assert thumbprint(printed["jwk"]) == printed["kid"] and public_key(signer.jwk, algorithm)
    assert stat.S_IMODE((home / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    before = (home / "key.pem").read_bytes()
    again = invoke("keygen", "--home", str(home))
    assert again.exit_code == 1 and "never overwritten" in again.stderr
    assert (home / "key.pem").read_bytes() == before
    assert [path.name for path in home.iterdir()] == ["key.pem"]


def test_the_default_folder_is_no_source_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("keygen").exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["shop"]
    assert not (Path(__file__).parents[2] / "shop").exists()


@pytest.mark.parametrize("other", ["cli.py", "photos/", "notes.txt", ".git/"])
def test_a_folder_with_other_things_is_refused(tmp_path: Path, other: str) -> None:
    home = tmp_path / "m"
    (home / other if other.endswith("/") else home).mkdir(parents=True)
    if not other.endswith("/"):
        (home / other).write_text("")
    result = invoke("keygen", "--home", str(home))
    assert result.exit_code == 1
    assert "holds other things" in result.stderr and "--home" in result.stderr
    assert [path.name for path in home.iterdir()] == [other.rstrip("/")]


def test_a_folder_with_what_a_bank_handed_over_is_taken(tmp_path: Path) -> None:
    home = tmp_path / "m"
    home.mkdir()
    for name in ("ca.pem", "unionpay.jwk", ".key.pem.4711"):
        (home / name).write_text("")
    assert invoke("keygen", "--home", str(home)).exit_code == 0
    (
        home / "photos"
    ).mkdir()  # once it is a merchant's folder, what else is there is their business
    again = invoke("keygen", "--home", str(home))
    assert "never overwritten" in again.stderr


def test_what_a_merchant_makes_in_a_clone_is_not_committed() -> None:
    root = Path(__file__).parents[2]
    ignored = (root / ".gitignore").read_text().splitlines()
    assert {"/shop/", "*.pem", "merchant.json", "webhooks.json", "orders.db*"} <= set(ignored)


def test_the_home_comes_from_option_group_or_environment(tmp_path: Path) -> None:
    for arguments, environment in (
        (["keygen", "--home", str(tmp_path / "a")], {}),
        (["--home", str(tmp_path / "b"), "keygen"], {}),
        (["keygen"], {"CLEARLINE_MERCHANT_HOME": str(tmp_path / "c")}),
    ):
        assert invoke(*arguments, env=environment).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_init_writes_a_profile_that_works(tmp_path: Path) -> None:
    bank = KeySigner.generate()
    (tmp_path / "bank.jwk").write_text(json.dumps({"kid": bank.key_id, "jwk": bank.jwk}))
    arguments = [
        "init", "--home", str(tmp_path / "m"), "--network", "clearline-dev",
        "--merchant-id", "M-1", "--gateway", "https://127.0.0.1:8441", "ca.pem",
        "--acquirer-key", "unionpay", str(tmp_path / "bank.jwk"),
        "--route", "unionpay", "898310148990001",
        "--default", "currency", "CNY", "--default", "expires_in_seconds", "60",
    ]  # fmt: skip
    assert invoke(*arguments).exit_code == 0
    profile = load(tmp_path / "m")
    assert profile.expires_in == 60 and profile.defaults["currency"] == "CNY"
    assert bank.key_id in profile.pins.keys["unionpay"]
    assert profile.gateways[0].ca == tmp_path / "m" / "ca.pem"
    again = invoke(*arguments)
    assert again.exit_code == 1 and "never overwritten" in again.stderr
    wrong = invoke(*arguments[:2], str(tmp_path / "n"), *arguments[3:], "--default", "mcc", "x")
    assert wrong.exit_code == 2 and "/defaults/mcc" in wrong.stderr


def test_profile_mistakes_are_named_with_their_place(world: World) -> None:
    stranger = KeySigner.generate().jwk
    good = world.profile
    mistakes: list[tuple[dict[str, Any], str]] = [
        ({"network": "Clear Line"}, "/network"),
        ({"merchant_id": ""}, "/merchant_id"),
        ({"colour": "red"}, "/colour"),
        ({"gateways": []}, "/gateways"),
        ({"gateways": [{"url": "http://127.0.0.1:1", "ca": "x"}]}, "/gateways/0/url"),
        ({"gateways": [{"url": "https://127.0.0.1:1/", "ca": "x"}]}, "/gateways/0/url"),
        ({"gateways": good["gateways"] + good["gateways"]}, "/gateways"),
        ({"acquirer_keys": {"unionpay": []}}, "/acquirer_keys/unionpay"),
        ({"acquirer_keys": {"unionpay": [stranger | {"d": "x"}]}}, "/acquirer_keys/unionpay/0"),
        ({"acquirer_keys": {"unionpay": ["x"]}}, "/acquirer_keys/unionpay/0"),
        ({"acquirer_keys": {"other": [stranger]}}, "/routes/0/acquirer_id"),
        ({"routes": []}, "/routes"),
        ({"routes": good["routes"] * 2}, "/routes/1/acquirer_id"),
        (
            {"routes": [{"acquirer_id": "unionpay", "merchant_code": "378282246310005"}]},
            "/routes/0/merchant_code",
        ),
        ({"defaults": {"mcc": "541"}}, "/defaults/mcc"),
        ({"defaults": {"expires_in_seconds": 0}}, "/defaults/expires_in_seconds"),
        ({"defaults": {"site": "4111111111111111"}}, "/defaults/site"),
        ({"revoked_keys": ["x"]}, "/revoked_keys/0"),
    ]
    for change, place in mistakes:
        with pytest.raises(SchemaError) as raised:
            parse(good | change, world.home)
        assert raised.value.pointer == place, change
    for text in ("{", '{"network":"a","network":"b"}', "[]", "{}"):
        (world.home / "merchant.json").write_text(text)
        with pytest.raises(ProfileError, match=r"merchant\.json"):
            load(world.home)
    result = world.run("list")
    assert result.exit_code == 1 and "merchant.json" in result.stderr


def test_what_is_missing_is_named_with_what_to_do(world: World, tmp_path: Path) -> None:
    nowhere = invoke("pay", "--all", "--home", str(tmp_path / "nowhere"))
    assert nowhere.exit_code == 1 and "clearline merchant init" in nowhere.stderr
    world.orders("A-1")
    (world.home / "key.pem").rename(world.home / "gone.pem")
    no_key = world.run("pay", "--all")
    assert no_key.exit_code == 1 and "clearline merchant keygen" in no_key.stderr
    (world.home / "key.pem").write_text("-----BEGIN nonsense")
    assert world.run("token").exit_code == 1
    (world.home / "key.pem").unlink()
    (world.home / "gone.pem").rename(world.home / "key.pem")
    world.profile["gateways"][0]["ca"] = "nowhere.pem"
    world.save_profile()
    no_ca = world.run("pay", "--all")
    assert no_ca.exit_code == 1 and "nowhere.pem" in no_ca.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("pay",),
        ("pay", "A-1", "--all"),
        ("pay", "nobody"),
        ("pay", "--all", "--concurrency", "0"),
        ("watch",),
        ("token", "--gateway", "3"),
        ("token", "--gateway", "0"),
        ("token", "--lifetime", "301"),
        ("import", "orders.txt"),
        ("list", "--status", "rich"),
    ],
)
def test_usage_mistakes_end_with_2(world: World, arguments: tuple[str, ...]) -> None:
    assert world.run(*arguments).exit_code == 2


def test_an_import_file_that_is_not_there(world: World) -> None:
    result = world.run("import", "nowhere.csv")
    assert result.exit_code == 1 and "can't read nowhere.csv" in result.stderr


def test_a_token_opens_its_gateway_and_no_other(world: World) -> None:
    world.orders("A-1")
    world.pay("A-1")
    token = world.run("token", "--gateway", "2").stdout.strip()
    statuses = []
    for gateway in world.gateways:
        session = requests.Session()
        session.trust_env = False
        with session:
            response = session.get(
                f"{gateway.url}/v1/payments/A-1?attempt=1",
                headers={"Authorization": f"Bearer {token}"},
                verify=str(gateway.tls.ca),
                timeout=5,
            )
        statuses.append(response.status_code)
    assert statuses == [401, 200]


def test_order_status_and_list(world: World) -> None:
    taken = world.run("order", "A-1", "29.33", "--store", "s-2")
    assert taken.exit_code == 0 and "29.33 CNY: added" in taken.stdout
    assert "same" in world.run("order", "A-1", "29.33", "--store", "s-2").stdout
    conflict = world.run("order", "A-1", "29.34")
    assert conflict.exit_code == 1 and "conflict" in conflict.stderr
    bad = world.run("order", "A-2", "29.333")
    assert bad.exit_code == 1 and "amount_invalid" in bad.stderr
    assert "new" in world.run("status", "A-1").stdout
    world.pay("A-1")
    shown = world.run("status", "A-1").stdout
    for part in ("paid approved", "verified", "block 7", "ab" * 32, "acquirer_reference"):
        assert part in shown
    assert world.run("status", "nobody").exit_code == 1
    world.run("order", "A-3", "1")
    assert "A-3" in world.run("list", "--status", "new").stdout
    assert "A-1" not in world.run("list", "--status", "new").stdout
    (line,) = world.run("list", "--status", "paid", "--json").stdout.splitlines()
    assert json.loads(line)["block_number"] == 7
    assert len(world.run("list", "--limit", "1", "--json").stdout.splitlines()) == 1


@pytest.mark.parametrize("terminal", ["", "1"], ids=["pipe", "terminal"])
def test_the_list_never_cuts_an_order_s_number(
    world: World, monkeypatch: pytest.MonkeyPatch, terminal: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", terminal)
    names = ["20261123-0002", "n" * 64]
    world.orders(*names)
    world.pay("--all")
    shown = world.run("list").stdout
    for name in names:
        assert name in shown
    if not terminal:  # nothing at all is cut where there is no width
        assert "\u2026" not in shown and shown.count("approved") == 2


def test_a_key_unpinned_later_is_shown_as_no_proof(world: World) -> None:
    world.orders("A-1")
    world.pay("A-1")
    world.save_profile(revoked_keys=[world.bank.key_id])
    assert "key_revoked" in world.run("status", "A-1").stdout


def test_a_book_that_cannot_be_written_says_so(world: World) -> None:
    world.orders("A-1")
    with pytest.raises(click.ClickException, match="Nothing is half done"), opened(world.home) as d:
        d.book._db.execute("PRAGMA query_only = 1")
        d.book.add([take({"order_no": "A-2", "amount": "1"}, d.profile)])
    assert "1 of 1 orders" in world.run("list").stdout


def test_nothing_to_pay(world: World) -> None:
    result = world.run("pay", "--all")
    assert result.exit_code == 0 and "nothing to do" in result.stdout


def test_the_merchant_imports_no_grpc_and_no_other_room() -> None:
    program = (
        "import merchant.cli, sys;"
        "print([m for m in sys.modules if m.split('.')[0] in ('grpc','fabric_protos','google',"
        "'gateway','bank','chaincode','network','connector','acquirers','audit')"
        " or m.startswith('clearline.fabric')])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "[]"
