"""PUT, GET and DELETE /v1/webhooks/{id}, GET /v1/webhooks, GET /v1/events."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import asdict, dataclass
from typing import Final, cast

import orjson
from flask import Blueprint, Flask, Response, current_app, g

from clearline import times, webhooks
from clearline.canonical import Json
from clearline.codes import Code, Refusal
from clearline.jws import JwsError
from clearline.schema import SchemaError
from clearline.webhooks import WEBHOOK_ID, Action, Registration
from gateway import http, problems
from gateway.http import services
from gateway.reader import verification_key
from gateway.reads import DEFAULT_PAGE, LARGEST_PAGE, authenticated
from gateway.settings import Settings
from gateway.webhooks import store, targets
from gateway.webhooks.keys import WebhookKeyError, WebhookKeys
from gateway.webhooks.registry import Registry, Shown
from gateway.webhooks.targets import TargetRefusedError

MEDIA_TYPE: Final = "application/jose"
# Seconds a registration's `created` may be from this gateway's clock: an old one that is tried at
# a gateway that lost its store is refused by this, where its sequence is not known any more.
WINDOW: Final = 300
_CURSOR: Final = re.compile(r"e1\.(0|[1-9][0-9]{0,18})")
_EXTENSION: Final = "clearline.webhooks"
blueprint = Blueprint("webhooks", __name__)


@dataclass(slots=True)
class _Desk:
    """What these endpoints need beside the other ones' services; keys are read when first used."""

    settings: Settings
    registry: Registry
    keys: WebhookKeys | None = None

    def public(self, merchant_id: str, webhook_id: str) -> list[str]:
        """The keys that sign for this webhook. Raises Refusal `webhooks_unavailable`."""
        if self.keys is None:
            chosen = self.settings
            try:
                self.keys = WebhookKeys.load(chosen.webhook_secret, chosen.network, chosen.name)
            except WebhookKeyError:
                raise Refusal(Code.WEBHOOKS_UNAVAILABLE, "the keys can't be read") from None
        return self.keys.public(merchant_id, webhook_id)


def install(app: Flask, settings: Settings) -> None:
    """Make what these endpoints work with; nothing is opened before the first request."""
    registry = Registry(settings.webhook_store, settings.webhooks.per_merchant)
    app.extensions[_EXTENSION] = _Desk(settings, registry)


@blueprint.put("/v1/webhooks/<webhook_id>")
def put_webhook(webhook_id: str) -> Response:
    """Register a webhook or change it; 201 when it is new, else 200."""
    wish, key_id, last_block = _signed(webhook_id, Action.REGISTER)
    try:
        targets.parse(wish.url, _desk().settings.webhooks.rules)
    except TargetRefusedError as error:
        raise Refusal(Code.WEBHOOK_TARGET_REFUSED, str(error)) from None
    shown, new = _desk().registry.put(wish, key_id, last_block)
    return http.json_response(_document(wish.merchant_id, shown), 201 if new else 200)


@blueprint.delete("/v1/webhooks/<webhook_id>")
def delete_webhook(webhook_id: str) -> Response:
    """Remove a webhook; 204, also when this very removal was taken before."""
    wish, _, _ = _signed(webhook_id, Action.REMOVE)
    _desk().registry.remove(wish)
    return Response(status=204)


@blueprint.get("/v1/webhooks/<webhook_id>")
def get_webhook(webhook_id: str) -> Response:
    """One webhook and how its deliveries go."""
    http.parameters()
    _check_id(webhook_id)
    merchant_id = authenticated()
    return http.json_response(
        _document(merchant_id, _desk().registry.show(merchant_id, webhook_id))
    )


@blueprint.get("/v1/webhooks")
def list_webhooks() -> Response:
    """The merchant's webhooks at this gateway."""
    http.parameters()
    merchant_id = authenticated()
    shown = [_document(merchant_id, item) for item in _desk().registry.all(merchant_id)]
    return http.json_response({"webhooks": shown})


@blueprint.get("/v1/events")
def list_events() -> Response:
    """A page of the merchant's events, oldest first, from a cursor on."""
    found = http.parameters("limit", "cursor")
    limit = http.number(found, "limit", 1, LARGEST_PAGE) or DEFAULT_PAGE
    after = _cursor(found.get("cursor"))
    merchant_id = authenticated()
    events, last_block = _desk().registry.events(merchant_id, after, limit)
    http.note(merchant=merchant_id, items=len(events))
    body = {
        "events": [
            {"id": event.event_id, "cursor": encode_cursor(event.seq)} | orjson.loads(event.body)
            for event in events
        ],
        "next_cursor": encode_cursor(events[-1].seq if events else after),
        "last_block": last_block,
    }
    return http.json_response(body, 200, {http.BLOCK: str(last_block)})


def encode_cursor(seq: int) -> str:
    """A place on the ledger as a text: good at every gateway of the network."""
    return base64.urlsafe_b64encode(f"e1.{seq}".encode()).rstrip(b"=").decode()


def _cursor(text: str | None) -> int:
    """The place a cursor names, 0 (before everything) without one. Raises Refusal."""
    if text is None:
        return 0
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        match = _CURSOR.fullmatch(plain.decode("ascii"))
    except (binascii.Error, ValueError):
        match = None
    if match is None or int(match[1]) >= 2**63:
        raise Refusal(Code.PARAMETER_INVALID, "cursor: not one a gateway gave")
    return int(match[1])


def _desk() -> _Desk:
    return cast(_Desk, current_app.extensions[_EXTENSION])


def _document(merchant_id: str, shown: Shown) -> dict[str, Json]:
    """What is answered about a webhook: `keys` sign for it; `cursor` is where it begins."""
    document = asdict(shown)
    start = store.place(document.pop("from_block") + 1, 0, 0) - 1
    return document | {
        "cursor": encode_cursor(start),
        "keys": _desk().public(merchant_id, shown.webhook_id),
    }


def _check_id(webhook_id: str) -> None:
    try:
        WEBHOOK_ID.check(webhook_id, "")
    except SchemaError as error:
        raise Refusal(Code.PARAMETER_INVALID, f"webhook id: {error.reason}") from None


def _signed(webhook_id: str, action: Action) -> tuple[Registration, str, int]:
    """The registration in the body, the id of its key, and the block it was checked at.

    The checks, in their order; Raises Refusal with the first that fails.
    """
    # 1. Form and closed schema; for this address.
    _check_id(webhook_id)
    http.parameters()
    compact = http.body(MEDIA_TYPE, services().settings.limits.intent_bytes).strip(b" \t\r\n")
    parsed = webhooks.parse(compact)
    wish, token = parsed.registration, parsed.token
    if wish.action is not action or wish.webhook_id != webhook_id:
        raise Refusal(Code.MALFORMED, f"signed for {wish.action} of {wish.webhook_id}")
    # 2. For this network and this gateway: else a gateway could have it taken at another.
    settings = services().settings
    if wish.network != settings.network:
        raise Refusal(Code.NETWORK_MISMATCH, f"this is {settings.network}")
    if wish.audience != settings.audience:
        raise Refusal(Code.NETWORK_MISMATCH, f"signed for {wish.audience}, not this gateway")
    # 3. By a registered merchant, with a key of its record, by that record's algorithm.
    with services().reader.snapshot() as snapshot:
        merchant, last_block = snapshot.merchant(wish.merchant_id), snapshot.last_block
    if merchant is None:
        raise Refusal(Code.MERCHANT_UNKNOWN, "no such merchant")
    key = merchant.keys.get(token.key_id)
    if key is None:
        raise Refusal(Code.KEY_UNKNOWN, "the merchant has no such key")
    try:
        verification_key(key).verify(token)
    except JwsError as error:
        raise Refusal(Code.SIGNATURE_INVALID, str(error)) from None
    # 4. The key is active, and its day has come.
    now = times.now()
    key.require_active(now[:10])
    # 5. Not too often.
    allowance = services().reads.take(wish.merchant_id)
    headers = settings.limits.reads.headers(allowance)
    if not allowance.granted:
        raise problems.Declined(Code.RATE_LIMITED, "too many requests", headers)
    g.headers = headers
    # 6. It is from now. Its sequence is held against the store when it is written.
    if not times.after(now, -WINDOW) <= wish.created <= times.after(now, WINDOW):
        raise Refusal(Code.WEBHOOK_STALE, f"created {wish.created}, more than {WINDOW} s from now")
    http.note(merchant=wish.merchant_id, webhook=webhook_id)
    return wish, token.key_id, last_block
