"""Membership: which certificates count, for what, and which signatures."""

import base64
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import certificate_kit as kit
import pytest
from certificate_kit import Authority, Leaf
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from fabric_protos.msp import msp_config_pb2, msp_principal_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from clearline.fabric import protoutil
from network.embedded import certificates
from network.embedded.msp import MSP, Identity, MSPError, MSPManager

ROLE = msp_principal_pb2.MSPRole
KIND = msp_principal_pb2.MSPPrincipal


@pytest.fixture(scope="module")
def root() -> Authority:
    return kit.make_authority("Org")


def _manager(config: Any) -> MSPManager:
    return MSPManager([MSP.from_config(config)])


def _identity(root: Authority, leaf: Leaf, **fields: Any) -> Identity:
    certificate, _ = kit.issue(root, leaf)
    creator = protoutil.serialized_identity("Org", certificate.public_bytes(Encoding.PEM))
    return _manager(kit.msp_config("Org", root, **fields)).deserialize(creator)


def _role(role: int, msp_id: str = "Org") -> Any:
    principal = ROLE(role=role, msp_identifier=msp_id).SerializeToString()
    return KIND(principal_classification=KIND.ROLE, principal=principal)


ROLES = {
    "client": {ROLE.MEMBER, ROLE.CLIENT},
    "peer": {ROLE.MEMBER, ROLE.PEER},
    "admin": {ROLE.MEMBER, ROLE.ADMIN},
    "orderer": {ROLE.MEMBER, ROLE.ORDERER},
}


@pytest.mark.parametrize("unit", ROLES)
def test_a_certificate_has_the_roles_of_its_unit(root: Authority, unit: str) -> None:
    identity = _identity(root, Leaf(units=(unit, "accounting")))
    identity.validate()
    everything = (ROLE.MEMBER, ROLE.ADMIN, ROLE.CLIENT, ROLE.PEER, ROLE.ORDERER)
    assert {role for role in everything if identity.satisfies(_role(role))} == ROLES[unit]
    assert not identity.satisfies(_role(ROLE.MEMBER, "Other"))


@pytest.mark.parametrize("units", [(), ("accounting",), ("client", "peer"), ("client", "client")])
def test_exactly_one_node_unit(root: Authority, units: tuple[str, ...]) -> None:
    identity = _identity(root, Leaf(units=units))
    with pytest.raises(MSPError, match="exactly one of"):
        identity.validate()
    assert not identity.satisfies(_role(ROLE.MEMBER))


def test_organization_unit_principals(root: Authority) -> None:
    identity = _identity(root, Leaf(units=("client", "accounting")))
    certifiers = identity.ous[0].certifiers

    def unit(name: str, certifiers: bytes, msp_id: str = "Org") -> Any:
        named = msp_principal_pb2.OrganizationUnit(
            msp_identifier=msp_id,
            organizational_unit_identifier=name,
            certifiers_identifier=certifiers,
        )
        return KIND(
            principal_classification=KIND.ORGANIZATION_UNIT, principal=named.SerializeToString()
        )

    assert identity.satisfies(unit("accounting", certifiers))
    assert not identity.satisfies(unit("sales", certifiers))
    assert not identity.satisfies(unit("accounting", b"\0" * 32))
    assert not identity.satisfies(unit("accounting", certifiers, "Other"))


def test_identity_combined_and_odd_principals(root: Authority) -> None:
    one, _ = kit.issue(root, Leaf())
    two, _ = kit.issue(root, Leaf(name="other"))
    creator = protoutil.serialized_identity("Org", one.public_bytes(Encoding.PEM))
    other = protoutil.serialized_identity("Org", two.public_bytes(Encoding.PEM))
    identity = _manager(kit.msp_config("Org", root)).deserialize(creator)

    def combined(*items: Any) -> Any:
        content = msp_principal_pb2.CombinedPrincipal(principals=items).SerializeToString()
        return KIND(principal_classification=KIND.COMBINED, principal=content)

    same = KIND(principal_classification=KIND.IDENTITY, principal=creator)
    table = [
        (same, True),
        (KIND(principal_classification=KIND.IDENTITY, principal=other), False),
        (KIND(principal_classification=KIND.IDENTITY, principal=b"junk"), False),
        (combined(_role(ROLE.MEMBER), same), True),
        (combined(_role(ROLE.MEMBER), _role(ROLE.ADMIN)), False),
        (combined(combined(same)), True),
        (combined(), False),
        (KIND(principal_classification=KIND.ROLE, principal=b"\xff"), False),
        (_role(77), False),
    ]
    assert [identity.satisfies(item) for item, _ in table] == [wanted for _, wanted in table]


def test_administrators_may_be_named_by_certificate(root: Authority) -> None:
    certificate, _ = kit.issue(root, Leaf(units=("client",)))
    pem = certificate.public_bytes(Encoding.PEM)
    manager = _manager(kit.msp_config("Org", root, admins=[pem]))
    named = manager.deserialize(protoutil.serialized_identity("Org", pem))
    assert named.satisfies(_role(ROLE.ADMIN))
    plain = _identity(root, Leaf(units=("client",)))
    assert not plain.satisfies(_role(ROLE.ADMIN))


def test_an_expired_certificate_still_validates(root: Authority) -> None:
    start = root.start + timedelta(days=1)
    identity = _identity(root, Leaf(start=start, end=start + timedelta(hours=1)))
    assert identity.expires_at < datetime.now(UTC)
    identity.validate()


def test_a_certificate_older_than_its_authority_does_not(root: Authority) -> None:
    with pytest.raises(MSPError, match="unknown authority"):
        _identity(root, Leaf(start=root.start - timedelta(days=1)))


def test_foreign_and_malformed_creators(root: Authority) -> None:
    stranger, _ = kit.issue(kit.make_authority("Org"), Leaf())
    pem = stranger.public_bytes(Encoding.PEM)
    manager = _manager(kit.msp_config("Org", root))
    table = [
        (protoutil.serialized_identity("Org", pem), "unknown authority"),
        (protoutil.serialized_identity("Other", pem), "MSP Other is not defined"),
        (protoutil.serialized_identity("Org", b"no pem"), "PEM"),
        (
            protoutil.serialized_identity(
                "Org", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            ),
            "parseCertificate failed",
        ),
        (protoutil.serialized_identity("Org", root.pem), "CA certificate"),
        (b"\xff\xff", "could not deserialize"),
    ]
    for creator, reason in table:
        with pytest.raises(MSPError, match=reason):
            manager.deserialize(creator).validate()


@pytest.mark.parametrize(
    ("leaf", "accepted"),
    [
        (Leaf(usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)), False),
        (Leaf(usages=(ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)), True),
        (Leaf(usages=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), True),
        (Leaf(critical_oid="1.2.3.4.5.6"), False),
    ],
)
def test_extensions_as_go_reads_them(root: Authority, leaf: Leaf, accepted: bool) -> None:
    if accepted:
        _identity(root, leaf).validate()
        return
    with pytest.raises(MSPError):
        _identity(root, leaf)


def test_revoked_certificates(root: Authority) -> None:
    bad, _ = kit.issue(root, Leaf(name="bad"))
    good, _ = kit.issue(root, Leaf(name="good"))
    impostor = Authority(root.certificate, kit.make_authority("x").key)
    table: list[tuple[list[bytes], bool]] = [
        ([], True),
        ([kit.revocation_list(root, [bad])], False),
        ([kit.revocation_list(root, [good])], True),
        ([kit.revocation_list(kit.make_authority("y"), [bad])], True),
        ([kit.revocation_list(impostor, [bad])], True),
        ([kit.revocation_list(root, []), kit.revocation_list(root, [good, bad])], False),
    ]
    creator = protoutil.serialized_identity("Org", bad.public_bytes(Encoding.PEM))
    for lists, valid in table:
        manager = _manager(kit.msp_config("Org", root, revocation_list=lists))
        identity = manager.deserialize(creator)
        assert identity.satisfies(_role(ROLE.MEMBER)) == valid
        if not valid:
            with pytest.raises(MSPError, match="revoked"):
                identity.validate()


def test_intermediate_authorities(root: Authority) -> None:
    middle = kit.make_authority("Middle", root)
    config = kit.msp_config("Org", root, intermediate_certs=[middle.pem])
    manager = _manager(config)

    def identity(issuer: Authority) -> Identity:
        certificate, _ = kit.issue(issuer, Leaf())
        return manager.deserialize(
            protoutil.serialized_identity("Org", certificate.public_bytes(Encoding.PEM))
        )

    identity(middle).validate()
    with pytest.raises(MSPError, match="leaf of the certification tree"):
        identity(root).validate()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"root_certs": []}, "at least one CA"),
        ({"root_certs": [b"junk"]}, "PEM"),
        ({"fabric_node_ous": None}, "administrators must be declared"),
        ({"revocation_list": [b"junk"]}, "RevocationList"),
    ],
)
def test_definitions_that_cannot_be_used(
    root: Authority, fields: dict[str, Any], reason: str
) -> None:
    with pytest.raises(MSPError, match=reason):
        MSP.from_config(kit.msp_config("Org", root, **fields))


def test_a_leaf_is_not_an_authority(root: Authority) -> None:
    leaf, key = kit.issue(root, Leaf())
    with pytest.raises(MSPError):
        MSP.from_config(kit.msp_config("Org", Authority(leaf, key)))


def test_units_can_be_tied_to_an_authority(root: Authority) -> None:
    second = kit.make_authority("Second")

    def unit(name: str, authority: Authority | None) -> Any:
        pem = authority.pem if authority else b""
        return msp_config_pb2.FabricOUIdentifier(
            certificate=pem, organizational_unit_identifier=name
        )

    ous = msp_config_pb2.FabricNodeOUs(
        enable=True,
        client_ou_identifier=unit("client", root),
        admin_ou_identifier=unit("admin", None),
    )
    manager = _manager(kit.msp_config("Org", root, second, fabric_node_ous=ous))

    def valid(issuer: Authority, name: str) -> bool:
        certificate, _ = kit.issue(issuer, Leaf(units=(name,)))
        creator = protoutil.serialized_identity("Org", certificate.public_bytes(Encoding.PEM))
        return manager.deserialize(creator).satisfies(_role(ROLE.MEMBER))

    assert valid(root, "client")
    assert not valid(second, "client")
    assert valid(second, "admin")


MESSAGE = b"to be signed"
ALTERATIONS: list[tuple[str, Callable[[bytes], bytes], bool]] = [
    ("as it is", lambda s: s, True),
    ("bytes after it, which Go ignores", lambda s: s + b"\x01\x02", True),
    (
        "an element more inside, which Go ignores",
        lambda s: b"\x30" + bytes([s[1] + 2]) + s[2:] + b"\x05\x00",
        True,
    ),
    ("high S", kit.high_s, False),
    ("truncated", lambda s: s[:-1], False),
    ("empty", lambda s: b"", False),
    ("another tag", lambda s: b"\x31" + s[1:], False),
    ("long form where short fits", lambda s: b"\x30\x81" + s[1:], False),
    ("another r", lambda s: s[:5] + bytes([s[5] ^ 1]) + s[6:], False),
]


@pytest.mark.parametrize(("alter", "valid"), [row[1:] for row in ALTERATIONS])
def test_signatures(root: Authority, alter: Callable[[bytes], bytes], valid: bool) -> None:
    signer = kit.signer(root, "Org", Leaf())
    identity = _manager(kit.msp_config("Org", root)).deserialize(signer.identity)
    signature = alter(signer.sign(MESSAGE))
    known = hashlib.sha256(MESSAGE).digest()
    for digest in (None, known):
        if valid:
            identity.verify(MESSAGE, signature, digest)
            continue
        with pytest.raises(MSPError):
            identity.verify(MESSAGE, signature, digest)
    with pytest.raises(MSPError):
        identity.verify(MESSAGE, signature, hashlib.sha256(known).digest())


def test_zero_and_negative_parts() -> None:
    for part in (b"\x02\x01\x00", b"\x02\x01\xff", b"\x02\x02\x00\x01", b"\x02\x00"):
        body = part + b"\x02\x01\x05"
        with pytest.raises(certificates.CertificateError):
            certificates.split_signature(b"\x30" + bytes([len(body)]) + body)


def test_nobody_becomes_two_by_altering_a_certificates_signature(root: Authority) -> None:
    """ECDSA signatures have a twin: certificates are compared in low-S form."""
    while True:
        certificate, _ = kit.issue(root, Leaf())
        if decode_dss_signature(certificate.signature)[1] <= kit.P256_ORDER // 2:
            break
    twin_signature = kit.high_s(certificate.signature)
    body = certificate.public_bytes(Encoding.DER)
    tail = b"\x03" + bytes([len(certificate.signature) + 1]) + b"\x00" + certificate.signature
    assert body.endswith(tail)
    new_tail = b"\x03" + bytes([len(twin_signature) + 1]) + b"\x00" + twin_signature
    content = body[4 : -len(tail)] + new_tail
    twin = x509.load_der_x509_certificate(b"\x30\x82" + len(content).to_bytes(2, "big") + content)
    manager = _manager(kit.msp_config("Org", root))
    first, second = (
        manager.deserialize(protoutil.serialized_identity("Org", item.public_bytes(Encoding.PEM)))
        for item in (certificate, twin)
    )
    assert twin != certificate
    assert first.key == second.key


def test_the_identity_cache_is_bounded_and_by_bytes(root: Authority) -> None:
    manager = _manager(kit.msp_config("Org", root))
    creator = kit.signer(root, "Org", Leaf()).identity
    assert manager.deserialize(creator) is manager.deserialize(bytes(bytearray(creator)))


def test_no_bytes_do_more_than_be_refused(root: Authority) -> None:
    """A creator is whatever a stranger sends."""
    certificate, _ = kit.issue(root, Leaf())
    encoded = certificate.public_bytes(Encoding.DER)
    manager = _manager(kit.msp_config("Org", root))

    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(encoded) - 1), st.binary(min_size=1, max_size=4))
    def altered(position: int, patch: bytes) -> None:
        body = encoded[:position] + patch + encoded[position + len(patch) :]
        if body == encoded:
            return
        pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(body)
        pem += b"-----END CERTIFICATE-----\n"
        try:
            identity = manager.deserialize(protoutil.serialized_identity("Org", pem))
        except MSPError:
            return
        # What is left is the same certificate: its signature covers everything else.
        assert identity.certificate.tbs_certificate_bytes == certificate.tbs_certificate_bytes

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=80))
    def garbage(data: bytes) -> None:
        with pytest.raises(MSPError):
            manager.deserialize(data)

    altered()
    garbage()
