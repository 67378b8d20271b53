"""What is not forwarded: what the ledger should not have taken, and what its records forbid."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from benches import unionpay
from fake_ledger import FakeLedger, Stored
from helpers_connector import PLACE, World, connected, key_record, record_of, until

from clearline import jws
from clearline.jws import KeySigner
from clearline.reports import acquirer_reference


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path)


def test_what_the_ledger_should_not_have_taken_is_not_forwarded(world: World) -> None:
    other = KeySigner.generate()
    past = "2026-01-01T00:00:00.000Z"
    good = [world.intent(number) for number in range(9)]
    expired = world.intent(10)
    expired = replace(expired, created=past, expires_at="2026-01-01T01:00:00.000Z")
    forged = world.payment(good[1])
    bad = [
        world.payment(good[1], amount=1),
        world.payment(good[2], intent_digest="0" * 64),
        world.payment(good[3], merchant_code="898310148990002"),
        world.payment(good[4], intent=forged.intent),
        world.payment(good[5], intent="a.b.c"),
        world.payment(expired),
    ]
    stranger = World(world.folder, other, world.bank_signer)
    bad.append(stranger.payment(good[6]))

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            ledger.append(Stored(0, tuple(record_of(item) for item in bad)))
            ledger.append(Stored(11, (record_of(world.payment(good[7])),)))  # not VALID
            foreign = world.payment(good[8], acquirer_id="other")
            ledger.append(Stored(0, (record_of(foreign),)))
            (last,) = world.request(ledger, world.intent(99))
            await ledger.until_final([last, *(item.key for item in bad)])
        for item in bad:
            payment = ledger.payment(item.key)
            if item.key == expired.key:
                assert (payment.status, payment.reason) == ("expired", "expired")
            else:
                assert (payment.status, payment.reason) == ("declined", "refused_by_connector")
        assert set(world.book()) == {acquirer_reference(last, PLACE.network)}
        assert ledger.payment(good[8].key).status == "requested"
        ledger.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "change",
    [
        {"merchant": {"status": "suspended"}},
        {"merchant": {"codes": {"unionpay": ["898310148990009"]}}},
        {"acquirer": {"status": "suspended"}},
        {"acquirer": {"licence_valid_until": "2020-01-01"}},
        {"acquirer": {"currencies": ["USD"]}},
        {"revoked": {}},
    ],
    ids=["merchant suspended", "code taken away", "acquirer suspended", "licence ended",
         "currency", "key revoked"],
)  # fmt: skip
def test_records_on_the_ledger_decide(world: World, change: dict[str, dict[str, object]]) -> None:
    merchant = world.merchant(**change.get("merchant", {}))
    if "revoked" in change:
        keys = {world.merchant_signer.key_id: key_record(world.merchant_signer, "revoked")}
        merchant = world.merchant(keys=keys)
    acquirer = world.acquirer(**change.get("acquirer", {}))

    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder), connected(world.parts(ledger, world.adapter())):
            (before,) = world.request(ledger, world.intent(1))
            await ledger.until_final([before])
            ledger.append(Stored(0, (record_of(merchant), record_of(acquirer))))
            (after,) = world.request(ledger, world.intent(2))
            await ledger.until_final([after])
        assert ledger.payment(before).status == "succeeded"
        assert ledger.payment(after).status == "declined"
        assert len(world.book()) == 1
        ledger.close()

    asyncio.run(run())


def test_nothing_is_forwarded_while_our_key_is_not_on_the_ledger(world: World) -> None:
    new = KeySigner.generate()

    async def run() -> None:
        ledger = FakeLedger(world.folder / "ledger.db", jws.public_key(new.jwk, new.algorithm))
        ledger.append(world.registered())
        async with (
            unionpay(world.folder),
            connected(world.parts(ledger, world.adapter(), signer=new)),
        ):
            (key,) = world.request(ledger, world.intent(1))
            await until((world.folder / "ready").exists)
            await asyncio.sleep(0.3)  # time enough to forward, were it allowed
            assert world.book() == {}
            keys = {**world.acquirer().keys, new.key_id: key_record(new)}
            ledger.append(Stored(0, (record_of(world.acquirer(keys=keys)),)))
            await ledger.until_final([key])
        assert ledger.payment(key).status == "succeeded"
        ledger.close()

    asyncio.run(run())
