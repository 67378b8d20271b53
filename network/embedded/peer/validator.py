"""Validation of a block's transactions: form, creator, duplicates, endorsement policies.

After core/committer/txvalidator/v20 (validator.go, plugindispatcher/dispatcher.go), the built-in
vscc and core/common/validation/statebased. Version checks come after (mvcc.py). Whatever goes
wrong with a transaction becomes its code; nothing a transaction holds stops the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fabric_protos.common import common_pb2
from google.protobuf.message import DecodeError

from clearline.logs import get_logger
from network.embedded.channelconfig import Bundle, ChannelConfigError
from network.embedded.peer.endorsement_policies import (
    BrokenPolicy,
    Endorsers,
    MetadataChanges,
    NamespaceCheck,
    NamespaceRules,
    Policies,
    note_metadata,
)
from network.embedded.peer.lifecycle_state import (
    NAMESPACE,
    CommittedState,
    LifecycleError,
    collection_names,
    read_definition,
)
from network.embedded.peer.rwset import NsRwSet
from network.embedded.peer.statedb import StateView
from network.embedded.peer.transactions import (
    Action,
    Code,
    InvalidTransactionError,
    Transaction,
    parse_action,
    parse_transaction,
)
from network.embedded.policies import Policy, PolicyError, SignedData

_log = get_logger(__name__)
_PLUGINS = frozenset({"vscc", "builtin"})


class Committed(Protocol):
    """What validation asks of the ledger (ledger.Snapshot)."""

    @property
    def state(self) -> StateView: ...

    def tx_location(self, tx_id: str) -> object | None: ...


ConfigCheck = Callable[[Bundle, bytes], Bundle]
"""(current bundle, serialised ConfigEnvelope) -> the bundle it makes. Raises
ChannelConfigError."""


class Validator:
    """Validates the blocks of one channel, one after the other."""

    def __init__(self, bundle: Bundle, check_config: ConfigCheck) -> None:
        self.policies = Policies(bundle)
        self._check_config = check_config
        self._chaincode: dict[str, Policy | None] = {}
        self._collections: dict[str, frozenset[str]] = {}
        self.next_bundle: Bundle | None = None

    @property
    def bundle(self) -> Bundle:
        """The configuration that transactions are held against."""
        return self.policies.bundle

    def use(self, bundle: Bundle) -> None:
        """Take a new configuration, from the next block on."""
        self.policies = Policies(bundle)
        self.forget_definitions()

    def forget_definitions(self) -> None:
        """Read chaincode definitions anew: a block has changed `_lifecycle`."""
        self._chaincode.clear()
        self._collections.clear()

    def validate(
        self, number: int, data: Sequence[bytes], committed: Committed
    ) -> list[Transaction]:
        """Every message with its code; those VALID here still face the version checks."""
        self.next_bundle = None
        transactions = []
        seen: set[str] = set()
        changed: MetadataChanges = {}
        for index, raw in enumerate(data):
            tx = Transaction(index)
            try:
                self._one(tx, raw, committed, changed)
                tx.code = Code.VALID
                # Only earlier, so far valid transactions count as duplicates in a block.
                if tx.action is not None:
                    if tx.tx_id in seen:
                        raise InvalidTransactionError(Code.DUPLICATE_TXID, "duplicate in block")
                    seen.add(tx.tx_id)
            except InvalidTransactionError as error:
                tx.code, tx.reason = error.code, str(error)
            except Exception as error:
                tx.code, tx.reason = Code.INVALID_OTHER_REASON, repr(error)
                _log.exception("transaction could not be judged", extra={"tx_id": tx.tx_id})
            if tx.code != Code.VALID:
                _log.info(
                    "transaction is invalid",
                    extra={"block": number, "tx_id": tx.tx_id, "code": tx.code, "why": tx.reason},
                )
            transactions.append(tx)
        return transactions

    def _one(
        self,
        tx: Transaction,
        raw: bytes,
        committed: Committed,
        changed: MetadataChanges,
    ) -> None:
        bundle = self.bundle
        found = parse_transaction(tx, raw, bundle.channel_id, bundle.msp_manager)
        if found is None:
            try:
                self.next_bundle = self._check_config(bundle, tx.config)
            except ChannelConfigError as error:
                code = Code.INVALID_CONFIG_TRANSACTION
                raise InvalidTransactionError(code, str(error)) from error
            return
        if committed.tx_location(tx.tx_id) is not None:
            raise InvalidTransactionError(Code.DUPLICATE_TXID, "duplicate on the ledger")
        action = parse_action(*found)
        tx.action = action
        written = {entry.namespace: entry for entry in action.rwsets if entry.writes}
        try:
            self._check_namespaces(tx, action, written, committed.state, changed)
        finally:
            # Later transactions look whether a key's policy was changed before them; Fabric
            # notes that per namespace, valid as a whole or not.
            for entry in action.rwsets:
                note_metadata(tx, entry, changed)

    def _check_namespaces(
        self,
        tx: Transaction,
        action: Action,
        written: dict[str, NsRwSet],
        state: StateView,
        changed: MetadataChanges,
    ) -> None:
        endorsers = Endorsers(action, self.bundle)
        by_name = {entry.namespace: entry for entry in action.rwsets}
        # Fabric walks a Go map here, in any order; the invoked chaincode first, the rest sorted.
        for namespace in [action.chaincode, *sorted(written.keys() - {action.chaincode})]:
            policy = self._chaincode_policy(namespace, state)
            collections = self._collections.get(namespace, frozenset())
            rules = NamespaceRules(namespace, policy, collections, self.policies, changed)
            try:
                NamespaceCheck(rules, endorsers, state).run(by_name.get(namespace))
            except PolicyError as error:
                tx.vscc_results[namespace] = False
                code = Code.ENDORSEMENT_POLICY_FAILURE
                raise InvalidTransactionError(code, f"{namespace}: {error}") from error
            tx.vscc_results[namespace] = True

    def _chaincode_policy(self, namespace: str, state: StateView) -> Policy:
        """Raises InvalidTransactionError for a namespace that isn't a defined chaincode."""
        if namespace == NAMESPACE:
            return self.policies.lifecycle()
        if namespace not in self._chaincode:
            self._chaincode[namespace] = self._defined_policy(namespace, state)
        policy = self._chaincode[namespace]
        if policy is None:
            reason = f"chaincode {namespace!r} is not defined"
            raise InvalidTransactionError(Code.INVALID_CHAINCODE, reason)
        return policy

    def _defined_policy(self, namespace: str, state: StateView) -> Policy | None:
        try:
            definition = read_definition(namespace, CommittedState(state))
        except (LifecycleError, DecodeError):
            return None
        if definition is None or definition.validation_plugin not in _PLUGINS:
            return None
        if not definition.validation_parameter:
            return None
        self._collections[namespace] = frozenset(collection_names(definition.collections))
        try:
            return self.policies.application(definition.validation_parameter)
        except PolicyError as error:
            return BrokenPolicy(str(error))


def verify_block(bundle: Bundle, header: Any, header_bytes: bytes, metadata: Any) -> None:
    """Hold the orderers' signatures against BlockValidation (protoutil BlockSignatureVerifier).

    `header` is the common.BlockHeader, `header_bytes` its DER. Raises PolicyError.
    """
    if not metadata.metadata:
        raise PolicyError(f"block {header.number} has no signatures in its metadata")
    try:
        signatures = common_pb2.Metadata.FromString(metadata.metadata[0])
        signed = []
        for item in signatures.signatures:
            creator = common_pb2.SignatureHeader.FromString(item.signature_header).creator
            content = signatures.value + item.signature_header + header_bytes
            signed.append(SignedData(content, creator, item.signature))
    except DecodeError as error:
        raise PolicyError(f"block {header.number}: signatures can't be parsed") from error
    bundle.policy("/Channel/Orderer/BlockValidation").evaluate(signed)
