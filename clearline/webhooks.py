"""Webhooks: what a merchant signs to register one, and what a gateway sends.

A registration is a JWS of typ `clearline-webhook+jws` for one gateway (`audience`). Its `sequence`
must be greater than any taken before under the same merchant and webhook id, removals included, so
that an old registration can't be replayed. An event's id is a pure function of network,
transaction and payment: every gateway, and every replay of a block, gives the same id and bytes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from clearline import canonical, jws
from clearline.answers import PaymentAnswer, RefundAnswer
from clearline.canonical import CanonicalError, Json
from clearline.cards import holds_card_number
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.jws import JwsError, Signer, Typ, Unverified
from clearline.refunds import RefundKey
from clearline.schema import (
    IDENTIFIER,
    NETWORK,
    Constant,
    Integer,
    Listed,
    Members,
    OneOf,
    SchemaError,
    Shape,
    Text,
    Time,
)
from clearline.statuses import Status

VERSION: Final = 1
MAX_URL: Final = 512
ID_PREFIX: Final = "evt_"


class EventType(StrEnum):
    """What a webhook tells: a payment, or a refund, on the ledger has this status now."""

    REQUESTED = "payment.requested"
    ACCEPTED = "payment.accepted"
    UNKNOWN = "payment.unknown"
    SUCCEEDED = "payment.succeeded"
    DECLINED = "payment.declined"
    CLOSED = "payment.closed"
    EXPIRED = "payment.expired"
    REFUND_REQUESTED = "refund.requested"
    REFUND_ACCEPTED = "refund.accepted"
    REFUND_UNKNOWN = "refund.unknown"
    REFUND_SUCCEEDED = "refund.succeeded"
    REFUND_DECLINED = "refund.declined"

    @classmethod
    def of(cls, status: Status) -> EventType:
        """The type that tells this status of a payment. Raises ValueError for one that is not on
        the ledger."""
        return cls(f"payment.{status.value}")

    @classmethod
    def of_refund(cls, status: Status) -> EventType:
        """The same of a refund."""
        return cls(f"refund.{status.value}")

    @property
    def of_a_refund(self) -> bool:
        """Whether it tells of a refund."""
        return self.value.startswith("refund.")


class Action(StrEnum):
    """What a registration asks for."""

    REGISTER = "register"
    REMOVE = "remove"


_AUDIENCE: Final = Text(r"https?://[A-Za-z0-9.:\[\]-]{1,128}", "must be a gateway's base URL")
_URL: Final = Text(rf"[!-~]{{1,{MAX_URL}}}", f"must be a URL of at most {MAX_URL} characters")
# Without "." and "..", which no URL can name.
WEBHOOK_ID: Final = Text("[A-Za-z0-9_-]{1,32}", "must be 1 to 32 of A-Z a-z 0-9 _ -")
_COMMON: Final[dict[str, Shape]] = {
    "version": Constant(VERSION),
    "network": NETWORK,
    "audience": _AUDIENCE,
    "merchant_id": IDENTIFIER,
    "webhook_id": WEBHOOK_ID,
    "created": Time(),
    "sequence": Integer(1, canonical.MAX_INTEGER),
}
REGISTER: Final = Members(
    {
        "action": Constant(Action.REGISTER.value),
        "url": _URL,
        "events": Listed(OneOf(tuple(EventType)), 1, len(EventType)),
        **_COMMON,
    }
)
REMOVE: Final = Members({"action": Constant(Action.REMOVE.value), **_COMMON})
_TIME: Final = Time()


@dataclass(frozen=True, slots=True)
class Registration:
    """A merchant's wish about one webhook at one gateway: field for field the signed payload.

    `url` and `events` are empty when `action` is `remove`.
    """

    action: Action
    network: str
    audience: str
    merchant_id: str
    webhook_id: str
    created: str
    sequence: int
    url: str = ""
    events: tuple[EventType, ...] = ()

    def payload(self) -> dict[str, Json]:
        """The JSON object that is signed."""
        payload = asdict(self) | {"version": VERSION, "action": self.action.value}
        if self.action is Action.REMOVE:
            del payload["url"], payload["events"]
        else:
            payload["events"] = [event.value for event in self.events]
        return payload

    def digest(self) -> str:
        """SHA-256 of the payload: two registrations of one sequence are the same or a conflict."""
        return canonical.digest(self.payload())


@dataclass(frozen=True, slots=True)
class SignedRegistration:
    """A registration as received: well-formed, its signature not yet verified."""

    token: Unverified
    registration: Registration


def sign(registration: Registration, signer: Signer) -> str:
    """The registration as a JWS compact text."""
    return jws.sign(registration.payload(), Typ.WEBHOOK, signer)


def parse(compact: str | bytes) -> SignedRegistration:
    """Take a JWS compact text as a registration: form and closed schema, not the signature.

    Raises Refusal `malformed` or `card_data_refused`, and where.
    """
    try:
        token = jws.take_apart(compact)
        if token.typ is not Typ.WEBHOOK:
            raise JwsError(f"typ must be {Typ.WEBHOOK}")
        payload = canonical.loads(token.payload)
        removing = isinstance(payload, dict) and payload.get("action") == Action.REMOVE.value
        (REMOVE if removing else REGISTER).check(payload, "")
    except (JwsError, CanonicalError, SchemaError) as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    fields = {name: value for name, value in payload.items() if name != "version"}
    events = tuple(EventType(event) for event in fields.pop("events", ()))
    if len(frozenset(events)) != len(events):
        raise Refusal(Code.MALFORMED, "/events: names an event twice")
    for name, value in fields.items():
        if holds_card_number(str(value)):
            raise Refusal(Code.CARD_DATA_REFUSED, f"/{name}: looks like a card number")
    action = Action(fields.pop("action"))
    return SignedRegistration(token, Registration(action=action, events=events, **fields))


@dataclass(frozen=True, slots=True)
class Event:
    """What a webhook's body tells. `timestamp` is the transaction's: its submitter's claim; `data`
    the payment, or the refund when the type says so."""

    type: EventType
    timestamp: str
    data: PaymentAnswer | RefundAnswer

    def to_bytes(self) -> bytes:
        """The body: canonical JSON, so that the same event is the same bytes everywhere."""
        return canonical.dumps(
            {"type": self.type.value, "timestamp": self.timestamp, "data": self.data.to_json()}
        )

    @classmethod
    def from_json(cls, value: Json) -> Event:
        """The event an object describes; further members are left out, here and in `data`.

        Raises ValueError when it is none, or tells another status than its type says.
        """
        if type(value) is not dict:
            raise ValueError("not an event: not an object")
        try:
            _TIME.check(value["timestamp"], "/timestamp")
            kind, data = _told(EventType(value["type"]), value["data"])
            of = EventType.of_refund if kind.of_a_refund else EventType.of
            if of(Status(data.status)) is not kind:
                raise ValueError(f"{kind} tells the status {data.status}")
        except KeyError as error:
            raise ValueError(f"not an event: {error} is missing") from None
        return cls(kind, value["timestamp"], data)


def _told(kind: EventType, value: Json) -> tuple[EventType, PaymentAnswer | RefundAnswer]:
    told = RefundAnswer if kind.of_a_refund else PaymentAnswer
    return kind, told.from_json(value)


def event_id(network: str, tx_id: str, key: PaymentKey | RefundKey) -> str:
    """`evt_` and 40 hex digits: what names an item of a transaction in this network."""
    return ID_PREFIX + canonical.digest([network, tx_id, *key])[:40]
