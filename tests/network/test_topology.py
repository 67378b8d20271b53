"""The topology file: what ships is right, and each mistake is named with code and path."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clearline import free_ports
from network import ports, topology_document, topology_file
from network import topology as topologies
from network.topology import DEFAULT_TOPOLOGY, Engine, Role, TopologyError, UserKind

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(DEFAULT_TOPOLOGY.read_text(encoding="utf-8"))
    return document


def problems(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "network.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(TopologyError) as refused:
        topology_file.load(path)
    return [(problem.code, problem.path) for problem in refused.value.problems]


def bank(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["organizations"][0]
    return found


def test_what_ships_is_valid_and_complete() -> None:
    topology = topology_file.load(DEFAULT_TOPOLOGY)
    assert [item.name for item in topology.organizations] == ["BankOne", "BankTwo", "Supervisor"]
    assert [peer.name for _, peer in topology.peers()] == [
        "peer0.bankone",
        "peer0.banktwo",
        "peer0.supervisor",
    ]
    assert [orderer.name for _, orderer in topology.orderers()] == ["orderer0"]
    roles = {user.role for item in topology.organizations for user in item.users}
    assert roles == {None, *Role}
    assert all(item.users[0].kind is UserKind.ADMIN for item in topology.organizations)


def test_fabric_gets_an_orderer_at_each_organisation() -> None:
    topology = topology_file.load(DEFAULT_TOPOLOGY, Engine.FABRIC)
    assert [(member.name, orderer.name) for member, orderer in topology.orderers()] == [
        ("BankOne", "orderer1"),
        ("BankTwo", "orderer2"),
        ("Supervisor", "orderer0"),
    ]
    uses = {use.name: use.port for use in topologies.ports(topology)}
    assert uses["orderer1 admin"] == 7063
    embedded = topology_file.load(DEFAULT_TOPOLOGY)
    assert not any(use.purpose for use in topologies.ports(embedded))
    assert set(topologies.ports(embedded)) < set(topologies.ports(topology))


def test_an_admin_port_that_is_not_named_is_chosen(tmp_path: Path, shipped: dict[str, Any]) -> None:
    document = copy.deepcopy(shipped)
    del bank(document)["orderers"][0]["admin_port"]
    path = tmp_path / "network.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    topology = topology_file.load(path, Engine.FABRIC)
    assert topology.organizations[0].orderers[0].admin_port == 0
    assert (ports.resolve(topology).organizations[0].orderers[0].admin_port or 0) > 0


def test_no_port_is_chosen_twice_where_no_choice_can_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many ports as the topology has: each is one of its."""
    shipped = topology_file.load(DEFAULT_TOPOLOGY)
    wanted = len(topologies.ports(shipped))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setattr("clearline.ports.available", lambda host, port: True)
    monkeypatch.setattr(free_ports, "HIGHEST", free_ports.LOWEST + wanted)
    resolved = ports.resolve(topologies.map_ports(shipped, lambda host, port: 0))
    chosen = sorted(use.port for use in topologies.ports(resolved))
    assert chosen == list(range(free_ports.LOWEST, free_ports.HIGHEST))


@pytest.mark.parametrize("engine", Engine)
def test_dump_and_load_are_inverse(tmp_path: Path, engine: Engine) -> None:
    topology = topology_file.load(DEFAULT_TOPOLOGY, engine)
    path = tmp_path / "again.yaml"
    path.write_text(topology_document.dump(topology), encoding="utf-8")
    again = topology_file.load(path, engine)
    assert again == topology
    assert topology_document.digest(again) == topology_document.digest(topology)


def _set(*keys: str | int, value: object) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return edit


def _drop(*keys: str | int) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        place: Any = document
        for key in keys[:-1]:
            place = place[key]
        del place[keys[-1]]

    return edit


MISTAKES: list[tuple[str, Edit, str, str]] = [
    ("unknown key at the top", _set("colour", value=1), "unknown_key", "colour"),
    (
        "unknown key below",
        _set("organizations", 0, "peers", 0, "prot", value=1),
        "unknown_key",
        "organizations[0].peers[0].prot",
    ),
    ("no network", _drop("network"), "missing", "network"),
    ("no port", _drop("organizations", 1, "peers", 0, "port"), "missing",
     "organizations[1].peers[0].port"),
    ("port as text", _set("organizations", 1, "peers", 0, "port", value="7051"), "wrong_type",
     "organizations[1].peers[0].port"),
    ("port true", _set("organizations", 1, "peers", 0, "port", value=True), "wrong_type",
     "organizations[1].peers[0].port"),
    ("port too high", _set("organizations", 1, "peers", 0, "port", value=65536),
     "port_out_of_range", "organizations[1].peers[0].port"),
    ("port negative", _set("acquirers", 0, "port", value=-1), "port_out_of_range",
     "acquirers[0].port"),
    ("port twice", _set("organizations", 1, "peers", 0, "port", value=7051), "duplicate_port",
     "organizations[1].peers[0].port"),
    ("port twice, acquirer", _set("acquirers", 0, "port", value=7052), "duplicate_port",
     "acquirers[0].port"),
    ("organisation twice", _set("organizations", 1, "name", value="bankone"), "duplicate_name",
     "organizations[1].name"),
    ("node twice", _set("organizations", 1, "peers", 0, "name", value="peer0.bankone"),
     "duplicate_name", "organizations[1].peers[0].name"),
    ("user twice", _set("organizations", 0, "users", 1, "name", value="admin"), "duplicate_name",
     "organizations[0].users[1].name"),
    ("bad organisation name", _set("organizations", 0, "name", value="../evil"), "bad_name",
     "organizations[0].name"),
    ("bad node name", _set("organizations", 0, "peers", 0, "name", value="Peer_0"), "bad_name",
     "organizations[0].peers[0].name"),
    ("bad host", _set("organizations", 0, "peers", 0, "host", value="a b"), "bad_host",
     "organizations[0].peers[0].host"),
    ("channel in capitals", _set("channel", "id", value="Payments"), "bad_channel_id",
     "channel.id"),
    ("channel too long", _set("channel", "id", value="p" * 250), "bad_channel_id", "channel.id"),
    ("unknown role", _set("organizations", 0, "users", 1, "role", value="teller"), "unknown_role",
     "organizations[0].users[1].role"),
    ("client without role", _drop("organizations", 0, "users", 1, "role"), "missing",
     "organizations[0].users[1].role"),
    ("admin with role", _set("organizations", 0, "users", 0, "role", value="gateway"),
     "admin_with_role", "organizations[0].users[0].role"),
    ("unknown kind", _set("organizations", 0, "users", 0, "kind", value="root"), "unknown_kind",
     "organizations[0].users[0].kind"),
    ("no admin", _drop("organizations", 0, "users", 0), "no_admin", "organizations[0].users"),
    ("unknown rule", _set("channel", "policies", "endorsement", value="most"), "unknown_policy",
     "channel.policies.endorsement"),
    ("threshold too high",
     _set("chaincode", "endorsement", value={"at_least": 3, "of": ["BankOne", "BankTwo"]}),
     "policy_cannot_be_met", "chaincode.endorsement.at_least"),
    ("threshold over unknown",
     _set("chaincode", "endorsement", value={"at_least": 1, "of": ["BankOne", "BankSix"]}),
     "unknown_organization", "chaincode.endorsement.of[1]"),
    ("threshold of zero",
     _set("chaincode", "endorsement", value={"at_least": 0, "of": ["BankOne"]}),
     "out_of_range", "chaincode.endorsement.at_least"),
    ("threshold names twice",
     _set("chaincode", "endorsement", value={"at_least": 1, "of": ["BankOne", "BankOne"]}),
     "duplicate_name", "chaincode.endorsement.of[1]"),
    ("no orderer", _drop("organizations", 2, "orderers"), "no_orderer", "organizations"),
    ("organisation without node",
     lambda d: [bank(d).pop(kind) for kind in ("peers", "orderers")],
     "no_node", "organizations[0]"),
    ("two orderers for the embedded engine", _drop("organizations", 0, "orderers", 0, "engines"),
     "too_many_orderers", "organizations"),
    ("unknown engine", _set("organizations", 0, "orderers", 0, "engines", value=["steam"]),
     "unknown_engine", "organizations[0].orderers[0].engines"),
    ("for no engine", _set("organizations", 0, "orderers", 0, "engines", value=[]),
     "unknown_engine", "organizations[0].orderers[0].engines"),
    ("admin port twice", _set("organizations", 2, "orderers", 0, "admin_port", value=7063),
     "duplicate_port", "organizations[2].orderers[0].admin_port"),
    ("no organisation", _set("organizations", value=[]), "no_organization", "organizations"),
    ("two peers", lambda d: bank(d)["peers"].append(
        {"name": "peer1.bankone", "port": 7151, "chaincode_port": 7152}),
     "too_many_peers", "organizations[0].peers"),
    ("timeout of zero", _set("channel", "batch", "timeout_ms", value=0), "out_of_range",
     "channel.batch.timeout_ms"),
    ("preferred above absolute", _set("channel", "batch", "preferred_max_bytes", value=20 << 20),
     "bad_batch", "channel.batch.preferred_max_bytes"),
    ("bad chaincode name", _set("chaincode", "name", value="clear/line"), "bad_chaincode_name",
     "chaincode.name"),
    ("system chaincode", _set("chaincode", "name", value="qscc"), "bad_chaincode_name",
     "chaincode.name"),
    ("bad version", _set("chaincode", "version", value="1 0"), "bad_chaincode_version",
     "chaincode.version"),
    ("version as number", _set("chaincode", "version", value=1), "wrong_type",
     "chaincode.version"),
    ("proof by nobody", _set("chaincode", "proof", "user", value="nobody"), "unknown_user",
     "chaincode.proof.user"),
    ("acquirer of nobody", _set("acquirers", 0, "bank", value="BankSix"), "unknown_organization",
     "acquirers[0].bank"),
    ("organisations as mapping", _set("organizations", value={}), "wrong_type", "organizations"),
    ("a peer that is a text", _set("organizations", 0, "peers", 0, value="peer0"), "wrong_type",
     "organizations[0].peers[0]"),
    ("another format", _set("format", value=2), "unknown_format", "format"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("edit", "code", "path"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES]
)
def test_each_mistake_is_named(
    tmp_path: Path, shipped: dict[str, Any], edit: Edit, code: str, path: str
) -> None:
    document = copy.deepcopy(shipped)
    edit(document)
    assert (code, path) in problems(tmp_path, yaml.safe_dump(document))


def test_all_mistakes_are_listed_at_once(tmp_path: Path, shipped: dict[str, Any]) -> None:
    document = copy.deepcopy(shipped)
    document["channel"]["id"] = "P"
    document["organizations"][0]["peers"][0]["port"] = 99999
    del document["chaincode"]["version"]
    assert {code for code, _ in problems(tmp_path, yaml.safe_dump(document))} == {
        "bad_channel_id",
        "port_out_of_range",
        "missing",
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [", "not_yaml"),
        ("- 1", "wrong_type"),
        ("network: a\nnetwork: b", "duplicate_key"),
        ("", "wrong_type"),
    ],
)
def test_what_is_no_topology_at_all(tmp_path: Path, text: str, code: str) -> None:
    assert code in {found for found, _ in problems(tmp_path, text)}


def test_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match="No such file") as refused:
        topology_file.load(tmp_path / "nowhere.yaml")
    assert refused.value.problems[0].code == "unreadable"


def test_differences_name_paths_and_forgive_chosen_ports() -> None:
    shipped = topology_file.load(DEFAULT_TOPOLOGY)
    resolved = topologies.map_ports(shipped, lambda host, port: port + 10000)
    asked = topologies.map_ports(shipped, lambda host, port: 0)
    assert topology_document.differences(resolved, asked) == ()
    assert topology_document.differences(shipped, resolved)[0] == (
        "organizations[0].peers[0].port: 7051 -> 17051"
    )
