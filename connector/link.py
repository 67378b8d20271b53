"""The link to the gateways: how the acquirer is and how much waits for it, every second and on
change, over mutual TLS as this connector's organisation. A hint, never an outcome."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from clearline.acquirer_health import (
    EVERY_S,
    MAX_LINE,
    Health,
    HealthError,
    HealthReport,
    parse_answer,
    report_line,
)
from clearline.logs import get_logger
from connector.attention import ENOUGH

GLANCE_S: Final = 0.25  # between two looks at the acquirer
IN_DOUBT: Final = 5  # payments in doubt from which the acquirer counts as degraded
_CONNECT_S: Final = 3.0
_ANSWER_S: Final = 3.0
_SHORTEST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 2.0
_READY_S: Final = 0.05
_CUT_S: Final = 1.5  # after that the acquirer counts as down
_UNSIGNED_S: Final = 5.0  # without any signature; from then on it takes no payments
_log = get_logger("connector.link")


class LinkError(ValueError):
    """The link can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class GatewayEndpoint:
    """A gateway's link listener, the name in its certificate and the CA that issued it."""

    host: str
    port: int
    server_name: str
    tls_ca: Path


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Whose health is told to whom; certificate and key are this connector's TLS files."""

    network: str
    acquirer_id: str
    connector: str
    certificate: Path
    private_key: Path
    gateways: tuple[GatewayEndpoint, ...]


@dataclass(frozen=True, slots=True)
class AcquirerState:
    """What is told: health, the reason when it is not up, payments waiting or under way, and those
    `requested` on the ledger that wait for nothing here."""

    health: Health
    reason: str
    depth: int
    under_way: int = 0


def unsigned(state: AcquirerState, trouble: str, away_s: float) -> AcquirerState:
    """The state when reports wait for their signature: it takes payments, and is slow to say how
    they ended. `trouble` is why, empty when none waits; `away_s`: for how long nothing could be
    signed at all. After a while payers would be charged for what nobody can tell the merchant."""
    if not trouble or state.health is Health.DOWN:
        return state
    said = f"reports can't be signed: {trouble}"
    reason = "".join(c if " " <= c <= "~" else "?" for c in said)[:120]
    health = Health.DOWN if away_s >= _UNSIGNED_S else Health.DEGRADED
    return replace(state, health=health, reason=reason)


Observe = Callable[[], Awaitable[AcquirerState]]


@dataclass(slots=True)
class Sight:
    """When the acquirer was last ready, in seconds of the event loop; None for not yet. And since
    when nothing can be signed; None while something can."""

    ready_at: float | None = None
    unsigned_since: float | None = None

    def away(self, down: str) -> float:
        """Seconds for which the signer has been away; `down` is why, empty when it isn't."""
        now = asyncio.get_running_loop().time()
        if not down:
            self.unsigned_since = None
            return 0.0
        if self.unsigned_since is None:
            self.unsigned_since = now
        return now - self.unsigned_since


async def observe(
    ready: Callable[[], Awaitable[None]], depth: int, in_doubt: int, sight: Sight, unanswered: int
) -> AcquirerState:
    """The state of an acquirer whose adapter's `ready` returns while requests could be sent, and
    that has left so many requests `unanswered` since its last answer.

    A connection that was cut is usually there again within a second: until `_CUT_S` have passed
    that is no reason to refuse payments, which wait.
    """
    now = asyncio.get_running_loop().time
    try:
        async with asyncio.timeout(_READY_S):
            await ready()
    except TimeoutError:
        if sight.ready_at is not None and now() - sight.ready_at < _CUT_S:
            return AcquirerState(Health.DEGRADED, "its connection was cut", depth)
        return AcquirerState(Health.DOWN, "the acquirer can't be reached", depth)
    sight.ready_at = now()
    if unanswered >= ENOUGH:
        return AcquirerState(Health.DOWN, "its requests get no answer", depth)
    if in_doubt >= IN_DOUBT:
        return AcquirerState(Health.DEGRADED, f"{in_doubt} payments are in doubt", depth)
    return AcquirerState(Health.UP, "", depth)


class Link:
    """Tells every gateway; `run` until cancelled. A gateway that is away holds up no other."""

    def __init__(self, settings: LinkSettings, look: Observe) -> None:
        self._settings = settings
        self._observe = look
        self._changed = asyncio.Condition()
        self._state = AcquirerState(Health.DOWN, "the connector starts", 0)

    async def run(self) -> None:
        """Raises LinkError when the TLS files can't be used."""
        contexts = [_context(self._settings, gateway) for gateway in self._settings.gateways]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            for gateway, context in zip(self._settings.gateways, contexts, strict=True):
                group.create_task(self._keep(gateway, context))

    async def _watch(self) -> None:
        while True:
            state = await self._observe()
            if (state.health, state.reason) != (self._state.health, self._state.reason):
                fields = {"health": state.health.value, "reason": state.reason}
                _log.info("the acquirer's health", extra=fields | {"depth": state.depth})
                async with self._changed:
                    self._state = state
                    self._changed.notify_all()
            self._state = state
            await asyncio.sleep(GLANCE_S)

    async def _keep(self, gateway: GatewayEndpoint, context: ssl.SSLContext) -> None:
        """Connect again and again."""
        pause, told = _SHORTEST_PAUSE, ""
        while True:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    reader, writer = await asyncio.open_connection(
                        gateway.host,
                        gateway.port,
                        ssl=context,
                        server_hostname=gateway.server_name,
                        limit=MAX_LINE,
                    )
                pause, told = _SHORTEST_PAUSE, ""
                try:
                    await self._tell(reader, writer, gateway)
                finally:
                    writer.transport.abort()
            except (OSError, EOFError, asyncio.LimitOverrunError, HealthError) as error:
                reason = f"{type(error).__name__}: {error}"
                if reason != told:
                    told = reason
                    where = f"{gateway.host}:{gateway.port}"
                    _log.warning("no link", extra={"gateway": where, "reason": reason})
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _tell(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gateway: GatewayEndpoint
    ) -> None:
        refusal = ""
        while True:
            told = self._state
            writer.write(report_line(self._report(told)))
            async with asyncio.timeout(_ANSWER_S):
                await writer.drain()
                refused = parse_answer(await reader.readuntil(b"\n"))
            if refused and refused != refusal:
                where = f"{gateway.host}:{gateway.port}"
                _log.error("a gateway refuses", extra={"gateway": where, "reason": refused})
            refusal = refused
            await self._next(told)

    async def _next(self, told: AcquirerState) -> None:
        """Wait until the next report is due."""
        try:
            async with asyncio.timeout(EVERY_S), self._changed:
                await self._changed.wait_for(
                    lambda: (self._state.health, self._state.reason) != (told.health, told.reason)
                )
        except TimeoutError:
            return

    def _report(self, state: AcquirerState) -> HealthReport:
        mine = self._settings
        return HealthReport(
            mine.network, mine.acquirer_id, mine.connector, state.health, state.reason,
            state.depth, state.under_way,
        )  # fmt: skip


def _context(settings: LinkSettings, gateway: GatewayEndpoint) -> ssl.SSLContext:
    # The gateway's CA alone: the machine's trust store has no say in the consortium.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(gateway.tls_ca)
        context.load_cert_chain(settings.certificate, settings.private_key)
    except (OSError, ssl.SSLError) as error:
        raise LinkError(f"can't use the link's TLS files: {error}") from None
    return context
