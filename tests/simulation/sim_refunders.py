"""What merchants do about refunds: in full, in parts, too much, too early, two under one number."""

import asyncio
from typing import TYPE_CHECKING

from sim_keys import refund_intent, signed
from sim_plan import RefundWish, Wish
from sim_services import payload

from clearline import records, times
from clearline.fabric.queue_items import QueueItem
from clearline.intents import PaymentKey
from clearline.records import Payment, payment_key
from clearline.refunds import Refund, RefundKey, refund_key
from clearline.statuses import Status

if TYPE_CHECKING:
    from sim_merchants import Merchants

_ENDS_S = 300.0  # until a payment or a refund has ended, or somebody gives it up
_LATE_S = 20.0  # in which a payer may pay after the end


async def give_back(merchants: "Merchants", wish: Wish, key: PaymentKey) -> None:
    """All refunds that are wanted of an attempt, one after the other."""
    for asked in wish.refunds:
        if not asked.early and not await _refundable(merchants, wish, key):
            return
        await asyncio.sleep(asked.after)
        await _refund(merchants, wish, asked, key)


async def _refundable(merchants: "Merchants", wish: Wish, key: PaymentKey) -> bool:
    """Whether something can be given back, once the payment has ended - or a success after that
    end is open."""
    world = merchants.world
    end = world.elapsed + _ENDS_S
    late = False
    while world.elapsed < end:
        payment = merchants.payment(key)
        if payment is not None and payment.final:
            if payment.status == Status.SUCCEEDED or payment.excepted:
                return left(payment) > 0
            if late or wish.payer.late is None or payment.exceptions:
                return False
            late, end = True, world.elapsed + _LATE_S
        await world.ledger.written(payment_key(key), end - world.elapsed)
    return False


def left(payment: Payment) -> int:
    """Minor units that can be given back: what is left, of a late success all."""
    if payment.status == Status.SUCCEEDED:
        return payment.amount - payment.refunded_amount
    return next((int(one["amount"]) for one in payment.exceptions if one["status"] == "open"), 0)


async def _refund(
    merchants: "Merchants", wish: Wish, asked: RefundWish, key: PaymentKey
) -> None:  # fmt: skip
    """One of them, to its end or its refusal."""
    payment = merchants.payment(key)
    rest = wish.amount if payment is None else left(payment)
    amount = rest + 1 if asked.share > 100 else max(1, rest * asked.share // 100)
    number = 1
    while _committed(merchants, RefundKey(*key, number)) is not None:
        number += 1
    named = RefundKey(*key, number)
    posts = [_post(merchants, named, amount, asked, asked.gateway, asked.both)]
    if asked.rival:
        posts.append(_post(merchants, named, amount + 1, asked, 1 - asked.gateway))
    if asked.hasty:
        following = named._replace(refund_no=number + 1)
        posts.append(_post(merchants, following, amount, asked, asked.gateway))
    refused = all(await asyncio.gather(*posts))
    await _ended(merchants, named, 0.0 if refused else asked.lives + 5.0)


async def _post(
    merchants: "Merchants", key: RefundKey, amount: int, asked: RefundWish, gateway: int,
    both: bool = False,
) -> bool:  # fmt: skip
    """Sign and post it; whether it was refused everywhere."""
    intent = refund_intent(key, amount, times.render(merchants.world.wall()), asked.lives)
    digest = intent.digest()
    merchants.signed.setdefault(key, []).append(digest)
    item = QueueItem(
        f"refund-{digest[:40]}", "SubmitIntents", payload(intent=signed(intent)), (refund_key(key),)
    )
    answers = await asyncio.gather(*(
        merchants.post(item, key, digest, where, asked.lives, asked.receipt)
        for where in ((gateway, 1 - gateway) if both else (gateway,))
    ))  # fmt: skip
    taken = ("ok", "duplicate")
    return all(one is not None and one.get("code", "ok") not in taken for one in answers)


def _committed(merchants: "Merchants", key: RefundKey) -> Refund | None:
    value = merchants.world.ledger.newest(refund_key(key))
    return None if value is None else records.load(Refund, value)


async def _ended(merchants: "Merchants", key: RefundKey, patience: float) -> None:
    """Until it has; one that does not come to the ledger within `patience` seconds is given up."""
    world = merchants.world
    start = world.elapsed
    while (waited := world.elapsed - start) < _ENDS_S:
        refund = _committed(merchants, key)
        if (refund is not None and refund.final) or (refund is None and waited >= patience):
            return
        seconds = (patience if refund is None else _ENDS_S) - waited
        await world.ledger.written(refund_key(key), seconds)
