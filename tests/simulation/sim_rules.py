"""What must hold after a run (docs/faults.md): on the ledger, and at the acquirer. What holds of
refunds besides is in sim_refund_rules.py."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING

import sim_refund_rules
from sim_keys import ACQUIRER_ID
from sim_ledger import NETWORK, VALID, Ordered, Version
from sim_plan import CONNECTORS

from chaincode.contract.context import Transaction
from clearline import records
from clearline.codes import Code
from clearline.records import Kind, Lease, Payment
from clearline.refunds import RefundKey
from clearline.reports import acquirer_reference
from clearline.statuses import ReportKind, Status, may_follow
from connector.adapter import Capability

if TYPE_CHECKING:
    from sim_merchants import Named
    from sim_world import World


def payments(world: "World") -> list[Payment]:
    """All payments as they are committed."""
    found = [world.ledger.newest(key) for key in world.ledger.keys(Kind.PAYMENT)]
    return [records.load(Payment, value) for value in found if value is not None]


def open_yet(world: "World") -> list[str]:
    """Payments that have not ended, exceptions that can be resolved and are not, money that the
    ledger does not tell of."""
    can_give_back = Capability.REVERSAL in world.plan.capabilities
    found = []
    for payment in payments(world):
        if not payment.final:
            found.append(f"{payment.key} is {payment.status}")
        elif payment.excepted and can_give_back:
            found.append(f"{payment.key} has an open exception")
        elif wrong := _money(world, payment):
            found.append(wrong)
    return found + sim_refund_rules.open_yet(world)


def open_keys(world: "World") -> list[str]:
    """Ledger keys of payments and refunds that have not ended; of an open refund its payment's."""
    open_ = [records.payment_key(payment.key) for payment in payments(world) if not payment.final]
    return open_ + sim_refund_rules.open_keys(world)


def contradictable(world: "World") -> list[str]:
    """Evidence that a connector may bring about which forgets now what it has signed: against the
    reports that are signed and not known to be on the ledger."""
    return [
        records.equivocation_key(payment.key, number)
        for payment in payments(world)
        for number in range(1, payment.sequence + 3)
    ] + sim_refund_rules.contradictable(world)


def check(world: "World") -> None:
    """Note each rule that does not hold."""
    for payment in payments(world):
        if wrong := _money(world, payment):
            world.broken("amounts conserve", wrong)
        _reports(world, payment)
        _forward(world, payment)
    sim_refund_rules.check(world)
    _forwarded_once(world)
    _one_request(world)
    _no_contradiction(world)
    _epochs(world)
    _answers(world)
    for one in stuck(world):
        world.broken("no hand is needed", one)
    _replay(world)


def _money(world: "World", payment: Payment) -> str:
    """Paid at the acquirer exactly when the ledger says so; empty when it holds."""
    if records.payment_key(payment.key) in world.unfenced:
        return ""
    reference = acquirer_reference(payment.key, NETWORK)
    entry = world.acquirer.book.get(reference)
    net = entry.net - world.acquirer.refunds.given_back(reference) if entry is not None else 0
    due = payment.amount if payment.status == Status.SUCCEEDED or payment.excepted else 0
    due -= payment.refunded_amount
    if net == due:
        return ""
    return f"{payment.key} is {payment.status}, the acquirer has {net} instead of {due}"


def _reports(world: "World", payment: Payment) -> None:
    """Numbered from 1 without gap; one result ends it."""
    numbers = [entry[0] for entry in payment.reports]
    if numbers != list(range(1, len(numbers) + 1)):
        world.broken("reports are numbered", f"{payment.key}: {numbers}")
    results = [entry for entry in payment.reports if entry[1] == ReportKind.RESULT]
    if len(results) != int(payment.final) + len(payment.exceptions):
        world.broken("one result", f"{payment.key}: {len(results)}")


def _forward(world: "World", payment: Payment) -> None:
    """Statuses go forward, an end stays, and so does the intent."""
    before: Payment | None = None
    for _, value in world.ledger.history[records.payment_key(payment.key)]:
        now = records.load(Payment, value)
        if before is None:
            if now.status != Status.REQUESTED:
                world.broken("forward only", f"{payment.key} begins {now.status}")
        elif before.intent_digest != now.intent_digest:
            world.broken("forward only", f"{payment.key} has another intent")
        elif before.status != now.status and not may_follow(
            Status(before.status), Status(now.status)
        ):
            world.broken("forward only", f"{payment.key}: {before.status} -> {now.status}")
        before = now
    if payment.intent_digest not in world.merchants.signed.get(payment.key, ()):
        world.broken("forward only", f"{payment.key}: nobody signed this intent")


def _forwarded_once(world: "World") -> None:
    """No purchase twice, and none without a request."""
    asked = {acquirer_reference(payment.key, NETWORK) for payment in payments(world)}
    for reference, entry in world.acquirer.book.items():
        if entry.purchases_seen > 1 and reference not in world.excused:
            world.broken("forwarded once", f"{reference[:8]}: {entry.purchases_seen} times")
        if reference not in asked:
            world.broken("forwarded once", f"{reference[:8]} was never requested")


def _valid(world: "World") -> list[tuple[Version, Ordered]]:
    return [
        ((number, index), one)
        for number, block in enumerate(world.ledger.blocks)
        for index, one in enumerate(block)
        if one.code == VALID
    ]


def _one_request(world: "World") -> None:
    """One VALID transaction made each payment and each refund."""
    made = Counter(
        outcome.key
        for _, one in _valid(world)
        if one.envelope.function == "SubmitIntents"
        for item, outcome in zip(json.loads(one.envelope.argument), one.envelope.outcomes,
                                 strict=True)
        if outcome.code is Code.OK and ("acquirer_id" in item or isinstance(outcome.key, RefundKey))
    )  # fmt: skip
    for key, times in made.items():
        if times != 1:
            world.broken("one valid request", f"{key}: {times}")


def _no_contradiction(world: "World") -> None:
    """An honest bank never signs two reports with one number."""
    for key in world.ledger.keys(Kind.EQUIVOCATION):
        if key in world.contradicted:
            continue
        world.broken("no equivocation", key)


def _epochs(world: "World") -> None:
    """A report that was taken was submitted under the epoch in force."""
    epoch = 0
    for _, one in _valid(world):
        envelope = one.envelope
        if envelope.function == "SubmitReports":
            items = json.loads(envelope.argument)
            for item, outcome in zip(items, envelope.outcomes, strict=True):
                new = outcome.code in (Code.OK, Code.LATE_SUCCESS)
                if new and item["epoch"] != epoch:
                    world.broken("the epoch in force", f"{outcome.key}: {item['epoch']}, {epoch}")
        for key, value in envelope.writes:
            if key.startswith(f"{Kind.LEASE}/"):
                epoch = records.load(Lease, value).epoch


def _answers(world: "World") -> None:
    """What merchants were told is what the ledger says; what was received is decided."""
    valid = {one.envelope.tx_id for _, one in _valid(world)}
    held: dict[Named, str] = {one.key: one.intent_digest for one in payments(world)}
    held |= {one.key: one.intent_digest for one in sim_refund_rules.refunds(world)}
    decided: dict[tuple[Named, str], bool] = {}
    for told in world.merchants.told:
        digest = held.get(told.key)
        code = told.answer.get("code")
        mine = digest == told.digest
        if code in (Code.OK, Code.DUPLICATE) and told.digest and not mine:
            world.broken("answers hold", f"{told.key} was {code} at {told.gateway}, and is not")
        elif code == Code.OK and told.answer.get("tx_id") not in valid:
            world.broken("answers hold", f"{told.key}: {told.answer.get('tx_id')} is not valid")
        elif code == Code.CONFLICT and (digest is None or mine):
            world.broken("answers hold", f"{told.key} is no conflict")
        if told.digest and told.answer.get("received"):
            decided.setdefault((told.key, told.item_id), mine)
    for (key, item_id), mine in decided.items():
        if not mine and not _refused_for_good(world, item_id):
            world.broken("a receipt is kept", f"{key} was received and is nowhere")


def _refused_for_good(world: "World", item_id: str) -> bool:
    """Whether the contract says why: another intent has the key, it expired, its turn is over."""
    for queue in world.gateways:
        with closing(sqlite3.connect(queue.folder / "queue.db")) as db:
            found = db.execute(
                "SELECT state, outcome FROM items WHERE item_id = ?", (item_id,)
            ).fetchone()
        if found is not None and found[0] == "refused":
            return True
        if found is not None and found[0] == "queued" and world.plan.weather.disk_full:
            return True  # its outcome could not be noted: it is asked for again at a start
        if found is not None and found[0] == "done":
            return not Code(json.loads(found[1])["code"]).taken
    return False


def stuck(world: "World") -> list[str]:
    """What people would have to look at, at the connector that acts."""
    value = world.ledger.newest(records.record_key(Kind.LEASE, ACQUIRER_ID))
    holder = CONNECTORS[0] if value is None else records.load(Lease, value).holder
    outbox = next(one.outbox for one in world.connectors if one.name == holder)
    if not outbox.exists() or not outbox.stat().st_size:
        return []  # it never came so far
    with closing(sqlite3.connect(outbox)) as db:
        rows = db.execute("SELECT key, note FROM entry WHERE phase = 'stuck'").fetchall()
    return [f"{key} is stuck: {note}" for key, note in rows]


def _replay(world: "World") -> None:
    """From block 0, the contract and the validation say the same again."""
    state: dict[str, tuple[Version, bytes]] = {}
    for number, block in enumerate(world.ledger.blocks):
        for index, one in enumerate(block):
            envelope = one.envelope
            fresh = all(
                state.get(key, (None, b""))[0] == read for key, read in envelope.reads.items()
            )
            if one.code != VALID:
                continue
            if not fresh:
                world.broken("replay", f"block {number} has a stale transaction as valid")
            if envelope.function and not _decides_alike(world, one, number):
                world.broken("replay", f"{envelope.tx_id} is decided otherwise")
            for key, value in envelope.writes:
                state[key] = ((number, index), value)
    for key, (version, value) in state.items():
        if world.ledger.state(key, len(world.ledger.blocks)) != (version, value):
            world.broken("replay", f"{key} differs")


def _decides_alike(world: "World", one: Ordered, number: int) -> bool:
    if world.seed % 10:
        return True  # the dear half of the check, now and then
    envelope = one.envelope
    transaction = Transaction(envelope.tx_id, envelope.time, NETWORK, envelope.submitter)
    decision, _ = world.ledger.decide(envelope.function, envelope.argument, transaction, number)
    return (decision.writes, decision.outcomes) == (envelope.writes, envelope.outcomes)
