"""What goes wrong: which call says so, with which gRPC code and which details."""

from __future__ import annotations

from pathlib import Path

import pytest
from behaviours import behaviour
from conformance_clients import Json, to_bytes, to_text
from conformance_world import Caller, Network, Stack
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import transaction_pb2
from foreign_identity import write_foreign_identity
from grpc import StatusCode

from clearline.fabric.protoutil import serialized_identity

CHAINCODE = "Errors of a chaincode"
NETWORK = "Errors of the network"
SIGNATURES = "Identities and signatures"
ENDORSEMENT_POLICY_FAILURE = 10


def code(status: StatusCode) -> int:
    number: int = status.value[0]
    return number


@behaviour(
    CHAINCODE,
    "Status 500 at Evaluate: UNKNOWN, `chaincode response 500`, one detail of the own peer",
    "internal/pkg/gateway/apiutils.go",
)
def test_evaluate_of_an_error(stack: Stack) -> None:
    for function, text in (("fail", "no such order"), ("status", "no such order")):
        args = (text,) if function == "fail" else ("500", text)
        error = stack.caller().refused("evaluate", function, *args)
        assert error.grpc == code(StatusCode.UNKNOWN)
        said = f"chaincode response 500, {text}"
        assert f"evaluate call to endorser returned error: {said}" in error.message
        assert [(item["msp_id"], item["message"]) for item in error.details] == [("BankOne", said)]


@behaviour(
    CHAINCODE,
    "Status 500 at Endorse: ABORTED with the own peer's address, MSP id and message",
    "internal/pkg/gateway/endorse.go",
)
def test_endorse_of_an_error(stack: Stack) -> None:
    proposal = stack.caller().propose("fail", "not today")
    error = stack.caller().refused("endorse", bytes=proposal["bytes"])
    assert (error.type, error.grpc) == ("EndorseError", code(StatusCode.ABORTED))
    assert error.tx_id == proposal["tx_id"]
    assert "failed to endorse transaction, see attached details" in error.message
    peer = stack.network.topology.organization("BankOne").peers[0]
    assert error.details == [
        {
            "address": peer.endpoint,
            "msp_id": "BankOne",
            "message": "chaincode response 500, not today",
        }
    ]


@behaviour(
    CHAINCODE,
    "Status 400: refused like 500, with its own number",
    "core/endorser/endorser.go",
)
def test_status_400(stack: Stack) -> None:
    error = stack.caller().refused("evaluate", "status", "400", "not you")
    assert error.grpc == code(StatusCode.UNKNOWN)
    assert [item["message"] for item in error.details] == ["chaincode response 400, not you"]
    error = stack.caller().refused("endorse", "status", "404", "nothing there")
    assert error.grpc == code(StatusCode.ABORTED)
    assert [item["message"] for item in error.details] == ["chaincode response 404, nothing there"]


@behaviour(
    CHAINCODE,
    "Statuses 200 and 399 are endorsed, with payload and writes",
    "core/endorser/endorser.go",
)
def test_statuses_below_400(stack: Stack) -> None:
    caller = stack.caller()
    for status in ("200", "399"):
        assert caller.commit("status", status, f"says {status}").result == b"payload"
        assert caller.evaluate("get", "status") == f"says {status}".encode()


@behaviour(
    CHAINCODE, "An unknown function is the chaincode's own error", "core/endorser/endorser.go"
)
def test_unknown_function(stack: Stack) -> None:
    error = stack.caller().refused("evaluate", "dance")
    assert error.grpc == code(StatusCode.UNKNOWN)
    assert error.details[0]["message"].startswith("chaincode response 500, ")
    error = stack.caller().refused("endorse", "dance")
    assert error.grpc == code(StatusCode.ABORTED)


@behaviour(
    CHAINCODE,
    "Endorsers that answer differently: ABORTED, `ProposalResponsePayloads do not match`",
    "internal/pkg/gateway/endorsement.go",
)
def test_endorsers_that_differ(stack: Stack) -> None:
    error = stack.caller().refused("endorse", "organization")
    assert error.grpc == code(StatusCode.ABORTED)
    assert "failed to collect enough transaction endorsements" in error.message
    found = {item["msp_id"]: item["message"] for item in error.details}
    assert set(found) == {"BankTwo", "Supervisor"}
    assert set(found.values()) == {"ProposalResponsePayloads do not match"}


@behaviour(
    CHAINCODE,
    "An error at another organisation's peer: a third is asked instead",
    "internal/pkg/gateway/endorsement.go",
)
def test_another_endorser_is_asked(stack: Stack) -> None:
    caller = stack.caller()
    for _ in range(4):  # which of the two others is asked first is the gateway's choice
        assert caller.commit("failAt", "BankTwo").result == b"ok"


@behaviour(
    CHAINCODE,
    "An error where every organisation is needed: ABORTED with that organisation's detail",
    "internal/pkg/gateway/endorsement.go",
)
def test_missing_endorsement(stack: Stack) -> None:
    caller = stack.caller(chaincode=stack.chaincode_of_all)
    error = caller.refused("endorse", "failAt", "Supervisor")
    assert error.grpc == code(StatusCode.ABORTED)
    assert "failed to collect enough transaction endorsements" in error.message
    assert [(item["msp_id"], item["message"]) for item in error.details] == [
        ("Supervisor", "chaincode response 500, refused by Supervisor")
    ]


@behaviour(
    NETWORK,
    "Naming an endorsing organisation that has no peer: UNAVAILABLE",
    "internal/pkg/gateway/registry.go",
)
def test_organization_without_peers(stack: Stack) -> None:
    error = stack.caller().refused("endorse", "put", "k", "v", organizations=["BankNine"])
    assert (error.type, error.grpc) == ("EndorseError", code(StatusCode.UNAVAILABLE))
    assert "failed to find any endorsing peers for org(s): BankNine" in error.message


@behaviour(
    NETWORK,
    "Too few named organisations: endorsed, ordered, then ENDORSEMENT_POLICY_FAILURE",
    "core/committer/txvalidator/v20/plugindispatcher/dispatcher.go",
)
def test_too_few_named_organizations(stack: Stack) -> None:
    caller = stack.caller()
    done = caller.order(caller.endorse("put", "lonely", "1", organizations=["BankOne"]))
    assert done.code == ENDORSEMENT_POLICY_FAILURE
    assert caller.evaluate("get", "lonely") == b""


@behaviour(
    NETWORK,
    "Evaluate of a chaincode that no peer has: FAILED_PRECONDITION, `no peers available`",
    "internal/pkg/gateway/registry.go",
)
def test_evaluate_of_an_unknown_chaincode(stack: Stack) -> None:
    error = stack.caller(chaincode="nobody").refused("evaluate", "get", "k")
    assert error.grpc == code(StatusCode.FAILED_PRECONDITION)
    assert "no peers available to evaluate chaincode nobody in channel payments" in error.message


@behaviour(
    NETWORK,
    "Endorse of a chaincode that no peer has: FAILED_PRECONDITION, no combination of peers",
    "internal/pkg/gateway/endorse.go",
)
def test_endorse_of_an_unknown_chaincode(stack: Stack) -> None:
    error = stack.caller(chaincode="nobody").refused("endorse", "put", "k", "v")
    assert (error.type, error.grpc) == ("EndorseError", code(StatusCode.FAILED_PRECONDITION))
    assert (
        "no combination of peers can be derived which satisfy the endorsement policy: "
        "No metadata was found for chaincode nobody in channel payments"
    ) in error.message


@behaviour(
    NETWORK,
    "A channel the peer hasn't joined: UNAVAILABLE at Evaluate, FAILED_PRECONDITION at Endorse, "
    "PERMISSION_DENIED at CommitStatus",
    "internal/pkg/gateway/registry.go",
)
def test_unknown_channel(stack: Stack) -> None:
    caller = Caller(stack.client, stack.caller().session, stack.chaincode, "nochannel")
    error = caller.refused("evaluate", "get", "k")
    assert error.grpc == code(StatusCode.UNAVAILABLE)
    assert (
        "failed to get config for channel [nochannel]: "
        "could not get last config for channel nochannel"
    ) in error.message
    error = caller.refused("endorse", "get", "k")
    assert error.grpc == code(StatusCode.FAILED_PRECONDITION)
    assert "in channel nochannel" in error.message
    request = caller.commit_request("ab" * 32, stack.signer().identity)
    error = caller.refused("status", bytes=request["bytes"], deadline=5.0)
    assert error.grpc == code(StatusCode.PERMISSION_DENIED)


@pytest.fixture(scope="session")
def foreign(network: Network, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Certificate and key files of somebody whom a CA outside the channel calls BankOne's."""
    return write_foreign_identity(tmp_path_factory.mktemp("foreign"))


def stranger(stack: Stack, foreign: tuple[str, str]) -> Caller:
    stack.connect("stranger", "BankOne", "gateway", ("BankOne", *foreign))
    return Caller(stack.client, "stranger", stack.chaincode)


DENIED = "access denied: channel [payments] creator org [BankOne]"
# A certificate of no known CA is no identity of that organisation (msp/identities.go newIdentity).
MALFORMED = "access denied: channel [payments] creator org unknown, creator is malformed"


@behaviour(
    SIGNATURES,
    "A foreign CA's identity at Evaluate and Endorse: FAILED_PRECONDITION and ABORTED, "
    "`access denied`",
    "core/endorser/msgvalidation.go",
)
def test_foreign_identity_is_not_endorsed(stack: Stack, foreign: tuple[str, str]) -> None:
    caller = stranger(stack, foreign)
    error = caller.refused("evaluate", "get", "k")
    assert error.grpc == code(StatusCode.FAILED_PRECONDITION)
    assert f"error validating proposal: {MALFORMED}" in error.message
    error = caller.refused("endorse", "put", "k", "v")
    assert error.grpc == code(StatusCode.ABORTED)
    assert [item["message"] for item in error.details] == [
        f"error validating proposal: {MALFORMED}"
    ]


@behaviour(
    SIGNATURES,
    "A foreign CA's identity at CommitStatus and ChaincodeEvents: PERMISSION_DENIED; "
    "at Deliver: the stream ends without a block",
    "core/aclmgmt/defaultaclprovider.go",
)
def test_foreign_identity_learns_nothing(
    stack: Stack, foreign: tuple[str, str], tmp_path: Path
) -> None:
    caller = stranger(stack, foreign)
    own = stack.caller().commit("event", "private", "1")
    identity = common_identity(foreign)
    request = caller.commit_request(own.tx_id, identity)
    error = caller.refused("status", bytes=request["bytes"], deadline=5.0)
    assert error.grpc == code(StatusCode.PERMISSION_DENIED)
    for kind in ("chaincode", "block", "filtered"):
        with caller.events(kind, start=own.block) as events:
            step = events.step()
            assert step.get("end"), step
            if kind == "chaincode" and "error" in step:
                assert step["error"]["grpc"] == code(StatusCode.PERMISSION_DENIED)


def common_identity(foreign: tuple[str, str]) -> bytes:
    return serialized_identity("BankOne", Path(foreign[0]).read_bytes())


@behaviour(
    SIGNATURES,
    "A proposal whose signature is another's: ABORTED, `access denied`",
    "core/endorser/msgvalidation.go",
)
def test_proposal_signed_by_another(stack: Stack) -> None:
    caller = stack.unsigned()
    proposal = caller.propose("put", "k", "v")
    other = stack.signer("BankOne", "connector")
    signature = to_text(other.sign_digest(to_bytes(proposal["digest"])))
    error = caller.refused("endorse", bytes=proposal["bytes"], signature=signature)
    assert error.grpc == code(StatusCode.ABORTED)
    assert [item["message"] for item in error.details] == [f"error validating proposal: {DENIED}"]


@behaviour(
    SIGNATURES,
    "A proposal whose id is on the ledger: ABORTED, `duplicate transaction found`",
    "core/endorser/endorser.go",
)
def test_proposal_of_a_committed_id(stack: Stack) -> None:
    caller = stack.caller()
    proposal = caller.propose("put", "again", "1")
    done = caller.order(caller.endorse(bytes=proposal["bytes"]))
    error = caller.refused("endorse", bytes=proposal["bytes"])
    assert error.grpc == code(StatusCode.ABORTED)
    assert error.details[0]["message"].startswith(f"duplicate transaction found [{done.tx_id}]")


@behaviour(
    SIGNATURES,
    "A transaction changed after it was signed, or signed by another: the orderer refuses it, "
    "ABORTED with FORBIDDEN",
    "orderer/common/msgprocessor/sigfilter.go",
)
def test_tampered_transaction_is_not_ordered(stack: Stack) -> None:
    caller, signer = stack.unsigned(), stack.signer()
    online = stack.caller()
    transaction = online.endorse("put", "tampered", "1")
    good = to_text(signer.sign_digest(to_bytes(transaction["digest"])))
    other = stack.signer("BankOne", "connector")
    bad = to_text(other.sign_digest(to_bytes(transaction["digest"])))
    for made, signature in ((with_other_result(transaction), good), (transaction, bad)):
        error = caller.refused("submit", bytes=made["bytes"], signature=signature)
        assert (error.type, error.grpc) == ("SubmitError", code(StatusCode.ABORTED))
        assert "received unsuccessful response from orderer: status=FORBIDDEN" in error.message
    assert online.evaluate("get", "tampered") == b""


@behaviour(
    SIGNATURES,
    "A transaction changed before it was signed: ordered, then ENDORSEMENT_POLICY_FAILURE",
    "core/handlers/validation/builtin/v20/validation_logic.go",
)
def test_changed_result_fails_the_policy(stack: Stack) -> None:
    caller = stack.caller()
    made = with_other_result(caller.endorse("put", "changed", "1"))
    assert caller.status(caller.submit(made))["code"] == ENDORSEMENT_POLICY_FAILURE
    assert caller.evaluate("get", "changed") == b""


def with_other_result(transaction: Json) -> Json:
    """The transaction with one byte of the key that it writes changed."""
    prepared = gateway_pb2.PreparedTransaction.FromString(to_bytes(transaction["bytes"]))
    payload = common_pb2.Payload.FromString(prepared.envelope.payload)
    body = transaction_pb2.Transaction.FromString(payload.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(body.actions[0].payload)
    result = action.action.proposal_response_payload
    for word in (b"tampered", b"changed"):
        result = result.replace(word, word[:-1] + b"x")
    assert result != action.action.proposal_response_payload
    action.action.proposal_response_payload = result
    body.actions[0].payload = action.SerializeToString()
    payload.data = body.SerializeToString()
    prepared.envelope.payload = payload.SerializeToString()
    return transaction | {"bytes": to_text(prepared.SerializeToString())}
