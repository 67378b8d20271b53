"""The channel's configuration as the auditor reads it: organisations and policies.

Semantics: Fabric's common/policies/implicitmeta.go and common/cauthdsl/cauthdsl.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2

from audit.findings import Check, Wrong
from audit.membership import Identity, Membership, Organization


class Channel:
    """One configuration of the channel."""

    def __init__(self, config: Any) -> None:
        self._root = config.channel_group
        self.sequence = int(config.sequence)
        self.membership = Membership(
            [
                Organization(self._msp(organization))
                for group in ("Application", "Orderer")
                for organization in self._root.groups[group].groups.values()
            ]
        )

    @classmethod
    def of_block(cls, envelope: bytes) -> Channel:
        """The configuration in a CONFIG transaction. Raises Wrong."""
        try:
            outer = common_pb2.Envelope.FromString(envelope)
            payload = common_pb2.Payload.FromString(outer.payload)
            header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
            if header.type != common_pb2.HeaderType.CONFIG:
                raise Wrong(Check.CONFIGURATION, "not a configuration")
            return cls(configtx_pb2.ConfigEnvelope.FromString(payload.data).config)
        except (ValueError, KeyError) as error:
            raise Wrong(Check.CONFIGURATION, f"not a configuration: {error}") from None

    def accepts(self, path: str, signers: Sequence[Identity]) -> bool:
        """Whether distinct, verified signers meet the policy at `/Channel/...`.

        Raises Wrong when the policy is not there or of an unknown kind: it fails closed.
        """
        names = path.strip("/").split("/")
        group = self._root
        for name in names[1:-1]:
            if name not in group.groups:
                raise Wrong(Check.CONFIGURATION, f"there is no policy {path}")
            group = group.groups[name]
        return self._meets(group, names[-1], signers)

    def accepts_rule(self, envelope: bytes, signers: Sequence[Identity]) -> bool:
        """Whether signers meet a SignaturePolicyEnvelope."""
        policy = policies_pb2.SignaturePolicyEnvelope.FromString(envelope)
        return _rule(policy.rule, policy.identities, signers, set())

    def _meets(self, group: Any, name: str, signers: Sequence[Identity]) -> bool:
        if name not in group.policies:
            return False
        policy = group.policies[name].policy
        if policy.type == policies_pb2.Policy.SIGNATURE:
            return self.accepts_rule(policy.value, signers)
        if policy.type != policies_pb2.Policy.IMPLICIT_META:
            raise Wrong(Check.CONFIGURATION, f"policy {name} is of an unknown kind")
        meta = policies_pb2.ImplicitMetaPolicy.FromString(policy.value)
        inner = [self._meets(sub, meta.sub_policy, signers) for sub in group.groups.values()]
        needed = {
            policies_pb2.ImplicitMetaPolicy.ANY: 1,
            policies_pb2.ImplicitMetaPolicy.ALL: len(inner),
            policies_pb2.ImplicitMetaPolicy.MAJORITY: len(inner) // 2 + 1,
        }[meta.rule]
        return sum(inner) >= needed

    @staticmethod
    def _msp(organization: Any) -> bytes:
        value = organization.values["MSP"].value
        return bytes(msp_config_pb2.MSPConfig.FromString(value).config)


def _rule(rule: Any, principals: Any, signers: Sequence[Identity], used: set[int]) -> bool:
    if rule.WhichOneof("Type") == "signed_by":
        for index, signer in enumerate(signers):
            if index not in used and signer.satisfies(principals[rule.signed_by]):
                used.add(index)
                return True
        return False
    met = 0
    for inner in rule.n_out_of.rules:
        attempt = set(used)
        if _rule(inner, principals, signers, attempt):
            met += 1
            used |= attempt
    return met >= int(rule.n_out_of.n)
