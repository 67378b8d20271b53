"""Intents as an attacker sends them, and the code that each gets: at the chaincode, and at a
gateway (None: the gateway can't be asked so)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import forged_jws as forge
import parties
from parties import CODE_ONE, CODE_TWO, ONE, OWNER, OWNER_ES256, OWNER_OLD, STRANGER, TWO

from clearline import intents, jws, times
from clearline.intents import Route

Made = Callable[[], str]


@dataclass(frozen=True)
class Case:
    """`make` gives the compact text, `route` is what the courier chooses."""

    name: str
    code: str
    make: Made
    route: str = ONE
    at_gateway: bool = True


def signed(signer: jws.KeySigner = OWNER, **changed: Any) -> str:
    """A sound intent of the merchant with these fields."""
    return intents.sign(parties.intent(**changed), signer)


def other_key_id(signer: jws.KeySigner, named: jws.KeySigner) -> str:
    """Signed by one, in another's name."""
    header, payload, _ = forge.parts(signed())
    alg = named.algorithm.value
    return forge.resigned(header | {"kid": named.key_id, "alg": alg}, payload, signer)


def signed_as(alg: str, signer: jws.KeySigner = OWNER) -> str:
    """A header that says another algorithm than the record."""
    return forge.headed(signed(signer), signer, alg=alg)


def is_a_report() -> str:
    """A report, signed soundly by its bank."""
    return parties.signed_report(parties.intent())


def as_intent(typ: str) -> str:
    """An intent's payload under another `typ`."""
    return forge.headed(signed(), OWNER, typ=typ)


def ago(seconds: int) -> str:
    """A time in the past."""
    return times.after(times.now(), -seconds)


def padded() -> str:
    """The signature with base64's padding."""
    return signed() + "=="


def loose_bits() -> str:
    """The same signature bytes, spelt with other unused bits in the last character."""
    compact = signed()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return compact[:-1] + alphabet[alphabet.index(compact[-1]) ^ 1]


def json_serialized() -> str:
    """The JSON serialisation of a JWS (RFC 7515 section 7.2)."""
    header, payload, signature = signed().split(".")
    return f'{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}'


_TO_OTHER = (Route(ONE, parties.OTHER_CODE, "tok_approve"),)
_ELSEWHERE = {"acquirer_id": ONE, "merchant_code": CODE_ONE, "payer_token": "tok_mine"}
CASES = (
    # altered on the way
    Case("amount", "signature_invalid", lambda: forge.altered(signed(), amount=1)),
    Case("currency", "signature_invalid", lambda: forge.altered(signed(), currency="USD")),
    Case("order", "signature_invalid", lambda: forge.altered(signed(), order_no="mine")),
    Case("attempt", "signature_invalid", lambda: forge.altered(signed(), attempt=2)),
    Case("payer", "signature_invalid", lambda: forge.altered(signed(), acquirers=[_ELSEWHERE])),
    Case("prolonged", "signature_invalid", lambda: forge.altered(
        signed(created=ago(120), expires_at=ago(60)), expires_at=times.after(times.now(), 900))),
    Case("another merchant's", "key_unknown", lambda: forge.altered(
        signed(), merchant_id=parties.OTHER_MERCHANT)),
    Case("a pay intent for a close", "malformed", lambda: forge.altered(signed(), kind="close")),
    # re-routed
    Case("not an acquirer of the intent", "acquirer_not_acceptable", signed, TWO, False),
    Case("an acquirer nobody knows", "acquirer_not_acceptable", signed, "nobody", False),
    Case("to another merchant's code", "merchant_code_mismatch",
         lambda: signed(acquirers=_TO_OTHER)),
    Case("with the code of another acquirer", "merchant_code_mismatch",
         lambda: signed(acquirers=(Route(ONE, CODE_TWO, "tok_approve"),))),
    Case("signed for another network", "network_mismatch", lambda: signed(network="other-net")),
    # when
    Case("expired", "expired", lambda: signed(created=ago(120), expires_at=ago(60))),
    Case("of the future", "not_yet_valid", lambda: signed(
        created=times.after(times.now(), 600), expires_at=times.after(times.now(), 900))),
    Case("expires before it was made", "malformed",
         lambda: signed(created=ago(60), expires_at=ago(120))),
    # whose key
    Case("revoked key", "key_revoked", lambda: signed(OWNER_OLD)),
    Case("a key of a later day", "key_not_yet_valid", lambda: signed(parties.OWNER_NEXT)),
    Case("unknown key", "key_unknown", lambda: signed(STRANGER)),
    Case("a stranger in the key's name", "signature_invalid",
         lambda: other_key_id(STRANGER, OWNER)),
    Case("another merchant's key", "key_unknown", lambda: signed(parties.OTHER)),
    Case("the bank's own key", "key_unknown", lambda: signed(parties.BANK_ONE)),
    # algorithm confusion
    Case("EdDSA", "malformed", lambda: signed_as("EdDSA")),
    Case("ed25519", "malformed", lambda: signed_as("ed25519")),
    Case("none", "malformed", lambda: forge.unsecured(signed())),
    Case("None", "malformed", lambda: signed_as("None")),
    Case("HS256 with the public key", "malformed", lambda: forge.with_hmac(
        signed(), jws.decode(OWNER.jwk["x"]))),
    Case("ES256 on the Ed25519 key", "signature_invalid", lambda: signed_as("ES256")),
    Case("Ed25519 on the ES256 key", "signature_invalid",
         lambda: signed_as("Ed25519", OWNER_ES256)),
    Case("an ES256 key in the Ed25519 key's name", "signature_invalid",
         lambda: forge.headed(signed(OWNER_ES256), OWNER_ES256, kid=OWNER.key_id)),
    Case("RS256", "malformed", lambda: signed_as("RS256")),
    Case("no signature", "signature_invalid", lambda: signed().rpartition(".")[0] + "."),
    Case("a DER signature", "signature_invalid", lambda: forge.der_signed(signed(OWNER_ES256))),
    Case("S + L", "signature_invalid", lambda: forge.other_s(signed())),
    Case("zeros for R and S", "signature_invalid", lambda: forge.put_together(
        *forge.parts(signed(OWNER_ES256))[:2], b"\0" * 64)),
    # headers that other libraries heed
    Case("a key in the header", "malformed", lambda: forge.headed(
        signed(), STRANGER, jwk=STRANGER.jwk)),
    Case("crit", "malformed", lambda: forge.headed(signed(), OWNER, crit=["b64"], b64=False)),
    Case("jku", "malformed", lambda: forge.headed(signed(), OWNER, jku="https://127.0.0.1/k")),
    Case("no kid", "malformed", lambda: forge.resigned(
        {"alg": "Ed25519", "typ": "clearline-intent+jws"}, forge.parts(signed())[1], OWNER)),
    # one object for another
    Case("a report", "malformed", is_a_report),
    Case("an intent as a report", "malformed", lambda: as_intent("clearline-report+jws")),
    Case("an intent as a token", "malformed", lambda: as_intent("JWT")),
    # members twice, unknown, of another type
    Case("alg twice", "malformed", lambda: forge.twice(
        signed(), OWNER, "header", "alg", "Ed25519")),
    Case("kid twice", "malformed", lambda: forge.twice(
        signed(), STRANGER, "header", "kid", STRANGER.key_id)),
    Case("amount twice", "malformed", lambda: forge.twice(signed(), OWNER, "payload", "amount", 1)),
    Case("merchant twice", "malformed", lambda: forge.twice(
        signed(), OWNER, "payload", "merchant_id", parties.OTHER_MERCHANT)),
    Case("an unknown member", "malformed", lambda: forge.with_payload(signed(), OWNER, memo="x")),
    Case("an amount beyond 2^53", "malformed",
         lambda: forge.with_payload(signed(), OWNER, amount=2**53 + 1)),
    Case("an amount with a fraction", "malformed",
         lambda: forge.with_payload(signed(), OWNER, amount=29.33)),
    Case("an amount of nothing", "malformed",
         lambda: forge.with_payload(signed(), OWNER, amount=0)),
    Case("a negative amount", "malformed", lambda: forge.with_payload(signed(), OWNER, amount=-1)),
    Case("an amount as a text", "malformed",
         lambda: forge.with_payload(signed(), OWNER, amount="2933")),
    Case("true for one", "malformed", lambda: forge.with_payload(signed(), OWNER, attempt=True)),
    Case("an acquirer twice", "malformed", lambda: signed(
        acquirers=(Route(ONE, CODE_ONE, "a"), Route(ONE, parties.OTHER_CODE, "b")))),
    # other spellings of the same bytes
    Case("padded", "malformed", padded),
    Case("loose bits", "malformed", loose_bits),
    Case("JSON serialisation", "malformed", json_serialized),
    Case("four parts", "malformed", lambda: signed() + ".x"),
    Case("too long", "malformed", lambda: signed() + "A" * 20_000, at_gateway=False),
    # what has its order
    Case("the second attempt first", "attempt_out_of_order", lambda: signed(attempt=2)),
)  # fmt: skip
