"""Fabric's own `peer` command against the embedded engine: an operator's day, start to end."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from config_kit import update_envelope
from fabric_programs import needs_fabric
from fabric_protos.common import common_pb2
from fabric_protos.orderer import configuration_pb2
from fidelity_world import CHAINCODE, CHANNEL, Net, block, height, start, stop

from network.fabric import executables, settings
from network.topology import Engine

pytestmark = [needs_fabric, pytest.mark.slow]

BANKS = ("BankOne", "BankTwo")


@dataclass(frozen=True)
class Operator:
    """An organisation's administrator at a terminal."""

    net: Net
    organization: str
    folder: Path

    def environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder),
                "FABRIC_CFG_PATH": str(self.folder), "FABRIC_LOGGING_SPEC": "error"}  # fmt: skip

    def command(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [executables.find().peer, *words],
            env=self.environment(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def peer(self, *words: str | Path) -> str:
        done = self.command(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    @property
    def orderer(self) -> list[str | Path]:
        """Where and how to send a transaction."""
        organization, orderer = next(iter(self.net.topology.orderers()))
        tls = self.net.home.user(self.organization, "admin") / "tls"
        return [
            "-o", orderer.endpoint, "--tls", "--clientauth",
            "--cafile", root(self.net, organization.name),
            "--certfile", tls / "cert.pem", "--keyfile", tls / "key.pem",
        ]  # fmt: skip


def root(net: Net, organization: str) -> Path:
    return net.home.organization(organization) / "tlsca" / "cert.pem"


def endorsers(net: Net, *organizations: str) -> list[str | Path]:
    words: list[str | Path] = []
    for name in organizations:
        words += ["--peerAddresses", net.topology.organization(name).peers[0].endpoint]
        words += ["--tlsRootCertFiles", root(net, name)]
    return words


def operator(net: Net, organization: str, folder: Path) -> Operator:
    """The command reads a core.yaml too: this one speaks of the administrator."""
    folder.mkdir()
    user = net.home.user(organization, "admin")
    endpoint = net.topology.organization(organization).peers[0].endpoint
    choice = settings.PeerChoice("cli", organization, net.topology.network, endpoint, folder)
    roots = tuple(root(net, name.name) for name in net.topology.organizations)
    files = settings.NodeFiles(user / "msp", user / "tls", folder / "data", roots)
    (folder / "core.yaml").write_text(json.dumps(settings.core(choice, files)))
    return Operator(net, organization, folder)


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Operator]]:
    folder = tmp_path_factory.mktemp("peer-command")
    net = start(folder / "home", Engine.EMBEDDED)
    try:
        yield {name: operator(net, name, folder / name) for name in BANKS}
    finally:
        stop(net.home)


def test_channel_list_and_getinfo(operators: dict[str, Operator]) -> None:
    bank = operators["BankTwo"]
    assert CHANNEL in bank.peer("channel", "list").splitlines()
    said = bank.peer("channel", "getinfo", "-c", CHANNEL)
    info = json.loads(said[said.index("{") :])
    assert info["height"] == asyncio.run(_height(bank.net))


async def _height(net: Net) -> int:
    async with net.administration("BankTwo") as peer:
        return await height(peer)


async def _block(net: Net, number: int) -> bytes:
    async with net.administration("BankTwo") as peer:
        return await block(peer, number)


@pytest.mark.parametrize("source", ["peer", "orderer"])
@pytest.mark.parametrize("which", ["0", "oldest", "newest", "config"])
def test_channel_fetch(operators: dict[str, Operator], which: str, source: str) -> None:
    bank = operators["BankTwo"]
    path = bank.folder / f"{source}-{which}.block"
    words = bank.orderer if source == "orderer" else []
    bank.peer("channel", "fetch", which, path, "-c", CHANNEL, *words)
    found = common_pb2.Block.FromString(path.read_bytes())
    same = common_pb2.Block.FromString(asyncio.run(_block(bank.net, found.header.number)))
    assert (found.header, found.data) == (same.header, same.data)
    if which in {"0", "oldest"}:
        assert found.header.number == 0


def test_chaincode_invoke_and_query(operators: dict[str, Operator]) -> None:
    bank = operators["BankTwo"]
    definition = ["-C", CHANNEL, "-n", CHAINCODE]
    call = ["-c", '{"Args":["put","cli=1"]}', "--waitForEvent", *endorsers(bank.net, *BANKS)]
    bank.peer("chaincode", "invoke", *bank.orderer, *definition, *call)
    said = bank.peer("chaincode", "query", *definition, "-c", '{"Args":["get","cli","none"]}')
    assert json.loads(said) == ["1", None]
    wrong = bank.command("chaincode", "query", *definition, "-c", '{"Args":["nosuch"]}')
    assert wrong.returncode == 1
    assert "there is no function nosuch" in wrong.stderr
    alone = ["-c", '{"Args":["put","cli=2"]}', "--waitForEvent", *endorsers(bank.net, "BankTwo")]
    refused = bank.command("chaincode", "invoke", *bank.orderer, *definition, *alone)
    assert refused.returncode == 1
    assert "ENDORSEMENT_POLICY_FAILURE" in refused.stderr


def test_a_new_definition_from_package_to_invoke(operators: dict[str, Operator]) -> None:
    one, two = operators["BankOne"], operators["BankTwo"]
    net = one.net
    lifecycle = ("lifecycle", "chaincode")
    installed = json.loads(one.peer(*lifecycle, "queryinstalled", "-O", "json"))
    assert [item["package_id"] for item in installed["installed_chaincodes"]] == [net.package.id]
    assert (
        one.peer(*lifecycle, "calculatepackageid", net.home.package_file).strip() == net.package.id
    )
    one.peer(*lifecycle, "getinstalledpackage", "--package-id", net.package.id,
             "--output-directory", one.folder)  # fmt: skip
    (fetched,) = one.folder.glob("*.tar.gz")
    assert fetched.read_bytes() == net.package.content
    again = one.command(*lifecycle, "install", fetched)
    assert again.returncode == 1
    assert "already successfully installed" in again.stderr

    definition = ["-C", CHANNEL, "-n", CHAINCODE, "-v", "0.2", "--sequence", "2"]
    policy = ["--signature-policy", "OR('BankOne.peer','BankTwo.peer')"]
    for bank in (one, two):
        ready = bank.peer(*lifecycle, "checkcommitreadiness", *definition, *policy, "-O", "json")
        assert json.loads(ready)["approvals"]["BankTwo"] is False
        bank.peer(*lifecycle, "approveformyorg", *bank.orderer, *definition, *policy,
                  "--package-id", net.package.id, "--waitForEvent")  # fmt: skip
        approved = json.loads(
            bank.peer(*lifecycle, "queryapproved", "-C", CHANNEL, "-n", CHAINCODE, "-O", "json")
        )
        assert approved["sequence"] == 2
    ready = json.loads(
        two.peer(*lifecycle, "checkcommitreadiness", *definition, *policy, "-O", "json")
    )
    assert ready["approvals"] == {"BankOne": True, "BankTwo": True, "Supervisor": False}
    two.peer(*lifecycle, "commit", *two.orderer, *definition, *policy, *endorsers(net, *BANKS),
             "--waitForEvent")  # fmt: skip
    committed = json.loads(
        one.peer(*lifecycle, "querycommitted", "-C", CHANNEL, "-n", CHAINCODE, "-O", "json")
    )
    assert (committed["sequence"], committed["version"]) == (2, "0.2")
    assert "Sequence: 2" in one.peer(*lifecycle, "querycommitted", "-C", CHANNEL)
    # The new policy: one bank is enough.
    call = ["-C", CHANNEL, "-n", CHAINCODE, "-c", '{"Args":["put","cli=3"]}', "--waitForEvent"]
    two.peer("chaincode", "invoke", *two.orderer, *call, *endorsers(net, "BankTwo"))


def test_channel_update(operators: dict[str, Operator]) -> None:
    bank = operators["BankOne"]
    net = bank.net

    def change(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchSize"]
        size = configuration_pb2.BatchSize.FromString(value.value)
        size.max_message_count = 9
        value.value = size.SerializeToString()

    before = asyncio.run(net.config())
    envelope = update_envelope(before, change, [net.signer("Supervisor", "admin")])
    path = bank.folder / "update.tx"
    path.write_bytes(envelope.SerializeToString())
    # The command adds its own administrator's signature, and sends the update.
    bank.peer("channel", "update", "-f", path, "-c", CHANNEL, *bank.orderer)
    assert asyncio.run(_sequence(net, before.sequence + 1)) == before.sequence + 1


async def _sequence(net: Net, wanted: int) -> int:
    """The configuration's number once it is there."""
    async with asyncio.timeout(10):
        while (found := int((await net.config()).sequence)) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


def test_join_is_refused_twice_and_garbage_at_once(operators: dict[str, Operator]) -> None:
    bank = operators["BankTwo"]
    again = bank.command("channel", "join", "-b", bank.net.home.genesis_block)
    assert again.returncode == 1
    assert "already exists" in again.stderr
    (bank.folder / "garbage").write_bytes(b"\x01garbage")
    garbage = bank.command("channel", "join", "-b", bank.folder / "garbage")
    assert garbage.returncode == 1
