"""A charge at each acquirer's sandbox: in its book before its answer leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import helpers_acquirer
import helpers_wallet
from recorder import Recorder

from acquirers.qr_wallet import server as wallet_server
from acquirers.unionpay_iso8583 import server as unionpay_server
from acquirers.unionpay_iso8583.codec import Message


def play(recorder: Recorder, folder: Path) -> None:
    """A purchase, and an order of the wallet's."""
    _watch(recorder)
    asyncio.run(_purchase(recorder, folder / "unionpay"))
    with helpers_wallet.running(folder / "wallet") as bank:
        recorder.begin("order answered")
        assert bank.create().status == 201
        recorder.settle()


async def _purchase(recorder: Recorder, folder: Path) -> None:
    async with (
        asyncio.timeout(30),
        helpers_acquirer.running(folder) as acquirer,
        acquirer.signed_on() as bank,
    ):
        recorder.begin("charge answered")
        assert (await bank.ask(helpers_acquirer.PURCHASE)).get("39") == "00"
        await asyncio.to_thread(recorder.settle)


def _watch(recorder: Recorder) -> None:
    """Note an answer when it is ready for its socket."""
    session, handler = unionpay_server._Session, wallet_server._Handler
    send, answer = session.send, handler._send

    def watched_send(
        self: unionpay_server._Session, messages: Sequence[Message], key: bytes
    ) -> None:
        if any(message.mti == "0210" for message in messages):
            recorder.told("charge answered")
        send(self, messages, key)

    def watched_answer(
        self: wallet_server._Handler, status: int, body: bytes, headers: Mapping[str, str]
    ) -> None:
        recorder.told("order answered")
        answer(self, status, body, headers)

    session.send = watched_send  # type: ignore[method-assign]
    handler._send = watched_answer  # type: ignore[method-assign]
