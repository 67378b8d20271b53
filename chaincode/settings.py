"""Settings of one chaincode server: the file that `clearline network up` writes for it.

    {"package": "../clearline.tar.gz",            the chaincode package that the peers installed
     "chaincode_id": "clearline:9f86d0...",       its package id, label:sha256(package)
     "listen": "127.0.0.1:7052",
     "tls": {"cert": "tls/cert.pem", "key": "tls/key.pem", "client_ca": "tls/client_ca.pem"},
     "peer_names": ["peer0.bankone"],             names (SAN dns) that may connect
     "network": "clearline-dev"}

Optional members with their defaults: `transaction_timeout_seconds` 30, `clock_window_seconds`
300, `max_transaction_bytes` 16 MiB, `max_transactions` 1000. Paths are relative to the file's own
folder, or absolute. An unknown member is a mistake, not an extension: it is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_REQUIRED = ("package", "chaincode_id", "listen", "tls", "peer_names", "network")
_LIMITS = {
    "transaction_timeout_seconds": 30,
    "clock_window_seconds": 300,
    "max_transaction_bytes": 16 * 1024 * 1024,
    "max_transactions": 1000,
}
_TLS = ("cert", "key", "client_ca")
_CHAINCODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*:[0-9a-f]{64}")
_LISTEN = re.compile(r"(?P<host>[^\s:]+|\[[0-9A-Fa-f:]+\]):(?P<port>[0-9]{1,5})")


class SettingsError(Exception):
    """The settings file can't be used; the message names the file, the member and the reason."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of the server's side of mutual TLS."""

    cert: Path
    key: Path
    client_ca: Path


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What one chaincode server process needs. Times in seconds, sizes in bytes."""

    package: Path
    chaincode_id: str
    listen: str
    tls: TlsFiles
    peer_names: tuple[str, ...]
    network: str
    transaction_timeout_seconds: int = 30
    clock_window_seconds: int = 300
    max_transaction_bytes: int = 16 * 1024 * 1024
    max_transactions: int = 1000


def load_settings(path: Path) -> ServerSettings:
    """Read and check a settings file; raises SettingsError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from error
    try:
        return parse_settings(raw, path.parent)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from error


def parse_settings(raw: object, folder: Path) -> ServerSettings:
    """Check the settings' members; relative paths are taken from `folder`."""
    members = _object(raw, "the file")
    _closed(members, _REQUIRED, tuple(_LIMITS), "the file")
    tls = _object(members["tls"], "tls")
    _closed(tls, _TLS, (), "tls")
    chaincode_id = _text(members["chaincode_id"], "chaincode_id")
    if not _CHAINCODE_ID.fullmatch(chaincode_id):
        raise SettingsError(f"chaincode_id {chaincode_id!r} is not <label>:<sha256 in hex>")
    return ServerSettings(
        package=folder / _text(members["package"], "package"),
        chaincode_id=chaincode_id,
        listen=_listen(_text(members["listen"], "listen")),
        tls=TlsFiles(*(folder / _text(tls[name], f"tls.{name}") for name in _TLS)),
        peer_names=_peer_names(members["peer_names"]),
        network=_text(members["network"], "network"),
        **{name: _positive(members.get(name, default), name) for name, default in _LIMITS.items()},
    )


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise SettingsError(f"{where} must be a JSON object")
    return value


def _closed(
    members: Mapping[str, object],
    required: tuple[str, ...],
    optional: tuple[str, ...],
    where: str,
) -> None:
    missing = [name for name in required if name not in members]
    if missing:
        raise SettingsError(f"{where} lacks {', '.join(missing)}")
    unknown = sorted(members.keys() - set(required) - set(optional))
    if unknown:
        raise SettingsError(f"{where} has unknown members: {', '.join(unknown)}")


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name} must be a text")
    return value


def _positive(value: object, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"{name} must be a whole number from 1")
    return value


def _listen(text: str) -> str:
    match = _LISTEN.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise SettingsError(f"listen {text!r} is not <host>:<port>")
    return text


def _peer_names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise SettingsError("peer_names must be a list with at least one name")
    names = tuple(_text(name, "peer_names") for name in value)
    # Every TLS leaf of the development network carries localhost: allowing it would let any in.
    if "localhost" in names:
        raise SettingsError("peer_names must not hold localhost: every node's certificate has it")
    return names
