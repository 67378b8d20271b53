"""Which payments GET /v1/payments lists, and that its pages stay right under every filter."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers_gateway import (
    OTHER,
    OTHER_MERCHANT,
    Site,
    merchant,
    new_intent,
    open_site,
    routes,
    signed,
    token,
    until,
)

from clearline import times
from clearline.intents import PaymentKey
from gateway import selection
from gateway.projection import Projection, ProjectionError
from gateway.projection_formats import FORMAT
from gateway.reader import Reader
from gateway.receipt_book import OpenReceipt, ReceiptBook
from gateway.selection import Selection

NOW = times.now()
STATUSES = ("succeeded", "declined", "requested")


def reader() -> dict[str, Any]:
    """A token made now: one of when this file was read may have ended before its tests begin."""
    return token(OTHER_MERCHANT, OTHER)


@dataclass(frozen=True)
class Made:
    """A payment that was put on the ledger."""

    order_no: str
    status: str
    acquirer_id: str
    created: str


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, list[Made]]]:
    """24 payments of mixed statuses, acquirers and ages; on the ledger in another order than
    signed. The list is newest on the ledger first."""
    chance, made = random.Random(5), []
    with open_site(tmp_path_factory.mktemp("listed")) as site:
        intents = []
        for number in range(24):
            acquirer = ("unionpay", "second")[number % 2]
            created = times.after(NOW, -60 * (number + 1))
            intents.append(
                new_intent(merchant_id=OTHER_MERCHANT, created=created, acquirers=routes(acquirer))
            )
        chance.shuffle(intents)
        outcomes = site.batch([signed(intent, OTHER) for intent in intents]).json["outcomes"]
        assert {one["status"] for one in outcomes} == {201}
        last = 0
        for number, intent in enumerate(intents):
            status = STATUSES[number % 3]
            if status != "requested":
                last = site.ledger.finish(intent.key, status)
            name = intent.acquirers[0].acquirer_id
            made.append(Made(intent.order_no, status, name, intent.created))
        until(lambda: site.get(f"/v1/payments?min_block={last}", **reader()).status_code == 200)
        yield site, made[::-1]


def pages(site: Site, query: str, limit: int) -> list[str]:
    """The order numbers of all pages."""
    found: list[str] = []
    cursor = ""
    for _ in range(30):
        page = site.get(f"/v1/payments?limit={limit}&{query}{cursor}", **reader()).json
        found += [payment["order_no"] for payment in page["payments"]]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"
    raise AssertionError("the pages don't end")


def at(made: list[Made], place: int) -> str:
    """When the one that is `place`th by age was signed."""
    return sorted(one.created for one in made)[place]


@pytest.mark.parametrize("limit", [1, 3, 200])
@pytest.mark.parametrize("statuses", [(), ("declined",), ("succeeded", "requested"), ("expired",)])
@pytest.mark.parametrize("acquirer", ["", "second", "nobody"])
@pytest.mark.parametrize("span", [(None, None), (5, None), (None, 19), (5, 19), (19, 5)])
def test_filters_and_pages(
    listed: tuple[Site, list[Made]],
    limit: int,
    statuses: tuple[str, ...],
    acquirer: str,
    span: tuple[int | None, int | None],
) -> None:
    site, made = listed
    terms = [f"status={status}" for status in statuses]
    terms += [f"acquirer={acquirer}"] if acquirer else []
    begin = "" if span[0] is None else at(made, span[0])
    end = "9" if span[1] is None else at(made, span[1])
    terms += [f"created_from={begin}"] if begin else []
    terms += [f"created_to={end}"] if end != "9" else []
    wanted = [
        one.order_no
        for one in made
        if (not statuses or one.status in statuses)
        and (not acquirer or one.acquirer_id == acquirer)
        and begin <= one.created < end
    ]
    if limit == 1 and len(wanted) > 8:
        limit = 2
    assert pages(site, "&".join(terms), limit) == wanted


def test_pages_shift_nothing_while_payments_change(listed: tuple[Site, list[Made]]) -> None:
    """One is made, and one that is still to come ends, between two pages of those that are open."""
    site, made = listed
    opened = [one.order_no for one in made if one.status == "requested"]
    query = "/v1/payments?status=requested&status=accepted&limit=3"
    first = site.get(query, **reader()).json
    assert [one["order_no"] for one in first["payments"]] == opened[:3]
    site.post(signed(new_intent(merchant_id=OTHER_MERCHANT), OTHER))
    block = site.ledger.finish(PaymentKey(OTHER_MERCHANT, opened[4], 1))
    second = site.get(f"{query}&cursor={first['next_cursor']}&min_block={block}", **reader()).json
    assert [one["order_no"] for one in second["payments"]] == [opened[3], *opened[5:7]]


def test_a_look_is_bounded_and_goes_on(listed: tuple[Site, list[Made]]) -> None:
    """However few are found, no more are looked at; the cursor is where the look ended."""
    site, _ = listed
    wanted = Selection(acquirer="second", created_to=times.after(NOW, -600))
    with Reader(site.settings.projection).snapshot() as snapshot:
        whole = [one.order_no for one in snapshot.page(OTHER_MERCHANT, wanted, None, 200).payments]
        for most in (1, 2, 7, 23, 24, 25):
            found: list[str] = []
            place: int | None = None
            looks = 0
            while looks == 0 or place is not None:
                page = snapshot.page(OTHER_MERCHANT, wanted, place, 200, most)
                found += [one.order_no for one in page.payments]
                assert len(page.payments) <= most
                place = page.next_seq
                looks += 1
            assert found == whole
            assert looks >= 24 // most
        plain = snapshot.page(OTHER_MERCHANT, Selection(), None, 200, 1)
        assert plain.next_seq is None and len(plain.payments) >= 24  # only filters look far


def test_the_index_has_what_is_filtered(listed: tuple[Site, list[Made]]) -> None:
    """A look at a payment that is not wanted reads its line of the index and not the record."""
    site, _ = listed
    condition, values = Selection(frozenset(["closed"]), "second", NOW, NOW).condition()
    with closing(sqlite3.connect(site.settings.projection)) as db:
        (plan,) = db.execute(
            "EXPLAIN QUERY PLAN SELECT seq FROM payments WHERE merchant_id = ? AND seq < ?"
            f" AND {condition} ORDER BY seq DESC",
            (OTHER_MERCHANT, 9, *values),
        )
    assert "COVERING INDEX payments_listed (merchant_id=? AND seq<?)" in plain(plan)


def plain(row: tuple[object, ...]) -> str:
    """What SQLite says of a step."""
    return str(row[-1])


@pytest.mark.parametrize(
    "query",
    [
        "status=succeeded&status=paid", "status=succeeded&status=", "status=a,b", "acquirer=",
        "acquirer=%00", "acquirer=a%20b", "acquirer=unionpay&acquirer=second", "created_from=now",
        "created_from=2026-11-23", "created_to=2026-11-23T08:00:00Z", "created_to=",
        "created_from=2026-13-23T08:00:00.000Z", "created_from=2026-11-23T08:00:00.000%2B01:00",
        "created_to=2026-11-23T08:00:00.000Z&created_to=2026-11-23T08:00:00.000Z",
        "created=2026-11-23T08:00:00.000Z",
    ],
)  # fmt: skip
def test_bad_filters(listed: tuple[Site, list[Made]], query: str) -> None:
    answer = listed[0].get(f"/v1/payments?{query}", **reader())
    assert (answer.status_code, answer.json["code"]) == (400, "parameter_invalid")


def test_a_merchant_lists_its_own_whatever_the_filter(listed: tuple[Site, list[Made]]) -> None:
    site, _ = listed
    assert merchant(OTHER_MERCHANT, "active").merchant_id == OTHER_MERCHANT
    query = "&".join(f"status={status}" for status in selection.STATUSES)
    assert site.get(f"/v1/payments?{query}&acquirer=second").json["payments"] == []


@pytest.mark.parametrize("before", [1, 2])
def test_a_projection_of_a_format_before_is_brought_up(tmp_path: Path, before: int) -> None:
    """The same payments in the same places, filters and all; and what only it knows."""
    held = OpenReceipt(PaymentKey("M", "o", 1), "d", "{}", "r")
    old = times.after(NOW, -7_200)
    with open_site(tmp_path) as site:
        for created in (NOW, old, NOW):
            intent = new_intent(created=created, acquirers=routes("second"))
            assert site.post(signed(intent)).status_code == 201
        listed = site.get("/v1/payments?limit=2").json
        site.committer.stop()
        path = site.settings.projection
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            book = ReceiptBook(db)
            book.put(held)
            book.note_missed((held.key, "d"), NOW, "r")
            db.executescript(
                "DROP TABLE refunds;"
                "DROP INDEX payments_listed; ALTER TABLE payments DROP COLUMN created;"
                "ALTER TABLE payments DROP COLUMN acquirer_id;"
                "CREATE INDEX payments_listed ON payments (merchant_id, seq);"
                "CREATE INDEX payments_by_status ON payments (merchant_id, status, seq);"
            )
            if before == 1:
                db.execute("ALTER TABLE payments DROP COLUMN submitter")
            db.execute(f"PRAGMA user_version = {before}")
        opened = Projection(path, "clearline")
        assert opened.receipts.open() == [held]
        opened.close()
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("SELECT count(*) FROM missed").fetchone() == (1,)
            db.execute("DELETE FROM receipts")  # the committer would take it up
            db.commit()
        site.committer.start()
        assert site.get("/v1/payments?limit=2").json == listed
        rest = site.get(f"/v1/payments?limit=2&cursor={listed['next_cursor']}").json
        assert len(rest["payments"]) == 1
        for query, count in (("acquirer=second", 3), (f"created_to={NOW}", 1), ("acquirer=x", 0)):
            assert len(site.get(f"/v1/payments?{query}").json["payments"]) == count


@pytest.mark.parametrize("version", [-1, FORMAT + 1])
def test_a_projection_of_another_format_is_named(tmp_path: Path, version: int) -> None:
    path = tmp_path / "projection.db"
    Projection(path, "clearline").close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ProjectionError, match=f"format {version}, not {FORMAT}"):
        Projection(path, "clearline")
