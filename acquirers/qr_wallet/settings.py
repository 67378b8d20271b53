"""Settings of a wallet process.

    {"name": "qr_wallet", "network": "clearline-dev", "listen": "127.0.0.1:8590",
     "tls": {"certificate": "tls.pem", "private_key": "tls-key.pem"},
     "private_key": "wallet-key.pem", "partners": {"bank-sandbox": "<Ed25519 key, 64 hex>"},
     "notice_ca": "ca.pem", "data_dir": "data"}

Optional: `currencies` (ISO 4217), `notice_hosts` (where notices may go; 127.0.0.1 and localhost),
`pay_seconds` until a payer has paid (1), `slow_seconds` (3), `late_seconds` after a close (1),
`notice_seconds` before an unacknowledged notice is sent again, a list ([0.5, 1, 2, 4, 8]).
Relative paths are taken from the file's folder. Unknown members are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from acquirers import settings
from acquirers.settings import Members, Place, SettingsError, seconds

_CURRENCIES: Final = ("CNY", "HKD", "USD", "EUR")
_HOSTS: Final = ("127.0.0.1", "localhost")
_NOTICE_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_SECONDS: Final = {"pay_seconds": 1.0, "slow_seconds": 3.0, "late_seconds": 1.0}
_MEMBERS: Final = Members(
    frozenset({"private_key", "partners", "notice_ca"}),
    frozenset({"currencies", "notice_hosts", "notice_seconds", *_SECONDS}),
)


@dataclass(frozen=True, slots=True)
class WalletSettings:
    """What a wallet process needs. Times in seconds."""

    place: Place
    signing_key: Ed25519PrivateKey = field(repr=False)
    partners: Mapping[str, Ed25519PublicKey]
    notice_ca: Path
    currencies: frozenset[str] = frozenset(_CURRENCIES)
    notice_hosts: frozenset[str] = frozenset(_HOSTS)
    notice_seconds: tuple[float, ...] = _NOTICE_SECONDS
    pay_seconds: float = 1.0
    slow_seconds: float = 3.0
    late_seconds: float = 1.0


def load(path: Path) -> WalletSettings:
    """Read and check a settings file. Raises SettingsError."""
    return settings.load(path, _MEMBERS, _parse)


def _parse(raw: dict[str, Any], place: Place, folder: Path) -> WalletSettings:
    key = load_pem_private_key((folder / raw["private_key"]).read_bytes(), None)
    if not isinstance(key, Ed25519PrivateKey):
        raise SettingsError("private_key must be an Ed25519 key")
    return WalletSettings(
        place=place,
        signing_key=key,
        partners={
            name: Ed25519PublicKey.from_public_bytes(bytes.fromhex(text))
            for name, text in raw["partners"].items()
        },
        notice_ca=folder / raw["notice_ca"],
        currencies=frozenset(raw.get("currencies", _CURRENCIES)),
        notice_hosts=frozenset(raw.get("notice_hosts", _HOSTS)),
        notice_seconds=tuple(
            seconds(item, "notice_seconds") for item in raw.get("notice_seconds", _NOTICE_SECONDS)
        ),
        **{name: seconds(raw.get(name, usual), name) for name, usual in _SECONDS.items()},
    )
