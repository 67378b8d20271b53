"""ISO 8583:1987 messages of this acquirer: layout, bytes, MAC (docs/acquirers.md).

ASCII data, binary bitmaps, no header. The MAC is the last field: 64, or 128 when a field above 64
is present; AES-CMAC (NIST SP 800-38B) over every byte before it, cut to its first 8 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hmac import compare_digest
from typing import Any, Final

import iso8583
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

MAC_SIZE: Final = 8
_ANS: Final = "[ -~]"


@dataclass(frozen=True, slots=True)
class _Layout:
    """A field: digits of its length prefix (0: fixed), most characters, what it may hold."""

    prefix: int
    size: int
    pattern: str
    name: str


_LAYOUT: Final[dict[str, _Layout]] = {
    "3": _Layout(0, 6, "[0-9]{6}", "processing code"),
    "4": _Layout(0, 12, "[0-9]{12}", "amount, minor units"),
    "7": _Layout(0, 10, "[0-9]{10}", "transmission date and time MMDDhhmmss, UTC"),
    "11": _Layout(0, 6, "[0-9]{6}", "system trace audit number"),
    "12": _Layout(0, 6, "[0-9]{6}", "local time hhmmss"),
    "13": _Layout(0, 4, "[0-9]{4}", "local date MMDD"),
    "18": _Layout(0, 4, "[0-9]{4}", "merchant category code"),
    "22": _Layout(0, 3, "[0-9]{3}", "point of service entry mode"),
    "25": _Layout(0, 2, "[0-9]{2}", "point of service condition code"),
    "32": _Layout(2, 11, "[0-9]{1,11}", "acquiring institution"),
    "33": _Layout(2, 11, "[0-9]{1,11}", "forwarding institution"),
    "37": _Layout(0, 12, "[A-Za-z0-9]{12}", "retrieval reference number"),
    "38": _Layout(0, 6, "[A-Za-z0-9]{6}", "authorisation code"),
    "39": _Layout(0, 2, "[A-Z0-9]{2}", "response code"),
    "41": _Layout(0, 8, _ANS + "{8}", "terminal"),
    "42": _Layout(0, 15, "[A-Za-z0-9 ]{15}", "merchant code"),
    "43": _Layout(0, 40, _ANS + "{40}", "merchant name"),
    "49": _Layout(0, 3, "[0-9]{3}", "currency, ISO 4217 numeric"),
    "60": _Layout(3, 64, "[A-Za-z0-9._:-]{1,64}", "payer token"),
    "61": _Layout(3, 40, "[0-9a-f]{40}", "full reference"),
    "62": _Layout(3, 40, "[0-9a-f]{40}", "full reference of the payment that is refunded"),
    "63": _Layout(3, 40, "[A-Za-z0-9._-]{1,31}/[0-9]{8}", "clearing route and date"),
    "70": _Layout(0, 3, "[0-9]{3}", "network management code"),
    "90": _Layout(0, 42, "[0-9]{42}", "original data elements"),
}
_PATTERNS: Final = {number: re.compile(layout.pattern) for number, layout in _LAYOUT.items()}
_MTI: Final = re.compile("0[1-9][0-9]{2}")


def _field(data_enc: str, prefix: int, size: int, name: str) -> dict[str, Any]:
    return {
        "data_enc": data_enc, "len_enc": "ascii", "len_type": prefix, "max_len": size, "desc": name
    }  # fmt: skip


_SPEC: Final[dict[str, Any]] = {
    "h": _field("ascii", 0, 0, "header"),
    "t": _field("ascii", 0, 4, "message type"),
    "p": _field("b", 0, 8, "primary bitmap"),
    "1": _field("b", 0, 8, "secondary bitmap"),
    **{n: _field("ascii", item.prefix, item.size, item.name) for n, item in _LAYOUT.items()},
    "64": _field("b", 0, MAC_SIZE, "MAC"),
    "128": _field("b", 0, MAC_SIZE, "MAC"),
}


class CodecError(ValueError):
    """Bytes that are no message of this acquirer; nothing in them can be answered."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its type (four digits) and its fields by number, the MAC left out.

    `faults` names the fields whose content is not of the layout.
    """

    mti: str
    fields: Mapping[str, str]
    faults: tuple[str, ...] = ()

    def get(self, number: str) -> str:
        """The field's text, empty when it is absent."""
        return self.fields.get(number, "")


def encode(message: Message, key: bytes) -> bytes:
    """The message's bytes with its MAC. Raises CodecError for a field that can't be written."""
    mac_field = "128" if any(int(number) > 64 for number in message.fields) else "64"
    document = {"t": message.mti, **message.fields, mac_field: "00" * MAC_SIZE}
    try:
        raw, _ = iso8583.encode(document, _SPEC)
    except (iso8583.EncodeError, KeyError) as error:
        raise CodecError(f"{message.mti} can't be written: {error}") from None
    body = bytes(raw[:-MAC_SIZE])
    return body + mac(body, key)


def decode(raw: bytes) -> Message:
    """The message in these bytes. Raises CodecError; the MAC is checked by `mac_matches`."""
    try:
        document, _ = iso8583.decode(raw, _SPEC)
    except (iso8583.DecodeError, KeyError) as error:
        raise CodecError(f"not a message: {type(error).__name__}") from None
    mti = document.pop("t")
    if not _MTI.fullmatch(mti):
        raise CodecError("not a message type of ISO 8583:1987")
    for number in ("p", "1", "64", "128"):
        document.pop(number, None)
    faults = tuple(n for n, text in document.items() if not _PATTERNS[n].fullmatch(text))
    return Message(mti, document, faults)


def mac(body: bytes, key: bytes) -> bytes:
    """AES-CMAC of `body`, its first 8 bytes."""
    cmac = CMAC(AES(key))
    cmac.update(body)
    return cmac.finalize()[:MAC_SIZE]


def mac_matches(raw: bytes, key: bytes) -> bool:
    """Whether the message ends with its MAC: the field is there, last, and right."""
    secondary = bool(raw[4] & 0x80)
    present = raw[19] & 0x01 if secondary else raw[11] & 0x01
    return bool(present) and compare_digest(mac(raw[:-MAC_SIZE], key), raw[-MAC_SIZE:])
