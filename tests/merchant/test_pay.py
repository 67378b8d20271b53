"""Paying through gateways that work, and through gateways that don't."""

import json
import signal
import time
from pathlib import Path

import pytest
from merchant_tls import TlsFiles, make_tls
from merchant_world import FakeGateway, Fault, World, problem

from clearline import intents
from clearline.codes import Code

NAMES = [f"A-{number:03d}" for number in range(1, 31)]


def test_all_orders_are_paid_through_both_gateways(world: World) -> None:
    world.orders(*NAMES)
    document = world.pay("--all")
    assert document["counts"] == {"paid": 30}
    assert document["exit_code"] == 0
    assert document["time_to_final_ms"]["count"] == 30
    assert document["open"] == [] and document["next"] == []
    assert all(len(gateway.posts) >= 10 for gateway in world.gateways)
    # Connections are kept and used again.
    assert sum(len(gateway.connections) for gateway in world.gateways) <= 32
    assert {len(compacts) for compacts in world.posted().values()} == {1}


def test_a_second_run_has_nothing_to_do(world: World) -> None:
    world.orders(*NAMES[:3])
    world.pay("--all")
    before = sum(len(gateway.posts) for gateway in world.gateways)
    document = world.pay("--all")
    assert document["counts"] == {"paid": 3} and document["exit_code"] == 0
    assert sum(len(gateway.posts) for gateway in world.gateways) == before


def test_what_is_pending_is_asked_for_until_it_ends(world: World) -> None:
    world.ledger.asks = 3
    world.orders(*NAMES[:4])
    assert world.pay("--all")["counts"] == {"paid": 4}
    assert sum(len(gateway.gets) for gateway in world.gateways) >= 12
    assert not any(gateway.bad_tokens for gateway in world.gateways)


def test_a_payment_without_an_end_leaves_exit_code_1_and_says_what_to_do(world: World) -> None:
    world.orders("A-1")
    world.orders("A-2", payer_token="tok_never")
    document = world.pay("--all", "--timeout", "1")
    assert document["counts"] == {"requested": 1, "paid": 1}
    assert document["exit_code"] == 1
    assert document["open"][0]["order_no"] == "A-2"
    assert "run the same command again" in document["next"][0]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("reset"),
        Fault("reset", after=True),
        Fault("truncated", after=True),
        Fault("http", 500),
        Fault("http", 502, after=True),
        Fault("http", 200, body=b"<html>welcome</html>"),
        problem(Code.OVERLOADED),
        problem(Code.RATE_LIMITED, Retry_After="1"),
        problem(Code.MERCHANT_UNKNOWN),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.after}-{fault.body[:12]!r}",
)
def test_one_gateway_failing_costs_no_payment(world: World, fault: Fault) -> None:
    world.gateways[0].behave = lambda method, order_no: fault
    world.orders(*NAMES[:6])
    document = world.pay("--all")
    assert document["counts"] == {"paid": 6}, document
    # Whatever went where, each order has one intent, byte for byte.
    assert {len(compacts) for compacts in world.posted().values()} == {1}
    assert len(world.ledger.entries) == 6


def test_a_redirect_is_not_followed(world: World, tls: TlsFiles) -> None:
    elsewhere = FakeGateway(world.ledger, tls, {})
    try:
        to = (("Location", f"{elsewhere.url}/v1/payments"),)
        world.gateways[0].behave = lambda method, order_no: Fault("http", 307, to)
        world.orders(*NAMES[:4])
        assert world.pay("--all")["counts"] == {"paid": 4}
        assert elsewhere.connections == set()
    finally:
        elsewhere.close()


def test_a_gateway_that_does_not_answer_is_given_up_for_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("merchant.client.ANSWER_TIMEOUT", 0.5)
    monkeypatch.setattr("merchant.workers.WAIT", 0)
    world.gateways[0].behave = lambda method, order_no: Fault("hang")
    world.orders(*NAMES[:4])
    assert world.pay("--all")["counts"] == {"paid": 4}
    assert {len(compacts) for compacts in world.posted().values()} == {1}


def test_a_gateway_with_another_ca_is_not_spoken_to(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    other = make_tls(folder).ca
    world.profile["gateways"][0]["ca"] = str(other)
    world.save_profile()
    world.orders(*NAMES[:4])
    result = world.run("pay", "--all")
    assert result.exit_code == 0 and "4 paid" in result.stdout
    assert "TLS" in result.stderr and str(other) in result.stderr
    assert world.gateways[0].posts == []


def test_no_gateway_at_all_ends_in_time_and_loses_nothing(world: World) -> None:
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: Fault("reset")
    world.orders(*NAMES)
    document = world.pay("--all", "--timeout", "1")
    assert document["exit_code"] == 1 and document["final"] == 0
    assert sum(document["counts"].values()) == 30
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: None
    assert world.pay("--all")["counts"] == {"paid": 30}
    assert {len(compacts) for compacts in world.posted().values()} == {1}


def test_what_no_gateway_took_is_signed_and_not_done(world: World) -> None:
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: Fault("reset")
    world.orders("A-1")
    result = world.run("pay", "A-1", "--timeout", "1")
    assert "0 of 1 done: 1 signed" in result.stderr
    assert "1 orders: 1 signed" in result.stdout and "A-1 attempt 1: signed" in result.stdout
    assert "new" not in result.stdout


def test_retry_after_is_honoured(world: World) -> None:
    asked: list[float] = []

    def busy_once(method: str, order_no: str) -> Fault | None:
        asked.append(time.monotonic())
        return problem(Code.OVERLOADED, Retry_After="1") if len(asked) <= 2 else None

    for gateway in world.gateways:
        gateway.behave = busy_once
    world.orders("A-1")
    assert world.pay("A-1")["counts"] == {"paid": 1}
    # Each gateway was asked once, then none before the second was over.
    assert asked[2] - asked[0] >= 1.0


def test_refused_by_every_gateway_is_refused_and_may_be_renewed(world: World) -> None:
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: problem(Code.MERCHANT_CODE_MISMATCH)
    world.orders("A-1")
    document = world.pay("A-1")
    assert document["counts"] == {"refused": 1} and document["exit_code"] == 1
    assert document["open"][0]["code"] == "merchant_code_mismatch"
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: None
    world.profile["routes"][0]["merchant_code"] = "898310148990002"
    world.save_profile()
    result = world.run("import", "-", "--format", "csv", stdin="order_no,amount\nA-1,29.33\n")
    assert "1 updated by the profile" in result.stdout
    assert world.pay("A-1", "--renew")["counts"] == {"paid": 1}
    (entry,) = world.ledger.entries.values()
    assert entry.intent.attempt == 1
    assert entry.intent.acquirers[0].merchant_code == "898310148990002"


def test_an_intent_that_expired_unposted_lapses_and_is_renewed_on_request(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: Fault("reset")
    world.orders("A-1")
    world.pay("A-1", "--timeout", "1")
    posts = [len(gateway.posts) for gateway in world.gateways]
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: None
    monkeypatch.setattr("clearline.times.now", lambda: "2099-01-01T00:00:00.000Z")
    assert world.pay("--all")["counts"] == {"lapsed": 1}
    assert world.pay("--all")["counts"] == {"lapsed": 1}
    assert [len(gateway.posts) for gateway in world.gateways] == posts
    assert world.pay("--all", "--renew")["counts"] == {"paid": 1}
    assert len(world.posted()["A-1"]) == 2


def test_an_expired_intent_that_reached_the_ledger_is_followed_not_renewed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: Fault("reset", after=True)
    world.orders("A-1")
    world.pay("A-1", "--timeout", "1")
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: None
    monkeypatch.setattr("clearline.times.now", lambda: "2099-01-01T00:00:00.000Z")
    assert world.pay("--all", "--renew")["counts"] == {"paid": 1}
    assert len(world.posted()["A-1"]) == 1


def test_a_new_attempt_only_on_request(world: World) -> None:
    world.orders("A-1", payer_token="tok_do_not_honor")
    first = world.pay("A-1")
    assert first["counts"] == {"declined": 1} and first["exit_code"] == 0
    assert world.pay("A-1")["counts"] == {"declined": 1}
    assert set(world.ledger.entries) == {("A-1", 1)}
    world.pay("A-1", "--retry-declined")
    assert set(world.ledger.entries) == {("A-1", 1), ("A-1", 2)}
    status = json.loads(world.run("status", "A-1", "--json").stdout)
    assert [attempt["attempt"] for attempt in status["attempts"]] == [1, 2]
    assert all(attempt["proof"] == "verified" for attempt in status["attempts"])


def test_batches(world: World) -> None:
    world.orders(*NAMES)
    assert world.pay("--all", "--batch", "10")["counts"] == {"paid": 30}
    assert [size for g in world.gateways for size in g.batch_sizes] == [10, 10, 10]
    assert {len(compacts) for compacts in world.posted().values()} == {1}


@pytest.mark.parametrize(
    "fault", [Fault("reset"), Fault("truncated"), problem(Code.OVERLOADED), problem(Code.CONFLICT)]
)
def test_batches_through_a_failing_gateway(world: World, fault: Fault) -> None:
    def behave(method: str, order_no: str) -> Fault | None:
        return fault if method == "BATCH" and order_no in NAMES[3:6] else None

    world.gateways[0].behave = behave
    world.orders(*NAMES[:20])
    assert world.pay("--all", "--batch", "10")["counts"] == {"paid": 20}
    assert {len(compacts) for compacts in world.posted().values()} == {1}


def test_a_gateway_without_batches_gets_single_posts(world: World) -> None:
    for gateway in world.gateways:
        gateway.batches = False
    world.orders(*NAMES[:5])
    assert world.pay("--all", "--batch", "5")["counts"] == {"paid": 5}


def test_another_intent_under_our_name_is_disputed(world: World) -> None:
    """As after restoring an old copy of the order book: the ledger has what we don't know."""
    world.orders("A-1")
    world.pay("A-1")
    for file in world.home.glob("orders.db*"):
        file.unlink()
    world.orders("A-1", store="store-2")
    document = world.pay("A-1")
    assert document["counts"] == {"disputed": 1}
    assert document["open"][0]["code"] == "answer_for_other_intent"


def test_kill_9_and_again_posts_the_same_bytes(world: World) -> None:
    served: list[str] = []

    def hang_after_eight(method: str, order_no: str) -> Fault | None:
        served.append(order_no)
        return None if len(served) <= 8 else Fault("hang", after=len(served) % 2 == 0)

    for gateway in world.gateways:
        gateway.behave = hang_after_eight
    world.orders(*NAMES)
    process = world.spawn("pay", "--all", "--concurrency", "6")
    for _ in range(4):
        assert world.reached.acquire(timeout=20)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: None
        gateway.release.set()
    before = world.posted()
    assert len(before) >= 8
    assert world.pay("--all")["counts"] == {"paid": 30}
    after = world.posted()
    assert len(after) == 30
    assert {len(compacts) for compacts in after.values()} == {1}
    for (order_no, _), entry in world.ledger.entries.items():
        assert after[order_no] == {entry.compact}


def test_ctrl_c_ends_soon_and_safely(world: World) -> None:
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: Fault("hang", after=True)
    world.orders(*NAMES)
    process = world.spawn("pay", "--all", "--json")
    assert world.reached.acquire(timeout=20)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    document = json.loads(output)
    assert process.returncode == 1 and document["interrupted"]
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: None
        gateway.release.set()
    assert world.pay("--all")["counts"] == {"paid": 30}
    assert {len(compacts) for compacts in world.posted().values()} == {1}


def test_two_runs_at_once_sign_each_order_once(world: World) -> None:
    world.orders(*NAMES)
    runs = [world.spawn("pay", "--all", "--json") for _ in range(2)]
    for run in runs:
        output, errors = run.communicate(timeout=30)
        assert run.returncode == 0, errors
        assert json.loads(output)["counts"] == {"paid": 30}
    assert {len(compacts) for compacts in world.posted().values()} == {1}


def test_watch_posts_nothing(world: World) -> None:
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: Fault("reset", after=True)
    world.orders("A-1")
    world.pay("A-1", "--timeout", "1")
    for gateway in world.gateways:
        gateway.behave = lambda method, order_no: None
        gateway.posts.clear()
    result = world.run("watch", "--all", "--timeout", "10", "--json")
    assert json.loads(result.stdout)["counts"] == {"paid": 1} and result.exit_code == 0
    assert not any(gateway.posts for gateway in world.gateways)


def test_the_intent_says_what_the_order_was(world: World) -> None:
    world.orders("A-1", store="store-9", terminal="T9", mcc="5812", product="app")
    world.pay("A-1")
    (entry,) = world.ledger.entries.values()
    intent = intents.parse(entry.compact).intent
    assert (intent.store, intent.terminal, intent.mcc, intent.product) == (
        "store-9",
        "T9",
        "5812",
        "app",
    )
    assert (intent.amount, intent.currency, intent.site) == (2933, "CNY", "shop.example")
    shown = json.loads(world.run("status", "A-1", "--json").stdout)
    assert shown["order"]["digest"] == intent.order_digest
