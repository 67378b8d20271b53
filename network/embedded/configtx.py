"""Configuration updates: what may change, and who must have signed it.

Written after Fabric's common/configtx (validator.go, update.go, configmap.go) and
common/channelconfig/bundle.go ValidateNew. An update carries the versions it read and those it
writes; each element whose version rises must be signed for under the mod_policy *in force*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from network.embedded import goproto
from network.embedded.channelconfig import Bundle, ChannelConfigError
from network.embedded.policies import Policy, PolicyError, SignedData, config_update_signed_data

_ROOT = "Channel"
_CONFIG_ID = re.compile(r"[a-zA-Z0-9.-]+")
_CONFIG_ID_MAX = 249
_NEW_MOD_POLICY = "Admins"


class ConfigUpdateError(ValueError):
    """An update that can't be applied or isn't allowed; the text is Fabric's where it has one."""


@dataclass(frozen=True)
class _Element:
    """A group, value or policy of a configuration tree. `path` excludes its own key."""

    kind: str
    path: tuple[str, ...]
    key: str
    message: Any

    @property
    def version(self) -> int:
        return int(self.message.version)

    @property
    def mod_policy(self) -> str:
        return str(self.message.mod_policy)


_Key = tuple[str, tuple[str, ...]]
_Map = dict[_Key, _Element]


def propose(bundle: Bundle, envelope: Any) -> Any:
    """The common.ConfigEnvelope that a CONFIG_UPDATE envelope leads to from `bundle`.

    Authorised and applied, and the result can be a channel's configuration. Raises
    ConfigUpdateError.
    """
    group = _apply(bundle, envelope)
    proposed = configtx_pb2.ConfigEnvelope(
        config=configtx_pb2.Config(sequence=bundle.sequence + 1, channel_group=group),
        last_update=envelope,
    )
    successor(bundle, proposed)
    return proposed


def validate(bundle: Bundle, proposed: Any) -> Bundle:
    """Check a common.ConfigEnvelope as the next configuration after `bundle`; answers its Bundle.

    Its `last_update` must lead from the one to the other (ValidatorImpl.Validate). Raises
    ConfigUpdateError.
    """
    if not proposed.HasField("config"):
        raise ConfigUpdateError("config envelope has nil config")
    if proposed.config.sequence != bundle.sequence + 1:
        raise ConfigUpdateError(
            f"config currently at sequence {bundle.sequence}, cannot validate config at sequence "
            f"{proposed.config.sequence}"
        )
    if _apply(bundle, proposed.last_update) != proposed.config.channel_group:
        raise ConfigUpdateError(
            "ConfigEnvelope LastUpdate did not produce the supplied config result"
        )
    return successor(bundle, proposed)


def successor(bundle: Bundle, proposed: Any) -> Bundle:
    """The Bundle of a common.ConfigEnvelope if it may follow `bundle`.

    Raises ConfigUpdateError: the configuration is not valid, changes an organisation's MSP id, or
    asks for another kind of consensus.
    """
    try:
        new = Bundle.from_config(bundle.channel_id, proposed.config)
    except ChannelConfigError as error:
        raise ConfigUpdateError(str(error)) from error
    if new.orderer.consensus_type != bundle.orderer.consensus_type:
        raise ConfigUpdateError(
            "attempted to change consensus type from "
            f"{bundle.orderer.consensus_type} to {new.orderer.consensus_type}"
        )
    if new.orderer.maintenance != bundle.orderer.maintenance:
        raise ConfigUpdateError(
            "maintenance mode serves a change of consensus type, which the embedded engine "
            "doesn't have"
        )
    for kind, old_orgs, new_orgs in (
        ("orderer", bundle.orderer_orgs, new.orderer_orgs),
        ("application", bundle.application_orgs, new.application_orgs),
    ):
        for name, org in old_orgs.items():
            after = new_orgs.get(name)
            if after is not None and after.msp.msp_id != org.msp.msp_id:
                raise ConfigUpdateError(
                    f"{kind} org {name} attempted to change MSP ID from {org.msp.msp_id} to "
                    f"{after.msp.msp_id}"
                )
    return new


def _apply(bundle: Bundle, envelope: Any) -> Any:
    """The channel group after the update. Raises ConfigUpdateError."""
    try:
        update_envelope = _update_of(envelope)
    except DecodeError as error:
        raise ConfigUpdateError(f"error converting envelope to config update: {error}") from error
    try:
        update = goproto.parse(configtx_pb2.ConfigUpdate, update_envelope.config_update)
        result = _authorize(bundle, update, update_envelope)
    except (goproto.GoDecodeError, PolicyError, ConfigUpdateError) as error:
        raise ConfigUpdateError(f"error authorizing update: {error}") from error
    return _to_group(result, (_ROOT,))


def _update_of(envelope: Any) -> Any:
    payload = common_pb2.Payload.FromString(envelope.payload)
    if not payload.HasField("header"):
        raise ConfigUpdateError(
            "error converting envelope to config update: envelope must have a Header"
        )
    header = common_pb2.ChannelHeader.FromString(payload.header.channel_header)
    if header.type != common_pb2.HeaderType.CONFIG_UPDATE:
        raise ConfigUpdateError(
            f"error converting envelope to config update: invalid type {header.type}, "
            "expected CONFIG_UPDATE"
        )
    try:
        return goproto.parse(configtx_pb2.ConfigUpdateEnvelope, payload.data)
    except goproto.GoDecodeError as error:
        text = f"error unmarshalling message for type CONFIG_UPDATE: {error}"
        raise ConfigUpdateError(f"error converting envelope to config update: {text}") from error


def _authorize(bundle: Bundle, update: Any, update_envelope: Any) -> _Map:
    """common/configtx/update.go authorizeUpdate; answers the whole new configuration.

    update: the common.ConfigUpdate of the common.ConfigUpdateEnvelope. Raises ConfigUpdateError
    and GoDecodeError.
    """
    if update.channel_id != bundle.channel_id:
        raise ConfigUpdateError(
            f"ConfigUpdate for channel '{update.channel_id}' but envelope for channel "
            f"'{bundle.channel_id}'"
        )
    current = _to_map(bundle.config.channel_group)
    read_set = _set_of(update, "read_set", "ReadSet")
    for key, element in read_set.items():
        _check_read(current, key, element)
    write_set = _set_of(update, "write_set", "WriteSet")
    delta = {
        key: element
        for key, element in write_set.items()
        if key not in read_set or read_set[key].version != element.version
    }
    signed = config_update_signed_data(update_envelope)
    if not delta:
        raise ConfigUpdateError(
            "error validating DeltaSet: delta set was empty -- update would have no effect"
        )
    for key, element in delta.items():
        _check_change(bundle, current.get(key), element, signed)
    result = {**current, **delta}
    for key in write_set:
        if key not in result:
            raise ConfigUpdateError(
                f"full config did not verify: writeset contained key {_show(key)} which did not "
                "appear in proposed config"
            )
    return result


def _check_read(current: Mapping[_Key, _Element], key: _Key, element: _Element) -> None:
    existing = current.get(key)
    if existing is None:
        raise ConfigUpdateError(
            f"error validating ReadSet: existing config does not contain element for {_show(key)} "
            "but was in the read set"
        )
    if existing.version != element.version:
        raise ConfigUpdateError(
            f"error validating ReadSet: proposed update requires that key {_show(key)} be at "
            f"version {element.version}, but it is currently at version {existing.version}"
        )


def _check_change(
    bundle: Bundle, existing: _Element | None, element: _Element, signed: list[SignedData]
) -> None:
    name = _show((element.kind, (*element.path, element.key)))
    _check_mod_policy(name, element.mod_policy)
    if existing is None:
        if element.version != 0:
            raise ConfigUpdateError(
                f"error validating DeltaSet: attempted to set key {name} to version "
                f"{element.version}, but key does not exist"
            )
        return
    if element.version != existing.version + 1:
        raise ConfigUpdateError(
            f"error validating DeltaSet: attempt to set key {name} to version {element.version}, "
            f"but key is at version {existing.version}"
        )
    policy = _policy_for(bundle, existing)
    if policy is None:
        raise ConfigUpdateError(
            f"error validating DeltaSet: unexpected missing policy {existing.mod_policy} for item "
            f"{name}"
        )
    try:
        policy.evaluate(signed)
    except PolicyError as error:
        raise ConfigUpdateError(
            f"error validating DeltaSet: policy for {name} not satisfied: {error}"
        ) from error


def _policy_for(bundle: Bundle, element: _Element) -> Policy | None:
    """Relative mod_policies are looked up where the element stands, absolute ones at the root."""
    name = element.mod_policy
    manager = bundle.policies
    if not name.startswith("/") and element.path:
        path = list(element.path[1:])
        if element.kind == "Group":
            path.append(element.key)
        found = manager.manager(path)
        if found is None:
            return None
        manager = found
    return manager.policy(name) if name and manager.has(name) else None


def _check_mod_policy(name: str, mod_policy: str) -> None:
    parts = mod_policy.removeprefix("/").split("/")
    if not mod_policy:
        raise ConfigUpdateError(
            f"error validating DeltaSet: invalid mod_policy for element {name}: mod_policy not set"
        )
    for index, part in enumerate(parts):
        fault = _config_id_fault(part)
        if fault:
            raise ConfigUpdateError(
                f"error validating DeltaSet: invalid mod_policy for element {name}: path element "
                f"at {index} is invalid: {fault}"
            )


def _config_id_fault(text: str) -> str:
    """What is wrong with the name of a configuration's element, "" for nothing."""
    if not text:
        return "config ID illegal, cannot be empty"
    if len(text.encode()) > _CONFIG_ID_MAX:
        return f"config ID illegal, cannot be longer than {_CONFIG_ID_MAX}"
    if text in (".", ".."):
        return f"name '{text}' for config ID is not allowed"
    if _CONFIG_ID.fullmatch(text) is None:
        return f"config ID '{text}' contains illegal characters"
    return ""


def _set_of(update: Any, field: str, name: str) -> _Map:
    """The elements of a ConfigUpdate's read or write set. Raises ConfigUpdateError."""
    try:
        return _to_map(getattr(update, field)) if update.HasField(field) else {}
    except ConfigUpdateError as error:
        raise ConfigUpdateError(f"error mapping {name}: {error}") from error


def _to_map(root: Any) -> _Map:
    """Every element of a channel group by kind and path. Raises ConfigUpdateError."""
    found: _Map = {}

    def add(kind: str, path: tuple[str, ...], key: str, message: Any) -> None:
        fault = _config_id_fault(key)
        if fault:
            raise ConfigUpdateError(f"illegal characters in key: {_prefix(kind)}: {fault}")
        found[kind, (*path, key)] = _Element(kind, path, key, message)

    def walk(path: tuple[str, ...], key: str, group: Any) -> None:
        add("Group", path, key, group)
        here = (*path, key)
        for name, child in group.groups.items():
            walk(here, name, child)
        for name, value in group.values.items():
            add("Value", here, name, value)
        for name, policy in group.policies.items():
            add("Policy", here, name, policy)

    walk((), _ROOT, root)
    return found


def _to_group(elements: Mapping[_Key, _Element], path: tuple[str, ...]) -> Any:
    """The group at `path`, each member taken from `elements` (recurseConfigMap).

    An empty mod_policy becomes "Admins", as Fabric mends old channels.
    """
    source = elements["Group", path].message
    group = configtx_pb2.ConfigGroup()
    group.CopyFrom(source)
    for name in source.groups:
        group.groups[name].CopyFrom(_to_group(elements, (*path, name)))
    for kind, members in (("Value", group.values), ("Policy", group.policies)):
        for name in list(members):
            members[name].CopyFrom(elements[kind, (*path, name)].message)
            members[name].mod_policy = members[name].mod_policy or _NEW_MOD_POLICY
    group.mod_policy = group.mod_policy or _NEW_MOD_POLICY
    return group


def _show(key: _Key) -> str:
    kind, path = key
    return f"{_prefix(kind)}/{'/'.join(path)}"


def _prefix(kind: str) -> str:
    """`[Group]  `, `[Value]  ` or `[Policy] `, as long as each other (configmap.go)."""
    return f"[{kind}]".ljust(len("[Policy] "))
