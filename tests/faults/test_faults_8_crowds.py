"""The same, and almost the same, many times at once: one payment, and a clear answer to each."""

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import orjson
import requests
from fault_load import Till
from faulty_house import FaultyHouse

from clearline.fabric.errors import SubmitError
from clearline.fabric.events import Start
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from clearline.house.layout import House
from clearline.intents import PayIntent
from connector.ledger import find_tip

POSTS = 100
BAD = 77


def post_at_once(faulty: FaultyHouse, compacts: Sequence[str]) -> list[requests.Response]:
    """Each compact in a thread of its own, to the gateways in turn; all begin together."""
    start = threading.Barrier(len(compacts))

    def post(number: int) -> requests.Response:
        start.wait(30)
        return faulty.post(number % len(faulty.house.gateways), compacts[number])

    with ThreadPoolExecutor(len(compacts)) as pool:
        return list(pool.map(post, range(len(compacts))))


def test_one_order_is_posted_a_hundred_times(faulty: FaultyHouse) -> None:
    with Till.opened(faulty.house.merchant_dir) as till:
        numbers = till.add("crowd", [("unionpay", "tok_approve")])
        intent = till.intent(numbers[0])
        compact = till.sign(intent)
        answers = post_at_once(faulty, [compact] * POSTS)
        assert {answer.status_code for answer in answers} <= {200, 201, 202}, answers[0].text
        digests = {answer.json()["intent_digest"] for answer in answers}
        assert digests == {intent.digest()}
        assert not till.finish(numbers).open
        assert till.statuses(numbers) == ["paid"]
        more = post_at_once(faulty, [compact] * 4)
    # Afterwards each is told the first one's answer, and how it stands now.
    assert {answer.status_code for answer in more} == {200}
    assert {answer.json()["status"] for answer in more} == {"succeeded"}
    assert {answer.json()["intent_digest"] for answer in more} == digests


def test_one_key_with_a_hundred_amounts(faulty: FaultyHouse) -> None:
    """One is taken, wherever it came; the others are conflicts."""
    with Till.opened(faulty.house.merchant_dir) as till:
        numbers = till.add("quarrel", [("unionpay", "tok_approve")])
        first = till.intent(numbers[0])
        wanted = [replace(first, amount=1000 + number) for number in range(POSTS)]
        compacts = [till.compact(intent) for intent in wanted]
        answers = post_at_once(faulty, compacts)
        said = Counter(answer.status_code for answer in answers)
        taken = [answer for answer in answers if answer.status_code != 422]
        assert len(taken) == 1, said
        assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {
            "conflict"
        }
        winner = answers.index(taken[0])
        assert taken[0].json()["amount"] == wanted[winner].amount
        till.keep(wanted[winner], compacts[winner])
        assert not till.finish(numbers).open
        assert till.statuses(numbers) == ["paid"]


def test_one_bad_item_in_two_hundred(faulty: FaultyHouse) -> None:
    with Till.opened(faulty.house.merchant_dir) as till:
        numbers = till.add("batch", [("unionpay", "tok_approve")] * 200)
        compacts = [till.sign(till.intent(number)) for number in numbers]
        compacts[BAD] = _altered(compacts[BAD])
        document = orjson.dumps({"intents": compacts})
        json = {"Content-Type": "application/json"}
        answer = faulty.ask(0, "POST", "/batch", data=document, headers=json)
        outcomes = answer.json()["outcomes"]
        refused = [number for number, one in enumerate(outcomes) if one["status"] >= 400]
        assert refused == [BAD]
        assert outcomes[BAD]["code"] == "signature_invalid"
        assert not till.finish(numbers).open  # the bad one too, as it was signed
        assert set(till.statuses(numbers)) <= {"paid", "closed"}  # a crowd may time out


def _altered(compact: str) -> str:
    """Its signature is another's."""
    head, _, signature = compact.rpartition(".")
    return f"{head}.{signature[:20]}{'A' if signature[20] != 'A' else 'B'}{signature[21:]}"


def test_one_envelope_is_submitted_five_times(faulty: FaultyHouse) -> None:
    """The same bytes, to two organisations' peers: one VALID, every other copy does nothing."""
    house = faulty.house
    with Till.opened(house.merchant_dir) as till:
        numbers = till.add("copies", [("unionpay", "tok_approve")])
        intent = till.intent(numbers[0])
        compact = till.sign(intent)
        codes = asyncio.run(_submit_copies(house, intent, compact, 5))
        assert codes["VALID"] == 1
        assert set(codes) <= {"VALID", "DUPLICATE_TXID"}
        assert not till.finish(numbers).open
        assert till.statuses(numbers) == ["paid"]


async def _submit_copies(house: House, intent: PayIntent, compact: str, count: int) -> Counter[str]:
    """The validation codes under its id in all blocks."""
    profile = Profile.load(house.profile("BankOne", "gateway"))
    payload = orjson.dumps(
        [{"intent": compact, "acquirer_id": intent.acquirers[0].acquirer_id}]
    ).decode()
    async with Gateway.connect(profile) as gateway:
        network = gateway.network(profile.channel)
        contract = network.contract(profile.chaincode)
        transaction = await contract.new_proposal("SubmitIntents", (payload,)).endorse()
        transaction.sign()
        copies = [contract.new_transaction(transaction.to_bytes()) for _ in range(count)]
        results = await asyncio.gather(*(copy.submit() for copy in copies), return_exceptions=True)
        assert all(not isinstance(one, Exception) or isinstance(one, SubmitError)
                   for one in results), results  # fmt: skip
        status = await transaction.new_commit().status(deadline=20)
        # Once more, when it is in a block: refused at the door, or DUPLICATE_TXID in a later block.
        await asyncio.gather(copies[0].submit(), return_exceptions=True)
        codes: Counter[str] = Counter()
        tip = await find_tip(network)
        assert tip >= status.block_number
        async for block in network.block_events(Start(block=0, stop=tip)):
            codes.update(
                item.code_name for item in block.transactions
                if item.tx_id == transaction.transaction_id
            )  # fmt: skip
        return codes
