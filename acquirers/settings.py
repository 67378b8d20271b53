"""Settings of an acquirer process, and what a connecting bank is given.

    {"name": "unionpay", "network": "clearline-dev", "listen": "127.0.0.1:8583",
     "tls": {"certificate": "tls.pem", "private_key": "tls-key.pem"},
     "mac_key_file": "mac.key", "data_dir": "data"}

Optional: `institutions` (forwarding institutions that may sign on), `currencies` (ISO 4217
numeric), `merchants` (code to {"name", "mcc"}), `slow_seconds`, `late_seconds` (of the sandbox
tokens), `idle_seconds`. Relative paths are taken from the file's folder. Unknown members are
refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ACQUIRING_INSTITUTION: Final = "48020000"
FORWARDING_INSTITUTION: Final = "48021000"
_CURRENCIES: Final = ("156", "344", "392", "446", "702", "840", "978")
_REQUIRED: Final = frozenset({"name", "network", "listen", "tls", "mac_key_file", "data_dir"})
_OPTIONAL: Final = frozenset(
    {"institutions", "currencies", "merchants", "slow_seconds", "late_seconds", "idle_seconds"}
)


class SettingsError(ValueError):
    """The settings can't be used; the message names the file, the member and the reason."""


@dataclass(frozen=True, slots=True)
class KnownMerchant:
    """A merchant as this acquirer knows it."""

    name: str
    mcc: str


@dataclass(frozen=True, slots=True)
class AcquirerSettings:
    """What an acquirer process needs. Times in seconds; `mac_key` is the AES key itself."""

    name: str
    host: str
    port: int
    certificate: Path
    private_key: Path
    mac_key: bytes = field(repr=False)
    data_dir: Path
    institutions: frozenset[str] = frozenset({FORWARDING_INSTITUTION})
    currencies: frozenset[str] = frozenset(_CURRENCIES)
    merchants: Mapping[str, KnownMerchant] = field(default_factory=dict)
    slow_seconds: float = 2.0
    late_seconds: float = 8.0
    idle_seconds: float = 300.0

    @property
    def book(self) -> Path:
        """The file of its book."""
        return self.data_dir / "book.db"


def load(path: Path) -> AcquirerSettings:
    """Read and check a settings file. Raises SettingsError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from None
    try:
        return _parse(raw, path.parent)
    except (SettingsError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise SettingsError(f"{path}: {error}") from None


def _parse(raw: Any, folder: Path) -> AcquirerSettings:
    if not isinstance(raw, dict):
        raise SettingsError("must be a JSON object")
    missing = sorted(_REQUIRED - raw.keys())
    unknown = sorted(raw.keys() - _REQUIRED - _OPTIONAL)
    if missing or unknown:
        raise SettingsError(f"lacks {missing}" if missing else f"has unknown members {unknown}")
    tls = raw["tls"]
    if not isinstance(tls, dict) or tls.keys() != {"certificate", "private_key"}:
        raise SettingsError("tls must hold certificate and private_key")
    host, port = listen_address(raw["listen"])
    return AcquirerSettings(
        name=_text(raw, "name"),
        host=host,
        port=port,
        certificate=folder / _text(tls, "certificate"),
        private_key=folder / _text(tls, "private_key"),
        mac_key=read_mac_key(folder / _text(raw, "mac_key_file")),
        data_dir=folder / _text(raw, "data_dir"),
        institutions=_numbers(raw.get("institutions", [FORWARDING_INSTITUTION]), "institutions"),
        currencies=_numbers(raw.get("currencies", list(_CURRENCIES)), "currencies"),
        merchants={
            code: KnownMerchant(_text(item, "name"), _text(item, "mcc"))
            for code, item in raw.get("merchants", {}).items()
        },
        slow_seconds=_seconds(raw.get("slow_seconds", 2.0), "slow_seconds"),
        late_seconds=_seconds(raw.get("late_seconds", 8.0), "late_seconds"),
        idle_seconds=_seconds(raw.get("idle_seconds", 300.0), "idle_seconds"),
    )


def listen_address(text: Any) -> tuple[str, int]:
    """`127.0.0.1:8583` as host and port. Raises SettingsError."""
    match = re.fullmatch(r"([^\s:]+):([0-9]{1,5})", text) if isinstance(text, str) else None
    if match is None or int(match[2]) > 65535:
        raise SettingsError(f"listen {text!r} is not <host>:<port>")
    return match[1], int(match[2])


def read_mac_key(path: Path) -> bytes:
    """An AES key, 32 or 64 hex digits in a file. Raises SettingsError."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise SettingsError(f"{path}: not hex digits") from None
    if len(key) not in (16, 32):
        raise SettingsError(f"{path}: a MAC key has 16 or 32 bytes, this has {len(key)}")
    return key


def _text(members: Any, name: str) -> str:
    value = members[name]
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name} must be a text")
    return value


def _numbers(value: Any, name: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(n, str) and n.isdigit() for n in value):
        raise SettingsError(f"{name} must be a list of digit texts")
    return frozenset(value)


def _seconds(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise SettingsError(f"{name} must be 0 to 3600 seconds")
    return float(value)
