"""The payment contract behind the shim, over a real socket: round trips, roles, reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import contract_world as w
import pytest
from chaincode_tls import Authority
from contract_world import NOW, Ledger, intent_item, proposal, registered, report_item, requested
from fake_peer import Answer, FakePeer, serialized_identity
from samples import INTENT
from shim_world import House, house, run

from chaincode.adapter import PaymentChaincode
from clearline import canonical

CARD = "4111111111111111"


class Bench:
    """A peer with the contract behind it and an identity for each role."""

    def __init__(self, here: House, peer: FakePeer) -> None:
        self._here = here
        self.peer = peer

    async def call(
        self, name: str, argument: Any, role: str = "gateway", msp_id: str = "BankOne"
    ) -> Answer:
        leaf = self._here.authority.leaf(f"{role}@{msp_id}", {"attrs": {"clearline.role": role}})
        creator = serialized_identity(msp_id, leaf.certificate)
        raw = argument if isinstance(argument, bytes) else canonical.dumps(argument)
        return await self.peer.invoke([name.encode(), raw], creator, timestamp=NOW)

    async def commit(
        self, name: str, argument: Any, role: str, msp_id: str = "BankOne"
    ) -> list[str]:
        """Call, take the writes into the state, and answer the codes."""
        answer = await self.call(name, argument, role, msp_id)
        assert (answer.status, answer.message) == (200, "")
        for kind, key, value in answer.writes:
            assert kind == "PUT_STATE"
            self.peer.state[key] = value
        return [outcome["code"] for outcome in json.loads(answer.payload)]


def bench(authority: Authority, folder: Path, test: Any, ledger: Ledger | None = None) -> None:
    async def whole() -> None:
        contract = PaymentChaincode(w.NETWORK)
        async with house(authority, folder, contract, clock=lambda: NOW) as here:
            peer = await here.peer()
            peer.state.update((ledger or Ledger()).state)
            await test(Bench(here, peer))

    run(whole())


def test_a_payment_transaction_takes_two_round_trips(authority: Authority, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        items = [intent_item(order_no=f"o-{number}") for number in range(100)]
        answer = await bench.call("SubmitIntents", items)
        assert answer.requests == ["GET_STATE_MULTIPLE", "WRITE_BATCH_STATE"]
        assert len(answer.writes) == 100
        outcomes = json.loads(answer.payload)
        assert [outcome["code"] for outcome in outcomes] == ["ok"] * 100
        assert answer.event is not None
        name, payload = answer.event
        assert name == "payments.v1"
        assert json.loads(payload)[99] == ["payment", "M-0001", "o-99", 1, "requested"]

    bench(authority, tmp_path, test, registered())


def test_the_whole_way(authority: Authority, tmp_path: Path) -> None:
    """Registration by maker and checker in one list each, then a payment to its end."""

    async def test(bench: Bench) -> None:
        proposals = [
            proposal("p1", "entity", **w.entity()),
            proposal("p2", "account", **w.account()),
            proposal("p3", "acquirer", **w.acquirer()),
            proposal("p4", "merchant", **w.merchant()),
        ]
        assert await bench.commit("ProposeRecords", proposals, "bank-maker") == ["ok"] * 4
        verdicts = [w.verdict(item["proposal_id"]) for item in proposals]
        assert await bench.commit("DecideRecords", verdicts, "bank-checker") == ["ok"] * 4
        assert await bench.commit("SubmitIntents", [intent_item()], "gateway", "BankTwo") == ["ok"]
        assert await bench.commit("SubmitReports", [report_item()], "connector") == ["ok"]
        again = await bench.call("SubmitReports", [report_item()], "connector")
        assert json.loads(again.payload)[0]["code"] == "duplicate"
        assert (again.writes, again.event) == ([], None)
        answer = await bench.call("GetPayments", [list(INTENT.key)], "auditor", "Supervisor")
        (payment,) = json.loads(answer.payload)
        assert (payment["status"], payment["reason"]) == ("succeeded", "approved")
        assert payment["result"] == report_item()

    bench(authority, tmp_path, test)


def test_one_person_cannot_be_maker_and_checker(authority: Authority, tmp_path: Path) -> None:
    """The same subject with another role in a new certificate is still the same person."""

    async def test(bench: Bench) -> None:
        async def act(name: str, argument: Any, role: str) -> list[str]:
            leaf = authority.leaf("somebody@BankOne", {"attrs": {"clearline.role": role}})
            creator = serialized_identity("BankOne", leaf.certificate)
            args = [name.encode(), canonical.dumps(argument)]
            answer = await bench.peer.invoke(args, creator, timestamp=NOW)
            bench.peer.state.update((key, value) for _, key, value in answer.writes)
            return [outcome["code"] for outcome in json.loads(answer.payload)]

        made = [proposal("p", "entity", **w.entity())]
        assert await act("ProposeRecords", made, "bank-maker") == ["ok"]
        assert await act("DecideRecords", [w.verdict("p")], "bank-checker") == ["same_person"]

    bench(authority, tmp_path, test)


@pytest.mark.parametrize(
    ("name", "argument", "role", "status", "code"),
    [
        ("Steal", [], "gateway", 400, "function_unknown"),
        ("SubmitIntents", [1], "connector", 403, "role_forbidden"),
        ("SubmitIntents", [1], "", 403, "role_forbidden"),
        ("SubmitIntents", {}, "gateway", 400, "malformed"),
        ("SubmitIntents", b"\xff", "gateway", 400, "malformed"),
        ("SubmitIntents", [1] * 501, "gateway", 400, "batch_too_large"),
        ("GetPayments", [[CARD]], "auditor", 400, "malformed"),
        (CARD, [], "auditor", 400, "function_unknown"),
        ("ListPayments", {CARD: 1}, "auditor", 400, "malformed"),
    ],
)
def test_refused_calls(
    authority: Authority,
    tmp_path: Path,
    name: str,
    argument: Any,
    role: str,
    status: int,
    code: str,
) -> None:
    async def test(bench: Bench) -> None:
        answer = await bench.call(name, argument, role)
        assert answer.status == status
        assert answer.message.startswith(f"{code}: ")
        assert CARD not in answer.message
        assert (answer.writes, answer.event, answer.requests) == ([], None, [])

    bench(authority, tmp_path, test)


def test_too_few_arguments(authority: Authority, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        leaf = authority.leaf("g", {"attrs": {"clearline.role": "gateway"}})
        creator = serialized_identity("BankOne", leaf.certificate)
        for args in ([], [b"SubmitIntents"], [b"SubmitIntents", b"[]", b"x"]):
            answer = await bench.peer.invoke(args, creator, timestamp=NOW)
            assert (answer.status, answer.message[:11]) == (400, "malformed: ")

    bench(authority, tmp_path, test)


def test_no_card_number_comes_back(authority: Authority, tmp_path: Path) -> None:
    """Whatever a sender writes where, the call is refused whole, before anything is read: it is
    not endorsed, so its arguments never reach a block. The answer names the item and no more."""

    async def test(bench: Bench) -> None:
        items: Sequence[Any] = [
            {CARD: 1},
            {"intent": CARD, "acquirer_id": "unionpay"},
            {"intent": "a.b.c", "acquirer_id": CARD},
            intent_item() | {CARD: CARD},
            intent_item(order_no=CARD),
        ]
        for item in items:
            answer = await bench.call("SubmitIntents", [intent_item(), item])
            assert answer.status == 400
            assert answer.message.startswith("card_data_refused: item 1: ")
            assert (answer.payload, answer.requests, answer.writes) == (b"", [], [])
            assert CARD not in answer.message

    bench(authority, tmp_path, test, registered())


def many_payments(count: int) -> Ledger:
    ledger = registered()
    items = [intent_item(order_no=f"o-{number:03d}") for number in range(count)]
    assert ledger.codes("SubmitIntents", items) == ["ok"] * count
    return ledger


def test_list_payments_page_by_page(authority: Authority, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.peer.state["payment/M-00010/o-000/0001"] = b"another merchant's"
        after: list[Any] | None = None
        seen: list[str] = []
        while True:
            query = {"merchant_id": "M-0001", "start_after": after, "limit": 7}
            answer = await bench.call("ListPayments", query, "supervisor", "Supervisor")
            page = json.loads(answer.payload)
            assert len(page) <= 7
            seen += [payment["order_no"] for payment in page]
            if len(page) < 7:
                break
            after = [page[-1]["order_no"], page[-1]["attempt"]]
        assert seen == [f"o-{number:03d}" for number in range(30)]
        answer = await bench.call(
            "ListPayments", {"merchant_id": "none", "start_after": None, "limit": 200}, "gateway"
        )
        assert answer.payload == b"[]"

    bench(authority, tmp_path, test, many_payments(30))


def test_list_proposals(authority: Authority, tmp_path: Path) -> None:
    ledger = registered()
    more = [proposal(f"p1-{number}", "entity", **w.entity(f"X{number}")) for number in range(5)]
    assert ledger.codes("ProposeRecords", more) == ["ok"] * 5
    assert ledger.codes("DecideRecords", [w.verdict("p1-2", "reject")]) == ["ok"]

    async def test(bench: Bench) -> None:
        async def listed(status: str | None, after: str | None, limit: int) -> list[str]:
            query = {"status": status, "start_after": after, "limit": limit}
            answer = await bench.call("ListProposals", query, "bank-checker")
            return [entry["proposal_id"] for entry in json.loads(answer.payload)]

        everything = ["p1", *(f"p1-{number}" for number in range(5)), "p2", "p3", "p4"]
        assert await listed(None, None, 200) == everything
        assert await listed("proposed", None, 200) == ["p1-0", "p1-1", "p1-3", "p1-4"]
        assert await listed("proposed", "p1-1", 1) == ["p1-3"]
        assert await listed(None, "p1", 2) == ["p1-0", "p1-1"]
        assert await listed("rejected", None, 1) == ["p1-2"]
        assert await listed("approved", "p4", 1) == []

    bench(authority, tmp_path, test, ledger)


def test_get_records(authority: Authority, tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        asked = [
            ["merchant", "M-0001"],
            ["merchant", "none"],
            ["merchant_code", f"unionpay/{w.CODE}"],
            ["proposal", "p1"],
            ["account", w.ACCOUNT],
            ["payment", "M-0001/20261123-0001/0001"],
        ]
        answer = await bench.call("GetRecords", asked, "connector")
        found = json.loads(answer.payload)
        assert [record and record["type"] for record in found] == [
            "merchant",
            None,
            "merchant_code",
            "proposal",
            "account",
            "payment",
        ]
        assert canonical.dumps(found) == answer.payload

    bench(authority, tmp_path, test, requested())


def test_conflicting_calls_at_once_see_only_the_ledger(
    authority: Authority, tmp_path: Path
) -> None:
    """Two transactions of one payment both pass here: that they read what they write is what
    lets the peers' version check take one only."""

    async def test(bench: Bench) -> None:
        first, second = await asyncio.gather(
            bench.call("SubmitIntents", [intent_item()]),
            bench.call("SubmitIntents", [intent_item(amount=1)]),
        )
        for answer in (first, second):
            assert answer.requests == ["GET_STATE_MULTIPLE", "WRITE_BATCH_STATE"]
            assert json.loads(answer.payload)[0]["code"] == "ok"

    bench(authority, tmp_path, test, registered())


def test_the_contract_uses_the_transactions_time(authority: Authority, tmp_path: Path) -> None:
    late = intent_item(expires_at="2026-11-23T08:00:31.000Z")

    async def test(bench: Bench) -> None:
        leaf = authority.leaf("g", {"attrs": {"clearline.role": "gateway"}})
        creator = serialized_identity("BankOne", leaf.certificate)
        args = [b"SubmitIntents", canonical.dumps([late])]
        for seconds, code in ((0, "ok"), (1, "expired")):
            answer = await bench.peer.invoke(
                args, creator, timestamp=NOW + timedelta(seconds=seconds)
            )
            assert json.loads(answer.payload)[0]["code"] == code

    bench(authority, tmp_path, test, registered())
