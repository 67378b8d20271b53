"""What a seed decides before anything happens: who pays when and how, and what goes wrong when.

Not everything goes wrong in every run: each seed draws which kinds of faults it has, so that no
kind hides another (swarm testing, Groce et al. 2012).
"""

import random
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from sim_acquirer import Payer
from sim_refunds import Manner
from sim_weather import CALM, Weather

from connector.adapter import Capability

CHAOS_S = 45.0  # seconds in which things go wrong; afterwards all is well for ever
CONNECTORS, GATEWAYS = ("connector-a", "connector-b"), ("gateway-one", "gateway-two")
_CAPABILITIES = (
    frozenset({Capability.REVERSAL}),
    frozenset({Capability.REVERSAL, Capability.INQUIRY}),
    frozenset({Capability.REVERSAL, Capability.CLOSE}),
    frozenset({Capability.REVERSAL, Capability.INQUIRY, Capability.CLOSE}),
    frozenset({Capability.INQUIRY, Capability.CLOSE}),
)
_REFUNDS: tuple[frozenset[Capability], ...] = (
    frozenset({Capability.REFUND}),
    frozenset({Capability.REFUND, Capability.REFUND_INQUIRY}),
)


class Deed(StrEnum):
    """What happens to a service, the acquirer or a peer."""

    KILL = "kill"
    STOP = "stop"
    OUTBOX_LOST = "outbox lost"
    OUTBOX_OLD = "outbox from the past"
    CHECKPOINT_BACK = "checkpoint from the past"
    CHECKPOINT_TORN = "checkpoint torn"
    TAKE_OVER = "take over"
    CLOCK = "clock"
    ACQUIRER_DOWN = "acquirer down"
    PEER_DOWN = "peer down"


@dataclass(frozen=True)
class Event:
    """A deed at `at` seconds. `whom`: service or peer. `number`: of a kill, the points it has
    left; of a clock, seconds ahead; `seconds`: how long it lasts. `fenced`: who had
    its outbox harmed is given the lease anew before it starts, as docs/simulation.md advises."""

    at: float
    deed: Deed
    whom: str = ""
    number: int = 0
    seconds: float = 0.0
    fenced: bool = False


@dataclass(frozen=True)
class RefundWish:
    """A refund a merchant wants, `after` seconds after its payment's end or the refund before.
    `share`: hundredths of what is left to be given back, above 100 it is more than that; `early`:
    the payment's end is not waited for; `receipt`, `both`, `rival` as of a Wish; `hasty`: the next
    one is asked for before this one's end."""

    share: int
    after: float
    lives: int
    gateway: int
    early: bool = False
    receipt: bool = False
    both: bool = False
    rival: bool = False
    hasty: bool = False


@dataclass(frozen=True)
class Wish:
    """A payment a merchant wants. `receipt`: it takes a 202; `both`: it is posted to both gateways
    at once; `rival`: the gateway that is posted another intent with the same key; `close`: seconds
    after the first post at which it is closed; `again`: when it fails there is a second attempt."""

    number: int
    at: float
    amount: int
    lives: int
    payer: Payer
    gateway: int
    receipt: bool = False
    both: bool = False
    rival: int | None = None
    close: float | None = None
    again: bool = False
    refunds: tuple[RefundWish, ...] = ()

    @property
    def token(self) -> str:
        return f"tok_{self.number}"


@dataclass(frozen=True)
class Plan:
    """Everything a seed decides beforehand. `generous`: see RefundBook."""

    capabilities: frozenset[Capability]
    waits: bool
    generous: bool
    weather: Weather
    wishes: tuple[Wish, ...]
    events: tuple[Event, ...]
    standby: bool = False


@dataclass
class _Drawing:
    chance: random.Random
    busy: list[float] = field(default_factory=list)  # when payments begin
    events: list[Event] = field(default_factory=list)

    def maybe(self, likelihood: float) -> bool:
        return self.chance.random() < likelihood

    def moment(self) -> float:
        """Rather when something is under way than when nothing is."""
        if self.maybe(0.6):
            return self.chance.choice(self.busy) + self.chance.uniform(0.0, 4.0)
        return self.chance.uniform(0.5, CHAOS_S - 5)


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    drawing = _Drawing(random.Random(f"plan-{seed}"))
    chance = drawing.chance
    capabilities = chance.choice(_CAPABILITIES)
    waits = Capability.INQUIRY in capabilities and drawing.maybe(0.7)
    standby = drawing.maybe(0.3)
    wishes = tuple(_wish(drawing, number, capabilities, waits) for number in range(_size(chance)))
    back = _Drawing(random.Random(f"refunds-{seed}"))
    capabilities |= back.chance.choice((frozenset(), *_REFUNDS * 4))
    wishes = tuple(_with_refunds(back, wish, capabilities) for wish in wishes)
    drawing.busy = [wish.at for wish in wishes]
    drawing.busy += [wish.at + 3.0 for wish in wishes if wish.refunds]
    _deeds(drawing, standby)
    _forget(back, wishes, drawing.events)
    events = tuple(sorted(drawing.events, key=lambda event: event.at))
    generous = back.maybe(0.5)
    return Plan(capabilities, waits, generous, _weather(drawing), wishes, events, standby)


def _size(chance: random.Random) -> int:
    return chance.choice((1, 2, 2, 3, 5))


def _wish(drawing: _Drawing, number: int, capabilities: frozenset[Capability], waits: bool) -> Wish:
    chance, maybe = drawing.chance, drawing.maybe
    return Wish(
        number=number,
        at=chance.uniform(0.5, CHAOS_S * 0.6),
        amount=chance.randint(1, 99_999),
        lives=chance.choice((15, 40, 40, 120)),
        payer=_payer(drawing, capabilities, waits),
        gateway=chance.randrange(2),
        receipt=maybe(0.5),
        both=maybe(0.2),
        rival=chance.randrange(2) if maybe(0.2) else None,
        close=chance.choice((0.1, 0.5, 2.0, 8.0)) if maybe(0.25) else None,
        again=maybe(0.3),
    )


def _payer(drawing: _Drawing, capabilities: frozenset[Capability], waits: bool) -> Payer:
    chance, maybe = drawing.chance, drawing.maybe
    payer = Payer(
        pays=maybe(0.75),
        acts_after=chance.choice((0.0, 0.5, 3.0, 10.0, None)),
        again=maybe(0.1),
        losses=chance.choice((0, 0, 0, 1, 3)),
        notices=chance.choice((0, 1, 1, 2)),
        stale=maybe(0.15),
    )
    if maybe(0.4):
        bad: tuple[float | None, ...] = (None, 4.0, 7.0)
        if maybe(0.5):
            payer = replace(payer, answer=chance.choice(bad))
        else:
            payer = replace(payer, request=chance.choice(bad))
    if Capability.REVERSAL not in capabilities:
        return payer
    if waits and maybe(0.3):
        # A late success that the acquirer never speaks of is nobody's to know.
        return replace(payer, late=chance.choice((0.5, 3.0, 12.0)), notices=max(payer.notices, 1))
    if maybe(0.1):
        charged = maybe(0.5)
        return replace(payer, other_amount=int(charged), told_amount=int(not charged))
    return payer


def _with_refunds(drawing: _Drawing, wish: Wish, capabilities: frozenset[Capability]) -> Wish:
    """Half of those who pay want money back, once or more often, and all who pay late."""
    chance = drawing.chance
    if drawing.maybe(0.5) and wish.payer.late is None:
        return wish
    numbers = range(chance.choice((1, 1, 2, 3)))
    refunds = tuple(
        RefundWish(
            share=chance.choice((30, 50, 100, 100, 101)),
            after=chance.choice((0.0, 0.0, 0.5, 3.0)),
            lives=chance.choice((10, 40, 120)),
            gateway=chance.randrange(2),
            early=drawing.maybe(0.15),
            receipt=drawing.maybe(0.3),
            both=drawing.maybe(0.2),
            rival=drawing.maybe(0.15),
            hasty=drawing.maybe(0.15),
        )
        for _ in numbers
    )
    manners = tuple(_manner(drawing, capabilities) for _ in numbers)
    return replace(wish, refunds=refunds, payer=replace(wish.payer, refunds=manners))


def _forget(drawing: _Drawing, wishes: tuple[Wish, ...], events: list[Event]) -> None:
    """Rather often a connector forgets what it has told of refunds that are under way."""
    moments = [wish.at for wish in wishes if wish.refunds]
    if moments and drawing.maybe(0.25):
        at = drawing.chance.choice(moments) + drawing.chance.uniform(1.0, 8.0)
        points = drawing.chance.randint(1, 20)
        events.append(Event(at, Deed.OUTBOX_LOST, CONNECTORS[0], points))


def _manner(drawing: _Drawing, capabilities: frozenset[Capability]) -> Manner:
    chance, maybe = drawing.chance, drawing.maybe
    bad: tuple[float | None, ...] = (None, 4.0, 7.0)
    inquired = Capability.REFUND_INQUIRY in capabilities
    return Manner(
        refuses=maybe(0.15),
        slow=chance.choice((0.5, 3.0, 12.0)) if inquired and maybe(0.4) else None,
        request=chance.choice(bad) if maybe(0.25) else 0.01,
        answer=chance.choice(bad) if maybe(0.25) else 0.01,
        again=maybe(0.2),
        mistold=chance.choice((1, 2)) if maybe(0.15) else 0,
        losses=chance.choice((0, 0, 1, 3)),
    )


def _weather(drawing: _Drawing) -> Weather:
    chance = drawing.chance
    faults = ("endorse_fails", "endorse_hangs", "submit_taken", "submit_lost", "submit_refused",
              "submit_twice", "swallowed", "held", "invalid", "status_fails", "status_hangs",
              "cut")  # fmt: skip
    drawn: dict[str, Any] = {
        name: chance.choice((0.1, 0.3)) for name in faults if drawing.maybe(0.25)
    }
    if drawing.maybe(0.1):
        drawn["disk_full"] = 0.02
    return replace(
        CALM,
        **drawn,
        block_seconds=chance.choice(((0.02, 0.08), (0.02, 0.08), (0.1, 3.0))),
        peer_seconds=chance.choice(((0.002, 0.01), (0.002, 0.3), (0.01, 4.0))),
    )


def _deeds(drawing: _Drawing, standby: bool) -> None:
    chance, maybe, events = drawing.chance, drawing.maybe, drawing.events
    services = (CONNECTORS if standby else CONNECTORS[:1]) + GATEWAYS
    if maybe(0.7):
        for _ in range(chance.choice((1, 2, 4, 8))):
            whom = chance.choice(services + CONNECTORS[:1] * 3)
            points = chance.choice((1, chance.randint(1, 20), chance.randint(1, 60)))
            events.append(Event(drawing.moment(), Deed.KILL, whom, points))
    if maybe(0.2):
        events.append(Event(drawing.moment(), Deed.STOP, CONNECTORS[0]))
    if maybe(0.3):
        deed = chance.choice((Deed.OUTBOX_LOST, Deed.OUTBOX_OLD, Deed.CHECKPOINT_BACK,
                              Deed.CHECKPOINT_TORN))  # fmt: skip
        points, fenced = chance.randint(1, 40), maybe(0.5)
        events.append(Event(drawing.moment(), deed, CONNECTORS[0], points, fenced=fenced))
    if maybe(0.4):
        seconds = chance.choice((0.3, 3.0, 15.0))
        events.append(Event(drawing.moment(), Deed.ACQUIRER_DOWN, "", 0, seconds))
    if maybe(0.2):
        seconds = chance.choice((0.3, 3.0, 15.0))
        peer = chance.choice(("peer-one", "peer-two"))
        events.append(Event(drawing.moment(), Deed.PEER_DOWN, peer, 0, seconds))
    if maybe(0.15):
        ahead = chance.choice((-600, 600))
        seconds = chance.choice((2.0, 10.0, 30.0))
        whom = chance.choice((*services, CONNECTORS[0]))
        events.append(Event(drawing.moment(), Deed.CLOCK, whom, ahead, seconds))
    if standby:
        turn = [CONNECTORS[1], CONNECTORS[0], CONNECTORS[1]]
        moments = sorted(drawing.moment() for _ in range(chance.choice((1, 1, 2, 3))))
        events += [Event(at, Deed.TAKE_OVER, whom) for at, whom in zip(moments, turn, strict=False)]
