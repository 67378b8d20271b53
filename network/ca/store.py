"""Enrolled identities on disk: the home's folders for users and nodes, replaced as a whole.

A folder holds a key and its certificate, so it is never changed in place: the new one is written
beside it (the key before the CA is asked) and takes its place by renaming. `recover` puts right
what a crash between the two renames left.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from network.ca import keys
from network.ca.client import CAAddress, Profile
from network.ca.errors import Code, IdentityCommandError
from network.home import Home
from network.identities import write_private
from network.topology import Organization

FORMAT: Final = 1
_RECORD: Final = "enrollment.json"
_CA_TLS: Final = "ca-tls.pem"


@dataclass(frozen=True)
class Place:
    """Where one identity's certificate and key of one purpose are kept.

    node: whether the topology has a peer or an orderer of that name.
    """

    organization: str
    name: str
    profile: Profile
    base: Path
    node: bool

    @property
    def folder(self) -> Path:
        return self.base / ("tls" if self.profile is Profile.TLS else "msp")

    @property
    def stage(self) -> Path:
        return self.base / f".{self.folder.name}.new"

    @property
    def _aside(self) -> Path:
        return self.base / f".{self.folder.name}.old"

    def certificate_file(self, folder: Path) -> Path:
        inner = "cert.pem" if self.profile is Profile.TLS else "signcerts/cert.pem"
        return folder / inner

    def key_file(self, folder: Path) -> Path:
        inner = "key.pem" if self.profile is Profile.TLS else "keystore/key.pem"
        return folder / inner

    def recover(self) -> None:
        """Finish or undo a replacement that was cut off. Call it under `alone` only."""
        if not self.folder.exists():
            if self.certificate_file(self.stage).exists():
                self.stage.rename(self.folder)
            elif self._aside.exists():
                self._aside.rename(self.folder)
        shutil.rmtree(self._aside, ignore_errors=True)
        shutil.rmtree(self.stage, ignore_errors=True)

    def begin(self, key: bytes) -> None:
        """Write the key where the new folder is made; it is safe before the CA is asked."""
        write_private(self.key_file(self.stage), key)
        _sync(self.key_file(self.stage))

    def replace(self) -> None:
        """Put the finished new folder in the old one's place."""
        for path in (*self.stage.rglob("*"), self.stage):
            _sync(path)
        if self.folder.exists():
            self.folder.rename(self._aside)
        self.stage.rename(self.folder)
        _sync(self.base)
        shutil.rmtree(self._aside, ignore_errors=True)


@dataclass(frozen=True)
class Enrolled:
    """An identity on disk. authority: the CA that it was enrolled at, None when it was made by
    the development issuing."""

    place: Place
    certificate: x509.Certificate
    certificate_pem: bytes
    authority: CAAddress | None


def place(home: Home, organization: Organization, name: str, profile: Profile) -> Place:
    """Where the home layout keeps it: nodes/ for a peer or orderer of the topology, else users/.

    Raises IdentityCommandError for a name that is no file's.
    """
    if not name or name in {".", ".."} or not all(c.isalnum() or c in "._-@" for c in name):
        raise IdentityCommandError(
            Code.NOT_REGISTERED, f"{name!r} can't be an identity's name here: letters, digits, ._-@"
        )
    nodes = {peer.name for peer in organization.peers}
    nodes |= {orderer.name for orderer in organization.orderers}
    locate = home.node if name in nodes else home.user
    return Place(organization.name, name, profile, locate(organization.name, name), name in nodes)


def load(where: Place) -> Enrolled | None:
    """What is kept there; None when nothing is. Raises IdentityCommandError."""
    try:
        pem = where.certificate_file(where.folder).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityCommandError(Code.UNREADABLE, f"{error}") from error
    try:
        certificate = keys.load_certificate(pem)
    except IdentityCommandError as error:
        path = where.certificate_file(where.folder)
        raise IdentityCommandError(Code.UNREADABLE, f"{path}: {error}") from error
    return Enrolled(where, certificate, pem, _read_record(where.folder))


def private_key(where: Place) -> bytes:
    """The key in PEM. Raises IdentityCommandError `unreadable_identity`."""
    try:
        return where.key_file(where.folder).read_bytes()
    except OSError as error:
        raise IdentityCommandError(Code.UNREADABLE, f"the private key: {error}") from error


def write_record(folder: Path, address: CAAddress) -> None:
    """Remember where the identity was enrolled: re-enrolment needs no options then."""
    if address.tls_ca is not None:
        (folder / _CA_TLS).write_bytes(address.tls_ca.read_bytes())
    record = {
        "format": FORMAT,
        "ca": {"url": address.url, "name": address.name, "tls": address.tls_ca is not None},
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _read_record(folder: Path) -> CAAddress | None:
    path = folder / _RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise ValueError(f"format {record['format']}, this version reads {FORMAT}")
        found = record["ca"]
        trusted = folder / _CA_TLS if found["tls"] else None
        return CAAddress(str(found["url"]), str(found["name"]), trusted)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IdentityCommandError(Code.UNREADABLE, f"{path}: {error!r}") from error


def authorities(home: Home, organization: str, profile: Profile) -> tuple[x509.Certificate, ...]:
    """The organisation's CAs of a purpose, from its verifying MSP folder."""
    inner = "tlscacerts" if profile is Profile.TLS else "cacerts"
    folder = home.organization(organization) / "msp" / inner
    found = tuple(keys.load_certificate(path.read_bytes()) for path in sorted(folder.glob("*.pem")))
    if not found:
        raise IdentityCommandError(Code.UNREADABLE, f"there is no CA certificate in {folder}")
    return found


def crl_file(home: Home, organization: str) -> Path:
    """Where the organisation's revocation list is kept: Fabric's MSP folder has crls/."""
    return home.organization(organization) / "msp" / "crls" / "ca.pem"


@contextmanager
def alone(home: Home, organization: str) -> Iterator[None]:
    """One change of the organisation's identities at a time; another waits for it."""
    folder = home.organization(organization)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".identities.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
