"""The link from connectors: their acquirers' health, over mutual TLS, into the health board.

Who speaks is known by the TLS CA that issued the client's certificate, and by the role in it, as
the contract knows a submitter; a report about an acquirer is taken only from a connector of the
organisation that owns it on the ledger. It can do no more than keep intents off the ledger: the
link never carries an outcome.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from clearline.acquirer_health import MAX_LINE, HealthError, HealthReport, answer_line, parse_report
from clearline.certificate_roles import CONNECTOR, role_of
from clearline.logs import get_logger
from gateway.pacer import Pacer

_SILENCE_S: Final = 15.0  # a connector that says nothing for so long is let go
_HANDSHAKE_S: Final = 5.0
_CONNECTIONS: Final = 64
_log = get_logger("clearline.gateway.link")
Owner = Callable[[str], str | None]


class LinkError(ValueError):
    """The link can't be served; the message names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who is at the other end: its organisation, None for nobody's, and the role it was given."""

    msp_id: str | None = None
    role: str = ""


@dataclass(frozen=True, slots=True)
class Authorities:
    """The consortium's TLS CAs by organisation (MSP id)."""

    by_msp: Mapping[str, tuple[x509.Certificate, ...]]

    @classmethod
    def load(cls, paths: Mapping[str, Path]) -> Authorities:
        """Read PEM files. Raises LinkError."""
        found: dict[str, tuple[x509.Certificate, ...]] = {}
        for msp_id, path in paths.items():
            try:
                found[msp_id] = tuple(x509.load_pem_x509_certificates(path.read_bytes()))
            except (OSError, ValueError) as error:
                raise LinkError(f"can't use the TLS CA {path} of {msp_id}: {error}") from None
        return cls(found)

    def speaker(self, certificate: bytes) -> Speaker:
        """Whose CA issued this certificate (DER), nobody's when none did or more than one could;
        and the role that it gave."""
        leaf = x509.load_der_x509_certificate(certificate)
        found = {
            msp_id
            for msp_id, authorities in self.by_msp.items()
            if any(_issued(leaf, authority) for authority in authorities)
        }
        return Speaker(found.pop(), role_of(leaf)) if len(found) == 1 else Speaker()


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """This gateway's end: its network, address, TLS files, and whose certificates it takes."""

    network: str
    host: str
    port: int
    certificate: Path
    private_key: Path
    authorities: Mapping[str, Path]


class LinkServer:
    """Listens for connectors until closed; one event loop. `owner` tells which organisation an
    acquirer belongs to on the ledger."""

    def __init__(self, identity: LinkIdentity, owner: Owner, pacer: Pacer) -> None:
        self._identity = identity
        self._owner = owner
        self._pacer = pacer
        self._authorities = Authorities.load(identity.authorities)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.taken = self.refused = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._server is None:
            raise LinkError("the link is not open")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises LinkError, OSError."""
        self._server = await asyncio.start_server(
            self._serve,
            self._identity.host,
            self._identity.port,
            ssl=_context(self._identity),
            ssl_handshake_timeout=_HANDSHAKE_S,
            limit=MAX_LINE,
        )

    async def close(self) -> None:
        """Stop listening and let go of everybody."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        # Their handlers end with the connections.
        while self._writers:  # noqa: ASYNC110
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if len(self._writers) <= _CONNECTIONS:
                await self._listen(reader, writer, self._speaker(writer))
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return  # the connector went away; it comes back by itself
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _listen(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, speaker: Speaker
    ) -> None:
        while True:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    line = await reader.readuntil(b"\n")
            except asyncio.LimitOverrunError:
                return
            refused = self._take(line, speaker)
            if refused:
                self.refused += 1
                fields = {"organisation": speaker.msp_id, "reason": refused}
                _log.warning("a report is refused", extra=fields)
            else:
                self.taken += 1
            writer.write(answer_line(refused))
            await writer.drain()

    def _take(self, line: bytes, speaker: Speaker) -> str:
        """Why a report is not taken, empty when it is."""
        msp_id = speaker.msp_id
        if msp_id is None:
            return "no organisation of this network issued your certificate"
        if speaker.role != CONNECTOR:
            return f"your TLS certificate does not give you the role {CONNECTOR}"
        try:
            report = parse_report(line)
        except HealthError as error:
            return str(error)
        refused = self._refusal(report, msp_id)
        if not refused:
            self._pacer.note(report, time.monotonic())
        return refused

    def _refusal(self, report: HealthReport, msp_id: str) -> str:
        if report.network != self._identity.network:
            return f"this is {self._identity.network}"
        owner = self._owner(report.acquirer_id)
        if owner is None:
            return "no such acquirer is on the ledger"
        if owner != msp_id:
            return f"the acquirer is not {msp_id}'s"
        return ""

    def _speaker(self, writer: asyncio.StreamWriter) -> Speaker:
        connection = writer.get_extra_info("ssl_object")
        certificate = connection.getpeercert(binary_form=True)
        return Speaker() if certificate is None else self._authorities.speaker(certificate)


def _issued(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _context(identity: LinkIdentity) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(identity.certificate, identity.private_key)
        for path in identity.authorities.values():
            context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        raise LinkError(f"can't serve the link: {error}") from None
    return context
