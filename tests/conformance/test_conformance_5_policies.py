"""Endorsement policies: of the chaincode, of single keys, and servers that come and go."""

from __future__ import annotations

import base64
import time

import pytest
from behaviours import behaviour
from conformance_clients import ClientError, to_bytes
from conformance_world import VALID, Caller, Stack
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.msp import identities_pb2
from fabric_protos.peer import transaction_pb2
from grpc import StatusCode

from network.channelpolicies import signature_policy

POLICIES = "Endorsement policies"
SERVERS = "Chaincode servers"
ENDORSEMENT_POLICY_FAILURE = 10
KEY_LEVEL = "core/common/validation/statebased/vpmanagerimpl.go"
STREAM = "core/chaincode/chaincode_support.go"
ABORTED = StatusCode.ABORTED.value[0]


def endorsers(transaction: dict[str, str]) -> list[str]:
    """MSP ids of an endorsed transaction's endorsers, sorted."""
    prepared = gateway_pb2.PreparedTransaction.FromString(to_bytes(transaction["bytes"]))
    payload = common_pb2.Payload.FromString(prepared.envelope.payload)
    body = transaction_pb2.Transaction.FromString(payload.data)
    action = transaction_pb2.ChaincodeActionPayload.FromString(body.actions[0].payload)
    return sorted(
        identities_pb2.SerializedIdentity.FromString(item.endorser).mspid
        for item in action.action.endorsements
    )


@behaviour(
    POLICIES,
    "A majority policy: two of three organisations endorse, the own one among them",
    "internal/pkg/gateway/registry.go",
)
def test_majority(stack: Stack) -> None:
    for organization, user in (("BankOne", "gateway"), ("BankTwo", "gateway")):
        found = endorsers(stack.caller(organization, user).endorse("put", "majority", "1"))
        assert len(found) == 2
        assert organization in found


@behaviour(
    POLICIES,
    "A policy of all three organisations: all three endorse; two are not enough",
    "core/handlers/validation/builtin/v20/validation_logic.go",
)
def test_all_organizations(stack: Stack) -> None:
    caller = stack.caller(chaincode=stack.chaincode_of_all)
    transaction = caller.endorse("put", "all", "1")
    assert endorsers(transaction) == ["BankOne", "BankTwo", "Supervisor"]
    assert caller.order(transaction).code == VALID
    two = caller.endorse("put", "all", "2", organizations=["BankOne", "BankTwo"])
    assert endorsers(two) == ["BankOne", "BankTwo"]
    assert caller.order(two).code == ENDORSEMENT_POLICY_FAILURE
    assert caller.evaluate("get", "all") == b"1"


@behaviour(
    POLICIES,
    "Named endorsing organisations are asked, and no other",
    "internal/pkg/gateway/endorse.go",
)
def test_named_organizations(stack: Stack) -> None:
    caller = stack.caller()
    transaction = caller.endorse("put", "named", "1", organizations=["BankTwo", "Supervisor"])
    assert endorsers(transaction) == ["BankTwo", "Supervisor"]
    assert caller.order(transaction).code == VALID


def lock(caller: Caller, key: str, *organizations: str) -> str:
    """Set a key's own policy: all of these organisations' peers. Its Base64."""
    rule = signature_policy(len(organizations), [(name, "peer") for name in organizations])
    policy = base64.b64encode(rule.SerializeToString(deterministic=True)).decode()
    caller.commit("lock", key, policy)
    return policy


@behaviour(
    POLICIES,
    "A key's own policy is read back as it was set",
    "core/ledger/kvledger/txmgmt/txmgr/tx_simulator.go",
)
def test_key_policy_is_read_back(stack: Stack) -> None:
    caller = stack.caller()
    assert caller.evaluate("locked", "free") == b""
    caller.commit("put", "read back", "1")
    policy = lock(caller, "read back", "BankTwo")
    assert caller.evaluate("locked", "read back").decode() == policy
    caller.commit("put", "read back", "2")
    assert caller.evaluate("locked", "read back").decode() == policy


@behaviour(POLICIES, "A key's own policy chooses the endorsers", "internal/pkg/gateway/endorse.go")
def test_key_policy_chooses_endorsers(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("put", "chosen", "1")
    lock(caller, "chosen", "BankTwo", "Supervisor")
    transaction = caller.endorse("put", "chosen", "2")
    assert {"BankTwo", "Supervisor"} <= set(endorsers(transaction))
    assert caller.order(transaction).code == VALID
    assert caller.evaluate("get", "chosen") == b"2"


@behaviour(
    POLICIES,
    "A key's own policy replaces the chaincode's: stricter fails, more lenient passes",
    KEY_LEVEL,
)
def test_key_policy_is_enforced(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("put", "strict", "1")
    lock(caller, "strict", "Supervisor")
    without = caller.endorse("put", "strict", "2", organizations=["BankOne", "BankTwo"])
    assert caller.order(without).code == ENDORSEMENT_POLICY_FAILURE
    assert caller.evaluate("get", "strict") == b"1"
    alone = caller.endorse("put", "strict", "3", organizations=["Supervisor"])
    assert caller.order(alone).code == VALID
    assert caller.evaluate("get", "strict") == b"3"


@behaviour(
    POLICIES, "A key's own policy guards its own change, and the delete of the key", KEY_LEVEL
)
def test_key_policy_guards_itself(stack: Stack) -> None:
    caller = stack.caller()
    caller.commit("put", "guarded", "1")
    policy = lock(caller, "guarded", "Supervisor")
    banks = ["BankOne", "BankTwo"]
    for args in (("lock", "guarded", ""), ("delete", "guarded")):
        done = caller.order(caller.endorse(*args, organizations=banks))
        assert done.code == ENDORSEMENT_POLICY_FAILURE
    assert caller.evaluate("locked", "guarded").decode() == policy
    caller.commit("delete", "guarded")
    assert caller.evaluate("locked", "guarded") == b""
    # The policy went with the key: the chaincode's counts again.
    assert caller.order(caller.endorse("put", "guarded", "2", organizations=banks)).code == VALID


@behaviour(
    SERVERS,
    "A server that dies in a transaction: ABORTED, `chaincode stream terminated`",
    "core/chaincode/handler.go",
)
def test_server_dies_in_a_transaction(stack: Stack, servers_back: None) -> None:
    caller = stack.caller()
    running = caller.start_endorse("sleep", "20000")
    # The stream is in order: when this one is answered, the one before has begun.
    caller.evaluate("get", "anything")
    stack.servers["BankOne"].kill()
    error = running.exception(15)
    assert isinstance(error, ClientError)
    assert error.grpc == ABORTED
    assert [item["msp_id"] for item in error.details] == ["BankOne"]
    assert error.details[0]["message"].endswith("chaincode stream terminated")


@behaviour(
    SERVERS,
    "Own server down: Endorse is ABORTED with its peer's reason, Evaluate asks another peer",
    "internal/pkg/gateway/evaluate.go",
)
def test_own_server_is_down(stack: Stack, servers_back: None) -> None:
    caller = stack.caller()
    caller.commit("put", "elsewhere", "1")
    stack.servers["BankOne"].kill()
    package_id = stack.servers["BankOne"].package.id
    message = ""
    # The peer may take the stream's end for its first answer; from then on it dials.
    for _ in range(20):
        error = caller.refused("endorse", "put", "elsewhere", "2")
        assert error.grpc == ABORTED
        assert [item["msp_id"] for item in error.details] == ["BankOne"]
        message = error.details[0]["message"]
        assert "error in simulation: failed to execute transaction" in message
        if not message.endswith("chaincode stream terminated"):
            break
    assert f"could not launch chaincode {package_id}" in message
    assert caller.evaluate("get", "elsewhere") == b"1"


@behaviour(
    SERVERS,
    "Another organisation's server down: the third organisation endorses; without it ABORTED "
    "naming both",
    "internal/pkg/gateway/endorsement.go",
)
def test_other_servers_are_down(stack: Stack, servers_back: None) -> None:
    caller = stack.caller()
    stack.servers["BankTwo"].kill()
    for _ in range(3):
        assert endorsers(caller.endorse("put", "third", "1")) == ["BankOne", "Supervisor"]
    stack.servers["Supervisor"].kill()
    error = caller.refused("endorse", "put", "third", "2")
    assert error.grpc == ABORTED
    assert {item["msp_id"] for item in error.details} == {"BankTwo", "Supervisor"}


@behaviour(SERVERS, "A restarted server is used again, without a restart of its peer", STREAM)
def test_server_restart(stack: Stack, servers_back: None) -> None:
    caller = stack.caller()
    for server in stack.servers.values():
        server.kill()
        server.start()
    for server in stack.servers.values():
        server.until_ready()
    assert transact_when_back(caller, "restarted", "1") == b"ok"
    assert caller.evaluate("get", "restarted") == b"1"


def transact_when_back(caller: Caller, key: str, value: str) -> bytes:
    """Put a value; a peer notices a server's return at its next call, so some may fail."""
    deadline = time.monotonic() + 15
    while True:
        try:
            return caller.transact("put", key, value)
        except ClientError as error:
            assert error.type == "EndorseError", error
            assert time.monotonic() < deadline, error


@pytest.fixture
def servers_back(stack: Stack) -> object:
    """Whatever a test killed runs again, and is used again, after it."""
    yield
    for server in stack.servers.values():
        if server.process is None:
            server.start()
    for server in stack.servers.values():
        server.until_ready()
    transact_when_back(stack.caller(chaincode=stack.chaincode_of_all), "back", "1")
