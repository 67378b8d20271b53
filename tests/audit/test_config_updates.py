"""The auditor and the embedded engine read configuration updates alike, written separately; the
engine is held against Fabric's own programs (tests/fidelity)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from configuring import (
    ADMINS,
    CHANNEL,
    administrators,
    bank_three,
    batch_size,
    by_hand,
    in_force,
    signed_by,
    without_bank_two,
)  # fmt: skip
from fabric_protos.common import configtx_pb2, policies_pb2
from forge import Forge
from test_verifier import verify

from audit.channel import Channel
from audit.config_update import updated
from audit.findings import Check, Wrong
from network.channelpolicies import signature_policy
from network.channelupdate import compute_update
from network.embedded.channelconfig import Bundle
from network.embedded.configtx import ConfigUpdateError, propose

ROUNDS = 400
NAMES = ("Admins", "", "/Channel/Admins", "/Nowhere/Admins", "Admins/", "..", "Nobodies", "x" * 250,
         "Bank Two", "Readers", "/", "Application/Admins", "BankOne/Admins")  # fmt: skip


def members(group: Any) -> Iterator[Any]:
    """Every element of a group, the group too."""
    yield group
    for kind in (group.values, group.policies):
        for name in sorted(kind):
            yield kind[name]
    for name in sorted(group.groups):
        yield from members(group.groups[name])


def governed_otherwise(chance: random.Random, config: Any) -> None:
    """In force, some elements have another mod_policy, or none."""
    for one in members(config.channel_group):
        if chance.random() < 0.1:
            one.mod_policy = chance.choice(NAMES)
    changed = config.channel_group.groups["Orderer"].values["BatchSize"]
    changed.mod_policy = chance.choice(
        ("Admins", "Admins/", "/Channel/Admins", "/Channel/Orderer/Admins", "")
    )


def several_edits(chance: random.Random) -> Callable[[Any], None]:
    """One to three changes at random."""

    def edit(config: Any) -> None:
        for change in chance.sample((batch_size, bank_three, without_bank_two, moved, plain), 2):
            change(config)

    def moved(config: Any) -> None:
        chance.choice(list(members(config.channel_group))).mod_policy = chance.choice(NAMES[:3])

    def plain(config: Any) -> None:
        batch_size(config)
        config.channel_group.groups["Orderer"].values["BatchSize"].mod_policy = "Admins"

    return edit


def spoilt(chance: random.Random, update: Any) -> None:
    """Something of it is not as an honest client makes it, mostly."""
    for _ in range(chance.choice((0, 1, 1, 2))):
        root = chance.choice((update.read_set, update.write_set))
        one = chance.choice(list(members(root)))
        what = chance.randrange(5)
        if what == 0:
            one.version = max(0, int(one.version) + chance.choice((-1, 1)))
        elif what == 1:
            one.mod_policy = chance.choice(NAMES)
        elif what == 2 and hasattr(one, "values"):
            one.values[chance.choice((*NAMES[1:], "New"))].mod_policy = "Admins"
        elif what == 3 and hasattr(one, "values") and len(one.values):
            del one.values[chance.choice(sorted(one.values))]
        elif what == 4:
            update.channel_id = chance.choice((CHANNEL, CHANNEL, "loans"))


class Another(Exception):  # noqa: N818 - no fault
    """The engine made it, and then found that it is no configuration: another check."""


def engines(config: Any, envelope: Any) -> Any:
    """The group that the engine comes to; None: it may not be made. Raises Another."""
    try:
        return propose(Bundle.from_config(CHANNEL, config), envelope).config.channel_group
    except ConfigUpdateError as error:
        if not str(error).startswith(("error authorizing", "error converting")):
            raise Another from None
        return None


def auditors(config: Any, envelope: Any) -> Any:
    try:
        return updated(envelope, Channel(config), CHANNEL)
    except Wrong as wrong:
        assert wrong.check is Check.CONFIGURATION
        return None


def test_the_same_updates_are_taken_and_make_the_same(forge: Forge) -> None:
    chance = random.Random(7)
    taken = refused = 0
    for number in range(ROUNDS):
        config = in_force(forge)
        if chance.random() < 0.5:
            governed_otherwise(chance, config)
        new = configtx_pb2.Config()
        new.CopyFrom(config)
        several_edits(chance)(new)
        raw = compute_update(CHANNEL, config, new)
        assert raw is not None
        update = configtx_pb2.ConfigUpdate.FromString(raw)
        spoilt(chance, update)
        who = ADMINS if chance.random() < 0.7 else chance.sample(ADMINS, chance.randrange(3))
        envelope = signed_by(forge, update.SerializeToString(), administrators(forge, who))
        try:
            made = engines(config, envelope)
        except Another:
            continue
        assert auditors(config, envelope) == made, (number, update)
        taken += made is not None
        refused += made is None
    assert taken > ROUNDS // 5
    assert refused > ROUNDS // 5


def test_an_empty_mod_policy_is_mended_where_orderers_have_capabilities(forge: Forge) -> None:
    def mended(config: Any) -> str:
        config.channel_group.groups["Application"].values["Capabilities"].mod_policy = ""
        new = configtx_pb2.Config()
        new.CopyFrom(config)
        batch_size(new)
        raw = compute_update(CHANNEL, config, new)
        assert raw is not None
        group = auditors(config, signed_by(forge, raw, administrators(forge)))
        return str(group.groups["Application"].values["Capabilities"].mod_policy)

    assert mended(in_force(forge)) == "Admins"
    before = in_force(forge)
    del before.channel_group.groups["Orderer"].values["Capabilities"]
    assert mended(before) == ""


def _of_version_one() -> Any:
    policy = signature_policy(1, [("BankOne", "peer")])
    policy.version = 1
    return policy


def _of_a_stranger() -> Any:
    policy = signature_policy(1, [("BankOne", "peer")])
    policy.rule.n_out_of.rules[0].signed_by = 1
    return policy


def _of_another_rule() -> Any:
    return policies_pb2.ImplicitMetaPolicy(rule=7, sub_policy="Endorsement")


@pytest.mark.parametrize("policy", [_of_version_one, _of_a_stranger, _of_another_rule])
def test_a_policy_that_means_nothing_is_none(forge: Forge, policy: Callable[[], Any]) -> None:
    made = policy()
    kinds = policies_pb2.Policy
    signature = isinstance(made, policies_pb2.SignaturePolicyEnvelope)

    def edit(config: Any) -> None:
        held = config.channel_group.groups["Application"].policies["Endorsement"].policy
        held.type = kinds.SIGNATURE if signature else kinds.IMPLICIT_META
        held.value = made.SerializeToString()

    by_hand(forge, edit)
    _, finding = verify(forge.blocks)
    assert finding is not None
    assert finding.check is Check.CONFIGURATION
    assert "policy /Channel/Application/Endorsement is none that can be met" in finding.detail
