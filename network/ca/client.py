"""One CA of a Fabric CA server, typed: what hfc's dictionaries and tuples stand for ends here.

    ca = CertificateAuthority(CAAddress("https://localhost:7054", "", Path("ca-tls.pem")))
    issued = ca.enroll("alice", secret, csr, Profile.IDENTITY)

Every method raises IdentityCommandError. Endpoints: fabric-ca swagger-fabric-ca.json.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hfc.fabric_ca.caservice import CAService, Enrollment

from network.ca.adapter import AdaptedClient, curve
from network.ca.errors import Code, IdentityCommandError

_Result = TypeVar("_Result")

# RFC 5280's reasons as the server spells them (fabric-ca lib/serverrevoke.go).
REASONS: Final = (
    "unspecified", "keycompromise", "cacompromise", "affiliationchanged", "superseded",
    "cessationofoperation", "certificatehold", "privilegewithdrawn", "aacompromise",
)  # fmt: skip


class Profile(StrEnum):
    """What a certificate is for: an MSP identity, or TLS."""

    IDENTITY = "identity"
    TLS = "tls"


@dataclass(frozen=True)
class CAAddress:
    """Where a CA is. url: https://host:port. name: of the CA within the server, "" for its
    default one. tls_ca: PEM of the authority of the server's TLS certificate."""

    url: str
    name: str
    tls_ca: Path | None

    def check(self) -> None:
        """Raises IdentityCommandError unless secrets may be sent there."""
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
            raise IdentityCommandError(
                Code.CA_UNREACHABLE, f"{self.url!r} is no CA's address: https://host:port is"
            )
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise IdentityCommandError(
                Code.CA_INSECURE,
                f"secrets would go to {parts.hostname} in the clear: use https",
            )
        if self.tls_ca is not None and not self.tls_ca.is_file():
            raise IdentityCommandError(Code.CA_TLS, f"there is no file {self.tls_ca} (--ca-tls)")


@dataclass(frozen=True)
class Caller:
    """In whose name a request is made: a certificate that this CA issued, and its key."""

    name: str
    certificate: bytes
    private_key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Registration:
    """An identity to register. affiliation: None for the registrar's own, "." for the root.

    attributes: those that every certificate of the identity carries by default (ecert).
    held: those that the CA keeps without putting them into certificates (hf.Revoker and so on).
    max_enrollments: how often the secret may be used, -1 for as often as the CA allows.
    """

    name: str
    kind: str
    affiliation: str | None
    attributes: Mapping[str, str]
    held: Mapping[str, str]
    max_enrollments: int


@dataclass(frozen=True)
class Registered:
    """An identity as the CA knows it."""

    name: str
    kind: str
    affiliation: str
    attributes: Mapping[str, str]
    max_enrollments: int


@dataclass(frozen=True)
class RevokedCertificate:
    """A certificate that the CA revoked, both numbers in lower-case hexadecimal."""

    serial: str
    authority: str


class CertificateAuthority:
    """One CA, by HTTPS. Holds no connection and no secret."""

    def __init__(self, address: CAAddress) -> None:
        address.check()
        self.address = address
        trusted = None if address.tls_ca is None else str(address.tls_ca)
        url = address.url.rstrip("/")
        self._service = CAService(url, trusted, curve(), address.name)
        self._client = AdaptedClient(url, trusted, ca_name=address.name, cryptoPrimitives=curve())
        # CAService makes a client of its own; its calls go through the adapted one instead.
        self._service._ca_client = self._client

    def certificate(self) -> x509.Certificate:
        """The CA's own certificate, which issues all others."""
        # Not hfc's get_cainfo: it takes an answer for a failure unless the CA was named.
        answer, _ = self._client._send_ca_post(
            "cainfo", json=self._body({}), verify=self._client._ca_certs_path
        )
        return _first_certificate(_decoded(answer["result"], "CAChain"))

    def enroll(
        self, name: str, secret: str, request: x509.CertificateSigningRequest, profile: Profile
    ) -> bytes:
        """The certificate in PEM for a signing request whose common name is `name`."""
        enrolled = _typed(
            lambda: self._service.enroll(name, secret, request, _profile(profile)).cert
        )
        return bytes(enrolled)

    def reenroll(
        self, caller: Caller, request: x509.CertificateSigningRequest, profile: Profile
    ) -> bytes:
        """Another certificate in PEM for the caller; the present one stays valid."""
        # Not CAService.reenroll: it makes a key of its own and names neither CA nor profile.
        body = self._body({"certificate_request": request.public_bytes(Encoding.PEM).decode()})
        if _profile(profile):
            body["profile"] = _profile(profile)
        return bytes(self._as(caller, lambda who: self._client.reenroll(body, who)[0]))

    def register(self, caller: Caller, registration: Registration, secret: str) -> None:
        """Register with a secret of the caller's making."""
        attributes = [
            {"name": name, "value": value, "ecert": ecert}
            for group, ecert in ((registration.attributes, True), (registration.held, False))
            for name, value in group.items()
        ]
        body = self._body(
            {
                "id": registration.name,
                "type": registration.kind,
                "affiliation": registration.affiliation or "",
                "max_enrollments": registration.max_enrollments,
                "attrs": attributes,
                "secret": secret,
            }
        )
        self._as(caller, lambda who: self._client.register(body, who))

    def registered(self, caller: Caller, name: str) -> Registered:
        """One registered identity."""
        service = self._client.newIdentityService()
        answer = self._as(caller, lambda who: service.getOne(quote(name, safe=""), who))
        return _registered(answer["result"])

    def all_registered(self, caller: Caller) -> tuple[Registered, ...]:
        """The registered identities that the caller may see, by name."""
        service = self._client.newIdentityService()
        answer = self._as(caller, service.getAll)
        found = [_registered(item) for item in answer["result"]["identities"]]
        return tuple(sorted(found, key=lambda item: item.name))

    def revoke(self, caller: Caller, name: str, reason: str) -> tuple[RevokedCertificate, ...]:
        """Revoke an identity and all its certificates; empty when they were revoked already."""
        return self._revoke(caller, name, None, None, reason)

    def revoke_certificate(
        self, caller: Caller, certificate: x509.Certificate, reason: str
    ) -> tuple[RevokedCertificate, ...]:
        """Revoke one certificate; its identity may enrol again."""
        identifier = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
        authority = (identifier.value.key_identifier or b"").hex()
        return self._revoke(caller, None, authority, f"{certificate.serial_number:x}", reason)

    def crl(self, caller: Caller) -> bytes:
        """The CA's present list of revoked certificates, PEM."""
        encoded = self._as(
            caller, lambda who: self._service.generateCRL(None, None, None, None, who)
        )
        return _base64(encoded)

    def _revoke(
        self, caller: Caller, name: str | None, authority: str | None, serial: str | None,
        reason: str,
    ) -> tuple[RevokedCertificate, ...]:  # fmt: skip
        # Not Enrollment.revoke: its list of reasons has one that the server doesn't know.
        found, _ = self._as(
            caller,
            lambda who: self._service.revoke(name, authority, serial, reason, False, who),
        )
        return tuple(
            RevokedCertificate(item["Serial"].lower(), item["AKI"].lower()) for item in found or ()
        )

    def _body(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {**fields, "caname": self.address.name} if self.address.name else fields

    def _as(self, caller: Caller, call: Callable[[Any], _Result]) -> _Result:
        """Call as an enrolled identity; a refusal of its certificate told apart."""
        who = Enrollment(caller.private_key, caller.certificate)
        try:
            return _typed(lambda: call(who))
        except IdentityCommandError as error:
            if error.code is not Code.CALLER_REFUSED:
                raise
            raise self._refused(caller) from error

    def _refused(self, caller: Caller) -> IdentityCommandError:
        """The server says only "Authentication failure" (NewAuthenticationErr)."""
        certificate = x509.load_pem_x509_certificate(caller.certificate)
        if not issued_by(certificate, self.certificate()):
            return IdentityCommandError(
                Code.UNTRUSTED_CA,
                f"{caller.name}'s certificate is not from the CA at {self.address.url}"
                + (f" named {self.address.name!r}" if self.address.name else ""),
            )
        return IdentityCommandError(
            Code.REVOKED,
            f"the CA doesn't take {caller.name}'s certificate any more: it is revoked "
            "(or this machine's clock and the CA's are far apart)",
        )


def issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the authority's key signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _profile(profile: Profile) -> str:
    """The signing profile's name in the server's configuration; "" is its default one."""
    return "tls" if profile is Profile.TLS else ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _typed(call: Callable[[], _Result]) -> _Result:
    """hfc's answers are dictionaries that it believes; what doesn't fit is no Fabric CA's."""
    try:
        return call()
    except IdentityCommandError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise IdentityCommandError(
            Code.CA_BAD_ANSWER, f"the CA's answer can't be understood ({type(error).__name__})"
        ) from error


def _registered(item: Any) -> Registered:
    return _typed(
        lambda: Registered(
            name=str(item["id"]),
            kind=str(item["type"]),
            affiliation=str(item["affiliation"]),
            attributes={str(a["name"]): str(a["value"]) for a in item["attrs"] or ()},
            max_enrollments=int(item["max_enrollments"]),
        )
    )


def _decoded(result: Any, member: str) -> bytes:
    return _base64(_typed(lambda: result[member]))


def _base64(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise IdentityCommandError(
            Code.CA_BAD_ANSWER, "the CA's answer can't be understood (base64)"
        ) from error


def _first_certificate(chain: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(chain)[0]
    except (ValueError, IndexError) as error:
        raise IdentityCommandError(
            Code.CA_BAD_ANSWER, "the CA's own certificate can't be read"
        ) from error
