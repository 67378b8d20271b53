"""Configurations after block 0: an honest one is followed and in force, a forged one is named."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from block_forgeries import Forgery
from configuration_forgeries import CONFIGURATION_FORGERIES
from configuring import bank_three, batch_size, configure, endorsed_by_all, in_force, revoking
from fabric_protos.msp import identities_pb2
from forge import NETWORK, Forge
from test_verifier import verify

from audit.channel import Channel
from audit.findings import Check
from audit.membership import Signed
from audit.verifier import Verifier

EVERYBODY = ("BankOne", "BankTwo", "Supervisor")


@pytest.mark.parametrize(
    ("forgery", "check", "words"),
    CONFIGURATION_FORGERIES,
    ids=[one.__name__ for one, *_ in CONFIGURATION_FORGERIES],
)
def test_the_first_thing_wrong_is_named(
    forge: Forge, forgery: Forgery, check: Check, words: str
) -> None:
    forgery(forge)
    _, finding = verify(forge.blocks)
    assert finding is not None
    assert (finding.block, finding.check) == (len(forge.blocks) - 1, check), finding
    assert words in finding.detail


def test_honest_updates_are_followed_and_in_force(forge: Forge) -> None:
    configure(forge, batch_size)
    forge.add(forge.intent())
    configure(forge, bank_three)
    configure(forge, revoking(forge, "BankTwo", "gateway"))
    forge.add(dataclasses.replace(forge.report(), endorsers=EVERYBODY))
    two = dataclasses.replace(forge.intent("O-2"), user=("BankTwo", "gateway"), endorsers=EVERYBODY)
    forge.add(two, flags=bytes([4]))  # of who is revoked: rightly rejected
    verifier, finding = verify(forge.blocks)
    assert finding is None, str(finding)
    assert verifier.payments.counts() == {"succeeded": 1}
    assert verifier.totals.invalid == 1
    # Three of four are a majority, two are not any more.
    assert "BankThree" in in_force(forge).channel_group.groups["Application"].groups
    forge.add(dataclasses.replace(forge.intent("O-3"), endorsers=("BankOne", "Supervisor")))
    finding = verifier.take(forge.blocks[-1])
    assert finding is not None
    assert finding.check is Check.ENDORSEMENT


def test_what_meets_the_new_policy_is_taken(forge: Forge) -> None:
    configure(forge, endorsed_by_all)
    forge.add(dataclasses.replace(forge.intent(), endorsers=EVERYBODY))
    _, finding = verify(forge.blocks)
    assert finding is None, str(finding)


def test_who_goes_on_from_a_snapshot_follows_too(forge: Forge) -> None:
    configure(forge, batch_size)
    verifier, _ = verify(forge.blocks)
    resumed = Verifier.resume(verifier.snapshot(), "clearline")
    configure(forge, endorsed_by_all)
    assert resumed.take(forge.blocks[-1]) is None
    forge.add(forge.intent())
    finding = resumed.take(forge.blocks[-1])
    assert finding is not None
    assert finding.check is Check.ENDORSEMENT
    assert resumed.snapshot().network == NETWORK


def test_a_certificate_written_in_two_ways_signs_once(forge: Forge) -> None:
    signer = forge.user("BankOne", "admin")
    again: Any = identities_pb2.SerializedIdentity.FromString(signer.identity)
    again.id_bytes += b"\n"
    other = forge.user("BankTwo", "admin")
    signed = [
        Signed(identity, b"message", one.sign(b"message"))
        for identity, one in (
            (signer.identity, signer),
            (again.SerializeToString(), signer),
            (other.identity, other),
        )
    ]
    found = Channel(in_force(forge)).membership.signers(signed)
    assert [one.msp_id for one in found] == ["BankOne", "BankTwo"]
