"""Configurations after block 0 for the auditor's tests: honest ones, and what a forger needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.msp import msp_config_pb2
from fabric_protos.orderer import configuration_pb2
from forge import NOW, Forge

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

    change_msp(groups["BankThree"], renamed)


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
        change_msp(group, lambda msp: msp.revocation_list.append(pem))

    return edit


def change_msp(group: Any, change: Callable[[Any], None]) -> None:
    outer = msp_config_pb2.MSPConfig.FromString(group.values["MSP"].value)
    inner = msp_config_pb2.FabricMSPConfig.FromString(outer.config)
    change(inner)
    outer.config = inner.SerializeToString()
    group.values["MSP"].value = outer.SerializeToString()


def by_hand(forge: Forge, edit: Edit) -> None:
    """What the engine would refuse to propose: signed by all, applied by hand."""
    update = update_bytes(forge, edit)
    made = configtx_pb2.ConfigEnvelope(config=in_force(forge))
    made.config.sequence += 1
    edit(made.config)
    written = configtx_pb2.ConfigUpdate.FromString(update).write_set
    _raise_versions(made.config.channel_group, written)
    made.last_update.CopyFrom(signed_by(forge, update, administrators(forge)))
    forge.seal([ordered(forge, made)], b"\0")


def _raise_versions(group: Any, written: Any) -> None:
    group.version = written.version
    for kind in ("values", "policies"):
        for name, one in getattr(written, kind).items():
            getattr(group, kind)[name].version = one.version
    for name, inner in written.groups.items():
        _raise_versions(group.groups[name], inner)
