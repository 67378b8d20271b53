"""What a bank must not send: each gets its response code or ends the connection, no more."""

import asyncio
import json
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_acquirer import PURCHASE, REVERSAL, Bank, altered, running, with_bank

from acquirers.authority import FolderTakenError
from acquirers.cli import acquirer
from acquirers.settings import SettingsError
from acquirers.unionpay_iso8583 import codec, settings
from acquirers.unionpay_iso8583.book import read_entries
from acquirers.unionpay_iso8583.codec import CodecError, Message
from acquirers.unionpay_iso8583.create import create

REFUSED = {
    "unknown merchant": (altered(PURCHASE, f42="123456789012345"), "03"),
    "currency": (altered(PURCHASE, f49="999"), "12"),
    "processing code": (altered(PURCHASE, f3="310000"), "12"),
    "a refund of nothing named": (altered(PURCHASE, f3="200000"), "30"),
    "a refund of no payment": (altered(PURCHASE, f3="200000", f62="0" * 40), "12"),
    "zero amount": (altered(PURCHASE, f4="000000000000"), "13"),
    "unknown token": (altered(PURCHASE, f60="tok_nobody"), "14"),
    "amount not digits": (altered(PURCHASE, f4="00000000-933"), "30"),
    "short reference": (altered(PURCHASE, f61="abc"), "30"),
    "upper-case reference": (altered(PURCHASE, f61="A" * 40), "30"),
    "no reference": (altered(PURCHASE, without=("61",)), "30"),
    "no token": (altered(PURCHASE, without=("60",)), "30"),
    "no amount": (altered(PURCHASE, without=("4",)), "30"),
    "trace number not digits": (altered(PURCHASE, f11="00000x"), "30"),
    "reversal without original": (altered(REVERSAL, without=("90",)), "30"),
    "another institution": (altered(PURCHASE, f33="11111"), "92"),
    "another type": (replace(PURCHASE, mti="0100"), "12"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_content_gets_its_code_and_the_connection_goes_on(tmp_path: Path, name: str) -> None:
    message, code = REFUSED[name]

    async def test(bank: Bank) -> None:
        assert (await bank.ask(message)).get("39") == code
        assert (await bank.ask(altered(PURCHASE, f61="b" * 40))).get("39") == "00"

    charged = [item.reference for item in read_entries(with_bank(tmp_path, test)) if item.charges]
    assert charged == ["b" * 40]


@pytest.mark.parametrize("message", [PURCHASE, REVERSAL], ids=["0200", "0420"])
@pytest.mark.parametrize("how", ["flipped", "other key", "absent"])
def test_a_wrong_mac_is_answered_and_nothing_is_done(
    tmp_path: Path, message: Message, how: str
) -> None:
    async def test(bank: Bank) -> None:
        body = codec.encode(message, bank.key)
        if how == "flipped":
            body = body[:-1] + bytes([body[-1] ^ 1])
        elif how == "other key":
            body = codec.encode(message, bytes(16))
        elif message is PURCHASE:  # drop field 64: its bit and its bytes
            body = body[:11] + bytes([body[11] & 0xFE]) + body[12:-8]
        else:
            body = body[:19] + bytes([body[19] & 0xFE]) + body[20:-8]
        await bank.send_bytes(body)
        assert (await bank.receive()).get("39") == "A0"

    assert read_entries(with_bank(tmp_path, test)) == []


GARBAGE = {
    "zero length": b"\x00\x00",
    "too long": b"\xff\xff" + b"0200" * 10,
    "just too long": (2049).to_bytes(2, "big") + bytes(2049),
    "too short": b"\x00\x04" + b"0200",
    "not ISO 8583": b"\x00\x40" + bytes(range(64)),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + bytes(30_000),
    "an answer": b"\x00\x14" + b"0210" + bytes(8) + bytes(8),
    "a field that is not there": b"\x00\x14" + b"0200" + b"\x40" + bytes(7) + bytes(8),
    "letters as type": b"\x00\x14" + b"ABCD" + bytes(8) + bytes(8),
    "version 1993": b"\x00\x14" + b"1200" + bytes(8) + bytes(8),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_ends_its_own_connection_only(tmp_path: Path, name: str) -> None:
    async def run() -> None:
        async with running(tmp_path) as acquirer, acquirer.signed_on() as other:
            async with acquirer.signed_on() as bank:
                bank.writer.write(GARBAGE[name])
                assert await bank.closed()
            assert (await other.ask(PURCHASE)).get("39") == "00"

    asyncio.run(run())


def test_a_frame_cut_short_by_the_end_of_the_connection(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as acquirer, acquirer.signed_on() as other:
            async with acquirer.signed_on() as bank:
                body = codec.encode(PURCHASE, bank.key)
                bank.writer.write(len(body).to_bytes(2, "big") + body[:-1])
                await bank.writer.drain()
            assert (await other.ask(REVERSAL)).get("39") == "25"

    asyncio.run(run())


def test_silence_ends_the_connection(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        assert await bank.closed()

    with_bank(tmp_path, test, idle_seconds=0.2)


def test_plain_text_and_an_unknown_authority_are_not_served(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as acquirer:
            reader, writer = await asyncio.open_connection("127.0.0.1", acquirer.server.port)
            writer.write(codec.encode(PURCHASE, acquirer.settings.mac_key))
            async with asyncio.timeout(5):
                said = await reader.read(1000)  # a TLS alert at most
            assert len(said) < 20
            writer.transport.abort()
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(
                    "127.0.0.1", acquirer.server.port, ssl=ssl.create_default_context(),
                    server_hostname="localhost",
                )  # fmt: skip

    asyncio.run(run())


def test_the_codec_reads_what_it_writes_and_refuses_the_rest() -> None:
    key = bytes(range(16))
    for message in (PURCHASE, REVERSAL):
        raw = codec.encode(message, key)
        assert codec.decode(raw) == message
        assert codec.mac_matches(raw, key)
        for index in range(len(raw)):
            changed = raw[:index] + bytes([raw[index] ^ 0x01]) + raw[index + 1 :]
            assert not codec.mac_matches(changed, key)
    with pytest.raises(CodecError):
        codec.encode(altered(PURCHASE, f61="a" * 41), key)
    with pytest.raises(CodecError):
        codec.encode(Message("0200", {"5": "1"}), key)


def test_the_mac_is_aes_cmac() -> None:
    # NIST SP 800-38B, example 2 for AES-128, cut to 8 bytes.
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    data = bytes.fromhex("6bc1bee22e409f96e93d7e117393172a")
    assert codec.mac(data, key).hex() == "070a16b46b4d4144"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"listen": "nowhere"}, "listen"),
        ({"listen": "127.0.0.1:70000"}, "listen"),
        ({"surprise": 1}, "surprise"),
        ({"name": ""}, "name"),
        ({"late_seconds": -1}, "late_seconds"),
        ({"mac_key_file": "missing"}, "missing"),
        ({"mac_key_file": "ca.pem"}, "hex"),
        ({"tls": "x"}, "tls"),
        ({"institutions": ["x"]}, "institutions"),
    ],
)
def test_bad_settings_say_what_is_wrong(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    path = create(tmp_path, "127.0.0.1", 8583, "clearline-test")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(SettingsError, match=said):
        settings.load(path)


def test_init_makes_private_files_once(tmp_path: Path) -> None:
    create(tmp_path, "127.0.0.1", 8583, "clearline-test")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    partner = json.loads((tmp_path / "partner.json").read_text())
    assert (partner["host"], partner["port"]) == ("127.0.0.1", 8583)
    with pytest.raises(FolderTakenError):
        create(tmp_path, "127.0.0.1", 8583, "clearline-test")


def test_the_commands(tmp_path: Path) -> None:
    run = CliRunner().invoke
    folder = tmp_path / "made"
    made = run(acquirer, ["init", "unionpay_iso8583", "--dir", str(folder)])
    assert made.exit_code == 0, made.output
    again = run(acquirer, ["init", "unionpay_iso8583", "--dir", str(folder)])
    assert again.exit_code == 1
    config = ["--config", str(folder / "settings.json")]
    early = run(acquirer, ["book", "unionpay_iso8583", *config])
    assert early.exit_code == 1
    assert "has the acquirer run yet" in early.output

    async def charge(bank: Bank) -> None:
        await bank.ask(PURCHASE)

    with_bank(folder, charge)
    shown = run(acquirer, ["book", "unionpay_iso8583", *config, "--json"])
    assert json.loads(shown.output)["totals"] == {
        "references": 1, "charges": 1, "reversals": 0, "net_charges": 1,
    }  # fmt: skip
    assert "2933" in run(acquirer, ["book", "unionpay_iso8583", *config]).output
    for command in ("init", "serve", "book"):
        assert "Example: clearline acquirer" in run(acquirer, [command, "--help"]).output
