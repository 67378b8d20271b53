"""The committer's end of the Unix socket: frames in, a task a request, frames out."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from clearline.canonical import Json
from clearline.logs import get_logger
from gateway.messages import Verb, WireError, pack, unpack, unpack_length

Handler = Callable[[Verb, Json], Awaitable[Json]]
_log = get_logger("clearline.gateway.socket")


class SocketServer:
    """Serves one Handler to any number of workers."""

    def __init__(self, path: Path, handler: Handler) -> None:
        self._path = path
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen; only this user can connect. Raises OSError.

        The caller is the only committer of its data_dir (the queue's store is locked), so a
        socket that is there already is a dead one's.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._path.parent.stat().st_uid != os.getuid():
            raise OSError(f"{self._path.parent} belongs to somebody else")
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(self._path))
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener)

    async def close(self) -> None:
        """Stop listening and let go of everybody."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                length = unpack_length(await reader.readexactly(4))
                number, verb, body = unpack(await reader.readexactly(length))
                task = asyncio.create_task(self._answer(writer, int(number), Verb(verb), body))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the worker went away
        except (WireError, ValueError, TypeError) as error:
            _log.error("a worker sent what is no request", extra={"reason": str(error)})
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(
        self, writer: asyncio.StreamWriter, number: int, verb: Verb, body: Json
    ) -> None:
        try:
            answer = await self._handler(verb, body)
        except Exception:
            # The worker sees its connection end and answers 503; others go on on new ones.
            _log.exception("a request failed", extra={"verb": verb.value})
            writer.close()
            return
        if not writer.is_closing():
            writer.write(pack([number, answer]))
