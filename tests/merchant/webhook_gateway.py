"""The webhooks' resources of a fake gateway: registrations kept, events listed from a list."""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from merchant_world import FakeGateway

from clearline import webhook_signatures, webhooks
from clearline.canonical import loads
from clearline.codes import Code
from clearline.webhooks import Event, Registration


@dataclass
class WebhookGateway:
    """What a gateway does about webhooks; `refuse` makes it take none."""

    gateway: FakeGateway
    taken: list[Registration] = field(default_factory=list)
    shown: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    refuse: bool = False
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    def show(self, wish: Registration) -> dict[str, Any]:
        return {
            "webhook_id": wish.webhook_id, "url": wish.url, "status": "active", "reason": "",
            "events": [event.value for event in wish.events], "delivered": 0, "pending": 0,
            "given_up": 0, "last_error": "", "last_failure": "",
            "keys": [webhook_signatures.public_text(self.key.public_key())],
        }  # fmt: skip

    def page(self, cursor: str) -> dict[str, Any]:
        start = int(cursor.removeprefix("c") or 0)
        events = []
        for place, event in enumerate(self.events[start:], start + 1):
            data = event.data
            name = webhooks.event_id("clearline-dev", str(data.tx_id), data.key)
            events.append({"id": name, "cursor": f"c{place}"} | loads(event.to_bytes()))
        return {"events": events, "next_cursor": f"c{len(self.events)}", "last_block": 9}


def serve_webhooks(gateway: FakeGateway) -> WebhookGateway:
    """Have a running fake gateway serve webhooks too."""
    made = WebhookGateway(gateway)
    handler: Any = gateway.server.RequestHandlerClass
    before = handler.do_GET

    def change(self: Any) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parsed = webhooks.parse(body)
        wish = parsed.registration
        gateway.merchant_keys[parsed.token.key_id].verify(parsed.token)
        assert self.headers["Content-Type"] == "application/jose"
        assert self.path == f"/v1/webhooks/{wish.webhook_id}"
        if made.refuse:
            self._problem(Code.WEBHOOK_TARGET_REFUSED)
            return
        made.taken.append(wish)
        if self.command == "DELETE":
            made.shown.pop(wish.webhook_id, None)
            self.send_response(204)
            self.end_headers()
            return
        made.shown[wish.webhook_id] = made.show(wish)
        self._send(201, made.shown[wish.webhook_id])

    def read(self: Any) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/v1/webhooks":
            self._send(200, {"webhooks": list(made.shown.values())})
        elif parts.path == "/v1/events":
            self._send(200, made.page(parse_qs(parts.query).get("cursor", [""])[0]))
        else:
            before(self)

    handler.do_PUT = handler.do_DELETE = change
    handler.do_GET = read
    return made
