"""What the settings files of all acquirers have in common: how they are read, and said to be wrong.

Relative paths are taken from the file's folder. Unknown members are refused. Each may have
`fee_basis_points`, what is taken of a payment in hundredths of a percent (60).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_COMMON: Final = frozenset({"name", "network", "listen", "tls", "data_dir"})
_FEE: Final = "fee_basis_points"
_USUAL_FEE: Final = 60


class SettingsError(ValueError):
    """The settings can't be used; the message names the file, the member and the reason."""


@dataclass(frozen=True, slots=True)
class Members:
    """Which members a file may have beside those that each has."""

    required: frozenset[str]
    optional: frozenset[str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens, with which TLS files, where it keeps its book, and what it takes
    of a payment: `fee_basis_points`, hundredths of a percent."""

    name: str
    host: str
    port: int
    certificate: Path
    private_key: Path
    data_dir: Path
    fee_basis_points: int = _USUAL_FEE

    @property
    def delivery(self) -> Path:
        """The folder where a bank finds its daily files."""
        return self.data_dir / "delivery"

    @property
    def book(self) -> Path:
        """The file of its book."""
        return self.data_dir / "book.db"


def load(path: Path, members: Members, parse: Callable[[dict[str, Any], Place, Path], _T]) -> _T:
    """Read and check a settings file; `parse` gets its members, what all have in common, and the
    file's folder. Raises SettingsError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return parse(_checked(raw, members), _place(raw, path.parent), path.parent)
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}") from None
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}: not JSON: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SettingsError(f"{path}: {error}") from None


def listen_address(text: Any) -> tuple[str, int]:
    """`127.0.0.1:8583` as host and port. Raises SettingsError."""
    match = re.fullmatch(r"([^\s:]+):([0-9]{1,5})", text) if isinstance(text, str) else None
    if match is None or int(match[2]) > 65535:
        raise SettingsError(f"listen {text!r} is not <host>:<port>")
    return match[1], int(match[2])


def text(members: Any, name: str) -> str:
    """A member that is a text. Raises SettingsError, KeyError."""
    value = members[name]
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{name} must be a text")
    return value


def seconds(value: Any, name: str) -> float:
    """A time, at most an hour. Raises SettingsError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
        raise SettingsError(f"{name} must be 0 to 3600 seconds")
    return float(value)


def _checked(raw: Any, members: Members) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise SettingsError("must be a JSON object")
    required = _COMMON | members.required
    missing = sorted(required - raw.keys())
    unknown = sorted(raw.keys() - required - members.optional - {_FEE})
    if missing or unknown:
        raise SettingsError(f"lacks {missing}" if missing else f"has unknown members {unknown}")
    return raw


def _place(raw: dict[str, Any], folder: Path) -> Place:
    tls = raw["tls"]
    if not isinstance(tls, dict) or tls.keys() != {"certificate", "private_key"}:
        raise SettingsError("tls must hold certificate and private_key")
    host, port = listen_address(raw["listen"])
    return Place(
        name=text(raw, "name"),
        host=host,
        port=port,
        certificate=folder / text(tls, "certificate"),
        private_key=folder / text(tls, "private_key"),
        data_dir=folder / text(raw, "data_dir"),
        fee_basis_points=_fee(raw.get(_FEE, _USUAL_FEE)),
    )


def _fee(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 10_000:
        raise SettingsError(f"{_FEE} must be 0 to 10000")
    return value
