"""Settings of a connector process.

    {"name": "connector-bankone", "network": "clearline-dev", "acquirer_id": "unionpay",
     "adapter": "unionpay_iso8583", "profile": "<connector profile>.json",
     "signer": {"file": "<PKCS8>.pem"}, "data_dir": "data", "partner": "<partner>.json"}

`signer` says where the key is that signs reports: in a file, in a PKCS#11 token or at a signing
service (clearline.signers.settings, docs/keys.md).

Optional, with their defaults: `answer_timeout_seconds` 5, `reversal_timeout_seconds` 5,
`echo_seconds` 1.5 (of silence before the acquirer is asked whether it is there), `stop_seconds` 5,
`inquiry_seconds` 5 (of silence before an accepted payment is asked about), `connections` 2,
`in_flight` 64, `notice_listen` 127.0.0.1:0 (where an acquirer that sends notices reaches this
connector; port 0: a free one, kept in the data folder), `gateways`, who is told the acquirer's
health: [{"endpoint": "host:port", "server_name": "<in its certificate>", "tls_ca": "<PEM>"}].
`name` is the holder of the lease. Relative paths are taken from the file's folder. Unknown members
are refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clearline.signers.settings import SignerSettings, SignerSettingsError
from clearline.signers.settings import parse as parse_signer
from connector.link import GatewayEndpoint

ADAPTERS: Final = ("unionpay_iso8583", "qr_wallet")
_TEXTS: Final = ("name", "network", "acquirer_id", "adapter", "profile", "data_dir", "partner")
_SECONDS: Final[dict[str, float]] = {
    "answer_timeout_seconds": 5.0,
    "reversal_timeout_seconds": 5.0,
    "echo_seconds": 1.5,
    "stop_seconds": 5.0,
    "inquiry_seconds": 5.0,
}
_ANYWHERE: Final = "127.0.0.1:0"
_COUNTS: Final[dict[str, int]] = {"connections": 2, "in_flight": 64}


class SettingsError(ValueError):
    """The settings can't be used; the message names the file, the member and the reason."""


@dataclass(frozen=True, slots=True)
class ConnectorSettings:
    """What a connector process needs. `in_flight`: payments at the acquirer at once."""

    name: str
    network: str
    acquirer_id: str
    adapter: str
    profile: Path
    signer: SignerSettings
    data_dir: Path
    partner: Path
    answer_timeout_seconds: float = 5.0
    reversal_timeout_seconds: float = 5.0
    echo_seconds: float = 1.5
    stop_seconds: float = 5.0
    inquiry_seconds: float = 5.0
    notice_host: str = "127.0.0.1"
    notice_port: int = 0
    connections: int = 2
    in_flight: int = 64
    gateways: tuple[GatewayEndpoint, ...] = ()

    @property
    def outbox(self) -> Path:
        """The outbox's file."""
        return self.data_dir / "outbox.db"

    @property
    def claim(self) -> Path:
        """Where the epochs this connector took are noted; beside the outbox."""
        return self.data_dir / "claim.json"


def load(path: Path) -> ConnectorSettings:
    """Read and check a settings file. Raises SettingsError."""
    raw = read_object(path)
    try:
        return _parse(raw, path.parent)
    except SettingsError as error:
        raise SettingsError(f"{path}: {error}") from None


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object in a file. Raises SettingsError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from None
    if not isinstance(raw, dict):
        raise SettingsError(f"{path}: must be a JSON object")
    return raw


def text(members: dict[str, Any], name: str) -> str:
    """A member that is a text. Raises SettingsError."""
    value = members.get(name)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name} must be a text")
    return value


def _parse(raw: dict[str, Any], folder: Path) -> ConnectorSettings:
    known = {*_TEXTS, *_SECONDS, *_COUNTS, "signer", "notice_listen", "gateways"}
    unknown = sorted(raw.keys() - known)
    if unknown:
        raise SettingsError(f"has unknown members {', '.join(unknown)}")
    texts = {name: text(raw, name) for name in _TEXTS}
    if texts["adapter"] not in ADAPTERS:
        raise SettingsError(f"adapter must be one of {', '.join(ADAPTERS)}")
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", texts["name"]):
        raise SettingsError("name must be 1 to 32 of A-Z a-z 0-9 . _ -: it stands on the ledger")
    notice_host, notice_port = _address(raw.get("notice_listen", _ANYWHERE))
    return ConnectorSettings(
        name=texts["name"],
        network=texts["network"],
        acquirer_id=texts["acquirer_id"],
        adapter=texts["adapter"],
        profile=folder / texts["profile"],
        signer=_signer(raw.get("signer"), folder),
        data_dir=folder / texts["data_dir"],
        partner=folder / texts["partner"],
        answer_timeout_seconds=_seconds(raw, "answer_timeout_seconds"),
        reversal_timeout_seconds=_seconds(raw, "reversal_timeout_seconds"),
        echo_seconds=_seconds(raw, "echo_seconds"),
        stop_seconds=_seconds(raw, "stop_seconds"),
        inquiry_seconds=_seconds(raw, "inquiry_seconds"),
        notice_host=notice_host,
        notice_port=notice_port,
        connections=_count(raw, "connections"),
        in_flight=_count(raw, "in_flight"),
        gateways=_gateways(raw.get("gateways", []), folder),
    )


def _signer(value: Any, folder: Path) -> SignerSettings:
    try:
        return parse_signer(value, folder)
    except SignerSettingsError as error:
        raise SettingsError(str(error)) from None


def _address(value: Any) -> tuple[str, int]:
    match = re.fullmatch(r"([^\s:/]+):([0-9]{1,5})", value) if isinstance(value, str) else None
    if match is None or int(match[2]) > 65535:
        raise SettingsError("notice_listen must be <host>:<port>")
    return match[1], int(match[2])


def _gateways(listed: Any, folder: Path) -> tuple[GatewayEndpoint, ...]:
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise SettingsError("gateways must be a list of objects")
    found = []
    for item in listed:
        host, _, port = text(item, "endpoint").rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise SettingsError("gateways: endpoint must be host:port")
        endpoint = GatewayEndpoint(
            host.strip("[]"), int(port), text(item, "server_name"), folder / text(item, "tls_ca")
        )
        found.append(endpoint)
    return tuple(found)


def _seconds(members: dict[str, Any], name: str) -> float:
    value = members.get(name, _SECONDS[name])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 3600:
        raise SettingsError(f"{name} must be 0.01 to 3600 seconds")
    return float(value)


def _count(members: dict[str, Any], name: str) -> int:
    value = members.get(name, _COUNTS[name])
    if type(value) is not int or not 1 <= value <= 512:
        raise SettingsError(f"{name} must be 1 to 512")
    return value
