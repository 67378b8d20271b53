"""Policies: who must have signed.

Written after Fabric's common/cauthdsl (signature policies) and common/policies (implicit meta
policies and the tree of managers).

    manager.policy("/Channel/Application/Writers").evaluate([SignedData(...)])
    SignaturePolicy.from_bytes(raw, msp_manager).evaluate(signed)

`evaluate` and `evaluate_identities` return nothing or raise PolicyError with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fabric_protos.common import common_pb2, configtx_pb2, policies_pb2
from google.protobuf.message import DecodeError

from network.embedded import goproto
from network.embedded.msp import Identity, MSPError, MSPManager

_SEPARATOR = "/"
_POLICY = policies_pb2.Policy
_META = policies_pb2.ImplicitMetaPolicy


class PolicyError(ValueError):
    """A policy that isn't satisfied, isn't there or can't be compiled; the text says why."""


@dataclass(frozen=True)
class SignedData:
    """What was signed, by whom (serialised identity), and the signature.

    `digest` is the SHA-256 of `data`, where whoever asks has it already.
    """

    data: bytes
    identity: bytes
    signature: bytes
    digest: bytes | None = None


class Policy(Protocol):
    """Anything that signatures are held against."""

    def evaluate(self, signed: Sequence[SignedData]) -> None:
        """Check signatures, then identities. Raises PolicyError."""

    def evaluate_identities(self, identities: Sequence[Identity]) -> None:
        """Hold identities, whose signatures were checked, against the policy.

        They must be distinct (`valid_identities`). Raises PolicyError.
        """


def valid_identities(signed: Sequence[SignedData], manager: MSPManager) -> list[Identity]:
    """The distinct identities whose signature is right; others are skipped.

    Identities are deduplicated before signatures are checked; a bad signature doesn't count as
    seen (common/policies/policy.go SignatureSetToValidIdentities).
    """
    found: dict[tuple[str, str], Identity] = {}
    for item in signed:
        try:
            identity = manager.deserialize(item.identity)
            if identity.key in found:
                continue
            identity.verify(item.data, item.signature, item.digest)
        except MSPError:
            continue
        found[identity.key] = identity
    return list(found.values())


_Evaluator = Callable[[Sequence[Identity], list[bool]], bool]


class SignaturePolicy:
    """A common.SignaturePolicyEnvelope, compiled once (common/cauthdsl)."""

    def __init__(self, envelope: Any, manager: MSPManager) -> None:
        """Raises PolicyError for a version other than 0 or a rule that doesn't compile."""
        if envelope.version != 0:
            raise PolicyError(
                "This evaluator only understands messages of version 0, but version was "
                f"{envelope.version}"
            )
        self.envelope = envelope
        self._manager = manager
        self._evaluator = _compile(envelope.rule, tuple(envelope.identities))

    @classmethod
    def from_bytes(cls, raw: bytes, manager: MSPManager) -> SignaturePolicy:
        """Parse and compile. Raises PolicyError."""
        try:
            envelope = policies_pb2.SignaturePolicyEnvelope.FromString(raw)
        except DecodeError as error:
            raise PolicyError("Error unmarshalling to SignaturePolicy") from error
        return cls(envelope, manager)

    def evaluate(self, signed: Sequence[SignedData]) -> None:
        self.evaluate_identities(valid_identities(signed, self._manager))

    def evaluate_identities(self, identities: Sequence[Identity]) -> None:
        if not self._evaluator(identities, [False] * len(identities)):
            raise PolicyError("signature set did not satisfy policy")


def _compile(rule: Any, principals: Sequence[Any]) -> _Evaluator:
    kind = rule.WhichOneof("Type")
    if kind == "signed_by":
        index = rule.signed_by
        if not 0 <= index < len(principals):
            raise PolicyError(
                f"identity index out of range, requested {index}, but identities length is "
                f"{len(principals)}"
            )
        return _signed_by(principals[index])
    if kind == "n_out_of":
        return _n_out_of(
            rule.n_out_of.n, [_compile(item, principals) for item in rule.n_out_of.rules]
        )
    raise PolicyError("Unknown type of signature policy")


def _signed_by(principal: Any) -> _Evaluator:
    def evaluate(identities: Sequence[Identity], used: list[bool]) -> bool:
        for index, identity in enumerate(identities):
            if not used[index] and identity.satisfies(principal):
                used[index] = True
                return True
        return False

    return evaluate


def _n_out_of(wanted: int, rules: Sequence[_Evaluator]) -> _Evaluator:
    def evaluate(identities: Sequence[Identity], used: list[bool]) -> bool:
        """Greedy, without going back; every rule is tried even when enough are satisfied."""
        satisfied = 0
        for rule in rules:
            attempt = list(used)
            if rule(identities, attempt):
                satisfied += 1
                used[:] = attempt
        return satisfied >= wanted

    return evaluate


class RejectPolicy:
    """Stands where a policy is missing: nothing satisfies it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def evaluate(self, signed: Sequence[SignedData]) -> None:
        raise PolicyError(f"no such policy: '{self._name}'")

    def evaluate_identities(self, identities: Sequence[Identity]) -> None:
        raise PolicyError(f"no such policy: '{self._name}'")


class ImplicitMetaPolicy:
    """ANY, ALL or MAJORITY of a policy of the sub-groups (common/policies/implicitmeta.go).

    A sub-group without that policy counts in the total and is never satisfied.
    """

    def __init__(self, raw: bytes, managers: Mapping[str, PolicyManager]) -> None:
        """Raises PolicyError."""
        try:
            definition = _META.FromString(raw)
        except DecodeError as error:
            raise PolicyError("Error unmarshalling to ImplicitMetaPolicy") from error
        self.sub_policy: str = definition.sub_policy
        self.rule: int = definition.rule
        self.sub_policies = [item.policy(self.sub_policy) for item in managers.values()]
        total = len(self.sub_policies)
        thresholds = {_META.ANY: 1, _META.ALL: total, _META.MAJORITY: total // 2 + 1}
        # No sub-groups: nothing is a majority of nothing.
        self.threshold: int = thresholds.get(definition.rule, 0) if total else 0
        self._manager = next((item.msp_manager for item in managers.values()), None)

    def evaluate(self, signed: Sequence[SignedData]) -> None:
        # Every sub-policy would check the same signatures against the same MSPs: once is enough.
        known = valid_identities(signed, self._manager) if self._manager is not None else []
        self.evaluate_identities(known)

    def evaluate_identities(self, identities: Sequence[Identity]) -> None:
        satisfied = 0
        if self.threshold == 0:
            return
        for policy in self.sub_policies:
            try:
                policy.evaluate_identities(identities)
            except PolicyError:
                continue
            satisfied += 1
            if satisfied == self.threshold:
                return
        raise PolicyError(
            f"implicit policy evaluation failed - {satisfied} sub-policies were satisfied, but "
            f"this policy requires {self.threshold} of the '{self.sub_policy}' sub-policies to be "
            "satisfied"
        )


class PolicyManager:
    """The policies of a configuration group and those below it (common/policies/policy.go)."""

    def __init__(self, path: str, group: Any, msp_manager: MSPManager) -> None:
        """`path` without a leading slash, `group` a common.ConfigGroup.

        Raises PolicyError for a policy that doesn't compile.
        """
        self.path = path
        self.msp_manager = msp_manager
        self.managers: dict[str, PolicyManager] = {
            name: PolicyManager(f"{path}{_SEPARATOR}{name}", child, msp_manager)
            for name, child in group.groups.items()
        }
        self._policies: dict[str, Policy] = {
            name: self._build(name, item) for name, item in group.policies.items()
        }
        for child_name, child_manager in self.managers.items():
            for name, policy in child_manager._policies.items():
                self._policies[f"{child_name}{_SEPARATOR}{name}"] = policy

    def policy(self, name: str) -> Policy:
        """A policy by absolute path ("/Channel/Readers") or relative name ("Orderer/Readers").

        A policy that isn't there is one that refuses everything.
        """
        return self._policies.get(self._relative(name)) or RejectPolicy(name)

    def has(self, name: str) -> bool:
        """Whether such a policy is defined."""
        return self._relative(name) in self._policies

    def manager(self, path: Sequence[str]) -> PolicyManager | None:
        """The manager of a group below this one, None when there is none."""
        if not path:
            return self
        child = self.managers.get(path[0])
        return child.manager(path[1:]) if child is not None else None

    def _relative(self, name: str) -> str:
        prefix = f"{_SEPARATOR}{self.path}{_SEPARATOR}"
        return name[len(prefix) :] if name.startswith(prefix) else name

    def _build(self, name: str, item: Any) -> Policy:
        try:
            if not item.HasField("policy"):
                raise PolicyError("was nil")
            if item.policy.type == _POLICY.IMPLICIT_META:
                return ImplicitMetaPolicy(item.policy.value, self.managers)
            if item.policy.type == _POLICY.SIGNATURE:
                return SignaturePolicy.from_bytes(item.policy.value, self.msp_manager)
            raise PolicyError(f"has unknown policy type: {item.policy.type}")
        except PolicyError as error:
            raise PolicyError(f"policy {name} at path {self.path}: {error}") from error


def envelope_signed_data(envelope: Any) -> SignedData:
    """The signed data of a common.Envelope (protoutil/signeddata.go EnvelopeAsSignedData).

    Raises PolicyError with Fabric's text when payload or headers can't be parsed.
    """
    says = "could not convert message to signedData: "
    try:
        payload = goproto.parse(common_pb2.Payload, envelope.payload)
    except goproto.GoDecodeError as error:
        raise PolicyError(f"{says}{error}") from error
    if not payload.HasField("header"):
        raise PolicyError(f"{says}Missing Header")
    try:
        header = goproto.parse(common_pb2.SignatureHeader, payload.header.signature_header)
    except goproto.GoDecodeError as error:
        raise PolicyError(f"{says}GetSignatureHeaderFromBytes failed, err {error}") from error
    return SignedData(envelope.payload, header.creator, envelope.signature)


def config_update_signed_data(update: Any) -> list[SignedData]:
    """The signatures of a common.ConfigUpdateEnvelope: each over its header || config_update.

    Raises GoDecodeError when a signature header can't be parsed.
    """
    found = []
    for item in update.signatures:
        header = goproto.parse(common_pb2.SignatureHeader, item.signature_header)
        found.append(
            SignedData(item.signature_header + update.config_update, header.creator, item.signature)
        )
    return found


def root_manager(config: Any, msp_manager: MSPManager) -> PolicyManager:
    """The manager of a common.Config's channel group. Raises PolicyError."""
    if not isinstance(config, configtx_pb2.Config):
        raise PolicyError("not a channel configuration")
    return PolicyManager("Channel", config.channel_group, msp_manager)
