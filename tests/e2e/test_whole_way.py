"""`make run`, and the ways the doors of a running house are used."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import requests

from clearline import supervisor
from clearline.house import command
from clearline.house.layout import House


def write_orders(path: Path, prefix: str, tokens: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order_no", "amount", "currency", "payer_token"])
        for number, token in enumerate(tokens):
            writer.writerow([f"{prefix}-{number:03d}", f"{number + 1}.25", "CNY", token])
    return path


def run_house(folder: Path, orders: Path) -> subprocess.CompletedProcess[str]:
    """`clearline run` in the folder, by relative paths, as make gives them."""
    engine = os.environ.get("ENGINE", "embedded")
    words = ["run", "--orders", orders.name, "--home", "home", "--engine", engine]
    return subprocess.run(
        [sys.executable, "-P", "-m", "clearline", *words],
        capture_output=True, text=True, timeout=100, check=False, cwd=folder,
    )  # fmt: skip


def left_running(home: Path) -> list[str]:
    """Command lines of processes that speak of this home, or were started by its supervisors."""
    specs = [json.loads(path.read_text()) for path in (home / "run").glob("*.spec.json")]
    assert {spec["group"] for spec in specs} == {"network", "rooms"}
    found = []
    for process in psutil.process_iter():
        try:
            told = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue  # gone meanwhile, or another person's
        if any(str(home) in word for word in told):
            found.append(" ".join(process.cmdline()))
    return found


def test_run_does_the_whole_way_and_stops_cleanly(tmp_path: Path) -> None:
    tokens = ["tok_approve"] * 8 + ["tok_insufficient_funds", "tok_timeout_charged"]
    home = tmp_path / "home"
    done = run_house(tmp_path, write_orders(tmp_path / "orders.csv", "run", tokens))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 paid, 1 declined, 1 closed" in done.stdout + done.stderr
    assert "every check holds" in done.stdout
    for group in ("network", "rooms"):
        assert not supervisor.state_file(home / "run", group).exists()
    assert left_running(home) == []

    # Again in its own folder, with a file that is not all good: that stops nothing else.
    orders = tmp_path / "bad.csv"
    orders.write_text(
        "order_no,amount,currency,payer_token\nbad-1,1.25,CNY,tok_approve\n"
        "bad-2,1.2.5,CNY,tok_approve\nbad-1,9.99,CNY,tok_approve\n"
        "bad-3,3.25,CNY,tok_approve\nbad-4\n"
    )
    done = run_house(tmp_path, orders)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 orders: 2 paid" in done.stdout
    assert "every check holds" in done.stdout
    summary = done.stderr.partition("not all of it went well")[2]
    assert "bad.csv: 3 not taken" in summary
    for line, code in ((3, "amount_invalid"), (4, "conflict"), (6, "fields_missing")):
        assert f"line {line} " in summary and code in summary
    assert left_running(home) == []


def test_what_runs_is_seen_as_running(house: House) -> None:
    assert len(left_running(house.home)) > 12


def test_any_http_client_reads_a_payment_at_either_gateway(house: House, tmp_path: Path) -> None:
    orders = write_orders(tmp_path / "orders.csv", "curl", ["tok_approve"])
    command.output("merchant", "--home", house.merchant_dir, "import", orders)
    command.output("merchant", "pay", "--home", house.merchant_dir, "curl-000")
    for number, gateway in enumerate(house.gateways):
        token = command.output(
            "merchant", "token", "--home", house.merchant_dir, "--gateway", str(number + 1)
        ).strip()
        with requests.Session() as session:
            session.trust_env = False
            answer = session.get(
                f"{gateway.url}/v1/payments/curl-000",
                headers={"Authorization": f"Bearer {token}"},
                verify=str(house.tls_ca(gateway.bank)),
                timeout=10,
            )
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "succeeded"
        assert answer.json()["result"].count(".") == 2


def test_the_evidence_of_a_payment_names_who_signed_and_endorsed(house: House) -> None:
    profile = house.profile("Supervisor", "auditor")
    words: list[str | Path] = ["audit", "payment", "M-0001", "curl-000", "--json"]
    words += ["--profile", profile]
    shown = json.loads(command.output(*words))
    steps = shown[0]["steps"]
    assert [step["status"] for step in steps] == ["requested", "succeeded"]
    assert all(len(step["endorsed_by"]) >= 2 for step in steps)
    assert steps[1]["payload"]["acquirer_id"] == "unionpay"
