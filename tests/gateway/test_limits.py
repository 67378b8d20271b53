"""Rate limits: what is published is what holds, whichever worker answers."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from helpers_gateway import (
    OTHER,
    OTHER_MERCHANT,
    Site,
    new_intent,
    open_site,
    routes,
    signed,
    token,
)
from helpers_served import Served, open_served

from gateway import shared_buckets
from gateway.availability import Availability, Judgement
from gateway.limits import Allowance, Policy, TokenBuckets
from gateway.shared_buckets import SharedBuckets

POLICY = '"intents";q=40;w=40'


@pytest.mark.parametrize("kind", [TokenBuckets, SharedBuckets])
def test_a_bucket_fills_with_time(kind: type[TokenBuckets | SharedBuckets]) -> None:
    now = [100.0]
    buckets = kind(rate=2, burst=3, clock=lambda: now[0])
    assert [buckets.take("a").remaining for _ in range(3)] == [2, 1, 0]
    assert buckets.take("b") == Allowance(2)
    assert buckets.take("a") == Allowance(0, 1)
    now[0] += 0.5
    assert buckets.take("a").granted
    assert not buckets.take("a").granted
    now[0] += 100.0
    assert [buckets.take("a").granted for _ in range(4)] == [True, True, True, False]
    now[0] -= 50.0  # a clock that goes back gives nothing
    assert not buckets.take("a").granted


def test_retry_after_is_when_there_is_a_token() -> None:
    now = [7.0]
    buckets = SharedBuckets(rate=1, burst=2, clock=lambda: now[0])
    buckets.take("a"), buckets.take("a")
    refused = buckets.take("a")
    now[0] += refused.retry_after
    assert buckets.take("a").granted


def test_a_crowd_of_names_keeps_to_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is no free place the bucket that is full the soonest gives way, not a fuller."""
    monkeypatch.setattr(shared_buckets, "_PLACES", 16)
    now = [0.0]
    buckets = SharedBuckets(rate=1, burst=4, clock=lambda: now[0])
    for _ in range(4):
        buckets.take("hungry")
    assert not buckets.take("hungry").granted
    assert all(buckets.take(f"guest-{number}").granted for number in range(60))
    assert not buckets.take("hungry").granted
    now[0] += 4
    assert buckets.take("hungry") == Allowance(3)


# In a process of its own: this one has threads, which are lost in forks.
_FORKS = """
import os
from gateway.shared_buckets import SharedBuckets

buckets = SharedBuckets(rate=1, burst=500, clock=lambda: 1.0)
for _ in range(3):
    if not os.fork():
        granted = sum(buckets.take("a").granted for _ in range(400))
        os.write(1, f"{granted} ".encode())
        os._exit(0)
assert [os.wait()[1] for _ in range(3)] == [0, 0, 0]
"""


def test_processes_share_a_bucket_to_the_token() -> None:
    """Three processes at once get what one would."""
    words = [sys.executable, "-c", _FORKS]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert sum(map(int, done.stdout.split())) == 500
    assert len(done.stdout.split()) == 3


def test_a_policy_says_what_its_bucket_does() -> None:
    policy = Policy("reads", burst=2_000, rate=300)
    assert policy.headers(Allowance(1_400)) == {
        "RateLimit-Policy": '"reads";q=2000;w=7',
        "RateLimit": '"reads";r=1400;t=2',
    }
    assert policy.headers(Allowance(0, 3)) == {
        "RateLimit-Policy": '"reads";q=2000;w=7',
        "RateLimit": '"reads";r=0;t=3',
        "Retry-After": "3",
    }


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("limited")
    with open_site(folder, merchant_rate=1, merchant_burst=40) as site:
        yield site


def left(answer: object) -> int:
    """Tokens in the bucket, as an answer says."""
    value = answer.headers["RateLimit"]  # type: ignore[attr-defined]
    match = re.fullmatch('"intents";r=([0-9]+);t=([0-9]+)', value)
    assert match is not None, value
    return int(match[1])


def test_a_post_that_is_taken_says_what_is_left(limited: Site) -> None:
    """201 and 202 of one; a batch says what its last intent left; what costs nothing says none."""
    compact = signed()
    first = limited.post(compact)
    assert (first.status_code, first.headers["RateLimit-Policy"]) == (201, POLICY)
    again = limited.post(compact)
    assert (again.status_code, again.headers["RateLimit-Policy"]) == (200, POLICY)
    assert "RateLimit" not in again.headers
    limited.ledger.down()
    held = limited.post(signed(), Prefer="respond-async")
    limited.ledger.up()
    assert (held.status_code, held.headers["RateLimit-Policy"]) == (202, POLICY)
    # One a second flows back meanwhile.
    assert left(first) - 1 <= left(held) <= left(first)
    batch = limited.batch([signed() for _ in range(5)])
    assert (batch.status_code, batch.headers["RateLimit-Policy"]) == (200, POLICY)
    assert left(held) - 5 <= left(batch) <= left(held) - 3
    others = limited.batch([signed(new_intent(merchant_id=OTHER_MERCHANT), OTHER), signed()])
    assert left(others) < 38  # of two merchants the one that has less


@pytest.mark.parametrize(
    ("body", "status"),
    [("x", 400), (signed(new_intent(merchant_id="M-9")), 403), ("a" * 20_000, 413)],
    ids=("malformed", "merchant_unknown", "too_long"),
)
def test_a_post_that_is_refused_says_the_policy(limited: Site, body: str, status: int) -> None:
    answer = limited.post(body)
    assert (answer.status_code, answer.headers["RateLimit-Policy"]) == (status, POLICY)
    assert "RateLimit" not in answer.headers
    batch = limited.client.post("/v1/payments/batch", data=body, content_type="application/json")
    assert batch.headers["RateLimit-Policy"] == POLICY


def _worker(answer: requests.Response) -> str:
    """Which process answered: ids begin with its own."""
    return answer.headers["X-Request-Id"].partition("-")[0]


def connections(served: Served) -> list[tuple[str, requests.Session]]:
    """A kept connection to each of both workers, and by what its answers are known."""
    found: dict[str, requests.Session] = {}

    def connect(_: int) -> tuple[str, requests.Session]:
        session = served.session()
        return _worker(session.get(f"{served.url}/healthz", timeout=10)), session

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):  # many at a time, so that one alone does not take them all
            for worker, session in pool.map(connect, range(16)):
                if found.setdefault(worker, session) is not session:
                    session.close()
            if len(found) == 2:
                return list(found.items())
    raise AssertionError(f"only {list(found)} answered")


def test_two_workers_allow_what_is_published(tmp_path: Path) -> None:
    """Reads at both in turns, of each more than one bucket holds: `q` in all, and what flows in."""
    with open_served(tmp_path, read_rate=1, read_burst=30) as served:
        both = connections(served)
        headers, remaining, refused = token(), [], 0
        begun = time.monotonic()
        for _ in range(35):
            for worker, session in both:
                path = f"{served.url}/v1/payments?limit=1"
                answer = session.get(path, headers=headers, timeout=10)
                assert _worker(answer) == worker
                assert answer.headers["RateLimit-Policy"] == '"reads";q=30;w=30'
                assert answer.status_code in (200, 429)
                if answer.status_code == 200:
                    remaining.append(int(answer.headers["RateLimit"].split(";")[1][2:]))
                else:
                    refused += 1
        seconds = time.monotonic() - begun
        for _, session in both:
            session.close()
    assert 30 <= len(remaining) <= 30 + int(seconds) + 1
    assert refused == 70 - len(remaining)
    assert remaining[0] == 29


def test_a_batch_asks_for_its_longest_pause(tmp_path: Path) -> None:
    """One intent is refused by the bucket, one for an acquirer that is behind."""
    behind = Judgement(Availability.UNAVAILABLE, "10 payments wait for it", retry_after=5)
    with open_site(tmp_path, merchant_rate=1, merchant_burst=1) as site:
        assert site.post(signed()).status_code == 201
        site.app.extensions["clearline"].crowding._crowded = lambda: {"second": behind}
        batch = site.batch([signed(), signed(new_intent(acquirers=routes("second")))])
        codes = [item["code"] for item in batch.json["outcomes"]]
        assert codes == ["rate_limited", "acquirer_unavailable"]
        assert batch.headers["Retry-After"] == "5"
        assert batch.headers["RateLimit"] == '"intents";r=0;t=1'
