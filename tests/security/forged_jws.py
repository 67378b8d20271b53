"""Signed objects as an attacker writes them: bytes that no code of ours would make."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from clearline import jws
from clearline.jws import KeySigner

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493


def parts(compact: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Header, payload, signature."""
    header, payload, signature = compact.split(".")
    return json.loads(jws.decode(header)), json.loads(jws.decode(payload)), jws.decode(signature)


def put_together(header: Any, payload: Any, signature: bytes) -> str:
    """A compact text of these; texts and bytes go in as they are."""
    return ".".join((jws.encode(_raw(header)), jws.encode(_raw(payload)), jws.encode(signature)))


def resigned(header: Any, payload: Any, signer: KeySigner) -> str:
    """A compact text with this header and payload and a sound signature over both."""
    signed = jws.encode(_raw(header)) + "." + jws.encode(_raw(payload))
    return signed + "." + jws.encode(signer.sign(signed.encode()))


def altered(compact: str, **members: Any) -> str:
    """Members of the payload changed, the signature left as it was."""
    header, payload, signature = parts(compact)
    return put_together(header, payload | members, signature)


def headed(compact: str, signer: KeySigner, **members: Any) -> str:
    """Members of the header changed or added, and signed soundly."""
    header, payload, _ = parts(compact)
    return resigned(header | members, payload, signer)


def with_payload(compact: str, signer: KeySigner, **members: Any) -> str:
    """Members of the payload changed or added, and signed soundly."""
    header, payload, _ = parts(compact)
    return resigned(header, payload | members, signer)


def unsecured(compact: str) -> str:
    """`alg` none and no signature (RFC 7515 appendix A.5)."""
    header, payload, _ = parts(compact)
    return put_together(header | {"alg": "none"}, payload, b"")


def with_hmac(compact: str, secret: bytes) -> str:
    """HS256 with what everybody knows as the secret: the public key."""
    header, payload, _ = parts(compact)
    signed = jws.encode(_raw(header | {"alg": "HS256"})) + "." + jws.encode(_raw(payload))
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return signed + "." + jws.encode(mac)


def twice(compact: str, signer: KeySigner, part: str, member: str, value: Any) -> str:
    """A member that stands twice in header or payload, last with `value`; signed soundly."""
    header, payload, _ = parts(compact)
    raw: dict[str, Any] = {"header": header, "payload": payload}
    text = json.dumps(raw[part], separators=(",", ":"))
    raw[part] = text[:-1] + f",{json.dumps(member)}:{json.dumps(value)}}}"
    return resigned(raw["header"], raw["payload"], signer)


def other_s(compact: str) -> str:
    """The other S of an Ed25519 or ES256 signature over the same bytes: S + L (RFC 8032 section
    8.4), n - S."""
    header, _, signature = parts(compact)
    head, tail = signature[:32], signature[32:]
    if header["alg"] == "Ed25519":
        s = int.from_bytes(tail, "little") + ED25519_ORDER
        return put_together(_kept(compact, 0), _kept(compact, 1), head + s.to_bytes(32, "little"))
    s = P256_ORDER - int.from_bytes(tail, "big")
    return put_together(_kept(compact, 0), _kept(compact, 1), head + s.to_bytes(32, "big"))


def der_signed(compact: str) -> str:
    """An ES256 signature in DER, as OpenSSL gives it, in place of R and S (RFC 7518 3.4)."""
    _, _, signature = parts(compact)
    der = encode_dss_signature(
        int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    )
    return put_together(_kept(compact, 0), _kept(compact, 1), der)


def es256_with(key: ec.EllipticCurvePrivateKey, header: Any, payload: Any) -> str:
    """Signed with any P-256 key, whatever the header says."""
    signed = jws.encode(_raw(header)) + "." + jws.encode(_raw(payload))
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return signed + "." + jws.encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))


def _kept(compact: str, place: int) -> bytes:
    return jws.decode(compact.split(".")[place])


def _raw(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))).encode()
