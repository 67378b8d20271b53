"""The gateway's parts by themselves: settings, preferences, buckets, descriptions, docs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from helpers_gateway import open_site, signed, until, write_settings

from clearline.codes import Code, Refusal
from gateway import openapi, prefer
from gateway.advice import ADVICE
from gateway.app import create_app
from gateway.prefer import Preferences
from gateway.settings import Settings, SettingsError

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], Preferences()),
        (["wait=5"], Preferences(5)),
        (["respond-async"], Preferences(None, True)),
        (["respond-async, wait=10"], Preferences(10, True)),
        (["Wait = 5"], Preferences(5)),
        (['wait="7"'], Preferences(7)),
        (["wait=1, wait=2"], Preferences(1)),
        (["wait=3", "respond-async"], Preferences(3, True)),
        (["handling=lenient; a=b ; c, wait=4"], Preferences(4)),
        (['x="a, b; wait=9"'], Preferences()),
        ([", ,wait=2,"], Preferences(2)),
    ],
)
def test_preferences(lines: list[str], expected: Preferences) -> None:
    assert prefer.parse(lines) == expected


@pytest.mark.parametrize("text", ["wait=x", "wait=-1", "=1", '"', "a b", "x" * 1025, "a;=b" * 99])
def test_no_preferences(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        prefer.parse([text])
    assert refused.value.code is Code.PARAMETER_INVALID


def test_preferences_take_no_time_to_refuse() -> None:
    for text in (";" + " " * 1000 + "=", "a" + "; ; " * 250 + "!=", 'a="' + "\\a" * 500):
        with pytest.raises(Refusal):
            prefer.parse([text])


def test_settings(tmp_path: Path) -> None:
    settings = Settings.load(write_settings(tmp_path, "127.0.0.1:7051", queue_items=7))
    assert settings.certificate == tmp_path / "cert.pem"
    assert (settings.limits.queue_items, settings.limits.batch_items) == (7, 200)
    assert settings.socket == (tmp_path / "data" / "committer.sock").resolve()


def test_a_long_data_dir_has_its_socket_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    settings = Settings.load(write_settings(folder, "127.0.0.1:7051"))
    assert len(str(settings.socket)) <= 100


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"workers": 0}, "/workers"),
        ({"threads": "32"}, "/threads"),
        ({"listen": "8441"}, "/listen"),
        ({"listen": "127.0.0.1:99999"}, "/listen"),
        ({"audience": "ftp://x"}, "/audience"),
        ({"tls": {}}, "/tls/certificate"),
        ({"profile": None}, "/profile"),
        ({"unknown": 1}, "/unknown"),
        ({"limits": {"queue": 1}}, "/limits/queue"),
        ({"limits": {"queue_items": 0}}, "/limits/queue_items"),
    ],
)
def test_bad_settings_name_the_place(tmp_path: Path, change: Any, place: str) -> None:
    path = write_settings(tmp_path, "127.0.0.1:7051")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match=re.escape(place)):
        Settings.load(path)


def test_unreadable_settings(tmp_path: Path) -> None:
    for text in (None, "{", "[]"):
        path = tmp_path / f"{text!r}.json"
        if text is not None:
            path.write_text(text)
        with pytest.raises(SettingsError):
            Settings.load(path)


def test_every_code_is_documented_with_its_status_and_advice() -> None:
    rows = re.findall(
        r"^\| `([a-z_]+)` \| ([0-9]{3}) \| (.+) \| (.+) \|$",
        (DOCS / "codes.md").read_text(),
        re.MULTILINE,
    )
    assert {name: (int(status), text, todo) for name, status, text, todo in rows} == {
        code.value: (code.http_status, code.summary, ADVICE[code]) for code in Code
    }
    assert len(rows) == len(Code)


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(Settings.load(write_settings(tmp_path, "127.0.0.1:7051")))


def test_description_covers_every_address_and_its_references_hold(app: Flask) -> None:
    answer = app.test_client().get("/openapi.json")
    described: Any = answer.json
    assert described["openapi"] == "3.1.0"
    served = {
        (re.sub(r"<(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert served == {
        (path, method) for path, item in described["paths"].items() for method in item
    }
    for reference in re.findall(r'"#/components/schemas/(\w+)"', answer.text):
        assert reference in described["components"]["schemas"]
    assert set(described["components"]["schemas"]["Code"]["enum"]) == {c.value for c in Code}


def test_description_names_every_code_an_intent_can_meet() -> None:
    """Codes of reports, registration and reading are not an intent's."""
    others = {
        "ok", "duplicate", "batch_too_large", "function_unknown",
        "not_attested", "relation_unknown", "relation_not_in_force",
        "acquirer_mismatch", "intent_mismatch", "amount_mismatch", "equivocation",
        "sequence_gap", "transition_forbidden", "late_success", "lease_taken",
        "lease_lost", "no_contradiction", "record_full", "proposal_unknown",
        "reported_code_mismatch", "reference_mismatch", "change_too_late",
        "proposal_decided", "same_person", "entity_unknown", "account_unknown",
        "account_taken", "merchant_code_taken", "record_exists", "key_refused",
        "unauthenticated", "token_expired", "not_found", "method_not_allowed",
        "unsupported_media_type", "not_acceptable", "parameter_invalid", "block_not_reached",
        "webhook_unknown", "webhook_target_refused", "webhook_stale", "webhook_limit",
        "webhooks_unavailable", "file_unknown", "totals_mismatch", "payee_mismatch",
        "line_unknown", "line_mismatch", "already_settled", "settlement_unknown",
        "settlement_closed", "not_refundable", "refund_amount_refused", "refund_out_of_order",
        "refund_unknown", "rule_out_of_order",
    }  # fmt: skip
    assert {code.value for code in openapi.INTENT_CODES} == {c.value for c in Code} - others


def test_before_the_committer_has_ever_run_all_is_503(app: Flask) -> None:
    client: Any = app.test_client()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    answer = client.post("/v1/payments", data=signed(), content_type="application/jose")
    assert (answer.status_code, answer.json["code"]) == (503, "ledger_unavailable")


def test_a_fault_of_ours_says_nothing(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode() -> str:
        raise RuntimeError("secret")

    app.add_url_rule("/explode", view_func=explode)
    answer = app.test_client().get("/explode")
    assert answer.status_code == 500
    assert answer.content_type == "application/problem+json"
    assert "secret" not in answer.text


def test_limits_are_refused_with_when_to_return(tmp_path: Path) -> None:
    with open_site(tmp_path, merchant_rate=1, merchant_burst=3, read_rate=1, read_burst=4) as site:
        statuses = [site.post(signed()).status_code for _ in range(4)]
        assert statuses == [201, 201, 201, 429]
        limited = site.post(signed())
        assert limited.json["code"] == "rate_limited"
        assert limited.headers["RateLimit-Policy"] == '"intents";q=3;w=3'
        assert int(limited.headers["Retry-After"]) >= 1
        wait = limited.headers["Retry-After"]
        assert limited.headers["RateLimit"] == f'"intents";r=0;t={wait}'
        batch = site.batch([signed(), "bad"])
        assert [item["code"] for item in batch.json["outcomes"]] == ["rate_limited", "malformed"]
        assert batch.headers["Retry-After"]
        reads = [site.get("/v1/payments") for _ in range(6)]
        assert (reads[-1].status_code, reads[-1].json["code"]) == (429, "rate_limited")
        assert re.fullmatch('"reads";r=[0-3];t=[1-4]', reads[0].headers["RateLimit"])
        assert reads[-1].headers["RateLimit-Policy"].startswith('"reads";q=4;w=')


def test_a_full_queue_is_503_and_takes_again_later(tmp_path: Path) -> None:
    with open_site(tmp_path, queue_items=3) as site:
        site.ledger.down()
        kept = [signed() for _ in range(3)]
        assert [site.post(text, Prefer="respond-async").status_code for text in kept] == [202] * 3
        full = site.post(signed())
        assert (full.status_code, full.json["code"]) == (503, "overloaded")
        assert full.headers["Retry-After"] == "1"
        assert site.post(kept[0], Prefer="respond-async").status_code == 202
        site.ledger.up()
        until(lambda: site.post(signed()).status_code == 201)
