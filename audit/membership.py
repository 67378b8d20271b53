"""Who signed: certificates held against the organisations of the channel's configuration.

Semantics: Fabric's msp/mspimpl.go and msp/mspimplsetup.go (NodeOUs), bccsp/sw/ecdsa.go (low-S).
Expired certificates still count in blocks: what was signed in time stays signed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID
from fabric_protos.msp import identities_pb2, msp_config_pb2, msp_principal_pb2

_ATTRIBUTES: Final = x509.ObjectIdentifier("1.2.3.4.5.6.7.8.1")
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_KINDS: Final = ("client", "peer", "admin", "orderer")


class MembershipError(ValueError):
    """An identity is none of the channel's, or did not sign this."""


class Signed(NamedTuple):
    """A signature and what it is said to be: by whom (a SerializedIdentity), over what."""

    creator: bytes
    message: bytes
    signature: bytes


@dataclass(frozen=True)
class Identity:
    """A verified member of an organisation; `kind` is client, peer, admin or orderer, and
    `certificate` the SHA-256 of its certificate (DER, hex)."""

    msp_id: str
    kind: str
    role: str
    person: str
    key: ec.EllipticCurvePublicKey
    certificate: str

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise MembershipError unless this identity signed `message` (SHA-256, low-S)."""
        try:
            _, s = decode_dss_signature(signature)
            if s > _P256_ORDER // 2:
                raise MembershipError("the signature is not low-S")
            self.key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            raise MembershipError("the signature does not match") from None
        except MembershipError:
            raise
        except ValueError:
            raise MembershipError("the signature is not DER") from None

    def satisfies(self, principal: Any) -> bool:
        """Whether this identity is what an MSPPrincipal of kind ROLE asks for."""
        if principal.principal_classification != msp_principal_pb2.MSPPrincipal.ROLE:
            return False
        wanted = msp_principal_pb2.MSPRole()
        wanted.ParseFromString(principal.principal)
        if wanted.msp_identifier != self.msp_id:
            return False
        name = str(msp_principal_pb2.MSPRole.MSPRoleType.Name(wanted.role)).lower()
        return name in ("member", self.kind)


class Organization:
    """One MSP of the channel: its roots, its OUs, its revoked certificates."""

    def __init__(self, config: bytes) -> None:
        msp = msp_config_pb2.FabricMSPConfig()
        msp.ParseFromString(config)
        self.msp_id = str(msp.name)
        self._roots = [
            x509.load_pem_x509_certificate(pem)
            for pem in [*msp.root_certs, *msp.intermediate_certs]
        ]
        self._revoked = {
            (revoked.serial_number, crl.issuer)
            for crl in map(x509.load_pem_x509_crl, msp.revocation_list)
            for revoked in crl
        }
        ous = msp.fabric_node_ous
        if not ous.enable:
            raise MembershipError(f"{self.msp_id} has no NodeOUs: kinds of member can't be told")
        self._kind_of = {
            str(getattr(ous, f"{kind}_ou_identifier").organizational_unit_identifier): kind
            for kind in _KINDS
        }

    def member(self, pem: bytes) -> Identity:
        """The identity of a certificate. Raises MembershipError when it is not a member's."""
        try:
            certificate = x509.load_pem_x509_certificate(pem)
        except ValueError:
            raise MembershipError("not a certificate") from None
        self._check_chain(certificate)
        units = [
            str(attribute.value)
            for attribute in certificate.subject.get_attributes_for_oid(
                NameOID.ORGANIZATIONAL_UNIT_NAME
            )
        ]
        kinds = [self._kind_of[unit] for unit in units if unit in self._kind_of]
        if len(kinds) != 1:
            raise MembershipError(f"{self.msp_id}: the certificate has {len(kinds)} kinds of OU")
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise MembershipError("not an ECDSA certificate")
        fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
        return Identity(
            self.msp_id, kinds[0], _role(certificate), _person(certificate), key, fingerprint
        )

    def _check_chain(self, certificate: x509.Certificate) -> None:
        if (certificate.serial_number, certificate.issuer) in self._revoked:
            raise MembershipError(f"{self.msp_id}: the certificate is revoked")
        for root in self._roots:
            try:
                certificate.verify_directly_issued_by(root)
                return
            except (ValueError, TypeError, InvalidSignature):
                continue
        raise MembershipError(f"{self.msp_id} did not issue the certificate")


class Membership:
    """The organisations of one channel configuration; identities are cached by their bytes."""

    def __init__(self, organizations: list[Organization]) -> None:
        self._organizations = {one.msp_id: one for one in organizations}
        self._known: dict[bytes, Identity] = {}

    def identity(self, serialized: bytes) -> Identity:
        """The member a SerializedIdentity names. Raises MembershipError."""
        known = self._known.get(serialized)
        if known is None:
            named = identities_pb2.SerializedIdentity()
            try:
                named.ParseFromString(serialized)
            except ValueError:
                raise MembershipError("not an identity") from None
            organization = self._organizations.get(named.mspid)
            if organization is None:
                raise MembershipError(f"{named.mspid!r} is no organisation of the channel")
            known = self._known[serialized] = organization.member(named.id_bytes)
        return known

    def signers(self, signed: Iterable[Signed]) -> list[Identity]:
        """The distinct members whose signatures match, in their order; what does not match beside
        them counts for nothing.

        One certificate written in two ways is one signer (Fabric's common/policies/policy.go
        SignatureSetToValidIdentities).
        """
        found: dict[tuple[str, str], Identity] = {}
        for one in signed:
            try:
                identity = self.identity(one.creator)
                identity.verify(one.message, one.signature)
            except MembershipError:
                continue
            found.setdefault((identity.msp_id, identity.certificate), identity)
        return list(found.values())


def _role(certificate: x509.Certificate) -> str:
    try:
        extension = certificate.extensions.get_extension_for_oid(_ATTRIBUTES)
    except x509.ExtensionNotFound:
        return ""
    if not isinstance(extension.value, x509.UnrecognizedExtension):
        return ""
    try:
        return str(json.loads(extension.value.value)["attrs"].get("clearline.role", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


def _person(certificate: x509.Certificate) -> str:
    named = certificate.subject.public_bytes() + certificate.issuer.public_bytes()
    return hashlib.sha256(named).hexdigest()
