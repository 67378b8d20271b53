"""Each endpoint of each gateway by whoever signs, over TLS."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

import parties
import pytest
import requests
import roles_table as table
from security_world import Web, World

from clearline import intents, jws, refunds, times, webhooks
from clearline.house.layout import KNOWN, MERCHANT_ID
from clearline.intents import PayIntent, Route
from clearline.jws import KeySigner
from clearline.refunds import RefundIntent
from clearline.webhooks import Action, EventType, Registration
from gateway.app import create_app
from gateway.settings import Settings

CELLS = [(place, what, who) for place in range(2) for what in table.REST for who in table.SIGNERS]

WEBHOOK = "hook"
REFUND = "POST /v1/payments/<order_no>/refunds"
SETTLEMENT = "/v1/settlements/unionpay/898310148990001/CNY/2026-11-23/01"
_ACTIONS = {"PUT": "register", "DELETE": "remove"}
_sequences = count(time.time_ns() // 1_000)


def signer(world: World, who: str, web: Web) -> tuple[str, KeySigner]:
    """In which merchant's name, with which key. `the merchant` is the house's own."""
    gateway = world.profile(web.bank, "gateway").private_key
    keys = {
        "its revoked key": parties.OWNER_OLD,
        "its key of a later day": parties.OWNER_NEXT,
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
        MERCHANT_ID: Route("unionpay", KNOWN[0].merchant_code, "tok_approve"),
        parties.MERCHANT: Route(parties.ONE, parties.CODE_ONE, "tok_approve"),
    }
    return parties.intent(merchant_id=merchant_id, acquirers=(routes[merchant_id],))


def ask(world: World, web: Web, what: str, who: str) -> requests.Response:
    """The request of a cell."""
    method, path = what.replace("<code>", "not_found").split(" ")
    if who == "nobody":
        if what == "POST /v1/payments":
            return web.post(unsigned(wanted(world, parties.MERCHANT)))
        if what == "POST /v1/payments/batch":
            return web.batch([unsigned(wanted(world, parties.MERCHANT))])
        if what == REFUND:
            header, payload, _ = back(world.network, parties.MERCHANT, parties.OWNER).split(".")
            return send_refund(web, f"{header}.{payload}.")
        if method in ("PUT", "DELETE"):
            wish = registration(world, web, Action(_ACTIONS[method]), parties.MERCHANT)
            header, payload, _ = webhooks.sign(wish, parties.OWNER).split(".")
            return send_registration(web, method, f"{header}.{payload}.")
        path = SETTLEMENT if "<run>" in path else path
        path = path.replace("<order_no>", "x").replace("<refund_no>", "1")
        return web.ask(method, path.replace("<webhook_id>", WEBHOOK))
    merchant_id, key = signer(world, who, web)
    if what == "POST /v1/payments":
        return web.post(intents.sign(wanted(world, merchant_id), key))
    if what == "POST /v1/payments/batch":
        return web.batch([intents.sign(wanted(world, merchant_id), key)])
    if what == REFUND:
        return send_refund(web, back(world.network, merchant_id, key))
    if "<webhook_id>" in path:
        return ask_webhook(world, web, method, (merchant_id, key))
    order_no = "x"
    if what == "GET /v1/payments/<order_no>" and who == "the merchant":
        made = wanted(world, merchant_id)
        assert web.post(intents.sign(made, key)).status_code == 201
        order_no = made.order_no
    path = SETTLEMENT if "<run>" in path else path.replace("<order_no>", order_no)
    path = path.replace("/receipts", "/receipts?attempt=1").replace("<refund_no>", "1")
    path = path if "/refunds" not in path else f"{path}?attempt=1"
    return web.ask(method, path, headers=web.token(merchant_id, key))


def back(network: str, merchant_id: str, key: KeySigner) -> str:
    """A signed refund of a payment that there is not."""
    now = times.now()
    wish = RefundIntent(
        network, merchant_id, "x", 1, 1, 100, "CNY", now, times.after(now, 600)
    )  # fmt: skip
    return refunds.sign(wish, key)


def send_refund(web: Web, compact: str) -> requests.Response:
    headers = {"Content-Type": "application/jose"}
    return web.ask("POST", "/v1/payments/x/refunds", data=compact, headers=headers)


def registration(world: World, web: Web, action: Action, merchant_id: str) -> Registration:
    """A registration, or a removal, at this gateway; its target is a name that nobody has."""
    told = (EventType.SUCCEEDED,) if action is Action.REGISTER else ()
    return Registration(
        action=action,
        network=world.network,
        audience=web.url,
        merchant_id=merchant_id,
        webhook_id=WEBHOOK,
        created=times.now(),
        sequence=next(_sequences),
        url="https://hooks.invalid/paid" if told else "",
        events=told,
    )


def send_registration(web: Web, method: str, compact: str) -> requests.Response:
    headers = {"Content-Type": "application/jose"}
    return web.ask(method, f"/v1/webhooks/{WEBHOOK}", data=compact, headers=headers)


def ask_webhook(
    world: World, web: Web, method: str, who: tuple[str, KeySigner]
) -> requests.Response:
    """A webhook registered by its merchant where it has to be there first, and away afterwards."""
    merchant_id, key = who

    def send(verb: str, signer: KeySigner) -> requests.Response:
        wish = registration(world, web, Action(_ACTIONS[verb]), merchant_id)
        return send_registration(web, verb, webhooks.sign(wish, signer))

    owner = key if merchant_id == MERCHANT_ID else parties.OWNER
    if method == "PUT":
        answer = send("PUT", key)
    else:
        assert send("PUT", owner).status_code == 201
        if method == "DELETE":
            answer = send("DELETE", key)
        else:
            token = web.token(merchant_id, key)
            answer = web.ask("GET", f"/v1/webhooks/{WEBHOOK}", headers=token)
    if not (method == "DELETE" and answer.ok) and (method != "PUT" or answer.ok):
        assert send("DELETE", owner).status_code == 204
    return answer


def unsigned(of: PayIntent) -> str:
    """An intent whose signature is left out."""
    header, payload, _ = intents.sign(of, parties.OWNER).split(".")
    return f"{header}.{payload}."


def said(response: requests.Response) -> str:
    """A cell's word: the status of what was taken, else the code."""
    if response.status_code == 204 or "json" not in response.headers["Content-Type"]:
        return str(response.status_code)
    body: Any = response.json()
    if "outcomes" in body:
        (outcome,) = body["outcomes"]
        return str(outcome["status"] if outcome["payment"] else outcome["code"])
    code = body.get("code") if response.status_code >= 400 else None
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
