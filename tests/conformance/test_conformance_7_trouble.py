"""Identities that end, nodes that are gone, limits, and a chaincode that misbehaves."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import certificates_that_end as certificates
import pytest
from behaviours import behaviour
from conformance_clients import ClientError, Json
from conformance_world import VALID, Caller, Network, Stack
from fabric_protos.gateway import gateway_pb2
from gateway_calls import Raw, raw_gateway
from grpc import StatusCode
from mischief_chaincode import NAME, Mischief
from outage import away, orderers, other_peers

ENDED = "Identities that end"
GONE = "Nodes that are gone"
LIMITS = "Limits"
MISCHIEF = "A chaincode that misbehaves"
OWN_CHAINCODE = "A chaincode of the test's own, which speaks the protocol by hand."
# Longer than anything else takes on a busy machine.
PATIENCE = 3
EXPIRED = "proposal client identity expired"
REVOKED = "error validating proposal: access denied: channel [payments] creator org [BankOne]"


def code(status: StatusCode) -> int:
    number: int = status.value[0]
    return number


@behaviour(
    ENDED,
    "An expired certificate: Evaluate asks every peer and is UNAVAILABLE, Endorse ABORTED, Deliver "
    "sends no block; the status of a transaction is told",
    "core/endorser/endorser.go",
)
def test_expired_identity(stack: Stack, tmp_path: Path) -> None:
    caller = certificates.expired(stack, tmp_path)
    known = stack.caller().commit("put", "expired", "1")
    error = caller.refused("evaluate", "get", "k")
    # No answer of a chaincode, so that the gateway asks the next peer, and the next.
    assert error.grpc == code(StatusCode.UNAVAILABLE)
    assert {item["msp_id"] for item in error.details} == set(stack.network.organizations)
    assert all(item["message"].endswith(EXPIRED) for item in error.details)
    error = caller.refused("endorse", "put", "k", "v")
    assert error.grpc == code(StatusCode.ABORTED)
    assert [item["message"] for item in error.details] == [EXPIRED]
    identity = certificates.identity(stack, tmp_path, "expired")
    request = caller.commit_request(known.tx_id, identity)
    assert caller.status(request)["code"] == VALID
    for kind in ("block", "filtered"):
        with caller.events(kind, start=0) as events:
            assert events.step().get("end")


@behaviour(
    ENDED,
    "A revoked certificate: its block streams end, its proposals are refused, and it is told no "
    "status and no event",
    "msp/mspimplvalidate.go",
)
def test_revoked_identity(stack: Stack, tmp_path: Path) -> None:
    caller, certificate = certificates.leaver(stack, tmp_path)
    known = caller.commit("put", "revoked", "1")
    with caller.events("block", start=known.block) as blocks:
        assert blocks.next()["block"] == known.block
        certificates.revoke(stack.network, certificate)
        assert blocks.step().get("end")
    error = caller.refused("evaluate", "get", "revoked")
    assert error.grpc == code(StatusCode.FAILED_PRECONDITION)
    assert REVOKED in error.message
    error = caller.refused("endorse", "put", "revoked", "2")
    assert error.grpc == code(StatusCode.ABORTED)
    assert [item["message"] for item in error.details] == [REVOKED]
    request = caller.commit_request(known.tx_id, certificates.identity(stack, tmp_path, "leaver"))
    error = caller.refused("status", bytes=request["bytes"], deadline=5.0)
    assert error.grpc == code(StatusCode.PERMISSION_DENIED)
    with caller.events("chaincode", start=0) as events:
        step = events.step()
        assert step.get("end"), step


@dataclass(frozen=True)
class Outage:
    """What was said while the orderers and the other organisations' peers were gone."""

    transaction: Json
    submit: ClientError
    endorse: ClientError
    evaluated: bytes


@pytest.fixture(scope="session")
def outage(stack: Stack) -> Outage:
    """One outage for a stack; what was away comes back, and BankTwo's peer serves again."""
    caller, network = stack.caller(), stack.network
    caller.commit("put", "before", "1")
    transaction = caller.endorse("put", "submitted", "1")
    with away(network, [*orderers(network), *other_peers(network)]):
        found = Outage(
            transaction,
            caller.refused("submit", bytes=transaction["bytes"]),
            caller.refused("endorse", "put", "k", "v"),
            caller.evaluate("get", "before"),
        )
    until_back(stack.caller(chaincode=stack.chaincode_of_all))
    return found


def until_back(caller: Caller) -> None:
    """Everybody endorses and the orderers order again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            caller.transact("put", "back", "1")
        except ClientError as error:
            assert error.type in ("EndorseError", "SubmitError", "CommitStatusError"), error
            assert time.monotonic() < deadline, error
        else:
            return


@behaviour(
    GONE,
    "No orderer at Submit: UNAVAILABLE, naming what each one's connection said; nothing is known "
    "of the outcome",
    "internal/pkg/gateway/submit.go",
)
def test_no_orderer(stack: Stack, outage: Outage) -> None:
    error = outage.submit
    assert (error.type, error.grpc) == ("SubmitError", code(StatusCode.UNAVAILABLE))
    assert error.tx_id == outage.transaction["tx_id"]
    assert "no orderers could successfully process transaction" in error.message
    owners = {owner.name for owner, _ in stack.network.topology.orderers()}
    assert {item["msp_id"] for item in error.details} == owners


@behaviour(
    GONE,
    "The same transaction submitted again when the orderers are back is VALID",
    "internal/pkg/gateway/submit.go",
)
def test_submitted_again(stack: Stack, outage: Outage) -> None:
    assert stack.caller().order(outage.transaction).code == VALID


@behaviour(
    GONE,
    "The other organisations' peers are gone: Endorse is ABORTED naming those that were asked, or "
    "FAILED_PRECONDITION once gossip knows; Evaluate answers",
    "internal/pkg/gateway/endorse.go",
)
def test_no_other_peer(stack: Stack, outage: Outage) -> None:
    error = outage.endorse
    assert outage.evaluated == b"1"
    assert error.type == "EndorseError"
    # Gossip may have noticed one's end by now, or both: Fabric doesn't ask those.
    if stack.network.engine == "fabric" and error.grpc == code(StatusCode.FAILED_PRECONDITION):
        assert "no combination of peers can be derived" in error.message
        return
    assert error.grpc == code(StatusCode.ABORTED)
    assert "failed to collect enough transaction endorsements" in error.message
    asked = {item["msp_id"] for item in error.details}
    assert asked
    assert asked <= {"BankTwo", "Supervisor"}
    assert all("code = Unavailable" in item["message"] for item in error.details), error.details


@pytest.fixture
def raw(stack: Stack) -> Iterator[Raw]:
    with raw_gateway(stack) as opened:
        yield opened


@behaviour(
    LIMITS,
    "Five hundred calls of the gateway service at once: one more is refused, of any method",
    "internal/peer/node/grpc_limiters.go",
)
def test_five_hundred_calls(stack: Stack, raw: Raw) -> None:
    caller, signer = stack.caller(), stack.signer()
    transaction = caller.endorse("put", "crowd", "1")
    data = gateway_pb2.CommitStatusRequest(
        identity=signer.identity, channel_id=caller.channel, transaction_id="cd" * 32
    ).SerializeToString()
    waiting = gateway_pb2.SignedCommitStatusRequest(request=data, signature=signer.sign(data))
    said = "too many requests for /gateway.Gateway, exceeding concurrency limit (500)"
    with raw.crowd("CommitStatus", waiting, 500) as more:

        def refused(operation: str, *args: str, **options: str) -> ClientError:
            for _ in range(100):
                try:
                    return caller.refused(operation, *args, **options)
                except AssertionError:  # it was served: somebody else's call has ended
                    more()
            raise AssertionError("there is no limit")

        for error in (
            refused("evaluate", "get", "k"),
            refused("endorse", "put", "k", "v"),
            refused("submit", bytes=transaction["bytes"]),
        ):
            assert error.grpc == code(StatusCode.UNKNOWN)
            assert said in error.message
    until_back(caller)  # the peer sees one after the other that they are gone
    assert caller.order(transaction).code == VALID


@behaviour(
    LIMITS,
    "A message of more than 100 MiB: RESOURCE_EXHAUSTED, with both sizes",
    "internal/pkg/comm/config.go",
    stacks=("python",),
    note="Sent by the test itself; the client under test makes no difference.",
)
def test_oversized_message(stack: Stack, raw: Raw) -> None:
    most = 100 * 1024 * 1024
    status, text = raw.ended("gateway.Gateway/Evaluate", bytes(most + 1))
    assert status is StatusCode.RESOURCE_EXHAUSTED
    assert text.lower().endswith(f": received message larger than max ({most + 1} vs. {most})")


@behaviour(
    LIMITS,
    "A transaction larger than the channel's largest: endorsed, then ABORTED with BAD_REQUEST",
    "orderer/common/msgprocessor/sizefilter.go",
)
def test_oversized_transaction(stack: Stack) -> None:
    caller = stack.caller()
    # The argument and the write: twice this is more than 10 MiB.
    transaction = caller.endorse("put", "huge", "x" * (5 * 1024 * 1024 + 1024))
    error = caller.refused("submit", bytes=transaction["bytes"])
    assert (error.type, error.grpc) == ("SubmitError", code(StatusCode.ABORTED))
    assert "status=BAD_REQUEST, info=message payload is " in error.message
    assert "and exceeds maximum allowed 10485760 bytes" in error.message


@pytest.fixture(scope="session")
def impatient(network: Network) -> str:
    """The Supervisor's peer, started again with a short time for a transaction; its MSP id."""
    owner = "Supervisor"
    peer = network.topology.organization(owner).peers[0]
    settings = network.home.node_settings(peer.name)
    with away(network, [peer.name]):
        if network.engine == "embedded":
            values = json.loads(settings.read_text()) | {"execute_timeout_seconds": PATIENCE}
            settings.write_text(json.dumps(values))
        else:
            core = settings.with_name("core.yaml")
            before = core.read_text()
            core.write_text(re.sub(r"(executetimeout\W+)30s", rf"\g<1>{PATIENCE}s", before))
            assert core.read_text() != before
    return owner


@behaviour(
    LIMITS,
    "A transaction that takes longer than the peer allows: ABORTED, `timeout expired`; the next "
    "one is served",
    "core/chaincode/handler.go",
    stacks=("python",),
    note="The peer's own clock, set to a few seconds: client and shim make no difference.",
)
def test_execute_timeout(stack: Stack, impatient: str) -> None:
    caller = stack.caller(impatient, "auditor")
    until_back(caller)
    error = caller.refused("endorse", "sleep", "60000", deadline=4 * PATIENCE)
    assert error.grpc == code(StatusCode.ABORTED)
    (detail,) = error.details
    assert detail["msp_id"] == impatient
    assert detail["message"].startswith("error in simulation: failed to execute transaction ")
    assert detail["message"].endswith(": timeout expired while executing transaction")
    assert caller.commit("put", "in time", "1").code == VALID


@pytest.fixture(scope="session")
def mischief(network: Network) -> Iterator[None]:
    """A chaincode of the test's own that speaks the protocol by hand; one endorsement will do."""
    with Mischief(network) as served:
        asyncio.run(served.deploy())
        yield


@behaviour(
    MISCHIEF,
    "It answers twice: the first answer counts, and its stream goes on",
    "core/chaincode/handler.go",
    stacks=("python",),
    note=OWN_CHAINCODE,
)
def test_two_answers(stack: Stack, mischief: None) -> None:
    caller = stack.caller(chaincode=NAME)
    # What it writes between the two may or may not be in the transaction, with Fabric too.
    assert caller.commit("twice", "late").result == b"first"
    assert caller.commit("put", "on time", "1").result == b"done"
    assert caller.evaluate("get", "on time") == b"1"


@behaviour(
    MISCHIEF,
    "Bytes that are no message, a message out of place, no more stream: ABORTED, `chaincode "
    "stream terminated`; the next call is served",
    "core/chaincode/handler.go",
    stacks=("python",),
    note=OWN_CHAINCODE,
)
def test_a_stream_that_goes_wrong(stack: Stack, mischief: None) -> None:
    caller = stack.caller(chaincode=NAME)
    for function, *args in (["garbage"], ["strange"], ["raw", "127", ""], ["drop"]):
        error = caller.refused("endorse", function, *args)
        assert error.grpc == code(StatusCode.ABORTED), function
        (detail,) = error.details
        assert detail["message"].endswith("chaincode stream terminated"), function
        until_back(caller)


@behaviour(
    MISCHIEF,
    "A function that it doesn't have, a query the state database doesn't know: its own error",
    "core/chaincode/handler.go",
    stacks=("python",),
    note=OWN_CHAINCODE,
)
def test_errors_of_its_own(stack: Stack, mischief: None) -> None:
    caller = stack.caller(chaincode=NAME)
    error = caller.refused("endorse", "rich")
    assert error.grpc == code(StatusCode.ABORTED)
    assert "ExecuteQuery not supported for leveldb" in error.details[0]["message"]
    error = caller.refused("endorse", "nosuch")
    assert error.details[0]["message"] == "chaincode response 500, 'nosuch'"
