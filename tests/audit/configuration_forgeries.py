"""Forgeries of configurations after block 0, and what makes an honest one: each forgery names the
check that must find it, and words of its detail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from block_forgeries import Forgery
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2
from forge import NOW, Forge

from audit.findings import Check
from clearline.fabric import protoutil
from clearline.fabric.identity import Signer
from network.certificates import create_authority
from network.channelpolicies import implicit_meta, one_of
from network.channelupdate import compute_update, signed_update
from network.embedded.channelconfig import Bundle
from network.embedded.configtx import propose
from network.topology import Rule

CHANNEL = "payments"
ADMINS = ("BankOne", "BankTwo", "Supervisor")
INVALID_CONFIG = bytes([5])
CONFIG, CONFIG_UPDATE = common_pb2.HeaderType.CONFIG, common_pb2.HeaderType.CONFIG_UPDATE
Edit = Callable[[Any], None]


def in_force(forge: Forge) -> Any:
    """The common.Config of the newest block that has one."""
    for raw in reversed(forge.blocks):
        envelope = common_pb2.Envelope.FromString(common_pb2.Block.FromString(raw).data.data[0])
        payload = common_pb2.Payload.FromString(envelope.payload)
        header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
        if header.type == CONFIG:
            return configtx_pb2.ConfigEnvelope.FromString(payload.data).config
    raise AssertionError("no configuration")


def administrators(forge: Forge, organizations: Sequence[str] = ADMINS) -> list[Signer]:
    return [forge.user(one, "admin") for one in organizations]


def update_bytes(forge: Forge, edit: Edit) -> bytes:
    """The common.ConfigUpdate from the configuration in force to an edited one."""
    old, new = in_force(forge), configtx_pb2.Config()
    new.CopyFrom(old)
    edit(new)
    update = compute_update(CHANNEL, old, new)
    assert update is not None
    return update


def proposed(forge: Forge, edit: Edit) -> Any:
    """The common.ConfigEnvelope that an honest orderer makes, signed by all administrators."""
    signed = signed_update(CHANNEL, update_bytes(forge, edit), administrators(forge))
    return propose(Bundle.from_config(CHANNEL, in_force(forge)), signed)


def ordered(forge: Forge, config: Any, signer: Signer | None = None, name: str = CHANNEL) -> bytes:
    """A CONFIG transaction of it, by default of the orderer's."""
    raw = config.SerializeToString()
    made = protoutil.create_signed_envelope(CONFIG, name, signer or forge.orderer(), raw)
    return bytes(made.SerializeToString())


def configure(forge: Forge, edit: Edit) -> None:
    """An honest block with this change."""
    forge.seal([ordered(forge, proposed(forge, edit))], b"\0")


def signed_by(forge: Forge, update: bytes, signers: Sequence[Signer], over: bytes = b"") -> Any:
    """A CONFIG_UPDATE envelope with these signatures, none too; `over`: of other bytes."""
    made = configtx_pb2.ConfigUpdateEnvelope(config_update=update)
    for signer in signers:
        header = protoutil.make_signature_header(signer.identity, b"nonce").SerializeToString()
        made.signatures.add(
            signature_header=header, signature=signer.sign(header + (over or update))
        )
    sender = forge.user("BankOne", "admin")
    return protoutil.create_signed_envelope(
        CONFIG_UPDATE, CHANNEL, sender, made.SerializeToString()
    )


def with_update(forge: Forge, edit: Edit, last_update: Any) -> None:
    """A block with what an honest update would make, and another update in its place."""
    config = proposed(forge, edit)
    config.last_update.CopyFrom(last_update)
    forge.seal([ordered(forge, config)], b"\0")


def batch_size(config: Any, count: int = 77) -> None:
    value = config.channel_group.groups["Orderer"].values["BatchSize"]
    size = configuration_pb2.BatchSize.FromString(value.value)
    size.max_message_count = count
    value.value = size.SerializeToString()


def without_bank_two(config: Any) -> None:
    config.channel_group.groups["Application"].groups.pop("BankTwo", None)


def bank_three(config: Any) -> None:
    """One more organisation, with a CA of its own."""
    groups = config.channel_group.groups["Application"].groups
    groups["BankThree"].CopyFrom(groups["BankTwo"])
    for policy, role in (("Endorsement", "peer"), ("Admins", "admin")):
        groups["BankThree"].policies[policy].policy.CopyFrom(one_of("BankThree", role))
    for policy in ("Readers", "Writers"):
        groups["BankThree"].policies[policy].policy.CopyFrom(one_of("BankThree", "member"))
    root = create_authority("BankThree", "ca").pem

    def renamed(msp: Any) -> None:
        msp.name = "BankThree"
        del msp.root_certs[:], msp.revocation_list[:]
        msp.root_certs.append(root)
        for kind in ("client", "peer", "admin", "orderer"):
            getattr(msp.fabric_node_ous, f"{kind}_ou_identifier").certificate = root

    _change_msp(groups["BankThree"], renamed)


def endorsed_by_all(config: Any) -> None:
    policy = implicit_meta(Rule.ALL, "Endorsement")
    config.channel_group.groups["Application"].policies["Endorsement"].policy.CopyFrom(policy)


def revoking(forge: Forge, organization: str, user: str) -> Edit:
    """The organisation's CRL with this user's certificate in it."""
    folder = forge.home.organization(organization) / "ca"
    key: Any = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    issuer = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).subject
    path = forge.home.user(organization, user) / "msp" / "signcerts" / "cert.pem"
    serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
    revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
    crl = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(NOW)
    crl = crl.next_update(NOW + timedelta(days=9)).add_revoked_certificate(revoked)
    pem = crl.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def edit(config: Any) -> None:
        group = config.channel_group.groups["Application"].groups[organization]
        _change_msp(group, lambda msp: msp.revocation_list.append(pem))

    return edit


def _change_msp(group: Any, change: Callable[[Any], None]) -> None:
    outer = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
    inner = msp_config_pb2.FabricMSPConfig.FromString(outer.config)
    change(inner)
    outer.config = inner.SerializeToString()
    group.values["MSP"].value = outer.SerializeToString()


def _config_signed_by_nobody(forge: Forge) -> None:
    last = signed_by(forge, update_bytes(forge, without_bank_two), ())
    with_update(forge, without_bank_two, last)


def _config_signed_by_a_minority(forge: Forge) -> None:
    update = update_bytes(forge, without_bank_two)
    with_update(
        forge, without_bank_two, signed_by(forge, update, administrators(forge, ["BankOne"]))
    )


def _config_signed_by_gateways(forge: Forge) -> None:
    users = [forge.user(one, "gateway") for one in ("BankOne", "BankTwo")]
    last = signed_by(forge, update_bytes(forge, without_bank_two), users)
    with_update(forge, without_bank_two, last)


def _config_with_signatures_of_another_update(forge: Forge) -> None:
    other, update = update_bytes(forge, batch_size), update_bytes(forge, without_bank_two)
    with_update(
        forge, without_bank_two, signed_by(forge, update, administrators(forge), over=other)
    )


def _config_without_an_update(forge: Forge) -> None:
    with_update(forge, batch_size, common_pb2.Envelope())


def _config_of_another_kind_of_update(forge: Forge) -> None:
    update = proposed(forge, batch_size).last_update
    payload = common_pb2.Payload.FromString(update.payload)
    other = protoutil.create_signed_envelope(
        CONFIG, CHANNEL, forge.user("BankOne", "admin"), payload.data
    )
    with_update(forge, batch_size, other)


def _config_of_an_update_for_another_channel(forge: Forge) -> None:
    update = configtx_pb2.ConfigUpdate.FromString(update_bytes(forge, batch_size))
    update.channel_id = "loans"
    last = signed_by(forge, update.SerializeToString(), administrators(forge))
    with_update(forge, batch_size, last)


def _config_of_an_update_gone_by(forge: Forge) -> None:
    last = proposed(forge, batch_size).last_update
    configure(forge, batch_size)
    with_update(forge, without_bank_two, last)


def _config_of_a_version_skipped(forge: Forge) -> None:
    update = configtx_pb2.ConfigUpdate.FromString(update_bytes(forge, batch_size))
    update.write_set.groups["Orderer"].values["BatchSize"].version = 2
    last = signed_by(forge, update.SerializeToString(), administrators(forge))
    with_update(forge, batch_size, last)


def _config_that_changes_nothing(forge: Forge) -> None:
    update = configtx_pb2.ConfigUpdate(channel_id=CHANNEL)
    config = configtx_pb2.ConfigEnvelope(config=in_force(forge))
    config.config.sequence += 1
    last = signed_by(forge, update.SerializeToString(), administrators(forge))
    config.last_update.CopyFrom(last)
    forge.seal([ordered(forge, config)], b"\0")


def _config_whose_element_nobody_may_change(forge: Forge) -> None:
    update = configtx_pb2.ConfigUpdate.FromString(update_bytes(forge, batch_size))
    update.write_set.groups["Orderer"].values["BatchSize"].mod_policy = ""
    last = signed_by(forge, update.SerializeToString(), administrators(forge))
    with_update(forge, batch_size, last)


def _config_other_than_its_update_makes(forge: Forge) -> None:
    config = proposed(forge, batch_size)
    without_bank_two(config.config)
    forge.seal([ordered(forge, config)], b"\0")


def _config_with_a_sequence_skipped(forge: Forge) -> None:
    config = proposed(forge, batch_size)
    config.config.sequence += 1
    forge.seal([ordered(forge, config)], b"\0")


def _config_beside_a_payment(forge: Forge) -> None:
    intent, _ = forge.envelope(forge.intent())
    forge.seal([intent, ordered(forge, proposed(forge, batch_size))], b"\0\0")


def _config_for_another_channel(forge: Forge) -> None:
    forge.seal([ordered(forge, proposed(forge, batch_size), name="loans")], b"\0")


def _config_that_is_unsigned(forge: Forge) -> None:
    envelope = common_pb2.Envelope.FromString(ordered(forge, proposed(forge, batch_size)))
    envelope.signature = forge.orderer().sign(b"something else")
    forge.seal([envelope.SerializeToString()], b"\0")


def _config_by_a_peer(forge: Forge) -> None:
    forge.seal([ordered(forge, proposed(forge, batch_size), forge.peer("BankOne"))], b"\0")


def _config_hidden(forge: Forge) -> None:
    forge.seal([ordered(forge, proposed(forge, batch_size))], INVALID_CONFIG)


def _config_that_is_wrong_and_rejected(forge: Forge) -> None:
    config = proposed(forge, batch_size)
    config.config.sequence += 1
    forge.seal([ordered(forge, config)], INVALID_CONFIG)


def _unpoliced(forge: Forge, edit: Edit) -> None:
    """What the engine would refuse to propose: signed by all, applied by hand."""
    update = update_bytes(forge, edit)
    config = proposed(forge, batch_size)
    group = configtx_pb2.Config()
    group.CopyFrom(in_force(forge))
    edit(group)
    _raise_versions(group.channel_group, configtx_pb2.ConfigUpdate.FromString(update).write_set)
    config.config.channel_group.CopyFrom(group.channel_group)
    config.last_update.CopyFrom(signed_by(forge, update, administrators(forge)))
    forge.seal([ordered(forge, config)], b"\0")


def _raise_versions(group: Any, written: Any) -> None:
    group.version = written.version
    for kind in ("values", "policies"):
        for name, one in getattr(written, kind).items():
            getattr(group, kind)[name].version = one.version
    for name, inner in written.groups.items():
        _raise_versions(group.groups[name], inner)


def _config_that_renames_an_organisation(forge: Forge) -> None:
    def edit(config: Any) -> None:
        group = config.channel_group.groups["Application"].groups["BankTwo"]
        _change_msp(group, lambda msp: setattr(msp, "name", "BankTwenty"))

    _unpoliced(forge, edit)


def _config_with_two_msps_of_one_name(forge: Forge) -> None:
    _unpoliced(forge, revoking(forge, "Supervisor", "auditor"))


def _config_with_a_policy_of_nothing(forge: Forge) -> None:
    def edit(config: Any) -> None:
        empty = policies_pb2.SignaturePolicyEnvelope().SerializeToString()
        policy = config.channel_group.groups["Application"].policies["Endorsement"].policy
        policy.type, policy.value = policies_pb2.Policy.SIGNATURE, empty

    _unpoliced(forge, edit)


def _sent_by_who_is_revoked(forge: Forge) -> None:
    configure(forge, revoking(forge, "BankOne", "gateway"))
    forge.add(forge.intent())


def _endorsed_by_the_old_policy(forge: Forge) -> None:
    configure(forge, endorsed_by_all)
    forge.add(forge.intent())


def _endorsed_by_who_is_gone(forge: Forge) -> None:
    configure(forge, without_bank_two)
    forge.add(dataclasses.replace(forge.intent(), endorsers=("BankOne", "BankTwo")))


CONFIGURATION_FORGERIES: list[tuple[Forgery, Check, str]] = [
    (_config_signed_by_nobody, Check.CONFIGURATION, "changed by nobody, whom /Channel/Application"),
    (_config_signed_by_a_minority, Check.CONFIGURATION, "changed by BankOne admin, whom"),
    (_config_signed_by_gateways, Check.CONFIGURATION, "by BankOne client, BankTwo client, whom"),
    (_config_with_signatures_of_another_update, Check.CONFIGURATION, "changed by nobody"),
    (_config_without_an_update, Check.CONFIGURATION, "it has no last update"),
    (_config_of_another_kind_of_update, Check.CONFIGURATION, "its last update is of header type 1"),
    (_config_of_an_update_for_another_channel, Check.CONFIGURATION, "is for channel 'loans'"),
    (_config_of_an_update_gone_by, Check.CONFIGURATION, "BatchSize gets version 1 where 2 is due"),
    (_config_of_a_version_skipped, Check.CONFIGURATION, "BatchSize gets version 2 where 1 is due"),
    (_config_that_changes_nothing, Check.CONFIGURATION, "the update changes nothing"),
    (_config_whose_element_nobody_may_change, Check.CONFIGURATION, "BatchSize is ''"),
    (_config_other_than_its_update_makes, Check.CONFIGURATION, "makes another configuration"),
    (_config_with_a_sequence_skipped, Check.CONFIGURATION, "sequence 2 where 1 is due"),
    (_config_beside_a_payment, Check.CONFIGURATION, "beside other transactions"),
    (_config_for_another_channel, Check.TRANSACTION_FORM, "it is for channel 'loans'"),
    (_config_that_is_unsigned, Check.CREATOR, "the signature does not match"),
    (_config_by_a_peer, Check.CREATOR, "/Channel/Writers refuses BankOne peer"),
    (_config_hidden, Check.FLAGS, "flagged 5, but nothing is wrong with it"),
    (_config_that_is_wrong_and_rejected, Check.CONFIGURATION, "sequence 2 where 1 is due"),
    (_config_that_renames_an_organisation, Check.CONFIGURATION, "is BankTwo and becomes"),
    (_config_with_two_msps_of_one_name, Check.CONFIGURATION, "two different MSPs are named"),
    (_config_with_a_policy_of_nothing, Check.CONFIGURATION, "Application/Endorsement is none that"),
    (_sent_by_who_is_revoked, Check.CREATOR, "the certificate is revoked"),
    (_endorsed_by_the_old_policy, Check.ENDORSEMENT, "which the policy refuses"),
    (_endorsed_by_who_is_gone, Check.ENDORSEMENT, "endorsed by BankOne peer, which"),
]
