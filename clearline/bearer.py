"""Reading tokens: a short-lived JWT (RFC 7519, in the style of RFC 7523) that a merchant signs.

Signed with the key the merchant signs intents with, bound to one gateway by `aud`, and good for
minutes only, so that one JOSE library serves everything a merchant does.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Final

from clearline import canonical, jws
from clearline.canonical import CanonicalError
from clearline.codes import Code, Refusal
from clearline.jws import JwsError, Signer, Typ, Unverified
from clearline.schema import IDENTIFIER, Constant, Integer, Members, SchemaError, Text

MAX_LIFETIME: Final = 300  # seconds
_SKEW: Final = 30  # seconds a gateway's clock and a merchant's may differ
_AUDIENCE: Final = Text("https?://[A-Za-z0-9.:\\[\\]-]{1,128}", "must be a gateway's base URL")
_EPOCH: Final = Integer(0, 2**40)
CLAIMS: Final = Members(
    {
        "iss": IDENTIFIER,
        "sub": IDENTIFIER,
        "aud": _AUDIENCE,
        "iat": _EPOCH,
        "exp": _EPOCH,
        "jti": Text("[A-Za-z0-9_-]{1,64}"),
        "scope": Constant("read"),
    }
)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A bearer token as received: well-formed and in time, its signature not yet verified."""

    merchant_id: str
    token: Unverified


def issue(merchant_id: str, audience: str, signer: Signer, lifetime: int = 120) -> str:
    """A token for reading at the gateway whose base URL is `audience`, good for `lifetime` s."""
    issued = int(time.time())
    claims = {
        "iss": merchant_id,
        "sub": merchant_id,
        "aud": audience,
        "iat": issued,
        "exp": issued + min(lifetime, MAX_LIFETIME),
        "jti": secrets.token_urlsafe(12),
        "scope": "read",
    }
    return jws.sign(claims, Typ.BEARER, signer)


def parse(compact: str, audience: str, now: float) -> Claimed:
    """Take a bearer token apart and hold it against this gateway and its clock.

    The caller verifies the signature with the merchant's key on the ledger. Raises Refusal with
    `unauthenticated` or `token_expired`.
    """
    try:
        token = jws.take_apart(compact)
        if token.typ is not Typ.BEARER:
            raise JwsError(f"typ must be {Typ.BEARER}")
        claims = canonical.loads(token.payload)
        CLAIMS.check(claims, "")
    except (JwsError, CanonicalError, SchemaError) as error:
        raise Refusal(Code.UNAUTHENTICATED, str(error)) from None
    if claims["iss"] != claims["sub"]:
        raise Refusal(Code.UNAUTHENTICATED, "iss and sub must be the merchant")
    if claims["aud"] != audience:
        raise Refusal(Code.UNAUTHENTICATED, f"the token is for {claims['aud']}, not {audience}")
    if not 0 < claims["exp"] - claims["iat"] <= MAX_LIFETIME:
        raise Refusal(Code.TOKEN_EXPIRED, f"a token lives at most {MAX_LIFETIME} seconds")
    if claims["iat"] > now + _SKEW:
        raise Refusal(Code.UNAUTHENTICATED, "the token was issued in the future")
    if claims["exp"] < now:
        raise Refusal(Code.TOKEN_EXPIRED, "the token has expired")
    return Claimed(claims["iss"], token)
