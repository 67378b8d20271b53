"""What the settings of peers and orderers share: how `node.json` is read, its TLS files.

Paths are absolute or relative to the folder of `node.json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Settings = TypeVar("Settings")
MAP_BYTES = 1 << 40
"""How large a ledger may grow: LMDB reserves addresses for it, not disk."""


class ConfigError(ValueError):
    """`node.json` is missing, unreadable or says something that can't be used."""


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of a node's TLS identity, for serving and dialling, and the CAs whose clients may
    connect."""

    certificate: Path
    private_key: Path
    client_roots: tuple[Path, ...]


def load(path: Path, build: Callable[[Mapping[str, Any], Path], Settings]) -> Settings:
    """Read `node.json`; `build` makes settings of the decoded JSON and the folder it lies in.

    Raises ConfigError with the file and the setting that is wrong.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: must be a JSON object")
    try:
        return build(raw, path.resolve().parent)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"setting {error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"{path}: {detail}") from error


def only(known: Collection[str], raw: Mapping[str, Any]) -> None:
    """Raises ValueError for settings that nobody knows."""
    unknown = raw.keys() - set(known)
    if unknown:
        raise ValueError(f"unknown settings: {', '.join(sorted(unknown))}")


def tls_files(raw: Mapping[str, Any], base: Path) -> TlsFiles:
    """The setting `tls`. Raises KeyError or TypeError."""
    return TlsFiles(
        certificate=base / raw["certificate"],
        private_key=base / raw["private_key"],
        client_roots=tuple(base / item for item in raw["client_roots"]),
    )


def endpoint(value: Any, key: str) -> str:
    """A host:port. Raises ValueError that names the setting."""
    text = str(value)
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f'{key}: "{text}" is not host:port')
    return text
