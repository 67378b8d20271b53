"""The acquirers under test, each behind one face: real server, real adapter, its own book."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from acquirers.qr_wallet import book as wallet_book
from acquirers.qr_wallet import create as wallet_create
from acquirers.qr_wallet import settings as wallet_settings
from acquirers.qr_wallet.server import WalletServer
from acquirers.unionpay_iso8583 import book as unionpay_book
from acquirers.unionpay_iso8583 import create as unionpay_create
from acquirers.unionpay_iso8583 import settings as unionpay_settings
from acquirers.unionpay_iso8583.server import AcquirerServer
from connector.adapter import Adapter
from connector.qr_wallet import adapter as wallet_adapter
from connector.unionpay_iso8583 import adapter as unionpay_adapter

NETWORK = "clearline-dev"


class Payer(StrEnum):
    """What a payer or the network does, in every acquirer's sandbox."""

    PAYS = "pays"
    PAYS_SLOWLY = "pays slowly"
    REFUSED = "has no money"
    REQUEST_LOST = "the request is lost"
    ANSWER_LOST = "paid, the answer is lost"


@dataclass(frozen=True)
class Booked:
    """What an acquirer's book says of a reference."""

    charges: int
    reversals: int
    requests_seen: int
    reversals_seen: int


@dataclass(frozen=True)
class Returned:
    """What an acquirer's book says of a refund: the amount given back, and the requests seen that
    were no repeats (the wallet knows no others)."""

    original: str
    given: int
    requests_seen: int


@dataclass(frozen=True)
class Bench:
    """An acquirer under test; `responds`: a payment is accepted first and ends later;
    `lost_answer`: how a payment ends whose answer was lost."""

    acquirer_id: str
    merchant_code: str
    tokens: Mapping[Payer, str]
    all_tokens: tuple[str, ...]
    responds: bool
    lost_answer: str
    serve: Callable[..., AbstractAsyncContextManager[Any]]
    adapter: Callable[[Path], Adapter]
    book: Callable[[Path], dict[str, Booked]]
    refunds: Callable[[Path], dict[str, Returned]]

    def statuses(self, end: str) -> list[str]:
        """The reports of an ordinary payment that ends so."""
        return ["accepted", end] if self.responds else [end]


UNIONPAY_SOON = unionpay_adapter.Timing(1.0, 1.0, 5, 2)
WALLET_SOON = wallet_adapter.Timing(1.5, 5.0)


def _settle_port(folder: Path, port: int) -> None:
    """Give a port that was chosen at the first start to partner and settings for good."""
    partner = folder / "partner.json"
    partner.write_text(
        partner.read_text().replace('"port": 0', f'"port": {port}').replace(":0/", f":{port}/")
        .replace('127.0.0.1:0"', f'127.0.0.1:{port}"')
    )  # fmt: skip
    settings = folder / "settings.json"
    settings.write_text(settings.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))


@asynccontextmanager
async def unionpay(folder: Path, **changes: Any) -> AsyncIterator[AcquirerServer]:
    """The real acquirer of this world's folder, on the port its partner.json says."""
    home = folder / "unionpay"
    if not (home / "settings.json").exists():
        unionpay_create.create(home, "127.0.0.1", 0, NETWORK)
    loaded = unionpay_settings.load(home / "settings.json")
    server = AcquirerServer(replace(loaded, slow_seconds=0.3, late_seconds=1.5, **changes))
    await server.start()
    _settle_port(home, server.port)
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def wallet(folder: Path, **changes: Any) -> AsyncIterator[WalletServer]:
    """The real wallet of this world's folder."""
    home = folder / "qr_wallet"
    if not (home / "settings.json").exists():
        wallet_create.create(home, "127.0.0.1", 0, NETWORK)
    loaded = wallet_settings.load(home / "settings.json")
    quick = {"pay_seconds": 0.15, "slow_seconds": 0.5, "late_seconds": 0.4}
    repeats = {"notice_seconds": (0.2,) * 20}
    server = WalletServer(replace(loaded, **{**quick, **repeats, **changes}))
    server.start()
    _settle_port(home, server.port)
    try:
        yield server
    finally:
        await asyncio.to_thread(server.stop)


def _unionpay_book(folder: Path) -> dict[str, Booked]:
    return {
        item.reference: Booked(
            item.charges, item.reversals, item.purchases_seen, item.reversals_seen
        )
        for item in unionpay_book.read_entries(folder / "unionpay" / "data" / "book.db")
    }


def _wallet_book(folder: Path) -> dict[str, Booked]:
    return {
        item.reference: Booked(item.charges, item.reversals, item.creates_seen, item.reversals_seen)
        for item in wallet_book.read_entries(folder / "qr_wallet" / "data" / "book.db")
    }


def _unionpay_refunds(folder: Path) -> dict[str, Returned]:
    return {
        item.reference: Returned(item.original, item.amount * item.given, item.requests_seen)
        for item in unionpay_book.read_refunds(folder / "unionpay" / "data" / "book.db")
    }


def _wallet_refunds(folder: Path) -> dict[str, Returned]:
    return {
        item.reference: Returned(item.payment, item.given, item.requests_seen)
        for item in wallet_book.read_refunds(folder / "qr_wallet" / "data" / "book.db")
    }


def _unionpay_adapter(folder: Path) -> Adapter:
    partner = unionpay_adapter.load_partner(folder / "unionpay" / "partner.json")
    return unionpay_adapter.UnionPayAdapter(partner, UNIONPAY_SOON)


def _wallet_adapter(folder: Path) -> Adapter:
    partner = wallet_adapter.load_partner(folder / "qr_wallet" / "partner.json")
    place = wallet_adapter.NoticePlace(memory=folder / "notice_port")
    return wallet_adapter.QrWalletAdapter(partner, WALLET_SOON, place)


UNIONPAY = Bench(
    acquirer_id="unionpay",
    merchant_code="898310148990001",
    tokens={
        Payer.PAYS: "tok_approve",
        Payer.PAYS_SLOWLY: "tok_slow",
        Payer.REFUSED: "tok_insufficient_funds",
        Payer.REQUEST_LOST: "tok_timeout",
        Payer.ANSWER_LOST: "tok_timeout_charged",
    },
    all_tokens=("tok_approve", "tok_approve.2", "tok_slow", "tok_do_not_honor", "tok_approve.3",
                "tok_timeout", "tok_timeout_charged", "tok_late"),
    responds=False,
    lost_answer="closed",
    serve=unionpay,
    adapter=_unionpay_adapter,
    book=_unionpay_book,
    refunds=_unionpay_refunds,
)  # fmt: skip
WALLET = Bench(
    acquirer_id="qr_wallet",
    merchant_code="QRW0000000001",
    tokens={
        Payer.PAYS: "tok_approve",
        Payer.PAYS_SLOWLY: "tok_slow",
        Payer.REFUSED: "tok_insufficient_funds",
        Payer.REQUEST_LOST: "tok_create_lost",
        Payer.ANSWER_LOST: "tok_create_unanswered",
    },
    all_tokens=("tok_approve", "tok_approve.2", "tok_slow", "tok_refuses", "tok_notice_twice",
                "tok_create_lost", "tok_create_unanswered", "tok_notice_disordered",
                "tok_notice_lost", "tok_notice_early", "tok_wrong_amount"),
    responds=True,
    lost_answer="succeeded",
    serve=wallet,
    adapter=_wallet_adapter,
    book=_wallet_book,
    refunds=_wallet_refunds,
)  # fmt: skip
BENCHES = {bench.acquirer_id: bench for bench in (UNIONPAY, WALLET)}
