"""From running nodes to a channel that commits: join, install, approve, commit, and a proof.

Every step asks first what is already done, so that running it again only does what is missing.
The order is docs/fabric.md's: join and install in one task a peer, approve in all organisations at
once (they land in one block), commit, and then one real transaction: a network whose peers all
said "joined" has been seen that could never commit. Sources: core/scc/cscc/configure.go,
core/chaincode/lifecycle/scc.go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from fabric_protos.common import ledger_pb2
from fabric_protos.peer import policy_pb2
from fabric_protos.peer.lifecycle import lifecycle_pb2

from clearline.fabric.errors import CommitError, EndorseError, FabricError
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile
from network.administration import (
    TIMEOUTS,
    AdministrationError,
    PeerAdministration,
    until_committed,
)
from network.channelpolicies import signature_policy
from network.home import Home
from network.package import Package
from network.topology import Chaincode, Topology, UserKind

Progress = Callable[[str], None]

_LIFECYCLE: Final = "_lifecycle"
_NOT_FOUND: Final = 404
# The approval that a peer shows when it lost its own copy of it (query_executor.go GetPrivateData).
_COPY_LOST: Final = "private data matching public hash version is not available"
_LOST: Final = ""
_LEVEL_SECONDS: Final = 15.0
_PROOF_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True)
class Definition:
    """What the channel has committed, or is about to, for the chaincode."""

    sequence: int
    version: str
    validation_parameter: bytes


@dataclass(frozen=True)
class BringUp:
    """What was done: the committed sequence, and whether this run committed it."""

    sequence: int
    changed: bool


def connect(home: Home, topology: Topology) -> list[PeerAdministration]:
    """An administrator's connection to each peer. Raises ProfileError or IdentityError."""
    found = []
    for organization, peer in topology.peers():
        admin = next(user for user in organization.users if user.kind is UserKind.ADMIN)
        profile = Profile.load(home.profile(organization.name, admin.name))
        found.append(PeerAdministration(peer.name, profile))
    return found


async def bring_up(home: Home, topology: Topology, package: Package, progress: Progress) -> BringUp:
    """Make the running nodes one channel with the chaincode on it; `prove` comes after.

    Raises AdministrationError with the node, the step and the node's reason.
    """
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(peer) for peer in connect(home, topology)]
        genesis = home.genesis_block.read_bytes()
        progress("joining the channel, installing the chaincode")
        await asyncio.gather(*(_join_and_install(peer, genesis, package) for peer in peers))
        return await _define(topology, package, peers, progress)


async def _join_and_install(peer: PeerAdministration, genesis: bytes, package: Package) -> None:
    try:
        await peer.call("", "cscc", [b"JoinChain", genesis])
    except AdministrationError as error:
        if "already exists" not in error.reason:
            raise
    if package.id in await installed(peer):
        return
    argument = lifecycle_pb2.InstallChaincodeArgs(chaincode_install_package=package.content)
    answer = await peer.call("", _LIFECYCLE, [b"InstallChaincode", _bytes(argument)])
    result = lifecycle_pb2.InstallChaincodeResult.FromString(answer)
    if result.package_id != package.id:
        reason = f"installed as {result.package_id}, expected {package.id}"
        raise AdministrationError(peer.node, "_lifecycle InstallChaincode", reason)


async def installed(peer: PeerAdministration) -> frozenset[str]:
    """Package ids installed on a peer."""
    argument = _bytes(lifecycle_pb2.QueryInstalledChaincodesArgs())
    answer = await peer.call("", _LIFECYCLE, [b"QueryInstalledChaincodes", argument])
    result = lifecycle_pb2.QueryInstalledChaincodesResult.FromString(answer)
    return frozenset(item.package_id for item in result.installed_chaincodes)


async def _define(
    topology: Topology, package: Package, peers: Sequence[PeerAdministration], progress: Progress
) -> BringUp:
    channel, chaincode = topology.channel.id, topology.chaincode
    # A peer that lost its data is still catching up: it may not have seen the definition yet.
    found = await asyncio.gather(*(committed(peer, channel, chaincode.name) for peer in peers))
    known = [definition for definition in found if definition is not None]
    current = max(known, key=lambda definition: definition.sequence, default=None)
    wanted = Definition(1, chaincode.version, validation_parameter(chaincode))
    if current is not None:
        newest = current
        await asyncio.gather(*(_wait_defined(peer, topology, newest) for peer in peers))
        approvals = await asyncio.gather(
            *(_runs(peer, topology, newest.sequence, package) for peer in peers)
        )
        same = (current.version, current.validation_parameter) == (
            wanted.version,
            wanted.validation_parameter,
        )
        if same and all(approvals):
            return BringUp(current.sequence, changed=False)
        wanted = Definition(current.sequence + 1, wanted.version, wanted.validation_parameter)
    progress(f"approving the chaincode in every organisation (sequence {wanted.sequence})")
    await asyncio.gather(*(_approve(peer, topology, wanted, package) for peer in peers))
    # Every peer endorses the commit, so every one must have seen every approval.
    await asyncio.gather(*(_check_readiness(peer, topology, wanted) for peer in peers))
    progress("committing the chaincode's definition")
    argument = lifecycle_pb2.CommitChaincodeDefinitionArgs(**_fields(chaincode.name, wanted))
    call = [b"CommitChaincodeDefinition", _bytes(argument)]
    await peers[0].submit(_LIFECYCLE, call, peers)
    await asyncio.gather(*(_wait_defined(peer, topology, wanted) for peer in peers))
    return BringUp(wanted.sequence, changed=True)


async def committed(peer: PeerAdministration, channel: str, name: str) -> Definition | None:
    """The definition that this peer has committed; None when there is none."""
    argument = lifecycle_pb2.QueryChaincodeDefinitionArgs(name=name)
    try:
        answer = await peer.call(
            channel, _LIFECYCLE, [b"QueryChaincodeDefinition", _bytes(argument)]
        )
    except AdministrationError as error:
        if error.status == _NOT_FOUND or "is not defined" in error.reason:
            return None
        raise
    result = lifecycle_pb2.QueryChaincodeDefinitionResult.FromString(answer)
    return Definition(result.sequence, result.version, bytes(result.validation_parameter))


async def approved(peer: PeerAdministration, channel: str, name: str, sequence: int) -> str | None:
    """The package id the peer's organisation approved for a sequence; None without approval.

    "" when the approval stands but the peer lost its own copy of it: the channel only keeps the
    copy's hash, which is enough to endorse, and an approval can't be given twice.
    """
    argument = lifecycle_pb2.QueryApprovedChaincodeDefinitionArgs(name=name, sequence=sequence)
    try:
        answer = await peer.call(
            channel, _LIFECYCLE, [b"QueryApprovedChaincodeDefinition", _bytes(argument)]
        )
    except AdministrationError as error:
        if _COPY_LOST in error.reason:
            return _LOST
        if error.status == _NOT_FOUND or "could not fetch approved" in error.reason:
            return None
        raise
    result = lifecycle_pb2.QueryApprovedChaincodeDefinitionResult.FromString(answer)
    return str(result.source.local_package.package_id)


async def _runs(
    peer: PeerAdministration, topology: Topology, sequence: int, package: Package
) -> bool:
    """Whether the peer's organisation approved this package for a committed sequence."""
    channel, name = topology.channel.id, topology.chaincode.name
    approval = await approved(peer, channel, name, sequence)
    if approval != _LOST:
        return approval == package.id
    # The peer still knows by the hashes which of its packages is the approved one.
    argument = lifecycle_pb2.QueryInstalledChaincodeArgs(package_id=package.id)
    answer = await peer.call("", _LIFECYCLE, [b"QueryInstalledChaincode", _bytes(argument)])
    result = lifecycle_pb2.QueryInstalledChaincodeResult.FromString(answer)
    return any(item.name == name for item in result.references[channel].chaincodes)


async def _approve(
    peer: PeerAdministration, topology: Topology, wanted: Definition, package: Package
) -> None:
    name = topology.chaincode.name
    # An approval that is there already, from a run that was cut off, can't be given twice.
    given = await approved(peer, topology.channel.id, name, wanted.sequence)
    if given in {package.id, _LOST}:
        return
    argument = lifecycle_pb2.ApproveChaincodeDefinitionForMyOrgArgs(
        **_fields(name, wanted),
        source=lifecycle_pb2.ChaincodeSource(
            local_package=lifecycle_pb2.ChaincodeSource.Local(package_id=package.id)
        ),
    )
    call = [b"ApproveChaincodeDefinitionForMyOrg", _bytes(argument)]
    await peer.submit(_LIFECYCLE, call, [peer])


async def _check_readiness(
    peer: PeerAdministration, topology: Topology, wanted: Definition
) -> None:
    """Wait until this peer has seen every organisation's approval; name who is missing."""
    argument = lifecycle_pb2.CheckCommitReadinessArgs(**_fields(topology.chaincode.name, wanted))
    call = [b"CheckCommitReadiness", _bytes(argument)]
    deadline = time.monotonic() + _LEVEL_SECONDS
    while True:
        answer = await peer.call(topology.channel.id, _LIFECYCLE, call)
        result = lifecycle_pb2.CheckCommitReadinessResult.FromString(answer)
        missing = sorted(name for name, agreed in result.approvals.items() if not agreed)
        if not missing:
            return
        if time.monotonic() > deadline:
            reason = f"not approved by {', '.join(missing)}"
            raise AdministrationError(peer.node, "_lifecycle CheckCommitReadiness", reason)
        await asyncio.sleep(_POLL_SECONDS)


async def _wait_defined(peer: PeerAdministration, topology: Topology, wanted: Definition) -> None:
    deadline = time.monotonic() + _LEVEL_SECONDS
    while True:
        found = await committed(peer, topology.channel.id, topology.chaincode.name)
        if found is not None and found.sequence >= wanted.sequence:
            return
        if time.monotonic() > deadline:
            reason = "has not received the block with the definition"
            raise AdministrationError(peer.node, "_lifecycle QueryChaincodeDefinition", reason)
        await asyncio.sleep(_POLL_SECONDS)


async def prove(home: Home, topology: Topology) -> None:
    """One real transaction, committed VALID. Raises AdministrationError."""
    proof = topology.chaincode.proof
    profile = Profile.load(home.profile(proof.organization, proof.user))
    step = f"proof transaction {proof.function}"
    node = topology.organization(proof.organization).peers[0].name
    deadline = time.monotonic() + _PROOF_SECONDS
    async with Gateway.connect(profile, timeouts=TIMEOUTS) as gateway:
        contract = gateway.network(profile.channel).contract(profile.chaincode)
        while True:
            try:
                proposal = contract.new_proposal(proof.function, [proof.argument])
                transaction = await proposal.endorse()
                status = await until_committed(transaction, _PROOF_SECONDS)
                if not status.successful:
                    raise CommitError(transaction.transaction_id, status.code, status.block_number)
            except (EndorseError, CommitError) as error:
                # Nothing was applied: a chaincode server that is starting, or peers not level.
                if time.monotonic() > deadline:
                    raise AdministrationError(node, step, str(error)) from error
            except FabricError as error:
                raise AdministrationError(node, step, str(error)) from error
            else:
                return
            await asyncio.sleep(0.1)


async def heights(home: Home, topology: Topology) -> dict[str, int | None]:
    """Each peer's block height (qscc GetChainInfo); None for one that doesn't answer."""

    async def height(peer: PeerAdministration) -> int | None:
        channel = topology.channel.id.encode()
        try:
            async with asyncio.timeout(3), peer:
                answer = await peer.call(channel.decode(), "qscc", [b"GetChainInfo", channel])
        except (AdministrationError, TimeoutError):
            return None
        return int(ledger_pb2.BlockchainInfo.FromString(answer).height)

    peers = connect(home, topology)
    found = await asyncio.gather(*(height(peer) for peer in peers))
    return {peer.node: value for peer, value in zip(peers, found, strict=True)}


def validation_parameter(chaincode: Chaincode) -> bytes:
    """peer.ApplicationPolicy of the definition: the channel's endorsement policy by name, or a
    signature policy over the named organisations' peers."""
    policy = policy_pb2.ApplicationPolicy(
        channel_config_policy_reference="/Channel/Application/Endorsement"
    )
    threshold = chaincode.endorsement
    if threshold is not None:
        rule = signature_policy(threshold.at_least, [(name, "peer") for name in threshold.of])
        policy = policy_pb2.ApplicationPolicy(signature_policy=rule)
    return _bytes(policy)


def _fields(name: str, definition: Definition) -> dict[str, Any]:
    return {
        "name": name,
        "sequence": definition.sequence,
        "version": definition.version,
        "validation_parameter": definition.validation_parameter,
    }


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString(deterministic=True)
    return data
