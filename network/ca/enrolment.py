"""Enrol and re-enrol: a key made here, a certificate from the CA, and both where the home has them.

A private key never leaves this machine. What the CA answers is checked before it is kept; a
failure leaves what was there before.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from network.ca import keys, store
from network.ca.client import CAAddress, Caller, CertificateAuthority, Profile
from network.ca.errors import Code, IdentityCommandError
from network.ca.store import Enrolled, Place
from network.home import Home, write_text
from network.identities import node_units_config
from network.topology import Organization, Topology


@dataclass(frozen=True)
class Member:
    """An organisation of the network that a home is of."""

    home: Home
    topology: Topology
    organization: Organization

    def place(self, name: str, profile: Profile) -> Place:
        return store.place(self.home, self.organization, name, profile)


class Present(Enum):
    """What becomes of an identity that is there already."""

    KEEP = "keep"
    REPLACE = "replace"


class KeyChoice(Enum):
    """Which key the next certificate is for."""

    NEW = "new"
    SAME = "same"


@dataclass(frozen=True)
class Outcome:
    """The identity as it is now, and whether this call changed it."""

    enrolled: Enrolled
    changed: bool


@dataclass(frozen=True)
class EnrollRequest:
    """Whom to enrol, where, for what. hosts: further names of a TLS certificate."""

    name: str
    profile: Profile
    address: CAAddress
    hosts: tuple[str, ...]
    present: Present


def enroll(member: Member, request: EnrollRequest, secret: Callable[[], str]) -> Outcome:
    """Enrol with a name and a secret; unchanged when this CA's certificate is there and valid.

    secret: asked only when it is needed. Raises IdentityCommandError.
    """
    where = member.place(request.name, request.profile)
    with store.alone(member.home, member.organization.name):
        where.recover()
        current = store.load(where)
        if current is not None and request.present is Present.KEEP:
            return Outcome(_kept(current, request), changed=False)
        authority = CertificateAuthority(request.address)
        trusted = store.authorities(member.home, member.organization.name, request.profile)
        _check_authority(authority, trusted, member.organization.name)
        key, hosts = keys.new_key(), _hosts(member, where, request.hosts)
        csr = keys.signing_request(key, member.organization.name, request.name, hosts)
        expected = keys.Expected(request.name, key, trusted, hosts)

        def ask() -> bytes:
            return authority.enroll(request.name, secret(), csr, request.profile)

        return _obtain(member, where, expected, request.address, ask)


def reenroll(
    member: Member, name: str, profile: Profile, key_choice: KeyChoice, before: timedelta | None
) -> Outcome:
    """Another certificate from the CA that the present one is of, in the present one's name.

    before: unchanged unless the present one ends within this time; None for always. Raises
    IdentityCommandError `identity_expired` when it is too late for that.
    """
    where = member.place(name, profile)
    with store.alone(member.home, member.organization.name):
        where.recover()
        current = present(where)
        if before is not None and _left(current) > before:
            return Outcome(current, changed=False)
        caller, address = caller_of(current), address_of(current)
        authority = CertificateAuthority(address)
        trusted = store.authorities(member.home, member.organization.name, profile)
        key = caller.private_key if key_choice is KeyChoice.SAME else keys.new_key()
        hosts = keys.hosts_of(current.certificate) if profile is Profile.TLS else ()
        csr = keys.signing_request(key, member.organization.name, name, hosts)
        expected = keys.Expected(name, key, trusted, hosts)
        return _obtain(
            member, where, expected, address, lambda: authority.reenroll(caller, csr, profile)
        )


def present(where: Place) -> Enrolled:
    """The identity that is there. Raises IdentityCommandError `not_enrolled`."""
    current = store.load(where)
    if current is None:
        what = "TLS certificate" if where.profile is Profile.TLS else "identity"
        raise IdentityCommandError(
            Code.NOT_ENROLLED,
            f"there is no {what} of {where.name} ({where.organization}) on this machine: "
            f"`clearline identity enroll {where.name} --org {where.organization}` first",
        )
    return current


def address_of(current: Enrolled) -> CAAddress:
    """Where it was enrolled. Raises IdentityCommandError `not_enrolled`."""
    if current.authority is None:
        raise IdentityCommandError(
            Code.NOT_ENROLLED,
            f"{current.place.name} was made by the development issuing, not by a CA server: "
            f"`clearline identity enroll {current.place.name} --replace` makes it the CA's",
        )
    return current.authority


def caller_of(current: Enrolled) -> Caller:
    """The identity as somebody who may ask the CA. Raises IdentityCommandError."""
    if _left(current) <= timedelta(0):
        raise IdentityCommandError(
            Code.EXPIRED,
            f"{current.place.name}'s certificate ended on "
            f"{current.certificate.not_valid_after_utc:%Y-%m-%d}: the CA takes only a secret now, "
            "`clearline identity enroll --replace`",
        )
    key = keys.load_key(store.private_key(current.place))
    if key.public_key() != current.certificate.public_key():
        raise IdentityCommandError(
            Code.UNREADABLE, f"{current.place.folder}: the key is not the certificate's"
        )
    return Caller(current.place.name, current.certificate_pem, key)


def _left(current: Enrolled) -> timedelta:
    return current.certificate.not_valid_after_utc - datetime.now(UTC)


def _kept(current: Enrolled, request: EnrollRequest) -> Enrolled:
    known = current.authority
    same = known is not None and (known.url, known.name) == (
        request.address.url,
        request.address.name,
    )
    if same and _left(current) > timedelta(0):
        return current
    why = (
        "made by the development issuing" if known is None
        else "expired" if same
        else f"enrolled at {known.url}"
    )  # fmt: skip
    raise IdentityCommandError(
        Code.ALREADY_ENROLLED,
        f"there is a {request.name} ({current.place.organization}) already, {why}: "
        "--replace puts the new one in its place",
    )


def _check_authority(
    authority: CertificateAuthority, trusted: tuple[x509.Certificate, ...], organization: str
) -> None:
    """Before a secret is spent: a certificate of another CA would be refused by every node."""
    if authority.certificate() not in trusted:
        raise IdentityCommandError(
            Code.UNTRUSTED_CA,
            f"the CA at {authority.address.url} is not one of {organization}'s MSP in this "
            "network: no node would take its certificates",
        )


def _hosts(member: Member, where: Place, more: tuple[str, ...]) -> tuple[str, ...]:
    """A TLS certificate's names, those the development issuing gives and more."""
    if where.profile is not Profile.TLS:
        return ()
    peers = [(peer.name, peer.host) for peer in member.organization.peers]
    orderers = [(orderer.name, orderer.host) for orderer in member.organization.orderers]
    own = tuple(host for name, host in (*peers, *orderers) if name == where.name)
    name = where.name if where.node else f"{where.name}.{member.organization.name.lower()}"
    return tuple(dict.fromkeys((name, "localhost", "127.0.0.1", *own, *more)))


def _obtain(
    member: Member,
    where: Place,
    expected: keys.Expected,
    address: CAAddress,
    ask: Callable[[], bytes],
) -> Outcome:
    """Key on disk, certificate asked for, checked, and the folder replaced."""
    where.begin(keys.key_pem(expected.key))
    try:
        certificate = keys.load_certificate(ask())
        keys.check_issued(certificate, expected)
        _check_type(where, certificate)
        _write(member, where, certificate, address)
    except BaseException:
        shutil.rmtree(where.stage, ignore_errors=True)
        raise
    where.replace()
    if where.profile is Profile.IDENTITY and not where.node:
        _write_profile(member, where)
    return Outcome(present(where), changed=True)


def _check_type(where: Place, certificate: x509.Certificate) -> None:
    unit = keys.describe(certificate).unit
    allowed = ("peer", "orderer") if where.node else ("admin", "client")
    if unit not in allowed:
        raise IdentityCommandError(
            Code.WRONG_TYPE,
            f"the CA has {where.name} registered as {unit or 'none of the four types'}, here it "
            f"is {'a node' if where.node else 'a user'} ({' or '.join(allowed)}): nothing was "
            "kept. Peers and orderers are those of the network's topology.",
        )


def _write(member: Member, where: Place, certificate: x509.Certificate, address: CAAddress) -> None:
    stage, home = where.stage, member.home
    pem = certificate.public_bytes(Encoding.PEM)
    target = where.certificate_file(stage)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(pem)
    organization = home.organization(member.organization.name) / "msp"
    if where.profile is Profile.TLS:
        (stage / "ca.pem").write_bytes((organization / "tlscacerts" / "ca.pem").read_bytes())
    else:
        for inner in ("cacerts", "tlscacerts"):
            shutil.copytree(organization / inner, stage / inner)
        (stage / "config.yaml").write_text(node_units_config(), encoding="utf-8")
    store.write_record(stage, address)


def _write_profile(member: Member, where: Place) -> None:
    """A connection profile like those of the development issuing, unless there is one."""
    path = member.home.profile(member.organization.name, where.name)
    if path.exists() or not member.organization.peers:
        return
    peer = member.organization.peers[0]

    def relative(file: Path) -> str:
        return os.path.relpath(file, path.parent)

    tls = member.place(where.name, Profile.TLS)
    document = {
        "network": member.topology.network,
        "channel": member.topology.channel.id,
        "chaincode": member.topology.chaincode.name,
        "msp_id": member.organization.name,
        "certificate": relative(where.certificate_file(where.folder)),
        "private_key": relative(where.key_file(where.folder)),
        "tls_certificate": relative(tls.certificate_file(tls.folder)),
        "tls_private_key": relative(tls.key_file(tls.folder)),
        "peer": {
            "endpoint": peer.endpoint,
            "server_name": peer.name,
            "tls_ca": relative(
                member.home.organization(member.organization.name) / "tlsca" / "cert.pem"
            ),
        },
    }
    write_text(path, json.dumps(document, indent=2) + "\n")
