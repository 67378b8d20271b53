"""Requests that no client sends, straight to the gateway service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from behaviours import behaviour
from conformance_clients import to_bytes
from conformance_world import CHANNEL, Stack
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.orderer import ab_pb2
from gateway_calls import Raw, raw_gateway
from grpc import StatusCode

from clearline.fabric.profile import Profile
from clearline.fabric.protoutil import create_signed_envelope

WIRE = "Requests that no client sends"
NOTE = "Sent by the test itself; the client under test makes no difference."


@pytest.fixture
def raw(stack: Stack) -> Iterator[Raw]:
    with raw_gateway(stack) as opened:
        yield opened


@behaviour(
    WIRE,
    "A transaction without a signature: INVALID_ARGUMENT",
    "internal/pkg/gateway/submit.go",
    stacks=("python",),
    note=NOTE,
)
def test_unsigned_transaction(stack: Stack, raw: Raw) -> None:
    transaction = stack.caller().endorse("put", "unsigned", "1")
    prepared = gateway_pb2.PreparedTransaction.FromString(to_bytes(transaction["bytes"]))
    request = gateway_pb2.SubmitRequest(
        transaction_id=transaction["tx_id"],
        channel_id=CHANNEL,
        prepared_transaction=prepared.envelope,
    )
    assert raw.refused("Submit", request) == (
        StatusCode.INVALID_ARGUMENT,
        "prepared transaction must be signed",
    )
    request.ClearField("prepared_transaction")
    assert raw.refused("Submit", request) == (
        StatusCode.INVALID_ARGUMENT,
        "a prepared transaction is required",
    )


@behaviour(
    WIRE,
    "Evaluate and Endorse without a proposal: INVALID_ARGUMENT",
    "internal/pkg/gateway/evaluate.go",
    stacks=("python",),
    note=NOTE,
)
def test_no_proposal(stack: Stack, raw: Raw) -> None:
    assert raw.refused("Evaluate", gateway_pb2.EvaluateRequest(channel_id=CHANNEL)) == (
        StatusCode.INVALID_ARGUMENT,
        "failed to unpack transaction proposal: a signed proposal is required",
    )
    assert raw.refused("Endorse", gateway_pb2.EndorseRequest(channel_id=CHANNEL)) == (
        StatusCode.INVALID_ARGUMENT,
        "the proposed transaction must contain a signed proposal",
    )


@behaviour(
    WIRE,
    "Commit status without identity, channel or id: INVALID_ARGUMENT; with another's signature: "
    "PERMISSION_DENIED",
    "internal/pkg/gateway/commitstatus.go",
    stacks=("python",),
    note=NOTE,
)
def test_incomplete_commit_status(stack: Stack, raw: Raw) -> None:
    signer = stack.signer()
    whole = gateway_pb2.CommitStatusRequest(
        identity=signer.identity, channel_id=CHANNEL, transaction_id="ab" * 32
    )
    for missing, text in (
        ("identity", "no identity provided"),
        ("channel_id", "no channel ID provided"),
        ("transaction_id", "transaction ID should not be empty"),
    ):
        request = gateway_pb2.CommitStatusRequest()
        request.CopyFrom(whole)
        request.ClearField(missing)
        data = request.SerializeToString()
        signed = gateway_pb2.SignedCommitStatusRequest(request=data, signature=signer.sign(data))
        assert raw.refused("CommitStatus", signed) == (StatusCode.INVALID_ARGUMENT, text)
    data = whole.SerializeToString()
    other = stack.signer("BankOne", "connector")
    signed = gateway_pb2.SignedCommitStatusRequest(request=data, signature=other.sign(data))
    assert raw.refused("CommitStatus", signed)[0] is StatusCode.PERMISSION_DENIED
    empty = gateway_pb2.SignedCommitStatusRequest()
    assert raw.refused("CommitStatus", empty) == (
        StatusCode.INVALID_ARGUMENT,
        "a commit status request is required",
    )


@behaviour(
    WIRE,
    "Bytes that are no request: INTERNAL, with the parser's words",
    "vendor/google.golang.org/grpc/server.go",
    stacks=("python",),
    note=NOTE,
)
def test_unparsable_requests(stack: Stack, raw: Raw) -> None:
    reason = "proto: cannot parse invalid wire-format data"
    for method in ("Evaluate", "Endorse", "Submit", "CommitStatus"):
        assert raw.ended(f"gateway.Gateway/{method}", b"\xff") == (
            StatusCode.INTERNAL,
            f"grpc: error unmarshalling request: {reason}",
        )
    assert raw.ended("gateway.Gateway/ChaincodeEvents", b"\xff") == (
        StatusCode.INTERNAL,
        f"grpc: failed to unmarshal the received message: {reason}",
    )


@behaviour(
    WIRE,
    "A request for blocks that names no TLS certificate, or not the connection's: BAD_REQUEST",
    "common/deliver/binding.go",
    stacks=("python",),
    note=NOTE,
)
def test_block_requests_are_bound_to_tls(stack: Stack, raw: Raw) -> None:
    signer = stack.signer()
    home = stack.network.home
    own = Profile.load(home.profile("BankOne", "gateway")).tls_cert_hash()
    another = Profile.load(home.profile("BankOne", "admin")).tls_cert_hash()
    seek = ab_pb2.SeekInfo()
    seek.start.oldest.SetInParent()
    seek.stop.oldest.SetInParent()
    for method, content in (("Deliver", "block"), ("DeliverFiltered", "filtered_block")):
        for bound, kind in ((own, content), (b"", "status"), (another, "status")):
            envelope = create_signed_envelope(
                common_pb2.HeaderType.DELIVER_SEEK_INFO,
                CHANNEL,
                signer,
                seek.SerializeToString(),
                tls_cert_hash=bound,
            )
            answer = raw.delivered(method, envelope.SerializeToString())
            assert answer.WhichOneof("Type") == kind
            if kind == "status":
                assert answer.status == common_pb2.Status.BAD_REQUEST
