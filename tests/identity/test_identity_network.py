"""On a running network: a CA's identities do what their role says, until the channel has the CRL.

The engine `fabric` too, where FABRIC_BIN names Fabric's own programs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ca_server
import pytest
from ca_server import SECRET, TLS_CA
from click.testing import CliRunner
from fabric_protos.orderer import configuration_pb2
from identity_world import World, authority

from audit.channel import Channel
from audit.findings import Finding
from audit.source import from_peer
from audit.verifier import Verifier
from clearline.fabric.errors import EndorseError, FabricError
from clearline.fabric.gateway import Gateway
from clearline.fabric.profile import Profile as ConnectionProfile
from network.bringup import PortChoice, UpRequest, down, up
from network.ca.cli import identity
from network.ca.enrolment import Member
from network.ca.errors import Code
from network.channelchange import (
    Administrator,
    ChannelChangeError,
    Failure,
    change,
    channel_config,
)
from network.home import Home
from network.lifecycle import connect
from network.topology import Engine

NOBODY = '[["entity","nobody"]]'


@pytest.fixture(scope="module", params=[item.value for item in Engine])
def running(
    request: pytest.FixtureRequest, tool: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A network that is up, and BankOne's CA server."""
    engine = Engine(request.param)
    if engine is Engine.FABRIC and not os.environ.get("FABRIC_BIN"):
        pytest.skip("FABRIC_BIN names no folder with Fabric's executables")
    home = Home(tmp_path_factory.mktemp(f"running-{engine}") / "home")
    try:
        topology = up(UpRequest(home, None, engine, PortChoice.FREE), print).topology
        member = Member(home, topology, topology.organization("BankOne"))
        root = home.organization("BankOne")
        folder = tmp_path_factory.mktemp("ca") / "server"
        with ca_server.start(
            tool, folder, authority(root / "ca"), authority(root / "tlsca")
        ) as server:
            world = World(member, server)
            for options in ([], ["--profile", "tls", "--ca-name", TLS_CA]):
                command(world, "enroll", "registrar", *options, secret=SECRET)
            yield world
    finally:
        down(home)


def command(world: World, *words: str, secret: str | None = None, code: Code | None = None) -> str:
    """`clearline identity` for BankOne; done, or refused with `code`."""
    environment = {
        "CLEARLINE_HOME": str(world.home),
        "CLEARLINE_ORG": "BankOne",
        "CLEARLINE_CA_URL": world.server.address().url,
        "CLEARLINE_CA_TLS": str(world.server.tls_ca),
        "CLEARLINE_ENROLL_SECRET": secret,
    }
    result = CliRunner().invoke(identity, words, env=environment)
    assert result.exit_code == (0 if code is None else 1), result.output
    assert code is None or f"[{code}]" in result.output
    return result.output


def enrolled(world: World, name: str, role: str) -> str:
    """An identity and a TLS certificate, both from the CA server."""
    command(world, "register", name, "--role", role)
    command(world, "enroll", name)
    command(world, "register", name, "--profile", "tls")
    command(world, "enroll", name, "--profile", "tls", "--ca-name", TLS_CA)
    return name


def transact(world: World, name: str, function: str = "GetRecords", argument: str = NOBODY) -> None:
    """One transaction from the endorsement to the commit. Raises FabricError."""

    async def run() -> None:
        profile = ConnectionProfile.load(world.member.home.profile("BankOne", name))
        async with Gateway.connect(profile) as gateway:
            contract = gateway.network(profile.channel).contract(profile.chaincode)
            await contract.submit(function, argument)

    asyncio.run(run())


def forge(world: World, name: str) -> Callable[[], Any]:
    """A transaction that was endorsed now and is sent when called; it answers the commit."""

    async def endorse() -> Any:
        profile = ConnectionProfile.load(world.member.home.profile("BankOne", name))
        async with Gateway.connect(profile) as gateway:
            contract = gateway.network(profile.channel).contract(profile.chaincode)
            transaction = await contract.new_proposal("GetRecords", [NOBODY]).endorse()
            return transaction.to_bytes()

    async def send(raw: bytes) -> Any:
        profile = ConnectionProfile.load(world.member.home.profile("BankOne", name))
        async with Gateway.connect(profile) as gateway:
            return await (await gateway.new_transaction(raw).submit()).status()

    raw = asyncio.run(endorse())
    return lambda: asyncio.run(send(raw))


def test_a_role_from_the_ca_opens_its_functions_and_no_others(running: World) -> None:
    reader = enrolled(running, "reader", "auditor")
    transact(running, reader)
    with pytest.raises(EndorseError) as failed:
        transact(running, reader, "SubmitIntents", '[{"intent":"x","acquirer_id":"y"}]')
    assert "role_forbidden" in str(failed.value) + str(failed.value.details)
    writer = enrolled(running, "writer", "gateway")
    transact(running, writer, "SubmitIntents", '[{"intent":"x","acquirer_id":"y"}]')
    none = enrolled(running, "plain", "connector")
    with pytest.raises(EndorseError):
        transact(running, none, "SubmitIntents", '[{"intent":"x","acquirer_id":"y"}]')


def test_a_renewed_identity_goes_on(running: World) -> None:
    name = enrolled(running, "renewing", "auditor")
    for options in ([], ["--same-key"], ["--profile", "tls"]):
        command(running, "reenroll", name, *options)
        transact(running, name)


def test_a_revoked_identity_is_refused_from_the_block_with_the_list(running: World) -> None:
    leaver = enrolled(running, "leaver", "auditor")
    stayer = enrolled(running, "stayer", "auditor")
    transact(running, leaver)
    send_later = forge(running, leaver)
    command(running, "revoke", leaver, "--reason", "cessationofoperation")
    transact(running, leaver)  # the CA's word alone reaches no node
    output = command(running, "crl", "--apply")
    assert "in force from configuration" in output
    assert "not seen yet" not in output
    with pytest.raises(FabricError) as failed:
        transact(running, leaver)
    assert failed.value.outcome == "not_applied"
    with pytest.raises(FabricError) as failed:
        send_later()  # endorsed before, ordered after
    assert failed.value.outcome == "not_applied"
    transact(running, stayer)
    assert "has this list already" in command(running, "crl", "--apply")


def test_one_lost_certificate_is_refused_and_its_owner_goes_on(running: World) -> None:
    name = enrolled(running, "careless", "auditor")
    profile = ConnectionProfile.load(running.member.home.profile("BankOne", name))
    lost = running.member.home.root / "lost.pem"
    lost.write_bytes(profile.certificate.read_bytes())
    key = profile.private_key.read_bytes()
    command(running, "reenroll", name)
    command(running, "revoke", name, "--certificate", str(lost))
    command(running, "crl", "--apply")
    transact(running, name)
    profile.certificate.write_bytes(lost.read_bytes())
    profile.private_key.write_bytes(key)
    with pytest.raises(FabricError):
        transact(running, name)


def test_another_banks_administrator_cant_put_a_list_in(running: World) -> None:
    name = enrolled(running, "protected", "auditor")
    command(running, "revoke", name)
    output = command(running, "crl", "--apply", "--signer", "BankTwo/admin",
                     code=Code.UPDATE_REFUSED)  # fmt: skip
    assert "FORBIDDEN" in output or "BAD_REQUEST" in output
    transact(running, name)


def test_a_majority_changes_the_channel_and_a_minority_doesnt(running: World) -> None:
    home, topology = running.member.home, running.member.topology

    def edit(config: Any) -> None:
        timeout = configuration_pb2.BatchTimeout(timeout="15ms")
        value = config.channel_group.groups["Orderer"].values["BatchTimeout"]
        value.value = timeout.SerializeToString()

    outsider = [Administrator("BankOne", "admin")]
    with pytest.raises(ChannelChangeError) as failed:
        asyncio.run(change(home, topology, edit, outsider))
    assert failed.value.failure is Failure.REFUSED
    enough = [Administrator(name, "admin") for name in ("Supervisor", "BankOne", "BankTwo")]
    done = asyncio.run(change(home, topology, edit, enough))
    assert (done.changed, done.waiting) == (True, ())
    again = asyncio.run(change(home, topology, edit, enough))
    assert (again.changed, again.sequence) == (False, done.sequence)
    transact(running, "gateway")


def test_two_updates_at_once_are_both_applied(running: World) -> None:
    home, topology = running.member.home, running.member.topology
    everybody = [Administrator(name, "admin") for name in ("Supervisor", "BankOne", "BankTwo")]

    def batch_bytes(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchSize"]
        size = configuration_pb2.BatchSize.FromString(value.value)
        size.preferred_max_bytes += 1 if size.preferred_max_bytes % 2 == 0 else 0
        value.value = size.SerializeToString()

    def batch_count(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchSize"]
        size = configuration_pb2.BatchSize.FromString(value.value)
        size.max_message_count = 321
        value.value = size.SerializeToString()

    async def both() -> Any:
        await asyncio.gather(
            change(home, topology, batch_bytes, everybody),
            change(home, topology, batch_count, everybody),
        )
        found = []
        for peer in connect(home, topology):
            async with peer:
                found.append(await channel_config(peer, topology.channel.id))
        return found

    for config in asyncio.run(both()):
        value = config.channel_group.groups["Orderer"].values["BatchSize"]
        size = configuration_pb2.BatchSize.FromString(value.value)
        assert size.max_message_count == 321
        assert size.preferred_max_bytes % 2 == 1


def test_the_auditor_follows_what_real_orderers_put_in_force(running: World) -> None:
    """All updates above, and two of its own: an organisation's alone, and a majority's."""
    home, topology = running.member.home, running.member.topology
    name = enrolled(running, "struck", "auditor")
    command(running, "revoke", name)
    command(running, "crl", "--apply")

    def edit(config: Any) -> None:
        value = config.channel_group.groups["Orderer"].values["BatchTimeout"]
        value.value = configuration_pb2.BatchTimeout(timeout="16ms").SerializeToString()

    admins = [Administrator(one, "admin") for one in ("Supervisor", "BankOne", "BankTwo")]
    done = asyncio.run(change(home, topology, edit, admins))
    transact(running, "gateway")
    profile = ConnectionProfile.load(home.profile("Supervisor", "auditor"))
    verifier = Verifier(profile.network, profile.chaincode)

    async def finding() -> Finding | None:
        async for raw in from_peer(profile):
            found = verifier.take(raw)
            if found is not None:
                return found
        return None

    assert asyncio.run(finding()) is None
    assert done.sequence >= 2
    assert Channel.of_block(verifier.snapshot().config).sequence == done.sequence
