"""The commit queue on a peer that fails in every way it can: nothing lost, nothing doubled."""

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from fabric_fake_peer import CHAINCODE, DUPLICATE_TXID, FakePeer, Refusal
from helpers_fabric import connect, run
from helpers_queue import LIMITS, item, opened, world

from clearline.fabric.errors import EndorseError, GrpcFailure, PeerError
from clearline.fabric.queue_batch import classify_endorse, parse_outcomes
from clearline.fabric.queue_items import ItemConflict, ItemRefused, QueueFull, QueueItem

STATUS = grpc.StatusCode


def test_many_items_one_transaction_each_its_outcome(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.put("k3", "other")
            peer.put("k4", "1")
            results = await asyncio.gather(*(queue.submit(item(f"k{n}")) for n in range(6)))
            codes = [result.outcome["code"] for result in results]
            assert codes == ["ok", "ok", "ok", "conflict", "duplicate", "ok"]
            assert [result.outcome["key"] for result in results] == [f"k{n}" for n in range(6)]
            assert len(peer.submitted) == 1
            assert {result.block_number for result in results} == {1}
            assert await queue.result("k0") == results[0]
            assert await queue.result("none") is None
            assert queue.depth() == 0

    run(scenario())


def test_what_writes_nothing_is_answered_without_ordering(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.put("a", "1")
            result = await queue.submit(item("a"))
            assert result.outcome["code"] == "duplicate"
            assert result.block_number is None
            assert peer.submitted == []
            assert await queue.result("a") == result

    run(scenario())


def test_limits_cut_batches(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, replace(LIMITS, max_items=3)) as (peer, queue):
            await asyncio.gather(*(queue.submit(item(f"k{n}")) for n in range(8)))
            assert sorted(len(keys) for keys in peer.endorsed) == [2, 3, 3]
        (tmp_path / "b").mkdir()
        size = len(item("k0").payload)
        async with world(tmp_path / "b", replace(LIMITS, max_bytes=2 * size)) as (peer, queue):
            await asyncio.gather(*(queue.submit(item(f"k{n}")) for n in range(5)))
            assert sorted(len(keys) for keys in peer.endorsed) == [1, 2, 2]

    run(scenario())


def test_while_slots_are_taken_the_rest_gathers(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, replace(LIMITS, in_flight=1)) as (peer, queue):
            gate = asyncio.Event()
            peer.script.endorse_wait = gate.wait
            first = asyncio.create_task(queue.submit(item("first")))
            await peer.until(lambda: bool(peer.requests))
            rest = [asyncio.create_task(queue.submit(item(f"k{n}"))) for n in range(20)]
            late = asyncio.create_task(queue.submit(item("result", priority=0)))
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(first, late, *rest)
            assert [len(keys) for keys in peer.endorsed] == [1, 21]
            assert peer.endorsed[1][0] == "result"

    run(scenario())


def test_while_a_batch_is_on_its_way_an_item_waits_for_company(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = replace(LIMITS, in_flight=4, linger_ms=0.0, busy_linger_ms=200.0)
        async with world(tmp_path, limits) as (peer, queue):
            gate = asyncio.Event()
            peer.script.endorse_wait = gate.wait
            tasks = [asyncio.create_task(queue.submit(item("first")))]
            await peer.until(lambda: bool(peer.requests))
            for name in ("k0", "k1"):
                tasks.append(asyncio.create_task(queue.submit(item(name))))
                for _ in range(50):  # turns of the loop, more than a lone batch needs to go
                    await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*tasks)
            assert [len(keys) for keys in peer.endorsed] == [1, 2]

    run(scenario())


def test_items_that_share_a_key_are_never_in_flight_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, replace(LIMITS, max_items=4)) as (peer, queue):
            items = [
                QueueItem(f"i{n}", "Put", json.dumps({"key": f"k{n % 5}", "value": str(n)}), keys)
                for n in range(40)
                for keys in [(f"k{n % 5}", f"k{(n + 1) % 5}")]
            ]
            results = await asyncio.gather(*(queue.submit(i) for i in items))
            assert peer.shared_keys == []
            assert all(len(set(keys)) == len(keys) for keys in peer.endorsed)
            # In the order they came: the first of each key is the one that is there.
            assert [r.outcome["code"] for r in results] == ["ok"] * 5 + ["conflict"] * 35

    run(scenario())


def test_the_same_id_joins_and_another_content_is_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            both = [asyncio.create_task(queue.submit(item("a"))) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(ItemConflict):
                await queue.submit(item("a", value="2"))
            one, two = await asyncio.gather(*both)
            assert one == two
            assert peer.endorsed == [["a"]]
            again = await queue.submit(item("a"))
            assert again.outcome["code"] == "duplicate"

    run(scenario())


def test_a_full_queue_says_so_but_keeps_room_for_results(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, replace(LIMITS, max_pending=3)) as (peer, queue):
            peer.script.down = True
            waiting = [asyncio.create_task(queue.submit(item(f"k{n}"))) for n in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                await queue.submit(item("k3"))
            with pytest.raises(QueueFull):
                await queue.accept(item("k3"))
            result = asyncio.create_task(queue.submit(item("r", priority=0)))
            joined = asyncio.create_task(queue.submit(item("k0")))
            await asyncio.sleep(0)
            assert queue.depth() == 4
            peer.script.down = False
            await asyncio.gather(*waiting, result, joined)
            await queue.submit(item("k3"))

    run(scenario())


@pytest.mark.parametrize("fault", ["lost_after", "lost_before", "swallow"])
def test_an_unknown_submit_is_resolved_with_identical_bytes(tmp_path: Path, fault: str) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.script.submit.append(fault)
            result = await queue.submit(item("a"))
            assert result.outcome["code"] == "ok"
            assert peer.applied == {"a": 1}
            assert len(peer.endorsed) == 1
            assert len(set(peer.submitted)) == 1
            assert len(peer.submitted) == (1 if fault == "lost_after" else 2)

    run(scenario())


def test_a_lost_commit_status_leads_to_the_same_bytes_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.script.status += ["hang", Refusal(STATUS.UNAVAILABLE)]
            result = await queue.submit(item("a"))
            assert (result.outcome["code"], result.block_number) == ("ok", 1)
            assert len(peer.submitted) == 3
            assert len(set(peer.submitted)) == 1
            assert peer.applied == {"a": 1}

    run(scenario())


def test_a_second_copy_does_not_hide_the_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.script.submit.append("twice")
            peer.script.status.append(DUPLICATE_TXID)
            result = await queue.submit(item("a"))
            assert (result.outcome["code"], result.block_number) == ("ok", 1)
            assert list(peer.blocks[1].metadata.metadata[2]) == [0, DUPLICATE_TXID]
            assert len(peer.endorsed) == 1

    run(scenario())


def test_a_faster_transaction_means_endorsing_the_items_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.script.before_commit.append(lambda: peer.put("b", "1"))
            results = await asyncio.gather(*(queue.submit(item(k)) for k in "abc"))
            assert [r.outcome["code"] for r in results] == ["ok", "duplicate", "ok"]
            assert peer.endorsed == [["a", "b", "c"], ["a", "b", "c"]]
            assert peer.applied == {"a": 1, "c": 1}

    run(scenario())


def test_past_the_bound_the_items_are_endorsed_anew(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, replace(LIMITS, resubmit_s=0.3)) as (peer, queue):
            peer.script.submit += ["swallow", "swallow"]
            result = await queue.submit(item("a"))
            assert result.outcome["code"] == "ok"
            assert len(peer.endorsed) == 2
            first, second, third = peer.submitted
            assert first == second != third
            assert peer.applied == {"a": 1}

    run(scenario())


def test_a_bad_item_is_singled_out_and_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            items = [item(f"k{n}", bad=True) if n == 5 else item(f"k{n}") for n in range(16)]
            results = await asyncio.gather(
                *(queue.submit(i) for i in items), return_exceptions=True
            )
            bad = results.pop(5)
            assert isinstance(bad, ItemRefused)
            assert "bad item" in bad.reason
            assert bad.outcome == "not_applied"
            assert not any(isinstance(r, BaseException) for r in results)
            assert peer.applied == {f"k{n}": 1 for n in range(16) if n != 5}
            with pytest.raises(ItemRefused):
                await queue.result("k5")
            assert queue.stats().refused_items == 1
            # 1 + 2 * log2(16) halves, and the second try of the one that stood alone.
            assert len(peer.endorsed) == 10

    run(scenario())


def test_an_item_that_the_contract_names_is_singled_out_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            cards = {3, 11}
            items = [item(f"k{n}", card=True) if n in cards else item(f"k{n}") for n in range(16)]
            results = await asyncio.gather(
                *(queue.submit(i) for i in items), return_exceptions=True
            )
            for place in sorted(cards, reverse=True):
                bad = results.pop(place)
                assert isinstance(bad, ItemRefused)
                assert "card_data_refused" in bad.reason
            assert not any(isinstance(r, BaseException) for r in results)
            # The batch; without the first named; without both; and each of the two alone, once.
            assert sorted(len(batch) for batch in peer.endorsed) == [1, 1, 14, 15, 16]

    run(scenario())


def test_one_owners_crowd_does_not_hold_up_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        limits = replace(LIMITS, in_flight=1, max_items=10, linger_ms=0.0)
        async with world(tmp_path, limits) as (peer, queue):
            crowd = [item(f"a{n}", owner="A") for n in range(100)]
            few = [item(f"b{n}", owner="B") for n in range(3)]
            await asyncio.gather(*(queue.submit(i) for i in (*crowd, *few)))
            place = {name: n for n, batch in enumerate(peer.endorsed) for name in batch}
            assert max(place[i.item_id] for i in few) <= 1
            assert max(place.values()) >= 10

    run(scenario())


def test_what_is_pending_is_listed_also_after_a_restart(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            assert queue.pending_ids() == ()
            peer.script.down = True
            for name in ("a", "b"):
                await queue.accept(item(name, owner="M"))
            assert queue.pending_ids() == ("a", "b")
            await queue.close()
            async with connect(peer.endpoint) as gateway:
                contract = gateway.network("payments").contract(CHAINCODE)
                async with opened(contract, tmp_path) as again:
                    assert again.pending_ids() == ("a", "b")
                    # The same work, by whoever it is brought now.
                    await again.accept(item("a", owner="another"))
                    peer.script.down = False
                    await again.drained()
                    assert again.pending_ids() == ()

    run(scenario())


def test_too_many_bytes_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, replace(LIMITS, max_pending_bytes=300)) as (peer, queue):
            peer.script.down = True
            first = asyncio.create_task(queue.submit(item("a", value="x" * 300)))
            await asyncio.sleep(0)
            with pytest.raises(QueueFull, match="bytes"):
                await queue.submit(item("b"))
            result = asyncio.create_task(queue.submit(item("c", priority=0)))
            await asyncio.sleep(0)
            assert not result.done()
            peer.script.down = False
            await asyncio.gather(first, result)
            await queue.submit(item("b"))

    run(scenario())


@pytest.mark.parametrize("disagreements", [1, 3, 4])
def test_endorsers_that_disagree_level_or_are_worked_around(
    tmp_path: Path, disagreements: int
) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            items = [item("a"), item("b", mismatch=disagreements), item("c"), item("d")]
            results = await asyncio.gather(*(queue.submit(i) for i in items))
            assert [r.outcome["code"] for r in results] == ["ok"] * 4
            assert (queue.stats().split_batches > 0) is (disagreements >= 3)
            assert peer.applied == {"a": 1, "b": 1, "c": 1, "d": 1}

    run(scenario())


def test_while_the_ledger_is_away_items_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.script.down = True
            waiting = [asyncio.create_task(queue.submit(item(f"k{n}"))) for n in range(10)]
            await peer.until(lambda: len(peer.requests) >= 3)
            assert queue.depth() == 10
            peer.script.down = False
            results = await asyncio.gather(*waiting)
            assert [r.outcome["code"] for r in results] == ["ok"] * 10

    run(scenario())


def test_a_peer_killed_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path, replace(LIMITS, max_items=5)) as (peer, queue):
            waiting = [asyncio.create_task(queue.submit(item(f"k{n}"))) for n in range(60)]
            for _ in range(3):
                target = min(len(peer.submitted) + 2, 12)
                await peer.until(lambda n=target: len(peer.submitted) >= n)
                await peer.stop()
                await peer.start()
            results = await asyncio.gather(*waiting)
            assert {str(r.outcome["code"]) for r in results} <= {"ok", "duplicate"}
            assert peer.applied == {f"k{n}": 1 for n in range(60)}
            assert peer.shared_keys == []

    run(scenario())


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        ("received unsuccessful response from orderer: status=BAD_REQUEST, info=too large", True),
        ("received unsuccessful response from orderer: status=FORBIDDEN, info=expired", False),
    ],
)
def test_what_the_orderer_refuses(tmp_path: Path, message: str, refused: bool) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (peer, queue):
            peer.script.submit += [Refusal(STATUS.ABORTED, message)] * 4
            results = await asyncio.gather(
                *(queue.submit(item(k)) for k in "ab"), return_exceptions=True
            )
            if refused:  # both together, each alone, the first again
                assert isinstance(results[0], ItemRefused)
                assert not isinstance(results[1], BaseException)
            else:
                assert not any(isinstance(r, BaseException) for r in results)

    run(scenario())


def test_a_contract_that_answers_nonsense_is_refused(tmp_path: Path) -> None:
    for payload, count in [(b"", 1), (b"{}", 1), (b"[1]", 1), (b'[{"a":1}]', 2), (b"[{}", 1)]:
        with pytest.raises(ValueError, match="contract"):
            parse_outcomes(payload, count)
    assert parse_outcomes(b'[{"a":1},{}]', 2) == ({"a": 1}, {})


@pytest.mark.parametrize(
    ("code", "message", "said", "kind"),
    [
        (STATUS.UNAVAILABLE, "connect", "", "unavailable"),
        (STATUS.DEADLINE_EXCEEDED, "", "", "unavailable"),
        (STATUS.FAILED_PRECONDITION, "no combination of peers", "", "unavailable"),
        (STATUS.RESOURCE_EXHAUSTED, "too many requests", "", "unavailable"),
        (STATUS.RESOURCE_EXHAUSTED, "Received message larger than max (9 vs. 8)", "", "refused"),
        (STATUS.INVALID_ARGUMENT, "proposal", "", "refused"),
        (STATUS.ABORTED, "failed", "chaincode response 500, oops", "refused"),
        (STATUS.ABORTED, "failed", "could not launch chaincode", "unavailable"),
        (STATUS.ABORTED, "failed", "x: timeout expired while executing transaction", "refused"),
        (STATUS.ABORTED, "failed", "ProposalResponsePayloads do not match", "mismatch"),
    ],
)
def test_whose_fault_a_failed_endorsement_is(
    code: grpc.StatusCode, message: str, said: str, kind: str
) -> None:
    details = (PeerError("p:1", "BankTwo", said),) if said else ()
    error = EndorseError("Endorse", "tx", "not_applied", GrpcFailure(code, message, details))
    assert classify_endorse(error) == kind


def test_text_that_is_no_unicode_is_refused_at_the_door(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as (_, queue):
            with pytest.raises(ValueError, match="surrogates"):
                await queue.submit(QueueItem("\ud800", "Put", "{}", ("a",)))
            assert queue.depth() == 0
            assert (await queue.submit(item("a"))).outcome["code"] == "ok"

    run(scenario())


def test_two_queues_on_the_same_keys_apply_each_once(tmp_path: Path) -> None:
    """Two gateways of one network carry the same intents."""

    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as one, connect(peer.endpoint) as two:
            contracts = [g.network("payments").contract(CHAINCODE) for g in (one, two)]
            limits = replace(LIMITS, max_items=7)
            async with (
                opened(contracts[0], tmp_path / "1", limits) as first,
                opened(contracts[1], tmp_path / "2", limits) as second,
            ):
                results = await asyncio.gather(
                    *(q.submit(item(f"k{n}")) for n in range(50) for q in (first, second))
                )
            codes = [r.outcome["code"] for r in results]
            assert (codes.count("ok"), codes.count("duplicate")) == (50, 50)
            assert peer.applied == {f"k{n}": 1 for n in range(50)}

    run(scenario())


def test_two_thousand_items_a_second(tmp_path: Path) -> None:
    async def scenario() -> float:
        limits = replace(LIMITS, max_items=100, commit_status_s=5)
        async with world(tmp_path, limits) as (peer, queue):
            began = time.monotonic()
            await asyncio.gather(*(queue.submit(item(f"k{n}")) for n in range(4000)))
            took = time.monotonic() - began
            assert len(peer.submitted) == 40
            return 4000 / took

    rate = run(scenario())
    # The fake peer shares this process and the machine may be busy: the bar is the bench's.
    assert rate > 1000, f"{rate:.0f} items/s"
