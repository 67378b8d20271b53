"""The client against a peer that speaks Fabric's gateway service: results, errors, offline keys."""

import asyncio
from concurrent import futures
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fabric_fake_peer import CHAINCODE, DUPLICATE_TXID, MVCC_READ_CONFLICT, FakePeer, Refusal
from fabric_protos.common import common_pb2
from fabric_protos.gateway import gateway_pb2
from fabric_protos.peer import proposal_pb2
from helpers_fabric import connect, new_certificate, run, signer

from clearline.fabric.checkpointers import (
    CheckpointError,
    FileCheckpointer,
    InMemoryCheckpointer,
)
from clearline.fabric.client import CallTimeouts
from clearline.fabric.contract import Contract
from clearline.fabric.errors import (
    CommitError,
    CommitStatusError,
    EndorseError,
    EvaluateError,
    EventsError,
    SubmitError,
)
from clearline.fabric.events import Start
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import X509Signer
from clearline.fabric.proposal import ProposalOptions

ITEM = '[{"key":"a","value":"1"}]'
STATUS = grpc.StatusCode


def _contract(gateway: Gateway) -> Contract:
    return gateway.network("payments").contract(CHAINCODE)


def test_stages_lead_to_a_commit() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = _contract(gateway)
            assert await contract.evaluate("Get", "a") == b"[null]"
            transaction = await contract.new_proposal("Put", [ITEM]).endorse()
            assert transaction.result == b'[{"code": "ok", "key": "a"}]'
            assert transaction.action.changes_ledger
            commit = await transaction.submit()
            status = await commit.status()
            assert (status.successful, status.code_name, status.block_number) == (True, "VALID", 1)
            assert commit.transaction_id == transaction.transaction_id
            assert await contract.evaluate("Get", "a") == b'["1"]'
            again = await contract.new_proposal("Put", [ITEM]).endorse()
            assert not again.action.changes_ledger

    run(scenario())


def test_proposals_carry_transient_data_and_organisations() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            options = ProposalOptions(transient={"k": b"secret"}, organizations=["BankTwo"])
            await _contract(gateway).new_proposal("Get", ["a"], options).evaluate()
            (request,) = peer.requests
            assert list(request.target_organizations) == ["BankTwo"]
            raw = request.proposed_transaction.proposal_bytes
            payload = proposal_pb2.Proposal.FromString(raw).payload
            transient = proposal_pb2.ChaincodeProposalPayload.FromString(payload).TransientMap
            assert dict(transient) == {"k": b"secret"}

    run(scenario())


def test_each_stage_has_its_error_with_id_and_details() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = _contract(gateway)
            peer.script.evaluate.append(Refusal(STATUS.UNKNOWN, "evaluate", ("why",)))
            with pytest.raises(EvaluateError, match="BankTwo p:1: why") as evaluating:
                await contract.evaluate("Get", "a")
            assert evaluating.value.outcome == "not_applied"

            peer.script.endorse.append(Refusal(STATUS.ABORTED, "no", ("one", "two")))
            proposal = contract.new_proposal("Put", [ITEM])
            with pytest.raises(EndorseError) as endorsing:
                await proposal.endorse()
            error = endorsing.value
            assert (error.outcome, error.code) == ("not_applied", STATUS.ABORTED)
            assert error.transaction_id == proposal.transaction_id
            assert [d.message for d in error.details] == ["one", "two"]

            for code, outcome in [
                (STATUS.ABORTED, "not_applied"),
                (STATUS.UNAVAILABLE, "unknown"),
                (STATUS.DEADLINE_EXCEEDED, "unknown"),
            ]:
                peer.script.submit.append(Refusal(code))
                transaction = await contract.new_proposal("Put", [ITEM]).endorse()
                with pytest.raises(SubmitError) as submitting:
                    await transaction.submit()
                assert submitting.value.outcome == outcome
                assert submitting.value.transaction_id == transaction.transaction_id

            peer.script.status.append(Refusal(STATUS.UNAVAILABLE))
            commit = await (await contract.new_proposal("Put", [ITEM]).endorse()).submit()
            with pytest.raises(CommitStatusError) as asking:
                await commit.status()
            assert (asking.value.outcome, asking.value.transaction_id) == (
                "unknown",
                commit.transaction_id,
            )

    run(scenario())


@pytest.mark.parametrize(
    ("code", "outcome"), [(MVCC_READ_CONFLICT, "not_applied"), (DUPLICATE_TXID, "unknown")]
)
def test_invalid_transactions_are_commit_errors(code: int, outcome: str) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            peer.script.status.append(code)
            with pytest.raises(CommitError) as committing:
                await _contract(gateway).submit("Put", ITEM)
            assert (committing.value.code, committing.value.outcome) == (code, outcome)
            assert committing.value.block_number == 1

    run(scenario())


def test_submit_returns_the_answer_after_the_commit() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            answer = await _contract(gateway).submit("Put", ITEM)
            assert answer == b'[{"code": "ok", "key": "a"}]'
            assert peer.applied == {"a": 1}

    run(scenario())


def test_deadlines_by_call_and_by_default() -> None:
    async def scenario() -> None:
        timeouts = CallTimeouts(commit_status=0.1)
        async with FakePeer() as peer, connect(peer.endpoint, timeouts) as gateway:
            peer.script.status += ["hang", "hang"]
            transaction = await _contract(gateway).new_proposal("Put", [ITEM]).endorse()
            commit = await transaction.submit()
            for deadline in (None, 0.05):
                with pytest.raises(CommitStatusError) as asking:
                    await commit.status(deadline=deadline)
                assert asking.value.code is STATUS.DEADLINE_EXCEEDED
            assert (await commit.status(deadline=5)).successful

    run(scenario())


def test_a_peer_that_is_away_is_unavailable() -> None:
    async def scenario() -> None:
        peer = FakePeer()
        await peer.start()
        await peer.stop()
        async with connect(peer.endpoint) as gateway:
            with pytest.raises(EndorseError) as endorsing:
                await _contract(gateway).new_proposal("Put", [ITEM]).endorse()
            assert endorsing.value.code is STATUS.UNAVAILABLE
            with pytest.raises(EventsError):
                await anext(gateway.network("payments").block_events())
            await peer.start()
            while True:  # the channel reconnects by itself, after a pause of its own
                try:
                    await _contract(gateway).submit("Put", ITEM)
                    break
                except EndorseError:
                    await asyncio.sleep(0.01)
            assert peer.applied == {"a": 1}
            await peer.stop()

    run(scenario())


def test_bytes_survive_and_are_signed_elsewhere() -> None:
    """The key is in another place: only digests go there, only signatures come back."""

    class NoKey:
        msp_id = "BankOne"
        identity = signer().identity

        def sign(self, message: bytes) -> bytes:
            raise AssertionError("there is no key here")

    async def scenario() -> None:
        async with FakePeer() as peer:
            channel = grpc.aio.insecure_channel(peer.endpoint)
            async with Gateway(channel, NoKey()) as gateway:
                unsigned = _contract(gateway).new_proposal("Put", [ITEM])
                signature = signer().sign_digest(unsigned.digest)
                proposal = gateway.new_signed_proposal(unsigned.to_bytes(), signature)
                assert proposal.transaction_id == unsigned.transaction_id
                endorsed = await proposal.endorse()
                signature = signer().sign_digest(endorsed.digest)
                transaction = gateway.new_signed_transaction(endorsed.to_bytes(), signature)
                assert transaction.result == endorsed.result
                asked = await transaction.submit()
                signature = signer().sign_digest(asked.digest)
                commit = gateway.new_signed_commit(asked.to_bytes(), signature)
                assert commit.transaction_id == transaction.transaction_id
                assert (await commit.status()).successful
                network = gateway.network("payments")
                wanted = network.block_events_request(Start(block=1))
                signature = signer().sign_digest(wanted.digest)
                blocks = gateway.new_signed_block_events_request(wanted.to_bytes(), signature)
                assert (await anext(blocks.blocks())).number == 1
                named = network.chaincode_events_request(CHAINCODE, Start(block=1))
                signature = signer().sign_digest(named.digest)
                events = gateway.new_signed_chaincode_events_request(named.to_bytes(), signature)
                assert (await anext(events.events())).transaction_id == proposal.transaction_id
                for make in (
                    gateway.new_block_events_request,
                    gateway.new_chaincode_events_request,
                ):
                    with pytest.raises(ValueError, match="not a"):
                        make(b"\xff")
        _verify_signatures(peer)

    run(scenario())


def _verify_signatures(peer: FakePeer) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    public = x509.load_pem_x509_certificate(signer().certificate_pem).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    endorse, submit, status, deliver, events = peer.requests
    for message, signature in [
        (endorse.proposed_transaction.proposal_bytes, endorse.proposed_transaction.signature),
        (submit.prepared_transaction.payload, submit.prepared_transaction.signature),
        (status.request, status.signature),
        (deliver.payload, deliver.signature),
        (events.request, events.signature),
    ]:
        public.verify(signature, message, ec.ECDSA(hashes.SHA256()))


def test_signed_transactions_keep_their_bytes() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            contract = _contract(gateway)
            transaction = await contract.new_proposal("Put", [ITEM]).endorse()
            transaction.sign()
            stored = transaction.to_bytes()
            await transaction.submit()
            await contract.new_transaction(stored).submit()
            assert peer.submitted[0] == peer.submitted[1]
            assert contract.new_transaction(stored).to_bytes() == stored

    run(scenario())


def test_foreign_bytes_are_refused() -> None:
    async def scenario() -> None:
        async with connect("127.0.0.1:1") as gateway:
            for parse in (gateway.new_proposal, gateway.new_transaction, gateway.new_commit):
                with pytest.raises(ValueError, match="not a "):
                    parse(b"\xff\xff\xff")
            empty = gateway_pb2.PreparedTransaction().SerializeToString()
            with pytest.raises(ValueError, match="without actions"):
                _contract(gateway).new_transaction(empty)

    run(scenario())


def test_chaincode_events_resume_after_a_checkpoint(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            network = gateway.network("payments")
            for key in ("a", "b", "c"):
                await _contract(gateway).submit("Put", f'[{{"key":"{key}","value":"1"}}]')
            checkpoint = FileCheckpointer(tmp_path / "events")
            assert checkpoint.block_number is None
            events = network.chaincode_events(CHAINCODE, Start(block=0, checkpoint=checkpoint))
            first = await anext(events)
            assert (first.block_number, first.name) == (1, "put.v1")
            checkpoint.checkpoint_chaincode_event(first)
            await events.aclose()

            resumed = FileCheckpointer(tmp_path / "events")
            assert resumed.transaction_id == first.transaction_id
            events = network.chaincode_events(CHAINCODE, Start(checkpoint=resumed))
            second = await anext(events)
            assert second.block_number == 2
            await events.aclose()

            memory = InMemoryCheckpointer()
            memory.checkpoint_block(2)
            events = network.chaincode_events(CHAINCODE, Start(checkpoint=memory))
            assert (await anext(events)).block_number == 3
            await events.aclose()

    run(scenario())


def test_torn_event_checkpoints_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "events"
    FileCheckpointer(path).checkpoint_block(7)
    whole = path.read_bytes()
    for torn in (whole[:-3], b"", whole.replace(b"8", b"9", 1), b"{}"):
        path.write_bytes(torn)
        with pytest.raises(CheckpointError):
            FileCheckpointer(path)
    path.write_bytes(whole)
    assert FileCheckpointer(path).block_number == 8


def test_filtered_blocks_and_refused_streams() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            network = gateway.network("payments")
            await _contract(gateway).submit("Put", ITEM)
            filtered = network.filtered_block_events(Start(block=1))
            block = await anext(filtered)
            (transaction,) = block.transactions
            assert (block.number, transaction.code_name) == (1, "VALID")
            assert transaction.event_names == ("put.v1",)
            await filtered.aclose()
            bounded = [b.number async for b in network.block_events(Start(block=0, stop=1))]
            assert bounded == [0, 1]
            for name, code in [
                ("FORBIDDEN", STATUS.PERMISSION_DENIED),
                ("NOT_FOUND", STATUS.NOT_FOUND),
                ("BAD_REQUEST", STATUS.INVALID_ARGUMENT),
            ]:
                peer.script.deliver.append(name)
                with pytest.raises(EventsError, match=name) as refused:
                    await anext(network.block_events())
                assert refused.value.code is code

    run(scenario())


def test_a_stream_that_is_refused_unread_tells_why() -> None:
    """Of a server that ends it at once, in a thread of its own; one write in six lost its words."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    endpoint = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    large = common_pb2.Envelope(payload=bytes(1 << 20)).SerializeToString()

    async def refused(gateway: Gateway) -> EventsError:
        with pytest.raises(EventsError) as caught:
            await anext(gateway.new_signed_block_events_request(large, b"its own").blocks())
        return caught.value

    async def scenario() -> None:
        async with connect(endpoint) as gateway:
            said = [await refused(gateway) for _ in range(100)]
        assert {(error.code, error.message) for error in said} == {
            (STATUS.UNIMPLEMENTED, "Method not found!")
        }

    try:
        run(scenario())
    finally:
        server.stop(0).wait()


def test_the_next_block_is_the_default_start() -> None:
    async def scenario() -> None:
        async with FakePeer() as peer, connect(peer.endpoint) as gateway:
            await _contract(gateway).submit("Put", ITEM)
            events = gateway.network("payments").block_events()
            waiting = asyncio.ensure_future(anext(events))
            await peer.until(lambda: any(hasattr(r, "payload") for r in peer.requests))
            await _contract(gateway).submit("Put", '[{"key":"b","value":"1"}]')
            assert (await waiting).number == 2
            await events.aclose()

    run(scenario())


def test_certificate_and_key_must_fit() -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    with pytest.raises(ValueError, match="not the private key's"):
        X509Signer("BankOne", new_certificate(key), other)
