"""A card number in every field of every input: after the run none is anywhere - not on a ledger,
in a log, in a database, in an answer.

What is not scanned, by choice (docs/adr/0007): a digest, a signature, a public key of an item of
the right form. docs/trust.md says so.
"""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import parties
import pytest
from canaries import Canaries, files, layers
from canary_calls import at_the_chaincode, transient
from canary_inputs import (
    BY_ACQUIRER,
    SAID_BY_ACQUIRER,
    Run,
    at_gateways,
    house_intent,
    in_files,
    in_links,
    in_requests,
    in_webhooks,
)
from security_world import World

from audit.source import from_peer
from clearline import intents, jws, times
from clearline.house.layout import MERCHANT_ID


@pytest.fixture(scope="module")
def run(world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All of it once, beside a payment that is looked for too."""
    made = Run(Canaries({SAID_BY_ACQUIRER: BY_ACQUIRER}), parties.order_no("control"))
    wanted, signer = house_intent(world)
    control = intents.sign(
        parties.intent(merchant_id=MERCHANT_ID, acquirers=wanted.acquirers, store=made.control,
                       expires_at=times.after(times.now(), 900)),
        signer,
    )  # fmt: skip
    assert world.web[0].post(control, Prefer="wait=20").json()["status"] == "succeeded"
    at_gateways(world, made)
    in_requests(world, made)
    in_webhooks(world, made)
    in_links(world, made)
    at_the_chaincode(world, made)
    transient(world, made)
    in_files(world, made, tmp_path_factory.mktemp("canary-files"))
    return made


def test_every_input_is_refused(run: Run) -> None:
    """Each one, whoever sends it: nobody endorses it, no gateway takes it."""
    assert len(run.refused) > 800
    assert [where for where, was_refused in run.refused if not was_refused] == []


def test_no_answer_repeats_it(run: Run) -> None:
    repeated = [where for where, content in run.said if run.canaries.found(content)]
    assert repeated == []


def test_nothing_in_the_house_holds_it(world: World, run: Run) -> None:
    """Ledgers, state, queues, outboxes, projections, order book, acquirer's book, logs; but what
    an acquirer itself says is where it says it, and in its bank's outbox, as it came."""
    held = {
        (path.relative_to(world.house.home), where)
        for path, content in files(world.house.home)
        for where in run.canaries.found(content)
    }
    assert {(path, where) for path, where in held if where != BY_ACQUIRER} == set()
    outbox = Path("rooms/connector-unionpay/data")
    said = {path.parent if path.name.startswith("outbox.db") else path for path, _ in held}
    assert said == {Path("acquirers/unionpay/settings.json"), outbox}


def blocks(world: World, msp: str) -> list[bytes]:
    """Every block of an organisation's peer, as Deliver sends it."""

    async def all_of_them() -> list[bytes]:
        user = "auditor" if msp == "Supervisor" else "gateway"
        return [raw async for raw in from_peer(world.profile(msp, user))]

    return asyncio.run(all_of_them())


@pytest.mark.parametrize("msp", ["BankOne", "BankTwo", "Supervisor"])
def test_no_block_holds_it(world: World, run: Run, msp: str) -> None:
    found = [run.canaries.found(raw) for raw in blocks(world, msp)]
    assert len(found) > 10
    assert set().union(*found) == set()


def test_the_search_finds_what_is_there(world: World, run: Run) -> None:
    """The control payment's store stands in its signed intent only, in base64url: the search
    sees it in every ledger, in the merchant's order book's neighbour, the gateway's projection."""
    marker = run.control.encode()
    holding = {
        path.relative_to(world.house.home).parts[:2]
        for path, content in files(world.house.home)
        if any(marker in text for text in layers(content, 1))
    }
    for node in ("peer0.bankone", "peer0.banktwo", "peer0.supervisor", "orderer0"):
        assert ("nodes", node) in holding
    assert ("rooms", "gateway-banktwo") in holding
    assert ("rooms", "connector-unionpay") in holding
    assert not any(marker in content for _, content in files(world.house.home / "nodes"))


def test_the_numbers_are_found_however_they_are_wrapped() -> None:
    canaries = Canaries()
    number = canaries.new("here").encode()
    once = jws.encode(b'{"a":"' + number + b'"}').encode()
    groups = [number[at : at + 4] for at in range(0, 16, 4)]
    wide = "".join(chr(0xFF10 + digit - 0x30) for digit in number)
    for content in (
        b"x" + number + b"y",
        b"99" + number,
        once,
        b"pad" + once,
        jws.encode(b'{"intent":"' + once + b'"}').encode(),
        b" ".join(groups),
        b"-".join(groups),
        b".".join(groups),
        wide.encode(),
        json.dumps(wide).encode(),
        b'"' + number.hex().encode() + b'"',
        base64.b64encode(b"??>" + b" ".join(groups) + b"??>"),
        jws.encode(wide.encode()).encode(),
    ):
        assert canaries.found(content) == {"here"}
    assert canaries.found(b"4111111111111111") == set()
    for length, prefix in ((13, "453201"), (15, "37"), (19, "621094")):
        assert canaries.found(canaries.new(str(length), prefix, length).encode()) == {str(length)}
