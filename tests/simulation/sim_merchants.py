"""Merchants: they post, post again to the other gateway, close, try again, and remember what they
were told."""

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sim_keys import ACQUIRER_ID, MERCHANT_ID, pay_intent, signed
from sim_ledger import NETWORK
from sim_plan import Wish
from sim_services import GatewayService, payload

from clearline import records, times
from clearline.fabric.queue_items import QueueItem
from clearline.intents import CloseIntent, PayIntent, PaymentKey
from clearline.records import Payment, payment_key
from clearline.statuses import Status

if TYPE_CHECKING:
    from sim_world import World

_PATIENCE_S = 150.0  # after an intent's end, until an answer is given up
_FUNCTION = "SubmitIntents"


@dataclass(frozen=True)
class Told:
    """An answer to a merchant; `digest` of the pay intent, empty for a close."""

    key: PaymentKey
    digest: str
    gateway: str
    answer: dict[str, object]


class Merchants:
    """All of them."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.told: list[Told] = []
        self.signed: dict[PaymentKey, list[str]] = {}  # digests of all that was signed
        self.busy = 0

    async def buy(self, wish: Wish) -> None:
        """A wish, to its end."""
        self.busy += 1
        await asyncio.sleep(wish.at)
        key = PaymentKey(MERCHANT_ID, f"order-{wish.number}", 1)
        await self._attempt(wish, key)
        if wish.again and await self._failed(key):
            await self._attempt(replace(wish, close=None, rival=None), key._replace(attempt=2))
        self.busy -= 1

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
        await asyncio.gather(*posts)

    def _sign(self, key: PaymentKey, wish: Wish, amount: int) -> PayIntent:
        now = times.render(self._world.wall())
        intent = pay_intent(key, amount, wish.token, now, wish.lives)
        self.signed.setdefault(key, []).append(intent.digest())
        return intent

    async def _pay(self, intent: PayIntent, wish: Wish, gateway: int) -> None:
        item = QueueItem(
            f"intent-{intent.digest()[:40]}", _FUNCTION,
            payload(intent=signed(intent), acquirer_id=ACQUIRER_ID), (payment_key(intent.key),),
        )  # fmt: skip
        await self._post(item, intent.key, intent.digest(), gateway, wish)

    async def _close(self, key: PaymentKey, wish: Wish) -> None:
        assert wish.close is not None
        await asyncio.sleep(wish.close)
        intent = CloseIntent(NETWORK, *key, times.render(self._world.wall()))
        compact = signed(intent)
        name = hashlib.sha256(compact.encode()).hexdigest()[:40]
        item = QueueItem(f"close-{name}", _FUNCTION, payload(intent=compact), (payment_key(key),))
        for _ in range(5):
            answer = await self._post(item, key, "", wish.gateway, replace(wish, receipt=False))
            if answer is None or answer.get("code") != "payment_unknown":
                return
            await asyncio.sleep(2.0)

    async def _post(
        self, item: QueueItem, key: PaymentKey, digest: str, gateway: int, wish: Wish
    ) -> dict[str, object] | None:
        """To one gateway and the other in turn, until one says what became of it."""
        deadline = self._world.elapsed + wish.lives + _PATIENCE_S
        while self._world.elapsed < deadline:
            service: GatewayService = self._world.gateways[gateway % 2]
            answer = await service.post(item, wish.receipt)
            if answer is not None:
                self._world.note("merchant", "is told", item.item_id[:14], _short(answer))
                self.told.append(Told(key, digest, service.name, answer))
            if answer is not None and answer.get("outcome") != "unknown":
                return answer
            gateway += 1
            await asyncio.sleep(0.7)
        return None

    async def _failed(self, key: PaymentKey) -> bool:
        """Whether it ended without success, once it has."""
        for _ in range(200):
            value = self._world.ledger.newest(payment_key(key))
            payment = None if value is None else records.load(Payment, value)
            if payment is not None and payment.final and not payment.excepted:
                return payment.status != Status.SUCCEEDED
            await asyncio.sleep(1.0)
        return False


def _short(answer: dict[str, object]) -> str:
    return " ".join(f"{name}={answer[name]}" for name in ("received", "code", "refused", "status")
                    if answer.get(name))  # fmt: skip
