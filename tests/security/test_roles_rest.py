"""Each endpoint of each gateway by whoever signs, over TLS."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import parties
import pytest
import requests
import roles_table as table
from security_world import Web, World

from clearline import intents, jws
from clearline.house.layout import MERCHANT_CODE, MERCHANT_ID
from clearline.intents import PayIntent, Route
from clearline.jws import KeySigner
from gateway.app import create_app
from gateway.settings import Settings

CELLS = [(place, what, who) for place in range(2) for what in table.REST for who in table.SIGNERS]


def signer(world: World, who: str, web: Web) -> tuple[str, KeySigner]:
    """In which merchant's name, with which key. `the merchant` is the house's own."""
    gateway = world.profile(web.bank, "gateway").private_key
    keys = {
        "its revoked key": parties.OWNER_OLD,
        "another merchant": parties.OTHER,
        "a stranger": parties.STRANGER,
        "its acquirer's bank": parties.BANK_ONE,
        "the gateway": KeySigner.load(gateway),
    }
    if who == "the merchant":
        return MERCHANT_ID, KeySigner.load(world.house.merchant_dir / "key.pem")
    return parties.MERCHANT, keys[who]


def wanted(world: World, merchant_id: str) -> PayIntent:
    """A payment in this merchant's name."""
    routes = {
        MERCHANT_ID: Route("unionpay", MERCHANT_CODE, "tok_approve"),
        parties.MERCHANT: Route(parties.ONE, parties.CODE_ONE, "tok_approve"),
    }
    return parties.intent(merchant_id=merchant_id, acquirers=(routes[merchant_id],))


def ask(world: World, web: Web, what: str, who: str) -> requests.Response:
    """The request of a cell."""
    method, path = what.split(" ")
    if who == "nobody":
        if what == "POST /v1/payments":
            return web.post(unsigned(wanted(world, parties.MERCHANT)))
        if what == "POST /v1/payments/batch":
            return web.batch([unsigned(wanted(world, parties.MERCHANT))])
        return web.ask(method, path.replace("<order_no>", "x"))
    merchant_id, key = signer(world, who, web)
    if what == "POST /v1/payments":
        return web.post(intents.sign(wanted(world, merchant_id), key))
    if what == "POST /v1/payments/batch":
        return web.batch([intents.sign(wanted(world, merchant_id), key)])
    order_no = "x"
    if what == "GET /v1/payments/<order_no>" and who == "the merchant":
        made = wanted(world, merchant_id)
        assert web.post(intents.sign(made, key)).status_code == 201
        order_no = made.order_no
    path = path.replace("<order_no>", order_no)
    return web.ask(method, path, headers=web.token(merchant_id, key))


def unsigned(of: PayIntent) -> str:
    """An intent whose signature is left out."""
    header, payload, _ = intents.sign(of, parties.OWNER).split(".")
    return f"{header}.{payload}."


def said(response: requests.Response) -> str:
    """A cell's word: the status of what was taken, else the code."""
    body: Any = response.json()
    if "outcomes" in body:
        (outcome,) = body["outcomes"]
        return str(outcome["status"] if outcome["payment"] else outcome["code"])
    code = body.get("code")
    return str(code or response.status_code)


@pytest.mark.parametrize(("place", "what", "who"), CELLS)
def test_cell(world: World, place: int, what: str, who: str) -> None:
    assert said(ask(world, world.web[place], what, who)) == table.REST[what][who]


def test_every_endpoint_has_a_row(world: World) -> None:
    settings = Path(world.house.room_dir("gateway-bankone")) / "settings.json"
    rules = create_app(Settings.load(settings)).url_map.iter_rules()
    served = {
        f"{method} {rule.rule}"
        for rule in rules
        for method in (rule.methods or ())
        if method not in ("HEAD", "OPTIONS")
    }
    assert served == set(table.REST)


def test_another_merchants_token_shows_its_own(world: World) -> None:
    payment = parties.requested(world)
    for web in world.web:
        path = f"/v1/payments/{payment.order_no}?min_block={world.last_block}"
        mine = web.token(parties.MERCHANT, parties.OWNER)
        theirs = web.token(parties.OTHER_MERCHANT, parties.OTHER)
        shown = web.ask("GET", path, headers=mine)
        assert shown.status_code == 200, shown.text
        refused = web.ask("GET", path, headers=theirs)
        assert (refused.status_code, refused.json()["code"]) == (404, "payment_unknown")
        listed = web.ask("GET", "/v1/payments", headers=theirs)
        assert (listed.status_code, listed.json()["payments"]) == (200, [])


def test_a_token_is_for_one_gateway(world: World) -> None:
    first, second = world.web
    token = first.token(parties.MERCHANT, parties.OWNER, audience=second.url)
    refused = first.ask("GET", "/v1/payments", headers=token)
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")


def test_an_intent_is_no_token_and_a_token_no_intent(world: World) -> None:
    web = world.web[0]
    intent = intents.sign(parties.intent(), parties.OWNER)
    refused = web.ask("GET", "/v1/payments", headers={"Authorization": f"Bearer {intent}"})
    assert refused.json()["code"] == "unauthenticated"
    token = web.token(parties.MERCHANT, parties.OWNER)["Authorization"].split()[1]
    assert web.post(token).json()["code"] == "malformed"


def test_a_members_certificate_opens_no_door(world: World) -> None:
    """Mutual TLS with a peer's, an admin's, a connector's certificate: still nobody."""
    for msp, user in (("BankOne", "admin"), ("BankOne", "connector"), ("Supervisor", "auditor")):
        profile = world.profile(msp, user)
        pair = (str(profile.tls_certificate), str(profile.tls_private_key))
        refused = world.web[0].ask("GET", "/v1/payments", cert=pair)
        assert refused.json()["code"] == "unauthenticated"


def test_a_token_is_for_minutes(world: World) -> None:
    """Expired, or signed for longer than a token may live."""
    web, now = world.web[0], int(time.time())
    for issued, expires in ((now - 400, now - 100), (now, now + 86_400)):
        claims = {
            "iss": parties.MERCHANT,
            "sub": parties.MERCHANT,
            "aud": web.url,
            "iat": issued,
            "exp": expires,
            "jti": "one",
            "scope": "read",
        }
        token = jws.sign(claims, jws.Typ.BEARER, parties.OWNER)
        refused = web.ask("GET", "/v1/payments", headers={"Authorization": f"Bearer {token}"})
        assert refused.json()["code"] == "token_expired"
