"""Chaincode definitions as `_lifecycle` keeps them in the state, field by field.

After core/chaincode/lifecycle (serializer.go, lifecycle.go, ledger_shim.go): a structure is one
key of metadata and one key a field, public for committed definitions, in an organisation's
implicit collection for approvals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fabric_protos.peer import collection_pb2, policy_pb2
from fabric_protos.peer.lifecycle import chaincode_definition_pb2, db_pb2

from network.embedded.peer.simulator import Simulator
from network.embedded.peer.statedb import StateView, hashed_namespace

NAMESPACE = "_lifecycle"
NAMESPACES = "namespaces"
SOURCES = "chaincode-sources"
IMPLICIT_PREFIX = "_implicit_org_"
ENDORSEMENT_REFERENCE = "/Channel/Application/Endorsement"
LIFECYCLE_REFERENCE = "/Channel/Application/LifecycleEndorsement"


class LifecycleError(Exception):
    """A lifecycle operation that can't be done; the text is Fabric's."""


class ReadableState(Protocol):
    """Values by key, empty when there is none."""

    def get(self, key: str) -> bytes: ...


class WritableState(ReadableState, Protocol):
    """Values by key that can be changed."""

    def put(self, key: str, value: bytes) -> None: ...


def implicit_collection(msp_id: str) -> str:
    """The name of an organisation's implicit collection."""
    return IMPLICIT_PREFIX + msp_id


@dataclass(frozen=True)
class PublicState:
    """`_lifecycle`'s public keys in a simulation."""

    simulator: Simulator

    def get(self, key: str) -> bytes:
        return self.simulator.get_state(NAMESPACE, key)

    def put(self, key: str, value: bytes) -> None:
        """Write a key; an empty value deletes it."""
        self.simulator.set_state(NAMESPACE, key, value)

    def range(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Keys that start with an ASCII prefix."""
        items = self.simulator.range(NAMESPACE, prefix, prefix + "\x7f")
        while (item := items.next()) is not None:
            yield item


@dataclass(frozen=True)
class PrivateState:
    """`_lifecycle`'s keys in the own organisation's implicit collection, in a simulation."""

    simulator: Simulator
    collection: str

    def get(self, key: str) -> bytes:
        return self.simulator.get_private(NAMESPACE, self.collection, key)

    def put(self, key: str, value: bytes) -> None:
        """Write a key; an empty value deletes it."""
        self.simulator.set_private(NAMESPACE, self.collection, key, value)

    def names(self, prefix: str) -> list[str]:
        """What follows an ASCII prefix in the keys that have it, in order."""
        keys = self.simulator.private_keys(NAMESPACE, self.collection, prefix)
        return [key[len(prefix) :] for key in keys]


@dataclass(frozen=True)
class HashedState:
    """Hashes of an organisation's implicit collection, in a simulation."""

    simulator: Simulator
    msp_id: str

    def hash_of(self, key: str) -> bytes:
        """SHA-256 of the value, empty when there is none."""
        collection = implicit_collection(self.msp_id)
        return self.simulator.get_private_hash(NAMESPACE, collection, key)


@dataclass(frozen=True)
class CommittedState:
    """Committed keys of any state namespace, read without a read set."""

    view: StateView
    namespace: str = NAMESPACE

    def get(self, key: str) -> bytes:
        item = self.view.get(self.namespace, key.encode())
        return (item.value or b"") if item is not None else b""


def metadata_key(namespace: str, name: str) -> str:
    """Where a structure's type and fields are named."""
    return f"{namespace}/metadata/{name}"


def field_key(namespace: str, name: str, field: str) -> str:
    """Where one field of a structure is."""
    return f"{namespace}/fields/{name}/{field}"


@dataclass(frozen=True)
class Structure:
    """A Go structure as serializer.go sees it: its type and (field, serialised StateData)."""

    datatype: str
    fields: tuple[tuple[str, bytes], ...]

    @property
    def metadata(self) -> bytes:
        """The serialised lifecycle.StateMetadata."""
        names = [name for name, _ in self.fields]
        message = db_pb2.StateMetadata(datatype=self.datatype, fields=names)
        return bytes(message.SerializeToString())


def _bytes_data(data: bytes) -> bytes:
    message = db_pb2.StateData()
    message.Bytes = data  # set even when empty: the oneof is present in Fabric's bytes too
    return bytes(message.SerializeToString())


@dataclass(frozen=True)
class Definition:
    """A chaincode definition, without its sequence in approvals.

    `collections` is a serialised CollectionConfigPackage; `validation_parameter` a serialised
    ApplicationPolicy.
    """

    sequence: int
    version: str
    endorsement_plugin: str = ""
    validation_plugin: str = ""
    validation_parameter: bytes = b""
    collections: bytes = b""
    init_required: bool = False

    def parameters(self) -> Structure:
        """What organisations approve."""
        endorsement = chaincode_definition_pb2.ChaincodeEndorsementInfo(
            version=self.version,
            init_required=self.init_required,
            endorsement_plugin=self.endorsement_plugin,
        )
        validation = chaincode_definition_pb2.ChaincodeValidationInfo(
            validation_plugin=self.validation_plugin,
            validation_parameter=self.validation_parameter,
        )
        return Structure(
            "ChaincodeParameters",
            (
                ("EndorsementInfo", _bytes_data(endorsement.SerializeToString())),
                ("ValidationInfo", _bytes_data(validation.SerializeToString())),
                ("Collections", _bytes_data(self.collections)),
            ),
        )

    def structure(self) -> Structure:
        """What is committed."""
        sequence = db_pb2.StateData()
        sequence.Int64 = self.sequence
        first = ("Sequence", bytes(sequence.SerializeToString()))
        return Structure("ChaincodeDefinition", (first, *self.parameters().fields))

    def with_defaults(self) -> Definition:
        """Empty plug-ins and policy filled in (lifecycle.go SetChaincodeDefinitionDefaults)."""
        return replace(
            self,
            endorsement_plugin=self.endorsement_plugin or "escc",
            validation_plugin=self.validation_plugin or "vscc",
            validation_parameter=self.validation_parameter or DEFAULT_POLICY,
        )


DEFAULT_POLICY: bytes = policy_pb2.ApplicationPolicy(
    channel_config_policy_reference=ENDORSEMENT_REFERENCE
).SerializeToString()

LIFECYCLE_POLICY: bytes = policy_pb2.ApplicationPolicy(
    channel_config_policy_reference=LIFECYCLE_REFERENCE
).SerializeToString()


def read_metadata(namespace: str, name: str, state: ReadableState) -> Any | None:
    """The lifecycle.StateMetadata of a structure, None when there is none."""
    data = state.get(metadata_key(namespace, name))
    return db_pb2.StateMetadata.FromString(data) if data else None


def read_field(namespace: str, name: str, field: str, state: ReadableState) -> Any:
    """The lifecycle.StateData of a field; one without a type when there is none."""
    return db_pb2.StateData.FromString(state.get(field_key(namespace, name, field)))


def read_sequence(name: str, state: ReadableState) -> int:
    """The committed sequence of a chaincode, 0 when there is none."""
    return int(read_field(NAMESPACES, name, "Sequence", state).Int64)


def read_definition(name: str, state: ReadableState) -> Definition | None:
    """The committed definition of a chaincode. Raises LifecycleError for another datatype."""
    metadata = read_metadata(NAMESPACES, name, state)
    if metadata is None:
        return None
    if metadata.datatype != "ChaincodeDefinition":
        raise LifecycleError(f"not a chaincode type: {metadata.datatype}")
    sequence = read_sequence(name, state)
    return replace(_read_parameters(name, state), sequence=sequence)


def read_approval(private_name: str, state: ReadableState) -> Definition | None:
    """Parameters approved under `name#sequence`; the sequence is the name's, not set here."""
    metadata = read_metadata(NAMESPACES, private_name, state)
    if metadata is None:
        return None
    if metadata.datatype != "ChaincodeParameters":
        raise LifecycleError(f"not a chaincode parameters type: {metadata.datatype}")
    return _read_parameters(private_name, state)


def _read_parameters(name: str, state: ReadableState) -> Definition:
    endorsement = chaincode_definition_pb2.ChaincodeEndorsementInfo.FromString(
        read_field(NAMESPACES, name, "EndorsementInfo", state).Bytes
    )
    validation = chaincode_definition_pb2.ChaincodeValidationInfo.FromString(
        read_field(NAMESPACES, name, "ValidationInfo", state).Bytes
    )
    collections = read_field(NAMESPACES, name, "Collections", state).Bytes
    return Definition(
        sequence=0,
        version=endorsement.version,
        endorsement_plugin=endorsement.endorsement_plugin,
        validation_plugin=validation.validation_plugin,
        validation_parameter=validation.validation_parameter,
        collections=collections,
        init_required=endorsement.init_required,
    )


def package_id_structure(package_id: str) -> Structure:
    """The approved package id (ChaincodeLocalPackage)."""
    data = db_pb2.StateData()
    data.String = package_id
    return Structure("ChaincodeLocalPackage", (("PackageID", bytes(data.SerializeToString())),))


def serialize(namespace: str, name: str, structure: Structure, state: WritableState) -> None:
    """Write a structure; unchanged fields are not written (serializer.go Serialize)."""
    metadata = read_metadata(namespace, name, state) or db_pb2.StateMetadata()
    existing = {
        key: state.get(key)
        for key in (field_key(namespace, name, field) for field in metadata.fields)
    }
    for field, data in structure.fields:
        key = field_key(namespace, name, field)
        if existing.pop(key, None) != data:
            state.put(key, data)
    if (
        existing
        or metadata.datatype != structure.datatype
        or len(metadata.fields) != len(structure.fields)
    ):
        state.put(metadata_key(namespace, name), structure.metadata)
    for key in existing:
        state.put(key, b"")


def mismatches(name: str, structure: Structure, state: HashedState) -> list[str]:
    """Fields whose hash isn't an organisation's approval; empty when it approved just this.

    Every key is read first, for Fabric's read set (serializer.go IsSerialized).
    """
    keys = [metadata_key(NAMESPACES, name)]
    keys += [field_key(NAMESPACES, name, field) for field, _ in structure.fields]
    hashes = {key: state.hash_of(key) for key in keys}
    if hashes[keys[0]] != hashlib.sha256(structure.metadata).digest():
        return [structure.datatype]
    return [
        field
        for field, data in structure.fields
        if hashes[field_key(NAMESPACES, name, field)] != hashlib.sha256(data).digest()
    ]


class ApprovalHashes:
    """An organisation's committed approvals, by their hashes, read without a read set."""

    def __init__(self, view: StateView, msp_id: str) -> None:
        self._view = view
        self._namespace = hashed_namespace(NAMESPACE, implicit_collection(msp_id))

    def hold(self, namespace: str, name: str, structure: Structure) -> bool:
        """Whether the organisation stored exactly this structure under a name."""
        wanted = {metadata_key(namespace, name): structure.metadata}
        for field, data in structure.fields:
            wanted[field_key(namespace, name, field)] = data
        return all(self._hash(key) == hashlib.sha256(data).digest() for key, data in wanted.items())

    def _hash(self, key: str) -> bytes | None:
        item = self._view.get(self._namespace, hashlib.sha256(key.encode()).digest())
        return item.value if item is not None else None


def collection_names(package: bytes) -> Sequence[str]:
    """Names of the static collections in a serialised CollectionConfigPackage."""
    message = collection_pb2.CollectionConfigPackage.FromString(package)
    return [item.static_collection_config.name for item in message.config]
