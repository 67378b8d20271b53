"""A key in a PKCS#11 token, held against SoftHSM2 where that and python-pkcs11 are installed.

SoftHSM2 is found on the usual paths, or by SOFTHSM2_MODULE and SOFTHSM2_UTIL.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bank.cli import bank
from clearline import jws
from clearline.jws import Algorithm, JwsError, KeySigner, Typ
from clearline.signers import pkcs11_token, settings
from clearline.signers.distant import DistantSigner
from clearline.signers.holders import KnownKey, SignerDownError
from clearline.signers.opening import open_signer
from clearline.signers.pkcs11_token import TokenHolder
from clearline.signers.settings import SignerSettingsError, TokenKey

_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
# OBJECT IDENTIFIER of P-256; SoftHSM names Ed25519 by a PrintableString (PKCS #11 v3.0, 2.3.5).
_CURVES = {
    Algorithm.ES256: ("EC", bytes.fromhex("06082a8648ce3d030107")),
    Algorithm.ED25519: ("EC_EDWARDS", bytes.fromhex("130c656477617264733235353139")),
}
PIN, LABEL = "1234", "clearline test"


@dataclass(frozen=True)
class Token:
    """A token with a key of each algorithm, labelled by it."""

    folder: Path
    module: str

    def member(self, algorithm: Algorithm) -> dict[str, Any]:
        return {"pkcs11": {"module": self.module, "token": LABEL, "key_label": algorithm.value,
                           "pin_file": "pin", "public_key": f"{algorithm.value}.json"}}  # fmt: skip

    def settings(self, algorithm: Algorithm) -> TokenKey:
        parsed = settings.parse(self.member(algorithm), self.folder)
        assert isinstance(parsed, TokenKey)
        return parsed

    def generate(self, algorithm: Algorithm) -> None:
        import pkcs11

        kind, curve = _CURVES[algorithm]
        token = pkcs11.lib(self.module).get_token(token_label=LABEL)
        with token.open(rw=True, user_pin=PIN) as session:
            session.create_domain_parameters(
                pkcs11.KeyType[kind], {pkcs11.Attribute.EC_PARAMS: curve}, local=True
            ).generate_keypair(store=True, label=algorithm.value)

    def print_public(self, algorithm: Algorithm) -> None:
        """As an operator does it."""
        config = self.folder / "signer.json"
        config.write_text(json.dumps({"signer": self.member(algorithm)}))
        result = CliRunner().invoke(bank, ["signer", "public-key", "--config", str(config)])
        assert result.exit_code == 0, result.output
        (self.folder / f"{algorithm.value}.json").write_text(result.output)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Token]:
    module = os.environ.get("SOFTHSM2_MODULE") or next(filter(os.path.exists, _MODULES), None)
    util = os.environ.get("SOFTHSM2_UTIL") or shutil.which("softhsm2-util")
    if module is None or util is None:
        pytest.skip("SoftHSM2 is not installed (softhsm2)")
    if find_spec("pkcs11") is None:
        pytest.skip("python-pkcs11 is not installed (make pkcs11)")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    (folder / "pin").write_text(PIN + "\n")
    patch = pytest.MonkeyPatch()
    patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
    words = [util, "--module", module, "--init-token", "--free", "--label", LABEL]
    subprocess.run([*words, "--pin", PIN, "--so-pin", "4321"], check=True, capture_output=True)
    made = Token(folder, module)
    for algorithm in Algorithm:
        made.generate(algorithm)
        made.print_public(algorithm)
    yield made
    patch.undo()


@pytest.mark.parametrize("algorithm", Algorithm)
def test_a_token_signs_what_verifies(token: Token, algorithm: Algorithm) -> None:
    known = KnownKey.load(token.settings(algorithm).public_key)
    assert known.key.algorithm is algorithm

    async def go() -> list[str]:
        signer = open_signer(token.settings(algorithm))
        assert isinstance(signer, DistantSigner)
        try:
            async with asyncio.timeout(20):
                work = (signer.sign_object({"n": n}, Typ.REPORT) for n in range(40))
                return await asyncio.gather(*work)
        finally:
            await signer.close()

    for compact in asyncio.run(go()):
        known.key.verify(jws.take_apart(compact))


def test_a_refused_pin_is_not_tried_again(token: Token, tmp_path: Path) -> None:
    """Three wrong ones lock a token."""
    pin = tmp_path / "pin"
    pin.write_text("9999")
    holder = TokenHolder(replace(token.settings(Algorithm.ED25519), pin_file=pin))
    with pytest.raises(SignerDownError, match="PinIncorrect"):
        holder.sign([b"x"])
    for _ in range(5):
        with pytest.raises(SignerDownError, match="not tried again until"):
            holder.sign([b"x"])
    pin.write_text(PIN)
    assert len(holder.sign([b"x"])) == 1
    holder.close()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token": "another"}, "token another: NoSuchToken"),
        ({"key_label": "another"}, "NoSuchKey"),
        ({"module": Path("/nowhere.so")}, "nowhere.so"),
        ({"pin_file": Path("/nowhere.pin")}, "nowhere.pin"),
    ],
)
def test_what_is_missing_is_named(token: Token, change: dict[str, Any], said: str) -> None:
    holder = TokenHolder(replace(token.settings(Algorithm.ED25519), **change))
    with pytest.raises(SignerDownError, match=said):
        holder.sign([b"x"])
    holder.close()


def test_a_session_that_was_lost_is_opened_anew(token: Token) -> None:
    holder = TokenHolder(token.settings(Algorithm.ED25519))
    (first,) = holder.sign([b"x"])
    holder._session.close()  # as when the token was pulled
    with pytest.raises(SignerDownError):
        holder.sign([b"x"])
    assert holder.sign([b"x"]) == [first]
    holder.close()


def test_without_the_library_the_settings_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    key = TokenKey(tmp_path, "t", "k", tmp_path, tmp_path)
    with pytest.raises(SignerSettingsError, match="make pkcs11"):
        TokenHolder(key)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_points_as_tokens_give_them(algorithm: Algorithm) -> None:
    """A DER OCTET STRING, or the bytes as they are."""
    key = KeySigner.generate(algorithm)
    kind = _CURVES[algorithm][0]
    point = b"".join(jws.decode(key.jwk[name]) for name in ("x", "y") if name in key.jwk)
    if algorithm is Algorithm.ES256:
        point = b"\x04" + point
    assert pkcs11_token._jwk(kind, point) == key.jwk
    assert pkcs11_token._jwk(kind, bytes([4, len(point)]) + point) == key.jwk
    for wrong in (b"", point[:-1], point + b"\0"):
        with pytest.raises(JwsError, match="neither"):
            pkcs11_token._jwk(kind, wrong)
    with pytest.raises(JwsError, match="RSA"):
        pkcs11_token._jwk("RSA", point)
