"""What a gateway shows of the receipts it gave, and of payments others gave receipts for."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers_gateway import (
    MERCHANT,
    OTHER,
    OTHER_MERCHANT,
    OWNER,
    Site,
    new_intent,
    open_site,
    signed,
    token,
    until,
)

from clearline import intents, jws, records, times
from clearline.answers import Receipt, parse_receipt
from clearline.codes import Code
from clearline.intents import CloseIntent, PayIntent
from clearline.jws import KeySigner
from clearline.records import Payment
from clearline.refusals import VERDICTS, ReceiptRefusal, parse_refusal
from gateway import wal_sync
from gateway.openapi import INTENT_CODES
from gateway.refund_openapi import REFUND_CODES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("receipts"), commit_wait_s=2) as opened:
        yield opened


def shown(site: Site, intent: PayIntent, more: str = "") -> Any:
    return site.get(f"/v1/payments/{intent.order_no}/receipts?attempt={intent.attempt}{more}").json


def received(site: Site, intent: PayIntent) -> Receipt:
    """Posted while the ledger is away: the receipt's claim."""
    answer = site.post(signed(intent), Prefer="respond-async")
    assert answer.status_code == 202, answer.text
    return parse_receipt(answer.json["receipt"])[0]


def refused(site: Site, intent: PayIntent) -> list[ReceiptRefusal]:
    """The refusals shown, their signatures checked with the gateway's key."""
    own = KeySigner.load(site.folder / "key.pem")
    found = []
    for compact in shown(site, intent)["refusals"]:
        refusal, unverified = parse_refusal(compact)
        jws.public_key(own.jwk, own.algorithm).verify(unverified)
        found.append(refusal)
    return found


def missed(site: Site) -> float:
    lines = site.client.get("/metrics").text.splitlines()
    return float(next(x for x in lines if x.startswith("clearline_receipts_missed")).split()[1])


def test_a_payment_shows_when_and_by_whose_key_it_came(site: Site) -> None:
    intent = new_intent()
    assert shown(site, intent)["payment"] is None
    posted = site.post(signed(intent))
    assert posted.status_code == 201
    seen = shown(site, intent, f"&min_block={posted.json['block_number']}")
    assert seen["last_block"] >= posted.json["block_number"]
    assert seen["refusals"] == []
    assert seen["payment"] == {
        "intent_digest": intent.digest(),
        "requested_at": intent.created,  # by this ledger
        "submitter": KeySigner.load(site.folder / "key.pem").key_id,
        "block_number": posted.json["block_number"],
        "closing": False,
    }
    close = CloseIntent(intent.network, *intent.key, created=times.now())
    assert site.post(intents.sign(close, OWNER)).status_code == 201
    assert shown(site, intent)["payment"]["closing"] is True
    ended = new_intent()
    site.post(signed(ended))
    block = site.ledger.finish(ended.key)
    seen = shown(site, ended, f"&min_block={block}")["payment"]
    assert (seen["closing"], seen["block_number"]) == (True, block)
    assert seen["submitter"] == KeySigner.load(site.folder / "key.pem").key_id


def test_who_may_ask_and_how(site: Site) -> None:
    intent = new_intent()
    assert site.post(signed(intent)).status_code == 201
    path = f"/v1/payments/{intent.order_no}/receipts"
    assert site.get(f"{path}?attempt=1", **token(OTHER_MERCHANT, OTHER)).json["payment"] is None
    assert site.client.get(f"{path}?attempt=1").json["code"] == "unauthenticated"
    assert site.get(path).json["code"] == "parameter_invalid"
    assert site.get(f"{path}?attempt=1&min_block=1000000").json["code"] == "block_not_reached"
    assert site.get("/v1/payments/a%20b/receipts?attempt=1").json["code"] == "parameter_invalid"


def test_a_receipt_is_synced_before_anybody_has_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut the gateway still knows what it gave its word for."""
    synced: list[bytes] = []
    failing: list[OSError] = []
    real = wal_sync._sync

    def sync(path: Path) -> None:
        if failing:
            raise failing[0]
        real(path)
        synced.append(path.read_bytes())

    monkeypatch.setattr(wal_sync, "_sync", sync)
    site.ledger.down()
    try:
        for _ in range(3):
            intent = new_intent()
            assert not any(intent.digest().encode() in log for log in synced)
            received(site, intent)
            assert intent.digest().encode() in synced[-1]
        assert len(synced) == 3
        failing.append(OSError(errno.EIO, "the disk fails"))
        answer = site.post(signed(new_intent()), Prefer="respond-async")
        assert (answer.status_code, answer.json["code"]) == (503, "ledger_unavailable")
    finally:
        site.ledger.up()


def test_each_receipt_of_an_intent_has_its_refusal(site: Site) -> None:
    """Refused, posted again, refused again: the first word is not lost, nor by a restart."""
    intent = new_intent(order_no="code-attempt_out_of_order.twice", attempt=2)
    claims = []
    for count in (1, 2):
        site.ledger.down()
        claims.append(received(site, intent))
        assert len(refused(site, intent)) == count - 1
        site.ledger.up()
        until(lambda n=count: len(refused(site, intent)) == n)
    site.committer.stop()
    site.committer.start()
    said = refused(site, intent)
    assert [one.receipt for one in said] == claims
    assert {one.code for one in said} == {Code.ATTEMPT_OUT_OF_ORDER}
    assert all(one.receipt.received_at <= one.refused_at <= times.now() for one in said)


def test_a_gateways_own_weather_is_not_signed(site: Site) -> None:
    """The ledger fails on this one whoever brings it: the gateway gives it up, and its promise is
    not taken back."""
    intent = new_intent(order_no="explode")
    site.ledger.down()
    before = missed(site)
    received(site, intent)
    site.ledger.up()
    path = f"/v1/payments/{intent.order_no}"
    until(lambda: site.get(path).status_code == 404)
    problem = site.get(path).json
    assert "ledger_unavailable" in problem["detail"]
    assert "receipt_refusal" not in problem
    assert shown(site, intent)["refusals"] == []
    assert missed(site) == before + 1


def test_what_is_found_taken_at_a_restart_is_refused(site: Site) -> None:
    """Another intent got the key while this one waited: the gateway says so without the ledger."""
    intent = new_intent()
    other = new_intent(order_no=intent.order_no, amount=1)
    site.ledger.down()
    claim = received(site, intent)
    site.committer.stop()
    site.ledger.up()
    payment = Payment(
        MERCHANT, intent.order_no, 1, "requested", "unionpay", "898310148990001", 1, "CNY",
        signed(other), other.digest(), other.expires_at, "BankTwo", other.created,
    )  # fmt: skip
    name = records.payment_key(intent.key)
    block = site.ledger.write(name, records.dump(payment))
    site.ledger.down()
    site.committer.start()
    until(lambda: shown(site, intent)["last_block"] >= block)
    assert refused(site, intent) == []
    site.committer.stop()
    site.committer.start()
    until(lambda: len(refused(site, intent)) == 1)
    site.ledger.up()
    (said,) = refused(site, intent)
    assert (said.receipt, said.code) == (claim, Code.CONFLICT)
    assert shown(site, intent)["payment"]["intent_digest"] == other.digest()


def test_a_projection_of_format_1_is_brought_up(tmp_path: Path) -> None:
    """What it holds already has no submitter; what comes later has."""
    with open_site(tmp_path) as site:
        before, after = new_intent(), new_intent()
        assert site.post(signed(before)).status_code == 201
        site.committer.stop()
        with closing(sqlite3.connect(site.settings.projection)) as file:
            file.executescript(
                "DROP INDEX payments_listed; ALTER TABLE payments DROP COLUMN created;"
                "ALTER TABLE payments DROP COLUMN acquirer_id;"
                "CREATE INDEX payments_listed ON payments (merchant_id, seq);"
                "CREATE INDEX payments_by_status ON payments (merchant_id, status, seq);"
                "ALTER TABLE payments DROP COLUMN submitter; DROP TABLE refusals;"
                "DROP TABLE refunds;"
                "PRAGMA user_version = 1;"
            )
        site.committer.start()
        assert site.post(signed(after)).status_code == 201
        assert shown(site, before)["payment"]["submitter"] == ""
        assert len(shown(site, after)["payment"]["submitter"]) == 43


def test_what_a_gateway_signs_is_what_the_contract_says_of_an_intent() -> None:
    own = {
        Code.UNSUPPORTED_MEDIA_TYPE, Code.PARAMETER_INVALID, Code.NOT_ACCEPTABLE,
        Code.ROLE_FORBIDDEN, Code.PAYLOAD_TOO_LARGE, Code.RATE_LIMITED, Code.OVERLOADED,
        Code.LEDGER_UNAVAILABLE, Code.ACQUIRER_UNAVAILABLE, Code.ACQUIRER_NOT_ACCEPTABLE,
    }  # fmt: skip
    assert {*INTENT_CODES, *REFUND_CODES} - own == VERDICTS
