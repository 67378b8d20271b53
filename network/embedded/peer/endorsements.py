"""Collecting endorsements: one peer first, then as many as the policies ask for.

After internal/pkg/gateway (endorse.go, endorsement.go, registry.go).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from network.embedded.channelconfig import Bundle
from network.embedded.peer.channel import Channel
from network.embedded.peer.endorsement_plan import Layout, layouts
from network.embedded.peer.endorsement_policies import Policies
from network.embedded.peer.endorser import FilteredProposalError, RefusedProposalError
from network.embedded.peer.grpc_errors import RpcError, error_detail
from network.embedded.peer.lifecycle_state import (
    NAMESPACE,
    CommittedState,
    LifecycleError,
    read_definition,
)
from network.embedded.peer.proposals import SignedProposal
from network.embedded.peer.registry import Address, EndorserUnavailableError, Registry
from network.embedded.peer.system_chaincodes import SYSTEM
from network.embedded.policies import Policy, PolicyError

_ENDORSE_SECONDS = 30.0
"""peer.gateway.endorsementTimeout of Fabric's core.yaml."""
_Code = grpc.StatusCode

LocalEndorser = Callable[[SignedProposal], Awaitable[Any]]
"""The own peer's Endorser: a proposal -> peer.ProposalResponse."""


@dataclass(frozen=True)
class FailedCall:
    """Why a call to an endorser counts as failed, and whether another may be asked (Evaluate)."""

    code: grpc.StatusCode
    message: str
    retry: bool


def response_status(response: Any, failure: Exception | None) -> FailedCall | None:
    """None for a success (apiutils.go responseStatus)."""
    if isinstance(failure, RefusedProposalError) and not isinstance(failure, FilteredProposalError):
        return FailedCall(_Code.FAILED_PRECONDITION, str(failure), retry=False)
    if failure is not None:
        return FailedCall(_Code.UNAVAILABLE, str(failure), retry=True)
    answer = response.response
    if 200 <= answer.status < 400:
        return None
    if answer.status == 500 and not response.payload:
        return FailedCall(_Code.ABORTED, answer.message, retry=True)
    text = f"chaincode response {answer.status}, {answer.message}"
    return FailedCall(_Code.UNKNOWN, text, retry=False)


def nobody_to_ask(proposal: SignedProposal, organisations: Sequence[str]) -> RpcError:
    """Endorse of a chaincode that no peer has: Fabric asks only those that have it
    (registry.go hasChaincode, endorse.go planFromFirstEndorser)."""
    if organisations:
        named = ", ".join(organisations)
        text = f"failed to find any endorsing peers for org(s): {named}"
        return RpcError(_Code.UNAVAILABLE, text)
    if proposal.has_transient:
        text = (
            "no endorsers found in the gateway's organization; retry specifying endorsing "
            "organization(s) to protect transient data"
        )
    else:
        text = (
            "no combination of peers can be derived which satisfy the endorsement policy: No "
            f"metadata was found for chaincode {proposal.named} in channel "
            f"{proposal.channel_id}"
        )
    return RpcError(_Code.FAILED_PRECONDITION, text)


class _Plan:
    """What was collected so far for one transaction."""

    def __init__(self, options: Sequence[Layout], peers: dict[str, list[Address]]) -> None:
        self.options = [dict(option) for option in options]
        self.peers = {msp_id: list(items) for msp_id, items in peers.items()}
        self.payload: bytes | None = None
        self.endorsements: dict[str, list[Any]] = {}
        self.details: list[Any] = []

    def add(self, peer: Address, response: Any) -> bool:
        """Take a success; False when it differs from the others."""
        if self.payload is None:
            self.payload = response.payload
        elif self.payload != response.payload:
            text = "ProposalResponsePayloads do not match"
            self.details.append(error_detail(peer.endpoint, peer.msp_id, text))
            return False
        self.endorsements.setdefault(peer.msp_id, []).append(response.endorsement)
        return True

    def missing(self, option: Layout) -> dict[str, int]:
        """What an option still needs."""
        have = {msp_id: len(items) for msp_id, items in self.endorsements.items()}
        return {
            msp_id: count - have.get(msp_id, 0)
            for msp_id, count in option.items()
            if count > have.get(msp_id, 0)
        }

    def result(self, option: Layout) -> list[Any]:
        """The endorsements of a complete option."""
        return [
            item for msp_id, count in option.items() for item in self.endorsements[msp_id][:count]
        ]


class EndorsementCollector:
    """Asks peers to endorse."""

    def __init__(self, registry: Registry, local: LocalEndorser) -> None:
        self._registry = registry
        self._local = local
        self._policies: dict[str, Policies] = {}
        self._layouts: dict[tuple[str, int, str], list[Layout]] = {}
        self._defined: set[tuple[str, int, str]] = set()

    def knows(self, channel: Channel, chaincode: str) -> bool:
        """Whether a chaincode can be asked for: a system chaincode, or one that is defined."""
        if chaincode in SYSTEM:
            return True
        key = (channel.channel_id, channel.generation, chaincode)
        if key in self._defined:
            return True
        try:
            with channel.ledger.snapshot() as snapshot:
                found = read_definition(chaincode, CommittedState(snapshot.state)) is not None
        except (LifecycleError, DecodeError):
            return False
        if found:
            self._defined = {item for item in self._defined if item[1] == key[1]} | {key}
        return found

    async def ask(
        self, bundle: Bundle, peer: Address, proposal: SignedProposal
    ) -> tuple[Any, Exception | None]:
        """(ProposalResponse, None) or (None, error) of one peer."""
        try:
            async with asyncio.timeout(_ENDORSE_SECONDS):
                if peer == self._registry.own:
                    return await self._local(proposal), None
                return await self._remote(bundle, peer, proposal), None
        except (RefusedProposalError, EndorserUnavailableError) as error:
            return None, error
        except TimeoutError:
            return None, EndorserUnavailableError(
                "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
            )

    async def _remote(self, bundle: Bundle, peer: Address, proposal: SignedProposal) -> Any:
        remote = self._registry.endorser(bundle, peer)
        try:
            return await remote.process(proposal.signed.SerializeToString(), _ENDORSE_SECONDS)
        except EndorserUnavailableError as error:
            if error.code is grpc.StatusCode.UNAVAILABLE:
                self._registry.forget(remote)
            raise

    async def collect(
        self, channel: Channel, proposal: SignedProposal, organisations: Sequence[str]
    ) -> tuple[bytes, list[Any]]:
        """(proposal response payload, Endorsement messages) that satisfy the policies, or of the
        named organisations. Raises RpcError."""
        bundle = channel.bundle
        by_org: dict[str, list[Address]] = {}
        for peer in self._registry.peers(bundle):
            by_org.setdefault(peer.msp_id, []).append(peer)
        if organisations:
            missing = [msp_id for msp_id in organisations if msp_id not in by_org]
            if missing:
                text = f"failed to find any endorsing peers for org(s): {', '.join(missing)}"
                raise RpcError(_Code.UNAVAILABLE, text)
            plan = _Plan([dict.fromkeys(organisations, 1)], by_org)
        else:
            plan = await self._from_first(channel, proposal, by_org)
        for option in plan.options:
            if await self._complete(bundle, plan, option, proposal):
                return plan.payload or b"", plan.result(option)
        text = (
            "failed to collect enough transaction endorsements, see attached details for more info"
        )
        raise RpcError(_Code.ABORTED, text, plan.details)

    async def _from_first(
        self, channel: Channel, proposal: SignedProposal, by_org: dict[str, list[Address]]
    ) -> _Plan:
        """Endorse on the own organisation's peers first; their answer says which policies count."""
        details = []
        own = self._registry.own.msp_id
        for peer in by_org.get(own, ()):
            response, failure = await self.ask(channel.bundle, peer, proposal)
            status = response_status(response, failure)
            if status is not None:
                details.append(error_detail(peer.endpoint, peer.msp_id, status.message))
                continue
            rest = dict(by_org)
            rest[own] = [item for item in by_org[own] if item != peer]
            available = Counter({msp_id: len(items) for msp_id, items in by_org.items()})
            options = self._options(channel, proposal.named, response.interest, available)
            if not options:
                raise RpcError(
                    _Code.FAILED_PRECONDITION,
                    # registry.go wraps what discovery/endorsement/endorsement.go says.
                    "no combination of peers can be derived which satisfy the endorsement policy: "
                    "no peer combination can satisfy the endorsement policy",
                )
            options.sort(key=lambda option: own not in option)
            plan = _Plan(options, rest)
            plan.add(peer, response)
            return plan
        text = "failed to endorse transaction, see attached details for more info"
        raise RpcError(_Code.ABORTED, text, details)

    async def _complete(
        self, bundle: Bundle, plan: _Plan, option: Layout, proposal: SignedProposal
    ) -> bool:
        """Ask for what an option still needs, other peers of an organisation when one fails."""

        async def one(msp_id: str) -> bool:
            peers = plan.peers.get(msp_id, [])
            while peers:
                peer = peers.pop(0)
                response, failure = await self.ask(bundle, peer, proposal)
                status = response_status(response, failure)
                if status is None and plan.add(peer, response):
                    return True
                if status is not None:
                    plan.details.append(error_detail(peer.endpoint, peer.msp_id, status.message))
            return False

        wanted = [msp_id for msp_id, count in plan.missing(option).items() for _ in range(count)]
        return all(await asyncio.gather(*(one(msp_id) for msp_id in wanted)))

    def _options(
        self, channel: Channel, chaincode: str, interest: Any, available: Counter[str]
    ) -> list[Layout]:
        """Sets of organisations that satisfy the policies of everything touched."""
        calls = [(call.name, call) for call in interest.chaincodes] or [(chaincode, None)]
        plain = all(call is None or not call.key_policies for _, call in calls)
        names = ",".join(name for name, _ in calls)
        key = (channel.channel_id, channel.generation, names)
        if plain and key in self._layouts:
            return list(self._layouts[key])
        try:
            found = layouts(self._needed(channel, calls), available)
        except (PolicyError, LifecycleError, DecodeError):
            return []
        if plain:
            self._layouts[key] = found
        return list(found)

    def _needed(self, channel: Channel, calls: Sequence[tuple[str, Any]]) -> list[Policy]:
        policies = self._policies.get(channel.channel_id)
        if policies is None or policies.bundle is not channel.bundle:
            policies = self._policies[channel.channel_id] = Policies(channel.bundle)
        needed: list[Policy] = []
        with channel.ledger.snapshot() as snapshot:
            for name, call in calls:
                if call is not None:
                    needed += [
                        policies.signature(item.SerializeToString()) for item in call.key_policies
                    ]
                    if call.disregard_namespace_policy:
                        continue
                if name == NAMESPACE:
                    needed.append(policies.lifecycle())
                    continue
                definition = read_definition(name, CommittedState(snapshot.state))
                if definition is None:
                    raise LifecycleError(f"chaincode {name} is not defined")
                needed.append(policies.application(definition.validation_parameter))
        return needed
