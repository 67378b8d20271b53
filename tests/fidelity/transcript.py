"""A seeded history of one channel: everything honest clients do, and everything forgers can.

Each round endorses its transactions on the same state and orders them in an order of its own, so
that reads conflict, ranges see phantoms and policies of keys change under those who write them.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import mischief_chaincode
from config_kit import update_envelope
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import configuration_pb2
from fidelity_world import CHAINCODE, PATIENCE, Net, level, quiet
from forged_transactions import Forgery, catalogue, rwset

from clearline.fabric.contract import Contract
from clearline.fabric.errors import EndorseError
from clearline.fabric.proposal import ProposalOptions
from clearline.fabric.transaction import Transaction
from network import lifecycle
from network.administration import PeerAdministration
from network.channelpolicies import signature_policy
from network.embedded.peer.transactions import parse_action, parse_parts
from network.topology import Threshold

SUCCESS = 200
LEAST_TRANSACTIONS = 300
ROUNDS = 18
TOGETHER = 14
# Fabric 3.1.5 itself falls over a transaction without actions that stands before another one in
# its block (core/common/validation/statebased/vpmanagerimpl.go gets no key for it).
TOO_MUCH_FOR_FABRIC = {"no-action"}
# docs/fabric.md; the other codes stand for what an orderer refuses at the door, or for what
# the network doesn't use (chaincodes of Fabric 1.x, private data).
CODES = {
    "VALID", "MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT", "DUPLICATE_TXID",
    "ENDORSEMENT_POLICY_FAILURE", "INVALID_CHAINCODE", "INVALID_OTHER_REASON", "ILLEGAL_WRITESET",
    "BAD_RWSET", "INVALID_ENDORSER_TRANSACTION", "BAD_PROPOSAL_TXID", "BAD_COMMON_HEADER",
    "BAD_HEADER_EXTENSION",
}  # fmt: skip


def policy(at_least: int, *organizations: str) -> str:
    """A key's own endorsement policy, hex of a SignaturePolicyEnvelope."""
    rule = signature_policy(at_least, [(name, "peer") for name in organizations])
    return str(rule.SerializeToString().hex())


LOCKS = (policy(2, "BankOne", "BankTwo"), policy(1, "Supervisor"), policy(1, "BankTwo"))


def range_queries(transaction: Transaction) -> list[Any]:
    """The kvrwset.RangeQueryInfos that a transaction rests on."""
    prepared = gateway_pb2.PreparedTransaction.FromString(transaction.to_bytes())
    header, parts = parse_parts(prepared.envelope.SerializeToString())
    return [
        item
        for entry in parse_action(header, parts).rwsets
        for item in entry.public.range_queries_info
    ]


@dataclass
class Player:
    """Plays the history on one network; the same seed, the same history."""

    net: Net
    contract: Contract
    peers: list[PeerAdministration]
    choose: random.Random

    def call(self) -> list[str]:
        """One call of the chaincode; few keys, so that they meet."""
        pick = self.choose
        hot = f"h{pick.randrange(4)}"
        key = f"k{pick.randrange(150):03}"
        low, high = sorted((f"k{pick.randrange(150):03}", f"k{pick.randrange(160):03}"))
        kinds: list[Callable[[], list[str]]] = [
            lambda: ["put", f"{key}={pick.random()}"],
            lambda: ["put", f"{key}={pick.random()}", f"h9={pick.random()}", f"{low}="],
            lambda: ["put", f"{key}="],
            lambda: ["put", f"k{pick.randrange(150):03}x={pick.random()}"],
            lambda: ["add", hot, str(pick.randrange(100))],
            lambda: ["add", hot, str(pick.randrange(100))],
            lambda: ["get", key, hot, "nowhere"],
            lambda: ["span", low, high],
            lambda: ["span", low, high, f"s{pick.randrange(9)}"],
            lambda: ["span", f"{key}", f"{key}zz", f"s{pick.randrange(9)}"],
            lambda: ["span", "y", "z", "empty"],
            lambda: ["first", low, "", f"f{pick.randrange(9)}"],
            lambda: ["page", low, "", str(pick.randrange(1, 60))],
            lambda: ["page", "k", "l", "1000"],
            lambda: ["tag", "colour", hot, key],
            lambda: ["tagged", "colour", hot],
            lambda: ["history", hot],
            lambda: ["lock", f"l{pick.randrange(3)}", pick.choice(LOCKS)],
            lambda: ["put", f"l{pick.randrange(3)}={pick.random()}"],
            lambda: ["put", f"l{pick.randrange(3)}={pick.random()}", f"{key}={pick.random()}"],
            lambda: ["locked", f"l{pick.randrange(3)}"],
            lambda: ["who"],
        ]  # fmt: skip
        return pick.choice(kinds)()

    async def endorse(self, call: Sequence[str]) -> Transaction:
        return await self.contract.new_proposal(call[0], call[1:]).endorse()

    async def ready(self) -> None:
        """Until the gateway knows a peer of each organisation: gossip takes its time."""
        everybody = [organization.name for organization in self.net.topology.organizations]
        while True:
            try:
                options = ProposalOptions(organizations=everybody)
                await self.contract.new_proposal("who", (), options).endorse()
            except EndorseError:
                await asyncio.sleep(0.05)
            else:
                return

    async def order(self, transactions: Sequence[Transaction]) -> list[str]:
        """In exactly this order; waits until every peer has them: endorsers must agree.

        The names of their validation codes.
        """
        commits = [await transaction.submit() for transaction in transactions]
        statuses = await asyncio.gather(*(commit.status() for commit in commits))
        await level(self.peers)
        return [status.code_name for status in statuses]

    async def together(self, calls: Sequence[Sequence[str]]) -> list[Transaction]:
        transactions = list(await asyncio.gather(*(self.endorse(call) for call in calls)))
        await self.order(transactions)
        return transactions

    async def beginning(self) -> None:
        for start in (0, 50, 100):
            pairs = [f"k{number:03}={number}" for number in range(start, start + 50)]
            await self.together([["put", *pairs]])
        await self.together([["put", "l0=0", "l1=0", "l2=0", "h0=0", "h1=0"]])
        await self.together([["lock", "l0", LOCKS[0]], ["lock", "l1", LOCKS[1]]])

    async def surely(self) -> None:
        """What chance might leave out: each kind of conflict at least once."""
        scan, late = await asyncio.gather(
            self.endorse(["span", "p", "q", "count"]), self.endorse(["put", "p1=1"])
        )
        assert await self.order([late, scan]) == ["VALID", "PHANTOM_READ_CONFLICT"]
        one, other = await asyncio.gather(
            self.endorse(["add", "h0", "1"]), self.endorse(["add", "h0", "1"])
        )
        await self.order([one, other, one])
        await self.order([other])
        lock, write = await asyncio.gather(
            self.endorse(["lock", "l2", LOCKS[1]]), self.endorse(["put", "l2=1"])
        )
        await self.order([lock, write])
        await self.together([["put", "k001=1"]])
        gone, read = await asyncio.gather(
            self.endorse(["put", "k001="]), self.endorse(["span", "k000", "k004", "count"])
        )
        assert await self.order([gone, read]) == ["VALID", "PHANTOM_READ_CONFLICT"]
        await self.wide_phantom()
        await self.refused_by_a_key()

    async def wide_phantom(self) -> None:
        """A range of more keys than a read set lists (50): it holds hashes of them instead, and
        a key that came since is missed in these."""
        wide, new = await asyncio.gather(
            self.endorse(["span", "k", "l", "count"]), self.endorse(["put", "k0755=new"])
        )
        (ranges,) = range_queries(wide)
        assert ranges.HasField("reads_merkle_hashes")
        assert await self.order([new, wide]) == ["VALID", "PHANTOM_READ_CONFLICT"]
        again = await self.endorse(["span", "k", "l", "count"])
        assert await self.order([again]) == ["VALID"]

    async def refused_by_a_key(self) -> None:
        """Both banks are enough for the chaincode, and not for this key of the Supervisor's."""
        options = ProposalOptions(organizations=["BankOne", "BankTwo"])

        async def by_both(*call: str) -> Transaction:
            return await self.contract.new_proposal(call[0], call[1:], options).endorse()

        assert await self.order([await by_both("put", "sealed=1")]) == ["VALID"]
        assert await self.order([await by_both("lock", "sealed", LOCKS[1])]) == ["VALID"]
        refused = await self.order([await by_both("put", "sealed=2")])
        assert refused == ["ENDORSEMENT_POLICY_FAILURE"]
        chosen = await self.contract.new_proposal("put", ["sealed=3"]).endorse()
        assert await self.order([chosen]) == ["VALID"]

    async def elsewhere(self) -> None:
        """Writes to another chaincode's keys: its policy counts beside the one that was called."""
        net = self.net
        peers = [net.peer_signer(item.name) for item in net.topology.organizations]
        creator = net.signer("BankOne", "gateway")
        for other, endorsers, code in (
            (mischief_chaincode.NAME, peers[:2], "VALID"),
            (mischief_chaincode.STRICT, peers[:2], "ENDORSEMENT_POLICY_FAILURE"),
            (mischief_chaincode.STRICT, peers, "VALID"),
        ):
            results = rwset([("here", other)]) + rwset([("there", code)], namespace=other)
            forgery = Forgery(creator, endorsers, results)
            assert await net.order(forgery.envelope()) == SUCCESS
            status = await self.contract.new_commit(forgery.id).status()
            assert status.code_name == code, (other, len(endorsers))
        await level(self.peers)

    async def round(self) -> None:
        transactions = await self.together([self.call() for _ in range(TOGETHER)])
        # The same envelope again, now and then: its id is taken.
        await self.order([self.choose.choice(transactions)])

    async def forged(self) -> None:
        """Everything that docs/fabric.md lists, in an order of the seed's."""
        net = self.net
        peers = [net.peer_signer("BankOne"), net.peer_signer("BankTwo")]
        rows = catalogue(net.signer("BankOne", "gateway"), peers, net.signer("BankTwo", "gateway"))
        rows = [row for row in rows if row[0] not in TOO_MUCH_FOR_FABRIC]
        self.choose.shuffle(rows)
        for name, forgery, _ in rows:
            assert await net.order(forgery.envelope()) == SUCCESS, name

    async def reconfigure(self, messages: int) -> None:
        """Another block size, signed by the orderers' administrators."""

        def change(config: Any) -> None:
            value = config.channel_group.groups["Orderer"].values["BatchSize"]
            size = configuration_pb2.BatchSize.FromString(value.value)
            size.max_message_count = messages
            value.value = size.SerializeToString()

        before = await self.net.config()
        members = {organization.name for organization, _ in self.net.topology.orderers()}
        admins = [self.net.signer(name, "admin") for name in sorted(members)]
        envelope = update_envelope(before, change, admins)
        assert await self.net.order(envelope.SerializeToString()) == SUCCESS
        async with asyncio.timeout(PATIENCE):
            while (await self.net.config()).sequence == before.sequence:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        await level(self.peers)

    async def redefine(self) -> None:
        """Sequence 2: the chaincode gets an endorsement policy of its own."""
        rule = Threshold(2, ("BankOne", "BankTwo", "Supervisor"))
        topology = self.net.topology
        other = replace(topology, chaincode=replace(topology.chaincode, endorsement=rule))
        done = await lifecycle.bring_up(self.net.home, other, self.net.package, quiet)
        assert done.sequence == 2
        await level(self.peers)


async def play(net: Net, seed: int) -> None:
    """The whole history. About 350 transactions."""
    async with AsyncExitStack() as stack:
        contract = await stack.enter_async_context(net.contract("BankOne"))
        peers = [
            await stack.enter_async_context(net.administration(organization.name))
            for organization in net.topology.organizations
        ]
        player = Player(net, contract, peers, random.Random(seed))
        await player.ready()
        await player.beginning()
        for _ in range(ROUNDS // 3):
            await player.round()
        await player.surely()
        await player.forged()
        await player.elsewhere()
        await player.reconfigure(7)
        for _ in range(ROUNDS // 3):
            await player.round()
        await player.redefine()
        for _ in range(ROUNDS // 3):
            await player.round()
        await player.together([["put", f"{CHAINCODE}=end"]])
