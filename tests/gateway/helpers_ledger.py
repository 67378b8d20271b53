"""A ledger for the gateway's tests: the client's fake peer over TLS, in a thread of its own, with
a small SubmitIntents that answers what an order number's prefix asks for."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import fake_envelopes as made
import grpc
from fabric_fake_peer import FakePeer, Refusal
from fabric_protos.gateway import gateway_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from fabric_protos.peer import chaincode_pb2, proposal_pb2, proposal_response_pb2

from clearline import intents, records, refunds, times
from clearline.codes import Code, Outcome
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from clearline.intents import CloseIntent, PaymentKey
from clearline.records import Payment
from clearline.refunds import Refund, RefundIntent, RefundKey, refund_key

T = TypeVar("T")
SCRIPTED = "code-"  # an order number code-<outcome code>.<anything> ends so


class LedgerPeer(FakePeer):
    """Puts payment records, and whatever records a test writes itself."""

    async def _endorse(self, request: Any, context: Any) -> Any:
        if self.script.down:
            await Refusal(grpc.StatusCode.UNAVAILABLE).raise_in(context)
        proposal = proposal_pb2.Proposal.FromString(request.proposed_transaction.proposal_bytes)
        function, argument = made.args(request.proposed_transaction.proposal_bytes)
        items = json.loads(argument)
        if any(_explodes(item) for item in items):
            said = ("chaincode response 500, it exploded",)
            await Refusal(grpc.StatusCode.ABORTED, "failed to endorse", said).raise_in(context)
        self.endorsed.append([function.decode()] * len(items))
        action = self._put(items, request.transaction_id)
        return gateway_pb2.EndorseResponse(prepared_transaction=made.prepare(proposal, action))

    def _put(self, items: list[Any], tx_id: str) -> Any:
        overlay: dict[str, str] = {}
        kv, outcomes = kv_rwset_pb2.KVRWSet(), []
        for item in items:
            if "key" in item:
                overlay[item["key"]] = item["value"]
                outcomes.append(Outcome(Code.OK).to_json())
                continue
            outcomes.append(self._intent(item, tx_id, overlay, kv).to_json())
        for key, value in overlay.items():
            kv.writes.add(key=key, value=value.encode())
        rwset = rwset_pb2.NsReadWriteSet(namespace=made.CHAINCODE, rwset=kv.SerializeToString())
        return proposal_pb2.ChaincodeAction(
            results=rwset_pb2.TxReadWriteSet(ns_rwset=[rwset]).SerializeToString(),
            response=proposal_response_pb2.Response(
                status=200, payload=json.dumps(outcomes).encode()
            ),
            chaincode_id=chaincode_pb2.ChaincodeID(name=made.CHAINCODE),
        )

    def _intent(self, item: Any, tx_id: str, overlay: dict[str, str], kv: Any) -> Outcome:
        intent = refunds.parse_any(item["intent"]).intent
        if intent.order_no.startswith(SCRIPTED):
            code = intent.order_no.removeprefix(SCRIPTED).partition(".")[0]
            return Outcome(Code(code), intent.key, detail="scripted")
        if isinstance(intent, RefundIntent):
            return self._refund(item["intent"], intent, tx_id, overlay)
        name = records.payment_key(intent.key)
        held = self.state.get(name)
        read = kv.reads.add(key=name)
        if held is not None:
            read.version.block_num, read.version.tx_num = held[0]
        current = overlay.get(name, held[1] if held else None)
        if isinstance(intent, CloseIntent):
            return _close(item["intent"], intent.key, tx_id, current, overlay)
        if current is not None:
            before = records.load(Payment, current.encode())
            same = before.intent_digest == intent.digest()
            return Outcome(Code.DUPLICATE if same else Code.CONFLICT, intent.key, before.status)
        if intent.expires_at <= times.now():
            return Outcome(Code.EXPIRED, intent.key, detail="scripted")
        payment = Payment(
            merchant_id=intent.merchant_id,
            order_no=intent.order_no,
            attempt=intent.attempt,
            status="requested",
            acquirer_id=item["acquirer_id"],
            merchant_code="898310148990001",
            amount=intent.amount,
            currency=intent.currency,
            intent=item["intent"],
            intent_digest=intent.digest(),
            expires_at=intent.expires_at,
            msp_id="BankOne",
            requested_at=intent.created,
            txs=[tx_id],
        )
        overlay[name] = records.dump(payment).decode()
        return Outcome(Code.OK, intent.key, "requested", tx_id=tx_id)

    def _refund(
        self, compact: str, intent: RefundIntent, tx_id: str, overlay: dict[str, str]
    ) -> Outcome:
        """As the contract, in small: see chaincode/contract/refunds.py."""
        name = refund_key(intent.key)
        held = self.state.get(name)
        current = overlay.get(name, held[1] if held else None)
        if current is not None:
            before = records.load(Refund, current.encode())
            same = before.intent_digest == intent.digest()
            return Outcome(Code.DUPLICATE if same else Code.CONFLICT, intent.key, before.status)
        paid = self.state.get(records.payment_key(intent.key.payment))
        if paid is None:
            return Outcome(Code.PAYMENT_UNKNOWN, intent.key, detail="no such payment")
        payment = records.load(Payment, paid[1].encode())
        if payment.status != "succeeded":
            return Outcome(Code.NOT_REFUNDABLE, intent.key, detail=f"it is {payment.status}")
        refund = Refund(
            *intent.key, "requested", payment.acquirer_id, payment.merchant_code, intent.amount,
            intent.currency, compact, intent.digest(), intent.expires_at, "BankOne",
            intent.created, txs=[tx_id],
        )  # fmt: skip
        overlay[name] = records.dump(refund).decode()
        return Outcome(Code.OK, intent.key, "requested", tx_id=tx_id)


def _close(
    compact: str, key: PaymentKey, tx_id: str, current: str | None, overlay: dict[str, str]
) -> Outcome:
    """As the contract: see chaincode/contract/intents.py."""
    if current is None:
        return Outcome(Code.PAYMENT_UNKNOWN, key, detail="no such payment")
    payment = records.load(Payment, current.encode())
    if payment.close:
        return Outcome(Code.DUPLICATE, key, payment.status, tx_id=payment.close_tx)
    if payment.final:
        return Outcome(Code.ALREADY_FINAL, key, payment.status, f"it is {payment.status}")
    closing = replace(payment, close=compact, close_tx=tx_id, txs=[*payment.txs, tx_id])
    overlay[records.payment_key(key)] = records.dump(closing).decode()
    return Outcome(Code.OK, key, payment.status, tx_id=tx_id)


def _explodes(item: Any) -> bool:
    return "intent" in item and refunds.parse_any(item["intent"]).intent.order_no == "explode"


class Ledger:
    """A LedgerPeer and an event loop in a thread; methods are for the test's thread."""

    def __init__(self, certificate: Path, private_key: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="ledger", daemon=True)
        self._thread.start()
        self.peer = self.run(_new_peer(certificate.read_bytes(), private_key.read_bytes()))
        self._profile: Profile | None = None

    def run(self, coroutine: Coroutine[Any, Any, T], seconds: float = 20.0) -> T:
        """Run something in the ledger's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds)

    def use(self, profile: Profile) -> None:
        """Connect as this client for what tests write themselves."""
        self._profile = profile

    def write(self, key: str, value: bytes, function: str = "Write") -> int:
        """Write one key in a transaction of its own; the number of its block."""
        return self.run(self._write(key, value.decode(), function))

    def _payment(self, key: intents.PaymentKey) -> Payment:
        return records.load(Payment, self.peer.state[records.payment_key(key)][1].encode())

    def finish(self, key: intents.PaymentKey, status: str = "succeeded") -> int:
        """Give a payment its final status, as a connector's report would."""
        payment = replace(self._payment(key), status=status, reason="approved", result="a.b.c")
        return self.write(records.payment_key(key), records.dump(payment))

    def finish_refund(self, key: RefundKey, status: str = "succeeded") -> int:
        """Give a refund its final status, as a connector's report would."""
        refund = records.load(Refund, self.peer.state[refund_key(key)][1].encode())
        ended = replace(
            refund, status=status, reason="approved", result="a.b.c", clearing_date="2026-11-23"
        )
        return self.write(refund_key(key), records.dump(ended))

    def holds(self, key: intents.PaymentKey) -> bool:
        """Whether the payment is on the ledger."""
        return records.payment_key(key) in self.peer.state

    def down(self) -> None:
        """Refuse endorsements, submits and commit statuses until `up`."""
        self._script(lambda: setattr(self.peer.script, "down", True))

    def up(self) -> None:
        """Take them again."""
        self._script(lambda: setattr(self.peer.script, "down", False))

    def close(self) -> None:
        """Stop peer, loop and thread."""
        self.run(self.peer.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def _script(self, change: Callable[[], None]) -> None:
        async def apply() -> None:
            change()

        self.run(apply())

    async def _write(self, key: str, value: str, function: str) -> int:
        assert self._profile is not None
        async with Gateway.connect(self._profile) as gateway:
            contract = gateway.network(made.CHANNEL).contract(made.CHAINCODE)
            items = json.dumps([{"key": key, "value": value}])
            transaction = await contract.new_proposal(function, (items,)).endorse()
            status = await (await transaction.submit()).status()
            assert status.successful
            return status.block_number


async def _new_peer(certificate: bytes, private_key: bytes) -> LedgerPeer:
    peer = LedgerPeer()
    peer.use_tls(grpc.ssl_server_credentials([(private_key, certificate)]))
    await peer.start()
    return peer
