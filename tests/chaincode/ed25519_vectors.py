"""Ed25519 signatures on which sound implementations disagree, and what this network says of each.

SPECCHECK: Chalkias, Garillot, Nikolaenko, "Taming the many EdDSAs" (SSR 2020, IACR ePrint
2020/1244), the twelve published vectors (novifinancial/ed25519-speccheck, cases.json). The
others are made here from RFC 8032's test keys.

Run as a program it prints what this interpreter's `cryptography` says, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import cryptography
from cryptography.hazmat.primitives.asymmetric import ed25519

from clearline import jws
from clearline.jws import Algorithm, JwsError, SignatureInvalidError, Typ, Unverified

ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
TAKEN, KEY_REFUSED, INVALID = "taken", "key refused", "invalid"


@dataclass(frozen=True)
class Vector:
    """A signature over a message, all in hex, and the answer that every endorser gives."""

    name: str
    expected: str
    message: str
    key: str
    signature: str


_M = (
    "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
    "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
    "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
    "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
    "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
    "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
    "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
    "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
)
_SMALL = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
_MIXED_A = "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"
_MIXED_B = "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d"
_PLAIN = "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623"
_NOT_CANONICAL = "ec" + "ff" * 31
SPECCHECK = (
    Vector("0: small A, small R, S = 0", KEY_REFUSED, _M[0], _SMALL,
           "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a" + "00" * 32),
    Vector("1: small A", KEY_REFUSED, _M[1], _SMALL,
           "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43"
           "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04"),
    Vector("2: small R, mixed A", TAKEN, _M[2], _MIXED_A,
           "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"
           "8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e"),
    Vector("3: mixed A and R, both equations hold", TAKEN, _M[1], _MIXED_B,
           "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f"
           "87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009"),
    Vector("4: the cofactored equation only", INVALID, _M[3], _MIXED_B,
           "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512"
           "5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09"),
    Vector("5: the cofactored equation, not reduced before", INVALID, _M[3], _MIXED_B,
           "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7"
           "e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405"),
    Vector("6: S > L", INVALID, _M[4], _PLAIN,
           "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e"
           "547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514"),
    Vector("7: S far above L", INVALID, _M[4], _PLAIN,
           "8ce5b96c8f26d0ab6c47958c9e68b937104cd36e13c33566acd2fe8d38aa1942"
           "7e71f98a473474f2f13f06f97c20d58cc3f54b8bd0d272f42b695dd7e89a8c22"),
    Vector("8: R not canonical, reduced for the hash", INVALID, _M[5], _MIXED_A,
           _NOT_CANONICAL + "03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f"),
    Vector("9: R not canonical, not reduced", INVALID, _M[5], _MIXED_A,
           _NOT_CANONICAL + "ca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908"),
    Vector("10: A not canonical, reduced for the hash", KEY_REFUSED, _M[6], _NOT_CANONICAL,
           "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc"
           "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04"),
    Vector("11: A not canonical, not reduced", KEY_REFUSED, _M[7], _NOT_CANONICAL,
           "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dc"
           "a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04"),
)  # fmt: skip


def made() -> list[Vector]:
    """Around RFC 8032 section 7.1 test 3: a sound signature, each part of it moved."""
    secret = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    private = ed25519.Ed25519PrivateKey.from_private_bytes(secret)
    key = private.public_key().public_bytes_raw()
    message = bytes.fromhex("af82")
    sound = private.sign(message)
    r, s = sound[:32], int.from_bytes(sound[32:], "little")

    def vector(name: str, expected: str, signature: bytes, a: bytes = key) -> Vector:
        return Vector(name, expected, message.hex(), a.hex(), signature.hex())

    def scalar(value: int) -> bytes:
        return value.to_bytes(32, "little")

    vectors = [
        vector("sound", TAKEN, sound),
        vector("S + L", INVALID, r + scalar(s + ORDER)),
        vector("S = L", INVALID, r + scalar(ORDER)),
        vector("S = 0", INVALID, r + scalar(0)),
        vector("S = L - 1", INVALID, r + scalar(ORDER - 1)),
        vector("S of all ones", INVALID, r + b"\xff" * 32),
        vector("S's highest bit", INVALID, r + scalar(s | 1 << 255)),
        vector("R's sign", INVALID, bytes([*r[:31], r[31] ^ 0x80]) + sound[32:]),
        vector("A's sign", INVALID, sound, bytes([*key[:31], key[31] ^ 0x80])),
        vector("R of order 1", INVALID, scalar(1) + sound[32:]),
        vector("R = 0", INVALID, bytes(32) + sound[32:]),
        vector("R not canonical: p + 1", INVALID, scalar(PRIME + 1) + sound[32:]),
        vector("nothing but zeros", INVALID, bytes(64)),
        vector("order 1 and S = 0", INVALID, scalar(1) + bytes(32)),
        vector("no point", INVALID, sound, scalar(2)),
        vector("another message's", INVALID, private.sign(b"other")),
        vector("63 bytes", INVALID, sound[:63]),
        vector("65 bytes", INVALID, sound + b"\0"),
        vector("no bytes", INVALID, b""),
    ]
    for number, (a, name) in enumerate(_small_points()):
        # R = A of order 1, S = 0 verifies for every message where small keys are taken.
        signature = scalar(1) + bytes(32)
        vectors.append(vector(f"key of small order {number}: {name}", KEY_REFUSED, signature, a))
    for excess in (2, 18):
        above = scalar(PRIME + excess)
        vectors.append(vector(f"key not canonical: p + {excess}", KEY_REFUSED, sound, above))
    return vectors


def _small_points() -> list[tuple[bytes, str]]:
    """The eight points of small order and other spellings of some of them."""
    order_8 = (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
    found = [((1).to_bytes(32, "little"), "order 1"), (bytes(32), "order 4")]
    found += [((PRIME - 1).to_bytes(32, "little"), "order 2")]
    found += [(bytes.fromhex(point), "order 8") for point in order_8]
    found += [(PRIME.to_bytes(32, "little"), "order 4, as p")]
    found += [((PRIME + 1).to_bytes(32, "little"), "order 1, as p + 1")]
    signed = [(bytes([*a[:31], a[31] | 0x80]), f"{name}, sign set") for a, name in found]
    return found + signed


def vectors() -> list[Vector]:
    """All of them."""
    return [*SPECCHECK, *made()]


def answer(vector: Vector) -> str:
    """What an endorser with this interpreter's packages says: the code that the contract runs."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": jws.encode(bytes.fromhex(vector.key))}
    try:
        key = jws.public_key(jwk, Algorithm.ED25519)
    except JwsError:
        return KEY_REFUSED
    token = Unverified(
        Algorithm.ED25519,
        jws.thumbprint(jwk),
        Typ.INTENT,
        b"",
        bytes.fromhex(vector.signature),
        bytes.fromhex(vector.message),
    )
    try:
        key.verify(token)
    except SignatureInvalidError:
        return INVALID
    return TAKEN


if __name__ == "__main__":
    answers = {vector.name: answer(vector) for vector in vectors()}
    print(json.dumps({"version": cryptography.__version__, "answers": answers}))
