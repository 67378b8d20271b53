"""What the tests of this room speak about: an organisation, its home and its CA server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ca_server import Server
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from network.ca.enrolment import Member
from network.certificates import Authority


@dataclass(frozen=True)
class World:
    """BankOne's home and CA server; `registrar` is enrolled at both CAs."""

    member: Member
    server: Server

    @property
    def home(self) -> Path:
        return self.member.home.root


def authority(folder: Path) -> Authority:
    """The authority that the development issuing made."""
    key = load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return Authority(x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()), key)
