"""GET /v1/settlements: a merchant sees its own, newest first, with what the bank signed."""

from __future__ import annotations

from dataclasses import replace

from helpers_gateway import CODE, OTHER, OTHER_MERCHANT, Site, token
from helpers_settlements import FILE, PLACE, SETTLEMENT

from clearline import records
from clearline.clearing_records import (
    SettlementPart,
    acquirer_file_key,
    part_key,
    settlement_key,
)

ADDRESS = f"/v1/settlements/{PLACE.name}/01"


def put(site: Site, **changed: object) -> int:
    made = replace(SETTLEMENT, **changed)  # type: ignore[arg-type]
    return site.ledger.write(settlement_key(made.place, made.run), records.dump(made))


def test_own_settlements_as_the_bank_signed_them(site: Site) -> None:
    put(site)
    for number, text in ((2, "p.a.2"), (1, "p.a.1"), (10, "p.a.10")):
        part = SettlementPart(SETTLEMENT.id, number, text, "0" * 64)
        site.ledger.write(part_key(PLACE, 1, number), records.dump(part))
    site.ledger.write(acquirer_file_key(PLACE), records.dump(FILE))
    # Another code whose name begins alike is another's.
    put(site, merchant_code=f"{CODE[:-1]}", merchant_id=OTHER_MERCHANT)
    last = put(site, clearing_date="2026-11-24", status="paid", payout="p.a.y")
    listed = site.get(f"/v1/settlements?min_block={last}").json
    assert [one["id"] for one in listed["settlements"]] == [
        f"unionpay/{CODE}/CNY/2026-11-24/01",
        SETTLEMENT.id,
    ]
    assert listed["next_cursor"] is None
    shown = site.get(ADDRESS).json
    assert (shown["parts"], shown["file"], shown["payout"]) == (
        ["p.a.1", "p.a.2", "p.a.10"],
        "f.i.le",
        None,
    )
    assert (shown["status"], shown["net"], shown["account_id"]) == ("stated", 5, "a" * 64)
    assert shown["id"] == SETTLEMENT.id
    assert site.get(ADDRESS.replace("-23/", "-24/")).json["payout"] == "p.a.y"

    theirs = token(OTHER_MERCHANT, OTHER)
    assert site.client.get(ADDRESS, headers=theirs).json["code"] == "settlement_unknown"
    assert site.client.get("/v1/settlements", headers=theirs).json["settlements"] == []


def test_pages_by_clearing_date(site: Site) -> None:
    last = [put(site, clearing_date=f"2026-10-{day:02d}") for day in (1, 2, 3)][-1]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = site.get(f"/v1/settlements?limit=1&min_block={last}{cursor}").json
        seen += [one["clearing_date"] for one in page["settlements"] if one["net"] == 5]
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    assert [day for day in seen if day < "2026-11"] == ["2026-10-03", "2026-10-02", "2026-10-01"]
    listed = site.get("/v1/settlements?clearing_date=2026-10-02").json["settlements"]
    assert [one["clearing_date"] for one in listed] == ["2026-10-02"]


def test_what_is_asked_wrongly_is_refused(site: Site) -> None:
    for path, status, code in (
        ("/v1/settlements?clearing_date=today", 400, "parameter_invalid"),
        ("/v1/settlements?cursor=x", 400, "parameter_invalid"),
        (f"{ADDRESS[:-2]}xx", 400, "parameter_invalid"),
        (f"{ADDRESS[:-2]}00", 400, "parameter_invalid"),
        (f"{ADDRESS[:-2]}77", 404, "settlement_unknown"),
        ("/v1/settlements/unionpay/1/CNY/x/01", 404, "settlement_unknown"),
    ):
        answer = site.get(path)
        assert (answer.status_code, answer.json["code"]) == (status, code), path
    assert site.client.get("/v1/settlements").status_code == 401
