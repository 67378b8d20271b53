"""A topology as `network.yaml` spells it: written, digested, compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import yaml

from network.topology import ALL_ENGINES, FORMAT, Organization, Topology


def document(topology: Topology) -> dict[str, Any]:
    """The topology as `network.yaml` spells it."""
    channel, chaincode = topology.channel, topology.chaincode
    definition: dict[str, Any] = {"name": chaincode.name, "version": chaincode.version}
    if chaincode.endorsement is not None:
        definition["endorsement"] = {
            "at_least": chaincode.endorsement.at_least,
            "of": list(chaincode.endorsement.of),
        }
    definition["proof"] = {
        "organization": chaincode.proof.organization,
        "user": chaincode.proof.user,
        "function": chaincode.proof.function,
        "argument": chaincode.proof.argument,
    }
    return {
        "format": FORMAT,
        "network": topology.network,
        "channel": {
            "id": channel.id,
            "batch": {
                "max_message_count": channel.batch.max_message_count,
                "timeout_ms": channel.batch.timeout_ms,
                "preferred_max_bytes": channel.batch.preferred_max_bytes,
                "absolute_max_bytes": channel.batch.absolute_max_bytes,
            },
            "policies": {
                "endorsement": channel.endorsement.value,
                "lifecycle_endorsement": channel.lifecycle_endorsement.value,
                "admins": channel.admins.value,
            },
        },
        "organizations": [_organization(item) for item in topology.organizations],
        "acquirers": [
            {"name": item.name, "bank": item.bank, "host": item.host, "port": item.port}
            for item in topology.acquirers
        ],
        "chaincode": definition,
    }


def _organization(organization: Organization) -> dict[str, Any]:
    return {
        "name": organization.name,
        "peers": [
            {
                "name": peer.name,
                "host": peer.host,
                "port": peer.port,
                "chaincode_port": peer.chaincode_port,
            }
            for peer in organization.peers
        ],
        "orderers": [
            {"name": item.name, "host": item.host, "port": item.port}
            | ({} if item.admin_port is None else {"admin_port": item.admin_port})
            | (
                {}
                if item.engines == ALL_ENGINES
                else {"engines": [engine.value for engine in item.engines]}
            )
            for item in organization.orderers
        ],
        "users": [
            {"name": user.name, "kind": user.kind.value}
            | ({} if user.role is None else {"role": user.role.value})
            for user in organization.users
        ],
        "services": [
            {"name": item.name, "host": item.host, "port": item.port}
            for item in organization.services
        ],
    }


def dump(topology: Topology) -> str:
    """The topology as YAML text that `load` reads back to the same value."""
    return yaml.safe_dump(document(topology), sort_keys=False, allow_unicode=True)


def digest(topology: Topology) -> str:
    """Hex SHA-256 of the topology's canonical JSON."""
    text = json.dumps(document(topology), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(old: Topology, new: Topology) -> tuple[str, ...]:
    """Paths whose values differ, as `path: old -> new`. A new port of 0 differs from nothing."""
    return tuple(_differences("", document(old), document(new)))


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            below = f"{path}.{key}" if path else key
            yield from _differences(below, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _differences(f"{path}[{index}]", left, right)
    elif old != new and not (path.endswith("port") and new == 0):
        yield f"{path}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
