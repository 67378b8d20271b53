"""The chaincode package: the same sources give the same bytes, other sources another id."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from chaincode.digest import check_package, package_facts, requirements_digest
from network import package
from network.package import PackageError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in {
        "chaincode/__init__.py": "",
        "chaincode/contract/decide.py": "x = 1\n",
        "chaincode/contract/notes.txt": "not code\n",
        "clearline/money.py": "y = 2\n",
        "clearline/fabric/client.py": "the contract imports nothing below clearline\n",
        "requirements/runtime.txt": "a==1\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def members(packed: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        return {member.name: member for member in archive}


def content(packed: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def test_layout_is_fabrics(root: Path) -> None:
    made = package.create("clearline_1.0", root)
    assert list(members(made.content)) == ["code.tar.gz", "metadata.json"]
    assert json.loads(content(made.content, "metadata.json")) == {
        "type": "ccaas",
        "label": "clearline_1.0",
    }
    code = content(made.content, "code.tar.gz")
    digest = json.loads(content(code, "code/digest.json"))
    assert digest["sha256"] == package.code_digest(root)
    assert digest["requirements_sha256"] == hashlib.sha256(b"a==1\n").hexdigest()
    assert made.id == f"clearline_1.0:{hashlib.sha256(made.content).hexdigest()}"


def test_its_own_server_takes_it(root: Path) -> None:
    """The two rooms compute both digests alike."""
    made = package.create("clearline_1.0", root)
    file = root / "made.tar.gz"
    file.write_bytes(made.content)
    assert package_facts(file).requirements_sha256 == requirements_digest(root)
    check_package(file, made.id, root)


def test_bytes_are_deterministic(root: Path) -> None:
    first = package.create("clearline_1.0", root)
    for path in root.rglob("*.py"):
        path.touch()
    assert package.create("clearline_1.0", root).content == first.content
    for member in members(first.content).values():
        assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
    # RFC 1952: no time, no name, system unknown; Python versions differ in what they write.
    assert first.content[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    assert gzip.decompress(first.content)[257:265] == b"ustar\x0000"


def test_known_bytes(root: Path) -> None:
    """The id on any machine and Python version; it changes only when the format does."""
    expected = "clearline_1.0:8a85f41f9a24f603d478344e0151ce0ecfd946fe9b93880e189552633dc86457"
    assert package.create("clearline_1.0", root).id == expected


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("chaincode/contract/decide.py", True),
        ("clearline/money.py", True),
        ("chaincode/contract/new.py", True),
        ("clearline/fabric/client.py", False),
        ("chaincode/contract/notes.txt", False),
        ("gateway/app.py", False),
    ],
)
def test_what_the_digest_covers(root: Path, name: str, counts: bool) -> None:
    before = package.code_digest(root)
    path = root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("changed\n", encoding="utf-8")
    assert (package.code_digest(root) != before) is counts


def test_the_rule_line_by_line(root: Path) -> None:
    lines = "".join(
        f"{name} {hashlib.sha256((root / name).read_bytes()).hexdigest()}\n"
        for name in ("chaincode/__init__.py", "chaincode/contract/decide.py", "clearline/money.py")
    )
    assert package.code_digest(root) == hashlib.sha256(lines.encode()).hexdigest()


def test_nothing_to_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no contract sources"):
        package.create("clearline_1.0", tmp_path)
