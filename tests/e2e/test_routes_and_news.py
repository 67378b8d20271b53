"""Where an intent goes when one of its acquirers is doubtful, and that its news come in order."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from books import differences, read_books
from counter import UNIONPAY, WALLET, Till, kill, process, wait_until

from clearline import intents
from clearline.house import command
from clearline.house.layout import MERCHANT_ID, House
from clearline.intents import PaymentKey
from clearline.processes import send_signal
from merchant.desk import opened


def availability(house: House, gateway: int, acquirer_id: str) -> str:
    """What a gateway thinks of an acquirer."""
    at = house.gateways[gateway]
    with requests.Session() as session:
        session.trust_env = False
        shown = session.get(f"{at.url}/v1/gateway", verify=str(house.tls_ca(at.bank)), timeout=10)
    listed = shown.json()["acquirers"]
    return str(next(one["availability"] for one in listed if one["acquirer_id"] == acquirer_id))


def thinks(house: House, gateway: int, availability_is: str) -> None:
    """Wait until every worker of a gateway thinks so of unionpay."""
    wait_until(lambda: availability(house, gateway, UNIONPAY) == availability_is, availability_is)
    # One worker has told; another may look for 0.1 s at what it read before (health_board.py).
    time.sleep(0.2)


@contextmanager
def silent(house: House, name: str) -> Iterator[None]:
    """A process that does not get to run for a while."""
    victim = kill(house, "rooms", name, signal.SIGSTOP)
    try:
        yield
    finally:
        assert victim.id is not None
        assert send_signal(victim.id, signal.SIGCONT)


def test_the_gateway_picks_within_the_list_and_the_route_stays(house: House, till: Till) -> None:
    """unionpay's connector is silent: of an intent that names both, unionpay first, the wallet
    gets it; and keeps it, at either gateway, when unionpay is well again."""
    path = till.folder / "both.csv"
    rows = [f"route-{n},12.34,CNY,tok_approve,tok_approve" for n in range(2)]
    columns = "order_no,amount,currency,payer_token.unionpay,payer_token.qr_wallet"
    path.write_text("\n".join([columns, *rows]) + "\n")
    command.output("merchant", "import", "--home", house.merchant_dir, path)
    compact = till.sign("route-0")
    named = [route.acquirer_id for route in intents.parse(compact).intent.acquirers]
    assert named == [UNIONPAY, WALLET]
    acting = f"connector-{UNIONPAY}"
    with silent(house, acting):
        for place in range(2):
            thinks(house, place, "doubtful")
        first = till.post(compact)
        assert (first.status_code, first.json()["acquirer_id"]) == (201, WALLET)
    for place in range(2):
        thinks(house, place, "available")
        again = till.post(compact, place)
        assert (again.status_code, again.json()["acquirer_id"]) == (200, WALLET)
    assert till.post(till.sign("route-1"), 1).json()["acquirer_id"] == UNIONPAY
    till.pay("route-0", "route-1")
    books = read_books(house)
    assert differences(books) == []
    keys = [PaymentKey(MERCHANT_ID, f"route-{n}", 1) for n in range(2)]
    assert [books.ledger[key]["acquirer_id"] for key in keys] == [WALLET, UNIONPAY]
    assert process(house, "rooms", acting).ready


@contextmanager
def listening(till: Till) -> Iterator[str]:
    """The merchant's receiver of webhooks; the address it listens at."""
    argv = command.argv(
        "merchant", "listen", "--home", till.house.merchant_dir, "--port", "0", "--path", "/till"
    )
    log = till.folder / "listen.log"
    with log.open("w") as file:
        receiver = subprocess.Popen(argv, stdout=file, stderr=file)
    try:
        wait_until(lambda: "http://" in log.read_text(), "it listens")
        yield next(word for word in log.read_text().split() if word.startswith("http://"))
    finally:
        receiver.terminate()
        receiver.wait(20)


def test_response_then_result_then_news_make_the_order_paid(house: House, till: Till) -> None:
    """Nobody asks for this payment: its news come, in order, and the bank's signature inside ends
    it. The response was on the ledger before the result, and told before it."""
    till.take({"news": (WALLET, "tok_approve")})
    with listening(till) as url:
        kinds = ("payment.accepted", "payment.succeeded")
        wanted = [word for kind in kinds for word in ("--event", kind)]
        command.output(
            "merchant", "webhook", "register", "--home", house.merchant_dir,
            "--gateway", "2", *wanted, "e2e", url,
        )  # fmt: skip
        assert till.post(till.sign("news")).status_code == 201
        wait_until(lambda: till.ends("news") == ["paid"], "its news came")
    with opened(house.merchant_dir) as desk:
        kept = desk.book.answers("news", 1)
    told = [json.loads(answer.body) for answer in kept]
    assert [event["type"] for event in told] == list(kinds)
    accepted, succeeded = (event["data"] for event in told)
    assert accepted["block_number"] < succeeded["block_number"]
    assert succeeded["response"] == accepted["response"]
    home: list[str | Path] = ["--home", house.merchant_dir]
    command.output("merchant", "webhook", "remove", *home, "--gateway", "2", "e2e")
