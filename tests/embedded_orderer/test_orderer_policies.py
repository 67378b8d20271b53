"""Policies: distinct signers, n out of m, and majorities of organisations."""

from collections.abc import Sequence
from typing import Any

import certificate_kit as kit
import pytest
from certificate_kit import Leaf
from fabric_protos.common import configtx_pb2, policies_pb2
from fabric_protos.msp import msp_principal_pb2

from clearline.fabric.identity import X509Signer
from network.embedded.msp import MSP, MSPManager
from network.embedded.policies import (
    PolicyError,
    PolicyManager,
    SignaturePolicy,
    SignedData,
    valid_identities,
)

ORGS = ("A", "B", "C")
DATA = b"proposal"
META = policies_pb2.ImplicitMetaPolicy
ROLE = msp_principal_pb2.MSPRole
RULE = policies_pb2.SignaturePolicy


class Actors:
    def __init__(self) -> None:
        self.roots = {org: kit.make_authority(org) for org in ORGS}
        configs = [kit.msp_config(org, root) for org, root in self.roots.items()]
        self.manager = MSPManager(MSP.from_config(config) for config in configs)
        self.signers = {
            f"{org}.{unit}": kit.signer(root, org, Leaf(units=(unit,)))
            for org, root in self.roots.items()
            for unit in ("peer", "client", "admin")
        } | {"A.peer2": kit.signer(self.roots["A"], "A", Leaf(units=("peer",), name="2"))}

    def signed(self, names: str) -> list[SignedData]:
        return [self._one(self.signers[name]) for name in names.split()]

    def _one(self, signer: X509Signer) -> SignedData:
        return SignedData(DATA, signer.identity, signer.sign(DATA))


@pytest.fixture(scope="module")
def actors() -> Actors:
    return Actors()


def _principal(text: str) -> Any:
    org, role = text.split(".")
    value = ROLE(msp_identifier=org, role=getattr(ROLE, role.upper())).SerializeToString()
    return msp_principal_pb2.MSPPrincipal(principal=value)


def _signed_by(index: int) -> Any:
    return RULE(signed_by=index)


def _out_of(n: int, *rules: Any) -> Any:
    return RULE(n_out_of=RULE.NOutOf(n=n, rules=rules))


def _envelope(rule: Any, principals: Sequence[str]) -> Any:
    return policies_pb2.SignaturePolicyEnvelope(
        rule=rule, identities=[_principal(item) for item in principals]
    )


PEERS = ("A.peer", "B.peer", "C.peer")
TWO_OF_THREE = _out_of(2, *map(_signed_by, range(3)))
MEMBER_THEN_PEER = _out_of(2, _signed_by(0), _signed_by(1))
TABLE: list[tuple[str, Any, tuple[str, ...], str, bool]] = [
    ("two of three", TWO_OF_THREE, PEERS, "A.peer C.peer", True),
    ("three of three", TWO_OF_THREE, PEERS, "A.peer B.peer C.peer", True),
    ("one of three", TWO_OF_THREE, PEERS, "A.peer", False),
    ("nobody", TWO_OF_THREE, PEERS, "", False),
    ("the same peer twice", TWO_OF_THREE, PEERS, "A.peer A.peer", False),
    ("two peers of one organisation", TWO_OF_THREE, PEERS, "A.peer A.peer2", False),
    ("clients don't endorse", TWO_OF_THREE, PEERS, "A.client B.client", False),
    (
        "two of one organisation, two signers",
        _out_of(2, _signed_by(0), _signed_by(0)),
        ("A.peer",),
        "A.peer A.peer2",
        True,
    ),
    (
        "two of one organisation, one signer twice",
        _out_of(2, _signed_by(0), _signed_by(0)),
        ("A.peer",),
        "A.peer A.peer",
        False,
    ),
    (
        "greedy: the first rule takes the only peer",
        MEMBER_THEN_PEER,
        ("A.member", "A.peer"),
        "A.peer A.client",
        False,
    ),
    (
        "greedy: the order of signatures decides",
        MEMBER_THEN_PEER,
        ("A.member", "A.peer"),
        "A.client A.peer",
        True,
    ),
    (
        "a branch that fails gives its signers back",
        _out_of(1, _out_of(2, _signed_by(0), _signed_by(1)), _signed_by(0)),
        ("A.peer", "B.peer"),
        "A.peer",
        True,
    ),
    ("none needed", _out_of(0), (), "", True),
    ("more wanted than rules", _out_of(2, _signed_by(0)), ("A.peer",), "A.peer", False),
]


@pytest.mark.parametrize(
    ("rule", "principals", "signers", "satisfied"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_signature_policies(
    actors: Actors, rule: Any, principals: tuple[str, ...], signers: str, satisfied: bool
) -> None:
    policy = SignaturePolicy(_envelope(rule, principals), actors.manager)
    if satisfied:
        policy.evaluate(actors.signed(signers))
        return
    with pytest.raises(PolicyError, match="did not satisfy"):
        policy.evaluate(actors.signed(signers))


def test_bad_signatures_are_skipped_and_do_not_count_as_seen(actors: Actors) -> None:
    good = actors.signed("A.peer B.peer")
    forged = SignedData(b"other", good[0].identity, good[0].signature)
    garbage = SignedData(DATA, b"garbage", b"garbage")
    found = valid_identities([forged, garbage, *good, *good], actors.manager)
    assert [identity.msp_id for identity in found] == ["A", "B"]


@pytest.mark.parametrize(
    ("envelope", "reason"),
    [
        (policies_pb2.SignaturePolicyEnvelope(version=1, rule=_out_of(0)), "version 0"),
        (_envelope(_signed_by(1), ("A.peer",)), "out of range"),
        (_envelope(_signed_by(-1), ("A.peer",)), "out of range"),
        (policies_pb2.SignaturePolicyEnvelope(), "Unknown type"),
    ],
)
def test_rules_that_do_not_compile(actors: Actors, envelope: Any, reason: str) -> None:
    with pytest.raises(PolicyError, match=reason):
        SignaturePolicy(envelope, actors.manager)


def _tree(rule: int, orgs: Sequence[str]) -> Any:
    """A root group with a meta policy over organisations that name their admins."""
    root = configtx_pb2.ConfigGroup()
    meta = META(rule=rule, sub_policy="Admins").SerializeToString()
    root.policies["Admins"].policy.CopyFrom(
        policies_pb2.Policy(type=policies_pb2.Policy.IMPLICIT_META, value=meta)
    )
    for org in orgs:
        group = root.groups[org]
        if org == "bare":
            group.SetInParent()
            continue
        rule_bytes = _envelope(_signed_by(0), (f"{org}.admin",)).SerializeToString()
        group.policies["Admins"].policy.CopyFrom(
            policies_pb2.Policy(type=policies_pb2.Policy.SIGNATURE, value=rule_bytes)
        )
    return root


META_TABLE: list[tuple[int, tuple[str, ...], str, bool]] = [
    (META.ANY, ORGS, "B.admin", True),
    (META.ANY, ORGS, "B.client", False),
    (META.ALL, ORGS, "A.admin B.admin", False),
    (META.ALL, ORGS, "A.admin B.admin C.admin", True),
    (META.MAJORITY, ORGS, "A.admin", False),
    (META.MAJORITY, ORGS, "A.admin A.admin", False),
    (META.MAJORITY, ORGS, "A.admin C.admin", True),
    (META.MAJORITY, ("A", "B"), "A.admin", False),  # a majority of two is two
    (META.MAJORITY, ("A", "B", "C", "bare"), "A.admin B.admin", False),  # of four: three
    (META.MAJORITY, ("A", "B", "C", "bare"), "A.admin B.admin C.admin", True),
    (META.MAJORITY, (), "", True),
    (META.ALL, (), "", True),
]


@pytest.mark.parametrize(("rule", "orgs", "signers", "satisfied"), META_TABLE)
def test_implicit_meta_policies(
    actors: Actors, rule: int, orgs: tuple[str, ...], signers: str, satisfied: bool
) -> None:
    manager = PolicyManager("Channel", _tree(rule, orgs), actors.manager)
    policy = manager.policy("/Channel/Admins")
    if satisfied:
        policy.evaluate(actors.signed(signers))
        return
    with pytest.raises(PolicyError):
        policy.evaluate(actors.signed(signers))


def test_policies_are_found_by_path(actors: Actors) -> None:
    manager = PolicyManager("Channel", _tree(META.ANY, ORGS), actors.manager)
    admin = actors.signed("A.admin")
    for name in ("/Channel/A/Admins", "A/Admins"):
        manager.policy(name).evaluate(admin)
    child = manager.manager(["A"])
    assert child is not None
    child.policy("Admins").evaluate(admin)
    child.policy("/Channel/A/Admins").evaluate(admin)
    assert manager.manager(["A", "deeper"]) is None
    for name in ("/Channel/D/Admins", "/Other/Admins", ""):
        assert not manager.has(name)
        with pytest.raises(PolicyError, match="no such policy"):
            manager.policy(name).evaluate(admin)


def test_unknown_and_missing_policy_definitions(actors: Actors) -> None:
    root = configtx_pb2.ConfigGroup()
    root.policies["Odd"].policy.type = policies_pb2.Policy.MSP
    with pytest.raises(PolicyError, match="unknown policy type"):
        PolicyManager("Channel", root, actors.manager)
    root = configtx_pb2.ConfigGroup()
    root.policies["Empty"].SetInParent()
    with pytest.raises(PolicyError, match="was nil"):
        PolicyManager("Channel", root, actors.manager)
