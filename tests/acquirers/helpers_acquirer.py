"""A running acquirer on a free port, and a bank that speaks to it byte by byte."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from acquirers.unionpay_iso8583 import codec, settings
from acquirers.unionpay_iso8583.codec import Message
from acquirers.unionpay_iso8583.create import create
from acquirers.unionpay_iso8583.server import AcquirerServer
from acquirers.unionpay_iso8583.settings import FORWARDING_INSTITUTION, UnionPaySettings

REFERENCE = "0123456789abcdef0123456789abcdef01234567"
PURCHASE = Message(
    "0200",
    {
        "3": "000000",
        "4": "000000002933",
        "7": "1123080000",
        "11": "000001",
        "12": "080000",
        "13": "1123",
        "18": "5411",
        "22": "051",
        "25": "00",
        "32": "48020000",
        "33": FORWARDING_INSTITUTION,
        "41": "T0000001",
        "42": "898310148990001",
        "49": "156",
        "60": "tok_approve",
        "61": REFERENCE,
    },
)
REVERSAL = Message(
    "0420",
    {number: PURCHASE.fields[number] for number in ("3", "4", "7", "32", "33", "42", "49", "61")}
    | {"11": "000002", "90": "0200" + "000001" + "1123080000" + "00048020000" + "00048021000"},
)


def altered(message: Message, without: tuple[str, ...] = (), **changes: str) -> Message:
    """The message with fields (`f4="..."`) changed, or left out."""
    fields = {**message.fields, **{name[1:]: text for name, text in changes.items()}}
    return replace(message, fields={n: text for n, text in fields.items() if n not in without})


def managing(kind: str, institution: str = FORWARDING_INSTITUTION) -> Message:
    """0800."""
    return Message("0800", {"7": "1123080000", "11": "000009", "33": institution, "70": kind})


def numbered(number: int) -> str:
    """Another full reference."""
    return f"{number:040x}"


@dataclass
class Bank:
    """A connection; it fails loudly when an answer does not come within five seconds."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    key: bytes

    async def send(self, message: Message) -> None:
        """With the right MAC."""
        await self.send_bytes(codec.encode(message, self.key))

    async def send_bytes(self, body: bytes) -> None:
        """As one frame."""
        self.writer.write(len(body).to_bytes(2, "big") + body)
        await self.writer.drain()

    async def receive(self) -> Message:
        """The next message, whose MAC must be right."""
        async with asyncio.timeout(5):
            length = int.from_bytes(await self.reader.readexactly(2), "big")
            body = await self.reader.readexactly(length)
        assert codec.mac_matches(body, self.key)
        message = codec.decode(body)
        assert not message.faults
        return message

    async def ask(self, message: Message) -> Message:
        """Send, and the next message that comes."""
        await self.send(message)
        return await self.receive()

    async def closed(self) -> bool:
        """Whether the acquirer ends the connection without another byte."""
        try:
            async with asyncio.timeout(5):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def sign_on(self) -> None:
        """001, which must be approved."""
        answer = await self.ask(managing("001"))
        assert (answer.mti, answer.get("39"), answer.get("70")) == ("0810", "00", "001")


@dataclass
class Acquirer:
    """A running server and the folder it was made in."""

    settings: UnionPaySettings
    server: AcquirerServer
    folder: Path

    @asynccontextmanager
    async def bank(self) -> AsyncIterator[Bank]:
        """A connection that is not signed on."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.server.port, ssl=context, server_hostname="localhost"
        )
        try:
            yield Bank(reader, writer, self.settings.mac_key)
        finally:
            writer.transport.abort()

    @asynccontextmanager
    async def signed_on(self) -> AsyncIterator[Bank]:
        """A connection that is signed on."""
        async with self.bank() as bank:
            await bank.sign_on()
            yield bank


@asynccontextmanager
async def running(folder: Path, **changes: Any) -> AsyncIterator[Acquirer]:
    """An acquirer in this folder, made when it is new; `changes` to its settings."""
    path = folder / "settings.json"
    if not path.exists():
        create(folder, "127.0.0.1", 0, "clearline-test")
    loaded = settings.load(path)
    loaded = replace(loaded, place=replace(loaded.place, port=0), **changes)
    server = AcquirerServer(loaded)
    await server.start()
    try:
        yield Acquirer(loaded, server, folder)
    finally:
        await server.stop()


def with_bank(
    folder: Path, test: Callable[[Bank], Coroutine[Any, Any, None]], **changes: Any
) -> Path:
    """Run a test over one signed-on connection; answers the path of the book."""

    async def run() -> Path:
        async with running(folder, **changes) as acquirer:
            async with acquirer.signed_on() as bank:
                await test(bank)
            return acquirer.settings.place.book

    return asyncio.run(run())
