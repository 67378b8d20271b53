"""The merchant's HTTP client: one exchange with one gateway, and what its reply is.

Nothing here decides what to do next; a reply of any bytes becomes one of five kinds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Protocol

import orjson
import requests
import urllib3.exceptions

from clearline import bearer
from clearline.answers import PaymentAnswer, RefundAnswer
from clearline.canonical import Json
from clearline.cards import redact
from clearline.intents import PaymentKey
from clearline.jws import Signer
from clearline.refunds import RefundKey
from merchant.profile import Profile
from merchant.sights import Named, Sight, sight_of

CONNECT_TIMEOUT: Final = 4.0  # seconds
ANSWER_TIMEOUT: Final = 20.0  # seconds a gateway may take over what it was asked to wait
MAX_BODY: Final = 16 * 1024 * 1024
TOKEN_LIFETIME: Final = 120  # seconds; used for three quarters of it
MAX_RETRY_AFTER: Final = 60.0
_AGAIN: Final = frozenset({408, 425, 429, 502, 503, 504})
_UNAUTHORIZED: Final = 401
_NOT_NOW: Final = frozenset(
    {"rate_limited", "overloaded", "ledger_unavailable", "acquirer_unavailable"}
)


@dataclass(frozen=True, slots=True)
class Answered:
    """The gateway says something about the payment; `body` is the text, as evidence."""

    answer: PaymentAnswer
    body: str


@dataclass(frozen=True, slots=True)
class RefundAnswered:
    """The gateway says something about a refund; `body` is the text, as evidence."""

    answer: RefundAnswer
    body: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway refuses: the outcome code (or `http_NNN`), and its detail."""

    code: str
    detail: str
    http_status: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Not now: come back in `retry_after` seconds at the soonest (None when it didn't say)."""

    code: str
    retry_after: float | None


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No whole answer came: what became of the request is not known."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """An answer came that makes no sense, or 500: what became of the request is not known."""

    reason: str


_Trouble = Refused | Busy | Unreachable | Broken
Reply = Answered | _Trouble
RefundReply = RefundAnswered | _Trouble


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request; `wait` is how many seconds the gateway is asked to wait, 0 for none."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None
    wait: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, read whole."""

    status: int
    retry_after: str | None
    body: bytes


class GatewayApi(Protocol):
    """What the payer needs of the gateways; `gateway` is an index into the profile's list."""

    def post(self, gateway: int, compact: str, wait: int) -> Reply:
        """POST /v1/payments with one signed intent, waiting up to `wait` seconds for its end."""

    def post_batch(self, gateway: int, compacts: Sequence[str]) -> list[Reply]:
        """POST /v1/payments/batch; a reply an intent, in their order."""

    def get(self, gateway: int, key: PaymentKey, wait: int) -> Reply:
        """GET the payment, waiting up to `wait` seconds for its end."""


class HttpGateways:
    """GatewayApi over TLS: a session per thread and gateway, each with its own CA."""

    def __init__(self, profile: Profile, signer: Signer) -> None:
        self._profile = profile
        self._signer = signer
        self._local = threading.local()
        self._lock = threading.Lock()
        self._tokens: dict[int, tuple[str, float]] = {}
        self._sessions: list[requests.Session] = []

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            for session in self._sessions:
                session.close()

    def post(self, gateway: int, compact: str, wait: int) -> Reply:
        """POST /v1/payments with one signed intent: 201, 200 (duplicate) or 202."""
        headers = {"Content-Type": "application/jose"} | _prefer(wait)
        request = Request("POST", "/v1/payments", headers, compact.encode(), wait)
        reply = self.call(gateway, request)
        return _payment(reply) if isinstance(reply, Response) else reply

    def post_batch(self, gateway: int, compacts: Sequence[str]) -> list[Reply]:
        """POST /v1/payments/batch; a reply an intent, in their order."""
        headers = {"Content-Type": "application/json"}
        body = orjson.dumps({"intents": list(compacts)})
        reply = self.call(gateway, Request("POST", "/v1/payments/batch", headers, body))
        if not isinstance(reply, Response):
            return [reply] * len(compacts)
        return outcomes(reply, len(compacts))

    def get(self, gateway: int, key: PaymentKey, wait: int) -> Reply:
        """GET /v1/payments/{order_no}?attempt=N."""
        path = f"/v1/payments/{key.order_no}?attempt={key.attempt}"
        reply = self.read(gateway, Request("GET", path, _prefer(wait), wait=wait))
        return _payment(reply) if isinstance(reply, Response) else reply

    def post_refund(self, gateway: int, key: RefundKey, compact: str, wait: int) -> RefundReply:
        """POST /v1/payments/{order_no}/refunds with one signed refund."""
        headers = {"Content-Type": "application/jose"} | _prefer(wait)
        path = f"/v1/payments/{key.order_no}/refunds"
        reply = self.call(gateway, Request("POST", path, headers, compact.encode(), wait))
        return _refund(reply) if isinstance(reply, Response) else reply

    def get_refund(self, gateway: int, key: RefundKey, wait: int) -> RefundReply:
        """GET /v1/payments/{order_no}/refunds/{refund_no}?attempt=N."""
        path = f"/v1/payments/{key.order_no}/refunds/{key.refund_no}?attempt={key.attempt}"
        reply = self.read(gateway, Request("GET", path, _prefer(wait), wait=wait))
        return _refund(reply) if isinstance(reply, Response) else reply

    def read(self, gateway: int, request: Request) -> Response | Unreachable | Broken:
        """One exchange with a bearer token."""
        reply = self._authorized(gateway, request)
        if isinstance(reply, Response) and reply.status == _UNAUTHORIZED:
            # The token may have run out on the way, or the clock jumped: once more, with a new one.
            with self._lock:
                self._tokens.pop(gateway, None)
            reply = self._authorized(gateway, request)
        return reply

    def look(self, gateway: int, key: Named, min_block: int | None) -> Sight:
        """What this gateway shows of a payment or refund for receipts; see sights.Looking."""
        path = f"/v1/payments/{key.order_no}/receipts?attempt={key.attempt}"
        if isinstance(key, RefundKey):
            path += f"&refund_no={key.refund_no}"
        if min_block is not None and min_block >= 0:
            path += f"&min_block={min_block}"
        reply = self.read(gateway, Request("GET", path, {}))
        if not isinstance(reply, Response):
            return Sight(False, detail=reply.reason)
        members = _json(reply.body)
        if reply.status == 200:
            return sight_of(members, key)
        code = members.get("code") if isinstance(members, dict) else None
        return Sight(False, detail=f"HTTP {reply.status} {str(code or '')[:64]}".strip())

    def _authorized(self, gateway: int, request: Request) -> Response | Unreachable | Broken:
        token = {"Authorization": f"Bearer {self.token(gateway)}"}
        return self.call(gateway, replace(request, headers=request.headers | token))

    def token(self, gateway: int) -> str:
        """A bearer token for this gateway, made anew before the last one runs out."""
        now = time.monotonic()
        with self._lock:
            token, good_until = self._tokens.get(gateway, ("", 0.0))
            if now >= good_until:
                url = self._profile.gateways[gateway].url
                token = bearer.issue(self._profile.merchant_id, url, self._signer, TOKEN_LIFETIME)
                self._tokens[gateway] = (token, now + TOKEN_LIFETIME * 0.75)
            return token

    def _session(self, gateway: int) -> requests.Session:
        sessions: dict[int, requests.Session] = self._local.__dict__.setdefault("sessions", {})
        session = sessions.get(gateway)
        if session is None:
            session = requests.Session()
            # An environment's proxy or CA bundle would silently replace the profile's.
            session.trust_env = False
            session.verify = str(self._profile.gateways[gateway].ca)
            session.headers.update(
                {
                    "Accept": "application/json, application/problem+json",
                    "Accept-Encoding": "identity",
                    "User-Agent": "clearline-merchant/1",
                }
            )
            sessions[gateway] = session
            with self._lock:
                self._sessions.append(session)
        return session

    def call(self, gateway: int, request: Request) -> Response | Unreachable | Broken:
        """One exchange, whatever comes of it."""
        setting = self._profile.gateways[gateway]
        patience = ANSWER_TIMEOUT + request.wait
        end = time.monotonic() + CONNECT_TIMEOUT + patience
        try:
            with self._session(gateway).request(
                request.method,
                setting.url + request.path,
                data=request.body,
                headers=request.headers,
                timeout=(CONNECT_TIMEOUT, patience),
                allow_redirects=False,
                stream=True,
            ) as response:
                return _read(response, end)
        except requests.exceptions.SSLError as error:
            return Unreachable(f"TLS: {_cause(error)} (is {setting.ca} the CA of {setting.url}?)")
        except OSError as error:  # every requests exception, and a CA file that isn't there
            return Unreachable(_cause(error))
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            return Unreachable(_cause(error))


def _prefer(wait: int) -> dict[str, str]:
    """RFC 7240 section 4.3; nothing when the gateway is to answer as it likes."""
    return {"Prefer": f"wait={wait}"} if wait else {}


def _read(response: requests.Response, end: float) -> Response | Broken | Unreachable:
    # By hand: a gateway must hold a thread neither with an endless body nor with a dripping one.
    parts: list[bytes] = []
    size = 0
    while part := response.raw.read1(65_536):
        parts.append(part)
        size += len(part)
        if size > MAX_BODY:
            return Broken(f"an answer of more than {MAX_BODY} bytes")
        if time.monotonic() > end:
            return Unreachable("the answer came too slowly")
    headers = response.headers
    return Response(response.status_code, headers.get("Retry-After"), b"".join(parts))


def _cause(error: BaseException) -> str:
    """The innermost reason, in a few words."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return redact(f"{type(error).__name__}: {error}")[:200]


def refusal(response: Response) -> Refused | Busy | Broken:
    """What an error response says: RFC 9457 problem details, or only a status."""
    problem = _json(response.body)
    members = problem if isinstance(problem, dict) else {}
    code = members.get("code")
    if not isinstance(code, str) or not code.isascii() or len(code) > 64:
        code = f"http_{response.status}"
    detail = members.get("detail")
    text = redact(detail)[:300] if isinstance(detail, str) else ""
    if response.status in _AGAIN:
        return Busy(code, retry_after(response.retry_after, datetime.now(UTC)))
    if 400 <= response.status < 500:
        return Refused(code, text, response.status)
    return Broken(f"HTTP {response.status} {code} {text}".strip())


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110 section 10.2.3), at most 60."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def outcomes(response: Response, count: int) -> list[Reply]:
    """The replies in a batch's answer, one an intent."""
    if response.status not in (200, 201, 202):
        return [refusal(response)] * count
    body = _json(response.body)
    listed = body.get("outcomes") if isinstance(body, dict) else None
    if not isinstance(listed, list) or len(listed) != count:
        return [Broken(f"the batch's answer does not list {count} outcomes")] * count
    return [_outcome(item, response.retry_after) for item in listed]


def _outcome(item: Json, retry: str | None) -> Reply:
    if not isinstance(item, dict):
        return Broken("an outcome is not an object")
    if item.get("payment") is not None:
        return _answer(item["payment"])
    code, detail = item.get("code"), item.get("detail")
    if not isinstance(code, str):
        return Broken("an outcome has no code")
    if code in _NOT_NOW:
        return Busy(code, retry_after(retry, datetime.now(UTC)))
    if code in ("ok", "duplicate"):
        return Broken(f"the outcome {code} brings no payment")
    return Refused(code[:64], redact(detail)[:300] if isinstance(detail, str) else "", 0)


def _payment(response: Response) -> Reply:
    if response.status not in (200, 201, 202):
        return refusal(response)
    return _answer(_json(response.body))


def _answer(value: Json) -> Answered | Broken:
    try:
        answer = PaymentAnswer.from_json(value)
    except ValueError as error:
        return Broken(f"the answer is no payment: {error}"[:200])
    return Answered(answer, orjson.dumps(value).decode())


def _refund(response: Response) -> RefundReply:
    if response.status not in (200, 201, 202):
        return refusal(response)
    value = _json(response.body)
    try:
        answer = RefundAnswer.from_json(value)
    except ValueError as error:
        return Broken(f"the answer is no refund: {error}"[:200])
    return RefundAnswered(answer, orjson.dumps(value).decode())


def _json(body: bytes) -> Json:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
