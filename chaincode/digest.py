"""The digest that binds a chaincode package to the code that serves it.

A package id says nothing about a service's code (docs/trust.md), so the package carries
`digest.json` {"sha256": <hex>} in its code archive and a server refuses to serve a package whose
digest is not its own. The digest is a SHA-256 over the sorted lines

    <posix path relative to the distribution root> <sha256 of the file in hex>\\n

of chaincode/**/*.py and clearline/*.py (the top level only: the contract imports nothing below).

`digest.json` also has `requirements_sha256`, of requirements/runtime.txt, when the packager had
that file: endorsers must agree on every signature, and libraries of other versions may not.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

# A package is a few kilobytes; a bound keeps a hostile archive from filling the memory.
_MAX_PACKAGE_BYTES = 8 * 1024 * 1024
# Both spellings occur in the field: archives with and without the leading folder.
_DIGEST_MEMBERS = ("digest.json", "code/digest.json")
_REQUIREMENTS = Path("requirements") / "runtime.txt"


class PackageError(Exception):
    """The package isn't this server's: the message says which part differs."""


@dataclass(frozen=True, slots=True)
class PackageFacts:
    """What a chaincode package says of itself: its id (label:sha256) and its code's digest.

    requirements_sha256: of the pinned requirements it was made with; None when it names none.
    """

    package_id: str
    code_sha256: str
    requirements_sha256: str | None = None


def distribution_root() -> Path:
    """The folder that holds the installed `chaincode` and `clearline` packages."""
    return Path(__file__).resolve().parent.parent


def code_digest(root: Path | None = None) -> str:
    """SHA-256 in hex over the contract's sources below `root`, by default the running ones."""
    base = distribution_root() if root is None else root
    files = [*(base / "chaincode").rglob("*.py"), *(base / "clearline").glob("*.py")]
    lines = sorted(
        f"{file.relative_to(base).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n"
        for file in files
    )
    if not lines:
        raise PackageError(f"no contract sources below {base}")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def requirements_digest(root: Path | None = None) -> str | None:
    """SHA-256 in hex of the pinned requirements below `root`; None when they are not there."""
    file = (distribution_root() if root is None else root) / _REQUIREMENTS
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def package_facts(path: Path) -> PackageFacts:
    """Read a package's label and code digest; raises PackageError when it can't be read.

    Layout: metadata.json and code.tar.gz in a gzipped tar
    (Fabric core/chaincode/persistence/chaincode_package.go).
    """
    try:
        packed = path.read_bytes()
        if len(packed) > _MAX_PACKAGE_BYTES:
            raise PackageError(f"{path}: larger than {_MAX_PACKAGE_BYTES} bytes")
        members = _members(packed)
        metadata = json.loads(members["metadata.json"])
        code = _members(members["code.tar.gz"])
        digest = json.loads(next(code[name] for name in _DIGEST_MEMBERS if name in code))
        label, sha256 = metadata["label"], digest["sha256"]
        pinned = digest.get("requirements_sha256")
    except (
        OSError,
        tarfile.TarError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise PackageError(f"{path}: not a chaincode package of ours: {error!r}") from error
    except StopIteration:
        raise PackageError(f"{path}: carries no digest.json") from None
    if not all(isinstance(text, str) for text in (label, sha256, pinned or "")):
        raise PackageError(f"{path}: label or digest is not a text")
    return PackageFacts(f"{label}:{hashlib.sha256(packed).hexdigest()}", sha256, pinned)


def check_package(path: Path, chaincode_id: str, root: Path | None = None) -> None:
    """Raise PackageError unless the package has this id and carries this code's digest and, when
    it names any, the digest of these pinned requirements."""
    facts = package_facts(path)
    if facts.package_id != chaincode_id:
        raise PackageError(f"{path} is package {facts.package_id}, the settings say {chaincode_id}")
    own = code_digest(root)
    if facts.code_sha256 != own:
        raise PackageError(
            f"{path} carries the code digest {facts.code_sha256}, this server's code is {own}: "
            "package and install this version, or start the version that was packaged"
        )
    pinned = requirements_digest(root)
    if facts.requirements_sha256 not in (None, pinned):
        have = f"pins {pinned}" if pinned else "has none"
        raise PackageError(
            f"{path} was made with the requirements {facts.requirements_sha256}, this server "
            f"{have} ({_REQUIREMENTS}): set up and start the version that was packaged, or package "
            "and install this one"
        )


def _members(packed: bytes) -> dict[str, bytes]:
    with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
        plain = stream.read(_MAX_PACKAGE_BYTES + 1)
    if len(plain) > _MAX_PACKAGE_BYTES:
        raise ValueError(f"unpacks to more than {_MAX_PACKAGE_BYTES} bytes")
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                found[member.name.removeprefix("./")] = content.read()
    return found
