"""A configuration update: whether it may be made of a configuration, and what it makes of it.

Semantics: Fabric's common/configtx/update.go (authorizeUpdate) and common/configtx/configmap.go.
A configuration is a tree of groups, values and policies, each with a version and a mod_policy. An
update names the versions that it read and those that it writes; for each element whose version
rises, its mod_policy *in force* must be met by those who signed the update.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from fabric_protos.common import common_pb2, configtx_pb2
from google.protobuf.message import DecodeError

from audit.channel import ROOT, Channel
from audit.findings import Check, Wrong
from audit.membership import Identity, Signed

GROUP, VALUE, POLICY = "group", "value", "policy"
# Kind, and the names from the root to the element and its own.
Place = tuple[str, tuple[str, ...]]
Elements = Mapping[Place, Any]
_NAME: Final = re.compile(r"[a-zA-Z0-9.-]{1,249}")
_CAPABILITIES: Final[Place] = (VALUE, (ROOT, "Orderer", "Capabilities"))
_ADMINS: Final = "Admins"


def updated(envelope: Any, channel: Channel, channel_id: str) -> Any:
    """The common.ConfigGroup that a CONFIG_UPDATE envelope makes of the configuration in force.

    Raises Wrong `configuration` for the first thing that forbids it.
    """
    signed_update = _signed_update(envelope)
    update = _parsed(configtx_pb2.ConfigUpdate, signed_update.config_update, "the update")
    if update.channel_id != channel_id:
        raise _wrong(f"the update is for channel {update.channel_id!r}")
    current = _elements(channel.group)
    read = _elements(update.read_set) if update.HasField("read_set") else {}
    for place, element in sorted(read.items(), key=_order):
        _check_read(place, element, current)
    written = _elements(update.write_set) if update.HasField("write_set") else {}
    changed = {
        place: element
        for place, element in sorted(written.items(), key=_order)
        if place not in read or read[place].version != element.version
    }
    if not changed:
        raise _wrong("the update changes nothing")
    signers = _signers(signed_update, channel)
    for place, element in changed.items():
        _check_change(place, element, current.get(place), channel, signers)
    return _group({**current, **changed}, (ROOT,))


def _signed_update(envelope: Any) -> Any:
    """The common.ConfigUpdateEnvelope (protoutil/commonutils.go EnvelopeToConfigUpdate)."""
    payload = _parsed(common_pb2.Payload, envelope.payload, "the last update")
    if not payload.HasField("header"):
        raise _wrong("it has no last update that leads to it")
    header = _parsed(common_pb2.ChannelHeader, payload.header.channel_header, "the last update")
    if header.type != common_pb2.HeaderType.CONFIG_UPDATE:
        raise _wrong(f"its last update is of header type {header.type}")
    return _parsed(configtx_pb2.ConfigUpdateEnvelope, payload.data, "the last update")


def _signers(update: Any, channel: Channel) -> list[Identity]:
    """Who signed: each over its signature header and the update's bytes (protoutil/signeddata.go
    ConfigUpdateEnvelopeAsSignedData)."""
    signed = []
    for one in update.signatures:
        header = _parsed(common_pb2.SignatureHeader, one.signature_header, "a signature's header")
        message = one.signature_header + update.config_update
        signed.append(Signed(header.creator, message, one.signature))
    return channel.membership.signers(signed)


def _check_read(place: Place, element: Any, current: Elements) -> None:
    existing = current.get(place)
    if existing is None:
        raise _wrong(f"the update read the {_shown(place)}, which is not there")
    if existing.version != element.version:
        raise _wrong(
            f"the update read version {element.version} of the {_shown(place)}, "
            f"in force is {existing.version}"
        )


def _check_change(
    place: Place, element: Any, existing: Any, channel: Channel, signers: list[Identity]
) -> None:
    names = element.mod_policy.removeprefix("/").split("/")
    if not all(map(_is_name, names)):
        raise _wrong(f"the mod_policy of the {_shown(place)} is {element.mod_policy!r}")
    due = 0 if existing is None else existing.version + 1
    if element.version != due:
        raise _wrong(f"the {_shown(place)} gets version {element.version} where {due} is due")
    if existing is None:
        return  # who may add it is who may change its group
    policy = _policy_path(place, existing.mod_policy)
    if not channel.accepts(policy, signers):
        by = ", ".join(f"{one.msp_id} {one.kind}" for one in signers) or "nobody"
        raise _wrong(f"the {_shown(place)} is changed by {by}, whom {policy} refuses")


def _policy_path(place: Place, mod_policy: str) -> str:
    """A relative name is the element's group's own policy, a group's stands in itself
    (policyForItem)."""
    if mod_policy.startswith("/"):
        return mod_policy
    kind, path = place
    return "/".join(("", *(path if kind == GROUP else path[:-1]), mod_policy))


def _elements(root: Any) -> dict[Place, Any]:
    """Every element of a channel group (configmap.go mapConfig). Raises Wrong for a bad name."""
    found: dict[Place, Any] = {}

    def walk(path: tuple[str, ...], group: Any) -> None:
        found[GROUP, path] = group
        for kind, members in ((VALUE, group.values), (POLICY, group.policies)):
            found.update({(kind, (*path, name)): one for name, one in members.items()})
        for name, inner in group.groups.items():
            walk((*path, name), inner)

    walk((ROOT,), root)
    for place in found:
        if not _is_name(place[1][-1]):
            raise _wrong(f"no name of an element: {place[1][-1]!r:.80}")
    return found


def _group(elements: Elements, path: tuple[str, ...]) -> Any:
    """The group at `path` with the members that it names, each as it stands in `elements`.

    Where the orderers' capabilities are set, an empty mod_policy becomes Admins (configmap.go
    recurseConfigMap, which mends channels of Fabric 1.0).
    """
    made = configtx_pb2.ConfigGroup()
    made.CopyFrom(elements[GROUP, path])
    for name in list(made.groups):
        made.groups[name].CopyFrom(_group(elements, (*path, name)))
    for kind, members in ((VALUE, made.values), (POLICY, made.policies)):
        for name in list(members):
            members[name].CopyFrom(elements[kind, (*path, name)])
    if _CAPABILITIES in elements:
        for one in (made, *made.values.values(), *made.policies.values()):
            one.mod_policy = one.mod_policy or _ADMINS
    return made


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and text not in (".", "..")


def _order(item: tuple[Place, Any]) -> tuple[tuple[str, ...], str]:
    """Outer elements first, so that the first thing wrong is the same for everybody."""
    kind, path = item[0]
    return path, kind


def _shown(place: Place) -> str:
    kind, path = place
    return f"{kind} /{'/'.join(path)}"


def _parsed(message_type: Any, raw: bytes, what: str) -> Any:
    try:
        return message_type.FromString(raw)
    except DecodeError as error:
        raise _wrong(f"{what} can't be parsed: {error}") from None


def _wrong(detail: str) -> Wrong:
    return Wrong(Check.CONFIGURATION, detail)
