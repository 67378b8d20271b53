"""Bytes that must be Fabric's, and identities that Fabric would take."""

import hashlib
import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from fabric_fake_peer import FakePeer
from fabric_protos.common import common_pb2
from fabric_protos.peer import events_pb2, proposal_pb2
from helpers_fabric import key_pem, new_certificate, run, write_identity

from clearline.fabric import protoutil
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import IdentityError, X509Signer, curve_order, to_low_s
from clearline.fabric.profile import Profile, ProfileError


@pytest.mark.parametrize(
    ("number", "integer"),
    [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (256, "02020100"),
        (2**63, "0209008000000000000000"),
        (2**64 - 1, "020900ffffffffffffffff"),
    ],
)
def test_block_header_is_der(number: int, integer: str) -> None:
    header = common_pb2.BlockHeader(number=number, previous_hash=b"p" * 32, data_hash=b"d" * 32)
    content = bytes.fromhex(integer) + b"\x04\x20" + b"p" * 32 + b"\x04\x20" + b"d" * 32
    expected = b"\x30" + bytes([len(content)]) + content
    assert protoutil.block_header_bytes(header) == expected
    assert protoutil.block_header_hash(header) == hashlib.sha256(expected).digest()


def test_block_data_hash_is_over_the_concatenation() -> None:
    assert protoutil.block_data_hash([b"a", b"bc"]) == hashlib.sha256(b"abc").digest()


def test_proposal_names_its_id_and_keeps_transient_data_apart() -> None:
    tx_id, raw = protoutil.make_chaincode_proposal(
        "payments", "clearline", [b"f", b"x"], b"me", transient={"k": b"v"}, nonce=b"n" * 24
    )
    assert tx_id == hashlib.sha256(b"n" * 24 + b"me").hexdigest()
    proposal = proposal_pb2.Proposal.FromString(raw)
    header = common_pb2.Header.FromString(proposal.header)
    channel_header = common_pb2.ChannelHeader.FromString(header.channel_header)
    assert (channel_header.tx_id, channel_header.type, channel_header.epoch) == (tx_id, 3, 0)
    payload = proposal_pb2.ChaincodeProposalPayload.FromString(proposal.payload)
    assert dict(payload.TransientMap) == {"k": b"v"}
    assert b"v" not in payload.input


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_signatures_are_low_s_and_verify(curve: ec.EllipticCurve) -> None:
    key = ec.generate_private_key(curve)
    signer = X509Signer("BankOne", new_certificate(key), key)
    order = curve_order(key)
    digest = hashlib.sha256(b"message").digest()
    for _ in range(16):
        for signature in (signer.sign(b"message"), signer.sign_digest(digest)):
            assert decode_dss_signature(signature)[1] <= order // 2
            algorithm = ec.ECDSA(Prehashed(hashes.SHA256()))
            key.public_key().verify(signature, digest, algorithm)


def test_low_s_changes_only_high_s() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    order = curve_order(key)
    seen: set[bool] = set()
    while len(seen) < 2:
        raw = key.sign(b"m", ec.ECDSA(hashes.SHA256()))
        high = decode_dss_signature(raw)[1] > order // 2
        assert (to_low_s(raw, order) != raw) is high
        seen.add(high)


def test_identities_that_cannot_work_say_why(tmp_path: Path) -> None:
    certificate, key = write_identity(tmp_path)
    other = tmp_path / "other.pem"
    other.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
    rsa_key = tmp_path / "rsa.pem"
    rsa_key.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    cases = [
        (certificate, other, "not the private key's"),
        (certificate, rsa_key, "not an ECDSA key"),
        (certificate, certificate, "not a plain PEM private key"),
        (key, key, "not a PEM certificate"),
        (tmp_path / "none", key, "can't read"),
    ]
    for cert_path, key_path, reason in cases:
        with pytest.raises(IdentityError, match=reason):
            X509Signer.from_files("BankOne", cert_path, key_path)
    assert X509Signer.from_files("BankOne", certificate, key).msp_id == "BankOne"


def _profile(folder: Path, **changes: object) -> Path:
    document = {
        "network": "clearline-dev",
        "channel": "payments",
        "chaincode": "clearline",
        "msp_id": "BankOne",
        "certificate": "cert.pem",
        "private_key": "key.pem",
        "tls_certificate": "cert.pem",
        "tls_private_key": "key.pem",
        "peer": {"endpoint": "127.0.0.1:1", "server_name": "client", "tls_ca": "cert.pem"},
    } | changes
    path = folder / "profile.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize("size", [0, 1, 120, 127, 128, 16_383, 16_384, 300_000])
def test_a_delivered_block_keeps_its_own_bytes(size: int) -> None:
    block = common_pb2.Block(data=common_pb2.BlockData(data=[b"x" * size]))
    response = events_pb2.DeliverResponse(block=block).SerializeToString()
    assert protoutil.delivered_block(response) == block.SerializeToString()
    for torn in (response[:-1], response + b"x", response + response, response[:1], b"\x12\xff"):
        assert protoutil.delivered_block(torn) is None, torn[:20]


def test_another_answer_is_no_delivered_block() -> None:
    for other in (
        events_pb2.DeliverResponse(status=common_pb2.Status.NOT_FOUND),
        events_pb2.DeliverResponse(filtered_block=events_pb2.FilteredBlock(number=3)),
        events_pb2.DeliverResponse(),
    ):
        assert protoutil.delivered_block(other.SerializeToString()) is None
    assert protoutil.delivered_block(b"\x12" + b"\x80" * 20) is None


def test_profile_errors_name_file_and_fault(tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"channel": ""}, "channel must be a non-empty text"),
        ({"msp_id": 3}, "msp_id must be"),
        ({"peer": None}, "peer must be an object"),
        ({"peer": {}}, "endpoint must be"),
    ]
    for changes, reason in cases:
        with pytest.raises(ProfileError, match=reason):
            Profile.load(_profile(tmp_path, **changes))
    (tmp_path / "profile.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ProfileError, match="must be"):
        Profile.load(tmp_path / "profile.json")
    (tmp_path / "profile.json").write_text("{", encoding="utf-8")
    with pytest.raises(ProfileError, match="not JSON"):
        Profile.load(tmp_path / "profile.json")
    with pytest.raises(ProfileError, match="can't read"):
        Profile.load(tmp_path / "none.json")
    profile = Profile.load(_profile(tmp_path))
    with pytest.raises(ProfileError, match="can't read"):
        profile.channel_credentials()


def test_connects_with_mutual_tls_as_the_profile_says(tmp_path: Path) -> None:
    async def scenario() -> None:
        certificate, key = write_identity(tmp_path)
        pem = certificate.read_bytes()
        peer = FakePeer()
        peer.use_tls(
            grpc.ssl_server_credentials(
                [(key.read_bytes(), pem)], root_certificates=pem, require_client_auth=True
            )
        )
        async with peer:
            endpoint = {"endpoint": peer.endpoint, "server_name": "client", "tls_ca": "cert.pem"}
            profile = Profile.load(_profile(tmp_path, peer=endpoint))
            async with Gateway.connect(profile) as gateway:
                contract = gateway.network("payments").contract("clearline")
                assert await contract.evaluate("Height") == b"1"

    run(scenario())
