"""The `_lifecycle` system chaincode: install, approve, commit and their queries.

After core/chaincode/lifecycle (scc.go, lifecycle.go). Each function takes one serialised
`<Function>Args` and answers a serialised `<Function>Result`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fabric_protos.peer.lifecycle import lifecycle_pb2 as pb

from network.embedded import goproto
from network.embedded.peer.lifecycle_state import (
    NAMESPACES,
    SOURCES,
    Definition,
    HashedState,
    LifecycleError,
    PrivateState,
    PublicState,
    collection_names,
    implicit_collection,
    metadata_key,
    mismatches,
    package_id_structure,
    read_approval,
    read_definition,
    read_field,
    read_metadata,
    read_sequence,
    serialize,
)
from network.embedded.peer.packages import PackageError, PackageNotFoundError, PackageStore
from network.embedded.peer.simulator import SimulationError, Simulator

_NAME = re.compile(r"^[a-zA-Z0-9]+([-_][a-zA-Z0-9]+)*$")
_VERSION = re.compile(r"^[A-Za-z0-9_.+-]+$")
_SYSTEM = frozenset({"cscc", "escc", "lscc", "qscc", "vscc"})


class NotDefinedError(LifecycleError):
    """The chaincode is not defined on the channel: status 404."""


class References(Protocol):
    """Which committed chaincodes use a package: (channel, name, version)."""

    def __call__(self, package_id: str) -> Sequence[tuple[str, str, str]]: ...


@dataclass(frozen=True)
class Call:
    """What an invocation works on. All but `msp_id` are unset without a channel; `organisations`
    are the MSP ids of the channel's application organisations."""

    msp_id: str
    simulator: Simulator | None = None
    organisations: tuple[str, ...] = ()
    channel_id: str = ""

    def public(self) -> PublicState:
        """The public keys. Raises LifecycleError without a channel."""
        return PublicState(self._simulator())

    def own(self) -> PrivateState:
        """The own organisation's private keys."""
        return PrivateState(self._simulator(), implicit_collection(self.msp_id))

    def hashed(self) -> list[HashedState]:
        """Every organisation's hashes."""
        return [HashedState(self._simulator(), msp_id) for msp_id in self.organisations]

    def _simulator(self) -> Simulator:
        if self.simulator is None:
            raise LifecycleError("no channel: this function needs one")
        return self.simulator


class Lifecycle:
    """The functions of `_lifecycle` on one peer."""

    def __init__(self, packages: PackageStore, references: References) -> None:
        self._packages = packages
        self._references = references
        self._functions: dict[str, Callable[[Call, Any], Any]] = {
            "InstallChaincode": self._install,
            "QueryInstalledChaincode": self._query_installed,
            "QueryInstalledChaincodes": self._query_all_installed,
            "GetInstalledChaincodePackage": self._package,
            "ApproveChaincodeDefinitionForMyOrg": self._approve,
            "QueryApprovedChaincodeDefinition": self._query_approved,
            "QueryApprovedChaincodeDefinitions": self._query_all_approved,
            "CheckCommitReadiness": self._check_readiness,
            "CommitChaincodeDefinition": self._commit,
            "QueryChaincodeDefinition": self._query_definition,
            "QueryChaincodeDefinitions": self._query_definitions,
        }

    def invoke(self, call: Call, function: str, argument: bytes) -> tuple[int, str, bytes]:
        """(status, message, payload) of a call, as the shim answers it."""
        prefix = f"failed to invoke backing implementation of '{function}': "
        handler = self._functions.get(function)
        if handler is None:
            return 500, f"{prefix}receiver *lifecycle.Invocation.{function} does not exist", b""
        try:
            message = goproto.parse(getattr(pb, f"{function}Args"), argument)
            result = handler(call, message)
        except NotDefinedError as error:
            return 404, str(error), b""
        except goproto.GoDecodeError as error:
            text = f"could not decode input arg for *lifecycle.Invocation.{function}: {error}"
            return 500, prefix + text, b""
        except (LifecycleError, PackageError, SimulationError) as error:
            return 500, prefix + str(error), b""
        return 200, "", bytes(result.SerializeToString(deterministic=True))

    # Packages

    def _install(self, call: Call, args: Any) -> Any:
        package = self._packages.install(args.chaincode_install_package)
        return pb.InstallChaincodeResult(package_id=package.package_id, label=package.label)

    def _query_installed(self, call: Call, args: Any) -> Any:
        try:
            package = self._packages.find(args.package_id)
        except PackageNotFoundError as error:
            raise PackageNotFoundError(
                f"could not find chaincode with package id '{args.package_id}'"
            ) from error
        result = pb.QueryInstalledChaincodeResult(
            package_id=package.package_id, label=package.label
        )
        self._add_references(result, package.package_id)
        return result

    def _query_all_installed(self, call: Call, args: Any) -> Any:
        result = pb.QueryInstalledChaincodesResult()
        for package in self._packages.installed():
            entry = result.installed_chaincodes.add(
                package_id=package.package_id, label=package.label
            )
            self._add_references(entry, package.package_id)
        return result

    def _add_references(self, message: Any, package_id: str) -> None:
        for channel, name, version in self._references(package_id):
            message.references[channel].chaincodes.add(name=name, version=version)

    def _package(self, call: Call, args: Any) -> Any:
        try:
            data = self._packages.load(args.package_id)
        except PackageNotFoundError as error:
            raise PackageError(f"could not load cc install package: {error}") from error
        return pb.GetInstalledChaincodePackageResult(chaincode_install_package=data)

    # Approval

    def _approve(self, call: Call, args: Any) -> Any:
        _validate(call, args)
        public, own = call.public(), call.own()
        package_id = ""
        if args.HasField("source"):
            package_id = args.source.local_package.package_id
        definition = _definition(args).with_defaults()
        current = read_sequence(args.name, public)
        _check_sequence(args.sequence, current)
        private_name = f"{args.name}#{args.sequence}"
        if args.sequence == current:
            committed = read_definition(args.name, public)
            if committed is None:
                raise LifecycleError(
                    f"missing metadata for currently committed sequence number ({current})"
                )
            try:
                _check_equal(committed, definition)
            except LifecycleError as error:
                raise LifecycleError(
                    f"attempted to redefine the current committed sequence ({current}) for "
                    f"namespace {args.name} with different parameters: {error}"
                ) from error
        if _is_redefinition(private_name, package_id, definition, own):
            if args.sequence == current:
                raise LifecycleError(
                    f"attempted to redefine the current committed sequence ({current}) for "
                    f"namespace {args.name}"
                )
            raise LifecycleError(
                f"attempted to redefine uncommitted sequence ({args.sequence}) for namespace "
                f"{args.name} with unchanged content"
            )
        serialize(NAMESPACES, private_name, definition.parameters(), own)
        serialize(SOURCES, private_name, package_id_structure(package_id), own)
        return pb.ApproveChaincodeDefinitionForMyOrgResult()

    def _query_approved(self, call: Call, args: Any) -> Any:
        own = call.own()
        sequence = args.sequence
        if sequence == 0:
            sequence = read_sequence(args.name, call.public())
            if read_metadata(NAMESPACES, f"{args.name}#{sequence + 1}", own) is not None:
                sequence += 1
        approval = read_approval(f"{args.name}#{sequence}", own)
        if approval is None:
            asked = f"(name: '{args.name}', sequence: '{sequence}')"
            raise LifecycleError(
                f"could not fetch approved chaincode definition {asked} "
                f"on channel '{call.channel_id}'"
            )
        result = pb.QueryApprovedChaincodeDefinitionResult()
        _fill(result, replace(approval, sequence=sequence))
        _fill_source(result, f"{args.name}#{sequence}", own)
        return result

    def _query_all_approved(self, call: Call, args: Any) -> Any:
        own = call.own()
        result = pb.QueryApprovedChaincodeDefinitionsResult()
        for private_name in own.names(metadata_key(NAMESPACES, "")):
            name, _, sequence = private_name.rpartition("#")
            approval = read_approval(private_name, own)
            if approval is None:
                continue
            entry = result.approved_chaincode_definitions.add(name=name)
            _fill(entry, replace(approval, sequence=int(sequence)))
            _fill_source(entry, private_name, own)
        return result

    # Commit

    def _check_readiness(self, call: Call, args: Any) -> Any:
        found = self._readiness(call, args)[1]
        result = pb.CheckCommitReadinessResult()
        for msp_id, items in found.items():
            result.approvals[msp_id] = not items
            if items:
                result.mismatches[msp_id].items.extend(items)
        return result

    def _readiness(self, call: Call, args: Any) -> tuple[Definition, dict[str, list[str]]]:
        current = read_sequence(args.name, call.public())
        if args.sequence != current + 1:
            raise LifecycleError(
                f"requested sequence is {args.sequence}, but new definition must be sequence "
                f"{current + 1}"
            )
        definition = _definition(args).with_defaults()
        return definition, _org_mismatches(call, args.name, definition)

    def _commit(self, call: Call, args: Any) -> Any:
        _validate(call, args)
        if call.msp_id not in call.organisations:
            raise LifecycleError(
                "impossibly, this peer's org is processing requests for a channel it is not a "
                "member of"
            )
        definition, found = self._readiness(call, args)
        serialize(NAMESPACES, args.name, definition.structure(), call.public())
        if found[call.msp_id]:
            raise LifecycleError(f"chaincode definition not agreed to by this org ({call.msp_id})")
        return pb.CommitChaincodeDefinitionResult()

    def _query_definition(self, call: Call, args: Any) -> Any:
        definition = read_definition(args.name, call.public())
        if definition is None:
            raise NotDefinedError(f"namespace {args.name} is not defined")
        result = pb.QueryChaincodeDefinitionResult()
        _fill(result, definition)
        for msp_id, items in _org_mismatches(call, args.name, definition).items():
            result.approvals[msp_id] = not items
        return result

    def _query_definitions(self, call: Call, args: Any) -> Any:
        public = call.public()
        prefix = metadata_key(NAMESPACES, "")
        names = [key[len(prefix) :] for key, _ in public.range(prefix)]
        result = pb.QueryChaincodeDefinitionsResult()
        for name in names:
            definition = read_definition(name, public)
            if definition is not None:
                _fill(result.chaincode_definitions.add(name=name), definition)
        return result


def _org_mismatches(call: Call, name: str, definition: Definition) -> dict[str, list[str]]:
    private_name = f"{name}#{definition.sequence}"
    parameters = definition.parameters()
    return {state.msp_id: mismatches(private_name, parameters, state) for state in call.hashed()}


def _definition(args: Any) -> Definition:
    return Definition(
        sequence=args.sequence,
        version=args.version,
        endorsement_plugin=args.endorsement_plugin,
        validation_plugin=args.validation_plugin,
        validation_parameter=args.validation_parameter,
        collections=args.collections.SerializeToString(),
        init_required=args.init_required,
    )


def _fill(message: Any, definition: Definition) -> None:
    message.sequence = definition.sequence
    message.version = definition.version
    message.endorsement_plugin = definition.endorsement_plugin
    message.validation_plugin = definition.validation_plugin
    message.validation_parameter = definition.validation_parameter
    message.init_required = definition.init_required
    message.collections.ParseFromString(definition.collections)
    message.collections.SetInParent()


def _fill_source(message: Any, private_name: str, own: PrivateState) -> None:
    package_id = read_field(SOURCES, private_name, "PackageID", own).String
    if package_id:
        message.source.local_package.package_id = package_id
    else:
        message.source.unavailable.SetInParent()


def _validate(call: Call, args: Any) -> None:
    """scc.go validateInput. Private collections and plugins are left out altogether."""
    reason = ""
    if not _NAME.match(args.name):
        reason = (
            f"invalid chaincode name '{args.name}'. Names can only consist of alphanumerics, "
            "'_', and '-' and can only begin with alphanumerics"
        )
    elif args.name in _SYSTEM:
        reason = f"chaincode name '{args.name}' is the name of a system chaincode"
    elif not _VERSION.match(args.version):
        reason = (
            f"invalid chaincode version '{args.version}'. Versions can only consist of "
            "alphanumerics, '_', '-', '+', and '.'"
        )
    elif collection_names(args.collections.SerializeToString()):
        reason = "private data collections are not supported by the embedded engine"
    elif args.endorsement_plugin not in ("", "escc"):
        reason = _no_plugin("endorsement", args.endorsement_plugin)
    elif args.validation_plugin not in ("", "vscc"):
        reason = _no_plugin("validation", args.validation_plugin)
    elif not call.channel_id:
        reason = "could not get channelconfig for channel ''"
    if reason:
        raise LifecycleError(f"error validating chaincode definition: {reason}")
    # Fabric looks up the committed definition here, and an older lifecycle when there is none:
    # both are in its read set.
    public = call.public()
    if read_definition(args.name, public) is None:
        public.simulator.get_state("lscc", args.name)


def _no_plugin(kind: str, name: str) -> str:
    """Fabric takes any name, and fails when the chaincode is called, or the peer when it commits,
    unless an operator has built the plugin in. There is no way to do that here."""
    return f"{kind} plugins are not supported by the embedded engine: '{name}' is none of its own"


def _check_sequence(requested: int, current: int) -> None:
    if requested == current == 0:
        raise LifecycleError("requested sequence is 0, but first definable sequence number is 1")
    if requested < current:
        raise LifecycleError(
            f"currently defined sequence {current} is larger than requested sequence {requested}"
        )
    if requested > current + 1:
        raise LifecycleError(
            f"requested sequence {requested} is larger than the next available sequence number "
            f"{current + 1}"
        )


def _check_equal(mine: Definition, other: Definition) -> None:
    """lifecycle.go ChaincodeParameters.Equal."""
    pairs = (
        ("Version", mine.version, other.version),
        ("EndorsementPlugin", mine.endorsement_plugin, other.endorsement_plugin),
        ("InitRequired", str(mine.init_required).lower(), str(other.init_required).lower()),
        ("ValidationPlugin", mine.validation_plugin, other.validation_plugin),
        (
            "ValidationParameter",
            mine.validation_parameter.hex(),
            other.validation_parameter.hex(),
        ),
    )
    for name, expected, passed in pairs:
        if expected != passed:
            raise LifecycleError(
                f"expected {name} '{expected}' does not match passed {name} '{passed}'"
            )
    if mine.collections != other.collections:
        raise LifecycleError("Collections do not match")


def _is_redefinition(
    private_name: str, package_id: str, definition: Definition, own: PrivateState
) -> bool:
    approved = read_approval(private_name, own)
    if approved is None:
        return False
    try:
        _check_equal(approved, definition)
    except LifecycleError:
        return False
    if read_metadata(SOURCES, private_name, own) is None:
        return False
    stored: str = read_field(SOURCES, private_name, "PackageID", own).String
    return stored == package_id
