"""Endorsement policies as validation holds them: of chaincodes, collections and single keys.

After core/policy/application.go and core/common/validation/statebased (v20.go,
validator_keylevel.go, vpmanagerimpl.go).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from fabric_protos.common import policies_pb2
from fabric_protos.msp import msp_principal_pb2
from fabric_protos.peer import policy_pb2
from google.protobuf.message import DecodeError

from network.embedded.channelconfig import Bundle
from network.embedded.msp import Identity
from network.embedded.peer.lifecycle_state import (
    IMPLICIT_PREFIX,
    LIFECYCLE_POLICY,
    LIFECYCLE_REFERENCE,
)
from network.embedded.peer.rwset import NsRwSet
from network.embedded.peer.simulator import VALIDATION_PARAMETER, metadata_entries
from network.embedded.peer.statedb import StateView, hashed_namespace
from network.embedded.peer.transactions import Action, Transaction
from network.embedded.policies import (
    Policy,
    PolicyError,
    SignaturePolicy,
    SignedData,
    valid_identities,
)

_COMPILED = 4096
"""Compiled policies kept: keys may have one each."""


class Policies:
    """Application policies by their bytes, compiled once for one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._compiled: dict[bytes, Policy] = {}

    def application(self, raw: bytes) -> Policy:
        """A serialised peer.ApplicationPolicy. Raises PolicyError."""
        policy = self._compiled.get(raw)
        if policy is None:
            try:
                message = policy_pb2.ApplicationPolicy.FromString(raw)
            except DecodeError as error:
                raise PolicyError("failed to unmarshal ApplicationPolicy bytes") from error
            kind = message.WhichOneof("Type")
            if kind == "signature_policy":
                policy = SignaturePolicy(message.signature_policy, self.bundle.msp_manager)
            elif kind == "channel_config_policy_reference":
                policy = self.bundle.policy(message.channel_config_policy_reference)
            else:
                raise PolicyError("unsupported policy type")
            self._compiled[raw] = policy
        return policy

    def signature(self, raw: bytes) -> Policy:
        """A serialised common.SignaturePolicyEnvelope, as key metadata holds it."""
        key = b"\0" + raw
        policy = self._compiled.get(key)
        if policy is None:
            policy = SignaturePolicy.from_bytes(raw, self.bundle.msp_manager)
            if len(self._compiled) >= _COMPILED:
                self._compiled.clear()
            self._compiled[key] = policy
        return policy

    def lifecycle(self) -> Policy:
        """Who must endorse `_lifecycle` (lifecycle.go LifecycleEndorsementPolicyAsBytes)."""
        if self.bundle.policies.has(LIFECYCLE_REFERENCE):
            return self.application(LIFECYCLE_POLICY)
        msp_ids = [org.msp.msp_id for org in self.bundle.application_orgs.values()]
        return self.signature(member_policy(msp_ids, len(msp_ids) // 2 + 1))

    def implicit_collection(self, msp_id: str) -> Policy:
        """Who must endorse an organisation's implicit collection. Raises PolicyError."""
        for name, org in self.bundle.application_orgs.items():
            if org.msp.msp_id == msp_id:
                path = f"/Channel/Application/{name}/Endorsement"
                if self.bundle.policies.has(path):
                    return self.bundle.policy(path)
                return self.signature(member_policy([msp_id], 1))
        raise PolicyError(f"no org found in channel with MSPID '{msp_id}'")


def member_policy(msp_ids: Sequence[str], wanted: int) -> bytes:
    """A serialised policy: `wanted` of these organisations' members."""
    envelope = policies_pb2.SignaturePolicyEnvelope(version=0)
    envelope.rule.n_out_of.n = wanted
    for index, msp_id in enumerate(sorted(msp_ids)):
        role = msp_principal_pb2.MSPRole(msp_identifier=msp_id, role=0)
        envelope.identities.add(principal_classification=0, principal=role.SerializeToString())
        envelope.rule.n_out_of.rules.add(signed_by=index)
    return bytes(envelope.SerializeToString())


class Endorsers:
    """The valid endorsers of one transaction, worked out once for all its policies."""

    def __init__(self, action: Action, bundle: Bundle) -> None:
        self._action = action
        self._bundle = bundle
        self._identities: list[Identity] | None = None

    def check(self, policy: Policy) -> None:
        """Raises PolicyError."""
        if self._identities is None:
            payload = self._action.response_payload
            common = hashlib.sha256(payload)
            signed = []
            for item in self._action.endorsements:
                digest = common.copy()  # all have signed the same payload, each with its identity
                digest.update(item.endorser)
                data = payload + item.endorser
                signed.append(SignedData(data, item.endorser, item.signature, digest.digest()))
            self._identities = valid_identities(signed, self._bundle.msp_manager)
        policy.evaluate_identities(self._identities)


class BrokenPolicy:
    """A chaincode policy that doesn't compile: nothing satisfies it."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def evaluate(self, signed: Sequence[SignedData]) -> None:
        raise PolicyError(self._reason)

    def evaluate_identities(self, identities: Sequence[Identity]) -> None:
        raise PolicyError(self._reason)


MetadataChanges = dict[tuple[str, str, bytes], list[Transaction]]
"""(namespace, collection, key) -> earlier transactions of the block that write its metadata."""


@dataclass(frozen=True)
class NamespaceRules:
    """What holds for one namespace: its chaincode's policy, its collections, keys whose policy
    this block already changed."""

    namespace: str
    policy: Policy
    collections: frozenset[str]
    policies: Policies
    changed: MetadataChanges

    def collection_policy(self, collection: str) -> Policy | None:
        """A collection's own policy, None where the chaincode's holds. Raises PolicyError."""
        if collection.startswith(IMPLICIT_PREFIX):
            return self.policies.implicit_collection(collection.removeprefix(IMPLICIT_PREFIX))
        if collection in self.collections:
            return None
        raise PolicyError(f"no such collection '{collection}'")


def note_metadata(tx: Transaction, entry: NsRwSet, changed: MetadataChanges) -> None:
    for write in entry.public.metadata_writes:
        changed.setdefault((entry.namespace, "", write.key.encode()), []).append(tx)
    for collection, hashed, _ in entry.collections:
        for write in hashed.metadata_writes:
            changed.setdefault((entry.namespace, collection, write.key_hash), []).append(tx)


class NamespaceCheck:
    """One transaction's writes to one namespace against policies (statebased/v20.go)."""

    def __init__(self, rules: NamespaceRules, endorsers: Endorsers, state: StateView) -> None:
        self._rules = rules
        self._namespace = rules.namespace
        self._endorsers = endorsers
        self._state = state
        self._checked: set[str] = set()
        self._any = False

    def run(self, entry: NsRwSet | None) -> None:
        """Raises PolicyError."""
        if entry is not None:
            for write in entry.public.writes:
                self._key("", write.key.encode())
            for write in entry.public.metadata_writes:
                self._key("", write.key.encode())
            for collection, hashed, _ in entry.collections:
                for write in hashed.hashed_writes:
                    self._key(collection, write.key_hash)
            for collection, hashed, _ in entry.collections:
                for write in hashed.metadata_writes:
                    self._key(collection, write.key_hash)
        if not self._any:
            self._endorsers.check(self._rules.policy)

    def _key(self, collection: str, key: bytes) -> None:
        for earlier in self._rules.changed.get((self._namespace, collection, key), ()):
            if earlier.vscc_results.get(self._namespace):
                raise PolicyError("validation parameters have been updated earlier in this block")
        space = self._namespace
        if collection:
            space = hashed_namespace(space, collection)
        item = self._state.get(space, key)
        raw = b""
        if item is not None and item.metadata:
            raw = metadata_entries(item.metadata).get(VALIDATION_PARAMETER, b"")
        if raw:
            self._endorsers.check(self._rules.policies.signature(raw))
            self._any = True
        else:
            self._chaincode_or_collection(collection)

    def _chaincode_or_collection(self, collection: str) -> None:
        if collection:
            if collection in self._checked:
                return
            policy = self._rules.collection_policy(collection)
            if policy is not None:
                self._endorsers.check(policy)
                self._checked.add(collection)
                self._any = True
                return
        if "" not in self._checked:
            self._endorsers.check(self._rules.policy)
            self._checked.add("")
            self._any = True
