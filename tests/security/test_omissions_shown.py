"""`clearline merchant omissions` against the house's own gateways, while the orderer stands.

Two transactions are on their way and get nowhere; a third intent waits behind them, so that it is
endorsed only after its deadline.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import parties
import pytest
from click.testing import CliRunner
from parties import MERCHANT, ONE, OWNER
from security_world import Web, World

from clearline import intents, jws, processes, refunds, supervisor, times
from clearline.answers import Receipt, RefundAnswer, parse_receipt
from clearline.cli import cli
from clearline.intents import PayIntent
from clearline.jws import Algorithm
from clearline.processes import ProcessStatus
from clearline.refunds import RefundIntent
from clearline.refusals import parse_refusal
from merchant.attempts import Change, NewIntent, OrderStatus
from merchant.desk import opened
from merchant.orders import take
from merchant.refunding import change_of
from merchant.verify_refunds import Refunding

DEADLINE = 2  # seconds
Receipts = dict[str, tuple[PayIntent, Receipt]]


def wait_until(condition: Callable[..., bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)  # between two looks, not in place of one


def process(world: World, group: str, name: str) -> ProcessStatus:
    status = supervisor.status(world.house.run_dir, group)
    assert status is not None
    return next(item for item in status.processes if item.name == name)


def send(victim: ProcessStatus, number: signal.Signals) -> None:
    assert victim.id is not None
    assert processes.send_signal(victim.id, number)


@pytest.fixture(scope="module")
def hasty(world: World) -> Web:
    """BankOne's gateway, whose receipts are good for two seconds for the rest of the session."""
    path = world.house.room_dir("gateway-bankone") / "settings.json"
    as_it_was = path.read_text()
    document = json.loads(as_it_was)
    document.setdefault("limits", {})["receipt_deadline_s"] = DEADLINE
    before = process(world, "rooms", "committer-bankone")
    path.write_text(json.dumps(document))
    try:
        send(before, signal.SIGKILL)

        def back() -> bool:
            now = process(world, "rooms", "committer-bankone")
            return now.ready and now.restarts > before.restarts

        wait_until(back, "the committer is back")
    finally:
        path.write_text(as_it_was)
    web = world.web[0]
    wait_until(lambda: web.ask("GET", "/readyz").ok, "the gateway takes payments")
    return web


@contextmanager
def no_orderer(world: World) -> Iterator[None]:
    """All of them stand: of Fabric's three any two order."""
    status = supervisor.status(world.house.run_dir, "network")
    assert status is not None
    victims = [item for item in status.processes if item.name.startswith("orderer")]
    assert victims
    with ExitStack() as stack:
        for victim in victims:
            send(victim, signal.SIGSTOP)
            stack.callback(send, victim, signal.SIGCONT)
        yield


@pytest.fixture
def home(world: World, tmp_path: Path) -> Path:
    """A merchant's folder for M-SEC, with the gateways and pinned keys of the house's merchant."""
    folder = tmp_path / "shop"
    folder.mkdir()
    profile = json.loads((world.house.merchant_dir / "merchant.json").read_text())
    profile |= {
        "merchant_id": MERCHANT,
        "acquirer_keys": {ONE: [parties.BANK_ONE.jwk]},
        "routes": [{"acquirer_id": ONE, "merchant_code": parties.CODE_ONE}],
    }
    (folder / "merchant.json").write_text(json.dumps(profile))
    OWNER.save(folder / "key.pem")
    return folder


def receipted(home: Path, web: Web, attempt: int = 1) -> tuple[str, tuple[PayIntent, Receipt]]:
    """Stored in the order book, posted without waiting, the receipt kept, as `pay` does; now and
    then the ledger is quicker than the answer."""
    for _ in range(20):
        wanted = parties.intent(attempt=attempt)
        compact = intents.sign(wanted, OWNER)
        answer = web.post(compact, Prefer="respond-async")
        if answer.status_code == 202:
            break
        assert answer.status_code in (201, 409), answer.text
    else:
        raise AssertionError("never a 202 in twenty")
    order_no = wanted.order_no
    with opened(home) as desk:
        desk.book.add([take({"order_no": order_no, "amount": "29.33"}, desk.profile)])
        new = NewIntent(order_no, attempt, wanted.digest(), compact, wanted.expires_at)
        desk.book.store([new])
        change = Change(order_no, attempt, OrderStatus.RECEIVED, web.url, body=answer.text)
        desk.book.record([change])
    return order_no, (wanted, parse_receipt(answer.json()["receipt"])[0])


def seen(web: Web, wanted: PayIntent) -> Any:
    path = f"/v1/payments/{wanted.order_no}/receipts?attempt={wanted.attempt}"
    return web.ask("GET", path, headers=web.token(MERCHANT, OWNER)).json()


def number(web: Web, name: str) -> float:
    """A gauge or counter of its metrics."""
    lines = web.ask("GET", "/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name + " ")))


def findings(home: Path, code: int) -> dict[str, Any]:
    """`omissions --json`, by order number."""
    done = CliRunner().invoke(cli, ["merchant", "omissions", "--home", str(home), "--json"])
    assert done.exit_code == code, done.output
    return {item["order_no"]: item for item in json.loads(done.stdout)["omissions"]}


def copied(home: Path, name: str, **changes: Any) -> Path:
    """The folder as it is now, under a profile with changes."""
    other = Path(shutil.copytree(home, home.parent / name))
    path = other / "merchant.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return other


def held_up(home: Path, web: Web) -> Receipts:
    """Two transactions that stand before the orderer, and an intent behind them."""
    found: Receipts = {}
    for under_way in (1, 2):
        order_no, one = receipted(home, web)
        found[order_no] = one
        wait_until(
            lambda n=under_way: number(web, "clearline_queue_in_flight_batches") == n,
            f"{under_way} on their way",
        )
    order_no, one = receipted(home, web)
    found[order_no] = one
    last = one[1].deadline
    wait_until(lambda: times.now() > last, "the deadline passes")
    wait_until(lambda: number(web, "clearline_receipts_missed_total") >= 3, "it is noted")
    return found


def test_every_verdict_on_the_house(world: World, hasty: Web, home: Path) -> None:
    """Kept, refused and open; then three whose deadline passes: shown as omitted while they are,
    as late for ever after, and the last one even to who never looked in between."""
    kept, (wanted, _) = receipted(home, hasty)
    refused, (again, claim) = receipted(home, hasty, attempt=2)
    pending, _ = receipted(home, world.web[1])
    wait_until(lambda: seen(world.web[1], wanted)["payment"] is not None, "it is committed")
    wait_until(lambda: seen(hasty, again)["refusals"] != [], "it is refused")
    usual = {kept: "kept", refused: "refused", pending: "open"}
    with no_orderer(world):
        missed = held_up(home, hasty)
        unseen = copied(home, "unseen")
        shown = findings(home, 4)
        profile = json.loads((home / "merchant.json").read_text())
        alone = copied(home, "alone", gateways=profile["gateways"][:1])
        strange = copied(home, "strange", gateway_keys={"gateway-bankone": [OWNER.jwk]})
        assert {item["verdict"] for item in findings(strange, 0).values()} == {"forged", "open"}
        unpinned = findings(copied(home, "unpinned", gateway_keys={}), 0)
    verdicts = {order_no: item["verdict"] for order_no, item in shown.items()}
    assert verdicts == usual | dict.fromkeys(missed, "omitted")
    refusal, _ = parse_refusal(shown[refused]["refusal"])
    assert (refusal.receipt, refusal.code) == (claim, "attempt_out_of_order")
    for order_no in missed:
        assert shown[order_no]["given_by"] == hasty.url
        assert shown[order_no]["witness"] == world.web[1].url
        assert shown[order_no]["found"]["answered"] is True
    assert {unpinned[order_no]["verdict"] for order_no in missed} == {"unproven"}
    last = list(missed)[-1]
    for wanted, _ in missed.values():
        wait_until(lambda w=wanted: seen(world.web[1], w)["payment"] is not None, "committed late")
    shown = findings(home, 4)
    verdicts = {order_no: item["verdict"] for order_no, item in shown.items()}
    assert verdicts == usual | dict.fromkeys(missed, "late")
    # By its own transaction alone: the key that signed the receipt put it there after the deadline.
    (item, promise) = findings(unseen, 4)[last], missed[last][1]
    assert (item["verdict"], item["found"]) == ("late", None)
    assert item["payment"]["requested_at"] > promise.deadline
    assert "its own transaction" in item["detail"]
    # With nobody else to ask, what was found missing before stays so, and no more is known.
    assert {findings(alone, 4)[order_no]["verdict"] for order_no in missed} == {"omitted"}
    assert findings(alone, 4)[kept]["verdict"] == "unproven"


def paid(world: World) -> PayIntent:
    """A payment that its bank has signed as succeeded."""
    wanted = parties.requested(world)
    connector = world.user("BankOne", "connector")
    answer = world.submit(connector, "SubmitReports", [parties.signed_report(wanted)])
    assert answer.codes == ["ok"], answer
    return wanted


def given_back(home: Path, web: Web, make: Callable[[], PayIntent]) -> tuple[str, Receipt]:
    """A refund of a payment that `make` gives: stored in the order book, posted without waiting,
    its receipt kept as `refund` does; now and then the ledger is quicker than the answer."""
    for _ in range(10):
        of = make()
        now = times.now()
        wish = RefundIntent(of.network, *of.key, 1, 100, "CNY", now, times.after(now, 600))
        compact = refunds.sign(wish, OWNER)
        path = f"/v1/payments/{of.order_no}/refunds"
        headers = {"Content-Type": "application/jose", "Prefer": "respond-async"}
        answer = web.ask("POST", path, data=compact.encode(), headers=headers)
        if answer.status_code == 202:
            break
        assert answer.status_code in (201, 409), answer.text
    else:
        raise AssertionError("never a 202 in ten")
    told = RefundAnswer.from_json(answer.json())
    with opened(home) as desk:
        desk.book.add([take({"order_no": of.order_no, "amount": "29.33"}, desk.profile)])
        booked = desk.book.refunds.store(wish, compact)
        asked = Refunding(wish.key, {wish.digest(): wish}, of, ONE)
        desk.book.refunds.record(booked, change_of(told, web.url, asked, desk.profile.pins))
    assert told.receipt is not None
    return of.order_no, parse_receipt(told.receipt)[0]


def seen_refund(web: Web, order_no: str) -> Any:
    path = f"/v1/payments/{order_no}/receipts?attempt=1&refund_no=1"
    return web.ask("GET", path, headers=web.token(MERCHANT, OWNER)).json()


def test_refunds_are_held_to_as_payments_are(world: World, hasty: Web, home: Path) -> None:
    """Kept, refused, and one whose deadline passes: proven, and checked from what is printed."""
    kept, _ = given_back(home, hasty, lambda: paid(world))
    missed = number(hasty, "clearline_receipts_missed_total")
    refused, claim = given_back(home, hasty, lambda: parties.requested(world))
    wait_until(lambda: seen_refund(world.web[1], kept)["refund"] is not None, "it is committed")
    wait_until(lambda: seen_refund(hasty, refused)["refusals"] != [], "it is refused")
    assert number(hasty, "clearline_receipts_missed_total") == missed  # it said why
    of = paid(world)
    with no_orderer(world):
        dropped, promise = given_back(home, hasty, lambda: of)
        wait_until(lambda: times.now() > promise.deadline, "the deadline passes")
        shown = findings(home, 4)
    verdicts = {order_no: item["verdict"] for order_no, item in shown.items()}
    assert verdicts == {kept: "kept", refused: "refused", dropped: "omitted"}
    refusal, _ = parse_refusal(shown[refused]["refusal"])
    assert (refusal.receipt, refusal.code) == (claim, "not_refundable")
    assert shown[kept]["refund"]["submitter"] in {one["kid"] for one in keys_of(hasty)}
    proof = shown[dropped]
    assert (proof["given_by"], proof["witness"]) == (hasty.url, world.web[1].url)
    receipt, token = parse_receipt(proof["receipt"])
    (pinned,) = json.loads((home / "merchant.json").read_text())["gateway_keys"][receipt.gateway]
    jws.public_key(pinned, Algorithm.ES256).verify(token)
    (compact,) = proof["intents"]
    wish = refunds.parse(compact).intent
    assert (receipt, receipt.intent_digest) == (promise, wish.digest())
    assert (wish.key.payment, wish.refund_no) == (of.key, proof["refund_no"])
    wait_until(lambda: seen_refund(world.web[1], dropped)["refund"] is not None, "committed late")
    assert findings(home, 4)[dropped]["verdict"] == "late"


def keys_of(web: Web) -> Any:
    """Those of its receipts, as it shows them."""
    return web.ask("GET", "/v1/gateway").json()["receipt_keys"]
