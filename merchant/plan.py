"""What a run has to do about each asked order. Pure: the book's states in, a plan out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from merchant.attempts import RENEWABLE, OrderStatus, State
from merchant.jobs import Mode

LAST_ATTEMPT: Final = 9999
RETRIABLE: Final = frozenset({OrderStatus.DECLINED, OrderStatus.CLOSED, OrderStatus.EXPIRED})


class Again(StrEnum):
    """What is tried again only because the merchant said so."""

    RETRY_DECLINED = "retry_declined"  # a new attempt after one that ended without success
    RENEW = "renew"  # a new intent for an attempt no gateway has taken


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign and store a new intent for this attempt, then pay."""

    state: State
    attempt: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with the stored attempt."""

    state: State
    mode: Mode


@dataclass(frozen=True, slots=True)
class Plan:
    """`todo` in the order of the book; `settled` need nothing more, `left` need the merchant."""

    todo: list[Sign | Resume] = field(default_factory=list)
    settled: list[State] = field(default_factory=list)
    left: list[State] = field(default_factory=list)


def make_plan(states: Iterable[State], again: frozenset[Again]) -> Plan:
    """What `pay` does about these orders."""
    plan = Plan()
    for state in states:
        _place(plan, state, again)
    return plan


def _place(plan: Plan, state: State, again: frozenset[Again]) -> None:
    status, attempt = state.status, state.attempt
    if attempt is None:
        plan.todo.append(Sign(state, 1))
    elif status in RETRIABLE and Again.RETRY_DECLINED in again and attempt.attempt < LAST_ATTEMPT:
        plan.todo.append(Sign(state, attempt.attempt + 1))
    elif status.final:
        plan.settled.append(state)
    elif status is OrderStatus.DISPUTED:
        # Never posted again by itself: only asked for, everywhere.
        plan.todo.append(Resume(state, Mode.ASK))
    elif status in RENEWABLE and Again.RENEW in again:
        plan.todo.append(Sign(state, attempt.attempt))
    elif status is OrderStatus.LAPSED:
        plan.left.append(state)
    else:
        # What is to be closed is not asked for again: it is followed to its end.
        plan.todo.append(Resume(state, Mode.CLOSE if attempt.close else Mode.PAY))


def watch_plan(states: Iterable[State]) -> Plan:
    """What `watch` does: ask about what is under way, post nothing."""
    plan = Plan()
    for state in states:
        if state.status.final:
            plan.settled.append(state)
        elif state.attempt is None:
            plan.left.append(state)
        else:
            plan.todo.append(Resume(state, Mode.ASK))
    return plan
