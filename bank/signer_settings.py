"""Settings of a bank's signing service.

    {"listen": "host:port", "network": "clearline-dev", "acquirer_id": "unionpay",
     "signer": {"file": "<PKCS#8>.pem"},
     "tls": {"certificate": "<PEM>", "private_key": "<PEM>", "client_ca": "<PEM>"}}

`signer` is a file or a PKCS#11 token (docs/keys.md); `client_ca` issued the connectors'
certificates. Relative paths are taken from the file's folder. Unknown members are refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clearline.canonical import Json
from clearline.schema import IDENTIFIER, NETWORK, Members, SchemaError, Text
from clearline.signers.settings import SignerSettings, SignerSettingsError, address, parse

_PATH: Final = Text("[^\\x00]{1,1024}", "must be a path")
_LISTEN: Final = Text(r"[A-Za-z0-9.\[\]:_-]{1,255}:[0-9]{1,5}", "must be host:port")
_MEMBERS: Final = Members(
    {
        "listen": _LISTEN,
        "network": NETWORK,
        "acquirer_id": IDENTIFIER,
        "tls": Members({"certificate": _PATH, "private_key": _PATH, "client_ca": _PATH}),
    }
)


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """A signing service: where it listens, whose reports it signs and with which key."""

    host: str
    port: int
    network: str
    acquirer_id: str
    signer: SignerSettings
    certificate: Path
    private_key: Path
    client_ca: Path


def load(path: Path) -> ServiceSettings:
    """Read and check a settings file. Raises SignerSettingsError."""
    document, signer = _read(path)
    try:
        _MEMBERS.check(document, "")
        host, port = address(document["listen"], "/listen")
    except (SchemaError, SignerSettingsError) as error:
        raise SignerSettingsError(f"{path}: {error}") from None
    folder = path.parent
    return ServiceSettings(
        host,
        port,
        document["network"],
        document["acquirer_id"],
        signer,
        folder / document["tls"]["certificate"],
        folder / document["tls"]["private_key"],
        folder / document["tls"]["client_ca"],
    )


def load_signer(path: Path) -> SignerSettings:
    """The `signer` of any settings file that has one. Raises SignerSettingsError."""
    return _read(path)[1]


def _read(path: Path) -> tuple[dict[str, Json], SignerSettings]:
    """The other members, and the signer."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SignerSettingsError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise SignerSettingsError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise SignerSettingsError(f"{path}: must be a JSON object")
    try:
        signer = parse(document.pop("signer", None), path.parent)
    except SignerSettingsError as error:
        raise SignerSettingsError(f"{path}: {error}") from None
    return document, signer
