"""The ledger's state as a chaincode sees it: ranges, pages, composite keys, history, deletes."""

from __future__ import annotations

import json

from behaviours import behaviour
from conformance_world import VALID, Stack
from grpc import StatusCode

STATE = "State"
RANGES = "Ranges and pages"
PHANTOM_READ_CONFLICT = 12


@behaviour(
    STATE, "A deleted key reads as none", "core/ledger/kvledger/txmgmt/txmgr/tx_simulator.go"
)
def test_delete(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("put", "deleted", "1")
    caller.commit("delete", "deleted")
    assert caller.evaluate("get", "deleted") == b""
    caller.commit("delete", "never there")


@behaviour(
    STATE,
    "Writing an empty value deletes the key",
    "core/ledger/kvledger/txmgmt/rwsetutil/rwset_builder.go",
    stacks=("node", "go"),
    note="Our shim refuses to write an empty value, because it would be a delete.",
)
def test_empty_value_is_a_delete(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("put", "emptied", "1")
    caller.commit("put", "emptied", "")
    assert caller.evaluate("get", "emptied") == b""
    assert json.loads(caller.evaluate("range", "emptied", "emptiee")) == []
    assert [entry[2] for entry in json.loads(caller.evaluate("history", "emptied"))] == [
        True,
        False,
    ]


@behaviour(
    STATE,
    "History of a key: newest first, each with its transaction id, deletes included, "
    "invalid transactions left out",
    "core/ledger/kvledger/history/query_executer.go",
)
def test_history(stack: Stack) -> None:
    caller = stack.caller()
    first = caller.commit("put", "told", "1")
    loser = caller.endorse("add", "told", "5")
    second = caller.commit("add", "told", "1")
    assert caller.order(loser).code != VALID
    third = caller.commit("delete", "told")
    assert json.loads(caller.evaluate("history", "told")) == [
        [third.tx_id, "", True],
        [second.tx_id, "2", False],
        [first.tx_id, "1", False],
    ]
    assert json.loads(caller.evaluate("history", "untold")) == []


@behaviour(
    STATE,
    "Several keys read in one message, several written in one message",
    "core/chaincode/handler.go",
    stacks=("python", "go"),
    note="The Node shim has no such calls.",
)
def test_batches(stack: Stack) -> None:
    caller = stack.caller()
    names = [f"batch{index:03}" for index in range(250)]
    caller.commit("putBatch", *names)
    asked = [*names, "absent"]
    assert json.loads(caller.evaluate("getMany", *asked)) == [*names, ""]


@behaviour(
    STATE,
    "A rich query is refused: the state database has none",
    "core/ledger/kvledger/txmgmt/statedb/stateleveldb/stateleveldb.go",
    stacks=("node", "go"),
    note="Our shim has no rich queries.",
)
def test_rich_query(stack: Stack) -> None:
    error = stack.caller().refused("evaluate", "richQuery")
    assert error.grpc == StatusCode.UNKNOWN.value[0]
    assert "chaincode response 500" in error.message
    assert "not supported" in error.message


@behaviour(
    RANGES,
    "A range: keys in order, from the start, before the end, either side open",
    "core/ledger/kvledger/txmgmt/txmgr/tx_simulator.go",
)
def test_range(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("fill", "range/", "5")
    full = [[f"range/{index:04}", f"{index:04}"] for index in range(5)]
    assert json.loads(caller.evaluate("range", "range/", "range0")) == full
    assert json.loads(caller.evaluate("range", "range/0001", "range/0003")) == full[1:3]
    assert json.loads(caller.evaluate("range", "range/0003", "range/0001")) == []
    everything = [key for key, _ in json.loads(caller.evaluate("range", "", ""))]
    assert everything == sorted(everything)
    assert "range/0004" in everything


@behaviour(
    RANGES,
    "A range of 250 keys comes in several messages, complete and in order",
    "core/chaincode/query_response_generator.go",
)
def test_range_of_more_than_a_message(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("fill", "many/", "250")
    found = json.loads(caller.evaluate("range", "many/", "many0"))
    assert found == [[f"many/{index:04}", f"{index:04}"] for index in range(250)]


@behaviour(
    RANGES,
    "A key that appears in a range read earlier: PHANTOM_READ_CONFLICT, in short and long ranges",
    "core/ledger/kvledger/txmgmt/validation/rangequery_validator.go",
)
def test_phantoms(stack: Stack) -> None:
    caller = stack.caller()
    for prefix, count in (("few", 3), ("lots", 120)):
        caller.commit("fill", f"{prefix}/", str(count))
        transaction = caller.endorse("countInto", f"{prefix}/", f"{prefix}0", f"{prefix} counted")
        caller.commit("put", f"{prefix}/0001x", "phantom")
        assert caller.order(transaction).code == PHANTOM_READ_CONFLICT
        done = caller.commit("countInto", f"{prefix}/", f"{prefix}0", f"{prefix} counted")
        assert done.result == str(count + 1).encode()
        assert caller.evaluate("get", f"{prefix} counted") == done.result


@behaviour(
    RANGES,
    "Pages: each begins at the bookmark of the one before, the last has no bookmark",
    "core/ledger/kvledger/txmgmt/txmgr/query_executor.go",
)
def test_pages(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("fill", "page/", "7")
    found, bookmark, sizes = [], "", []
    while True:
        page = json.loads(caller.evaluate("page", "page/", "page0", "3", bookmark))
        found += page["items"]
        sizes.append(len(page["items"]))
        bookmark = page["bookmark"]
        if not bookmark:
            break
        assert bookmark == f"page/{len(found):04}"
    assert found == [f"page/{index:04}" for index in range(7)]
    assert sizes == [3, 3, 1]


@behaviour(
    RANGES,
    "A page larger than one message, and a page that ends with the range",
    "core/chaincode/query_response_generator.go",
)
def test_large_pages(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("fill", "wide/", "150")
    page = json.loads(caller.evaluate("page", "wide/", "wide0", "120", ""))
    assert page["items"] == [f"wide/{index:04}" for index in range(120)]
    assert page["bookmark"] == "wide/0120"
    page = json.loads(caller.evaluate("page", "wide/", "wide0", "30", "wide/0120"))
    assert page == {"items": [f"wide/{index:04}" for index in range(120, 150)], "bookmark": ""}


@behaviour(
    RANGES,
    "A write in a transaction that paged is refused",
    "core/ledger/kvledger/txmgmt/txmgr/tx_simulator.go",
)
def test_write_after_a_page(stack: Stack) -> None:
    caller = stack.caller()
    error = caller.refused("endorse", "pageThenPut", "", "", "paged")
    assert error.grpc == StatusCode.ABORTED.value[0]
    assert len(error.details) == 1
    said = error.details[0]["message"]
    assert "Transaction has already performed a paginated query" in said


@behaviour(
    RANGES,
    "Composite keys: found by their first parts, and in no range of simple keys",
    "core/chaincode/handler.go",
)
def test_composite_keys(stack: Stack) -> None:
    caller = stack.caller()
    for parts in (["de", "1"], ["de", "2"], ["fr", "1"], ["d", "1"]):
        caller.commit("compositePut", "order", json.dumps(parts), "/".join(parts))
    caller.commit("compositePut", "orders", json.dumps(["de", "9"]), "another type")
    found = json.loads(caller.evaluate("compositeRange", "order", '["de"]'))
    assert found == [["order", ["de", "1"], "de/1"], ["order", ["de", "2"], "de/2"]]
    found = json.loads(caller.evaluate("compositeRange", "order", "[]"))
    assert [parts for _, parts, _ in found] == [["d", "1"], ["de", "1"], ["de", "2"], ["fr", "1"]]
    simple = json.loads(caller.evaluate("range", "", ""))
    assert not [key for key, _ in simple if "order" in key]
