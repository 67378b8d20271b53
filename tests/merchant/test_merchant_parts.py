"""The pure parts alone: replies, turns among gateways, jobs, plans, summaries."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from merchant_world import answer_for, sign_result
from samples import INTENT

from clearline import intents, jws
from clearline.answers import PaymentAnswer
from clearline.codes import Code
from clearline.jws import KeySigner
from clearline.statuses import Status
from merchant.attempts import Attempt, BookError, OrderStatus, State
from merchant.client import (
    Answered,
    Broken,
    Busy,
    Refused,
    Reply,
    Response,
    Unreachable,
    outcomes,
    refusal,
    retry_after,
)
from merchant.jobs import Call, Ending, Heard, Job, Mode, absorb, avoided, next_call, start
from merchant.orders import Order
from merchant.plan import Again, Resume, Sign, make_plan, watch_plan
from merchant.profile import Pins
from merchant.rota import Rota
from merchant.summary import Open, Summary, advice, percentile, to_json, to_lines

BANK, SIGNER = KeySigner.generate(), KeySigner.generate()
KEYS: Any = {"unionpay": {BANK.key_id: jws.public_key(BANK.jwk, BANK.algorithm)}}
PINS = Pins(KEYS)
NOW = "2026-11-23T08:00:00.000Z"
LATER = "2026-11-24T08:00:00.000Z"
URLS = ("https://a", "https://b")


# --- replies


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("3", 3.0),
        ("0", 0.0),
        ("86400", 60.0),
        ("9" * 400, 60.0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
        ("Mon, 23 Nov 2026 08:00:10 GMT", 10.0),
        ("Mon, 23 Nov 2026 07:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2026 23:00:00 GMT", 60.0),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, datetime(2026, 11, 23, 8, tzinfo=UTC)) == seconds


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"code":"malformed","detail":"x"}', Refused("malformed", "x", 400)),
        (404, b"<html>", Refused("http_404", "", 404)),
        (422, b'{"code":["x"],"detail":5}', Refused("http_422", "", 422)),
        (422, b'{"code":"' + b"x" * 99 + b'"}', Refused("http_422", "", 422)),
        (429, b"{}", Busy("http_429", None)),
        (503, b'{"code":"overloaded"}', Busy("overloaded", None)),
        (500, b"", Broken("HTTP 500 http_500")),
        (302, b"", Broken("HTTP 302 http_302")),
        (422, b'{"code":"c","detail":"4111111111111111"}', Refused("c", "[card data]", 422)),
    ],
)
def test_error_responses(status: int, body: bytes, expected: Reply) -> None:
    assert refusal(Response(status, None, body)) == expected


def test_a_batchs_outcomes() -> None:
    body = answer_for(INTENT, Status.REQUESTED, None)
    items = [
        {"code": "ok", "detail": "", "payment": body},
        {"code": None, "detail": "", "payment": body},
        {"code": "overloaded", "detail": "", "payment": None},
        {"code": "malformed", "detail": "why", "payment": None},
        {"code": "ok", "payment": None},
        {"code": 5},
        "nothing",
    ]
    replies = outcomes(Response(200, "2", orjson.dumps({"outcomes": items})), len(items))
    assert isinstance(replies[0], Answered) and isinstance(replies[1], Answered)
    assert replies[2:4] == [Busy("overloaded", 2.0), Refused("malformed", "why", 0)]
    assert all(isinstance(reply, Broken) for reply in replies[4:])
    for count in (6, 8):
        short = outcomes(Response(200, None, orjson.dumps({"outcomes": items})), count)
        assert len(short) == count and all(isinstance(reply, Broken) for reply in short)
    assert outcomes(Response(413, None, b""), 2) == [Refused("http_413", "", 413)] * 2


# --- turns


def test_gateways_take_turns_and_rest_when_they_must() -> None:
    now = [100.0]
    rota = Rota(3, lambda: now[0], seed="1")
    assert [rota.pick().gateway for _ in range(4)] == [0, 1, 2, 0]
    assert rota.report(1, Unreachable("gone")) == "gone"
    assert rota.report(1, Unreachable("gone")) == ""
    assert {rota.pick().gateway for _ in range(6)} == {0, 2}
    assert rota.pick(frozenset({0, 2})).gateway == 1
    assert rota.ready(1).ready_at > now[0]
    rota.report(0, Busy("overloaded", 5.0))
    rota.report(2, Busy("overloaded", 1.0))
    rota.report(1, Busy("overloaded", 9.0))
    turn = rota.pick()
    assert turn.gateway == 2 and 101.0 <= turn.ready_at <= 101.25 + 1e-9
    now[0] = 120.0
    rota.report(1, Refused("x", "", 400))
    assert rota.last_answer == 120.0
    assert {rota.pick().gateway for _ in range(3)} == {0, 1, 2}
    assert rota.pick(frozenset({0, 1, 2})).gateway in (0, 1, 2)


def test_pauses_grow_with_failures_and_have_a_bound() -> None:
    rota = Rota(1, lambda: 0.0, seed="1")
    pauses = []
    for _ in range(12):
        rota.report(0, Broken("x"))
        pauses.append(rota.ready(0).ready_at)
    assert pauses == sorted(pauses) and 0.25 <= pauses[0] <= 0.32 and pauses[-1] <= 10.0
    rota.report(0, Refused("x", "", 400))
    rota = Rota(1, lambda: 0.0)
    rota.report(0, Busy("x", 0.0))
    assert rota.ready(0).ready_at >= 0.25


# --- jobs


def job(mode: Mode = Mode.PAY, status: OrderStatus = OrderStatus.SIGNED) -> Job:
    compact = intents.sign(INTENT, SIGNER)
    attempt = Attempt(INTENT.order_no, 1, compact, INTENT.expires_at, status)
    return start(attempt, [compact], INTENT.merchant_id, mode)


def said(answer: dict[str, Any]) -> Answered:
    return Answered(PaymentAnswer.from_json(answer), "body")


PENDING = said(answer_for(INTENT, Status.REQUESTED, None))
PAID = said(answer_for(INTENT, Status.SUCCEEDED, sign_result(INTENT, BANK)))
LIE = said(answer_for(INTENT, Status.SUCCEEDED, None))
ABSENT = Refused(Code.PAYMENT_UNKNOWN, "", 404)


def hear(start_with: Job, *replies: tuple[int, Reply], now: str = NOW) -> Job | Ending:
    """Let gateways reply in turn to what the job asks for next."""
    state: Job | Ending = start_with
    for gateway, reply in replies:
        assert isinstance(state, Job), "the job ended before its last reply"
        call = next_call(state, now)
        state = absorb(state, Heard(call, gateway, 2, URLS[gateway], reply, now), PINS)
    return state


ENDINGS: list[tuple[str, Job, list[tuple[int, Reply]], str, OrderStatus, str]] = [
    ("paid at once", job(), [(0, PAID)], NOW, OrderStatus.PAID, "approved"),
    ("paid in the end", job(), [(0, PENDING), (0, PENDING), (0, PAID)], NOW, OrderStatus.PAID,
     "approved"),
    ("paid elsewhere", job(), [(0, PENDING), (0, Unreachable("x")), (1, PAID)], NOW,
     OrderStatus.PAID, "approved"),
    ("refused by both", job(), [(0, Refused("c", "d", 422)), (1, Refused("e", "f", 422))], NOW,
     OrderStatus.REFUSED, "e"),
    ("one refuses", job(), [(0, Refused("c", "d", 422)), (1, PAID)], NOW, OrderStatus.PAID,
     "approved"),
    ("expired at both", job(), [(0, Refused("expired", "", 422)), (1, Refused("expired", "", 422))],
     NOW, OrderStatus.LAPSED, "expired"),
    ("conflict that is ours", job(), [(0, Refused("conflict", "", 422)), (0, PAID)], NOW,
     OrderStatus.PAID, "approved"),
    ("conflict nobody can show", job(),
     [(0, Refused("conflict", "", 422)), (0, ABSENT), (1, Refused("conflict", "", 422)),
      (1, ABSENT)], NOW, OrderStatus.REFUSED, "conflict"),
    ("lie", job(), [(0, LIE)], NOW, OrderStatus.DISPUTED, "result_missing"),
    ("expired, known", job(), [(0, ABSENT), (1, PAID)], LATER, OrderStatus.PAID, "approved"),
    ("expired, unknown", job(), [(0, ABSENT), (1, ABSENT)], LATER, OrderStatus.LAPSED, "expired"),
    ("expired, one won't say", job(), [(0, ABSENT), (1, Refused("unauthenticated", "", 401))],
     LATER, OrderStatus.SIGNED, "unauthenticated"),
    ("watched, unknown", job(Mode.ASK), [(0, ABSENT), (1, ABSENT)], NOW, OrderStatus.SIGNED,
     "payment_unknown"),
    ("disputed, proven", job(Mode.ASK, OrderStatus.DISPUTED), [(0, LIE), (1, PAID)], NOW,
     OrderStatus.PAID, "approved"),
    ("disputed, again", job(Mode.ASK, OrderStatus.DISPUTED), [(0, LIE), (1, LIE)], NOW,
     OrderStatus.DISPUTED, "result_missing"),
    ("disputed, unknown", job(Mode.ASK, OrderStatus.DISPUTED), [(0, ABSENT), (1, ABSENT)], NOW,
     OrderStatus.DISPUTED, "payment_unknown"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("begin", "replies", "now", "status", "code"),
    [row[1:] for row in ENDINGS],
    ids=[row[0] for row in ENDINGS],
)
def test_how_a_job_ends(
    begin: Job, replies: list[tuple[int, Reply]], now: str, status: OrderStatus, code: str
) -> None:
    ending = hear(begin, *replies, now=now)
    assert isinstance(ending, Ending)
    assert (ending.status, ending.code) == (status, code)
    assert ending.change is None or ending.change.status is status
    assert (status is OrderStatus.PAID) == bool(ending.change and ending.change.result)


def test_in_doubt_the_same_bytes_are_posted_again() -> None:
    begin = job()
    doubts: list[list[tuple[int, Reply]]] = [
        [(0, Unreachable("x"))],
        [(0, Broken("x"))],
        [(0, Busy("x", 1.0))],
        [(0, PENDING), (0, ABSENT)],
        [(0, PENDING), (0, Unreachable("x"))],
    ]
    for replies in doubts:
        state = hear(begin, *replies)
        assert isinstance(state, Job)
        assert next_call(state, NOW) is Call.POST
        assert state.compact == begin.compact


def test_a_busy_holder_is_asked_again_not_left() -> None:
    state = hear(job(), (0, PENDING), (0, Busy("overloaded", 1.0)))
    assert isinstance(state, Job) and state.holder == 0
    assert next_call(state, NOW) is Call.GET


def test_an_expired_intent_and_a_watched_one_are_never_posted() -> None:
    assert next_call(job(), LATER) is Call.GET
    assert next_call(job(Mode.ASK), NOW) is Call.GET
    state = hear(job(Mode.ASK), (0, ABSENT))
    assert isinstance(state, Job)
    assert avoided(state, Call.GET) == frozenset({0}) and avoided(state, Call.POST) == frozenset()


def test_delays_grow_while_nothing_happens() -> None:
    state: Job | Ending = job()
    delays = []
    for _ in range(8):
        state = hear(state, (0, PENDING)) if isinstance(state, Job) else state
        assert isinstance(state, Job)
        delays.append(state.delay)
    assert delays[0] == 0.0 and delays == sorted(delays) and delays[-1] == 3.0


def test_a_book_with_garbage_for_an_intent_is_refused() -> None:
    attempt = Attempt("A", 1, "x.y.z", LATER, OrderStatus.SIGNED)
    with pytest.raises(BookError):
        start(attempt, ["x.y.z"], "M", Mode.PAY)


# --- plans


def state_of(status: OrderStatus, attempt: int = 1) -> State:
    order = Order("A", 1, "CNY", "s", "T", "5411", "card", "food", "x", (), "0" * 64)
    if status is OrderStatus.NEW:
        return State(order, None)
    return State(order, Attempt("A", attempt, "c", LATER, status))


PAY, ASK, SETTLED, LEFT = "pay", "ask", "settled", "left"
EVERYTHING = frozenset(Again)
PLANS: list[tuple[OrderStatus, str | int, str | int, str]] = [
    # status, pay, pay --retry-declined --renew, watch
    (OrderStatus.NEW, 1, 1, LEFT),
    (OrderStatus.SIGNED, PAY, PAY, ASK),
    (OrderStatus.RECEIVED, PAY, PAY, ASK),
    (OrderStatus.REQUESTED, PAY, PAY, ASK),
    (OrderStatus.ACCEPTED, PAY, PAY, ASK),
    (OrderStatus.UNKNOWN, PAY, PAY, ASK),
    (OrderStatus.PAID, SETTLED, SETTLED, SETTLED),
    (OrderStatus.DECLINED, SETTLED, 2, SETTLED),
    (OrderStatus.CLOSED, SETTLED, 2, SETTLED),
    (OrderStatus.EXPIRED, SETTLED, 2, SETTLED),
    (OrderStatus.REFUSED, PAY, 1, ASK),
    (OrderStatus.LAPSED, LEFT, 1, ASK),
    (OrderStatus.DISPUTED, ASK, ASK, ASK),
]


@pytest.mark.parametrize(("status", "plain", "again", "watched"), PLANS)
def test_what_is_done_about_an_order(
    status: OrderStatus, plain: str | int, again: str | int, watched: str
) -> None:
    states = [state_of(status)]
    plans = [make_plan(states, frozenset()), make_plan(states, EVERYTHING), watch_plan(states)]
    found: list[str | int] = []
    for plan in plans:
        if plan.settled or plan.left:
            found.append(SETTLED if plan.settled else LEFT)
            continue
        (item,) = plan.todo
        found.append(item.attempt if isinstance(item, Sign) else item.mode.value)
        assert isinstance(item, Sign | Resume)
    assert found == [plain, again, watched]


def test_every_status_has_a_plan_and_attempts_have_an_end() -> None:
    assert {row[0] for row in PLANS} == set(OrderStatus)
    assert make_plan([state_of(OrderStatus.DECLINED, 9999)], EVERYTHING).todo == []


# --- summaries


def test_a_summary() -> None:
    counts = {
        OrderStatus.PAID: 2,
        OrderStatus.DECLINED: 1,
        OrderStatus.DISPUTED: 1,
        OrderStatus.REFUSED: 1,
        OrderStatus.LAPSED: 1,
        OrderStatus.UNKNOWN: 1,
    }
    opened = (Open("A", 1, OrderStatus.UNKNOWN, "pending", "", ""),) * 200
    summary = Summary(counts, counts, (0.2, 0.1, 0.3), 1.5, opened)
    document = to_json(summary)
    assert document["asked"] == 7 and document["final"] == 3 and document["exit_code"] == 1
    assert document["time_to_final_ms"] == {"count": 3, "median": 200, "p99": 300, "max": 300}
    assert document["payments_per_second"] == 2.0 and len(document["open"]) == 100
    assert [line.split()[1] for line in advice(summary)] == [
        "disputed:",
        "refused",
        "lapsed:",
        "without",
    ]
    assert to_lines(summary)[0].startswith("7 orders: 1 unknown, 2 paid, 1 declined")
    done = replace(summary, counts={OrderStatus.DECLINED: 1}, open=())
    assert done.exit_code == 0 and advice(done) == []
    assert replace(done, interrupted=True).exit_code == 1
    empty = Summary({}, {}, (), 0.0, ())
    assert to_json(empty)["time_to_final_ms"]["median"] is None and empty.exit_code == 0


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1), (0, 1)])
def test_percentiles_are_nearest_rank(percent: int, value: int) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], percent) == value
