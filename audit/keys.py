"""Which public keys may be registered, by the auditor's own arithmetic."""

from __future__ import annotations

from typing import Any, Final

from audit.draft import Record, Refused
from audit.findings import Check
from audit.jose import JoseError, decode, public_key, thumbprint
from clearline.codes import Code

MOST: Final = 32  # keys of one record, revoked ones included
_MEMBERS: Final = {
    "OKP": ("Ed25519", {"kty", "crv", "x"}, "Ed25519"),
    "EC": ("P-256", {"kty", "crv", "x", "y"}, "ES256"),
}
# Edwards curve 25519 (RFC 8032 section 5.1): -x^2 + y^2 = 1 + d x^2 y^2 modulo p.
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P


def key_records(jwks: list[dict[str, str]]) -> Record:
    """New key records by their ids. Raises Refused."""
    found = dict(map(key_record, jwks))
    if len(found) < len(jwks):
        raise _refused("a key is named twice")
    return found


def key_record(jwk: dict[str, Any]) -> tuple[str, Record]:
    """A new key's id and record. Raises Refused for what no signature may be held against."""
    curve, members, algorithm = _MEMBERS.get(jwk.get("kty", ""), ("", set(), ""))
    if not members or set(jwk) != members or jwk["crv"] != curve:
        raise _refused("it is no Ed25519 or P-256 key")
    try:
        coordinates = [decode(jwk[name]) for name in ("x", "y") if name in jwk]
        if any(len(one) != 32 for one in coordinates):
            raise _refused("a coordinate has 32 bytes")
        public_key(algorithm, jwk["x"], jwk.get("y", ""))
    except (JoseError, ValueError) as error:
        raise _refused(f"it is no point: {error}") from None
    if algorithm == "Ed25519":
        _check_edwards(int.from_bytes(coordinates[0], "little") % 2**255)
    record = {"algorithm": algorithm, "jwk": jwk, "status": "active", "valid_from": ""}
    return thumbprint(jwk), record


def _check_edwards(y: int) -> None:
    """A key of small order verifies what nobody signed (RFC 8032 section 8.8): three doublings
    take it to the neutral point. The sign of x plays no part in that."""
    if y >= _P:
        raise _refused("it is not canonically encoded")
    if not _on_curve(y):
        return  # it verifies nothing
    for _ in range(3):
        y = _doubled(y)
    if y == 1:
        raise _refused("it is a point of small order")


def _x_squared(y: int) -> int:
    return (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P


def _on_curve(y: int) -> bool:
    return pow(_x_squared(y), (_P - 1) // 2, _P) in (0, 1)


def _doubled(y: int) -> int:
    """The y of twice the point, by the addition law of RFC 8032 section 5.1.4."""
    x_squared = _x_squared(y)
    return (y * y + x_squared) * pow(1 - _D * x_squared * y * y, -1, _P) % _P


def _refused(why: str) -> Refused:
    return Refused(Code.KEY_REFUSED, Check.KEY, f"a key can't be registered: {why}")
