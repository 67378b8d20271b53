"""Who is killed and when: a pure function of the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

_STRIKES = (1, 2, 2, 3)
_GROUPED = 2
"""Rounds of several processes in a cycle."""
ALONE = ("orderer", "peer", "server")
_KINDS = (
    "peers",
    "servers",
    "orderer and peer",
    "peer and server",
    "orderer and peers",
    "everything",
)


@dataclass(frozen=True)
class Strike:
    """Processes killed in one moment, so many seconds after the strike before."""

    after_seconds: float
    kind: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Cast:
    """The processes there are."""

    orderer: str
    peers: tuple[str, ...]
    servers: tuple[str, ...]


Round = tuple[Strike, ...]
"""Strikes that follow one another without waiting for a recovery."""


def plan(seed: int, cast: Cast) -> Iterator[Round]:
    """Rounds without end, in cycles: each process kind alone, and two rounds of several processes.

    Of those every kind comes once before chance decides.
    """
    chance = random.Random(seed)
    kinds = list(_KINDS)
    chance.shuffle(kinds)
    while True:
        cycle = [*ALONE, *[""] * _GROUPED]
        chance.shuffle(cycle)
        for kind in cycle:
            if kind:
                yield (_strike(kind, 0.3, cast, chance),)
                continue
            strikes = []
            for number in range(chance.choice(_STRIKES)):
                grouped = kinds.pop() if kinds else chance.choice(_KINDS)
                # A later one hits while the others still start: a crash in a recovery.
                strikes.append(_strike(grouped, 1.0 if number else 0.3, cast, chance))
            yield tuple(strikes)


def _strike(kind: str, within_seconds: float, cast: Cast, chance: random.Random) -> Strike:
    return Strike(chance.uniform(0.0, within_seconds), kind, _names(kind, cast, chance))


def _names(kind: str, cast: Cast, chance: random.Random) -> tuple[str, ...]:
    peer, server = chance.choice(cast.peers), chance.choice(cast.servers)
    return {
        "orderer": (cast.orderer,),
        "peer": (peer,),
        "server": (server,),
        "peers": cast.peers,
        "servers": cast.servers,
        "orderer and peer": (cast.orderer, peer),
        "peer and server": (peer, server),
        "orderer and peers": (cast.orderer, *cast.peers),
        "everything": (cast.orderer, *cast.peers, *cast.servers),
    }[kind]
