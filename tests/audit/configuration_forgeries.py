"""Forgeries of configurations after block 0; each names the check that must find it, and words of
its detail."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from block_forgeries import Forgery
from configuring import (
    CHANNEL,
    CONFIG,
    INVALID_CONFIG,
    administrators,
    batch_size,
    by_hand,
    change_msp,
    configure,
    endorsed_by_all,
    in_force,
    ordered,
    proposed,
    revoking,
    signed_by,
    update_bytes,
    with_update,
    without_bank_two,
)  # fmt: skip
from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from fabric_protos.peer import policy_pb2
from forge import Forge

from audit.findings import Check
from clearline.fabric import protoutil


@contextmanager
def altered(forge: Forge) -> Iterator[Any]:
    """An update of the batch size, a ConfigUpdate, to be changed; then signed by all and sealed."""
    update = configtx_pb2.ConfigUpdate.FromString(update_bytes(forge, batch_size))
    yield update
    last = signed_by(forge, update.SerializeToString(), administrators(forge))
    with_update(forge, batch_size, last)


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
    with altered(forge) as update:
        update.channel_id = "loans"


def _config_of_an_update_gone_by(forge: Forge) -> None:
    last = proposed(forge, batch_size).last_update
    configure(forge, batch_size)
    with_update(forge, without_bank_two, last)


def _config_of_a_version_skipped(forge: Forge) -> None:
    with altered(forge) as update:
        update.write_set.groups["Orderer"].values["BatchSize"].version = 2


def _config_that_read_what_is_not_there(forge: Forge) -> None:
    with altered(forge) as update:
        update.read_set.groups["Orderer"].values["Nothing"].version = 0


def _config_that_read_another_version(forge: Forge) -> None:
    with altered(forge) as update:
        update.read_set.groups["Orderer"].values["BatchTimeout"].version = 1


def _config_with_a_name_that_is_none(forge: Forge) -> None:
    with altered(forge) as update:
        update.write_set.groups["Orderer"].values["Batch/Size"].mod_policy = "Admins"


def _config_that_changes_nothing(forge: Forge) -> None:
    update = configtx_pb2.ConfigUpdate(channel_id=CHANNEL)
    config = configtx_pb2.ConfigEnvelope(config=in_force(forge))
    config.config.sequence += 1
    last = signed_by(forge, update.SerializeToString(), administrators(forge))
    config.last_update.CopyFrom(last)
    forge.seal([ordered(forge, config)], b"\0")


def _config_whose_element_nobody_may_change(forge: Forge) -> None:
    with altered(forge) as update:
        update.write_set.groups["Orderer"].values["BatchSize"].mod_policy = ""


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


def _config_that_renames_an_organisation(forge: Forge) -> None:
    def edit(config: Any) -> None:
        group = config.channel_group.groups["Application"].groups["BankTwo"]
        change_msp(group, lambda msp: setattr(msp, "name", "BankTwenty"))

    by_hand(forge, edit)


def _config_with_two_msps_of_one_name(forge: Forge) -> None:
    by_hand(forge, revoking(forge, "Supervisor", "auditor"))


def _config_with_a_policy_of_nothing(forge: Forge) -> None:
    def edit(config: Any) -> None:
        empty = policies_pb2.SignaturePolicyEnvelope().SerializeToString()
        policy = config.channel_group.groups["Application"].policies["Endorsement"].policy
        policy.type, policy.value = policies_pb2.Policy.SIGNATURE, empty

    by_hand(forge, edit)


def _config_without_the_orderers(forge: Forge) -> None:
    by_hand(forge, lambda config: config.channel_group.groups.pop("Orderer", None))


def _config_with_an_organisation_of_nobody(forge: Forge) -> None:
    groups = in_force(forge).channel_group.groups["Application"].groups
    assert "BankTwo" in groups

    def edit(config: Any) -> None:
        config.channel_group.groups["Application"].groups["BankTwo"].values.pop("MSP", None)

    by_hand(forge, edit)


def _governed_by(forge: Forge, path: str) -> None:
    def governed(config: Any) -> None:
        config.channel_group.groups["Orderer"].values["BatchSize"].mod_policy = path

    configure(forge, governed)
    by_hand(forge, batch_size)


def _config_by_a_policy_of_another_tree(forge: Forge) -> None:
    _governed_by(forge, "/Consortium/Admins")


def _config_by_a_policy_of_no_group(forge: Forge) -> None:
    _governed_by(forge, "/Channel/Nowhere/Admins")


def _config_by_a_policy_that_is_not_there(forge: Forge) -> None:
    _governed_by(forge, "/Channel/Nobodies")


def _config_with_another_header(forge: Forge, change: Callable[[Any, Any], None]) -> None:
    signer = forge.orderer()
    channel = protoutil.make_channel_header(CONFIG, CHANNEL, "")
    creator = protoutil.make_signature_header(signer.identity, b"nonce")
    change(channel, creator)
    raw = proposed(forge, batch_size).SerializeToString()
    payload = protoutil.make_payload(channel, creator, raw).SerializeToString()
    forge.seal([protoutil.sign_payload(signer, payload).SerializeToString()], b"\0")


def _config_of_an_epoch(forge: Forge) -> None:
    _config_with_another_header(forge, lambda channel, _: setattr(channel, "epoch", 1))


def _config_without_a_nonce(forge: Forge) -> None:
    _config_with_another_header(forge, lambda _, creator: setattr(creator, "nonce", b""))


def _endorsed_by_a_policy_of_nothing(forge: Forge) -> None:
    """The contract's own policy names nobody, and nobody endorses."""
    policy = policy_pb2.ApplicationPolicy(
        signature_policy=policies_pb2.SignaturePolicyEnvelope(
            rule=policies_pb2.SignaturePolicy(),
        )
    )
    forge.define(policy)
    forge.add(dataclasses.replace(forge.intent(), endorsers=()))


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
    (_config_that_read_what_is_not_there, Check.CONFIGURATION, "Orderer/Nothing, which is not"),
    (_config_that_read_another_version, Check.CONFIGURATION, "BatchTimeout, in force is 0"),
    (_config_with_a_name_that_is_none, Check.CONFIGURATION, "no name of an element: 'Batch/Size'"),
    (_config_without_the_orderers, Check.CONFIGURATION, "it has no section Orderer"),
    (_config_with_an_organisation_of_nobody, Check.CONFIGURATION, "BankTwo has no MSP"),
    (_config_by_a_policy_of_another_tree, Check.CONFIGURATION, "no policy /Consortium/Admins"),
    (_config_by_a_policy_of_no_group, Check.CONFIGURATION, "no policy /Channel/Nowhere/Admins"),
    (_config_by_a_policy_that_is_not_there, Check.CONFIGURATION, "whom /Channel/Nobodies refuses"),
    (_config_of_an_epoch, Check.TRANSACTION_FORM, "its header has an epoch, or no nonce"),
    (_config_without_a_nonce, Check.TRANSACTION_FORM, "its header has an epoch, or no nonce"),
    (_endorsed_by_a_policy_of_nothing, Check.CONFIGURATION, "names nobody, or a stranger"),
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
