"""What is refused at a glance: intents all of whose acquirers take no more for what waits for them.

While an acquirer is behind, most posts meet this, so they are refused before anything dear is
done for them: by a look at the unverified payload, in the server's poller or before a batch is
verified. It tells no more than /v1/gateway tells everybody. Whatever is not plainly so goes the
ordinary way, an intent whose payment is on the ledger too: its answer comes from there.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Mapping
from typing import Final

import orjson

from clearline.codes import Refusal
from clearline.intents import PaymentKey
from gateway.availability import Judgement
from gateway.reader import Reader, Snapshot
from gateway.routing import Unavailable

_REQUEST: Final = b"POST /v1/payments HTTP/1.1\r\n"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


class Crowding:
    """Safe to use from many threads; the poller waits for nothing in it but the projection."""

    def __init__(
        self, crowded: Callable[[], Mapping[str, Judgement]], reader: Reader, longest: int
    ) -> None:
        """`crowded`: the acquirers that take no more; `longest`: bytes of an intent."""
        self._crowded = crowded
        self._reader = reader
        self._longest = longest

    def refusal_of_post(self, request: bytes) -> Unavailable | None:
        """Why a whole HTTP request is refused; None when it goes on."""
        crowded = self._crowded()
        if not crowded or not request.startswith(_REQUEST):
            return None
        compact = request[request.find(b"\r\n\r\n") + 4 :].strip(b" \t\r\n")
        if len(compact) > self._longest:
            return None
        try:
            return _refusal(compact, crowded, self._reader.has)
        except Refusal:  # no projection to read
            return None

    def refusal(self, compact: object, snapshot: Snapshot) -> Unavailable | None:
        """Why an intent is refused; None when it goes on."""
        crowded = self._crowded()
        if not crowded or not isinstance(compact, str | bytes) or len(compact) > self._longest:
            return None
        text = compact.encode(errors="replace") if isinstance(compact, str) else compact
        return _refusal(text, crowded, snapshot.has)


def _refusal(
    compact: bytes, crowded: Mapping[str, Judgement], on_ledger: Callable[[PaymentKey], bool]
) -> Unavailable | None:
    seen = _glance(compact)
    if seen is None:
        return None
    key, names = seen
    judged = [(crowded[name].retry_after, name) for name in names if name in crowded]
    if not judged or len(judged) < len(names) or on_ledger(key):
        return None
    _, soonest = min(judged)
    return Unavailable(soonest, crowded[soonest])


def _glance(compact: bytes) -> tuple[PaymentKey, list[str]] | None:
    """The payment an intent asks for and the acquirers it names, unverified; None for whatever is
    not plainly an intent to be paid."""
    parts = compact.split(b".")
    if len(parts) != 3:
        return None
    try:
        payload = orjson.loads(binascii.a2b_base64(parts[1].translate(_STANDARD) + b"=="))
        merchant_id, order_no, attempt = (
            payload["merchant_id"],
            payload["order_no"],
            payload["attempt"],
        )
        names = [route["acquirer_id"] for route in payload["acquirers"]]
    except (ValueError, KeyError, TypeError, IndexError):
        return None
    texts = all(isinstance(text, str) for text in (merchant_id, order_no, *names))
    if not texts or type(attempt) is not int or not 0 < attempt < 2**53:
        return None
    return PaymentKey(merchant_id, order_no, attempt), names
