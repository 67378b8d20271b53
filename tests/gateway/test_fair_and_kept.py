"""A share of the queue for each merchant; receipts whose deadline passes; refused calls."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from helpers_gateway import (
    OTHER,
    OTHER_MERCHANT,
    Site,
    new_intent,
    open_site,
    routes,
    signed,
    token,
    until,
)

from clearline.acquirer_health import Health, HealthReport
from clearline.answers import parse_receipt
from clearline.codes import Code
from clearline.fabric.queue_items import ItemRefused
from gateway.health_board import HealthBoard
from gateway.limits import Line
from gateway.verdicts import refused_by_network


@pytest.mark.parametrize(
    ("depth", "mine", "merchants", "taken"),
    [
        (0, 0, 0, True),
        (49, 49, 1, True),
        (50, 50, 1, True),
        (75, 75, 1, False),  # alone: three quarters
        (75, 0, 1, True),  # and who comes next has room
        (99, 24, 2, True),
        (100, 24, 2, False),
        (60, 50, 2, False),  # two: half each
        (60, 10, 2, True),
        (49, 48, 2, True),  # nobody is short of room
        (60, 34, 3, False),
        (60, 33, 3, True),
    ],
)
def test_a_merchants_share_of_the_queue(depth: int, mine: int, merchants: int, taken: bool) -> None:
    assert (Line(depth, mine, merchants).refusal(100) == "") is taken


def test_one_merchants_crowd_leaves_room_for_another(tmp_path: Path) -> None:
    with open_site(tmp_path, queue_items=20) as site:
        site.ledger.down()
        crowd = site.batch([signed() for _ in range(30)], Prefer="respond-async")
        statuses = [item["status"] for item in crowd.json["outcomes"]]
        assert statuses.count(202) == 15
        assert set(statuses[15:]) == {503}
        assert crowd.json["outcomes"][-1]["code"] == "overloaded"
        other = signed(new_intent(merchant_id=OTHER_MERCHANT), OTHER)
        answer = site.post(other, Prefer="respond-async")
        assert answer.status_code == 202
        site.ledger.up()
        path = answer.headers["Location"]
        until(
            lambda: site.get(path, **token(OTHER_MERCHANT, OTHER)).json.get("status") == "requested"
        )


def _missed(site: Site) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(site.settings.projection)) as connection:
        rows = connection.execute("SELECT order_no, deadline, receipt FROM missed")
        return list(rows.fetchall())


def test_a_missed_deadline_is_noted_and_stays_noted(tmp_path: Path) -> None:
    with open_site(tmp_path, receipt_deadline_s=1) as site:
        kept, missed = new_intent(), new_intent()
        assert site.post(signed(kept), Prefer="respond-async").status_code == 202
        until(lambda: site.ledger.holds(kept.key))
        site.ledger.down()
        answer = site.post(signed(missed), Prefer="respond-async")
        claim, _ = parse_receipt(answer.json["receipt"])
        until(lambda: bool(_missed(site)))
        expected = [(missed.order_no, claim.deadline, answer.json["receipt"])]
        assert _missed(site) == expected
        metrics = site.client.get("/metrics").text
        assert "clearline_receipts_missed_total 1.0" in metrics
        site.committer.stop()
        site.committer.start()
        site.ledger.up()
        until(lambda: site.ledger.holds(missed.key))
        until(lambda: site.get(answer.headers["Location"]).json["status"] == "requested")
        assert _missed(site) == expected


def test_the_answer_names_the_acquirer_on_the_ledger(tmp_path: Path) -> None:
    """The same intent twice, its acquirers' health changed between: the first choice counts."""
    with open_site(tmp_path) as site:
        intent = new_intent(acquirers=routes("unionpay", "second"))
        site.ledger.down()
        first = site.post(signed(intent), Prefer="respond-async")
        assert first.json["acquirer_id"] == "unionpay"
        acquirers = site.app.extensions["clearline"].acquirers
        board = HealthBoard(site.settings.health_board)
        report = HealthReport(intent.network, "unionpay", "c", Health.DOWN, "gone", 0)
        board.note(report, time.monotonic())
        board.close()
        until(lambda: acquirers.of("unionpay").availability.label == "unavailable")
        site.ledger.up()
        again = site.post(signed(intent))
        assert again.json["acquirer_id"] == "unionpay"
        read = site.get(f"/v1/payments/{intent.order_no}")
        assert read.json["acquirer_id"] == "unionpay"


def test_card_data_that_only_the_contract_saw_has_its_code() -> None:
    key = new_intent().key
    said = "chaincode response 400, card_data_refused: item 0: looks like a card number"
    answer = refused_by_network(key, ItemRefused("i", said, "tx"))
    assert answer.code is Code.CARD_DATA_REFUSED
    other = refused_by_network(key, ItemRefused("i", "chaincode response 500, card_data", "tx"))
    assert other.code is Code.LEDGER_UNAVAILABLE
