"""Two endorsing peers of which one is behind: what Fabric's gateway makes of their answers."""

from copy import deepcopy
from dataclasses import dataclass, field

import grpc
from bank_world import Chain, FakeContract

from clearline.fabric.errors import CommitError, EndorseError, GrpcFailure, PeerError

MVCC_READ_CONFLICT = 11


@dataclass
class Peers:
    """`own` has every block. `behind` receives the blocks it lacks once it has been asked `lag`
    times since; only those calls come to both."""

    own: Chain = field(default_factory=Chain)
    behind: Chain = field(default_factory=Chain)
    lag: int = 0
    tries: int = 0
    missing: list[tuple[str, str, bytes]] = field(default_factory=list)
    asked: int = 0

    def as_(self, person: str, *, endorsers: str = "own and behind") -> "PeersContract":
        return PeersContract(self, person, endorsers)


@dataclass
class PeersContract:
    """The contract as one person sees it through both peers, or through those behind only."""

    peers: Peers
    person: str
    endorsers: str

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        argument = args[0] if isinstance(args[0], bytes) else args[0].encode()
        peers = self.peers
        peers.tries += 1
        await self._receive()
        late = await FakeContract(deepcopy(peers.behind), self.person).submit(function, argument)
        before = deepcopy(peers.own)
        answer = await FakeContract(peers.own, self.person).submit(function, argument)
        if self.endorsers == "behind" and late != answer:
            # Both endorsers agree on what they lack: it is ordered, and changes nothing.
            peers.own = before
            return late
        if late != answer:
            peers.own = before
            said = (PeerError("b:7051", "BankTwo", "ProposalResponsePayloads do not match"),)
            failure = GrpcFailure(grpc.StatusCode.ABORTED, "failed to collect", said)
            raise EndorseError("Endorse", "ab", "not_applied", failure)
        peers.missing.append((self.person, function, argument))
        peers.asked = 0
        return answer

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        await self._receive()
        return await FakeContract(self.peers.behind, self.person).evaluate(function, *args)

    async def _receive(self) -> None:
        peers = self.peers
        if peers.asked >= peers.lag:
            for person, function, argument in peers.missing:
                await FakeContract(peers.behind, person).submit(function, argument)
            peers.missing.clear()
        peers.asked += 1


@dataclass
class Beaten:
    """A ledger whose first `times` transactions another was faster than."""

    contract: FakeContract
    times: int = 1

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        if self.times:
            self.times -= 1
            raise CommitError("ab", MVCC_READ_CONFLICT, 7)
        return await self.contract.submit(function, *args)

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        return await self.contract.evaluate(function, *args)
