"""The acquirers there are, by name: how each is made, run and its book read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from acquirers.qr_wallet import book as wallet_book
from acquirers.qr_wallet import create as wallet_create
from acquirers.qr_wallet import settings as wallet_settings
from acquirers.qr_wallet.server import WalletServer
from acquirers.qr_wallet.settings import WalletSettings
from acquirers.unionpay_iso8583 import book as unionpay_book
from acquirers.unionpay_iso8583 import create as unionpay_create
from acquirers.unionpay_iso8583 import settings as unionpay_settings
from acquirers.unionpay_iso8583.server import AcquirerServer
from acquirers.unionpay_iso8583.settings import UnionPaySettings

Settings = UnionPaySettings | WalletSettings


@dataclass(frozen=True, slots=True)
class Line:
    """What every book says of a reference: its state or code, charges, reversals, and the net in
    minor units; its own reference and clearing date; `more` is all that this book says."""

    reference: str
    merchant_code: str
    amount: int
    currency: str
    code: str
    charges: int
    reversals: int
    net: int
    own_reference: str
    clearing_date: str
    more: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Returned:
    """What every book says of a refund: its reference and its payment's, code or state, and what
    was given back in minor units."""

    reference: str
    payment: str
    merchant_code: str
    amount: int
    currency: str
    code: str
    given: int
    clearing_date: str
    requests_seen: int


@dataclass(frozen=True, slots=True)
class Kind:
    """One acquirer: `create(folder, host, port, network)`; `serve` runs until the event is set."""

    listen: str
    create: Callable[[Path, str, int, str], Path]
    load: Callable[[Path], Settings]
    serve: Callable[[Any, asyncio.Event], Any]
    read: Callable[[Path], Sequence[Line]]
    refunds: Callable[[Path], Sequence[Returned]]


async def _serve_unionpay(settings: UnionPaySettings, stop: asyncio.Event) -> None:
    server = AcquirerServer(settings)
    await server.start()
    await stop.wait()
    await server.stop()


async def _serve_wallet(settings: WalletSettings, stop: asyncio.Event) -> None:
    server = WalletServer(settings)
    server.start()
    await stop.wait()
    await asyncio.to_thread(server.stop)


def _read_unionpay(path: Path) -> list[Line]:
    return [_line(entry, entry.code, entry.rrn) for entry in unionpay_book.read_entries(path)]


def _read_wallet(path: Path) -> list[Line]:
    return [_line(entry, entry.state, entry.wallet_no) for entry in wallet_book.read_entries(path)]


def _line(entry: unionpay_book.Entry | wallet_book.Entry, code: str, own: str) -> Line:
    return Line(
        entry.reference, entry.merchant_code, entry.amount, entry.currency, code, entry.charges,
        entry.reversals, entry.net, own, entry.clearing_date, asdict(entry),
    )  # fmt: skip


def _refunds_of_unionpay(path: Path) -> list[Returned]:
    return [
        Returned(
            one.reference, one.original, one.merchant_code, one.amount, one.currency, one.code,
            one.amount * one.given, one.clearing_date, one.requests_seen,
        )
        for one in unionpay_book.read_refunds(path)
    ]  # fmt: skip


def _refunds_of_wallet(path: Path) -> list[Returned]:
    return [
        Returned(
            one.reference, one.payment, one.merchant_code, one.amount, one.currency, one.state,
            one.given, one.clearing_date, one.requests_seen,
        )
        for one in wallet_book.read_refunds(path)
    ]  # fmt: skip


KINDS: Final[dict[str, Kind]] = {
    "unionpay_iso8583": Kind(
        "127.0.0.1:8583",
        unionpay_create.create,
        unionpay_settings.load,
        _serve_unionpay,
        _read_unionpay,
        _refunds_of_unionpay,
    ),
    "qr_wallet": Kind(
        "127.0.0.1:8590",
        wallet_create.create,
        wallet_settings.load,
        _serve_wallet,
        _read_wallet,
        _refunds_of_wallet,
    ),
}
