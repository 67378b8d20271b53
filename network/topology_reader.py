"""Reads `network.yaml` into the typed model, collecting every mistake in form.

Form only: types, unknown and missing members, ranges and spellings. What the values mean together
(duplicates, policies that can't be met) is in `topology_rules.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import Any, Final, TypeVar

import yaml

from network.topology import (
    FORMAT,
    Acquirer,
    Batch,
    Chaincode,
    Channel,
    Engine,
    Orderer,
    Organization,
    Peer,
    Problem,
    Proof,
    Role,
    Rule,
    Service,
    Threshold,
    Topology,
    TopologyError,
    User,
    UserKind,
)

_Item = TypeVar("_Item")
_Choice = TypeVar("_Choice", bound=StrEnum)

# Names become folders, certificate subjects and MSP ids: letters, digits, dot, dash; and
# Fabric's own limits (common/configtx/validator.go, core/chaincode/lifecycle/scc.go).
_ORGANIZATION: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_NODE: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_SIMPLE: Final = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_CHANNEL: Final = re.compile(r"[a-z][a-z0-9.-]{0,248}")
_CHAINCODE: Final = re.compile(r"[a-zA-Z0-9]+([-_][a-zA-Z0-9]+)*")
_VERSION: Final = re.compile(r"[A-Za-z0-9_.+-]+")
_FUNCTION: Final = re.compile(r"[A-Za-z][A-Za-z0-9:_]{0,63}")
_LOOPBACK: Final = "127.0.0.1"
_MISSING: Final = object()


class _UniqueLoader(yaml.SafeLoader):
    """YAML's safe loader keeps the last of two equal keys; this one refuses the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise TopologyError((Problem("duplicate_key", str(key), f"twice, line {line}"),))
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Section:
    """A mapping being read: knows its path, hands out values, notes mistakes and leftovers."""

    def __init__(self, value: Any, path: str, problems: list[Problem]) -> None:
        self.path, self.problems = path, problems
        self._left: dict[Any, Any] = {}
        if isinstance(value, dict):
            self._left = dict(value)
        elif value is not _MISSING:
            self.note("wrong_type", path, f"must be a mapping, is {_kind(value)}")

    def note(self, code: str, path: str, reason: str) -> None:
        self.problems.append(Problem(code, path, reason))

    def below(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def take(self, key: str, default: Any = _MISSING) -> Any:
        value = self._left.pop(key, default)
        if value is _MISSING:
            self.note("missing", self.below(key), "is missing")
        return value

    def has(self, key: str) -> bool:
        return key in self._left

    def end(self) -> None:
        for key in self._left:
            self.note("unknown_key", self.below(str(key)), "is not a setting: misspelt?")

    def text(self, key: str, pattern: re.Pattern[str], code: str, default: Any = _MISSING) -> str:
        value = self.take(key, default)
        if value is _MISSING:
            return ""
        if not isinstance(value, str):
            self.note("wrong_type", self.below(key), f"must be a text, is {_kind(value)}")
            return ""
        if not pattern.fullmatch(value):
            self.note(code, self.below(key), f'"{value}" must match {pattern.pattern}')
        return value

    def number(self, key: str, low: int, high: int, code: str = "out_of_range") -> int:
        value = self.take(key)
        if value is _MISSING:
            return low
        if not isinstance(value, int) or isinstance(value, bool):
            self.note("wrong_type", self.below(key), f"must be a whole number, is {_kind(value)}")
            return low
        if not low <= value <= high:
            self.note(code, self.below(key), f"{value} is not between {low} and {high}")
            return low
        return value

    def port(self, key: str) -> int:
        """A TCP port; 0 asks for a free one at the first `up`."""
        return self.number(key, 0, 65535, "port_out_of_range")

    def choice(self, key: str, kind: type[_Choice], code: str, default: Any = _MISSING) -> _Choice:
        value = self.take(key, default)
        known = [item.value for item in kind]
        if isinstance(value, str) and value in known:
            return kind(value)
        if value is not _MISSING:
            self.note(code, self.below(key), f"{value!r} is none of {', '.join(known)}")
        return next(iter(kind))

    def choices(self, key: str, kind: type[_Choice], code: str) -> tuple[_Choice, ...]:
        """A list of at least one; all there are when the key is left out."""
        value = self.take(key, None)
        if value is None:
            return tuple(kind)
        known = [item.value for item in kind]
        if not isinstance(value, list) or not value or any(item not in known for item in value):
            reason = f"must be a list of at least one of {', '.join(known)}"
            self.note(code, self.below(key), reason)
            return tuple(kind)
        return tuple(item for item in kind if item.value in value)

    def section(self, key: str, default: Any = _MISSING) -> _Section:
        return _Section(self.take(key, default), self.below(key), self.problems)

    def items(
        self, key: str, read: Callable[[_Section], _Item], default: Any = _MISSING
    ) -> tuple[_Item, ...]:
        value = self.take(key, default)
        if value is _MISSING:
            return ()
        if not isinstance(value, list):
            self.note("wrong_type", self.below(key), f"must be a list, is {_kind(value)}")
            return ()
        found = []
        for index, item in enumerate(value):
            section = _Section(item, f"{self.below(key)}[{index}]", self.problems)
            found.append(read(section))
            section.end()
        return tuple(found)


def read_topology(text: str) -> Topology:
    """Parse YAML text. Raises TopologyError with every mistake in form."""
    try:
        raw = yaml.load(text, Loader=_UniqueLoader)  # noqa: S506 - derives from SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        reason = getattr(error, "problem", None) or str(error)
        raise TopologyError((Problem("not_yaml", "", f"{reason}{line}"),)) from error
    problems: list[Problem] = []
    root = _Section(raw, "", problems)
    if isinstance(raw, dict) and raw.get("format", FORMAT) != FORMAT:
        reason = f"{raw['format']!r} is not a format this version reads: it reads {FORMAT}"
        raise TopologyError((Problem("unknown_format", "format", reason),))
    root.take("format")
    topology = Topology(
        network=root.text("network", _SIMPLE, "bad_name"),
        channel=_channel(root.section("channel")),
        organizations=root.items("organizations", _organization),
        acquirers=root.items("acquirers", _acquirer, default=[]),
        chaincode=_chaincode(root.section("chaincode")),
    )
    root.end()
    if problems:
        raise TopologyError(tuple(problems))
    return topology


def _channel(section: _Section) -> Channel:
    batch = section.section("batch")
    policies = section.section("policies", default={})
    channel = Channel(
        id=section.text("id", _CHANNEL, "bad_channel_id"),
        batch=Batch(
            max_message_count=batch.number("max_message_count", 1, 100_000),
            timeout_ms=batch.number("timeout_ms", 1, 60_000),
            preferred_max_bytes=batch.number("preferred_max_bytes", 1, 99 << 20),
            # gRPC messages are limited to 100 MB (core/comm/config.go MaxRecvMsgSize).
            absolute_max_bytes=batch.number("absolute_max_bytes", 1, 99 << 20),
        ),
        endorsement=policies.choice("endorsement", Rule, "unknown_policy", "majority"),
        lifecycle_endorsement=policies.choice(
            "lifecycle_endorsement", Rule, "unknown_policy", "majority"
        ),
        admins=policies.choice("admins", Rule, "unknown_policy", "majority"),
    )
    for part in (batch, policies, section):
        part.end()
    return channel


def _organization(section: _Section) -> Organization:
    return Organization(
        name=section.text("name", _ORGANIZATION, "bad_name"),
        peers=section.items("peers", _peer, default=[]),
        orderers=section.items("orderers", _orderer, default=[]),
        users=section.items("users", _user),
        services=section.items("services", _service, default=[]),
    )


def _peer(section: _Section) -> Peer:
    return Peer(
        name=section.text("name", _NODE, "bad_name"),
        host=section.text("host", _HOST, "bad_host", _LOOPBACK),
        port=section.port("port"),
        chaincode_port=section.port("chaincode_port"),
    )


def _orderer(section: _Section) -> Orderer:
    return Orderer(
        name=section.text("name", _NODE, "bad_name"),
        host=section.text("host", _HOST, "bad_host", _LOOPBACK),
        port=section.port("port"),
        admin_port=section.port("admin_port") if section.has("admin_port") else None,
        engines=section.choices("engines", Engine, "unknown_engine"),
    )


def _user(section: _Section) -> User:
    kind = section.choice("kind", UserKind, "unknown_kind", "client")
    role: Role | None = None
    if kind is UserKind.CLIENT:
        role = section.choice("role", Role, "unknown_role")
    elif section.take("role", None) is not None:
        section.note("admin_with_role", section.below("role"), "an admin has no role")
    return User(name=section.text("name", _SIMPLE, "bad_name"), kind=kind, role=role)


def _service(section: _Section) -> Service:
    return Service(
        name=section.text("name", _SIMPLE, "bad_name"),
        host=section.text("host", _HOST, "bad_host", _LOOPBACK),
        port=section.port("port"),
    )


def _acquirer(section: _Section) -> Acquirer:
    return Acquirer(
        name=section.text("name", _SIMPLE, "bad_name"),
        bank=section.text("bank", _ORGANIZATION, "bad_name"),
        host=section.text("host", _HOST, "bad_host", _LOOPBACK),
        port=section.port("port"),
    )


def _chaincode(section: _Section) -> Chaincode:
    threshold = section.take("endorsement", None)
    proof = section.section("proof")
    chaincode = Chaincode(
        name=section.text("name", _CHAINCODE, "bad_chaincode_name"),
        version=section.text("version", _VERSION, "bad_chaincode_version"),
        endorsement=None if threshold is None else _threshold(section, threshold),
        proof=Proof(
            organization=proof.text("organization", _ORGANIZATION, "bad_name"),
            user=proof.text("user", _SIMPLE, "bad_name"),
            function=proof.text("function", _FUNCTION, "bad_name"),
            argument=proof.text("argument", re.compile(r".*", re.DOTALL), "bad_name"),
        ),
    )
    proof.end()
    section.end()
    return chaincode


def _threshold(parent: _Section, value: Any) -> Threshold:
    section = _Section(value, parent.below("endorsement"), parent.problems)
    names = section.take("of")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        if names is not _MISSING:
            section.note("wrong_type", section.below("of"), "must be a list of organisations")
        names = []
    threshold = Threshold(at_least=section.number("at_least", 1, 1000), of=tuple(names))
    section.end()
    return threshold


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "a text", type(None): "empty"}
    return names.get(type(value), f"{value!r}")
