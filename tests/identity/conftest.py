"""A home with a network, and a Fabric CA server that issues with BankOne's own CA keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import ca_server
from builds import MissingToolError
from identity_world import World, authority

from network.bringup import PortChoice, UpRequest, make_home
from network.ca.client import Profile
from network.ca.enrolment import EnrollRequest, Member, Present, enroll
from network.home import Home
from network.topology import Engine


@pytest.fixture(scope="session")
def tool() -> Path:
    try:
        return ca_server.built()
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def member(tmp_path_factory: pytest.TempPathFactory) -> Member:
    """BankOne in a home that was made and not started."""
    home = Home(tmp_path_factory.mktemp("identity") / "home")
    request = UpRequest(home, None, Engine.EMBEDDED, PortChoice.FREE)
    topology = make_home(request, lambda _: None)
    return Member(home, topology, topology.organization("BankOne"))


@pytest.fixture(scope="session")
def world(tool: Path, member: Member, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = member.home.organization("BankOne")
    folder = tmp_path_factory.mktemp("ca") / "server"
    with ca_server.start(tool, folder, authority(root / "ca"), authority(root / "tlsca")) as server:
        for profile, name in ((Profile.IDENTITY, ""), (Profile.TLS, ca_server.TLS_CA)):
            request = EnrollRequest("registrar", profile, server.address(name), (), Present.KEEP)
            enroll(member, request, lambda: ca_server.SECRET)
        yield World(member, server)
