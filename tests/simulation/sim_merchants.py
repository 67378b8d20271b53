"""Merchants: they post, post again to the other gateway, close, try again, ask for refunds
(sim_refunders.py), and remember what they were told."""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sim_keys import ACQUIRER_ID, MERCHANT_ID, pay_intent, signed
from sim_ledger import NETWORK
from sim_plan import Wish
from sim_refunders import give_back
from sim_services import GatewayService, payload

from clearline import records, times
from clearline.fabric.queue_items import QueueItem
from clearline.intents import CloseIntent, PayIntent, PaymentKey
from clearline.records import Payment, payment_key
from clearline.refunds import RefundKey
from clearline.statuses import Status

if TYPE_CHECKING:
    from sim_world import World

_PATIENCE_S = 150.0  # after an intent's end, until an answer is given up
_FUNCTION = "SubmitIntents"
Named = PaymentKey | RefundKey


@dataclass(frozen=True)
class Told:
    """An answer to a merchant; `digest` of the intent to pay or to refund, empty for a close."""

    key: Named
    digest: str
    item_id: str
    gateway: str
    answer: dict[str, object]


class Merchants:
    """All of them."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.told: list[Told] = []
        self.signed: dict[Named, list[str]] = {}  # digests of all that was signed

    async def buy(self, wish: Wish) -> None:
        """A wish, to its end."""
        await asyncio.sleep(wish.at)
        key = PaymentKey(MERCHANT_ID, f"order-{wish.number}", 1)
        await self._attempt(wish, key)
        if wish.again and await self._failed(key):
            key = key._replace(attempt=2)
            await self._attempt(replace(wish, close=None, rival=None), key)

    async def _attempt(self, wish: Wish, key: PaymentKey) -> None:
        loop = asyncio.get_running_loop()
        intent = self._sign(key, wish, wish.amount)
        posts = [loop.create_task(self._pay(intent, wish, wish.gateway))]
        if wish.both:
            posts.append(loop.create_task(self._pay(intent, wish, 1 - wish.gateway)))
        if wish.rival is not None:
            rival = self._sign(key, wish, wish.amount + 1)
            posts.append(loop.create_task(self._pay(rival, wish, wish.rival)))
        if wish.close is not None:
            posts.append(loop.create_task(self._close(key, wish)))
        if wish.refunds:
            posts.append(loop.create_task(give_back(self, wish, key)))
        await asyncio.gather(*posts)

    def _sign(self, key: PaymentKey, wish: Wish, amount: int) -> PayIntent:
        now = times.render(self.world.wall())
        intent = pay_intent(key, amount, wish.token, now, wish.lives)
        self.signed.setdefault(key, []).append(intent.digest())
        return intent

    async def _pay(self, intent: PayIntent, wish: Wish, gateway: int) -> None:
        item = QueueItem(
            f"intent-{intent.digest()[:40]}", _FUNCTION,
            payload(intent=signed(intent), acquirer_id=ACQUIRER_ID), (payment_key(intent.key),),
        )  # fmt: skip
        await self.post(item, intent.key, intent.digest(), gateway, wish.lives, wish.receipt)

    async def _close(self, key: PaymentKey, wish: Wish) -> None:
        assert wish.close is not None
        await asyncio.sleep(wish.close)
        intent = CloseIntent(NETWORK, *key, times.render(self.world.wall()))
        compact = signed(intent)
        name = hashlib.sha256(compact.encode()).hexdigest()[:40]
        item = QueueItem(f"close-{name}", _FUNCTION, payload(intent=compact), (payment_key(key),))
        for _ in range(5):
            answer = await self.post(item, key, "", wish.gateway, wish.lives, receipt=False)
            if answer is None or answer.get("code") != "payment_unknown":
                return
            await asyncio.sleep(2.0)

    async def post(
        self, item: QueueItem, key: Named, digest: str, gateway: int, lives: int, receipt: bool
    ) -> dict[str, object] | None:
        """To one gateway and the other in turn, until one says what became of it."""
        deadline = self.world.elapsed + lives + _PATIENCE_S
        while self.world.elapsed < deadline:
            service: GatewayService = self.world.gateways[gateway % 2]
            answer = await service.post(item, receipt)
            if answer is not None:
                self.world.note("merchant", "is told", item.item_id[:14], _short(answer))
                self.told.append(Told(key, digest, item.item_id, service.name, answer))
            if answer is not None and answer.get("outcome") != "unknown":
                return answer
            gateway += 1
            await asyncio.sleep(0.7)
        return None

    def payment(self, key: PaymentKey) -> Payment | None:
        """As it is committed."""
        value = self.world.ledger.newest(payment_key(key))
        return None if value is None else records.load(Payment, value)

    async def _failed(self, key: PaymentKey) -> bool:
        """Whether it ended without success, once it has."""
        end = self.world.elapsed + _PATIENCE_S
        while self.world.elapsed < end:
            payment = self.payment(key)
            if payment is not None and payment.final and not payment.excepted:
                await asyncio.sleep(0.3)
                return payment.status != Status.SUCCEEDED
            await self.world.ledger.written(payment_key(key), end - self.world.elapsed)
        return False


def _short(answer: dict[str, object]) -> str:
    return " ".join(f"{name}={answer[name]}" for name in ("received", "code", "refused", "status")
                    if answer.get(name))  # fmt: skip
