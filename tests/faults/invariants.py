"""What must hold after each fault: docs/faults.md.

The three books agree and everything has ended (tests/e2e/books.py; the ledger is replayed from
block 0 with every check), no exception is open, and the peers hold one state.
"""

import asyncio
import time

from books import Books, differences, read_books
from fabric_protos.common import common_pb2
from faulty_house import FaultyHouse

from audit.source import SourceError
from clearline.fabric.errors import EventsError
from clearline.fabric.events import Start
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from clearline.house.layout import House
from connector.ledger import find_tip

_COMMIT_HASH = 4  # common.BlockMetadataIndex.COMMIT_HASH
PEERS = (("BankOne", "gateway"), ("BankTwo", "gateway"), ("Supervisor", "auditor"))


def hold(faulty: FaultyHouse) -> Books:
    """All of it; fails with what does not. Everybody must have ended what they do."""
    books = read_books(faulty.house)
    assert differences(books) == []
    exceptions = [
        f"{key}: {item}"
        for key, record in books.ledger.items()
        for item in record["exceptions"]
        if item.get("status") == "open"
    ]
    assert exceptions == []
    hashes = asyncio.run(_commit_hashes(faulty.house))
    assert len(set(hashes.values())) == 1, hashes
    return books


async def _commit_hashes(house: House) -> dict[str, str]:
    """The commit hash of the newest block of BankOne's peer, at each peer: it chains flags and
    writes of all blocks."""
    profiles = {name: Profile.load(house.profile(name, user)) for name, user in PEERS}
    async with Gateway.connect(profiles["BankOne"]) as gateway:
        tip = await find_tip(gateway.network(profiles["BankOne"].channel))
    return {name: await _commit_hash(profile, tip) for name, profile in profiles.items()}


async def _commit_hash(profile: Profile, number: int) -> str:
    deadline = time.monotonic() + 20
    async with Gateway.connect(profile) as gateway:
        network = gateway.network(profile.channel)
        while True:
            try:
                async for block in network.block_events(Start(block=number, stop=number)):
                    metadata = common_pb2.Block.FromString(block.raw).metadata.metadata
                    return str(metadata[_COMMIT_HASH].hex())
            except EventsError as error:
                if time.monotonic() > deadline:
                    raise SourceError(f"{profile.msp_id} has no block {number}") from error
            await asyncio.sleep(0.05)
