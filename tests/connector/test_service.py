"""A connector's start and stop: one per outbox, and what is under way when it is stopped ends."""

import asyncio
from pathlib import Path

import pytest
from benches import unionpay
from helpers_connector import PLACE, World, agree, connected, until

from connector.database import DatabaseError
from connector.service import Connector


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.make(tmp_path)


def test_stopping_ends_what_is_in_flight(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            async with connected(world.parts(ledger, world.adapter())):
                (key,) = world.request(ledger, world.intent(1, "tok_slow"))
                await until(lambda: world.booked(key) is not None)
            assert ledger.payment(key).status == "succeeded"
            assert not (world.folder / "ready").exists()
            (later,) = world.request(ledger, world.intent(2))
            async with connected(world.parts(ledger, world.adapter())):
                await ledger.until_final([later])
        assert ledger.payment(later).status == "succeeded"
        agree(world, ledger)
        ledger.close()

    asyncio.run(run())


def test_an_outbox_has_one_connector_and_one_acquirer(world: World) -> None:
    async def run() -> None:
        ledger = world.ledger()
        ledger.append(world.registered())
        async with unionpay(world.folder):
            parts = world.parts(ledger, world.adapter())
            async with connected(parts):
                await until((world.folder / "ready").exists)
                with pytest.raises(DatabaseError, match="in use"):
                    await Connector(parts).run(asyncio.Event())
            place = type(PLACE)(PLACE.network, "another")
            strange = world.parts(ledger, world.adapter(), place=place)
            with pytest.raises(DatabaseError, match="acquirer_id unionpay, not another"):
                await Connector(strange).run(asyncio.Event())
        ledger.close()

    asyncio.run(run())
