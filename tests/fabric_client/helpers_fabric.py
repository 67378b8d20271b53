"""What the client's tests share: an identity, a connection to the fake peer, a bounded run."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clearline.fabric.client import CallTimeouts
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import X509Signer

T = TypeVar("T")
QUICK = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
]


def run(coroutine: Coroutine[Any, Any, T], seconds: float = 20.0) -> T:
    """Run a test's coroutine with a bound."""
    return asyncio.run(asyncio.wait_for(coroutine, seconds))


def new_certificate(key: ec.EllipticCurvePrivateKey, name: str = "client") -> bytes:
    """A self-signed certificate in PEM, good for localhost."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS8 PEM without a password."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@cache
def signer() -> X509Signer:
    """One client identity for all tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    return X509Signer("BankOne", new_certificate(key), key)


def connect(endpoint: str, timeouts: CallTimeouts | None = None) -> Gateway:
    """A gateway over a plain socket."""
    channel = grpc.aio.insecure_channel(endpoint, options=QUICK)
    return Gateway(channel, signer(), timeouts=timeouts or CallTimeouts())


def write_identity(folder: Path) -> tuple[Path, Path]:
    """A fresh certificate and key as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate, private = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(new_certificate(key))
    private.write_bytes(key_pem(key))
    return certificate, private
