"""Connection profiles: who a client is and which peer it speaks to."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

# A block may hold 100 MB by Fabric's defaults; gRPC's own limit is 4 MB.
MAX_MESSAGE_BYTES = 100 * 1024 * 1024
# Peers end connections with "too_many_pings" below their minimum interval (docs/fabric.md).
KEEPALIVE_MS = 20_000
# Seconds would be lost after a peer's restart with gRPC's default of up to two minutes.
RECONNECT_MS = (100, 1_000)
# What one attempt to connect may take, TLS included; gRPC calls it a backoff. A busy machine or a
# far one needs more than the shortest pause between two attempts.
CONNECT_MS = 2_000


class ProfileError(ValueError):
    """A connection profile that can't be used; the text names the file and the fault."""


@dataclass(frozen=True)
class PeerEndpoint:
    """A peer: host:port, the name in its TLS certificate, the CA that issued it."""

    endpoint: str
    server_name: str
    tls_ca: Path


@dataclass(frozen=True)
class Profile:
    """A connection profile, its paths made absolute."""

    network: str
    channel: str
    chaincode: str
    msp_id: str
    certificate: Path
    private_key: Path
    tls_certificate: Path
    tls_private_key: Path
    peer: PeerEndpoint

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile file (JSON). Raises ProfileError naming what is missing or wrong."""
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ProfileError(f"can't read the connection profile: {error}") from error
        except ValueError as error:
            raise ProfileError(f"{path}: not JSON: {error}") from error
        folder = path.resolve().parent
        peer = _section(document, "peer", path)
        return cls(
            network=_text(document, "network", path),
            channel=_text(document, "channel", path),
            chaincode=_text(document, "chaincode", path),
            msp_id=_text(document, "msp_id", path),
            certificate=folder / _text(document, "certificate", path),
            private_key=folder / _text(document, "private_key", path),
            tls_certificate=folder / _text(document, "tls_certificate", path),
            tls_private_key=folder / _text(document, "tls_private_key", path),
            peer=PeerEndpoint(
                endpoint=_text(peer, "endpoint", path),
                server_name=_text(peer, "server_name", path),
                tls_ca=folder / _text(peer, "tls_ca", path),
            ),
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Mutual TLS credentials. Raises ProfileError when a file can't be read."""
        return grpc.ssl_channel_credentials(
            root_certificates=_bytes(self.peer.tls_ca),
            private_key=_bytes(self.tls_private_key),
            certificate_chain=_bytes(self.tls_certificate),
        )

    def tls_cert_hash(self) -> bytes:
        """SHA-256 of the client's TLS certificate in DER, which Deliver requests carry."""
        certificate = x509.load_pem_x509_certificate(_bytes(self.tls_certificate))
        return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()

    def open_channel(self) -> grpc.aio.Channel:
        """A grpc.aio channel to the peer; call it in the loop that uses it."""
        return grpc.aio.secure_channel(
            self.peer.endpoint,
            self.channel_credentials(),
            options=channel_options(self.peer.server_name),
        )


def channel_options(server_name: str) -> list[tuple[str, Any]]:
    """gRPC channel options for a Fabric node known by server_name in its certificate."""
    shortest, longest = RECONNECT_MS
    return [
        ("grpc.ssl_target_name_override", server_name),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        ("grpc.initial_reconnect_backoff_ms", shortest),
        ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
        ("grpc.max_reconnect_backoff_ms", longest),
        # A channel of its own per client: subchannels shared by address would share TLS files.
        ("grpc.use_local_subchannel_pool", 1),
    ]


def _section(document: object, name: str, path: Path) -> dict[str, object]:
    if not isinstance(document, dict):
        raise ProfileError(f"{path}: must be a JSON object")
    value = document.get(name)
    if not isinstance(value, dict):
        raise ProfileError(f"{path}: {name} must be an object")
    return value


def _text(document: object, name: str, path: Path) -> str:
    if not isinstance(document, dict):
        raise ProfileError(f"{path}: must be a JSON object")
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise ProfileError(f"{path}: {name} must be a non-empty text")
    return value


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ProfileError(f"can't read the connection profile's file: {error}") from error
