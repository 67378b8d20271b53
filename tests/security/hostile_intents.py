"""Intents as an attacker sends them, and the code that each gets: at the chaincode, and at a
gateway (`at_gateway` false: the gateway can't be asked so).

OF_ANY holds for each kind of intent, CASES for pay intents; of refunds and closes: hostile_ends.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import forged_jws as forge
import parties
from parties import CODE_ONE, CODE_TWO, ONE, OWNER, OWNER_ES256, OWNER_OLD, STRANGER, TWO
from samples import INTENT

from clearline import intents, jws, times
from clearline.intents import Route


class Signed(Protocol):
    """A sound intent of the merchant's, of one kind, with these fields changed before it signs."""

    def __call__(self, signer: jws.KeySigner = OWNER, **changed: Any) -> str: ...


@dataclass(frozen=True)
class Case:
    """`make` spoils what is sound and gives the compact text, `route` is what the courier
    chooses."""

    name: str
    code: str
    make: Callable[[Signed], str]
    route: str = ONE
    at_gateway: bool = True


def signed(signer: jws.KeySigner = OWNER, **changed: Any) -> str:
    """A sound pay intent of the merchant with these fields."""
    return intents.sign(parties.intent(**changed), signer)


def other_key_id(sound: str, signer: jws.KeySigner, named: jws.KeySigner) -> str:
    """Signed by one, in another's name."""
    header, payload, _ = forge.parts(sound)
    alg = named.algorithm.value
    return forge.resigned(header | {"kid": named.key_id, "alg": alg}, payload, signer)


def ago(seconds: int) -> str:
    """A time in the past."""
    return times.after(times.now(), -seconds)


def loose_bits(compact: str) -> str:
    """The same signature bytes, spelt with other unused bits in the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return compact[:-1] + alphabet[alphabet.index(compact[-1]) ^ 1]


def json_serialized(compact: str) -> str:
    """The JSON serialisation of a JWS (RFC 7515 section 7.2)."""
    header, payload, signature = compact.split(".")
    return f'{{"protected":"{header}","payload":"{payload}","signature":"{signature}"}}'


OF_ANY = (
    # altered on the way
    Case("order", "signature_invalid", lambda s: forge.altered(s(), order_no="mine")),
    Case("attempt", "signature_invalid", lambda s: forge.altered(s(), attempt=2)),
    Case("another merchant's", "key_unknown", lambda s: forge.altered(
        s(), merchant_id=parties.OTHER_MERCHANT)),
    Case("a kind that there is not", "malformed", lambda s: forge.altered(s(), kind="give")),
    # re-routed
    Case("signed for another network", "network_mismatch", lambda s: s(network="other-net")),
    Case("taken to this network", "signature_invalid", lambda s: forge.altered(
        s(network="other-net"), network=INTENT.network)),
    # whose key
    Case("revoked key", "key_revoked", lambda s: s(OWNER_OLD)),
    Case("a key of a later day", "key_not_yet_valid", lambda s: s(parties.OWNER_NEXT)),
    Case("unknown key", "key_unknown", lambda s: s(STRANGER)),
    Case("a stranger in the key's name", "signature_invalid",
         lambda s: other_key_id(s(), STRANGER, OWNER)),
    Case("another merchant's key", "key_unknown", lambda s: s(parties.OTHER)),
    Case("the bank's own key", "key_unknown", lambda s: s(parties.BANK_ONE)),
    # algorithm confusion
    Case("EdDSA", "malformed", lambda s: forge.headed(s(), OWNER, alg="EdDSA")),
    Case("ed25519", "malformed", lambda s: forge.headed(s(), OWNER, alg="ed25519")),
    Case("none", "malformed", lambda s: forge.unsecured(s())),
    Case("None", "malformed", lambda s: forge.headed(s(), OWNER, alg="None")),
    Case("HS256 with the public key", "malformed", lambda s: forge.with_hmac(
        s(), jws.decode(OWNER.jwk["x"]))),
    Case("ES256 on the Ed25519 key", "signature_invalid",
         lambda s: forge.headed(s(), OWNER, alg="ES256")),
    Case("Ed25519 on the ES256 key", "signature_invalid",
         lambda s: forge.headed(s(OWNER_ES256), OWNER_ES256, alg="Ed25519")),
    Case("an ES256 key in the Ed25519 key's name", "signature_invalid",
         lambda s: forge.headed(s(OWNER_ES256), OWNER_ES256, kid=OWNER.key_id)),
    Case("RS256", "malformed", lambda s: forge.headed(s(), OWNER, alg="RS256")),
    Case("no signature", "signature_invalid", lambda s: s().rpartition(".")[0] + "."),
    Case("a DER signature", "signature_invalid", lambda s: forge.der_signed(s(OWNER_ES256))),
    Case("S + L", "signature_invalid", lambda s: forge.other_s(s())),
    Case("zeros for R and S", "signature_invalid", lambda s: forge.put_together(
        *forge.parts(s(OWNER_ES256))[:2], b"\0" * 64)),
    # headers that other libraries heed
    Case("a key in the header", "malformed", lambda s: forge.headed(
        s(), STRANGER, jwk=STRANGER.jwk)),
    Case("crit", "malformed", lambda s: forge.headed(s(), OWNER, crit=["b64"], b64=False)),
    Case("jku", "malformed", lambda s: forge.headed(s(), OWNER, jku="https://127.0.0.1/k")),
    Case("no kid", "malformed", lambda s: forge.resigned(
        {"alg": "Ed25519", "typ": "clearline-intent+jws"}, forge.parts(s())[1], OWNER)),
    # one object for another
    Case("an intent as a report", "malformed",
         lambda s: forge.headed(s(), OWNER, typ="clearline-report+jws")),
    Case("an intent as a change", "malformed",
         lambda s: forge.headed(s(), OWNER, typ="clearline-change+jws")),
    Case("an intent as a token", "malformed", lambda s: forge.headed(s(), OWNER, typ="JWT")),
    # members twice, unknown, of another type
    Case("alg twice", "malformed", lambda s: forge.twice(s(), OWNER, "header", "alg", "Ed25519")),
    Case("kid twice", "malformed", lambda s: forge.twice(
        s(), STRANGER, "header", "kid", STRANGER.key_id)),
    Case("order twice", "malformed", lambda s: forge.twice(
        s(), OWNER, "payload", "order_no", "mine")),
    Case("merchant twice", "malformed", lambda s: forge.twice(
        s(), OWNER, "payload", "merchant_id", parties.OTHER_MERCHANT)),
    Case("an unknown member", "malformed", lambda s: forge.with_payload(s(), OWNER, memo="x")),
    Case("true for one", "malformed", lambda s: forge.with_payload(s(), OWNER, attempt=True)),
    # other spellings of the same bytes
    Case("padded", "malformed", lambda s: s() + "=="),
    Case("loose bits", "malformed", lambda s: loose_bits(s())),
    Case("JSON serialisation", "malformed", lambda s: json_serialized(s())),
    Case("four parts", "malformed", lambda s: s() + ".x"),
    Case("too long", "malformed", lambda s: s() + "A" * 20_000, at_gateway=False),
)  # fmt: skip
OF_MONEY = (
    Case("amount", "signature_invalid", lambda s: forge.altered(s(), amount=1)),
    Case("currency", "signature_invalid", lambda s: forge.altered(s(), currency="USD")),
    Case("prolonged", "signature_invalid", lambda s: forge.altered(
        s(created=ago(120), expires_at=ago(60)), expires_at=times.after(times.now(), 900))),
    Case("expired", "expired", lambda s: s(created=ago(120), expires_at=ago(60))),
    Case("of the future", "not_yet_valid", lambda s: s(
        created=times.after(times.now(), 600), expires_at=times.after(times.now(), 900))),
    Case("expires before it was made", "malformed",
         lambda s: s(created=ago(60), expires_at=ago(120))),
    Case("amount twice", "malformed", lambda s: forge.twice(s(), OWNER, "payload", "amount", 1)),
    Case("an amount beyond 2^53", "malformed",
         lambda s: forge.with_payload(s(), OWNER, amount=2**53 + 1)),
    Case("an amount with a fraction", "malformed",
         lambda s: forge.with_payload(s(), OWNER, amount=29.33)),
    Case("an amount of nothing", "malformed", lambda s: forge.with_payload(s(), OWNER, amount=0)),
    Case("a negative amount", "malformed", lambda s: forge.with_payload(s(), OWNER, amount=-1)),
    Case("an amount as a text", "malformed",
         lambda s: forge.with_payload(s(), OWNER, amount="2933")),
)  # fmt: skip
_TO_OTHER = (Route(ONE, parties.OTHER_CODE, "tok_approve"),)
_ELSEWHERE = {"acquirer_id": ONE, "merchant_code": CODE_ONE, "payer_token": "tok_mine"}
CASES = (
    *OF_ANY,
    *OF_MONEY,
    Case("payer", "signature_invalid", lambda s: forge.altered(s(), acquirers=[_ELSEWHERE])),
    Case("a pay intent for a close", "malformed", lambda s: forge.altered(s(), kind="close")),
    Case("a pay intent for a refund", "malformed", lambda s: forge.altered(s(), kind="refund")),
    Case("a report", "malformed", lambda _: parties.signed_report(parties.intent())),
    Case("not an acquirer of the intent", "acquirer_not_acceptable", lambda s: s(), TWO, False),
    Case("an acquirer nobody knows", "acquirer_not_acceptable", lambda s: s(), "nobody", False),
    Case("to another merchant's code", "merchant_code_mismatch",
         lambda s: s(acquirers=_TO_OTHER)),
    Case("with the code of another acquirer", "merchant_code_mismatch",
         lambda s: s(acquirers=(Route(ONE, CODE_TWO, "tok_approve"),))),
    Case("an acquirer twice", "malformed", lambda s: s(
        acquirers=(Route(ONE, CODE_ONE, "a"), Route(ONE, parties.OTHER_CODE, "b")))),
    Case("the second attempt first", "attempt_out_of_order", lambda s: s(attempt=2)),
)  # fmt: skip
