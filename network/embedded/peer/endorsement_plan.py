"""Which organisations must endorse so that policies hold: the smallest sets, from the policies.

Fabric's discovery service works this out from gossip (discovery/endorsement/endorsement.go); here
a known peer stands for "a peer of its organisation" and policies are tried on sets of those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fabric_protos.msp import msp_principal_pb2
from google.protobuf.message import DecodeError

from network.embedded.policies import ImplicitMetaPolicy, Policy, SignaturePolicy

Layout = Mapping[str, int]
"""MSP id -> how many of its peers must endorse."""

_ROLE = msp_principal_pb2.MSPRole
_PRINCIPAL = msp_principal_pb2.MSPPrincipal


def layouts(policies: Sequence[Policy], available: Mapping[str, int]) -> list[Layout]:
    """The smallest sets of peers that satisfy every policy, fewest peers first.

    `available` counts the known peers of each MSP id. Empty when no set will do.
    """
    found: list[dict[str, int]] = []
    for size in range(1, sum(available.values()) + 1):
        for candidate in _combinations(sorted(available), available, size):
            if any(_covers(candidate, smaller) for smaller in found):
                continue
            peers = [msp_id for msp_id, count in candidate.items() for _ in range(count)]
            if all(_holds(policy, peers) for policy in policies):
                found.append(candidate)
    return list(found)


def _covers(candidate: Layout, smaller: Layout) -> bool:
    return all(candidate.get(msp_id, 0) >= count for msp_id, count in smaller.items())


def _combinations(
    names: Sequence[str], available: Mapping[str, int], size: int
) -> Iterator[dict[str, int]]:
    if not names:
        if size == 0:
            yield {}
        return
    first, rest = names[0], names[1:]
    for count in range(min(size, available[first]) + 1):
        for others in _combinations(rest, available, size - count):
            yield {first: count, **others} if count else others


def _holds(policy: Policy, peers: Sequence[str]) -> bool:
    if isinstance(policy, ImplicitMetaPolicy):
        satisfied = sum(_holds(item, peers) for item in policy.sub_policies)
        return satisfied >= policy.threshold
    if isinstance(policy, SignaturePolicy):
        envelope = policy.envelope
        return _rule_holds(envelope.rule, envelope.identities, peers, [False] * len(peers))
    return False


def _rule_holds(
    rule: Any, principals: Sequence[Any], peers: Sequence[str], used: list[bool]
) -> bool:
    """As common/cauthdsl evaluates it: greedy, without going back."""
    if rule.WhichOneof("Type") == "signed_by":
        for index, msp_id in enumerate(peers):
            if not used[index] and _is_peer_of(principals[rule.signed_by], msp_id):
                used[index] = True
                return True
        return False
    satisfied = 0
    for item in rule.n_out_of.rules:
        attempt = list(used)
        if _rule_holds(item, principals, peers, attempt):
            satisfied += 1
            used[:] = attempt
    return bool(satisfied >= rule.n_out_of.n)


def _is_peer_of(principal: Any, msp_id: str) -> bool:
    if principal.principal_classification != _PRINCIPAL.ROLE:
        return False
    try:
        role = _ROLE.FromString(principal.principal)
    except DecodeError:
        return False
    return bool(role.msp_identifier == msp_id and role.role in (_ROLE.MEMBER, _ROLE.PEER))
