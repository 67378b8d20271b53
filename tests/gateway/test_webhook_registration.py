"""Registering webhooks at the REST interface: who may, what is refused, what is never replayed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers_gateway import (
    ES256,
    OTHER,
    OTHER_MERCHANT,
    OWNER,
    REVOKED,
    Site,
    merchant,
    new_intent,
    open_site,
    signed,
    token,
    until,
)
from helpers_webhooks import House, open_house, removal, wish

from clearline import records, times, webhook_signatures, webhooks
from clearline.jws import KeySigner
from clearline.records import Kind
from clearline.webhooks import Action, EventType
from gateway.webhooks.settings import WebhookSettings

URL = "https://shop.example.com/events"


@pytest.fixture
def house(site: Site) -> Iterator[House]:
    with open_house(site, rules=WebhookSettings().rules) as opened:
        for path in site.settings.data_dir.glob("webhooks.db*"):
            path.unlink()
        yield opened


def code(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json["code"]


def test_registered_shown_changed_removed(house: House) -> None:
    first = wish(URL, events=(EventType.SUCCEEDED,))
    answer = house.put(first)
    assert answer.status_code == 201
    shown = answer.json
    assert (shown["url"], shown["events"]) == (URL, ["payment.succeeded"])
    assert (shown["status"], shown["pending"], shown["reason"]) == ("active", 0, "")
    (key,) = shown["keys"]
    webhook_signatures.public_key(key)
    assert house.shown() == shown
    assert house.put(first).status_code == 200  # the same bytes again are always safe
    moved = house.put(wish("https://other.example.com/"), ES256)
    assert (moved.status_code, moved.json["url"]) == (200, "https://other.example.com/")
    assert moved.json["keys"] == [key]
    assert house.register(URL, "till-2")["keys"] != [key]
    assert [w["webhook_id"] for w in house.get("/v1/webhooks").json["webhooks"]] == [
        "till-1", "till-2",
    ]  # fmt: skip
    gone = removal()
    assert [house.delete(gone).status_code for _ in range(2)] == [204, 204]
    assert code(house.get("/v1/webhooks/till-1")) == (404, "webhook_unknown")
    assert code(house.delete(removal())) == (404, "webhook_unknown")
    assert house.put(wish(URL)).status_code == 201


def test_an_old_registration_is_not_taken_again(house: House) -> None:
    old, new = wish(URL), wish("https://other.example.com/")
    house.put(old)
    house.put(new)
    assert code(house.put(old)) == (409, "webhook_stale")
    gone = removal()
    house.delete(gone)
    for replayed in (old, new):
        assert code(house.put(replayed)) == (409, "webhook_stale")
    assert code(house.put(wish(URL, sequence=gone.sequence))) == (422, "conflict")
    early = removal(sequence=old.sequence)
    house.put(wish(URL))
    assert code(house.delete(early)) == (409, "webhook_stale")
    assert house.shown()["status"] == "active"


@pytest.mark.parametrize("seconds", [-301, 301])
def test_a_registration_is_of_now(house: House, seconds: int) -> None:
    """So that it can't be replayed at a gateway that lost its store, either."""
    late = wish(URL, created=times.after(times.now(), seconds))
    assert code(house.put(late)) == (409, "webhook_stale")


def test_who_may(house: House) -> None:
    for signer, changes, expected in (
        (KeySigner.generate(), {}, (401, "key_unknown")),
        (OTHER, {}, (401, "key_unknown")),
        (REVOKED, {}, (401, "key_revoked")),
        (OWNER, {"merchant_id": "M-9999"}, (403, "merchant_unknown")),
        (OWNER, {"merchant_id": OTHER_MERCHANT}, (401, "key_unknown")),
        (OWNER, {"network": "other"}, (422, "network_mismatch")),
        (OWNER, {"audience": "https://127.0.0.1:8442"}, (422, "network_mismatch")),
        (OWNER, {"action": Action.REMOVE, "events": (), "url": ""}, (400, "malformed")),
    ):
        assert code(house.put(replace(wish(URL), **changes), signer)) == expected
    assert code(house.send("PUT", "/v1/webhooks/other", wish(URL), OWNER)) == (400, "malformed")
    assert code(house.send("PUT", "/v1/webhooks/a.b", wish(URL), OWNER)) == (
        400, "parameter_invalid",
    )  # fmt: skip
    assert code(house.delete(removal(), OTHER)) == (401, "key_unknown")
    assert house.get("/v1/webhooks").json["webhooks"] == []


def test_altered_and_foreign_bodies_are_refused(house: House) -> None:
    compact = webhooks.sign(wish(URL), OWNER)
    header, _, signature = compact.split(".")
    other = webhooks.sign(wish("https://evil.example.com/"), OWNER).split(".")[1]
    client = house.app.test_client()
    for body, expected in (
        (f"{header}.{other}.{signature}", (401, "signature_invalid")),
        (signed(new_intent()), (400, "malformed")),
        ("", (400, "malformed")),
        ("a.b.c", (400, "malformed")),
        ("x" * 20_000, (413, "payload_too_large")),
    ):
        answer = client.put("/v1/webhooks/till-1", data=body, content_type="application/jose")
        assert code(answer) == expected
    answer = client.put("/v1/webhooks/till-1", data=compact, content_type="application/json")
    assert code(answer) == (415, "unsupported_media_type")


def test_a_merchant_sees_its_own(house: House) -> None:
    house.register(URL)
    others = token(OTHER_MERCHANT, OTHER)
    client: Any = house.app.test_client()
    assert client.get("/v1/webhooks", headers=others).json["webhooks"] == []
    assert code(client.get("/v1/webhooks/till-1", headers=others)) == (404, "webhook_unknown")
    for path in ("/v1/webhooks", "/v1/webhooks/till-1", "/v1/events"):
        assert code(client.get(path)) == (401, "unauthenticated")
    same_name = wish(URL, merchant_id=OTHER_MERCHANT)
    assert house.put(same_name, OTHER).status_code == 201
    assert house.put(same_name, OTHER).json["keys"] != house.shown()["keys"]


@pytest.mark.parametrize(
    "url",
    ["http://shop.example.com/", "https://127.0.0.1/", "https://localhost/", "https://2130706433/",
     "https://[::ffff:10.0.0.1]/", "https://shop.example.com:22/", "https://u@shop.example.com/"],
)  # fmt: skip
def test_targets_are_refused_at_once(house: House, url: str) -> None:
    assert code(house.put(wish(url))) == (422, "webhook_target_refused")
    assert house.get("/v1/webhooks").json["webhooks"] == []


def test_so_many_and_no_more(house: House) -> None:
    answers = [house.put(wish(URL, f"till-{n}")) for n in range(9)]
    assert [answer.status_code for answer in answers] == [201] * 8 + [409]
    assert answers[-1].json["code"] == "webhook_limit"
    assert house.put(wish("https://other.example.com/", "till-0")).status_code == 200
    house.delete(removal("till-0"))
    assert house.put(wish(URL, "till-8")).status_code == 201


def test_a_store_that_cant_be_used_is_503(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with open_house(site, rules=WebhookSettings().rules) as house:
        settings = replace(house.settings, data_dir=tmp_path / "file" / "x")
        broken = replace_app(house, settings)
        answer = broken.put(wish(URL))
        assert code(answer) == (503, "webhooks_unavailable")
        assert answer.headers["Retry-After"] == "1"


def replace_app(house: House, settings: Any) -> House:
    """The same application over another store of webhooks."""
    from gateway.webhooks import views

    views.install(house.app, settings)
    return house


def test_bad_cursors_and_parameters(house: House) -> None:
    for query in ("cursor=x", "cursor=ZTEueA", "limit=0", "limit=201", "after=1", "cursor="):
        assert code(house.get(f"/v1/events?{query}")) == (400, "parameter_invalid")
    assert code(house.get("/v1/webhooks?x=1")) == (400, "parameter_invalid")
    empty = house.get("/v1/events").json
    assert (empty["events"], empty["last_block"]) == ([], -1)
    assert house.get(f"/v1/events?cursor={empty['next_cursor']}").status_code == 200


def test_who_takes_a_key_back_takes_its_webhooks_back(tmp_path: Path) -> None:
    with open_site(tmp_path) as site, open_house(site) as house:
        house.start()
        house.caught_up()
        new = KeySigner.generate()
        changed = merchant("M-0001", "active", OWNER, new)
        name = records.record_key(Kind.MERCHANT, changed.merchant_id)
        block = site.ledger.write(name, records.dump(changed))
        until(lambda: site.client.get("/readyz").json["last_block"] >= block)
        until(lambda: house.put(wish(URL, "by-new"), new).status_code == 201)
        assert house.put(wish(URL, "by-old")).status_code == 201
        stolen = replace(changed.keys[new.key_id], status="revoked")
        revoked = replace(changed, keys=changed.keys | {new.key_id: stolen})
        site.ledger.write(name, records.dump(revoked))
        until(lambda: house.shown("by-new")["status"] == "disabled")
        assert house.shown("by-new")["reason"] == "key_revoked"
        assert house.shown("by-old")["status"] == "active"
