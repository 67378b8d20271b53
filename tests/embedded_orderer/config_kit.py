"""Configuration updates as a client makes them: the difference of two configurations, signed.

Written after Fabric's internal/configtxlator/update/update.go.
"""

from collections.abc import Callable, Sequence
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2
from fabric_protos.orderer import configuration_pb2 as orderer_pb2
from orderer_world import CHANNEL

from clearline.fabric import protoutil
from clearline.fabric.identity import X509Signer


def update_envelope(
    config: Any, change: Callable[[Any], None], signers: Sequence[X509Signer]
) -> Any:
    """The CONFIG_UPDATE envelope for `change` of a common.Config, signed by all `signers`; the
    first one sends it."""
    changed = configtx_pb2.Config()
    changed.CopyFrom(config)
    change(changed)
    update = configtx_pb2.ConfigUpdate(channel_id=CHANNEL)
    _diff(config.channel_group, changed.channel_group, update.read_set, update.write_set)
    return wrap(update.SerializeToString(), signers)


def wrap(update: bytes, signers: Sequence[X509Signer]) -> Any:
    envelope = configtx_pb2.ConfigUpdateEnvelope(config_update=update)
    for signer in signers:
        header = protoutil.make_signature_header(signer.identity, protoutil.new_nonce())
        raw = header.SerializeToString()
        envelope.signatures.add(signature_header=raw, signature=signer.sign(raw + update))
    return protoutil.create_signed_envelope(
        common_pb2.HeaderType.CONFIG_UPDATE, CHANNEL, signers[0], envelope.SerializeToString()
    )


def _diff(old: Any, new: Any, read: Any, write: Any) -> bool:
    """Fill read and write sets of a group; answers whether anything below it changed."""
    read.version = write.version = old.version
    write.mod_policy = new.mod_policy
    members = (
        (old.values, new.values, read.values, write.values),
        (old.policies, new.policies, read.policies, write.policies),
    )
    moved = old.mod_policy != new.mod_policy or set(old.groups) != set(new.groups)
    moved = moved or any(set(was) != set(now) for was, now, _, _ in members)
    changed = moved
    for was, now, _, written in members:
        for name in now:
            if name not in was:
                written[name].CopyFrom(now[name])
                written[name].version = 0
            elif was[name] != now[name]:
                written[name].CopyFrom(now[name])
                written[name].version = was[name].version + 1
                changed = True
    for name in new.groups:
        if name not in old.groups:
            write.groups[name].CopyFrom(new.groups[name])
        elif _diff(old.groups[name], new.groups[name], read.groups[name], write.groups[name]):
            changed = True
        elif not moved:
            del read.groups[name]
            del write.groups[name]
    if moved:
        _name_members(old.version, members, write)
    return changed


def _name_members(version: int, members: Any, write: Any) -> None:
    """A group whose membership changes names every member that stays, at its version."""
    write.version = version + 1
    for was, now, known, written in members:
        for name in now:
            if name in was:
                known[name].version = was[name].version
                if name not in written:
                    written[name].version = was[name].version


def set_value(group: str, key: str, message: Any) -> Callable[[Any], None]:
    """A change of one value; `group` is the path below the channel group, parted by slashes."""

    def change(config: Any) -> None:
        target = config.channel_group
        for name in group.split("/") if group else ():
            target = target.groups[name]
        target.values[key].value = message.SerializeToString()

    return change


def batch_size(count: int, most: int, preferred: int) -> Callable[[Any], None]:
    """Another batch size: messages, most bytes, preferred bytes."""
    size = orderer_pb2.BatchSize(
        max_message_count=count, absolute_max_bytes=most, preferred_max_bytes=preferred
    )
    return set_value("Orderer", "BatchSize", size)
