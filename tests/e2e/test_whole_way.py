"""`make run`, and the ways the doors of a running house are used."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import requests

from clearline.house import command
from clearline.house.layout import House


def write_orders(path: Path, prefix: str, tokens: list[str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["order_no", "amount", "currency", "payer_token"])
        for number, token in enumerate(tokens):
            writer.writerow([f"{prefix}-{number:03d}", f"{number + 1}.25", "CNY", token])
    return path


def test_run_does_the_whole_way_and_stops_cleanly(tmp_path: Path) -> None:
    tokens = ["tok_approve"] * 8 + ["tok_insufficient_funds", "tok_timeout_charged"]
    orders = write_orders(tmp_path / "orders.csv", "run", tokens)
    words = ["run", "--orders", orders.name, "--home", "home"]  # relative, as make gives them
    done = subprocess.run(
        [sys.executable, "-P", "-m", "clearline", *words],
        capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 paid, 1 declined, 1 closed" in done.stdout + done.stderr
    assert "every check holds" in done.stdout
    assert not list((tmp_path / "home" / "run").glob("*.json.lock"))


def test_the_printed_curl_works_for_any_http_client(house: House, tmp_path: Path) -> None:
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
    words = ["audit", "payment", "M-0001", "curl-000", "--profile", profile, "--json"]
    shown = json.loads(command.output(*words))
    steps = shown[0]["steps"]
    assert [step["status"] for step in steps] == ["requested", "succeeded"]
    assert all(len(step["endorsed_by"]) >= 2 for step in steps)
    assert steps[1]["payload"]["acquirer_id"] == "unionpay"
