"""Certificates and MSP folders are what a real Fabric node insists on (docs/fabric.md)."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from clearline.fabric.identity import X509Signer
from clearline.fabric.profile import Profile
from network import identities
from network.certificates import ATTRIBUTES_OID, create_authority, is_low_s, issue_identity
from network.home import Home

if TYPE_CHECKING:
    from conftest import Made

UNITS = {
    ("BankOne", "nodes/peer0.bankone"): "peer",
    ("BankTwo", "nodes/peer0.banktwo"): "peer",
    ("Supervisor", "nodes/peer0.supervisor"): "peer",
    ("Supervisor", "nodes/orderer0"): "orderer",
    ("BankOne", "users/admin"): "admin",
    ("BankOne", "users/gateway"): "client",
    ("Supervisor", "users/auditor"): "client",
}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def units(found: x509.Certificate) -> list[str]:
    names = found.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return [str(name.value) for name in names]


def has(found: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    try:
        found.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return False
    return True


def test_every_certificate_is_low_s_and_p256(made: Made) -> None:
    found = [path for path in (made.home.root / "crypto").rglob("*.pem") if path.stem != "key"]
    assert len(found) > 60
    for path in found:
        one = certificate(path)
        assert is_low_s(one), path
        key = one.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp256r1"


def test_low_s_is_not_luck() -> None:
    authority = create_authority("Org", "ca.org")
    for number in range(40):
        credential = issue_identity(authority, "Org", "client", f"user{number}")
        assert is_low_s(x509.load_pem_x509_certificate(credential.certificate))


@pytest.mark.parametrize("authority", ["ca", "tlsca", "ccca"])
def test_authorities_carry_what_nodes_die_without(made: Made, authority: str) -> None:
    one = certificate(made.home.organization("BankOne") / authority / "cert.pem")
    assert has(one, x509.SubjectKeyIdentifier)
    assert one.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = one.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign
    assert not has(one, x509.ExtendedKeyUsage)


@pytest.mark.parametrize(("place", "unit"), UNITS.items(), ids=[name for _, name in UNITS])
def test_exactly_one_unit_and_no_extended_usage(
    made: Made, place: tuple[str, str], unit: str
) -> None:
    organization, folder = place
    msp = made.home.organization(organization) / folder / "msp"
    one = certificate(msp / "signcerts" / "cert.pem")
    assert units(one) == [unit]
    assert not has(one, x509.ExtendedKeyUsage)
    one.verify_directly_issued_by(certificate(msp / "cacerts" / "ca.pem"))


@pytest.mark.parametrize(
    ("organization", "user", "role"),
    [
        ("BankOne", "gateway", "gateway"),
        ("BankOne", "connector", "connector"),
        ("BankTwo", "maker", "bank-maker"),
        ("BankTwo", "checker", "bank-checker"),
        ("Supervisor", "supervisor", "supervisor"),
        ("Supervisor", "auditor", "auditor"),
        ("BankOne", "admin", None),
    ],
)
def test_role_attribute(made: Made, organization: str, user: str, role: str | None) -> None:
    path = made.home.user(organization, user) / "msp" / "signcerts" / "cert.pem"
    extension = certificate(path).extensions.get_extension_for_oid(ATTRIBUTES_OID)
    assert not extension.critical
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    attributes = json.loads(extension.value.value)["attrs"]
    assert attributes.get("clearline.role") == role
    assert attributes["hf.EnrollmentID"] == user
    assert attributes["hf.Affiliation"] == organization.lower()
    assert attributes["hf.Type"] == ("admin" if role is None else "client")


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("crypto/BankOne/nodes/peer0.bankone/tls", "peer0.bankone"),
        ("crypto/Supervisor/nodes/orderer0/tls", "orderer0"),
        ("crypto/BankOne/services/gateway/tls", "gateway.bankone"),
        ("chaincode/BankOne/tls", "chaincode.bankone"),
        ("chaincode/BankOne/tls/client", "peer0.bankone"),
    ],
)
def test_tls_certificates(made: Made, folder: str, name: str) -> None:
    path = made.home.root / folder
    one = certificate(path / "cert.pem")
    names = one.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name, "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    usages = one.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {usage._name for usage in usages} == {"serverAuth", "clientAuth"}
    one.verify_directly_issued_by(certificate(path / "ca.pem"))


def test_chaincode_connection_has_an_authority_of_its_own(made: Made) -> None:
    server_roots = certificate(made.home.chaincode("BankOne") / "tls" / "ca.pem")
    user = certificate(made.home.user("BankOne", "gateway") / "tls" / "cert.pem")
    with pytest.raises(ValueError, match="does not match certificate issuer"):
        user.verify_directly_issued_by(server_roots)


def test_private_keys_are_readable_by_their_owner_only(made: Made) -> None:
    keys = list(made.home.root.rglob("key.pem"))
    assert len(keys) > 40
    for path in keys:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
        load_pem_private_key(path.read_bytes(), None)


def test_msp_folder_has_all_four_units_and_no_admincerts(made: Made) -> None:
    msp = made.home.node("BankOne", "peer0.bankone") / "msp"
    node_ous = yaml.safe_load((msp / "config.yaml").read_text(encoding="utf-8"))["NodeOUs"]
    assert node_ous.pop("Enable") is True
    assert {item["OrganizationalUnitIdentifier"] for item in node_ous.values()} == {
        "client",
        "peer",
        "admin",
        "orderer",
    }
    assert all((msp / item["Certificate"]).is_file() for item in node_ous.values())
    assert {entry.name for entry in msp.iterdir()} == {
        "config.yaml",
        "cacerts",
        "tlscacerts",
        "signcerts",
        "keystore",
    }


def test_profiles_lead_to_identities_that_sign(made: Made) -> None:
    for organization in made.topology.organizations:
        for user in organization.users:
            profile = Profile.load(made.home.profile(organization.name, user.name))
            signer = X509Signer.from_profile(profile)
            assert signer.msp_id == organization.name
            assert profile.peer.endpoint == organization.peers[0].endpoint
            assert profile.peer.tls_ca.is_file()
            profile.channel_credentials()


def test_making_everything_is_quick(tmp_path: Path, made: Made) -> None:
    began = time.monotonic()
    identities.create(Home(tmp_path), made.topology)
    assert time.monotonic() - began < 3
