"""The `webhooks` part of a gateway's settings; every member has a default."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clearline.canonical import Json
from clearline.schema import Integer, Listed, Members, OneOf, SchemaError, Shape, Text
from gateway.webhooks.targets import IpNetwork, PortRange, TargetRules

_CIDR: Final = Text(r"[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}", "must be a network such as 127.0.0.0/8")
_PORTS: Final = Text(r"[0-9]{1,5}(-[0-9]{1,5})?", "must be a port or a range such as 8000-8999")
_MEMBERS: Final[dict[str, Shape]] = {
    "allow_private": Listed(_CIDR, 0, 32),
    "schemes": Listed(OneOf(("https", "http")), 1, 2),
    "ports": Listed(_PORTS, 1, 32),
    "ca": Text("[^\\x00]{1,1024}", "must be a path"),
    "timeout_s": Integer(1, 30),
    "per_merchant": Integer(1, 100),
    "concurrency": Integer(1, 1000),
    "per_webhook": Integer(1, 64),
    "keep_days": Integer(5, 3650),
}
SHAPE: Final = Members(_MEMBERS, frozenset(_MEMBERS))


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """Where webhooks may go and how many at once.

    ca: PEM file with CAs that receivers' certificates may come from, beside the system's.
    timeout_s: seconds for one delivery, connecting and answering. per_merchant: webhooks of one
    merchant. concurrency: deliveries under way in all; per_webhook: to one webhook. keep_days: how
    long events can be had at GET /v1/events.
    """

    rules: TargetRules = field(default_factory=TargetRules)
    ca: Path | None = None
    timeout_s: int = 15
    per_merchant: int = 8
    concurrency: int = 256
    per_webhook: int = 8
    keep_days: int = 30


def from_json(value: Json, folder: Path) -> WebhookSettings:
    """The settings a checked object describes. Raises SchemaError where a value can't be used."""
    fields = dict(value)
    defaults = TargetRules()
    rules = TargetRules(
        tuple(fields.pop("schemes", defaults.schemes)),
        tuple(_range(text) for text in fields.pop("ports", ())) or defaults.ports,
        tuple(_network(text) for text in fields.pop("allow_private", ())),
    )
    ca = fields.pop("ca", None)
    return WebhookSettings(rules=rules, ca=None if ca is None else folder / ca, **fields)


def _network(text: str) -> IpNetwork:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SchemaError("/webhooks/allow_private", str(error)) from None


def _range(text: str) -> PortRange:
    first, _, last = text.partition("-")
    ports = PortRange(int(first), int(last or first))
    if not 1 <= ports.first <= ports.last <= 65_535:
        raise SchemaError("/webhooks/ports", f"{text} is no range of ports")
    return ports
