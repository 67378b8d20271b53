"""What the values of a topology mean together: duplicates, references, policies that can be met."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from network.topology import (
    Engine,
    Problem,
    Topology,
    TopologyError,
    UserKind,
    ports,
)

# Chaincode names that a peer keeps for itself (core/chaincode/lifecycle/scc.go).
_SYSTEM_CHAINCODES = frozenset({"cscc", "escc", "lscc", "qscc", "vscc", "_lifecycle"})


def check(topology: Topology) -> None:
    """Raise TopologyError with every rule that the topology breaks."""
    problems = (
        *_names(topology),
        *_ports(topology),
        *_members(topology),
        *_references(topology),
        *_policies(topology),
        *_batch(topology),
    )
    if problems:
        raise TopologyError(problems)


def check_engine(topology: Topology, engine: Engine) -> None:
    """Raise TopologyError when `engine` can't run what is left of the topology for it."""
    names = [orderer.name for _, orderer in topology.orderers()]
    if not names:
        reason = f"no organisation has an orderer that the {engine.value} engine runs"
        raise TopologyError((Problem("no_orderer", "organizations", reason),))
    if engine is Engine.EMBEDDED and len(names) > 1:
        reason = (
            f"the embedded engine runs one orderer, not {len(names)} ({', '.join(names)}): "
            "say `engines: [fabric]` at the others"
        )
        raise TopologyError((Problem("too_many_orderers", "organizations", reason),))


def _repeated(items: Iterable[tuple[str, str]], what: str) -> Iterator[Problem]:
    """Items are (path, name); every name after its first use is a problem."""
    first: dict[str, str] = {}
    for path, name in items:
        # Names become folders, and macOS folders don't tell case apart.
        key = name.lower()
        if key in first:
            yield Problem("duplicate_name", path, f'{what} "{name}" is already at {first[key]}')
        else:
            first[key] = path


def _names(topology: Topology) -> Iterator[Problem]:
    organizations = list(enumerate(topology.organizations))
    yield from _repeated(
        ((f"organizations[{i}].name", item.name) for i, item in organizations), "organisation"
    )
    nodes: list[tuple[str, str]] = []
    for i, organization in organizations:
        base = f"organizations[{i}]"
        nodes += [(f"{base}.peers[{n}].name", p.name) for n, p in enumerate(organization.peers)]
        nodes += [
            (f"{base}.orderers[{n}].name", o.name) for n, o in enumerate(organization.orderers)
        ]
        users = [(f"{base}.users[{n}].name", u.name) for n, u in enumerate(organization.users)]
        yield from _repeated(users, "user")
        services = [
            (f"{base}.services[{n}].name", s.name) for n, s in enumerate(organization.services)
        ]
        yield from _repeated(services, "service")
    yield from _repeated(nodes, "node")
    acquirers = [(f"acquirers[{n}].name", a.name) for n, a in enumerate(topology.acquirers)]
    yield from _repeated(acquirers, "acquirer")


def _ports(topology: Topology) -> Iterator[Problem]:
    first: dict[tuple[str, int], str] = {}
    for use in ports(topology):
        key = (use.host, use.port)
        if use.port and key in first:
            reason = f"port {use.port} of {use.host} is already used at {first[key]}"
            yield Problem("duplicate_port", use.path, reason)
        first.setdefault(key, use.path)


def _members(topology: Topology) -> Iterator[Problem]:
    if not topology.organizations:
        yield Problem("no_organization", "organizations", "name at least one organisation")
        return
    if not any(True for _ in topology.orderers()):
        yield Problem("no_orderer", "organizations", "no organisation has an orderer")
    for index, organization in enumerate(topology.organizations):
        base = f"organizations[{index}]"
        if not organization.peers and not organization.orderers:
            yield Problem("no_node", base, f"{organization.name} has neither peer nor orderer")
        if len(organization.peers) > 1:
            reason = "one peer an organisation: more than one is not supported yet"
            yield Problem("too_many_peers", f"{base}.peers", reason)
        if not any(user.kind is UserKind.ADMIN for user in organization.users):
            reason = f"{organization.name} has no user of kind admin: nobody could install"
            yield Problem("no_admin", f"{base}.users", reason)


def _references(topology: Topology) -> Iterator[Problem]:
    known = {item.name: item for item in topology.organizations}
    for index, acquirer in enumerate(topology.acquirers):
        if acquirer.bank not in known:
            reason = f'there is no organisation "{acquirer.bank}"'
            yield Problem("unknown_organization", f"acquirers[{index}].bank", reason)
    proof = topology.chaincode.proof
    organization = known.get(proof.organization)
    if organization is None:
        reason = f'there is no organisation "{proof.organization}"'
        yield Problem("unknown_organization", "chaincode.proof.organization", reason)
    elif proof.user not in {user.name for user in organization.users}:
        reason = f'{organization.name} has no user "{proof.user}"'
        yield Problem("unknown_user", "chaincode.proof.user", reason)
    elif not organization.peers:
        reason = f"{organization.name} has no peer to send the proof through"
        yield Problem("no_peer", "chaincode.proof.organization", reason)
    if topology.chaincode.name in _SYSTEM_CHAINCODES:
        reason = f'"{topology.chaincode.name}" is a system chaincode of every peer'
        yield Problem("bad_chaincode_name", "chaincode.name", reason)


def _policies(topology: Topology) -> Iterator[Problem]:
    # An implicit-meta policy counts every application organisation, so one without a peer
    # counts in the total but can never endorse (common/policies/implicitmeta.go). Only
    # organisations with a peer are members of the application group here, see genesis.py.
    able = {organization.name for organization, _ in topology.peers()}
    if not able:
        path = "channel.policies.endorsement"
        yield Problem("policy_cannot_be_met", path, "no organisation has a peer to endorse")
    threshold = topology.chaincode.endorsement
    if threshold is None:
        return
    path = "chaincode.endorsement"
    yield from _repeated(
        ((f"{path}.of[{n}]", name) for n, name in enumerate(threshold.of)), "organisation"
    )
    known = {organization.name for organization in topology.organizations}
    for number, name in enumerate(threshold.of):
        if name not in known:
            reason = f'there is no organisation "{name}"'
            yield Problem("unknown_organization", f"{path}.of[{number}]", reason)
    possible = len({name for name in threshold.of if name in able})
    if threshold.at_least > possible:
        reason = f"needs {threshold.at_least} organisations, {possible} of those named have a peer"
        yield Problem("policy_cannot_be_met", f"{path}.at_least", reason)


def _batch(topology: Topology) -> Iterator[Problem]:
    batch = topology.channel.batch
    if batch.preferred_max_bytes > batch.absolute_max_bytes:
        reason = f"is above absolute_max_bytes ({batch.absolute_max_bytes})"
        yield Problem("bad_batch", "channel.batch.preferred_max_bytes", reason)
