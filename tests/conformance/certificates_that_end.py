"""Identities of BankOne's own CA that are no longer good: expired, or revoked while in use."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import certificate_kit as kit
from conformance_world import Caller, Network, Stack
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fabric_protos.msp import msp_config_pb2

from clearline.fabric.protoutil import serialized_identity
from network import channelchange
from network.channelchange import Administrator

OWNER = "BankOne"


def authority(network: Network) -> kit.Authority:
    """BankOne's CA for identities."""
    return kit.stored_authority(network.home.organization(OWNER) / "ca")


def expired(stack: Stack, folder: Path) -> Caller:
    """A client whose certificate ended a second ago."""
    ca = authority(stack.network)
    end = datetime.now(UTC) - timedelta(seconds=1)
    leaf = kit.Leaf(name="expired", start=ca.start + timedelta(seconds=1), end=end)
    return _caller(stack, "expired", kit.issue(ca, leaf), folder)


def leaver(stack: Stack, folder: Path) -> tuple[Caller, x509.Certificate]:
    """A client who is still there, and the certificate to revoke."""
    issued = kit.issue(authority(stack.network), kit.Leaf(name=f"leaver-{stack.name}"))
    return _caller(stack, "leaver", issued, folder), issued[0]


def identity(stack: Stack, folder: Path, name: str) -> bytes:
    """The serialised identity of `expired` or `leaver`."""
    return serialized_identity(OWNER, (folder / f"{name}-cert.pem").read_bytes())


def revoke(network: Network, certificate: x509.Certificate) -> None:
    """Put BankOne's revocation list with it into the channel's configuration."""
    revoked = kit.revocation_list(authority(network), [certificate])

    def edit(config: Any) -> None:
        for kind in ("Application", "Orderer"):
            groups = config.channel_group.groups[kind].groups
            if OWNER in groups:
                value = groups[OWNER].values["MSP"]
                msp = msp_config_pb2.MSPConfig.FromString(value.value)
                inner = msp_config_pb2.FabricMSPConfig.FromString(msp.config)
                if revoked not in inner.revocation_list:  # it may be asked for more than once
                    inner.revocation_list.append(revoked)
                msp.config = inner.SerializeToString()
                value.value = msp.SerializeToString()

    signers = [Administrator(OWNER, "admin")]
    done = asyncio.run(channelchange.change(network.home, network.topology, edit, signers))
    assert done.changed
    assert not done.waiting


def _caller(
    stack: Stack,
    name: str,
    issued: tuple[x509.Certificate, ec.EllipticCurvePrivateKey],
    folder: Path,
) -> Caller:
    paths = folder / f"{name}-cert.pem", folder / f"{name}-key.pem"
    certificate, key = issued
    paths[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    stack.connect(name, OWNER, "gateway", (OWNER, str(paths[0]), str(paths[1])))
    return Caller(stack.client, name, stack.chaincode)
