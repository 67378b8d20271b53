"""node.json and chaincode packages: what is taken, and a clear word on what isn't."""

import json
from pathlib import Path
from typing import Any

import pytest
from peer_world import make_package

from network.embedded.peer.config import load
from network.embedded.peer.packages import (
    PackageError,
    PackageNotFoundError,
    PackageStore,
    connection_from_json,
    parse,
)
from network.embedded.settings import ConfigError
from network.package import _archive, _json

SETTINGS: dict[str, Any] = {
    "name": "peer0.bankone",
    "msp_id": "BankOne",
    "msp_dir": "msp",
    "listen": "127.0.0.1:7051",
    "tls": {"certificate": "c.pem", "private_key": "/k.pem", "client_roots": ["a.pem"]},
    "data_dir": "data",
    "chaincode": {"kv": "connection.json"},
}


def _write(folder: Path, **changes: Any) -> Path:
    settings = {**SETTINGS, **changes}
    kept = {key: value for key, value in settings.items() if value is not None}
    path = folder / "node.json"
    path.write_text(json.dumps(kept))
    return path


def test_paths_are_taken_from_the_files_folder(tmp_path: Path) -> None:
    config = load(_write(tmp_path))
    assert config.msp_dir == tmp_path / "msp"
    assert config.tls.private_key == Path("/k.pem")
    assert config.tls.client_roots == (tmp_path / "a.pem",)
    assert config.chaincode == {"kv": tmp_path / "connection.json"}
    assert config.external_endpoint == config.listen == "127.0.0.1:7051"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"listen": "127.0.0.1"}, 'listen: "127.0.0.1" is not host:port'),
        ({"listen": "127.0.0.1:99999"}, "is not host:port"),
        ({"external_endpoint": ":1"}, "external_endpoint"),
        ({"msp_id": None}, "setting 'msp_id' is missing"),
        ({"tls": {}}, "setting 'certificate' is missing"),
        ({"tls": 3}, "not subscriptable"),
        ({"colour": "red"}, "unknown settings: colour"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    path = _write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_file_that_is_no_settings_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "node.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"node\.json"):
        load(path)


def _package(metadata: dict[str, str] | None, code: bytes | None) -> bytes:
    files = {}
    if metadata is not None:
        files["metadata.json"] = _json(metadata)
    if code is not None:
        files["code.tar.gz"] = code
    return _archive(files)


@pytest.mark.parametrize(
    ("package", "text"),
    [
        (b"", "error reading as gzip stream: EOF"),
        (b"not gzip", "gzip"),
        (_package(None, b""), "missing metadata.json"),
        (_package({"label": "kv", "type": "ccaas"}, None), "did not find a code package"),
        (_package({"type": "ccaas"}, b""), "could not unmarshal metadata.json"),
        (_package({"label": "../kv", "type": "ccaas"}, b""), "invalid label"),
        (_package({"label": "", "type": "ccaas"}, b""), "invalid label"),
        (make_package().content[:-30], "gzip"),
    ],
)
def test_a_bad_package_is_refused(tmp_path: Path, package: bytes, text: str) -> None:
    with pytest.raises(PackageError, match=text):
        parse(package)
    store = PackageStore(tmp_path, {})
    with pytest.raises(PackageError, match="could not parse"):
        store.install(package)
    assert PackageStore(tmp_path, {}).installed() == []


def test_a_package_is_kept_and_its_connection_found_inside_or_beside(tmp_path: Path) -> None:
    inside = make_package({"address": "127.0.0.1:1", "tls_required": False})
    store = PackageStore(tmp_path / "packages", {})
    with pytest.raises(PackageError, match=r"neither a connection\.json"):
        store.install(make_package().content)
    installed = store.install(inside.content)
    assert installed.package_id == inside.id
    with pytest.raises(PackageError, match="already successfully installed"):
        store.install(inside.content)
    again = PackageStore(tmp_path / "packages", {})
    assert again.load(inside.id) == inside.content
    assert again.connection(inside.id).address == "127.0.0.1:1"
    beside = tmp_path / "connection.json"
    beside.write_text(json.dumps({"address": "127.0.0.1:2"}))
    assert PackageStore(tmp_path / "packages", {"kv_1": beside}).connection(inside.id).address == (
        "127.0.0.1:2"
    )
    with pytest.raises(PackageNotFoundError):
        again.load("kv_1:0")


@pytest.mark.parametrize(
    ("connection", "text"),
    [
        ({}, "can't be used"),
        ({"address": ""}, "address not provided"),
        ({"address": "a:1", "tls_required": True}, "lacks root_cert"),
        (
            {
                "address": "a:1",
                "tls_required": True,
                "root_cert": "x",
                "client_auth_required": True,
            },
            "lacks root_cert, client_key",
        ),
        ([], "can't be used"),
    ],
)
def test_a_connection_that_lacks_something_is_refused(connection: Any, text: str) -> None:
    with pytest.raises(PackageError, match=text):
        connection_from_json(json.dumps(connection).encode())
