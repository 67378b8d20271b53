"""One delivery: resolve once, connect to the address that was checked, post, read the status.

HTTP/1.1 (RFC 9112) by hand for three reasons that clients leave open: the address is pinned, the
whole exchange has one deadline, and of the answer no more is read than its head. No redirect is
followed, no proxy of the environment used, no connection kept.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from clearline import webhook_signatures
from clearline.logs import get_logger
from gateway.webhooks import targets
from gateway.webhooks.keys import WebhookKeys
from gateway.webhooks.outbox import Attempted, Due
from gateway.webhooks.schedule import MAX_RETRY_AFTER
from gateway.webhooks.targets import Address, Target, TargetRefusedError, TargetRules, Why

Resolve = Callable[[str, int], Awaitable[list[str]]]
_HEAD: Final = 16_384  # bytes of an answer's head, interim answers included
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")
_INTERIM: Final = 8  # 1xx answers before the one that counts
_ADDRESSES: Final = 2  # of a name that are tried
_GONE: Final = 410
# About the receiver and not about this message, so that the others wait too.
_UNWELL: Final = frozenset({408, 425, 429})
_log = get_logger("clearline.gateway.webhooks")


class _AnswerError(Exception):
    """No answer that HTTP/1.1 knows."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer's status, and the seconds of its Retry-After (0 when it has none)."""

    status: int
    retry_after: float


async def resolve(host: str, port: int) -> list[str]:
    """A name's addresses, as the system knows them; empty when it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )
    except (socket.gaierror, UnicodeError):
        return []
    return [str(item[4][0]) for item in found]


class Sender:
    """Makes attempts; use it from one event loop."""

    def __init__(
        self,
        rules: TargetRules,
        keys: WebhookKeys,
        timeout: float,
        ca: Path | None = None,
        resolver: Resolve = resolve,
    ) -> None:
        """`timeout`: seconds for one attempt as a whole. Raises OSError or ssl.SSLError when `ca`
        is no file of certificates."""
        self._rules = rules
        self._keys = keys
        self._timeout = timeout
        self._resolver = resolver
        self._tls = ssl.create_default_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        if ca is not None:
            self._tls.load_verify_locations(cafile=ca)

    async def attempt(self, due: Due) -> Attempted:
        """Send it once; whatever happens is in the answer."""
        try:
            target = targets.parse(due.webhook.url, self._rules)
            async with asyncio.timeout(self._timeout):
                addresses = await self._addresses(target)
                answer = await self._post(target, addresses, due)
        except TargetRefusedError as error:
            return Attempted(due, f"refused: {error}", unwell=True)
        except TimeoutError:
            return Attempted(due, f"no answer within {self._timeout:g} seconds", unwell=True)
        except ssl.SSLCertVerificationError as error:
            return Attempted(due, f"TLS: {error.verify_message}", unwell=True)
        except (OSError, EOFError, _AnswerError) as error:
            return Attempted(due, _said(error), unwell=True)
        return _judged(due, answer)

    async def _addresses(self, target: Target) -> tuple[Address, ...]:
        """The addresses to connect to, each of them checked, in the resolver's order."""
        if target.address is not None:
            return (target.address,)
        texts = await self._resolver(target.host, target.port)
        return targets.check_resolved(texts, self._rules)

    async def _post(self, target: Target, addresses: tuple[Address, ...], due: Due) -> _Answer:
        reader, writer = await self._connect(target, addresses)
        try:
            writer.write(self._request(target, due))
            await writer.drain()
            return await _read(reader)
        finally:
            # Nothing more is wanted of it: what it still sends is not read.
            writer.transport.abort()

    async def _connect(
        self, target: Target, addresses: tuple[Address, ...]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        secure = target.scheme == "https"
        last: OSError | None = None
        for address in addresses[:_ADDRESSES]:
            try:
                return await asyncio.open_connection(
                    str(address),  # never the name: it could have another address by now
                    target.port,
                    limit=_HEAD,
                    ssl=self._tls if secure else None,
                    server_hostname=target.host if secure else None,
                )
            except ssl.SSLError:
                raise
            except OSError as error:
                last = error
        raise last or TargetRefusedError(Why.UNRESOLVED)

    def _request(self, target: Target, due: Due) -> bytes:
        keys = self._keys.private(due.webhook.merchant_id, due.webhook.webhook_id)
        signed = webhook_signatures.sign(due.event_id, int(time.time()), due.body, keys)
        headers = (
            ("Host", target.authority),
            ("User-Agent", "clearline-webhooks/1"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(due.body))),
            ("Accept", "*/*"),
            ("Connection", "close"),
            *signed.to_pairs(),
        )
        head = f"POST {target.path} HTTP/1.1\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers)
        return head.encode("ascii") + b"\r\n" + due.body


async def _read(reader: asyncio.StreamReader) -> _Answer:
    left = _HEAD
    for _ in range(_INTERIM):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            raise _AnswerError("the connection ended before the answer") from None
        except asyncio.LimitOverrunError:
            raise _AnswerError(f"the answer's head is longer than {_HEAD} bytes") from None
        left -= len(head)
        if left < 0:
            raise _AnswerError(f"the answer's head is longer than {_HEAD} bytes")
        first, *lines = head[:-4].split(b"\r\n")
        match = _STATUS.fullmatch(first)
        if match is None:
            raise _AnswerError("the answer is not HTTP/1.1")
        status = int(match[1])
        if status >= 200:
            return _Answer(status, _retry_after(lines))
    raise _AnswerError("interim answers only")


def _retry_after(lines: list[bytes]) -> float:
    """RFC 9110 section 10.2.3: seconds or a date; 0 for none or nonsense."""
    for line in lines:
        name, _, value = line.partition(b":")
        if name.lower() != b"retry-after":
            continue
        text = value.strip().decode("ascii", "replace")
        if text.isascii() and text.isdigit():
            return min(float(text[:9]), MAX_RETRY_AFTER)
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return 0.0
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), MAX_RETRY_AFTER)
    return 0.0


def _judged(due: Due, answer: _Answer) -> Attempted:
    """What a status means (Standard Webhooks, "Delivery success and failure")."""
    status = answer.status
    if 200 <= status < 300:
        return Attempted(due)
    if status == _GONE:
        return Attempted(due, "410 Gone", gone=True)
    error = f"status {status}" + (", redirects are not followed" if status < 400 else "")
    unwell = status >= 500 or status in _UNWELL or status < 400
    return Attempted(due, error, unwell=unwell, retry_after=answer.retry_after)


def _said(error: Exception) -> str:
    """What the merchant is told: no addresses, no bytes of the other side."""
    if isinstance(error, ConnectionRefusedError):
        return "the connection was refused"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"
    if isinstance(error, _AnswerError):
        return str(error)
    if isinstance(error, ConnectionError | EOFError):
        return "the connection was lost"
    return "the host can't be reached"
