"""What a registrar does at the CA: register, list, revoke, fetch the list of revoked certificates.

A registrar is an identity enrolled on this machine whose CA it then speaks to.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509

from network.ca import enrolment, store
from network.ca.client import (
    Caller,
    CertificateAuthority,
    Profile,
    Registered,
    Registration,
    RevokedCertificate,
)
from network.ca.enrolment import Member
from network.ca.errors import Code, IdentityCommandError
from network.home import write_text
from network.identities import write_private

_SECRET_BYTES: Final = 24
# Kept after these: the CA may have taken the secret, and running again settles it.
_UNCERTAIN: Final = frozenset({Code.CA_UNREACHABLE, Code.CA_BAD_ANSWER})


@dataclass(frozen=True)
class Registrar:
    """A connection to a CA in an enrolled identity's name."""

    authority: CertificateAuthority
    caller: Caller


@dataclass(frozen=True)
class Secret:
    """An enrolment secret. file: where it is kept for whoever enrols, None when it was given."""

    value: str
    file: Path | None
    made: bool


def registrar(member: Member, name: str, profile: Profile) -> Registrar:
    """The identity `name` as its CA's caller. Raises IdentityCommandError."""
    current = enrolment.present(member.place(name, profile))
    return Registrar(
        CertificateAuthority(enrolment.address_of(current)), enrolment.caller_of(current)
    )


def secret_file(member: Member, name: str, ca_name: str) -> Path:
    """Where the secret of an identity registered here is kept until it is enrolled."""
    folder = member.home.organization(member.organization.name) / "secrets"
    where = member.place(name, Profile.IDENTITY)
    return folder / (f"{where.name}@{ca_name}" if ca_name else where.name)


def make_secret(path: Path) -> Secret:
    """A new secret, in a file of mode 0600 before anybody is told; the one there if there is."""
    try:
        return Secret(path.read_text(encoding="utf-8").strip(), path, made=False)
    except FileNotFoundError:
        value = secrets.token_urlsafe(_SECRET_BYTES)
        write_private(path, value.encode() + b"\n")
        return Secret(value, path, made=True)
    except (OSError, UnicodeDecodeError) as error:
        raise IdentityCommandError(Code.UNREADABLE, f"the secret's file: {error}") from error


def register(who: Registrar, registration: Registration, secret: Secret) -> bool:
    """Register an identity; False when it was registered so already.

    Raises IdentityCommandError `already_registered` when it is registered otherwise, or with a
    secret that this machine doesn't have.
    """
    try:
        who.authority.register(who.caller, registration, secret.value)
        return True
    except IdentityCommandError as error:
        if secret.made and secret.file is not None and error.code not in _UNCERTAIN:
            secret.file.unlink(missing_ok=True)
        if error.code is not Code.ALREADY_REGISTERED:
            raise
        known = who.authority.registered(who.caller, registration.name)
        differences = _differences(known, registration)
        if not differences and not secret.made:
            return False
        text = f"{registration.name} is registered already"
        if differences:
            raise IdentityCommandError(error.code, f"{text}, with {differences}") from error
        raise IdentityCommandError(
            error.code, f"{text}; its secret is not on this machine and the CA doesn't tell it"
        ) from error


def _differences(known: Registered, wanted: Registration) -> str:
    found = []
    if known.kind != wanted.kind:
        found.append(f"type {known.kind}")
    if wanted.affiliation is not None and known.affiliation != wanted.affiliation.lstrip("."):
        found.append(f"affiliation {known.affiliation!r}")
    for name, value in {**wanted.attributes, **wanted.held}.items():
        if known.attributes.get(name) != value:
            found.append(f"{name} {known.attributes.get(name)!r}")
    if known.max_enrollments != wanted.max_enrollments:
        found.append(f"{known.max_enrollments} enrolments")
    return ", ".join(found)


def revoke(
    who: Registrar, name: str, certificate: x509.Certificate | None, reason: str
) -> tuple[RevokedCertificate, ...]:
    """Revoke an identity, or only one certificate of it; empty when that was done before."""
    if certificate is None:
        return who.authority.revoke(who.caller, name, reason)
    try:
        return who.authority.revoke_certificate(who.caller, certificate, reason)
    except IdentityCommandError as error:
        if error.code is Code.REVOKED and "already revoked" in str(error):
            return ()
        raise


@dataclass(frozen=True)
class RevocationList:
    """A CA's list of revoked certificates, checked. serials: as numbers. issuer: the CA."""

    pem: bytes
    serials: frozenset[int]
    issuer: x509.Certificate


def read_list(pem: bytes, authorities: tuple[x509.Certificate, ...]) -> RevocationList:
    """Raises IdentityCommandError `bad_crl`: not a list, or signed by none of `authorities`.

    A channel takes only lists whose AuthorityKeyIdentifier names the CA (msp/mspimplvalidate.go).
    """
    try:
        found = x509.load_pem_x509_crl(pem)
        found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (ValueError, x509.ExtensionNotFound) as error:
        raise IdentityCommandError(
            Code.BAD_CRL, "not a CRL in PEM with an AuthorityKeyIdentifier"
        ) from error
    for authority in authorities:
        key = authority.public_key()
        if found.issuer == authority.subject and found.is_signature_valid(key):  # type: ignore[arg-type]
            return RevocationList(pem, frozenset(item.serial_number for item in found), authority)
    raise IdentityCommandError(Code.BAD_CRL, "the CRL is signed by no CA of the organisation's MSP")


def fetch_list(member: Member, who: Callable[[], Registrar], file: Path | None) -> RevocationList:
    """The list from the CA, or from a file, kept in the organisation's MSP folder as crls/ca.pem.

    who: asked only without a file. Raises IdentityCommandError.
    """
    trusted = store.authorities(member.home, member.organization.name, Profile.IDENTITY)
    if file is None:
        registrar_ = who()
        pem = registrar_.authority.crl(registrar_.caller)
    else:
        try:
            pem = file.read_bytes()
        except OSError as error:
            raise IdentityCommandError(Code.BAD_CRL, f"{error}") from error
    found = read_list(pem, trusted)
    write_text(store.crl_file(member.home, member.organization.name), pem.decode("ascii"))
    return found


def revoked_serials(member: Member) -> frozenset[int]:
    """Of the list that was fetched last; empty without one."""
    trusted = store.authorities(member.home, member.organization.name, Profile.IDENTITY)
    try:
        pem = store.crl_file(member.home, member.organization.name).read_bytes()
    except FileNotFoundError:
        return frozenset()
    return read_list(pem, trusted).serials
