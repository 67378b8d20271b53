"""Everybody's certificates, written where the home layout says, and the connection profiles.

An organisation gets three authorities: one for identities (its MSP), one for TLS, and one that
issues only the two ends of its peer's connection to its chaincode server. The last is apart
because a TLS server takes any certificate of its client authority as the peer.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from network.certificates import (
    ROLE_ATTRIBUTE,
    Authority,
    Credential,
    create_authority,
    issue_identity,
    issue_tls,
)
from network.home import Home, write_text
from network.topology import Organization, Peer, Topology, User, chaincode_process

# Fabric's NodeOUs, all four (msp/configbuilder.go).
NODE_UNITS: Final = ("client", "peer", "admin", "orderer")


@dataclass(frozen=True)
class Authorities:
    """The authorities of one organisation."""

    identity: Authority
    tls: Authority
    chaincode: Authority


@dataclass(frozen=True)
class _Node:
    """A peer or an orderer, as far as its certificates tell them apart."""

    unit: str
    name: str
    host: str


def create(home: Home, topology: Topology) -> None:
    """Write crypto/ and profiles/ of every organisation, and chaincode/<Org>/tls/."""
    for organization in topology.organizations:
        authorities = Authorities(
            identity=create_authority(organization.name, f"ca.{organization.name.lower()}"),
            tls=create_authority(organization.name, f"tlsca.{organization.name.lower()}"),
            chaincode=create_authority(organization.name, f"ccca.{organization.name.lower()}"),
        )
        _write_organization(home, organization, authorities)
        for user in organization.users:
            _write_profile(home, topology, organization, user)


def _write_organization(home: Home, organization: Organization, authorities: Authorities) -> None:
    root = home.organization(organization.name)
    write_credential(root / "ca", authorities.identity.credential)
    write_credential(root / "tlsca", authorities.tls.credential)
    write_credential(root / "ccca", authorities.chaincode.credential)
    _write_verifying_msp(root / "msp", authorities)
    for peer in organization.peers:
        _write_node(home, organization, authorities, _Node("peer", peer.name, peer.host))
        _write_chaincode_tls(home, organization, authorities, peer)
    for orderer in organization.orderers:
        kind = _Node("orderer", orderer.name, orderer.host)
        _write_node(home, organization, authorities, kind)
    for user in organization.users:
        _write_user(home, organization, authorities, user)
    for service in organization.services:
        name = f"{service.name}.{organization.name.lower()}"
        credential = issue_tls(authorities.tls, organization.name, name, (service.host,))
        folder = home.service(organization.name, service.name)
        _write_tls(folder / "tls", credential, authorities.tls)


def _write_node(
    home: Home,
    organization: Organization,
    authorities: Authorities,
    node: _Node,
) -> None:
    folder = home.node(organization.name, node.name)
    identity = issue_identity(authorities.identity, organization.name, node.unit, node.name)
    _write_signing_msp(folder / "msp", authorities, identity)
    tls = issue_tls(authorities.tls, organization.name, node.name, (node.host,))
    _write_tls(folder / "tls", tls, authorities.tls)


def _write_user(
    home: Home, organization: Organization, authorities: Authorities, user: User
) -> None:
    folder = home.user(organization.name, user.name)
    attributes = {
        "hf.Affiliation": organization.name.lower(),
        "hf.EnrollmentID": user.name,
        "hf.Type": user.kind.value,
    }
    if user.role is not None:
        attributes[ROLE_ATTRIBUTE] = user.role.value
    identity = issue_identity(
        authorities.identity, organization.name, user.kind.value, user.name, attributes
    )
    _write_signing_msp(folder / "msp", authorities, identity)
    name = f"{user.name}.{organization.name.lower()}"
    # A gateway's link asks who connects for its role.
    role = {key: said for key, said in attributes.items() if key == ROLE_ATTRIBUTE}
    tls = issue_tls(authorities.tls, organization.name, name, (), role)
    _write_tls(folder / "tls", tls, authorities.tls)


def _write_chaincode_tls(
    home: Home, organization: Organization, authorities: Authorities, peer: Peer
) -> None:
    """The two ends between a peer and its chaincode server: server files, the peer's in client/."""
    folder = home.chaincode(organization.name) / "tls"
    server = chaincode_process(organization)
    issuer = authorities.chaincode
    _write_tls(folder, issue_tls(issuer, organization.name, server, (peer.host,)), issuer)
    client = issue_tls(issuer, organization.name, peer.name, ())
    _write_tls(folder / "client", client, issuer)


def _write_profile(home: Home, topology: Topology, organization: Organization, user: User) -> None:
    if not organization.peers:
        return
    peer = organization.peers[0]
    path = home.profile(organization.name, user.name)
    folder = home.user(organization.name, user.name)

    def relative(file: Path) -> str:
        return os.path.relpath(file, path.parent)

    profile = {
        "network": topology.network,
        "channel": topology.channel.id,
        "chaincode": topology.chaincode.name,
        "msp_id": organization.name,
        "certificate": relative(folder / "msp" / "signcerts" / "cert.pem"),
        "private_key": relative(folder / "msp" / "keystore" / "key.pem"),
        "tls_certificate": relative(folder / "tls" / "cert.pem"),
        "tls_private_key": relative(folder / "tls" / "key.pem"),
        "peer": {
            "endpoint": peer.endpoint,
            "server_name": peer.name,
            "tls_ca": relative(home.organization(organization.name) / "tlsca" / "cert.pem"),
        },
    }
    write_text(path, json.dumps(profile, indent=2) + "\n")


def node_units_config() -> str:
    """config.yaml of an MSP folder: NodeOUs on, each unit vouched for by cacerts/ca.pem."""
    lines = ["NodeOUs:", "  Enable: true"]
    for unit in NODE_UNITS:
        lines += [
            f"  {unit.capitalize()}OUIdentifier:",
            "    Certificate: cacerts/ca.pem",
            f"    OrganizationalUnitIdentifier: {unit}",
        ]
    return "\n".join(lines) + "\n"


def _write_verifying_msp(folder: Path, authorities: Authorities) -> None:
    _write(folder / "cacerts" / "ca.pem", authorities.identity.pem)
    _write(folder / "tlscacerts" / "ca.pem", authorities.tls.pem)
    _write(folder / "config.yaml", node_units_config().encode())


def _write_signing_msp(folder: Path, authorities: Authorities, identity: Credential) -> None:
    _write_verifying_msp(folder, authorities)
    _write(folder / "signcerts" / "cert.pem", identity.certificate)
    write_private(folder / "keystore" / "key.pem", identity.private_key)


def _write_tls(folder: Path, credential: Credential, issuer: Authority) -> None:
    write_credential(folder, credential)
    _write(folder / "ca.pem", issuer.pem)


def write_credential(folder: Path, credential: Credential) -> None:
    """cert.pem and key.pem, the key readable by its owner only."""
    _write(folder / "cert.pem", credential.certificate)
    write_private(folder / "key.pem", credential.private_key)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that is never readable by anybody else, not even while it is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
