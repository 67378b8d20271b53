"""The acquirer's server: TLS connections, sign-on, pipelined requests, answers as they are ready.

Requests of all connections that wait together are decided in one transaction of the book.
"""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from acquirers.unionpay_iso8583 import codec
from acquirers.unionpay_iso8583.book import Book
from acquirers.unionpay_iso8583.codec import CodecError, Message
from acquirers.unionpay_iso8583.framing import FrameError, Frames, frame
from acquirers.unionpay_iso8583.host import (
    Host,
    Rc,
    Reply,
    answer_type,
    answered,
    format_fault,
    refusal,
)
from acquirers.unionpay_iso8583.settings import UnionPaySettings
from clearline.logs import get_logger

_log = get_logger("acquirers.unionpay_iso8583")
_SIGN_ON: Final = "001"
_SIGN_OFF: Final = "002"
_ECHO: Final = "301"
_BATCH: Final = 256
_CONNECTIONS: Final = 64
_IN_FLIGHT: Final = 512  # of one connection; more wait in its socket


@dataclass(frozen=True, slots=True)
class _Waiting:
    session: _Session
    request: Message


@dataclass(slots=True, eq=False)
class _Session:
    """One connection: who signed on (empty: nobody) and what it waits for."""

    writer: asyncio.StreamWriter
    institution: str = ""
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_IN_FLIGHT))
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def send(self, messages: Sequence[Message], key: bytes) -> None:
        """Put answers on the wire, in one piece; a peer that is gone loses them."""
        if not self.writer.is_closing():
            self.writer.write(b"".join(frame(codec.encode(item, key)) for item in messages))


class AcquirerServer:
    """`start`, then `port` says where it listens; `stop` ends it. One per book."""

    def __init__(self, settings: UnionPaySettings) -> None:
        self._settings = settings
        settings.place.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._book = Book(settings.place.book)
        self._host = Host(self._book, settings)
        self._syncing = ThreadPoolExecutor(1, "book")
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._sessions: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._clerk: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, once started."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken, ssl.SSLError for bad TLS files."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._settings.place.certificate, self._settings.place.private_key)
        self._server = await asyncio.start_server(
            self._accept, self._settings.place.host, self._settings.place.port, ssl=context
        )
        self._clerk = asyncio.create_task(self._keep_book())
        _log.info("listening", extra={"host": self._settings.place.host, "port": self.port})

    async def stop(self) -> None:
        """Close every connection and the book."""
        if self._server is not None:
            self._server.close()
        tasks = [*self._sessions, *([self._clerk] if self._clerk is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._syncing.shutdown()
        self._book.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(writer)
        task = asyncio.current_task()
        if task is None or len(self._sessions) >= _CONNECTIONS:
            writer.close()
            return
        self._sessions.add(task)
        try:
            await self._serve(session, reader)
        except (FrameError, CodecError) as error:
            _log.warning("connection closed", extra={"reason": str(error)})
        except (TimeoutError, OSError) as error:
            _log.info("connection ended", extra={"reason": repr(error)})
        except asyncio.CancelledError:
            pass  # the server stops: nothing above waits for this task's cancellation
        finally:
            writer.close()
            for pending in session.tasks:
                pending.cancel()
            self._sessions.discard(task)

    async def _serve(self, session: _Session, reader: asyncio.StreamReader) -> None:
        frames = Frames(reader)
        while (raw := await frames.next(self._settings.idle_seconds)) is not None:
            request = codec.decode(raw)
            if request.mti not in ("0200", "0420", "0421", "0800") and not _asks(request.mti):
                raise CodecError(f"type {request.mti} is not asked of an acquirer")
            at_once = self._screen(session, request, raw)
            if at_once is not None:
                session.send([at_once], self._settings.mac_key)
                await session.writer.drain()
                continue
            await session.slots.acquire()
            self._waiting.put_nowait(_Waiting(session, request))

    def _screen(self, session: _Session, request: Message, raw: bytes) -> Message | None:
        """The answer to what does not reach the book, None for what does."""
        if not codec.mac_matches(raw, self._settings.mac_key):
            _log.warning("MAC wrong", extra={"mti": request.mti, "stan": request.get("11")})
            return answered(request, Rc.MAC_WRONG)
        if request.mti == "0800":
            return self._manage(session, request)
        if request.mti not in ("0200", "0201", "0420", "0421"):
            return answered(request, Rc.INVALID_TRANSACTION)
        if not session.institution:
            return answered(request, Rc.NOT_SIGNED_ON)
        if format_fault(request):
            return answered(request, Rc.FORMAT_ERROR)
        if request.get("33") != session.institution:
            return answered(request, Rc.UNKNOWN_INSTITUTION)
        return None

    def _manage(self, session: _Session, request: Message) -> Message:
        """Sign-on, sign-off, echo (field 70)."""
        code = Rc.APPROVED
        kind = request.get("70")
        if request.faults or not kind:
            code = Rc.FORMAT_ERROR
        elif kind == _SIGN_ON:
            if request.get("33") in self._settings.institutions:
                session.institution = request.get("33")
            else:
                code = Rc.UNKNOWN_INSTITUTION
        elif not session.institution:
            code = Rc.NOT_SIGNED_ON
        elif kind == _SIGN_OFF:
            session.institution = ""
        elif kind != _ECHO:
            code = Rc.INVALID_TRANSACTION
        echoed = {number: request.fields[number] for number in ("7", "11", "33", "70")
                  if number in request.fields and number not in request.faults}  # fmt: skip
        return Message(answer_type(request.mti), {**echoed, "39": code})

    async def _answer_later(self, session: _Session, message: Message, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            session.send([message], self._settings.mac_key)
        finally:
            session.slots.release()

    def _answer(self, decided: Sequence[tuple[_Session, Reply]]) -> None:
        """Send what is due now, to each connection in one piece; the rest later, or never."""
        now: dict[_Session, list[Message]] = {}
        for session, reply in decided:
            gone = session.writer.is_closing()
            if reply.message is not None and reply.delay_seconds and not gone:
                later = self._answer_later(session, reply.message, reply.delay_seconds)
                task = asyncio.create_task(later)
                session.tasks.add(task)
                task.add_done_callback(session.tasks.discard)
                continue
            session.slots.release()
            if reply.message is not None:
                now.setdefault(session, []).append(reply.message)
        for session, messages in now.items():
            session.send(messages, self._settings.mac_key)

    async def _keep_book(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < _BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            requests = [waiting.request for waiting in batch]
            try:
                replies = self._decide(requests)
                await loop.run_in_executor(self._syncing, self._book.commit)
            except sqlite3.Error:
                _log.exception("the book can't be written")
                self._book.undo()
                replies = [refusal(request, Rc.MALFUNCTION) for request in requests]
            sessions = [waiting.session for waiting in batch]
            self._answer(list(zip(sessions, replies, strict=True)))

    def _decide(self, requests: Sequence[Message]) -> list[Reply]:
        """In a transaction of the book that is left open. Statements run on the loop: they are
        short, and in a thread each would wait for the interpreter; the sync has the thread."""
        self._book.begin()
        return [self._host.decide(request) for request in requests]


def _asks(mti: str) -> bool:
    """Whether a type is a request or an advice, which can be answered."""
    return mti[2] in "024" and mti[3] in "01"
