"""Configuration updates: the difference is the least one, and the other end takes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2
from identity_world import authority

from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import Profile as ConnectionProfile
from network.ca import registry, store
from network.ca.client import Profile
from network.ca.enrolment import Member
from network.ca.errors import Code, IdentityCommandError
from network.ca.registry import RevocationList
from network.ca.revocation import PutList
from network.certificates import Authority
from network.channelpolicies import one_of
from network.channelupdate import compute_update, signed_update
from network.embedded.channelconfig import Bundle
from network.embedded.configtx import ConfigUpdateError, propose

CHANNEL = "payments"
ORGANIZATIONS = ("BankOne", "BankTwo", "Supervisor")


@pytest.fixture(scope="module")
def config(member: Member) -> Any:
    """The configuration of the genesis block."""
    block = common_pb2.Block.FromString(member.home.genesis_block.read_bytes())
    envelope = common_pb2.Envelope.FromString(block.data.data[0])
    payload = common_pb2.Payload.FromString(envelope.payload)
    return configtx_pb2.ConfigEnvelope.FromString(payload.data).config


def signer(member: Member, organization: str, user: str = "admin") -> X509Signer:
    path = member.home.profile(organization, user)
    return X509Signer.from_profile(ConnectionProfile.load(path))


def altered(config: Any, edit: Callable[[Any], None]) -> Any:
    changed = configtx_pb2.Config()
    changed.CopyFrom(config)
    edit(changed)
    return changed


def batch_timeout(config: Any) -> None:
    message = configuration_pb2.BatchTimeout(timeout="35ms")
    value = config.channel_group.groups["Orderer"].values["BatchTimeout"]
    value.value = message.SerializeToString()


def new_organization(config: Any) -> None:
    groups = config.channel_group.groups["Application"].groups
    groups["BankThree"].CopyFrom(groups["BankTwo"])
    outer = msp_config_pb2.MSPConfig.FromString(groups["BankThree"].values["MSP"].value)
    inner = msp_config_pb2.FabricMSPConfig.FromString(outer.config)
    inner.name = "BankThree"
    outer.config = inner.SerializeToString()
    groups["BankThree"].values["MSP"].value = outer.SerializeToString()


def gone_organization(config: Any) -> None:
    config.channel_group.groups["Application"].groups.pop("BankTwo", None)


def new_policy(config: Any) -> None:
    policies = config.channel_group.groups["Application"].policies
    policies["Auditing"].CopyFrom(
        configtx_pb2.ConfigPolicy(mod_policy="Admins", policy=one_of("Supervisor", "admin"))
    )


def other_mod_policy(config: Any) -> None:
    config.channel_group.groups["Application"].mod_policy = "/Channel/Admins"


def several(config: Any) -> None:
    batch_timeout(config)
    new_policy(config)
    gone_organization(config)


EDITS = (
    batch_timeout, new_organization, gone_organization, new_policy, other_mod_policy, several,
)  # fmt: skip


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_the_orderer_comes_to_exactly_the_configuration_that_was_wanted(
    member: Member, config: Any, edit: Callable[[Any], None]
) -> None:
    wanted = altered(config, edit)
    update = compute_update(CHANNEL, config, wanted)
    assert update is not None
    signers = [signer(member, name) for name in ORGANIZATIONS]
    bundle = Bundle.from_config(CHANNEL, config)
    result = propose(bundle, signed_update(CHANNEL, update, signers)).config
    assert compute_update(CHANNEL, result, altered(result, edit)) is None
    assert _without_versions(result) == _without_versions(wanted)


def test_a_majority_of_administrators_is_needed_and_enough(member: Member, config: Any) -> None:
    update = compute_update(CHANNEL, config, altered(config, new_policy))
    assert update is not None
    bundle = Bundle.from_config(CHANNEL, config)
    two = [signer(member, name) for name in ("BankOne", "Supervisor")]
    propose(bundle, signed_update(CHANNEL, update, two))
    for few in ([two[0]], [two[0], two[0]], [two[0], signer(member, "BankTwo", "gateway")]):
        with pytest.raises(ConfigUpdateError, match="not satisfied"):
            propose(bundle, signed_update(CHANNEL, update, few))


def test_nothing_altered_is_no_update(config: Any) -> None:
    assert compute_update(CHANNEL, config, altered(config, lambda _: None)) is None


def test_a_list_needs_the_organisations_own_administrator_and_nobody_else(
    member: Member, config: Any
) -> None:
    edit = PutList("BankOne", _list(member, "BankOne", 7))
    update = compute_update(CHANNEL, config, altered(config, edit))
    assert update is not None
    bundle = Bundle.from_config(CHANNEL, config)
    propose(bundle, signed_update(CHANNEL, update, [signer(member, "BankOne")]))
    others = [signer(member, name) for name in ("BankTwo", "Supervisor")]
    with pytest.raises(ConfigUpdateError, match="not satisfied"):
        propose(bundle, signed_update(CHANNEL, update, others))


def test_an_organisation_with_orderers_and_peers_gets_it_in_both_places(
    member: Member, config: Any
) -> None:
    edit = PutList("Supervisor", _list(member, "Supervisor", 7))
    result = _applied(member, config, edit, "Supervisor")
    for section in ("Application", "Orderer"):
        group = result.channel_group.groups[section].groups["Supervisor"]
        assert len(_lists(group)) == 1, section


def test_a_list_of_the_same_certificates_changes_nothing(member: Member, config: Any) -> None:
    first = _applied(member, config, PutList("BankOne", _list(member, "BankOne", 7)), "BankOne")
    again = PutList("BankOne", _list(member, "BankOne", 7))
    assert compute_update(CHANNEL, first, altered(first, again)) is None
    more = PutList("BankOne", _list(member, "BankOne", 7, 8))
    second = _applied(member, first, more, "BankOne")
    group = second.channel_group.groups["Application"].groups["BankOne"]
    assert len(_lists(group)) == 1, "it takes the older one's place"


def test_a_list_that_forgets_a_certificate_is_not_put_in(member: Member, config: Any) -> None:
    first = _applied(member, config, PutList("BankOne", _list(member, "BankOne", 7)), "BankOne")
    with pytest.raises(IdentityCommandError) as failed:
        altered(first, PutList("BankOne", _list(member, "BankOne", 8)))
    assert failed.value.code is Code.CRL_FORGETS


@pytest.mark.parametrize(
    "pem",
    [b"", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", b"\xff\xfe"],
    ids=["empty", "damaged", "binary"],
)
def test_what_is_no_list_is_refused(member: Member, pem: bytes) -> None:
    trusted = store.authorities(member.home, "BankOne", Profile.IDENTITY)
    with pytest.raises(IdentityCommandError) as failed:
        registry.read_list(pem, trusted)
    assert failed.value.code is Code.BAD_CRL


def test_a_list_of_another_organisations_ca_or_without_its_key_is_refused(member: Member) -> None:
    trusted = store.authorities(member.home, "BankOne", Profile.IDENTITY)
    own = authority(member.home.organization("BankOne") / "ca")
    forged = Authority(own.certificate, ec.generate_private_key(ec.SECP256R1()))
    for pem in (_crl(authority(member.home.organization("BankTwo") / "ca"), 1), _crl(forged, 1)):
        with pytest.raises(IdentityCommandError) as failed:
            registry.read_list(pem, trusted)
        assert failed.value.code is Code.BAD_CRL


def _applied(member: Member, config: Any, edit: Callable[[Any], None], organization: str) -> Any:
    update = compute_update(CHANNEL, config, altered(config, edit))
    assert update is not None
    envelope = signed_update(CHANNEL, update, [signer(member, organization)])
    return propose(Bundle.from_config(CHANNEL, config), envelope).config


def _lists(group: Any) -> list[bytes]:
    outer = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
    return list(msp_config_pb2.FabricMSPConfig.FromString(outer.config).revocation_list)


def _list(member: Member, organization: str, *serials: int) -> RevocationList:
    own = authority(member.home.organization(organization) / "ca")
    trusted = store.authorities(member.home, organization, Profile.IDENTITY)
    return registry.read_list(_crl(own, *serials), trusted)


def _crl(issuer: Authority, *serials: int) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    now = datetime.now(UTC)
    identifier = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now)
        .next_update(now + timedelta(days=1))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier.value),
            critical=False,
        )
    )
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.private_key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _without_versions(config: Any) -> Any:
    """The tree of a configuration without what an update counts."""

    def strip(group: Any) -> None:
        group.version = 0
        for members in (group.values, group.policies):
            for name in members:
                members[name].version = 0
        for name in group.groups:
            strip(group.groups[name])

    copy = configtx_pb2.ConfigGroup()
    copy.CopyFrom(config.channel_group)
    strip(copy)
    return copy
