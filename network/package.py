"""The chaincode package: what every peer installs, byte for byte the same everywhere.

metadata.json and code.tar.gz in a gzipped tar (core/chaincode/persistence/chaincode_package.go).
The contract's code is not in it: it runs as a service. code.tar.gz carries the digest of the
sources instead, and a chaincode server refuses to serve a package whose digest is not its own
(chaincode/digest.py computes the same over its files; the two are written twice on purpose,
rooms don't import each other).
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# RFC 1952: magic, deflate, no flags, mtime 0, no extra flags, unknown system. Written by hand:
# gzip.compress(mtime=0) differs in one of these bytes between Python versions.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_STORED_BYTES: Final = 0xFFFF
_REQUIREMENTS: Final = Path("requirements") / "runtime.txt"


class PackageError(Exception):
    """There is nothing to package."""


@dataclass(frozen=True)
class Package:
    """A chaincode package and its id, `label:sha256`."""

    label: str
    content: bytes

    @property
    def id(self) -> str:
        return f"{self.label}:{hashlib.sha256(self.content).hexdigest()}"


def distribution_root() -> Path:
    """The folder that holds the rooms: a checkout, or site-packages of an installation."""
    return Path(__file__).resolve().parent.parent


def code_digest(root: Path) -> str:
    """Hex SHA-256 over sorted lines "<posix path> <sha256 of the file>" of the contract's sources.

    The sources are chaincode/**/*.py and clearline/*.py (top level only: the contract imports
    nothing deeper). Raises PackageError when there are none.
    """
    files = [*(root / "chaincode").rglob("*.py"), *(root / "clearline").glob("*.py")]
    lines = sorted(
        f"{file.relative_to(root).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n"
        for file in files
    )
    if not lines:
        raise PackageError(f"no contract sources below {root}")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def create(label: str, root: Path) -> Package:
    """The package of the sources below `root`. The same sources give the same bytes."""
    digest = {"sha256": code_digest(root)}
    requirements = root / _REQUIREMENTS
    if requirements.is_file():
        # For the reader of a package: which pinned libraries the code was released with.
        digest["requirements_sha256"] = hashlib.sha256(requirements.read_bytes()).hexdigest()
    code = _archive({"code/digest.json": _json(digest)})
    metadata = _json({"type": "ccaas", "label": label})
    return Package(label, _archive({"code.tar.gz": code, "metadata.json": metadata}))


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _archive(files: dict[str, bytes]) -> bytes:
    """A gzipped USTAR archive: names sorted, owner and times zero."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    return _gzip(buffer.getvalue())


def _gzip(plain: bytes) -> bytes:
    """RFC 1952 around stored blocks (RFC 1951 section 3.2.4), which no compressor chooses.

    Two builds of zlib may deflate, and even store, the same bytes differently.
    """
    chunks = [plain[at : at + _STORED_BYTES] for at in range(0, len(plain), _STORED_BYTES)] or [b""]
    body = bytearray()
    for index, chunk in enumerate(chunks):
        last = index == len(chunks) - 1
        body += struct.pack("<BHH", int(last), len(chunk), len(chunk) ^ 0xFFFF) + chunk
    trailer = struct.pack("<II", zlib.crc32(plain), len(plain) & 0xFFFFFFFF)
    return _GZIP_HEADER + bytes(body) + trailer
