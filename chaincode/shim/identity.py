"""Who submitted a transaction: MSP id, certificate, and its attributes.

Attributes are Fabric CA's certificate extension 1.2.3.4.5.6.7.8.1, JSON {"attrs": {...}}
(fabric-ca lib/attrmgr). The peer has checked the certificate's chain before the chaincode is
asked; here it is only read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier
from fabric_protos.msp import identities_pb2
from google.protobuf.message import DecodeError

from chaincode.shim.errors import ProposalError

ATTRIBUTES_OID = ObjectIdentifier("1.2.3.4.5.6.7.8.1")


@dataclass(frozen=True, slots=True)
class ClientIdentity:
    """The creator of a proposal.

    `certificate` is PEM as sent; `common_name` is the enrolment id of a Fabric CA certificate;
    `names_sha256` is over the DER of subject and issuer, in hex: a renewed certificate keeps it.
    """

    msp_id: str
    certificate: bytes
    common_name: str
    names_sha256: str
    attributes: Mapping[str, str]

    def attribute(self, name: str) -> str | None:
        """An attribute's value, None when the certificate has none of that name."""
        return self.attributes.get(name)


@lru_cache(maxsize=512)
def client_identity(creator: bytes) -> ClientIdentity:
    """Read a SerializedIdentity (fabric-protos msp/identities.proto); raises ProposalError."""
    try:
        serialized = identities_pb2.SerializedIdentity.FromString(creator)
        certificate = x509.load_pem_x509_certificate(serialized.id_bytes)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        subject_issuer = certificate.subject.public_bytes() + certificate.issuer.public_bytes()
        attributes = _attributes(certificate)
    except (DecodeError, ValueError) as error:
        raise ProposalError(f"the creator's certificate can't be read: {error}") from error
    return ClientIdentity(
        msp_id=serialized.mspid,
        certificate=serialized.id_bytes,
        common_name=str(names[0].value) if names else "",
        names_sha256=hashlib.sha256(subject_issuer).hexdigest(),
        attributes=MappingProxyType(attributes),
    )


def _attributes(certificate: x509.Certificate) -> dict[str, str]:
    try:
        extension = certificate.extensions.get_extension_for_oid(ATTRIBUTES_OID)
    except x509.ExtensionNotFound:
        return {}
    if not isinstance(extension.value, x509.UnrecognizedExtension):
        raise ProposalError("the attribute extension has another type")
    # json.loads takes the last of two members of one name; a CA's signature covers the bytes,
    # and every endorser reads them with this code.
    content = json.loads(extension.value.value)
    attributes = content.get("attrs") if isinstance(content, dict) else None
    if not isinstance(attributes, dict):
        raise ProposalError('the attribute extension is not {"attrs": {...}}')
    return {name: value for name, value in attributes.items() if isinstance(value, str)}
