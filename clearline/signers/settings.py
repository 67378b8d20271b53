"""The `signer` part of a settings file: where a signing key is.

    {"file": "<PKCS#8>.pem"}
    {"pkcs11": {"module": "<library>.so", "token": "<label>", "key_label": "<label>",
                "pin_file": "<file>", "public_key": "<JSON>"}}
    {"remote": {"endpoint": "host:port", "server_name": "<in its certificate>", "tls_ca": "<PEM>",
                "certificate": "<PEM>", "private_key": "<PEM>", "public_key": "<JSON>"}}

`public_key` is what `clearline bank keygen` or `signer public-key` printed: what the holder
answers is held against it, and nobody need reach the holder to start. Optional: `timeout_seconds`
of a call, 10 for a token and 5 for a service. Relative paths are the settings file's folder's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clearline.canonical import Json
from clearline.schema import Integer, Members, Printable, SchemaError, Shape, Text

_PATH: Final = Text("[^\\x00]{1,1024}", "must be a path")
_ENDPOINT: Final = Text(r"[A-Za-z0-9.\[\]:_-]{1,255}:[0-9]{1,5}", "must be host:port")
_SECONDS: Final = Integer(1, 120)
_NAME: Final = Text("[A-Za-z0-9.:_-]{1,253}", "must be a host name")
_OPTIONAL: Final = frozenset({"timeout_seconds"})
_KINDS: Final[dict[str, Shape]] = {
    "file": _PATH,
    "pkcs11": Members(
        {
            "module": _PATH,
            "token": Printable(32),  # CK_TOKEN_INFO has 32 characters for it
            "key_label": Printable(255),
            "pin_file": _PATH,
            "public_key": _PATH,
            "timeout_seconds": _SECONDS,
        },
        _OPTIONAL,
    ),
    "remote": Members(
        {
            "endpoint": _ENDPOINT,
            "server_name": _NAME,
            "tls_ca": _PATH,
            "certificate": _PATH,
            "private_key": _PATH,
            "public_key": _PATH,
            "timeout_seconds": _SECONDS,
        },
        _OPTIONAL,
    ),
}


class SignerSettingsError(ValueError):
    """The settings name no signer; the message says where and why."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """A PKCS#8 PEM file that this process reads."""

    path: Path


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key that stays in a PKCS#11 token: an HSM, a smart card, SoftHSM."""

    module: Path
    token: str
    key_label: str
    pin_file: Path
    public_key: Path
    timeout_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class RemoteKey:
    """A key that a signing service holds; certificate and key are this client's."""

    host: str
    port: int
    server_name: str
    tls_ca: Path
    certificate: Path
    private_key: Path
    public_key: Path
    timeout_seconds: float = 5.0


SignerSettings = FileKey | TokenKey | RemoteKey


def parse(value: Json, folder: Path) -> SignerSettings:
    """The signer an object of a settings file names. Raises SignerSettingsError."""
    if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= _KINDS.keys():
        raise SignerSettingsError(f"signer must have exactly one of {', '.join(_KINDS)}")
    ((kind, members),) = value.items()
    try:
        _KINDS[kind].check(members, f"/{kind}")
    except SchemaError as error:
        raise SignerSettingsError(f"signer{error}") from None
    if kind == "file":
        return FileKey(folder / members)
    if kind == "pkcs11":
        return TokenKey(
            folder / members["module"],
            members["token"],
            members["key_label"],
            folder / members["pin_file"],
            folder / members["public_key"],
            float(members.get("timeout_seconds", 10)),
        )
    return _remote(members, folder)


def _remote(members: dict[str, Any], folder: Path) -> RemoteKey:
    host, port = address(members["endpoint"], "signer/remote/endpoint")
    return RemoteKey(
        host,
        port,
        members["server_name"],
        folder / members["tls_ca"],
        folder / members["certificate"],
        folder / members["private_key"],
        folder / members["public_key"],
        float(members.get("timeout_seconds", 5)),
    )


def address(text: str, place: str) -> tuple[str, int]:
    """Host and port of host:port. Raises SignerSettingsError."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):([0-9]{1,5})", text)
    if match is None or int(match[2]) > 65535:
        raise SignerSettingsError(f"{place}: must be host:port")
    return match[1].strip("[]"), int(match[2])
