"""A home with a network, and a Fabric CA server that issues with BankOne's own CA keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

sys.path.insert(0, str(Path(__file__).parent))

import ca_server
from ca_server import Server

from network.bringup import PortChoice, UpRequest, make_home
from network.ca.client import Profile
from network.ca.enrolment import EnrollRequest, Member, Present, enroll
from network.certificates import Authority
from network.home import Engine, Home


@dataclass(frozen=True)
class World:
    """BankOne's home and CA server; `registrar` is enrolled at both CAs."""

    member: Member
    server: Server

    @property
    def home(self) -> Path:
        return self.member.home.root


@pytest.fixture(scope="session")
def tool() -> Path:
    try:
        return ca_server.build()
    except ca_server.NoToolError as error:
        pytest.skip(str(error))


def authority(folder: Path) -> Authority:
    """The authority that the development issuing made."""
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()), key)


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
