"""Settings of UnionPay's process, and what a connecting bank is given.

    {"name": "unionpay", "network": "clearline-dev", "listen": "127.0.0.1:8583",
     "tls": {"certificate": "tls.pem", "private_key": "tls-key.pem"},
     "mac_key_file": "mac.key", "data_dir": "data"}

Optional: `institutions` (forwarding institutions that may sign on), `currencies` (ISO 4217
numeric), `merchants` (code to {"name", "mcc"}), `slow_seconds`, `late_seconds` (of the sandbox
tokens), `idle_seconds`. Relative paths are taken from the file's folder. Unknown members are
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from acquirers import settings
from acquirers.settings import Members, Place, SettingsError, seconds, text

ACQUIRING_INSTITUTION: Final = "48020000"
FORWARDING_INSTITUTION: Final = "48021000"
_CURRENCIES: Final = ("156", "344", "392", "446", "702", "840", "978")
_MEMBERS: Final = Members(
    frozenset({"mac_key_file"}),
    frozenset(
        {"institutions", "currencies", "merchants", "slow_seconds", "late_seconds", "idle_seconds"}
    ),
)


@dataclass(frozen=True, slots=True)
class KnownMerchant:
    """A merchant as this acquirer knows it."""

    name: str
    mcc: str


@dataclass(frozen=True, slots=True)
class UnionPaySettings:
    """What this acquirer's process needs. Times in seconds; `mac_key` is the AES key itself."""

    place: Place
    mac_key: bytes = field(repr=False)
    institutions: frozenset[str] = frozenset({FORWARDING_INSTITUTION})
    currencies: frozenset[str] = frozenset(_CURRENCIES)
    merchants: Mapping[str, KnownMerchant] = field(default_factory=dict)
    slow_seconds: float = 2.0
    late_seconds: float = 8.0
    idle_seconds: float = 300.0


def load(path: Path) -> UnionPaySettings:
    """Read and check a settings file. Raises SettingsError."""
    return settings.load(path, _MEMBERS, _parse)


def _parse(raw: dict[str, Any], place: Place, folder: Path) -> UnionPaySettings:
    return UnionPaySettings(
        place=place,
        mac_key=read_mac_key(folder / text(raw, "mac_key_file")),
        institutions=_numbers(raw.get("institutions", [FORWARDING_INSTITUTION]), "institutions"),
        currencies=_numbers(raw.get("currencies", list(_CURRENCIES)), "currencies"),
        merchants={
            code: KnownMerchant(text(item, "name"), text(item, "mcc"))
            for code, item in raw.get("merchants", {}).items()
        },
        slow_seconds=seconds(raw.get("slow_seconds", 2.0), "slow_seconds"),
        late_seconds=seconds(raw.get("late_seconds", 8.0), "late_seconds"),
        idle_seconds=seconds(raw.get("idle_seconds", 300.0), "idle_seconds"),
    )


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


def _numbers(value: Any, name: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(n, str) and n.isdigit() for n in value):
        raise SettingsError(f"{name} must be a list of digit texts")
    return frozenset(value)
