"""What the HTTP workers and the committer say to each other over their Unix socket.

A frame is four bytes of length (big-endian) and a JSON list: [id, verb, body] from a worker,
[id, body] back; an answer may overtake another. Both ends are this gateway's own processes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import orjson

from clearline.canonical import Json
from clearline.codes import Code
from clearline.intents import PaymentKey
from clearline.refunds import RefundKey

MAX_FRAME: Final = 8 * 1024 * 1024
_LENGTH: Final = struct.Struct(">I")


Named = PaymentKey | RefundKey  # what a submission asks for


class WireError(Exception):
    """Bytes that are no frame of this protocol."""


class Verb(StrEnum):
    """What a worker asks."""

    SUBMIT = "submit"
    FINAL = "final"
    BLOCK = "block"
    STATE = "state"
    NUMBERS = "numbers"


class Until(StrEnum):
    """How far a submission is waited for."""

    ACCEPTED = "accepted"
    COMMITTED = "committed"


class State(StrEnum):
    """How a submission stands: on the ledger by this request, there before it, refused, or held
    on stable storage and not decided."""

    COMMITTED = "committed"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class Submission:
    """An admitted intent on its way to the contract; a close has neither route nor expiry, a
    refund no route."""

    key: Named
    intent_digest: str
    intent: str
    acquirer_id: str
    expires_at: str

    @property
    def item_id(self) -> str:
        """The same for the same wish, whichever worker or attempt at posting brought it."""
        return f"{self.key}/{self.intent_digest}"

    @property
    def payload(self) -> str:
        """One element of SubmitIntents' list."""
        # In the order of canonical JSON, which the contract reads fastest.
        route = {"acquirer_id": self.acquirer_id} if self.acquirer_id else {}
        return orjson.dumps(route | {"intent": self.intent}).decode()

    @property
    def kept(self) -> str:
        """The same as a receipt's note keeps it, of a refund with its number."""
        if isinstance(self.key, RefundKey):
            note = {"intent": self.intent, "refund_no": self.key.refund_no}
            return orjson.dumps(note).decode()
        return self.payload

    @property
    def closes(self) -> bool:
        """Whether it is a close."""
        return not self.acquirer_id and isinstance(self.key, PaymentKey)


@dataclass(frozen=True, slots=True)
class Submit:
    """Have these decided; answer after `wait` seconds at the latest (and one sync more)."""

    submissions: tuple[Submission, ...]
    until: Until
    wait: float


@dataclass(frozen=True, slots=True)
class Submitted:
    """One submission's state: `code` and `detail` when refused, `receipt` when received;
    `retry_after` when a rate or queue limit refused it; `remaining` in the merchant's bucket after
    it was asked for this, -1 when it was not; `status`, `tx_id`, `block_number` and `acquirer_id`
    of the payment when a block just applied committed it."""

    state: State
    code: Code | None = None
    detail: str = ""
    receipt: str = ""
    retry_after: int = 0
    remaining: int = -1
    status: str = ""
    tx_id: str = ""
    block_number: int = -1
    acquirer_id: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """The committer's state: `following` tells whether the block stream is up, `level` whether
    the projection is where the peer is, `last_block` where the projection is, `depth` how many
    intents wait."""

    following: bool
    level: bool
    last_block: int
    depth: int


def pack(message: Json) -> bytes:
    """A frame."""
    body = orjson.dumps(message)
    return _LENGTH.pack(len(body)) + body


def unpack_length(head: bytes) -> int:
    """The length a frame's first four bytes announce. Raises WireError."""
    (length,) = _LENGTH.unpack(head)
    if length > MAX_FRAME:
        raise WireError(f"a frame of {length} bytes")
    return int(length)


def unpack(body: bytes) -> Json:
    """A frame's content. Raises WireError."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise WireError(f"not a frame: {error}") from None


def submit_to_json(request: Submit) -> Json:
    """The body of Verb.SUBMIT."""
    return [
        request.until.value,
        request.wait,
        [
            [list(item.key), item.intent_digest, item.intent, item.acquirer_id, item.expires_at]
            for item in request.submissions
        ],
    ]


def submit_from_json(body: Json) -> Submit:
    """The request a body holds. Raises WireError."""
    try:
        until, wait, items = body
        return Submit(
            tuple(Submission(named(item[0]), *item[1:]) for item in items),
            Until(until),
            float(wait),
        )
    except (TypeError, ValueError) as error:
        raise WireError(f"not a submission: {error}") from None


def named(parts: Json) -> Named:
    """The payment or refund that these three or four parts name. Raises TypeError."""
    return RefundKey(*parts) if len(parts) == 4 else PaymentKey(*parts)


def payment_of(key: Named) -> PaymentKey:
    """The payment that this is, or is a refund of."""
    return key.payment if isinstance(key, RefundKey) else key


def submitted_to_json(answer: Submitted) -> Json:
    """One element of the answer to Verb.SUBMIT."""
    return [
        answer.state.value,
        answer.code.value if answer.code else None,
        answer.detail,
        answer.receipt,
        answer.retry_after,
        answer.remaining,
        answer.status,
        answer.tx_id,
        answer.block_number,
        answer.acquirer_id,
    ]


def submitted_from_json(body: Json) -> Submitted:
    """The element's meaning. Raises WireError."""
    try:
        state, code, *rest = body
        return Submitted(State(state), Code(code) if code else None, *rest)
    except (TypeError, ValueError) as error:
        raise WireError(f"not a submission's answer: {error}") from None
