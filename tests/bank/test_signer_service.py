"""The signing service over real mutual TLS: whom it signs for, what it signs, how it fails."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from samples import REFUND_REPORT, REPORT
from signing_place import SigningPlace

from bank import signer_settings
from bank.cli import bank
from bank.signer_desk import SignerDesk
from bank.signer_server import SignerServer
from clearline import jws, reports
from clearline.jws import Algorithm, KeySigner, Typ
from clearline.signers import wire
from clearline.signers.holders import (
    Answer,
    FileHolder,
    Holder,
    KnownKey,
    SignerDownError,
    SignerRefusedError,
)
from clearline.signers.remote import RemoteHolder
from clearline.signers.settings import SignerSettingsError
from network.certificates import create_authority

KEY = KeySigner.generate()
OURS = replace(REPORT, acquirer_id="unionpay")


def text_of(report: reports.Report, key: KeySigner = KEY, typ: Typ = Typ.REPORT) -> bytes:
    return jws.signing_input(report.payload(), typ, key).encode()


@pytest.fixture
def place(tmp_path: Path) -> SigningPlace:
    return SigningPlace.make(tmp_path, KEY, OURS.network)


@contextmanager
def serving(place: SigningPlace, holder: Holder | None = None) -> Iterator[SignerServer]:
    """The service in this process."""
    settings = signer_settings.load(place.folder / "signer.json")
    key = KnownKey(place.key.public_key, place.key.key_id)
    desk = SignerDesk(key, holder or FileHolder(place.key), settings.network, settings.acquirer_id)
    server = SignerServer(settings, desk)
    server.start()
    place.port = server.port
    try:
        yield server
    finally:
        server.stop()


def asked(place: SigningPlace, *inputs: bytes, client: str = "connector") -> Sequence[Answer]:
    """One call on a connection of its own."""
    holder = RemoteHolder(place.remote(client), place.key.key_id)
    try:
        return holder.sign(inputs)
    finally:
        holder.close()


def test_a_connectors_reports_are_signed(place: SigningPlace) -> None:
    inputs = [text_of(replace(OURS, sequence=n)) for n in range(1, 32)]
    inputs.append(text_of(REFUND_REPORT))
    with serving(place):
        answers = asked(place, *inputs)
    for text, signature in zip(inputs, answers, strict=True):
        assert isinstance(signature, bytes)
        KEY.public_key.verify_bytes(text, signature)


ES256 = KeySigner.generate(Algorithm.ES256)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (text_of(replace(OURS, acquirer_id="qr_wallet")), "a report of qr_wallet in"),
        (text_of(replace(OURS, network="other")), "in other, not of"),
        (text_of(OURS, typ=Typ.RECEIPT), "not a report: .*typ must be"),
        (text_of(OURS, KeySigner.generate()), "another key"),
        (text_of(OURS, ES256), "another key or algorithm"),
        (b"eyJhbGciOiJub25lIn0.e30", "not a report"),
    ],
)
def test_nothing_else_is_signed_and_spoils_nothing(
    place: SigningPlace, text: bytes, said: str
) -> None:
    with serving(place):
        first, odd, last = asked(place, text_of(OURS), text, text_of(OURS))
    assert isinstance(odd, SignerRefusedError)
    with pytest.raises(SignerRefusedError, match=said):
        raise odd
    for signature in (first, last):
        assert isinstance(signature, bytes)
        KEY.public_key.verify_bytes(text_of(OURS), signature)


@pytest.mark.parametrize(
    ("role", "ours", "said"),
    [
        ("gateway", "ours", "403 your TLS certificate does not give you the role connector"),
        ("", "ours", "403 your TLS certificate"),
        ("connector", "", "signer at"),
    ],
)
def test_only_the_banks_connectors_are_signed_for(
    place: SigningPlace, role: str, ours: str, said: str
) -> None:
    place.issue("odd", role, None if ours else create_authority("BankTwo", "tlsca"))
    with serving(place), pytest.raises(SignerDownError, match=said):
        asked(place, text_of(OURS), client="odd")


def test_without_a_certificate_nothing_is_heard(place: SigningPlace) -> None:
    context = ssl.create_default_context(cafile=str(place.folder / "ca.pem"))
    with (
        serving(place),
        socket.create_connection(("127.0.0.1", place.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        wrapped.sendall(b"POST /v1/signatures HTTP/1.1\r\n\r\n")
        assert wrapped.recv(100) == b"an alert"


def test_another_service_is_not_believed(place: SigningPlace) -> None:
    """A certificate of the right CA for another name, and one of another CA."""
    with serving(place):
        holder = RemoteHolder(place.remote(server_name="signer.bankone"), KEY.key_id)
        with pytest.raises(SignerDownError, match="certificate verify failed"):
            holder.sign([text_of(OURS)])
        (place.folder / "ca.pem").write_bytes(create_authority("X", "tlsca").pem)
        with pytest.raises(SignerDownError, match="certificate verify failed"):
            asked(place, text_of(OURS))


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/signatures", b"{}", 400),
        ("POST", "/v1/signatures", wire.request_body("x" * 43, [text_of(OURS)]), 404),
        ("POST", "/v1/keys", b"{}", 404),
        ("GET", "/v1/signatures", b"", 405),
        ("POST", "/v1/signatures", b"x" * (wire.LARGEST_REQUEST + 1), 413),
    ],
)
def test_what_is_no_call_gets_a_status(
    place: SigningPlace, method: str, path: str, body: bytes, status: int
) -> None:
    context = ssl.create_default_context(cafile=str(place.folder / "ca.pem"))
    context.load_cert_chain(place.folder / "connector.pem", place.folder / "connector.key")
    with (
        serving(place),
        socket.create_connection(("127.0.0.1", place.port), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        wrapped.sendall(head.encode() + (body if status != 413 else b""))
        answer = wrapped.recv(4096)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert wire.parse_error(answer.partition(b"\r\n\r\n")[2])


class Away:
    """A holder whose token is not there."""

    def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        raise SignerDownError("token clearline: TokenNotPresent")

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_holder_that_is_away_is_503_and_its_reason_comes_along(place: SigningPlace) -> None:
    with serving(place, Away()), pytest.raises(SignerDownError, match="503 token clearline: To"):
        asked(place, text_of(OURS))


def test_a_connection_that_was_closed_meanwhile_is_made_anew(place: SigningPlace) -> None:
    with serving(place):
        holder = RemoteHolder(place.remote(), KEY.key_id)
        holder.sign([text_of(OURS)])
    document = json.loads((place.folder / "signer.json").read_text())
    document["listen"] = f"127.0.0.1:{place.port}"
    (place.folder / "signer.json").write_text(json.dumps(document))
    with pytest.raises(SignerDownError, match="refused"):
        holder.sign([text_of(OURS)])
    with serving(place):
        holder.sign([text_of(OURS)])
        kept = holder._kept
    with serving(place):
        (signature,) = holder.sign([text_of(OURS)])
        assert isinstance(signature, bytes)
        assert holder._kept is not kept
        holder.close()


class Slow(FileHolder):
    """A holder that waits to be let go."""

    def __init__(self) -> None:
        super().__init__(KEY)
        self.asked = threading.Event()
        self.free = threading.Event()

    def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        self.asked.set()
        assert self.free.wait(10)
        return super().sign(messages)


def test_a_call_that_waits_for_an_answer_can_be_interrupted(place: SigningPlace) -> None:
    slow = Slow()

    async def go() -> None:
        client = RemoteHolder(place.remote(timeout_seconds=60), KEY.key_id)
        call = asyncio.create_task(asyncio.to_thread(client.sign, [text_of(OURS)]))
        await asyncio.to_thread(slow.asked.wait, 10)
        client.interrupt()
        async with asyncio.timeout(5):
            with pytest.raises(SignerDownError):
                await call
        slow.free.set()

    with serving(place, slow):
        asyncio.run(go())


def test_settings_and_keys_are_printed_or_named(place: SigningPlace) -> None:
    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(bank, ["signer", *words])
        return result.exit_code, result.output

    path = place.folder / "signer.json"
    code, shown = run("public-key", "--config", str(path))
    assert (code, json.loads(shown)) == (0, {"kid": KEY.key_id, "jwk": KEY.jwk})
    good = json.loads(path.read_text())
    for change, said in (
        ({"signer": place.member()}, "file or pkcs11"),
        ({"signer": {"file": "missing.pem"}}, "missing.pem"),
        ({"listen": "here"}, "/listen: must be host:port"),
        ({"extra": 1}, "/extra: is not a member"),
        ({"tls": {"certificate": "service.pem"}}, "/tls/private_key: is missing"),
        (
            {"tls": good["tls"] | {"client_ca": "missing.pem"}},
            "missing.pem: [Errno 2] No such file",
        ),
    ):
        path.write_text(json.dumps(good | change))
        code, shown = run("serve", "--config", str(path))
        assert code == 1, shown
        assert said in shown
    path.write_text("{")
    with pytest.raises(SignerSettingsError, match="not JSON"):
        signer_settings.load(path)
