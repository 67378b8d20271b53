"""Fabric's policies as protobuf: implicit-meta counts and signature policies by organisation.

Sources: fabric-protos common/policies.proto, common/policydsl/policydsl_builder.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2

from network.topology import Rule

_META_RULES = {
    Rule.ANY: policies_pb2.ImplicitMetaPolicy.ANY,
    Rule.ALL: policies_pb2.ImplicitMetaPolicy.ALL,
    Rule.MAJORITY: policies_pb2.ImplicitMetaPolicy.MAJORITY,
}
_MSP_ROLES = {
    "member": msp_principal_pb2.MSPRole.MEMBER,
    "admin": msp_principal_pb2.MSPRole.ADMIN,
    "client": msp_principal_pb2.MSPRole.CLIENT,
    "peer": msp_principal_pb2.MSPRole.PEER,
    "orderer": msp_principal_pb2.MSPRole.ORDERER,
}


def implicit_meta(rule: Rule, sub_policy: str) -> Any:
    """A common.Policy: `rule` of the sub-groups' policies named `sub_policy`."""
    value = policies_pb2.ImplicitMetaPolicy(rule=_META_RULES[rule], sub_policy=sub_policy)
    return policies_pb2.Policy(
        type=policies_pb2.Policy.IMPLICIT_META, value=value.SerializeToString()
    )


def signature_policy(at_least: int, principals: Sequence[tuple[str, str]]) -> Any:
    """A common.SignaturePolicyEnvelope: `at_least` of the (MSP id, MSP role) pairs sign."""
    identities = []
    for msp_id, role in principals:
        named = msp_principal_pb2.MSPRole(msp_identifier=msp_id, role=_MSP_ROLES[role])
        identities.append(
            msp_principal_pb2.MSPPrincipal(
                principal_classification=msp_principal_pb2.MSPPrincipal.ROLE,
                principal=named.SerializeToString(),
            )
        )
    rules = [policies_pb2.SignaturePolicy(signed_by=index) for index in range(len(principals))]
    return policies_pb2.SignaturePolicyEnvelope(
        version=0,
        rule=policies_pb2.SignaturePolicy(
            n_out_of=policies_pb2.SignaturePolicy.NOutOf(n=at_least, rules=rules)
        ),
        identities=identities,
    )


def one_of(msp_id: str, *roles: str) -> Any:
    """A common.Policy: any one of the organisation's roles signs."""
    envelope = signature_policy(1, [(msp_id, role) for role in roles])
    return policies_pb2.Policy(
        type=policies_pb2.Policy.SIGNATURE, value=envelope.SerializeToString()
    )
