"""What a CA answers when it is none, lies, or says nothing; and folders that a crash left."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from identity_world import authority

from network.ca import adapter, keys, store
from network.ca.cli import identity
from network.ca.client import CAAddress, CertificateAuthority, Profile
from network.ca.enrolment import Member
from network.ca.errors import Code, IdentityCommandError
from network.ca.store import Place
from network.certificates import create_authority, issue_identity, issue_tls

DOCUMENT = Path(__file__).parents[2] / "docs" / "identities.md"
Body = bytes | None


@contextmanager
def answering(status: int, body: Body, content_type: str = "application/json") -> Iterator[str]:
    """An HTTP server on the loopback that gives one answer; None for none before it is stopped."""
    stopped = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if body is None:
                stopped.wait(20)
                return
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        stopped.set()
        server.shutdown()
        server.server_close()
        thread.join()


def failure(call: Callable[[], object]) -> Code:
    with pytest.raises(IdentityCommandError) as failed:
        call()
    return failed.value.code


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>a portal</html>"),
        (200, b""),
        (200, b"[]"),
        (200, b"null"),
        (200, b"{}"),
        (500, b'{"success": false}'),
        (500, b'{"success": false, "errors": []}'),
        (500, b'{"success": false, "errors": [{"code": "many", "message": 1}]}'),
        (200, b'{"success": true, "result": {}}'),
        (200, b'{"success": true, "result": null}'),
        (200, b'{"success": true, "result": {"CAChain": "%%%"}}'),
        (200, b'{"success": true, "result": {"CAChain": "QUJD"}}'),
        (302, b""),
    ],
)
def test_what_is_no_fabric_ca_is_told_so(status: int, body: bytes) -> None:
    with answering(status, body) as url:
        ca = CertificateAuthority(CAAddress(url, "", None))
        assert failure(ca.certificate) is Code.CA_BAD_ANSWER


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (10, Code.NOT_REGISTERED),
        (19, Code.CA_UNKNOWN),
        (20, Code.WRONG_SECRET),
        (70, Code.REVOKED),
        (71, Code.NOT_AUTHORISED),
        (73, Code.WRONG_SECRET),
        (74, Code.ALREADY_REGISTERED),
        (80, Code.CA_REFUSED),
        (0, Code.CA_REFUSED),
    ],
)
def test_each_refusal_has_its_code(number: int, code: Code) -> None:
    body = json.dumps({"success": False, "errors": [{"code": number, "message": "no"}]}).encode()
    csr = keys.signing_request(keys.new_key(), "BankOne", "somebody", ())
    with answering(401, body) as url:
        ca = CertificateAuthority(CAAddress(url, "", None))
        assert failure(lambda: ca.enroll("somebody", "s", csr, Profile.IDENTITY)) is code


def test_a_ca_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapter, "_TIMEOUTS", (2.0, 0.2))
    with answering(200, None) as url:
        ca = CertificateAuthority(CAAddress(url, "", None))
        with pytest.raises(IdentityCommandError, match="may have been carried out") as failed:
            ca.certificate()
    assert failed.value.code is Code.CA_UNREACHABLE


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://ca.example:7054", Code.CA_INSECURE),
        ("http://10.0.0.1:7054", Code.CA_INSECURE),
        ("ftp://localhost", Code.CA_UNREACHABLE),
        ("localhost:7054", Code.CA_UNREACHABLE),
        ("https://name:secret@localhost:7054", Code.CA_UNREACHABLE),
        ("http://127.0.0.1:1", None),
    ],
)
def test_secrets_go_over_tls_or_stay_on_this_machine(url: str, code: Code | None) -> None:
    if code is None:
        CAAddress(url, "", None).check()
        return
    assert failure(CAAddress(url, "", None).check) is code


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../admin", "a\x00b", "a b", "%2e"])
def test_a_name_that_is_no_files_is_refused(member: Member, name: str) -> None:
    assert failure(lambda: member.place(name, Profile.IDENTITY)) is Code.NOT_REGISTERED


def test_only_the_certificate_that_was_asked_for_is_kept(member: Member) -> None:
    own = authority(member.home.organization("BankOne") / "ca")
    other = create_authority("BankOne", "ca.bankone")
    good = issue_identity(own, "BankOne", "client", "somebody")
    expected = keys.Expected("somebody", _key(good.private_key), (own.certificate,), ())
    keys.check_issued(_certificate(good.certificate), expected)
    from_other = issue_identity(other, "BankOne", "client", "somebody")
    wrong = [
        (_certificate(good.certificate), replace(expected, key=keys.new_key())),
        (_certificate(good.certificate), replace(expected, name="somebody-else")),
        (_certificate(good.certificate), replace(expected, hosts=("pay.example",))),
        (own.certificate, replace(expected, name="ca.bankone", key=own.private_key)),
    ]
    for certificate, wanted in wrong:
        found = failure(lambda c=certificate, w=wanted: keys.check_issued(c, w))  # type: ignore[misc]
        assert found is Code.WRONG_CERTIFICATE
    stranger = replace(expected, key=_key(from_other.private_key))
    found = failure(lambda: keys.check_issued(_certificate(from_other.certificate), stranger))
    assert found is Code.UNTRUSTED_CA
    tls = issue_tls(own, "BankOne", "somebody", ("pay.example",))
    keys.check_issued(
        _certificate(tls.certificate),
        replace(expected, key=_key(tls.private_key), hosts=("pay.example", "127.0.0.1")),
    )


@pytest.fixture
def folder(member: Member, tmp_path: Path) -> Place:
    """A user's place in a copy of the home's folder."""
    source = member.place("checker", Profile.IDENTITY)
    base = tmp_path / "checker"
    shutil.copytree(source.base, base)
    return replace(source, base=base)


def test_a_crash_at_any_moment_of_a_replacement_leaves_one_whole_identity(folder: Place) -> None:
    old = folder.certificate_file(folder.folder).read_bytes()
    aside = folder.base / ".msp.old"

    # before the CA answered: the key alone is in the new folder
    folder.begin(keys.key_pem(keys.new_key()))
    folder.recover()
    assert folder.certificate_file(folder.folder).read_bytes() == old
    assert not folder.stage.exists()

    # the new folder is whole, the old one in place
    shutil.copytree(folder.folder, folder.stage)
    folder.recover()
    assert folder.certificate_file(folder.folder).read_bytes() == old

    # between the two renames
    shutil.copytree(folder.folder, folder.stage)
    folder.certificate_file(folder.stage).write_bytes(b"new")
    folder.folder.rename(aside)
    folder.recover()
    assert folder.certificate_file(folder.folder).read_bytes() == b"new"
    assert not aside.exists()

    # the old one aside and nothing else
    folder.folder.rename(aside)
    folder.recover()
    assert folder.certificate_file(folder.folder).read_bytes() == b"new"


def test_damaged_folders_are_named(folder: Place) -> None:
    record = folder.folder / "enrollment.json"
    for text in ("", "{}", '{"format": 9}', '{"format": 1, "ca": []}'):
        record.write_text(text)
        assert failure(lambda: store.load(folder)) is Code.UNREADABLE
    record.unlink()
    folder.certificate_file(folder.folder).write_bytes(b"nonsense")
    assert failure(lambda: store.load(folder)) is Code.UNREADABLE
    folder.certificate_file(folder.folder).unlink()
    assert store.load(folder) is None


def test_no_network_and_no_such_organisation_are_told(member: Member, tmp_path: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(identity, ["list", "--org", "BankOne", "--home", str(tmp_path / "no")])
    assert (result.exit_code, "[no_network]" in result.output) == (1, True)
    home = str(member.home.root)
    result = runner.invoke(identity, ["list", "--org", "BankNine", "--home", home])
    assert (result.exit_code, "BankOne, BankTwo, Supervisor" in result.output) == (2, True)
    words = ["reenroll", "--org", "BankOne", "--home", home, "--before", "soon"]
    assert runner.invoke(identity, words).exit_code == 2
    words = ["register", "x", "--org", "BankOne", "--home", home, "--type", "peer"]
    assert runner.invoke(identity, [*words, "--role", "gateway"]).exit_code == 2


def test_every_code_is_documented() -> None:
    text = DOCUMENT.read_text()
    assert [code for code in Code if f"`{code}`" not in text] == []


def _certificate(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def _key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
