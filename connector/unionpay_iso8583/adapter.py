"""The verbs towards UnionPay's sandbox: connect and sign on, pay, reverse, refund.

It can reverse and refund; it can neither be asked what became of either nor close a payment. A
refund in doubt is sent again as a repeat, which is answered as the first.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from clearline import money
from clearline.logs import get_logger
from clearline.statuses import Reason
from connector import settings as connector_settings
from connector.adapter import (
    Answer,
    Capability,
    Heard,
    NoAnswerError,
    NotSentError,
    Order,
    Verdict,
)
from connector.settings import SettingsError
from connector.unionpay_iso8583 import messages
from connector.unionpay_iso8583.wire import Link, Native, Partner, WireError

_log = get_logger("connector.unionpay_iso8583")
_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_CONNECT_SECONDS: Final = 5.0
_SIGN_ON_SECONDS: Final = 5.0
_ECHO_WAIT: Final = 1.5  # an acquirer that is there answers an echo in milliseconds


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds to wait for answers, silence before an echo; how many connections."""

    answer_seconds: float = 5.0
    reversal_seconds: float = 5.0
    echo_seconds: float = 1.5
    connections: int = 2


def load_partner(path: Path) -> Partner:
    """What the acquirer gave this bank. Raises SettingsError."""
    raw = connector_settings.read_object(path)
    try:
        port = raw.get("port")
        if type(port) is not int or not 0 < port < 65536:
            raise SettingsError("port must be 1 to 65535")
        key_file = path.parent / connector_settings.text(raw, "mac_key_file")
        key = bytes.fromhex(key_file.read_text(encoding="ascii").strip())
        if len(key) not in (16, 32):
            raise SettingsError(f"{key_file}: a MAC key has 16 or 32 bytes")
        return Partner(
            host=connector_settings.text(raw, "host"),
            port=port,
            tls_ca=path.parent / connector_settings.text(raw, "tls_ca"),
            server_name=connector_settings.text(raw, "server_name"),
            mac_key=key,
            acquiring_institution=_institution(raw, "acquiring_institution"),
            forwarding_institution=_institution(raw, "forwarding_institution"),
        )
    except OSError as error:
        raise SettingsError(f"{path}: mac_key_file: {error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: {error}") from None


class UnionPayAdapter:
    """A few connections to the acquirer, each signed on; requests take the least loaded one."""

    def __init__(self, partner: Partner, timing: Timing) -> None:
        self._partner = partner
        self._timing = timing
        self._links: list[Link] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = asyncio.Event()
        self._heard: Heard | None = None
        self._stan = random.randrange(1_000_000)  # noqa: S311 - a trace number, no secret

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See Adapter."""
        return frozenset({Capability.REVERSAL, Capability.REFUND})

    async def start(self, heard: Heard) -> None:
        """See Adapter. This acquirer sends no notices."""
        self._heard = heard
        self._tasks = [
            asyncio.create_task(self._keep_connected()) for _ in range(self._timing.connections)
        ]

    async def stop(self) -> None:
        """See Adapter."""
        for link in list(self._links):
            try:
                await link.ask(self._managing(messages.SIGN_OFF), 1.0)
            except (NotSentError, NoAnswerError):
                continue
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ready(self) -> None:
        """See Adapter."""
        await self._ready.wait()

    def new_trace(self) -> str:
        """See Adapter: `<trace number>:<transmission time>`."""
        return messages.trace(self._next_stan(), datetime.now(UTC))

    async def pay(self, order: Order, trace: str) -> Answer:
        """See Adapter. 0200, answered by 0210."""
        if order.currency not in money.NUMERIC:
            return Answer(Verdict.DECLINED, Reason.REFUSED_BY_CONNECTOR, b"")
        request = messages.purchase(order, trace, self._partner, datetime.now(UTC))
        answer = await self._link().ask(request, self._timing.answer_seconds)
        return messages.purchase_answer(order, answer)

    async def reverse(self, order: Order, trace: str, tries: int) -> Answer:
        """See Adapter. 0420, 0421 when repeated, answered by 0430."""
        request = messages.reversal(
            order, trace, self._next_stan(), tries, self._partner, datetime.now(UTC)
        )
        answer = await self._link().ask(request, self._timing.reversal_seconds)
        return messages.reversal_answer(answer)

    async def inquire(self, order: Order, trace: str) -> Answer:
        """This acquirer has no inquiry: see `capabilities`."""
        raise NotImplementedError

    async def close(self, order: Order, trace: str) -> Answer:
        """This acquirer has no close: see `capabilities`."""
        raise NotImplementedError

    async def refund(self, order: Order, trace: str, tries: int) -> Answer:
        """See Adapter. 0200 with processing code 200000, 0201 when repeated, answered by 0210."""
        if order.currency not in money.NUMERIC:
            return Answer(Verdict.DECLINED, Reason.REFUSED_BY_CONNECTOR, b"")
        sending = self.new_trace() if tries else trace
        request = messages.refund(order, sending, tries, self._partner, datetime.now(UTC))
        answer = await self._link().ask(request, self._timing.answer_seconds)
        return messages.refund_answer(order, answer)

    async def inquire_refund(self, order: Order, trace: str) -> Answer:
        """This acquirer has no inquiry: see `capabilities`."""
        raise NotImplementedError

    def _link(self) -> Link:
        """The least loaded connection over which the acquirer is heard."""
        heard = [link for link in self._links if not link.silent]
        if not heard:
            raise NotSentError("the acquirer is not heard over any connection")
        return min(heard, key=lambda link: link.load)

    async def _keep_connected(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            link = Link(self._partner, self._late, self._look_again)
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    reader = await link.open()
                async with asyncio.TaskGroup() as group:
                    group.create_task(link.listen(reader))
                    await self._sign_on(link)
                    pause = _SHORTEST_PAUSE
                    group.create_task(self._echo(link))
            except* (OSError, WireError, NoAnswerError, NotSentError) as errors:
                reasons = [repr(error) for error in errors.exceptions]
                _log.warning("not connected to the acquirer", extra={"reasons": reasons})
            finally:
                self._part(link)
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _sign_on(self, link: Link) -> None:
        answer = await link.ask(self._managing(messages.SIGN_ON), _SIGN_ON_SECONDS)
        if answer.get("39") != messages.APPROVED:
            raise WireError(f"sign-on was refused with code {answer.get('39')}")
        self._links.append(link)
        self._look_again()
        _log.info("signed on", extra={"host": self._partner.host, "port": self._partner.port})

    async def _echo(self, link: Link) -> None:
        """Ask whenever it has been silent. No answer soon: nothing is sent over it until something
        is heard again; none within the time of an answer: the connection ends."""
        loop = asyncio.get_running_loop()
        while True:
            quiet = loop.time() - link.last_heard
            if quiet < self._timing.echo_seconds:
                await asyncio.sleep(self._timing.echo_seconds - quiet)
                continue
            doubting = loop.call_later(_ECHO_WAIT, link.doubt)
            try:
                await link.ask(self._managing(messages.ECHO), self._timing.answer_seconds)
            finally:
                doubting.cancel()

    def _part(self, link: Link) -> None:
        if link in self._links:
            self._links.remove(link)
        self._look_again()
        link.close()

    def _look_again(self) -> None:
        """Ready is whoever has a connection over which the acquirer is heard."""
        if any(not link.silent for link in self._links):
            self._ready.set()
        else:
            self._ready.clear()

    def _managing(self, kind: str) -> Native:
        return messages.management(kind, self._next_stan(), self._partner, datetime.now(UTC))

    def _late(self, message: Native) -> None:
        """An answer nobody waits for any more: evidence, when it is about a purchase."""
        reference, code = message.get("61"), message.get("39")
        _log.warning("late answer", extra={"mti": message.mti, "reference": reference,
                                           "code": code})  # fmt: skip
        if message.mti == "0210" and reference and self._heard is not None:
            verdict = Verdict.APPROVED if code == messages.APPROVED else Verdict.DECLINED
            self._heard.late(reference, Answer(verdict, Reason.OTHER, message.raw))

    def _next_stan(self) -> str:
        self._stan = (self._stan + 1) % 1_000_000
        return f"{self._stan:06d}"


def _institution(raw: dict[str, Any], name: str) -> str:
    value = connector_settings.text(raw, name)
    if not value.isdigit() or len(value) > 11:
        raise SettingsError(f"{name} must be 1 to 11 digits")
    return value
