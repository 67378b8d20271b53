"""Installed chaincode packages, and where their servers are.

After core/chaincode/persistence (persistence.go, chaincode_package.go). Only chaincode as a
service is run: nothing is built, a package's code is its `connection.json`, its own or one kept
beside the node.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearline.durable import replace_file

_LABEL = re.compile(r"^[a-zA-Z0-9]+([.+\-_][a-zA-Z0-9]+)*$")
_SUFFIX = ".tar.gz"
_LARGEST_MEMBER = 50 * 1024 * 1024


class PackageError(Exception):
    """A package or its connection settings can't be used; the text says why."""


class PackageNotFoundError(PackageError):
    """No package with this id is installed."""


@dataclass(frozen=True)
class Connection:
    """How to reach a chaincode server (Fabric's connection.json).

    Keys and certificates are PEM; empty when TLS is not required. `domain` is the name the
    server's certificate must carry, default the address's host.
    """

    address: str
    tls_required: bool
    client_key: bytes = b""
    client_certificate: bytes = b""
    root_certificate: bytes = b""
    domain: str = ""


@dataclass(frozen=True)
class Package:
    """An installed package."""

    package_id: str
    label: str
    type: str


def connection_from_json(data: bytes) -> Connection:
    """Parse a connection.json. Raises PackageError."""
    try:
        raw: Mapping[str, Any] = json.loads(data)
        address = str(raw["address"])
        if not address:
            raise PackageError("chaincode address not provided")
        if not raw.get("tls_required", False):
            return Connection(address, tls_required=False)
        client = bool(raw.get("client_auth_required", False))
        root = str(raw.get("root_cert", ""))
        key = str(raw.get("client_key", "")) if client else ""
        certificate = str(raw.get("client_cert", "")) if client else ""
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PackageError(f"connection.json can't be used: {error}") from error
    if not root or (client and not (key and certificate)):
        raise PackageError("connection.json lacks root_cert, client_key or client_cert")
    return Connection(
        address,
        tls_required=True,
        client_key=key.encode(),
        client_certificate=certificate.encode(),
        root_certificate=root.encode(),
        domain=str(raw.get("domain", "")),
    )


@contextmanager
def _archive(data: bytes) -> Iterator[tarfile.TarFile]:
    try:
        raw = gzip.decompress(data)
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
            yield archive
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise PackageError(f"error reading as gzip stream: {error}") from error


def _member(archive: tarfile.TarFile, name: str) -> bytes | None:
    for item in archive:
        if item.name.removeprefix("./") == name:
            if not item.isreg() or item.size > _LARGEST_MEMBER:
                raise PackageError(f"tar entry {name} is not a regular file")
            file = archive.extractfile(item)
            return file.read() if file is not None else None
    return None


def parse(data: bytes) -> Package:
    """Check a package and name it. Raises PackageError."""
    if len(data) == 0:
        raise PackageError("error reading as gzip stream: EOF")
    with _archive(data) as archive:
        metadata = _member(archive, "metadata.json")
    with _archive(data) as archive:
        code = _member(archive, "code.tar.gz")
    if metadata is None:
        raise PackageError("did not find any package metadata (missing metadata.json)")
    if code is None:
        raise PackageError("did not find a code package inside the package")
    try:
        fields = json.loads(metadata)
        label, kind = str(fields["label"]), str(fields.get("type", ""))
    except (ValueError, KeyError, TypeError) as error:
        raise PackageError(f"could not unmarshal metadata.json as json: {error}") from error
    if not _LABEL.match(label):
        raise PackageError(
            f"invalid label '{label}'. Label must be non-empty, can only consist of "
            "alphanumerics, symbols from '.+-_', and can only begin with alphanumerics"
        )
    return Package(f"{label}:{hashlib.sha256(data).hexdigest()}", label, kind)


class PackageStore:
    """Packages as files of one folder, named as Fabric names them."""

    def __init__(self, folder: Path, beside: Mapping[str, Path]) -> None:
        """`beside` maps labels or package ids to connection.json files kept with the node."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._beside = beside
        self._installed: dict[str, Package] = {}
        for path in sorted(folder.glob(f"*{_SUFFIX}")):
            package = parse(path.read_bytes())
            self._installed[package.package_id] = package

    def install(self, data: bytes) -> Package:
        """Keep a package, synced to disk. Raises PackageError, also when it is there already."""
        try:
            package = parse(data)
        except PackageError as error:
            raise PackageError(
                f"could not parse as a chaincode install package: {error}"
            ) from error
        if package.package_id in self._installed:
            raise PackageError(
                f"chaincode already successfully installed (package ID '{package.package_id}')"
            )
        if self._connection_file(package) is None and _own_connection(data) is None:
            raise PackageError(
                "could not build chaincode: only chaincode as a service runs here, and there is "
                "neither a connection.json in the package nor one in the node's settings"
            )
        replace_file(self._path(package.package_id), data)
        self._installed[package.package_id] = package
        return package

    def installed(self) -> list[Package]:
        """All packages, by id."""
        return [self._installed[key] for key in sorted(self._installed)]

    def find(self, package_id: str) -> Package:
        """An installed package. Raises PackageNotFoundError."""
        package = self._installed.get(package_id)
        if package is None:
            raise PackageNotFoundError(f"chaincode install package '{package_id}' not found")
        return package

    def load(self, package_id: str) -> bytes:
        """A package's bytes. Raises PackageNotFoundError."""
        self.find(package_id)
        return self._path(package_id).read_bytes()

    def connection(self, package_id: str) -> Connection:
        """How to reach the package's server, read anew at each call. Raises PackageError."""
        package = self.find(package_id)
        beside = self._connection_file(package)
        if beside is not None:
            try:
                return connection_from_json(beside.read_bytes())
            except OSError as error:
                raise PackageError(f"{beside} can't be read: {error}") from error
        own = _own_connection(self.load(package_id))
        if own is None:
            raise PackageError(f"package {package_id} has no connection.json")
        return connection_from_json(own)

    def _connection_file(self, package: Package) -> Path | None:
        return self._beside.get(package.package_id) or self._beside.get(package.label)

    def _path(self, package_id: str) -> Path:
        label, _, digest = package_id.rpartition(":")
        return self._folder / f"{label}.{digest}{_SUFFIX}"


def _own_connection(package: bytes) -> bytes | None:
    with _archive(package) as archive:
        code = _member(archive, "code.tar.gz")
    if not code:
        return None
    with _archive(code) as archive:
        return _member(archive, "connection.json")
