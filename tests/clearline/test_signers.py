"""Keys that are elsewhere: settings, what is asked again, what is never handed on."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from signing_place import SigningPlace

from bank import signer_settings
from clearline import jws
from clearline.jws import Algorithm, JwsError, KeySigner, Typ
from clearline.signers import distant, settings, wire
from clearline.signers.distant import DistantSigner
from clearline.signers.holders import (
    Answer,
    FileHolder,
    KnownKey,
    SignerDownError,
    SignerRefusedError,
)
from clearline.signers.in_thread import InThread
from clearline.signers.opening import open_holder, open_signer
from clearline.signers.settings import FileKey, SignerSettingsError
from clearline.signers.wire import WireError

KEY = KeySigner.generate()
KNOWN = KnownKey(KEY.public_key, KEY.key_id)
TOKEN = {"module": "m.so", "token": "t", "key_label": "k", "pin_file": "pin", "public_key": "p"}
REMOTE = {
    "endpoint": "signer.bank:8443", "server_name": "signer.bank", "tls_ca": "ca.pem",
    "certificate": "c.pem", "private_key": "c.key", "public_key": "p",
}  # fmt: skip


def test_good_settings(tmp_path: Path) -> None:
    assert settings.parse({"file": "key.pem"}, tmp_path) == FileKey(tmp_path / "key.pem")
    token = settings.parse({"pkcs11": TOKEN}, tmp_path)
    assert isinstance(token, settings.TokenKey)
    assert (token.token, token.pin_file, token.timeout_seconds) == ("t", tmp_path / "pin", 10.0)
    remote = settings.parse({"remote": REMOTE | {"endpoint": "[::1]:1"}}, tmp_path)
    assert isinstance(remote, settings.RemoteKey)
    assert (remote.host, remote.port, remote.timeout_seconds) == ("::1", 1, 5.0)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "exactly one of file, pkcs11, remote"),
        ("key.pem", "exactly one of"),
        ({}, "exactly one of"),
        ({"file": "a", "remote": REMOTE}, "exactly one of"),
        ({"vault": "x"}, "exactly one of"),
        ({"file": ""}, "signer/file: must be a path"),
        ({"pkcs11": TOKEN | {"pin": "1234"}}, "signer/pkcs11/pin: is not a member"),
        ({"pkcs11": {"module": "m.so"}}, "signer/pkcs11/token: is missing"),
        ({"pkcs11": TOKEN | {"timeout_seconds": 0}}, "timeout_seconds: must be 1..120"),
        ({"remote": REMOTE | {"endpoint": "nowhere"}}, "endpoint: must be host:port"),
        ({"remote": REMOTE | {"endpoint": "a:70000"}}, "endpoint: must be host:port"),
        ({"remote": REMOTE | {"endpoint": "https://a:1"}}, "endpoint: must be host:port"),
    ],
)
def test_bad_settings_say_what_is_wrong(tmp_path: Path, value: Any, said: str) -> None:
    with pytest.raises(SignerSettingsError, match=said):
        settings.parse(value, tmp_path)


def test_a_public_key_is_what_keygen_prints(tmp_path: Path) -> None:
    path = tmp_path / "public.json"
    for key in (KEY, KeySigner.generate(Algorithm.ES256)):
        path.write_text(json.dumps({"kid": key.key_id, "jwk": key.jwk}) + "\n")
        known = KnownKey.load(path)
        assert (known.key_id, known.key.algorithm) == (key.key_id, key.algorithm)
    for text in ("", "[]", json.dumps({"kid": KEY.key_id, "jwk": {"kty": "RSA"}}),
                 json.dumps({"kid": "x" * 43, "jwk": KEY.jwk})):  # fmt: skip
        path.write_text(text)
        with pytest.raises(JwsError, match=r"public\.json|kid"):
            KnownKey.load(path)


def test_what_cannot_be_opened_says_why(tmp_path: Path) -> None:
    place = SigningPlace.make(tmp_path, KEY, "clearline-dev")
    with pytest.raises(SignerSettingsError, match=r"can't use .*missing\.pem"):
        open_signer(place.remote(certificate="missing.pem"))
    with pytest.raises(JwsError, match="missing"):
        open_signer(place.remote(public_key="missing.json"))
    with pytest.raises(SignerSettingsError, match="file or pkcs11"):
        open_holder(place.remote())
    assert isinstance(open_signer(settings.parse({"file": "key.pem"}, tmp_path)), KeySigner)


Script = Callable[[Sequence[bytes]], Sequence[Answer]]


@dataclass
class Scripted:
    """A Caller that does what the next line says, then signs."""

    script: list[Script | Exception] = field(default_factory=list)
    calls: list[list[bytes]] = field(default_factory=list)
    closed: bool = False

    async def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        self.calls.append(list(messages))
        await asyncio.sleep(0)
        line = self.script.pop(0) if self.script else FileHolder(KEY).sign
        if isinstance(line, Exception):
            raise line
        return line(messages)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distant, "_SHORTEST_PAUSE", 0.001)


def run(caller: Scripted, work: Callable[[DistantSigner], Awaitable[None]]) -> Scripted:
    async def go() -> None:
        signer = DistantSigner(KNOWN, caller)
        try:
            async with asyncio.timeout(10):
                await work(signer)
        finally:
            await signer.close()

    asyncio.run(go())
    assert caller.closed
    return caller


def test_what_waits_goes_together_and_a_jws_holds() -> None:
    async def work(signer: DistantSigner) -> None:
        signed = await asyncio.gather(
            *(signer.sign_object({"n": n}, Typ.REPORT) for n in range(70))
        )
        for number, compact in enumerate(signed):
            token = jws.take_apart(compact)
            KEY.public_key.verify(token)
            assert json.loads(token.payload) == {"n": number}
        assert compact == jws.sign({"n": 69}, Typ.REPORT, KEY)
        assert signer.trouble == ""

    assert [len(call) for call in run(Scripted(), work).calls] == [32, 32, 6]


OTHER = KeySigner.generate()


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        (SignerDownError("no route"), "no route"),
        (lambda messages: [], "answers 0 of 1"),
        (lambda messages: [OTHER.sign(m) for m in messages], "answers wrongly: the signature does"),
        (lambda messages: [KEY.sign(b"else") for _ in messages], "answers wrongly"),
        (lambda messages: [b"\0" * 63 for _ in messages], "answers wrongly: a signature is 64"),
        (lambda messages: [SignerRefusedError("not mine")] * len(messages), "refuses: not mine"),
    ],
    ids=["down", "too few", "another key", "another message", "too short", "refused"],
)
def test_it_is_asked_again_and_trouble_says_why(line: Any, trouble: str) -> None:
    async def work(signer: DistantSigner) -> None:
        waiting = asyncio.ensure_future(signer.sign(b"one"))
        assert trouble in await signer.changed("")
        assert await waiting == KEY.sign(b"one")
        assert await signer.changed("-") == ""

    assert run(Scripted([line, line]), work).calls == [[b"one"]] * 3


def test_one_that_is_refused_holds_up_no_other() -> None:
    bad = asyncio.Event()

    def but_one(messages: Sequence[bytes]) -> Sequence[Answer]:
        refused = SignerRefusedError("no")
        return [refused if m == b"bad" and not bad.is_set() else KEY.sign(m) for m in messages]

    async def work(signer: DistantSigner) -> None:
        odd = asyncio.ensure_future(signer.sign(b"bad"))
        for number in range(20):
            message = str(number).encode()
            assert await signer.sign(message) == KEY.sign(message)
        assert signer.trouble == "the signer refuses: no"
        assert not odd.done()
        bad.set()
        assert await odd == KEY.sign(b"bad")
        assert signer.trouble == ""

    run(Scripted([but_one] * 1000), work)


def test_who_gives_up_is_not_signed_for_and_leaves_no_trouble() -> None:
    async def work(signer: DistantSigner) -> None:
        waiting = [asyncio.ensure_future(signer.sign(str(n).encode())) for n in range(3)]
        assert await signer.changed("") == "away"
        for one in waiting:
            one.cancel()
        assert await signer.changed("away") == ""
        assert await signer.sign(b"later") == KEY.sign(b"later")

    assert run(Scripted([SignerDownError("away")]), work).calls[1:] == [[b"later"]]


def test_a_fault_of_ours_is_not_waited_for() -> None:
    async def work(signer: DistantSigner) -> None:
        with pytest.raises(KeyError, match="ours"):
            await signer.sign(b"one")
        assert await signer.sign(b"two") == KEY.sign(b"two")

    run(Scripted([KeyError("ours")]), work)


class Stuck:
    """A holder whose call hangs until it is interrupted, or for good."""

    def __init__(self, heeds: str) -> None:
        self.heeds = heeds
        self.freed = threading.Event()
        self.closed = threading.Event()

    def sign(self, messages: Sequence[bytes]) -> Sequence[Answer]:
        if not self.freed.wait(10):
            raise AssertionError("nobody freed it")
        return FileHolder(KEY).sign(messages)

    def interrupt(self) -> None:
        if self.heeds:
            self.freed.set()

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("heeds", ["interrupts", ""])
def test_a_call_that_hangs_is_bounded_and_holds_no_loop(heeds: str) -> None:
    holder = Stuck(heeds)

    async def go() -> None:
        turns = 0
        signer = DistantSigner(KNOWN, InThread(holder, 0.1))
        waiting = asyncio.ensure_future(signer.sign(b"one"))
        told = asyncio.ensure_future(signer.changed(""))
        while not told.done():
            await asyncio.sleep(0)
            turns += 1
        assert told.result() == "the signer gives no answer in 0.1 s"
        assert turns > 20
        holder.freed.set()
        assert await waiting == KEY.sign(b"one")
        await signer.close()

    asyncio.run(go())
    assert holder.closed.wait(5)


REQUEST = wire.request_body(KEY.key_id, [b"aa.bb"])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", REQUEST[:-1], REQUEST.replace(b"aa.bb", b"aa"), REQUEST.replace(b"aa", b""),
        REQUEST.replace(b'"inputs"', b'"outputs"'), b'{"key_id":"x","inputs":[]}',
        wire.request_body(KEY.key_id, [b"a.b"] * 33),
        b'{"inputs":["a.b"],' + REQUEST[1:],
    ],
    ids=["empty", "list", "cut short", "no parts", "no header", "other member", "no inputs",
         "too many", "twice"],
)  # fmt: skip
def test_a_call_that_is_none(body: bytes) -> None:
    with pytest.raises(WireError):
        wire.parse_request(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{}", b'{"answers":[{}]}', b'{"answers":[{"signature":"short"}]}',
        b'{"answers":[{"signature":"' + b"A" * 85 + b'B"}]}',
        b'{"answers":[{"refused":""}]}',
        b'{"answers":[{"refused":"no","signature":"' + b"A" * 86 + b'"}]}',
    ],
)  # fmt: skip
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(WireError):
        wire.parse_answers(body)


def test_calls_and_answers_come_back_as_they_were() -> None:
    assert wire.parse_request(REQUEST) == wire.Request(KEY.key_id, (b"aa.bb",))
    signed, refused = wire.parse_answers(
        wire.answers_body([KEY.sign(b"x"), SignerRefusedError("no\n")])
    )
    assert signed == KEY.sign(b"x")
    assert isinstance(refused, SignerRefusedError) and str(refused) == "no?"
    assert wire.parse_error(wire.error_body("why")) == "why"
    assert wire.parse_error(b"<html>") == ""


def test_the_pages_examples_are_settings(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^\n((?:    .*\n)+)", page, re.MULTILINE)
    found = [json.loads(block) for block in blocks if block.lstrip().startswith("{")]
    kinds = [type(settings.parse(one.get("signer", one), tmp_path)) for one in found]
    assert kinds == [settings.TokenKey, settings.FileKey, settings.RemoteKey]
    (service,) = (one for one in found if "signer" in one)
    (tmp_path / "signer.json").write_text(json.dumps(service))
    assert signer_settings.load(tmp_path / "signer.json").port == 8455
