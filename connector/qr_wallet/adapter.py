"""The verbs towards the QR wallet: create, query, close, reverse; its notices come by HTTPS.

It can do all three: be asked, close and reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as WaitTimeoutError
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from clearline.logs import get_logger
from connector import settings as connector_settings
from connector.adapter import (
    Answer,
    Capability,
    Heard,
    NoAnswerError,
    NotSentError,
    Order,
)
from connector.qr_wallet import messages
from connector.qr_wallet.wire import NOTICE_PATH, Client, Listener, Native, Partner, TakeNotice
from connector.settings import SettingsError

_log = get_logger("connector.qr_wallet")
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_ECHO_WAIT: Final = 1.5  # an acquirer that is there answers a ping in milliseconds
_PAYMENTS: Final = "/v1/payments"
_REFUNDS: Final = "/v1/refunds"
_NOTICE_SECONDS: Final = 2.5  # the acquirer waits three


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds to wait for answers, of silence before a look whether it is there; requests at
    once."""

    answer_seconds: float = 5.0
    echo_seconds: float = 1.5
    at_once: int = 32


@dataclass(frozen=True, slots=True)
class NoticePlace:
    """Where notices come in. Port 0: a free one, kept in `memory` for the next start."""

    host: str = "127.0.0.1"
    port: int = 0
    memory: Path | None = None


def load_partner(path: Path) -> Partner:
    """What the acquirer gave this bank. Raises SettingsError."""
    raw = connector_settings.read_object(path)
    try:
        texts = {name: connector_settings.text(raw, name) for name in _MEMBERS}
        key = load_pem_private_key((path.parent / texts["private_key"]).read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise SettingsError("private_key must be an Ed25519 key")
        if not texts["url"].startswith("https://") or "{reference}" not in texts["pay_url"]:
            raise SettingsError("url must be https, and pay_url hold {reference}")
        return Partner(
            url=texts["url"],
            tls_ca=path.parent / texts["tls_ca"],
            server_name=texts["server_name"],
            partner_id=texts["partner_id"],
            private_key=key,
            wallet_key=Ed25519PublicKey.from_public_bytes(bytes.fromhex(texts["wallet_key"])),
            pay_url=texts["pay_url"],
            notice_certificate=path.parent / texts["notice_certificate"],
            notice_private_key=path.parent / texts["notice_private_key"],
        )
    except OSError as error:
        raise SettingsError(f"{path}: private_key: {error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None


_MEMBERS: Final = (
    "url", "tls_ca", "server_name", "partner_id", "private_key", "wallet_key", "pay_url",
    "notice_certificate", "notice_private_key",
)  # fmt: skip


class QrWalletAdapter:
    """Requests over kept connections; a listener for notices while it is started."""

    def __init__(self, partner: Partner, timing: Timing, place: NoticePlace) -> None:
        self._partner = partner
        self._timing = timing
        self._place = place
        self._client = Client(partner, timing.answer_seconds, timing.at_once)
        self._listener: Listener | None = None
        self._looking: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._away = asyncio.Event()
        self._heard_at = 0.0

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See Adapter."""
        return frozenset(Capability)

    async def start(self, heard: Heard) -> None:
        """See Adapter. Raises OSError when the notice port is taken."""
        loop = asyncio.get_running_loop()
        self._client = Client(self._partner, self._timing.answer_seconds, self._timing.at_once)

        def take(body: bytes) -> bool:
            try:
                taken = asyncio.run_coroutine_threadsafe(self._notice(heard, body), loop)
                return taken.result(_NOTICE_SECONDS)
            except (WaitTimeoutError, CancelledError, RuntimeError):
                return False  # it stops, or is busy: the notice is sent again

        self._listener = await asyncio.to_thread(self._listen, take)
        self._looking = asyncio.create_task(self._look())

    async def stop(self) -> None:
        """See Adapter."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        self._ready.clear()
        if self._listener is not None:
            listener, self._listener = self._listener, None
            await asyncio.to_thread(listener.close)
        await self._client.close()

    async def ready(self) -> None:
        """See Adapter."""
        await self._ready.wait()

    def new_trace(self) -> str:
        """See Adapter: the full reference names a payment here; a trace only tells tries apart."""
        return secrets.token_hex(4)

    async def pay(self, order: Order, trace: str) -> Answer:
        """See Adapter. A create; the payer acts later."""
        if self._listener is None:
            raise NotSentError("not started")
        url = f"https://{self._place.host}:{self._listener.port}{NOTICE_PATH}"
        message = await self._ask("POST", _PAYMENTS, messages.create(order, url))
        pay_url = self._partner.pay_url.replace("{reference}", order.reference)
        return messages.create_answer(order, message, pay_url)

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        """See Adapter."""
        message = await self._ask("POST", f"{_PAYMENTS}/{order.reference}/reverse", b"")
        return messages.reversal_answer(order, message)

    async def inquire(self, order: Order, trace: str) -> Answer:
        """See Adapter."""
        message = await self._ask("GET", f"{_PAYMENTS}/{order.reference}", b"")
        return messages.view_answer(order, message)

    async def close(self, order: Order, trace: str) -> Answer:
        """See Adapter."""
        message = await self._ask("POST", f"{_PAYMENTS}/{order.reference}/close", b"")
        return messages.view_answer(order, message)

    async def refund(self, order: Order, trace: str, tries: int) -> Answer:
        """See Adapter. The same body under the same reference, however often."""
        message = await self._ask("POST", _REFUNDS, messages.refund(order))
        return messages.refund_answer(order, message)

    async def inquire_refund(self, order: Order, trace: str) -> Answer:
        """See Adapter."""
        message = await self._ask("GET", f"{_REFUNDS}/{order.reference}", b"")
        return messages.refund_answer(order, message)

    async def _ask(self, method: str, path: str, body: bytes) -> Native:
        try:
            answer = await self._client.ask(method, path, body)
        except (NotSentError, NoAnswerError):
            self._ready.clear()  # until it answers a look
            self._away.set()
            raise
        self._heard_at = asyncio.get_running_loop().time()
        return answer

    async def _look(self) -> None:
        """Whether the acquirer answers: at once when it seems away, else when it was silent."""
        pause = _SHORTEST_PAUSE
        while True:
            self._away.clear()
            if await self._answers():
                self._ready.set()
                pause = _SHORTEST_PAUSE
                await self._silence()
                continue
            self._ready.clear()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _answers(self) -> bool:
        """Whether it answers a ping; not ready meanwhile once that takes long."""
        loop = asyncio.get_running_loop()
        doubting = loop.call_later(_ECHO_WAIT, self._doubt)
        try:
            answer = await self._client.ask("GET", "/v1/ping", b"")
        except (NotSentError, NoAnswerError) as error:
            _log.warning("the acquirer is away", extra={"reason": str(error)})
            return False
        finally:
            doubting.cancel()
        self._heard_at = loop.time()
        return answer.status == 200

    def _doubt(self) -> None:
        _log.warning("the acquirer is silent")
        self._ready.clear()

    async def _silence(self) -> None:
        """Return when nothing was heard for the time of an echo, or a request failed."""
        now = asyncio.get_running_loop().time
        while not self._away.is_set():
            left = self._heard_at + self._timing.echo_seconds - now()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._away.wait()

    async def _notice(self, heard: Heard, body: bytes) -> bool:
        try:
            reference = messages.notice_reference(body)
        except ValueError as error:
            _log.error("not a notice", extra={"reason": str(error)})
            return False
        return await heard.notice(reference, messages.notice_answer(body))

    def _listen(self, take: TakeNotice) -> Listener:
        place = self._place
        wanted = place.port
        if not wanted and place.memory is not None and place.memory.exists():
            text = place.memory.read_text(encoding="ascii").strip()
            with contextlib.suppress(OSError, ValueError):
                return Listener(self._partner, place.host, int(text), take)
        listener = Listener(self._partner, place.host, wanted, take)
        if not wanted and place.memory is not None:
            place.memory.write_text(f"{listener.port}\n", encoding="ascii")
        return listener
