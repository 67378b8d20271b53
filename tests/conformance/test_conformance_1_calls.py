"""Calling a contract: evaluate, endorse, submit, commit status, offline signing."""

from __future__ import annotations

import base64
import json
import time

from behaviours import behaviour
from conformance_clients import ClientError, to_bytes, to_text
from conformance_world import CHANNEL, VALID, Committed, Stack
from fabric_protos.gateway import gateway_pb2
from grpc import StatusCode

CALLS = "Calls"
OFFLINE = "Offline signing"
DUPLICATE_TXID = 9
MVCC_READ_CONFLICT = 11
# The peer knows a call's deadline too: its cancelling may arrive before the client's own end.
DEADLINE = {StatusCode.DEADLINE_EXCEEDED.value[0], StatusCode.CANCELLED.value[0]}


def everywhere(stack: Stack, done: Committed) -> None:
    """Wait until the other organisations' peers have a transaction too: peers a block apart would
    read different versions of what it wrote, and not endorse the same."""
    for organization, user in (("BankTwo", "gateway"), ("Supervisor", "supervisor")):
        other = stack.caller(organization, user)
        request = other.commit_request(done.tx_id, stack.signer(organization, user).identity)
        status = other.status(request)
        assert (status["code"], status["block"]) == (VALID, done.block)


@behaviour(CALLS, "Evaluate answers what the chaincode answers", "internal/pkg/gateway/evaluate.go")
def test_evaluate_answers(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("put", "evaluate", "züri")
    assert caller.evaluate("get", "evaluate").decode() == "züri"
    assert stack.caller("BankTwo").evaluate("get", "nowhere") == b""


@behaviour(
    CALLS,
    "Chaincode sees channel, transaction id and arguments as sent",
    "core/endorser/msgvalidation.go",
)
def test_chaincode_sees_the_proposal(stack: Stack) -> None:
    caller = stack.caller()
    proposal = caller.propose("transaction", "", "a b", "\u0000")
    channel, tx_id, args = json.loads(caller.evaluate(bytes=proposal["bytes"]))
    assert (channel, tx_id) == (CHANNEL, proposal["tx_id"])
    assert [base64.b64decode(arg) for arg in args] == [b"transaction", b"", b"a b", b"\0"]


@behaviour(
    CALLS, "Chaincode sees the caller's MSP id and certificate attributes", "msp/identities.go"
)
def test_chaincode_sees_the_creator(stack: Stack) -> None:
    for organization, user, role in (
        ("BankOne", "gateway", "gateway"),
        ("BankTwo", "maker", "bank-maker"),
        ("Supervisor", "auditor", "auditor"),
    ):
        said = stack.caller(organization, user).evaluate("whoami")
        assert json.loads(said) == [organization, role]


@behaviour(CALLS, "Evaluate writes nothing to the ledger", "internal/pkg/gateway/evaluate.go")
def test_evaluate_writes_nothing(stack: Stack) -> None:
    caller = stack.caller()
    assert caller.evaluate("put", "evaluated", "x") == b"ok"
    caller.commit("put", "barrier", "x")
    assert caller.evaluate("get", "evaluated") == b""


@behaviour(
    CALLS,
    "Submit commits, and what was written is read afterwards",
    "internal/pkg/gateway/submit.go",
)
def test_submit_commits(stack: Stack) -> None:
    caller = stack.caller()
    assert caller.transact("put", "submitted", "1") == b"ok"
    assert caller.evaluate("get", "submitted") == b"1"


@behaviour(
    CALLS,
    "A transaction reads what was committed before it, not its own writes",
    "core/ledger/kvledger/txmgmt/txmgr/tx_simulator.go",
)
def test_no_read_your_own_writes(stack: Stack) -> None:
    caller = stack.caller()
    everywhere(stack, caller.commit("put", "own", "before"))
    assert caller.commit("putThenGet", "own", "after").result == b"before"
    assert caller.evaluate("get", "own") == b"after"


@behaviour(
    CALLS,
    "Commit status of a committed transaction: code VALID and its block, on any peer",
    "internal/pkg/gateway/commitstatus.go",
)
def test_status_of_a_committed_transaction(stack: Stack) -> None:
    everywhere(stack, stack.caller().commit("put", "known", "1"))


@behaviour(
    CALLS,
    "Commit status of an unknown id waits until the client's deadline",
    "internal/pkg/gateway/commit/finder.go",
)
def test_status_of_an_unknown_transaction_waits(stack: Stack) -> None:
    caller = stack.caller()
    request = caller.commit_request("ab" * 32, stack.signer().identity)
    error = caller.refused("status", bytes=request["bytes"], deadline=0.3)
    assert (error.type, error.tx_id) == ("CommitStatusError", "ab" * 32)
    assert error.grpc in DEADLINE, error


@behaviour(
    CALLS,
    "Commit status asked before the transaction is submitted answers when it commits",
    "internal/pkg/gateway/commit/finder.go",
)
def test_status_waits_for_the_commit(stack: Stack) -> None:
    caller = stack.caller()
    transaction = caller.endorse("put", "early", "1")
    request = caller.commit_request(transaction["tx_id"], stack.signer().identity)
    early = stack.client.start(
        "status", session=caller.session, bytes=request["bytes"], deadline=15.0
    )
    done = caller.order(transaction)
    assert early.result(15)["block"] == done.block


@behaviour(
    CALLS,
    "Commit status of an invalid transaction: MVCC_READ_CONFLICT and its block",
    "core/ledger/kvledger/txmgmt/validation/validator.go",
)
def test_status_of_a_conflicting_transaction(stack: Stack) -> None:
    caller = stack.caller()
    first, second = caller.endorse("add", "counter", "1"), caller.endorse("add", "counter", "1")
    assert caller.order(first).code == VALID
    done = caller.order(second)
    assert done.code == MVCC_READ_CONFLICT
    again = caller.status(caller.commit_request(done.tx_id, stack.signer().identity))
    assert (again["code"], again["block"]) == (MVCC_READ_CONFLICT, done.block)
    assert caller.evaluate("get", "counter") == b"1"


@behaviour(
    CALLS,
    "The client's own one-call submit raises its commit error for an invalid transaction",
    "core/ledger/kvledger/txmgmt/validation/validator.go",
)
def test_one_call_submit_raises_commit_error(stack: Stack) -> None:
    caller = stack.caller()
    valid, conflicts = 0, 0
    for _ in range(10):
        calls = [caller.start_transact("add", "contended", "1") for _ in range(8)]
        for call in calls:
            error = call.exception(30)
            if error is None:
                valid += 1
                continue
            assert isinstance(error, ClientError)
            if error.type == "CommitError":
                assert error.code == MVCC_READ_CONFLICT
                conflicts += 1
            else:  # peers of different heights read different values
                said = {item["message"] for item in error.details}
                assert said == {"ProposalResponsePayloads do not match"}, error
        if conflicts:
            break
    assert conflicts, "eighty increments of one key, eight at a time, can't all be valid"
    assert caller.evaluate("get", "contended") == str(valid).encode()


@behaviour(
    CALLS,
    "The same envelope twice: the first copy stays VALID, the second is DUPLICATE_TXID",
    "core/committer/txvalidator/v20/validator.go",
)
def test_same_envelope_twice(stack: Stack) -> None:
    caller = stack.caller()
    transaction = caller.endorse("put", "twice", "1")
    digest = to_bytes(transaction["digest"])
    signature = to_text(stack.signer().sign_digest(digest))
    first = caller.status(caller.submit(transaction, signature=signature))
    caller.submit(transaction, signature=signature)
    later = caller.commit("put", "after twice", "1")
    with caller.events("filtered", start=first["block"]) as blocks:
        found = []
        while True:
            block = blocks.next()
            found += [
                code for tx_id, code, _ in block["transactions"] if tx_id == transaction["tx_id"]
            ]
            if block["block"] >= later.block:
                break
    assert found == [VALID, DUPLICATE_TXID]
    request = caller.commit_request(transaction["tx_id"], stack.signer().identity)
    again = caller.status(request)
    assert (again["code"], again["block"]) == (VALID, first["block"])


@behaviour(
    CALLS,
    "Transient data reaches the chaincode and is in no block",
    "internal/pkg/gateway/submit.go",
)
def test_transient_data_is_not_in_the_ledger(stack: Stack) -> None:
    caller = stack.caller()
    secret = b"a secret of no importance"
    done = caller.commit("putSecretDigest", "secret", transient={"secret": to_text(secret)})
    assert len(caller.evaluate("get", "secret")) == 64
    with caller.events("block", start=done.block) as blocks:
        raw = to_bytes(blocks.next()["raw"])
    assert done.tx_id.encode() in raw
    assert secret not in raw


@behaviour(
    CALLS,
    "A value of 1 MB goes in as an argument, into a block and out again",
    "core/ledger/kvledger/txmgmt/rwsetutil/rwset_builder.go",
)
def test_large_values(stack: Stack) -> None:
    caller = stack.caller()
    value = "0123456789abcdef" * 65_536
    done = caller.commit("put", "large", value)
    assert caller.evaluate("get", "large").decode() == value
    with caller.events("block", start=done.block) as blocks:
        assert len(to_bytes(blocks.next()["raw"])) > 2 * len(value)


@behaviour(
    CALLS,
    "Fifty transactions at once on each chaincode stream are all valid",
    "core/chaincode/handler.go",
)
def test_concurrent_transactions(stack: Stack) -> None:
    caller = stack.caller()
    calls = [caller.start_transact("add", f"parallel{index}", "1") for index in range(50)]
    assert [call.result(60) for call in calls] == [{"result": to_text(b"1")}] * 50


@behaviour(
    CALLS,
    "The client's deadline ends a call that the chaincode takes too long for",
    "internal/pkg/gateway/endorse.go",
)
def test_client_deadline(stack: Stack) -> None:
    caller = stack.caller()
    for operation in ("evaluate", "endorse"):
        began = time.monotonic()
        error = caller.refused(operation, "sleep", "3000", deadline=0.3)
        assert time.monotonic() - began < 2.5
        assert error.grpc in DEADLINE, error


@behaviour(
    OFFLINE,
    "Proposal, transaction and commit signed outside the client",
    "internal/pkg/gateway/gateway.go",
)
def test_offline_signing_of_a_transaction(stack: Stack) -> None:
    caller, signer = stack.unsigned(), stack.signer()

    def signature(made: dict[str, str]) -> str:
        return to_text(signer.sign_digest(to_bytes(made["digest"])))

    query = caller.propose("get", "nowhere")
    assert caller.evaluate(bytes=query["bytes"], signature=signature(query)) == b""
    proposal = caller.propose("put", "offline", "1")
    transaction = caller.endorse(bytes=proposal["bytes"], signature=signature(proposal))
    assert transaction["tx_id"] == proposal["tx_id"]
    commit = caller.submit(transaction, signature=signature(transaction))
    status = caller.status(commit, signature=signature(commit))
    assert (status["code"], status["tx_id"]) == (VALID, proposal["tx_id"])
    assert stack.caller().evaluate("get", "offline") == b"1"


@behaviour(
    OFFLINE,
    "Requests for full and filtered blocks signed outside the client",
    "common/deliver/deliver.go",
)
def test_offline_signing_of_block_requests(stack: Stack) -> None:
    caller, signer = stack.unsigned(), stack.signer()
    for kind in ("block", "filtered"):
        made = stack.client.call(
            "request_events", session=caller.session, kind=kind, channel=CHANNEL, start=0
        )
        signature = to_text(signer.sign_digest(to_bytes(made["digest"])))
        with caller.events(kind, request=made["request"], signature=signature) as blocks:
            assert [blocks.next()["block"] for _ in range(2)] == [0, 1]


@behaviour(
    OFFLINE,
    "Request for chaincode events signed outside the client",
    "internal/pkg/gateway/chaincodeevents.go",
)
def test_offline_signing_of_chaincode_events(stack: Stack) -> None:
    done = stack.caller().commit("event", "offline", "1")
    caller, signer = stack.unsigned(), stack.signer()
    made = stack.client.call(
        "request_events",
        session=caller.session,
        kind="chaincode",
        channel=CHANNEL,
        chaincode=caller.chaincode,
        start=done.block,
    )
    signature = to_text(signer.sign_digest(to_bytes(made["digest"])))
    with caller.events("chaincode", request=made["request"], signature=signature) as events:
        assert events.next()["tx_id"] == done.tx_id


@behaviour(
    OFFLINE,
    "A commit status request keeps its meaning through its bytes",
    "internal/pkg/gateway/commitstatus.go",
)
def test_commit_requests_survive_serialisation(stack: Stack) -> None:
    caller = stack.caller()
    commit = caller.submit(caller.endorse("put", "serialised", "1"))
    signed = gateway_pb2.SignedCommitStatusRequest.FromString(to_bytes(commit["bytes"]))
    request = gateway_pb2.CommitStatusRequest.FromString(signed.request)
    assert (request.channel_id, request.transaction_id) == (CHANNEL, commit["tx_id"])
    assert request.identity == stack.signer().identity
    assert caller.status(commit)["code"] == VALID
