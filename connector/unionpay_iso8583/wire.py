"""ISO 8583 on the wire: bytes, MAC, framing, one TLS connection with its waiting requests.

ISO 8583:1987, ASCII data, binary bitmaps; two bytes of length; the MAC is AES-CMAC (NIST SP
800-38B) over all before it, 8 bytes, in field 64 or 128. Written from the acquirer's document
(docs/acquirers.md): the acquirer is another company with code of its own.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import iso8583
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from clearline.logs import get_logger
from clearline.statuses import Reason
from connector.adapter import NoAnswerError, NotSentError

_log = get_logger("connector.unionpay_iso8583")
_MAC_BYTES: Final = 8
_LARGEST: Final = 4096
_READ_BYTES: Final = 65_536
_TRACE_FIELD: Final = "11"
_REFERENCE_FIELD: Final = "61"
_NETWORK_FIELD: Final = "70"
# Field: (digits of the length prefix, most characters, pattern of what we accept to read).
_FIELDS: Final[dict[str, tuple[int, int, str]]] = {
    "3": (0, 6, "[0-9]{6}"), "4": (0, 12, "[0-9]{12}"), "7": (0, 10, "[0-9]{10}"),
    "11": (0, 6, "[0-9]{6}"), "12": (0, 6, "[0-9]{6}"), "13": (0, 4, "[0-9]{4}"),
    "18": (0, 4, "[0-9]{4}"), "22": (0, 3, "[0-9]{3}"), "25": (0, 2, "[0-9]{2}"),
    "32": (2, 11, "[0-9]{1,11}"), "33": (2, 11, "[0-9]{1,11}"), "37": (0, 12, "[A-Za-z0-9]{12}"),
    "38": (0, 6, "[A-Za-z0-9]{6}"), "39": (0, 2, "[A-Z0-9]{2}"), "41": (0, 8, "[ -~]{8}"),
    "42": (0, 15, "[A-Za-z0-9 ]{15}"), "43": (0, 40, "[ -~]{40}"), "49": (0, 3, "[0-9]{3}"),
    "60": (3, 64, "[A-Za-z0-9._:-]{1,64}"), "61": (3, 40, "[0-9a-f]{40}"),
    "62": (3, 40, "[0-9a-f]{40}"), "63": (3, 40, "[A-Za-z0-9._-]{1,31}/[0-9]{8}"),
    "70": (0, 3, "[0-9]{3}"),
    "90": (0, 42, "[0-9]{42}"),
}  # fmt: skip
_READABLE: Final = {number: re.compile(pattern) for number, (_, _, pattern) in _FIELDS.items()}


def _described(encoding: str, prefix: int, size: int) -> dict[str, Any]:
    return {"data_enc": encoding, "len_enc": "ascii", "len_type": prefix, "max_len": size}


_SPEC: Final[dict[str, Any]] = {
    "h": _described("ascii", 0, 0),
    "t": _described("ascii", 0, 4),
    "p": _described("b", 0, 8),
    "1": _described("b", 0, 8),
    **{number: _described("ascii", prefix, size) for number, (prefix, size, _) in _FIELDS.items()},
    "64": _described("b", 0, _MAC_BYTES),
    "128": _described("b", 0, _MAC_BYTES),
}


class WireError(Exception):
    """What came is not a message of this protocol, or its MAC is wrong."""


@dataclass(frozen=True, slots=True)
class Native:
    """A message: type, fields by number, and (when received) the bytes it came in."""

    mti: str
    fields: Mapping[str, str]
    raw: bytes = b""

    def get(self, number: str) -> str:
        """The field's text, empty when it is absent."""
        return self.fields.get(number, "")


@dataclass(frozen=True, slots=True)
class Partner:
    """Where the acquirer is and what is shared with it."""

    host: str
    port: int
    tls_ca: Path
    server_name: str
    mac_key: bytes
    acquiring_institution: str
    forwarding_institution: str


def pack(message: Native, key: bytes) -> bytes:
    """The frame to send: length, message, MAC. Raises WireError for a field that can't be sent."""
    extended = any(int(number) > 64 for number in message.fields)
    document = {"t": message.mti, **message.fields}
    document["128" if extended else "64"] = "0" * (2 * _MAC_BYTES)
    try:
        encoded, _ = iso8583.encode(document, _SPEC)
    except (iso8583.EncodeError, KeyError) as error:
        raise WireError(f"{message.mti} can't be written: {error}") from None
    authenticated = bytes(encoded[:-_MAC_BYTES])
    body = authenticated + _mac(authenticated, key)
    return len(body).to_bytes(2, "big") + body


def unpack(body: bytes, key: bytes) -> Native:
    """The message in a frame's body. Raises WireError for anything else, a wrong MAC included."""
    authenticated, claimed = body[:-_MAC_BYTES], body[-_MAC_BYTES:]
    if not hmac.compare_digest(_mac(authenticated, key), claimed):
        raise WireError("the MAC is wrong")
    try:
        document, _ = iso8583.decode(body, _SPEC)
    except (iso8583.DecodeError, KeyError) as error:
        raise WireError(f"not a message: {type(error).__name__}") from None
    if not ("64" in document) ^ ("128" in document):
        raise WireError("no MAC field, or two")
    mti = document.pop("t")
    fields = {number: text for number, text in document.items() if number in _FIELDS}
    for number, text in fields.items():
        if not _READABLE[number].fullmatch(text):
            raise WireError(f"field {number} is not of its form")
    return Native(mti, fields, body)


def _mac(data: bytes, key: bytes) -> bytes:
    cmac = CMAC(AES(key))
    cmac.update(data)
    return cmac.finalize()[:_MAC_BYTES]


_Waiting = tuple[str, str, str]  # type of the answer, trace number, reference


class Link:
    """One connection. Answers find their requests by type, trace number and reference.

    `silent` from a `doubt` until something is heard; `on_change` is called when it changes.
    """

    def __init__(
        self,
        partner: Partner,
        on_late: Callable[[Native], None],
        on_change: Callable[[], None],
    ) -> None:
        self._partner = partner
        self._on_late = on_late
        self._on_change = on_change
        self.silent = False
        self._writer: asyncio.StreamWriter | None = None
        self._outgoing: list[bytes] = []
        self._waiting: dict[_Waiting, asyncio.Future[Native]] = {}
        self.last_heard = 0.0

    @property
    def load(self) -> int:
        """Requests waiting for their answers."""
        return len(self._waiting)

    async def open(self) -> asyncio.StreamReader:
        """Connect. Raises OSError (ssl.SSLError among them)."""
        context = ssl.create_default_context(cafile=str(self._partner.tls_ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        reader, self._writer = await asyncio.open_connection(
            self._partner.host,
            self._partner.port,
            ssl=context,
            server_hostname=self._partner.server_name,
            ssl_handshake_timeout=10,
        )
        self.last_heard = asyncio.get_running_loop().time()
        return reader

    async def listen(self, reader: asyncio.StreamReader) -> None:
        """Hand answers to who waits, until the connection ends. Raises OSError, WireError."""
        data = b""
        while arrived := await reader.read(_READ_BYTES):
            data += arrived
            begin = 0
            while (end := _frame_end(data, begin)) <= len(data):
                self._hand_over(unpack(data[begin + 2 : end], self._partner.mac_key))
                begin = end
            data = data[begin:]
        raise ConnectionResetError("the acquirer closed the connection")

    def doubt(self) -> None:
        """An echo has had no answer for long."""
        self.silent = True
        _log.warning("the acquirer is silent")
        self._on_change()

    def _hand_over(self, message: Native) -> None:
        self.last_heard = asyncio.get_running_loop().time()
        if self.silent:
            self.silent = False
            self._on_change()
        future = self._waiting.pop(_identity(message), None)
        if future is not None and not future.done():
            future.set_result(message)
        else:
            self._on_late(message)

    async def ask(self, request: Native, timeout_seconds: float) -> Native:
        """Send and wait for the answer.

        Raises NotSentError while nothing was written, NoAnswerError afterwards.
        """
        writer = self._writer
        try:
            data = pack(request, self._partner.mac_key)
        except WireError as error:
            raise NotSentError(str(error)) from None
        if writer is None or writer.is_closing():
            raise NotSentError("the connection is closed")
        expected = (f"{request.mti[:2]}{int(request.mti[2]) + 1}0", *_identity(request)[1:])
        if expected in self._waiting:
            raise NotSentError("the trace number is in use")
        future: asyncio.Future[Native] = asyncio.get_running_loop().create_future()
        self._waiting[expected] = future
        self._send(writer, data)  # from here on nobody can prove that it was not sent
        try:
            async with asyncio.timeout(timeout_seconds):
                await writer.drain()
                return await future
        except TimeoutError:
            raise NoAnswerError(Reason.TIMED_OUT) from None
        except OSError:
            raise NoAnswerError(Reason.CONNECTION_LOST) from None
        finally:
            self._waiting.pop(expected, None)

    def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """What is sent in one turn of the loop goes as one piece of TLS."""
        if not self._outgoing:
            asyncio.get_running_loop().call_soon(self._flush, writer)
        self._outgoing.append(data)

    def _flush(self, writer: asyncio.StreamWriter) -> None:
        if not writer.is_closing():
            writer.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def close(self) -> None:
        """Close; who waits gets NoAnswerError (connection_lost)."""
        if self._writer is not None:
            self._writer.close()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(NoAnswerError(Reason.CONNECTION_LOST))


def _frame_end(data: bytes, begin: int) -> int:
    """Where the frame that begins there ends; past the data when it isn't whole yet. Raises
    WireError for one that is too long."""
    if len(data) < begin + 2:
        return len(data) + 1
    length = int.from_bytes(data[begin : begin + 2], "big")
    if length > _LARGEST:
        raise WireError(f"a message of {length} bytes")
    return begin + 2 + length


def _identity(message: Native) -> _Waiting:
    name = message.get(_REFERENCE_FIELD) or message.get(_NETWORK_FIELD)
    return message.mti, message.get(_TRACE_FIELD), name
