"""What must hold of refunds after a run: on the ledger, and in the acquirer's book."""

from typing import TYPE_CHECKING

from sim_ledger import NETWORK
from sim_refunds import RefundState

from clearline import records
from clearline.records import Kind, Payment, payment_key
from clearline.refunds import Refund, reference, refund_key
from clearline.statuses import ReportKind, Status, may_follow

if TYPE_CHECKING:
    from sim_world import World


def refunds(world: "World") -> list[Refund]:
    """All refunds as they are committed."""
    found = [world.ledger.newest(key) for key in world.ledger.keys(Kind.REFUND)]
    return [records.load(Refund, value) for value in found if value is not None]


def open_yet(world: "World") -> list[str]:
    """Refunds that have not ended, money given back that the ledger does not tell of."""
    found = []
    for refund in refunds(world):
        if not refund.final:
            found.append(f"{refund.key} is {refund.status}")
        elif wrong := _carried(world, refund):
            found.append(wrong)
    return found


def open_keys(world: "World") -> list[str]:
    """Ledger keys of refunds that have not ended, and of their payments."""
    open_ = [refund.key for refund in refunds(world) if not refund.final]
    return [refund_key(key) for key in open_] + [payment_key(key.payment) for key in open_]


def contradictable(world: "World") -> list[str]:
    """As of payments: evidence that a connector may bring about which forgets what it has
    signed."""
    return [
        f"{refund_key(refund.key)} {number}"
        for refund in refunds(world)
        for number in range(1, refund.sequence + 3)
    ]


def check(world: "World") -> None:
    """Note each rule that does not hold."""
    for refund in refunds(world):
        if wrong := _carried(world, refund):
            world.broken("amounts conserve", wrong)
        _reports(world, refund)
        _forward(world, refund)
        _fits(world, refund)
    _asked_once(world)


def _carried(world: "World", refund: Refund) -> str:
    """Carried out at the acquirer exactly when the ledger says so; empty when it holds."""
    if refund_key(refund.key) in world.unfenced:
        return ""
    entry = world.acquirer.refunds.entries.get(reference(refund.key, NETWORK))
    carried = 0 if entry is None else entry.carried
    due = int(refund.status == Status.SUCCEEDED)
    if carried != due:
        return f"{refund.key} is {refund.status}, the acquirer carried it out {carried} times"
    if entry is not None and carried and entry.order.amount != refund.amount:
        return f"{refund.key} is of {refund.amount}, {entry.order.amount} were given back"
    return ""


def _reports(world: "World", refund: Refund) -> None:
    """Numbered from 1 without gap; one result ends it, and none contradicts another."""
    numbers = [entry[0] for entry in refund.reports]
    if numbers != list(range(1, len(numbers) + 1)):
        world.broken("reports are numbered", f"{refund.key}: {numbers}")
    results = [entry for entry in refund.reports if entry[1] == ReportKind.RESULT]
    if len(results) != int(refund.final):
        world.broken("one result", f"{refund.key}: {len(results)}")
    for one in refund.contradictions:
        name = f"{refund_key(refund.key)} {one['sequence']}"
        if name not in world.contradicted:
            world.broken("no equivocation", name)


def _forward(world: "World", refund: Refund) -> None:
    """Statuses go forward, an end stays, and so does the intent."""
    before: Refund | None = None
    for _, value in world.ledger.history[refund_key(refund.key)]:
        now = records.load(Refund, value)
        if before is None:
            if now.status != Status.REQUESTED:
                world.broken("forward only", f"{refund.key} begins {now.status}")
        elif before.intent_digest != now.intent_digest:
            world.broken("forward only", f"{refund.key} has another intent")
        elif before.status != now.status and not may_follow(
            Status(before.status), Status(now.status)
        ):
            world.broken("forward only", f"{refund.key}: {before.status} -> {now.status}")
        before = now
    if refund.intent_digest not in world.merchants.signed.get(refund.key, ()):
        world.broken("forward only", f"{refund.key}: nobody signed this intent")


def _fits(world: "World", refund: Refund) -> None:
    """When it came to the ledger its payment had that much left, and no other refund was open."""
    ledger = world.ledger
    (number, index), _ = ledger.history[refund_key(refund.key)][0]
    at = (number, index)
    value = _before(world, payment_key(refund.key.payment), at)
    payment = None if value is None else records.load(Payment, value)
    if payment is None or not (payment.status == Status.SUCCEEDED or payment.excepted):
        world.broken("never more than was paid", f"{refund.key} is of what was not paid")
    elif refund.amount > payment.amount - payment.refunded_amount:
        world.broken("never more than was paid", f"{refund.key}: {refund.amount}")
    for other in range(1, refund.refund_no):
        value = _before(world, refund_key(refund.key._replace(refund_no=other)), at)
        if value is None or not records.load(Refund, value).final:
            world.broken("one refund at a time", f"{refund.key}, and {other} is open")


def _before(world: "World", key: str, at: tuple[int, int]) -> bytes | None:
    """A value as it was when this transaction came."""
    history = world.ledger.history.get(key, ())
    return next((value for version, value in reversed(history) if version < at), None)


def _asked_once(world: "World") -> None:
    """No refund reaches the acquirer as a new one twice, none without a request, and in all no
    more goes back than was paid."""
    asked = {reference(refund.key, NETWORK) for refund in refunds(world)}
    book = world.acquirer.refunds
    for name, entry in book.entries.items():
        if entry.firsts > 1 and name not in world.excused:
            world.broken("refunded once", f"{name[:8]}: {entry.firsts} times")
        if entry.carried > 1:
            world.broken("refunded once", f"{name[:8]}: carried out {entry.carried} times")
        if name not in asked:
            world.broken("refunded once", f"{name[:8]} was never requested")
        if entry.state is RefundState.PROCESSING:
            world.broken("everything ends", f"{name[:8]} is under way at the acquirer")
        paid = world.acquirer.book.get(entry.order.original)
        if book.given_back(entry.order.original) > (0 if paid is None else paid.net):
            world.broken("never more than was paid", f"{entry.order.original[:8]}")
