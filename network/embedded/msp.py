"""Membership: which certificates are whose, and what they may stand for.

Written after Fabric's msp package (msp/mspimpl.go, mspimplsetup.go, mspimplvalidate.go,
mspmgrimpl.go) at MSP version 3.0, which a channel with capability V3_0 uses. Idemix is left out.

    manager = MSPManager([MSP.from_config(fabric_msp_config), ...])
    identity = manager.deserialize(creator)      # cached by bytes
    identity.validate(); identity.verify(message, signature); identity.satisfies(principal)

An identity's certificate that has expired still validates: blocks are judged alike at any time.
Callers at a door check `identity.expires_at` themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from cryptography.x509.oid import NameOID
from fabric_protos.msp import identities_pb2, msp_config_pb2, msp_principal_pb2
from google.protobuf.message import DecodeError

from network.embedded import certificates
from network.embedded.certificates import CertificateError

_CACHED_IDENTITIES = 4096
_CACHED_PRINCIPALS = 1024
_ROLE = msp_principal_pb2.MSPRole
_CLASS = msp_principal_pb2.MSPPrincipal
_ROLE_NAMES = {number: name for name, number in _ROLE.MSPRoleType.items()}

_ECDSA = ec.ECDSA(hashes.SHA256())
_ECDSA_OF_DIGEST = ec.ECDSA(Prehashed(hashes.SHA256()))


class MSPError(ValueError):
    """An identity, signature or MSP definition that Fabric wouldn't take; the text says why."""


@dataclass(frozen=True)
class OrganizationalUnit:
    """An OU of a certificate, or one an MSP recognises.

    certifiers: SHA-256 over the CA chain (issuer first), or b"" for any.
    """

    name: str
    certifiers: bytes


@dataclass(frozen=True)
class NodeOUs:
    """OUs that tell clients, peers, admins and orderers apart; None where not defined."""

    client: OrganizationalUnit | None = None
    peer: OrganizationalUnit | None = None
    admin: OrganizationalUnit | None = None
    orderer: OrganizationalUnit | None = None

    def all(self) -> dict[str, OrganizationalUnit]:
        """The defined ones by name."""
        units = (self.client, self.peer, self.admin, self.orderer)
        return {unit.name: unit for unit in units if unit is not None}

    def of_role(self, role: int) -> OrganizationalUnit | None:
        """The OU of a common MSPRole number, None where the role has none."""
        return {
            int(_ROLE.CLIENT): self.client,
            int(_ROLE.PEER): self.peer,
            int(_ROLE.ADMIN): self.admin,
            int(_ROLE.ORDERER): self.orderer,
        }.get(role)


class Identity:
    """A certificate under an MSP, made by `MSP.identity`; immutable but for caches."""

    def __init__(self, msp: MSP, certificate: x509.Certificate) -> None:
        """Raises CertificateError, MSPError or what `cryptography` does (see `MSP.identity`)."""
        chain = certificates.unique_chain(certificate, msp.pool)
        if len(chain) < 2:
            raise MSPError("a CA certificate can't be used as an identity")
        self.certificate = certificates.sanitize(certificate, chain[1])
        self.msp = msp
        self.msp_id = msp.msp_id
        self.chain: certificates.Chain = (self.certificate, *chain[1:])
        self.key: tuple[str, str] = (
            msp.msp_id,
            hashlib.sha256(certificates.der(self.certificate)).hexdigest(),
        )
        self.expires_at: datetime = certificate.not_valid_after_utc
        self.ous: tuple[OrganizationalUnit, ...] = _units(self.chain)
        self._public_key = certificate.public_key()
        self._half_order = 0
        if isinstance(self._public_key, ec.EllipticCurvePublicKey):
            self._half_order = certificates.CURVE_ORDERS.get(self._public_key.curve.name, 0) // 2
        self._validated: str | None = None
        self._principals: dict[tuple[int, bytes], str] = {}

    def verify(self, message: bytes, signature: bytes, digest: bytes | None = None) -> None:
        """Check a signature over the message: ECDSA with SHA-256 and low S, or Ed25519.

        `digest` is the message's SHA-256, where it is known. Raises MSPError.
        """
        key = self._public_key
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
                return
            if not isinstance(key, ec.EllipticCurvePublicKey) or not self._half_order:
                raise MSPError("unsupported public key")
            r, s = certificates.split_signature(signature)
            if s > self._half_order:
                raise MSPError("Invalid S. Must be smaller than half the order")
            strict = encode_dss_signature(r, s)
            if digest is None:
                key.verify(strict, message, _ECDSA)
            else:
                key.verify(strict, digest, _ECDSA_OF_DIGEST)
        except InvalidSignature as error:
            raise MSPError("The signature is invalid") from error
        except CertificateError as error:
            raise MSPError(f"could not determine the validity of the signature: {error}") from error

    def validate(self) -> None:
        """Check key type, chain, revocation and OUs under the MSP. Raises MSPError; cached."""
        if self._validated is None:
            try:
                self.msp.check(self)
                self._validated = ""
            except (MSPError, CertificateError) as error:
                self._validated = str(error)
        if self._validated:
            raise MSPError(self._validated)

    def check_principal(self, principal: Any) -> None:
        """Check that the identity satisfies an msp.MSPPrincipal. Raises MSPError; cached."""
        key = (int(principal.principal_classification), bytes(principal.principal))
        reason = self._principals.get(key)
        if reason is None:
            try:
                self.msp.check_principal(self, principal)
                reason = ""
            except (MSPError, CertificateError) as error:
                reason = str(error) or "not satisfied"
            if len(self._principals) >= _CACHED_PRINCIPALS:
                self._principals.clear()
            self._principals[key] = reason
        if reason:
            raise MSPError(reason)

    def satisfies(self, principal: Any) -> bool:
        """Whether the identity satisfies an msp.MSPPrincipal."""
        try:
            self.check_principal(principal)
        except MSPError:
            return False
        return True


def _units(chain: certificates.Chain) -> tuple[OrganizationalUnit, ...]:
    certifiers = _certifiers(chain[1:])
    names = chain[0].subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return tuple(OrganizationalUnit(str(name.value), certifiers) for name in names)


def _certifiers(chain: Sequence[x509.Certificate]) -> bytes:
    return hashlib.sha256(b"".join(certificates.der(item) for item in chain)).digest()


class MSP:
    """One organisation's rules of membership, from its msp.FabricMSPConfig."""

    def __init__(self, config: Any) -> None:
        """Raises MSPError when the definition can't be used."""
        self.msp_id: str = config.name
        self.tls_root_certs: tuple[bytes, ...] = tuple(config.tls_root_certs)
        self.tls_intermediate_certs: tuple[bytes, ...] = tuple(config.tls_intermediate_certs)
        try:
            self._revocations = tuple(map(certificates.load_crl, config.revocation_list))
            self.pool = certificates.trusted_pool(
                config.root_certs, config.intermediate_certs, self._revocations
            )
            self._parents = certificates.internal_nodes(self.pool)
            self._recognised = self._setup_recognised(config)
            self.node_ous = self._setup_node_ous(config)
            self._admins = frozenset(self._setup_admins(config))
        except CertificateError as error:
            raise MSPError(f"MSP {self.msp_id}: {error}") from error

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Build from a msp.FabricMSPConfig message. Raises MSPError."""
        return cls(config)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Build from a serialised msp.MSPConfig of type FABRIC. Raises MSPError."""
        outer = msp_config_pb2.MSPConfig()
        inner = msp_config_pb2.FabricMSPConfig()
        try:
            outer.ParseFromString(raw)
            if outer.type != 0:
                raise MSPError(f"MSP type {outer.type} is not supported: only FABRIC (0) is")
            inner.ParseFromString(outer.config)
        except DecodeError as error:
            raise MSPError("failed unmarshalling fabric msp config") from error
        return cls(inner)

    def identity(self, certificate_pem: bytes) -> Identity:
        """The identity of a PEM certificate under this MSP. Raises MSPError."""
        try:
            return Identity(self, certificates.from_pem(certificate_pem))
        except MSPError:
            raise
        except Exception as error:
            # X.509 parsing has many ways to fail on hostile bytes, not all of them ValueError.
            raise MSPError(str(error)) from error

    def check(self, identity: Identity) -> None:
        """Key type, chain, revocation, OUs (msp/mspimplvalidate.go validateIdentity).

        Raises MSPError or CertificateError.
        """
        key = identity.certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            raise MSPError("could not validate identity's public key algorithm")
        if certificates.is_ca(identity.certificate):
            raise MSPError("a CA certificate cannot be used as an identity")
        if certificates.der(identity.chain[1]) in self._parents:
            raise MSPError(
                "invalid validation chain. Parent certificate should be a leaf of the "
                "certification tree"
            )
        certificates.check_revocation(identity.certificate, identity.chain[1], self._revocations)
        self._check_units(identity)

    def check_principal(self, identity: Identity, principal: Any) -> None:
        """As Fabric's satisfiesPrincipalInternalV142. Raises MSPError or CertificateError."""
        kind = principal.principal_classification
        try:
            if kind == _CLASS.ROLE:
                role = _ROLE.FromString(principal.principal)
                self._check_role(identity, role)
            elif kind == _CLASS.ORGANIZATION_UNIT:
                unit = msp_principal_pb2.OrganizationUnit.FromString(principal.principal)
                self._check_organization_unit(identity, unit)
            elif kind == _CLASS.IDENTITY:
                self._check_same(identity, principal.principal)
            elif kind == _CLASS.ANONYMITY:
                wanted = msp_principal_pb2.MSPIdentityAnonymity.FromString(principal.principal)
                if wanted.anonymity_type != msp_principal_pb2.MSPIdentityAnonymity.NOMINAL:
                    raise MSPError("X.509 MSP does not support anonymous identities")
            elif kind == _CLASS.COMBINED:
                combined = msp_principal_pb2.CombinedPrincipal.FromString(principal.principal)
                if not combined.principals:
                    raise MSPError("No principals in CombinedPrincipal")
                for item in combined.principals:
                    self.check_principal(identity, item)
            else:
                raise MSPError(f"invalid principal type {kind}")
        except DecodeError as error:
            raise MSPError("could not unmarshal principal") from error

    def _check_role(self, identity: Identity, role: Any) -> None:
        if role.msp_identifier != self.msp_id:
            raise MSPError(
                f"the identity is a member of a different MSP (expected {role.msp_identifier}, "
                f"got {identity.msp_id})"
            )
        if role.role == _ROLE.ADMIN and identity.key[1] in self._admins:
            return
        if role.role == _ROLE.ADMIN and self.node_ous is None:
            raise MSPError("This identity is not an admin")
        identity.validate()
        if role.role == _ROLE.MEMBER:
            return
        unit = self.node_ous.of_role(role.role) if self.node_ous is not None else None
        # The certifiers were compared by validate(); here the name decides (hasOURoleInternal).
        if unit is None or all(item.name != unit.name for item in identity.ous):
            name = _ROLE_NAMES.get(role.role, role.role)
            raise MSPError(f"The identity is not a [{name}] under this MSP [{self.msp_id}]")

    def _check_organization_unit(self, identity: Identity, unit: Any) -> None:
        if unit.msp_identifier != self.msp_id:
            raise MSPError("the identity is a member of a different MSP")
        identity.validate()
        wanted = OrganizationalUnit(unit.organizational_unit_identifier, unit.certifiers_identifier)
        if wanted not in identity.ous:
            raise MSPError("The identities do not match")

    def _check_same(self, identity: Identity, serialized: bytes) -> None:
        wanted = identities_pb2.SerializedIdentity.FromString(serialized)
        if wanted.mspid != self.msp_id:
            raise MSPError(f"expected MSP ID {self.msp_id}, received {wanted.mspid}")
        named = self.identity(wanted.id_bytes)
        if named.key != identity.key:
            raise MSPError("The identities do not match")
        named.validate()

    def _check_units(self, identity: Identity) -> None:
        """msp/mspimplvalidate.go validateIdentityOUsV142."""
        if self._recognised and not self._recognised.intersection(identity.ous):
            raise MSPError(f"none of the identity's organizational units are in MSP {self.msp_id}")
        if self.node_ous is None:
            return
        roles = self.node_ous.all()
        count = 0
        for unit in identity.ous:
            role = roles.get(unit.name)
            if role is None:
                continue
            if role.certifiers and role.certifiers != unit.certifiers:
                raise MSPError(f"certifiersIdentifier does not match, MSP: [{self.msp_id}]")
            count += 1
        if count != 1:
            names = [unit.name for unit in identity.ous]
            raise MSPError(
                "the identity must have exactly one of the client, peer, orderer or admin OUs. "
                f"OUs: {names}, MSP: [{self.msp_id}]"
            )

    def _setup_recognised(self, config: Any) -> frozenset[OrganizationalUnit]:
        return frozenset(
            OrganizationalUnit(
                item.organizational_unit_identifier, self._certifiers_of(item.certificate)
            )
            for item in config.organizational_unit_identifiers
        )

    def _setup_node_ous(self, config: Any) -> NodeOUs | None:
        """The four OUs, None when they aren't enforced."""
        if not config.HasField("fabric_node_ous") or not config.fabric_node_ous.enable:
            return None
        units: list[OrganizationalUnit | None] = []
        for name in ("client", "peer", "admin", "orderer"):
            field = f"{name}_ou_identifier"
            if not config.fabric_node_ous.HasField(field):
                units.append(None)
                continue
            item = getattr(config.fabric_node_ous, field)
            certifiers = self._certifiers_of(item.certificate) if item.certificate else b""
            units.append(OrganizationalUnit(item.organizational_unit_identifier, certifiers))
        return NodeOUs(*units) if any(units) else None

    def _setup_admins(self, config: Any) -> list[str]:
        admins = [self.identity(item) for item in config.admins]
        if not admins and (self.node_ous is None or self.node_ous.admin is None):
            raise MSPError(
                f"MSP {self.msp_id}: administrators must be declared when no admin ou "
                "classification is set"
            )
        for index, admin in enumerate(admins):
            if self.node_ous is None:
                admin.validate()
                continue
            allowed = {unit.name for unit in (self.node_ous.client, self.node_ous.admin) if unit}
            if not allowed.intersection(unit.name for unit in admin.ous):
                raise MSPError(f"MSP {self.msp_id}: admin {index} is neither client nor admin")
        return [admin.key[1] for admin in admins]

    def _certifiers_of(self, ca_pem: bytes) -> bytes:
        """msp/mspimplsetup.go getCertifiersIdentifier."""
        ca = certificates.sanitized_ca(certificates.from_pem(ca_pem), self.pool)
        if ca in self.pool.roots:
            return _certifiers((ca,))
        if ca not in self.pool.intermediates:
            raise MSPError("Failed adding OU. Certificate not in root or intermediate certs.")
        return _certifiers(certificates.unique_chain(ca, self.pool))


class MSPManager:
    """The MSPs of a channel; identities are cached by their serialised bytes."""

    def __init__(self, msps: Iterable[MSP]) -> None:
        self.msps: dict[str, MSP] = {msp.msp_id: msp for msp in msps}
        self._identities: dict[bytes, Identity] = {}

    def deserialize(self, creator: bytes) -> Identity:
        """The identity of a serialised msp.SerializedIdentity.

        Raises MSPError: not parsable, unknown MSP, or not issued by the MSP's CAs.
        """
        identity = self._identities.get(creator)
        if identity is not None:
            return identity
        try:
            message = identities_pb2.SerializedIdentity.FromString(creator)
        except DecodeError as error:
            raise MSPError("could not deserialize a SerializedIdentity") from error
        msp = self.msps.get(message.mspid)
        if msp is None:
            raise MSPError(f"MSP {message.mspid} is not defined on channel")
        identity = msp.identity(message.id_bytes)
        if len(self._identities) >= _CACHED_IDENTITIES:
            # The oldest goes: a flood of strangers can't grow the cache.
            del self._identities[next(iter(self._identities))]
        self._identities[bytes(creator)] = identity
        return identity
