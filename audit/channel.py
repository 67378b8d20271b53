"""The channel's configuration as the auditor reads it: organisations and policies.

Semantics: Fabric's common/policies/policy.go, common/policies/implicitmeta.go,
common/cauthdsl/cauthdsl.go and common/channelconfig/msp.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from fabric_protos.msp import msp_config_pb2

from audit.findings import Check, Wrong
from audit.membership import Identity, Membership, Organization

ROOT: Final = "Channel"
_SECTIONS: Final = ("Application", "Orderer")


class Channel:
    """One configuration of the channel.

    `msp_ids` is what each organisation is called in certificates, by section and name.
    """

    def __init__(self, config: Any) -> None:
        """Of a common.Config. Raises Wrong or ValueError for one that no peer would take."""
        self.group = config.channel_group
        self.sequence = int(config.sequence)
        _check_policies(self.group, ROOT)
        msps = {
            (section, name): _msp(organization, name)
            for section in _SECTIONS
            for name, organization in _section(self.group, section).groups.items()
        }
        organizations: dict[str, tuple[Any, Organization]] = {}
        self.msp_ids: dict[tuple[str, str], str] = {}
        for place, msp in msps.items():
            organization = Organization(msp.config)
            first, _ = organizations.setdefault(organization.msp_id, (msp, organization))
            if first != msp:
                raise Wrong(
                    Check.CONFIGURATION, f"two different MSPs are named {organization.msp_id}"
                )
            self.msp_ids[place] = organization.msp_id
        self.membership = Membership([one for _, one in organizations.values()])

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

        Raises Wrong when there is no such place or the policy is of an unknown kind: it fails
        closed. A policy that is not there is met by nobody.
        """
        names = path.removeprefix("/").split("/")
        group = self.group
        if names[0] != ROOT:
            raise Wrong(Check.CONFIGURATION, f"there is no policy {path}")
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


def _section(root: Any, name: str) -> Any:
    # Asked for by its key alone, a member that is not there would be made.
    if name not in root.groups:
        raise Wrong(Check.CONFIGURATION, f"it has no section {name}")
    return root.groups[name]


def _msp(organization: Any, name: str) -> Any:
    if "MSP" not in organization.values:
        raise Wrong(Check.CONFIGURATION, f"organisation {name} has no MSP")
    return msp_config_pb2.MSPConfig.FromString(organization.values["MSP"].value)


def _check_policies(group: Any, path: str) -> None:
    """Raise Wrong for a policy that would not compile (common/policies/policy.go
    NewManagerImpl)."""
    for name, holder in group.policies.items():
        policy = holder.policy
        if policy.type == policies_pb2.Policy.SIGNATURE:
            rules = policies_pb2.SignaturePolicyEnvelope.FromString(policy.value)
            right = rules.version == 0 and _compiles(rules.rule, len(rules.identities))
        else:
            right = policy.type == policies_pb2.Policy.IMPLICIT_META
            meta = policies_pb2.ImplicitMetaPolicy.FromString(policy.value if right else b"")
            right = right and meta.rule in policies_pb2.ImplicitMetaPolicy.Rule.values()
        if not right:
            raise Wrong(Check.CONFIGURATION, f"policy /{path}/{name} is none that can be met")
    for name, inner in group.groups.items():
        _check_policies(inner, f"{path}/{name}")


def _compiles(rule: Any, principals: int) -> bool:
    kind = rule.WhichOneof("Type")
    if kind == "signed_by":
        return 0 <= int(rule.signed_by) < principals
    return kind == "n_out_of" and all(_compiles(one, principals) for one in rule.n_out_of.rules)


def _rule(rule: Any, principals: Any, signers: Sequence[Identity], used: set[int]) -> bool:
    if not _compiles(rule, len(principals)):
        raise Wrong(Check.CONFIGURATION, "a signature policy names nobody, or a stranger")
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
