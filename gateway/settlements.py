"""GET /v1/settlements and /v1/settlements/...: a merchant's own settlements, as its banks signed
them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import orjson
from flask import Blueprint, Response

from clearline import records, settlement_answers, times
from clearline.clearing import Place
from clearline.clearing_records import (
    AcquirerFile,
    Settlement,
    SettlementPart,
    settlement_id,
)
from clearline.clearing_schema import MAX_RUNS, SETTLEMENT_ID
from clearline.codes import Code, Refusal
from clearline.records import Kind
from clearline.settlement_answers import SettlementAnswer
from gateway import http, problems
from gateway.http import services
from gateway.reader import Snapshot
from gateway.reads import DEFAULT_PAGE, LARGEST_PAGE, authenticated, reach

ADDRESS: Final = "/v1/settlements/<acquirer_id>/<merchant_code>/<currency>/<clearing_date>/<run>"
blueprint = Blueprint("settlements", __name__)


@blueprint.get("/v1/settlements")
def list_settlements() -> Response:
    """A page of the merchant's settlements, newest clearing date first."""
    found = http.parameters("limit", "cursor", "clearing_date", "min_block")
    limit = http.number(found, "limit", 1, LARGEST_PAGE) or DEFAULT_PAGE
    day, cursor = found.get("clearing_date"), found.get("cursor")
    _check(day, cursor)
    min_block = http.number(found, "min_block", 0)
    merchant_id = authenticated()
    reach(min_block)
    with services().reader.snapshot() as snapshot:
        listed = [one for one in _all(snapshot, merchant_id) if day in (None, one.clearing_date)]
        last_block = snapshot.last_block
    listed.sort(key=_place, reverse=True)
    if cursor is not None:
        listed = [one for one in listed if _place(one) < _of_cursor(cursor)]
    page = listed[:limit]
    body = {
        "settlements": [one.to_json() for one in page],
        "next_cursor": page[-1].id if len(listed) > limit else None,
        "last_block": last_block,
    }
    http.note(merchant=merchant_id, items=len(page))
    return http.json_response(body, 200, {http.BLOCK: str(last_block)})


@blueprint.get(ADDRESS)
def get_settlement(
    acquirer_id: str, merchant_code: str, currency: str, clearing_date: str, run: str
) -> Response:
    """One settlement, with everything the bank signed of it."""
    found = http.parameters("min_block")
    min_block = http.number(found, "min_block", 0)
    merchant_id = authenticated()
    reach(min_block)
    place = Place(acquirer_id, merchant_code, currency, clearing_date)
    number = int(run) if run.isascii() and run.isdigit() and len(run) <= 2 else 0
    if not 1 <= number <= MAX_RUNS:
        raise Refusal(Code.PARAMETER_INVALID, f"run: must be a number in 1..{MAX_RUNS}")
    with services().reader.snapshot() as snapshot:
        answer = _one(snapshot, settlement_id(place, number))
        last_block = snapshot.last_block
    headers = {http.BLOCK: str(last_block)}
    if answer is None or answer.merchant_id != merchant_id:
        raise problems.Declined(
            Code.SETTLEMENT_UNKNOWN, "there is no such settlement of this merchant", headers
        )
    http.note(merchant=merchant_id, settlement=answer.id)
    return http.json_response(answer.to_json(), 200, headers)


def _all(snapshot: Snapshot, merchant_id: str) -> list[SettlementAnswer]:
    merchant = snapshot.merchant(merchant_id)
    codes = {} if merchant is None else merchant.codes
    found = [
        settlement_answers.answer(_settlement(data), block)
        for acquirer_id, there in codes.items()
        for code in there
        for block, data in snapshot.registered(Kind.SETTLEMENT, f"{acquirer_id}/{code}/")
    ]
    return [one for one in found if one.merchant_id == merchant_id]


def _one(snapshot: Snapshot, name: str) -> SettlementAnswer | None:
    for block, data in snapshot.registered(Kind.SETTLEMENT, name):
        settlement = _settlement(data)
        parts = snapshot.registered(Kind.SETTLEMENT_PART, f"{name}/")
        files = snapshot.registered(Kind.ACQUIRER_FILE, settlement.place.name)
        return replace(
            settlement_answers.answer(settlement, block),
            parts=tuple(_part(data) for _, data in parts),
            file=next((_filing(data) for _, data in files), None),
            payout=settlement.payout or None,
        )
    return None


def _check(day: str | None, cursor: str | None) -> None:
    try:
        if day is not None:
            times.parse_date(day)
    except ValueError:
        raise Refusal(Code.PARAMETER_INVALID, "clearing_date: must be YYYY-MM-DD") from None
    if cursor is not None and not SETTLEMENT_ID.fits(cursor):
        raise Refusal(Code.PARAMETER_INVALID, "cursor: not one this gateway gave")


def _place(one: SettlementAnswer) -> tuple[str, str]:
    return one.clearing_date, one.id


def _of_cursor(cursor: str) -> tuple[str, str]:
    return cursor.split("/")[3], cursor


def _settlement(data: bytes) -> Settlement:
    return records.from_json(Settlement, orjson.loads(data))


def _part(data: bytes) -> str:
    return records.from_json(SettlementPart, orjson.loads(data)).text


def _filing(data: bytes) -> str:
    return records.from_json(AcquirerFile, orjson.loads(data)).filing
