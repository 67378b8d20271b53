"""A connector whose key is at a signing service: it dies under load, and nothing is lost for it."""

import asyncio
import random
import sqlite3
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from benches import BENCHES, UNIONPAY
from fake_ledger import FakeLedger
from helpers_connector import World, agree, connected, setup, until
from scenarios import many, play
from scripted import NO_ANSWER, REVERSED, ScriptedAdapter
from signing_place import SigningPlace

from clearline import canonical, free_ports, jws
from clearline.acquirer_health import Health, HealthReport, answer_line, parse_report
from clearline.intents import PaymentKey
from clearline.jws import KeySigner
from clearline.signers.distant import DistantSigner
from clearline.signers.holders import Answer, KnownKey, SignerDownError
from clearline.signers.opening import open_signer
from connector import memory, outbox
from connector.adapter import Capability
from connector.link import AcquirerState, GatewayEndpoint, LinkSettings, Sight, unsigned
from connector.service import Parts


class Told:
    """What a gateway heard, newest last."""

    def __init__(self) -> None:
        self.reports: list[HealthReport] = []

    @asynccontextmanager
    async def listening(self, folder: Path) -> AsyncIterator[int]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "service.pem", folder / "service.key")
        server = await asyncio.start_server(self._hear, "127.0.0.1", 0, ssl=context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            await server.wait_closed()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.reports.append(parse_report(line))
                writer.write(answer_line(""))
        except OSError:
            pass
        finally:
            writer.transport.abort()

    def last(self, health: Health) -> bool:
        return bool(self.reports) and self.reports[-1].health is health


def parts_of(world: World, ledger: FakeLedger, place: SigningPlace, link: int) -> Parts:
    endpoint = GatewayEndpoint("127.0.0.1", link, "localhost", place.folder / "ca.pem")
    return world.parts(
        ledger, world.adapter(), signer=open_signer(place.remote(timeout_seconds=1)),
        stop_seconds=0.05,
        link=LinkSettings(world.place.network, "unionpay", "connector",
                          place.folder / "connector.pem", place.folder / "connector.key",
                          (endpoint,)),
    )  # fmt: skip


@dataclass
class Site:
    """A connector's world, its bank's signing service, and a gateway that listens."""

    world: World
    ledger: FakeLedger
    place: SigningPlace
    told: Told = field(default_factory=Told)
    link: int = 0
    keys: list[PaymentKey] = field(default_factory=list)

    def connector(self) -> AbstractAsyncContextManager[asyncio.Task[None]]:
        return connected(parts_of(self.world, self.ledger, self.place, self.link))

    def request(self, count: int) -> None:
        first = len(self.keys)
        intents = [self.world.intent(number) for number in range(first, first + count)]
        self.keys += self.world.request(self.ledger, *intents)

    def ended(self) -> int:
        return sum(payment.final for payment in self.ledger.payments())

    def note(self) -> str:
        """What `connector status` reads."""
        with closing(sqlite3.connect(self.world.folder / "connector" / "outbox.db")) as db:
            return outbox.get_meta(db, memory.UNSIGNED) or ""


async def killed_under_load(site: Site) -> None:
    async with site.place.serving() as service, site.connector():
        site.request(10)
        await site.ledger.until_final(site.keys)
        site.request(50)
        await until(lambda: site.ended() > 10)
        service.kill()
        await service.wait()
        # Whatever it has not signed is charged all the same, stored, and the gateways are told.
        site.request(10)
        await until(lambda: len(site.world.book()) == len(site.keys))
        await until(lambda: site.told.last(Health.DEGRADED))
        assert "reports can't be signed: the signer at" in site.told.reports[-1].reason
        await until(lambda: "the signer at" in site.note())
        assert site.ended() < len(site.keys)


async def started_again_without_it(site: Site) -> None:
    """The outbox holds what is to be said; the service comes back."""
    before = site.ended()
    async with site.connector():
        await until(lambda: "the signer at" in site.note())
        assert site.ended() == before
        async with site.place.serving():
            await site.ledger.until_final(site.keys)
            await until(lambda: site.told.last(Health.UP))
            await until(lambda: site.note() == "")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearline.signers.distant._SHORTEST_PAUSE", 0.01)
    monkeypatch.setattr("clearline.signers.distant._LONGEST_PAUSE", 0.1)


def test_the_service_is_killed_under_load(tmp_path: Path) -> None:
    world, ledger = setup(tmp_path, UNIONPAY)
    key = world.bank_signer
    place = SigningPlace.make(tmp_path / "signing", key, world.place.network, free_ports.choose())
    site = Site(world, ledger, place)

    async def go() -> None:
        async with UNIONPAY.serve(world.folder), site.told.listening(place.folder) as site.link:
            await killed_under_load(site)
            await started_again_without_it(site)

    asyncio.run(go())
    agree(world, ledger)
    assert {ledger.payment(key).status for key in site.keys} == {"succeeded"}
    assert all(len(ledger.payment(key).reports) == 1 for key in site.keys)
    assert len(ledger.submitted) == len(set(ledger.submitted)) == len(site.keys)
    signed = (place.folder / "signer.log").read_text().count('"message":"signed"')
    assert signed >= len(site.keys)
    ledger.close()


class Unsteady:
    """A Caller that takes its time, is down now and then, and signs some with another key."""

    def __init__(self, key: KeySigner) -> None:
        self._key = key
        self._chance = random.Random(5)

    async def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        await asyncio.sleep(self._chance.random() / 100)
        if self._chance.random() < 0.3:
            raise SignerDownError("away")
        other = KeySigner.generate()
        return [(other if self._chance.random() < 0.2 else self._key).sign(m) for m in messages]

    async def close(self) -> None:
        pass


def test_a_hundred_payments_with_an_unsteady_signer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every kind, each with a response and a result: the ledger holds each signature against
    the bank's key, and takes reports in their order only."""
    parts = World.parts

    def with_signer(self: World, *args: Any, **changes: Any) -> Parts:
        known = KnownKey(self.bank_signer.public_key, self.bank_signer.key_id)
        signer = DistantSigner(known, Unsteady(self.bank_signer))
        return parts(self, *args, **{"signer": signer} | changes)

    monkeypatch.setattr(World, "parts", with_signer)
    play(World.make(tmp_path, BENCHES["qr_wallet"]), many)


class Gate:
    """A Caller that is down until it is opened; notes what it was asked last, what it signed."""

    def __init__(self, key: KeySigner) -> None:
        self._key = key
        self.open = False
        self.asked: list[tuple[int, str]] = []
        self.signed: list[tuple[int, str]] = []

    async def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        await asyncio.sleep(0)
        texts = [jws.decode(message.decode().partition(".")[2]) for message in messages]
        read = [canonical.loads(text) for text in texts]
        self.asked = [(report["sequence"], report["status"]) for report in read]
        if not self.open:
            raise SignerDownError("away")
        self.signed += self.asked
        return [self._key.sign(message) for message in messages]

    async def close(self) -> None:
        pass


def test_what_is_past_is_not_signed_any_more(tmp_path: Path) -> None:
    """In doubt while the signer was down, closed since: one report with number 1, not two."""
    world, ledger = setup(tmp_path, UNIONPAY)
    gate = Gate(world.bank_signer)
    known = KnownKey(world.bank_signer.public_key, world.bank_signer.key_id)
    adapter = ScriptedAdapter(
        frozenset({Capability.REVERSAL}), payments=[NO_ANSWER], reversals=[NO_ANSWER, REVERSED]
    )

    async def go() -> None:
        parts = world.parts(ledger, adapter, signer=DistantSigner(known, gate))
        async with connected(parts):
            keys = world.request(ledger, world.intent(1))
            await until(lambda: gate.asked == [(1, "closed")])
            gate.open = True
            await ledger.until_final(keys)

    asyncio.run(go())
    assert gate.signed == [(1, "closed")]
    ledger.close()


UP = AcquirerState(Health.UP, "", 3, 1)
DOWN = AcquirerState(Health.DOWN, "gone", 3)
CANT = "reports can't be signed"


@pytest.mark.parametrize(
    ("state", "trouble", "away_s", "expected"),
    [
        (UP, "", 0.0, UP),
        (UP, "a\u20acb", 0.0, replace(UP, health=Health.DEGRADED, reason=f"{CANT}: a?b")),
        (UP, "away", 4.9, replace(UP, health=Health.DEGRADED, reason=f"{CANT}: away")),
        (UP, "away", 5.0, replace(UP, health=Health.DOWN, reason=f"{CANT}: away")),
        (DOWN, "away", 9.0, DOWN),
    ],
)
def test_what_gateways_are_told(
    state: AcquirerState, trouble: str, away_s: float, expected: AcquirerState
) -> None:
    assert unsigned(state, trouble, away_s) == expected
    assert len(unsigned(state, "x" * 500, away_s).reason) <= 120


def test_a_signer_is_away_from_when_it_is_first_seen_so() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        sight, began = Sight(), loop.time()
        found = [sight.away(""), sight.away("gone")]
        sight.unsigned_since = began - 7.0
        return [*found, sight.away("gone"), sight.away(""), sight.away("gone")]

    at_first, gone, later, back, again = asyncio.run(main())
    assert (at_first, gone, back, again) == (0.0, 0.0, 0.0, 0.0)
    assert 7.0 <= later < 12.0
