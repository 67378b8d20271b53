"""Validation codes: each kind of bad transaction one row, and what a block as a whole does."""

from pathlib import Path
from typing import Any

import pytest
from block_factory import Chain, chain, define, sign
from fabric_protos.common import common_pb2, policies_pb2
from fabric_protos.ledger.rwset import rwset_pb2
from fabric_protos.ledger.rwset.kvrwset import kv_rwset_pb2
from forged_transactions import Forgery, catalogue, event, rwset
from peer_world import World

from clearline.fabric import protoutil
from network.embedded.peer.block_processor import BlockRefusedError
from network.embedded.peer.endorsement_policies import member_policy

CATALOGUE = (
    "plain", "status-0", "status-500", "wrong-version", "event-tx-id", "no-timestamp",
    "header-version", "empty-rwset", "garbage-endorsement", "bad-signature-first",
    "same-endorser", "one-endorser", "client-endorser", "no-endorser", "high-s", "tampered",
    "unknown-namespace", "empty-version", "name-mismatch", "empty-name", "not-defined",
    "event-mismatch", "event-garbage", "no-header-id", "no-action-id", "bad-extension",
    "two-of-one-namespace", "rwset-garbage", "proposal-hash", "two-actions", "no-action",
    "action-nonce", "wrong-tx-id", "no-tx-id", "epoch", "stale-read", "absent-read",
)  # fmt: skip


def _good(chain: Chain, results: bytes, **fields: Any) -> bytes:
    fields.setdefault("endorsers", chain.peers())
    return Forgery(chain.client(), results=results, **fields).envelope()


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_forged_transaction_gets_its_code_and_changes_nothing_when_invalid(
    ledger_chain: Chain, name: str
) -> None:
    client = ledger_chain.world.signer("BankTwo")
    rows = {
        row[0]: row[1:] for row in catalogue(ledger_chain.client(), ledger_chain.peers(), client)
    }
    assert set(rows) == set(CATALOGUE)
    forgery, code = rows[name]
    ledger_chain.commit(_good(ledger_chain, rwset([("a0", "1")])))
    good = _good(ledger_chain, rwset([("beside", "1")]))
    assert ledger_chain.commit(forgery.envelope(), good) == [code, "VALID"]
    assert ledger_chain.value("beside") == b"1"
    if code != "VALID":
        assert ledger_chain.value(f"forged-{name}") is None


def _payload(chain: Chain, **changes: Any) -> common_pb2.Payload:
    envelope = common_pb2.Envelope.FromString(_good(chain, rwset([("a", "1")])))
    payload = common_pb2.Payload.FromString(envelope.payload)
    for name, value in changes.items():
        if name == "header":
            payload.ClearField("header")
        else:
            setattr(payload.header, name, value)
    return payload


def _envelopes(chain: Chain) -> dict[str, tuple[bytes, str]]:
    """Envelopes that an orderer would have refused: a peer must live with them all the same."""
    signer = chain.client()
    good = common_pb2.Envelope.FromString(_good(chain, rwset([("a", "1")])))
    empty_nonce = protoutil.make_signature_header(signer.identity, b"").SerializeToString()
    no_creator = protoutil.make_signature_header(b"", b"nonce").SerializeToString()
    stranger = protoutil.make_signature_header(b"\x0a\x05Alien", b"nonce").SerializeToString()
    config = protoutil.create_signed_envelope(1, "payments", signer, b"\xff\xff")

    def signed(payload: Any) -> bytes:
        envelope = protoutil.sign_payload(signer, payload.SerializeToString())
        return bytes(envelope.SerializeToString())

    def typed(kind: int, channel: str = "payments") -> bytes:
        envelope = protoutil.create_signed_envelope(kind, channel, signer, b"data")
        return bytes(envelope.SerializeToString())

    unsigned = common_pb2.Envelope(payload=good.payload)
    foreign = common_pb2.Envelope(payload=good.payload, signature=signer.sign(b"else"))
    return {
        "no envelope": (b"\xff\xff", "INVALID_OTHER_REASON"),
        "empty": (b"", "BAD_COMMON_HEADER"),
        "bad payload": (
            common_pb2.Envelope(payload=b"\xff\xff").SerializeToString(),
            "BAD_PAYLOAD",
        ),
        "no header": (signed(_payload(chain, header=None)), "BAD_COMMON_HEADER"),
        "bad channel header": (
            signed(_payload(chain, channel_header=b"\xff")),
            "BAD_COMMON_HEADER",
        ),
        "bad signature header": (
            signed(_payload(chain, signature_header=b"\xff")),
            "BAD_COMMON_HEADER",
        ),
        "no nonce": (signed(_payload(chain, signature_header=empty_nonce)), "BAD_COMMON_HEADER"),
        "no creator": (signed(_payload(chain, signature_header=no_creator)), "BAD_COMMON_HEADER"),
        "stranger": (signed(_payload(chain, signature_header=stranger)), "BAD_CREATOR_SIGNATURE"),
        "unsigned": (unsigned.SerializeToString(), "BAD_CREATOR_SIGNATURE"),
        "another's signature": (foreign.SerializeToString(), "BAD_CREATOR_SIGNATURE"),
        "other channel": (
            _good(chain, rwset([("a", "1")]), channel="elsewhere"),
            "BAD_CREATOR_SIGNATURE",
        ),
        "no channel": (_good(chain, rwset([("a", "1")]), channel=""), "BAD_CREATOR_SIGNATURE"),
        "message type": (typed(0), "BAD_COMMON_HEADER"),
        "config update": (typed(2), "UNSUPPORTED_TX_PAYLOAD"),
        "no transaction": (typed(3), "BAD_PROPOSAL_TXID"),
        "garbage config": (config.SerializeToString(), "INVALID_CONFIG_TRANSACTION"),
    }


def test_no_envelope_however_broken_stops_the_chain(ledger_chain: Chain) -> None:
    envelopes = _envelopes(ledger_chain)
    good = _good(ledger_chain, rwset([("after", "1")]))
    codes = ledger_chain.commit(*(raw for raw, _ in envelopes.values()), good)
    expected = [code for _, code in envelopes.values()]
    assert dict(zip(envelopes, codes, strict=False)) == dict(zip(envelopes, expected, strict=True))
    assert codes[-1] == "VALID"
    assert ledger_chain.value("after") == b"1"


def test_only_an_earlier_valid_transaction_makes_a_duplicate_in_its_block(
    ledger_chain: Chain,
) -> None:
    nonce = protoutil.new_nonce()
    bad = _good(ledger_chain, rwset([("a", "1")]), nonce=nonce, endorsers=[])
    good = _good(ledger_chain, rwset([("a", "2")]), nonce=nonce)
    codes = ledger_chain.commit(bad, good, good)
    assert codes == ["ENDORSEMENT_POLICY_FAILURE", "VALID", "DUPLICATE_TXID"]
    assert ledger_chain.commit(good) == ["DUPLICATE_TXID"]


def test_an_id_that_was_ever_in_a_block_is_a_duplicate_even_if_it_was_invalid(
    ledger_chain: Chain,
) -> None:
    nonce = protoutil.new_nonce()
    bad = _good(ledger_chain, rwset([("a", "1")]), nonce=nonce, endorsers=[])
    assert ledger_chain.commit(bad) == ["ENDORSEMENT_POLICY_FAILURE"]
    good = _good(ledger_chain, rwset([("a", "1")]), nonce=nonce)
    assert ledger_chain.commit(good) == ["DUPLICATE_TXID"]


def test_reads_conflict_with_earlier_writes_of_the_block_and_with_committed_versions(
    ledger_chain: Chain,
) -> None:
    first = _good(ledger_chain, rwset([("n", "1")], [("n", None)]))
    second = _good(ledger_chain, rwset([("n", "2")], [("n", None)]))
    assert ledger_chain.commit(first, second) == ["VALID", "MVCC_READ_CONFLICT"]
    stale = _good(ledger_chain, rwset([("n", "3")], [("n", (1, 0))]))
    fresh = _good(ledger_chain, rwset([("n", "4")], [("n", (2, 0))]))
    assert ledger_chain.commit(stale, fresh) == ["MVCC_READ_CONFLICT", "VALID"]
    assert ledger_chain.value("n") == b"4"


def _lock(key: str, policy: bytes) -> bytes:
    content = kv_rwset_pb2.KVRWSet()
    content.metadata_writes.add(key=key).entries.add(name="VALIDATION_PARAMETER", value=policy)
    message = rwset_pb2.TxReadWriteSet()
    message.ns_rwset.add(namespace="clearline", rwset=content.SerializeToString())
    return bytes(message.SerializeToString())


def test_a_key_level_policy_counts_instead_of_the_chaincodes(ledger_chain: Chain) -> None:
    policy = member_policy(["Supervisor"], 1)
    banks, supervisor = ledger_chain.peers(), ledger_chain.peers("Supervisor")
    ledger_chain.commit(_good(ledger_chain, rwset([("key", "1"), ("free", "1")])))
    assert ledger_chain.commit(_good(ledger_chain, _lock("key", policy))) == ["VALID"]
    by_banks = _good(ledger_chain, rwset([("key", "2")]), endorsers=banks)
    by_supervisor = _good(ledger_chain, rwset([("key", "3")]), endorsers=supervisor)
    with_free = _good(ledger_chain, rwset([("key", "4"), ("free", "2")]), endorsers=supervisor)
    policy_failure = "ENDORSEMENT_POLICY_FAILURE"
    codes = ledger_chain.commit(by_banks, by_supervisor, with_free)
    assert codes == [policy_failure, "VALID", policy_failure]
    assert ledger_chain.value("key") == b"3"


def test_a_policy_changed_earlier_in_the_block_invalidates_a_write_of_its_key(
    ledger_chain: Chain,
) -> None:
    policy = member_policy(["BankOne", "BankTwo"], 1)
    ledger_chain.commit(_good(ledger_chain, rwset([("key", "1")])))
    lock = _good(ledger_chain, _lock("key", policy))
    refused = _good(ledger_chain, _lock("key", policy), endorsers=[])
    write = _good(ledger_chain, rwset([("key", "2")]))
    failure = "ENDORSEMENT_POLICY_FAILURE"
    assert ledger_chain.commit(refused, write) == [failure, "VALID"]
    assert ledger_chain.commit(lock, write) == ["VALID", "DUPLICATE_TXID"]
    again = _good(ledger_chain, rwset([("key", "3")]))
    relock = _good(ledger_chain, _lock("key", policy))
    assert ledger_chain.commit(relock, again) == ["VALID", failure]


def test_writes_to_another_chaincode_need_its_policy_too(
    certificates: World, tmp_path: Path
) -> None:
    with chain(certificates, tmp_path / "ledger") as made:
        envelope = policies_pb2.SignaturePolicyEnvelope.FromString(member_policy(["Supervisor"], 1))
        from fabric_protos.peer import policy_pb2

        parameter = policy_pb2.ApplicationPolicy(signature_policy=envelope).SerializeToString()
        define(made.ledger, "vault", validation_parameter=parameter)
        both = rwset([("a", "1")]) + rwset([("b", "1")], namespace="vault")
        banks = _good(made, both)
        everybody = _good(made, both, endorsers=made.peers("BankOne", "BankTwo", "Supervisor"))
        assert made.commit(banks, everybody) == ["ENDORSEMENT_POLICY_FAILURE", "VALID"]
        assert made.value("b", "vault") == b"1"


def test_lifecycle_writes_need_a_majority_and_are_seen_from_the_next_block_on(
    ledger_chain: Chain,
) -> None:
    key = "namespaces/metadata/clearline"
    gone = rwset([(key, "")], namespace="_lifecycle")
    fields: dict[str, Any] = {
        "header_chaincode": "_lifecycle",
        "action_chaincode": "_lifecycle",
        "chaincode_version": "syscc",
    }
    one = _good(ledger_chain, gone, endorsers=ledger_chain.peers("BankOne"), **fields)
    two = _good(ledger_chain, gone, **fields)
    before = _good(ledger_chain, rwset([("a", "1")]))
    codes = ledger_chain.commit(one, two, before)
    assert codes == ["ENDORSEMENT_POLICY_FAILURE", "VALID", "VALID"]
    assert ledger_chain.commit(_good(ledger_chain, rwset([("a", "2")]))) == ["INVALID_CHAINCODE"]


def test_history_and_index_hold_what_became_of_each_transaction(ledger_chain: Chain) -> None:
    first = Forgery(ledger_chain.client(), ledger_chain.peers(), rwset([("k", "1")]))
    bad = Forgery(ledger_chain.client(), [], rwset([("k", "2")]))
    last = Forgery(ledger_chain.client(), ledger_chain.peers(), rwset([("k", "")]), events=event())
    ledger_chain.commit(first.envelope(), bad.envelope(), last.envelope())
    with ledger_chain.ledger.snapshot() as snapshot:
        assert list(snapshot.history("clearline", b"k")) == [(2, 2), (2, 0)]
        location = snapshot.tx_location(bad.id)
    assert location is not None
    assert (location.block, location.position, location.code) == (2, 1, 10)
    assert ledger_chain.value("k") is None


def test_a_block_that_is_not_the_next_one_of_the_orderers_is_refused(ledger_chain: Chain) -> None:
    envelope = _good(ledger_chain, rwset([("a", "1")]))
    number = ledger_chain.block([envelope])
    number.header.number += 1
    sign(number, ledger_chain.orderer())
    previous = ledger_chain.block([envelope])
    previous.header.previous_hash = b"\0" * 32
    sign(previous, ledger_chain.orderer())
    data = ledger_chain.block([envelope])
    data.data.data[0] = envelope + b"\x1a\x00"
    unsigned = ledger_chain.block([envelope])
    unsigned.metadata.metadata[0] = b""
    altered = ledger_chain.block([envelope])
    altered.header.data_hash = protoutil.block_data_hash([envelope, envelope])
    altered.data.data.append(envelope)
    by_peer = ledger_chain.block([envelope], ledger_chain.peers()[0])
    empty = ledger_chain.block([])
    bare = ledger_chain.block([envelope])
    bare.ClearField("metadata")
    before = ledger_chain.ledger.info
    for block in (number, previous, data, unsigned, altered, by_peer, empty, bare):
        with pytest.raises(BlockRefusedError):
            ledger_chain.processor.process(block.SerializeToString())
    with pytest.raises(BlockRefusedError):
        ledger_chain.processor.process(b"\xff\xff")
    assert ledger_chain.ledger.info == before
    assert ledger_chain.commit(envelope) == ["VALID"]
