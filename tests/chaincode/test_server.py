"""Settings, package binding, and the server as a process."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from chaincode_tls import Authority
from click.testing import CliRunner
from fake_peer import FakePeer
from shim_world import run

from chaincode.cli import chaincode
from chaincode.digest import PackageError, check_package, code_digest, package_facts
from chaincode.server import ChaincodeServer
from chaincode.settings import SettingsError, load_settings, parse_settings

SETTINGS: dict[str, Any] = {
    "package": "clearline.tar.gz",
    "chaincode_id": "clearline:" + "a" * 64,
    "listen": "127.0.0.1:7052",
    "tls": {"cert": "cert.pem", "key": "key.pem", "client_ca": "client_ca.pem"},
    "peer_names": ["peer0.bankone"],
    "network": "clearline-dev",
}


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(buffer.getvalue(), mtime=0)


def package(folder: Path, digest: str, member: str = "code/digest.json", **more: str | int) -> str:
    """Write a chaincode package with this digest, and what else the digest's file says; its id."""
    code = archive({member: json.dumps({"sha256": digest} | more).encode()})
    metadata = json.dumps({"type": "ccaas", "label": "clearline"}).encode()
    packed = archive({"metadata.json": metadata, "code.tar.gz": code})
    (folder / "clearline.tar.gz").write_bytes(packed)
    return f"clearline:{hashlib.sha256(packed).hexdigest()}"


def settings_file(folder: Path, authority: Authority, **changed: Any) -> Path:
    authority.write(folder, authority.leaf("chaincode.bankone"))
    file = folder / "server.json"
    file.write_text(json.dumps(SETTINGS | changed), encoding="utf-8")
    return file


def test_settings_are_read(tmp_path: Path) -> None:
    settings = parse_settings(SETTINGS, tmp_path)
    assert settings.package == tmp_path / "clearline.tar.gz"
    assert settings.tls.client_ca == tmp_path / "client_ca.pem"
    assert settings.peer_names == ("peer0.bankone",)
    assert settings.clock_window_seconds == 300
    absolute = parse_settings(SETTINGS | {"package": "/x/y.tar.gz"}, tmp_path)
    assert absolute.package == Path("/x/y.tar.gz")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"package": None}, "package must be a text"),
        ({"extra": 1}, "unknown members: extra"),
        ({"chaincode_id": "clearline"}, "chaincode_id 'clearline' is not"),
        ({"listen": "7052"}, "listen '7052' is not"),
        ({"listen": "127.0.0.1:70520"}, "is not <host>:<port>"),
        ({"tls": {"cert": "c"}}, "tls lacks key, client_ca"),
        ({"tls": []}, "tls must be a JSON object"),
        ({"peer_names": []}, "peer_names must be a list with at least one name"),
        ({"peer_names": ["localhost"]}, "must not hold localhost"),
        ({"clock_window_seconds": 0}, "clock_window_seconds must be a whole number from 1"),
        ({"max_transactions": True}, "max_transactions must be a whole number from 1"),
    ],
)
def test_settings_refused(tmp_path: Path, changed: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says.replace("(", r"\(")):
        parse_settings(SETTINGS | changed, tmp_path)


def test_settings_files_refused(tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    with pytest.raises(SettingsError, match="No such file"):
        load_settings(file)
    file.write_text("{", encoding="utf-8")
    with pytest.raises(SettingsError, match="not JSON"):
        load_settings(file)
    file.write_text("[]", encoding="utf-8")
    with pytest.raises(SettingsError, match="the file must be a JSON object"):
        load_settings(file)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(SettingsError, match="the file lacks package, chaincode_id"):
        load_settings(file)


def sources(folder: Path) -> Path:
    for name, text in {
        "chaincode/a.py": "1",
        "chaincode/contract/b.py": "2",
        "clearline/c.py": "3",
        "clearline/fabric/d.py": "not counted",
        "gateway/e.py": "not counted",
        "chaincode/notes.txt": "not counted",
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def test_digest_by_its_rule(tmp_path: Path) -> None:
    root = sources(tmp_path)
    lines = [
        f"{name} {hashlib.sha256(text.encode()).hexdigest()}\n"
        for name, text in (
            ("chaincode/a.py", "1"),
            ("chaincode/contract/b.py", "2"),
            ("clearline/c.py", "3"),
        )
    ]
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert code_digest(root) == expected
    (root / "gateway/e.py").write_text("changed", encoding="utf-8")
    assert code_digest(root) == expected
    (root / "chaincode/contract/b.py").write_text("changed", encoding="utf-8")
    assert code_digest(root) != expected


def test_digest_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="no contract sources"):
        code_digest(tmp_path)


@pytest.mark.parametrize("member", ["code/digest.json", "digest.json"])
def test_own_package(tmp_path: Path, member: str) -> None:
    package_id = package(tmp_path, code_digest(), member)
    file = tmp_path / "clearline.tar.gz"
    check_package(file, package_id)
    assert package_facts(file).package_id == package_id


def test_packages_that_are_not_its_own(tmp_path: Path) -> None:
    file = tmp_path / "clearline.tar.gz"
    with pytest.raises(PackageError, match="not a chaincode package"):
        check_package(file, "clearline:" + "a" * 64)
    package_id = package(tmp_path, "f" * 64)
    with pytest.raises(PackageError, match="carries the code digest ffff"):
        check_package(file, package_id)
    package(tmp_path, code_digest())
    with pytest.raises(PackageError, match="the settings say"):
        check_package(file, package_id)
    for content in (b"", b"no gzip", gzip.compress(b"no tar"), archive({"a": b"b"})):
        file.write_bytes(content)
        with pytest.raises(PackageError, match="not a chaincode package"):
            package_facts(file)
    package(tmp_path, "f" * 64, "other.json")
    with pytest.raises(PackageError, match="carries no digest"):
        package_facts(file)


def test_packages_of_other_requirements(tmp_path: Path) -> None:
    """Endorsers of other libraries may disagree; a package without pins names none."""
    root, file = sources(tmp_path), tmp_path / "clearline.tar.gz"
    pins = root / "requirements" / "runtime.txt"
    pins.parent.mkdir()
    pins.write_text("cryptography==1\n", encoding="utf-8")
    check_package(file, package(tmp_path, code_digest(root)), root)
    sha256 = hashlib.sha256(b"cryptography==1\n").hexdigest()
    package_id = package(tmp_path, code_digest(root), requirements_sha256=sha256)
    check_package(file, package_id, root)
    pins.write_text("cryptography==2\n", encoding="utf-8")
    with pytest.raises(
        PackageError, match=f"made with the requirements {sha256}, this server pins"
    ):
        check_package(file, package_id, root)
    pins.unlink()
    with pytest.raises(PackageError, match="this server has none"):
        check_package(file, package_id, root)
    package(tmp_path, code_digest(root), requirements_sha256=7)
    with pytest.raises(PackageError, match="is not a text"):
        package_facts(file)


def test_a_package_that_unpacks_without_end(tmp_path: Path) -> None:
    file = tmp_path / "clearline.tar.gz"
    file.write_bytes(gzip.compress(bytes(64 * 1024 * 1024)))
    with pytest.raises(PackageError, match="unpacks to more than"):
        package_facts(file)


def test_digest_command() -> None:
    shown = CliRunner().invoke(chaincode, ["digest"])
    assert shown.output == f"{code_digest()}\n"


def test_serve_command_says_what_is_wrong(tmp_path: Path) -> None:
    shown = CliRunner().invoke(chaincode, ["serve", "--config", str(tmp_path / "none.json")])
    assert shown.exit_code == 1
    assert "No such file" in shown.output


def test_files_and_ports_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    async def test() -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            file = settings_file(tmp_path, authority, listen=listen)
            with pytest.raises(SettingsError, match="is the port taken"):
                await ChaincodeServer(load_settings(file), _Silent()).start()
        file = settings_file(tmp_path, authority, listen="127.0.0.1:0")
        (tmp_path / "key.pem").unlink()
        with pytest.raises(SettingsError, match=r"key\.pem: No such file"):
            await ChaincodeServer(load_settings(file), _Silent()).start()

    run(test())


class _Silent:
    async def invoke(self, stub: Any) -> Any:
        raise NotImplementedError


def start(file: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "chaincode.cli", "serve", "--config", str(file)],
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_process_serves_until_sigterm(authority: Authority, tmp_path: Path) -> None:
    package_id = package(tmp_path, code_digest())
    file = settings_file(tmp_path, authority, chaincode_id=package_id, listen="127.0.0.1:0")
    process = start(file)
    assert process.stderr is not None
    try:
        line = json.loads(process.stderr.readline())
        assert line["message"] == "serving"

        async def test() -> None:
            peer = await FakePeer.connect(line["port"], authority, authority.leaf("peer0.bankone"))
            assert peer.registered_as == package_id
            await peer.close()

        asyncio.run(asyncio.wait_for(test(), 10))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_the_process_refuses_another_package(authority: Authority, tmp_path: Path) -> None:
    package_id = package(tmp_path, "f" * 64)
    process = start(settings_file(tmp_path, authority, chaincode_id=package_id))
    try:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "carries the code digest ffff" in errors
    finally:
        process.kill()


def test_the_process_refuses_a_package_of_other_requirements(
    authority: Authority, tmp_path: Path
) -> None:
    package_id = package(tmp_path, code_digest(), requirements_sha256="e" * 64)
    process = start(settings_file(tmp_path, authority, chaincode_id=package_id))
    try:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "was made with the requirements eeee" in errors
    finally:
        process.kill()
