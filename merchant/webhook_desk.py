"""Registering webhooks at gateways, and fetching events from them: one exchange each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from clearline import times, webhooks
from clearline.canonical import Json
from clearline.jws import Signer
from clearline.schema import SchemaError
from clearline.webhooks import Action, EventType, Registration
from merchant.client import HttpGateways, Request, Response, refusal
from merchant.profile import Profile
from merchant.webhook_keys import KEYS


class WebhookDeskError(Exception):
    """A gateway did not do it; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events as a gateway lists them (`id`, `cursor` and an event's members), oldest first."""

    events: list[Json]
    next_cursor: str


class WebhookDesk:
    """What a merchant does about webhooks at its gateways (by index into the profile's list)."""

    def __init__(self, profile: Profile, signer: Signer, http: HttpGateways) -> None:
        self._profile = profile
        self._signer = signer
        self._http = http

    def register(
        self, gateway: int, webhook_id: str, url: str, events: tuple[EventType, ...]
    ) -> Json:
        """Register or change a webhook; how the gateway shows it. Raises WebhookDeskError."""
        wish = self._wish(Action.REGISTER, gateway, webhook_id, url, events)
        shown = self._document(self._send("PUT", gateway, wish))
        try:
            KEYS.check(shown.get("keys") if isinstance(shown, dict) else None, "/keys")
        except SchemaError as error:
            raise WebhookDeskError(f"the gateway's answer: {error}") from None
        return shown

    def remove(self, gateway: int, webhook_id: str) -> None:
        """Remove a webhook. Raises WebhookDeskError."""
        self._send("DELETE", gateway, self._wish(Action.REMOVE, gateway, webhook_id))

    def list(self, gateway: int) -> list[Json]:
        """The merchant's webhooks at a gateway. Raises WebhookDeskError."""
        document = self._document(self._get(gateway, "/v1/webhooks"))
        shown = document.get("webhooks") if isinstance(document, dict) else None
        if not isinstance(shown, list):
            raise WebhookDeskError("the gateway's answer lists no webhooks")
        return shown

    def events(self, gateway: int, cursor: str, limit: int = 200) -> EventPage:
        """A page of events from a cursor (empty: from the beginning). Raises WebhookDeskError."""
        query = f"?limit={limit}" + (f"&cursor={quote(cursor, safe='')}" if cursor else "")
        document = self._document(self._get(gateway, "/v1/events" + query))
        events = document.get("events") if isinstance(document, dict) else None
        following = document.get("next_cursor") if isinstance(document, dict) else None
        if not isinstance(events, list) or not isinstance(following, str):
            raise WebhookDeskError("the gateway's answer is no page of events")
        return EventPage(events, following)

    def _wish(
        self,
        action: Action,
        gateway: int,
        webhook_id: str,
        url: str = "",
        events: tuple[EventType, ...] = (),
    ) -> Registration:
        return Registration(
            action=action,
            network=self._profile.network,
            audience=self._profile.gateways[gateway].url,
            merchant_id=self._profile.merchant_id,
            webhook_id=webhook_id,
            created=times.now(),
            # Grows with time, so that nothing need be remembered.
            sequence=time.time_ns() // 1_000_000,
            url=url,
            events=events,
        )

    def _send(self, method: str, gateway: int, wish: Registration) -> Response:
        body = webhooks.sign(wish, self._signer).encode()
        headers = {"Content-Type": "application/jose"}
        path = f"/v1/webhooks/{wish.webhook_id}"
        return _good(self._http.call(gateway, Request(method, path, headers, body)))

    def _get(self, gateway: int, path: str) -> Response:
        return _good(self._http.read(gateway, Request("GET", path, {})))

    def _document(self, response: Response) -> Json:
        try:
            return orjson.loads(response.body)
        except orjson.JSONDecodeError:
            raise WebhookDeskError("the gateway's answer is not JSON") from None


def _good(reply: object) -> Response:
    if not isinstance(reply, Response):
        raise WebhookDeskError(str(getattr(reply, "reason", reply)))
    if not 200 <= reply.status < 300:
        said = refusal(reply)
        detail = getattr(said, "detail", "") or getattr(said, "reason", "")
        raise WebhookDeskError(f"{getattr(said, 'code', reply.status)} {detail}".strip())
    return reply
