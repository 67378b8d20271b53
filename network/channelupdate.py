"""A configuration update as a client makes one: the difference of two configurations, signed.

Written after Fabric's internal/configtxlator/update/update.go (the difference) and
protoutil/signeddata.go (what is signed). network/embedded/configtx.py is the other end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2

from clearline.fabric import protoutil
from clearline.fabric.identity import Signer

_MEMBERS: Final = ("policies", "values", "groups")
_NEW: Final = 0


def compute_update(channel_id: str, config: Any, changed: Any) -> bytes | None:
    """The serialised common.ConfigUpdate from one common.Config to another; None when equal.

    Read and write set name the fewest elements: a signature is asked for what changes only.
    """
    difference = _group(config.channel_group, changed.channel_group)
    if not difference.updated:
        return None
    update = configtx_pb2.ConfigUpdate(
        channel_id=channel_id, read_set=difference.read, write_set=difference.write
    )
    raw: bytes = update.SerializeToString(deterministic=True)
    return raw


def signed_update(channel_id: str, update: bytes, signers: Sequence[Signer]) -> Any:
    """The CONFIG_UPDATE envelope: `update` signed by each, sent in the first one's name."""
    envelope = configtx_pb2.ConfigUpdateEnvelope(config_update=update)
    for signer in signers:
        header = protoutil.make_signature_header(signer.identity, protoutil.new_nonce())
        raw = header.SerializeToString()
        envelope.signatures.add(signature_header=raw, signature=signer.sign(raw + update))
    return protoutil.create_signed_envelope(
        common_pb2.HeaderType.CONFIG_UPDATE, channel_id, signers[0], envelope.SerializeToString()
    )


@dataclass(frozen=True)
class _Difference:
    """Read and write set of a group (common.ConfigGroup). updated: whether they differ."""

    read: Any
    write: Any
    updated: bool


@dataclass(frozen=True)
class _Members:
    """Members of one kind. same: to be named at their present versions if the group changes.

    read: what must be named for the members that change. moved: whether some came or went.
    """

    same: dict[str, Any]
    read: dict[str, Any]
    write: dict[str, Any]
    moved: bool


def _group(old: Any, new: Any) -> _Difference:
    """computeGroupUpdate. A group whose own membership or mod_policy changes takes the next
    version and names every member that stays; else only what changes below it is named."""
    members = {
        "policies": _elements(old.policies, new.policies, _policy),
        "values": _elements(old.values, new.values, _value),
        "groups": _subgroups(old.groups, new.groups),
    }
    read = configtx_pb2.ConfigGroup(version=old.version)
    write = configtx_pb2.ConfigGroup(version=old.version)
    moved = old.mod_policy != new.mod_policy or any(item.moved for item in members.values())
    if not moved and not any(item.write for item in members.values()):
        return _Difference(read, write, updated=False)
    if moved:
        write.version, write.mod_policy = old.version + 1, new.mod_policy
    for kind in _MEMBERS:
        found = members[kind]
        named = found.same if moved else {}
        _fill(getattr(read, kind), {**named, **found.read})
        _fill(getattr(write, kind), {**named, **found.write})
    return _Difference(read, write, updated=True)


def _policy(element: Any) -> Any:
    return configtx_pb2.ConfigPolicy(mod_policy=element.mod_policy, policy=element.policy)


def _value(element: Any) -> Any:
    return configtx_pb2.ConfigValue(mod_policy=element.mod_policy, value=element.value)


def _elements(old: Any, new: Any, content: Callable[[Any], Any]) -> _Members:
    """computePoliciesMapUpdate and computeValuesMapUpdate. content: an element, no version."""
    same: dict[str, Any] = {}
    write: dict[str, Any] = {}
    for name in set(old) & set(new):
        wanted = content(new[name])
        if wanted == content(old[name]):
            same[name] = type(wanted)(version=old[name].version)
        else:
            wanted.version = old[name].version + 1
            write[name] = wanted
    for name in set(new) - set(old):
        write[name] = content(new[name])
        write[name].version = _NEW
    return _Members(same, {}, write, set(old) != set(new))


def _subgroups(old: Any, new: Any) -> _Members:
    """computeGroupsMapUpdate."""
    same: dict[str, Any] = {}
    read: dict[str, Any] = {}
    write: dict[str, Any] = {}
    for name in set(old) & set(new):
        found = _group(old[name], new[name])
        if found.updated:
            read[name], write[name] = found.read, found.write
        else:
            same[name] = found.read
    for name in set(new) - set(old):
        found = _group(configtx_pb2.ConfigGroup(), new[name])
        found.write.version, found.write.mod_policy = _NEW, new[name].mod_policy
        write[name] = found.write
    return _Members(same, read, write, set(old) != set(new))


def _fill(target: Any, members: dict[str, Any]) -> None:
    for name, message in members.items():
        target[name].CopyFrom(message)
