"""What the wallet decides: creates, queries, closes, reversals, and what its payers do.

Called inside one transaction of the book; answers leave after it is on stable storage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from acquirers.qr_wallet import sandbox
from acquirers.qr_wallet.book import Book, Due, Entry, State
from acquirers.qr_wallet.sandbox import Act, Behaviour, Loss, Wrong
from acquirers.qr_wallet.settings import WalletSettings

ROUTE: Final = "QRW-SANDBOX"
PAY, PAY_LATE, REFUSE, NOTICE = "pay", "pay_late", "refuse", "notice:"
_GRACE: Final = timedelta(seconds=5)  # after expires_at, for a close to come first
_DISORDER_SECONDS: Final = 0.2
_TEXTS: Final[dict[str, str]] = {
    "reference": "[0-9a-f]{40}",
    "merchant_code": "[A-Za-z0-9]{1,15}",
    "currency": "[A-Z]{3}",
    "payer_token": "[A-Za-z0-9._:-]{1,64}",
    "mcc": "[0-9]{4}",
    "terminal": "[ -~]{1,32}",
    "expires_at": r"[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z",
    "notify_url": "https://[ -~]{1,200}",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: HTTP status and body; `body` None: the connection is cut instead."""

    status: int
    body: Mapping[str, Any] | None
    delay_seconds: float = 0.0


def refusal(status: int, code: str) -> Reply:
    """An answer that says why not."""
    return Reply(status, {"error": code})


class Wallet:
    """Decides over the book; `base_url` is where payers' phones reach it. One thread at a time."""

    def __init__(self, book: Book, settings: WalletSettings, base_url: str) -> None:
        self._book = book
        self._settings = settings
        self._base_url = base_url

    def create(self, body: Mapping[str, Any], now: datetime) -> Reply:
        """A new payment. 201 with its view, or the reason why not."""
        if not _well_formed(body):
            return refusal(400, "malformed")
        reference = body["reference"]
        entry = self._book.find(reference) or Entry(reference)
        entry = replace(entry, creates_seen=entry.creates_seen + 1)
        behaviour = sandbox.behaviour(body["payer_token"])
        if behaviour is not None and behaviour.loss is Loss.CREATE:
            self._book.put(entry)
            return Reply(0, None)
        error = self._refuses(body, entry, behaviour, now)
        number = self._book.write(now.isoformat(), "create", reference, error or "waiting")
        if error or behaviour is None:
            self._book.put(entry)
            status = 409 if error in ("reference_used", "closed_before") else 422
            return refusal(status, error or "payer_unknown")
        copied = {name: body[name] for name in _TEXTS if name not in ("reference", "terminal")}
        entry = replace(
            entry,
            state=State.WAITING,
            amount=body["amount"],
            wallet_no=f"W{number:015d}",
            **copied,
        )
        self._book.put(entry)
        self._begin(entry, behaviour, now.timestamp())
        if behaviour.loss is Loss.CREATE_ANSWER:
            return Reply(0, None)
        early = behaviour.act is Act.PAYS_AT_ONCE
        return Reply(201, self.view(entry), self._settings.slow_seconds if early else 0.0)

    def query(self, reference: str, now: datetime) -> Reply:
        """What became of it."""
        entry = self._aged(reference, now)
        if entry is None or entry.state == State.UNHEARD:
            return refusal(404, "not_found")
        return Reply(200, self.view(entry))

    def close(self, reference: str, now: datetime) -> Reply:
        """No payer may pay any more; one that has paid has paid. An unknown reference is closed
        too, so that a create still on its way is refused."""
        entry = self._aged(reference, now) or Entry(reference)
        behaviour = sandbox.behaviour(entry.payer_token) or Behaviour()
        entry = replace(entry, closes_seen=entry.closes_seen + 1)
        open_yet = entry.state in (State.WAITING, State.EXPIRED)
        if open_yet and behaviour.act is Act.AT_CLOSE:
            entry = self._paid(entry, behaviour, now)
        elif entry.state in (State.UNHEARD, State.WAITING):
            entry = replace(entry, state=State.CLOSED, ended_at=render(now))
        if open_yet and behaviour.act is Act.AFTER_CLOSE and entry.closes_seen == 1:
            self._plan(entry, PAY_LATE, now.timestamp() + self._settings.late_seconds)
        self._book.put(entry)
        self._book.write(now.isoformat(), "close", reference, entry.state)
        return Reply(200, self.view(entry))

    def reverse(self, reference: str, now: datetime) -> Reply:
        """What was paid is given back, unless some of it was refunded before; what was not can't be
        paid any more."""
        entry = self._aged(reference, now) or Entry(reference)
        entry = replace(entry, reversals_seen=entry.reversals_seen + 1)
        if entry.state == State.PAID and not self._book.refunded(reference):
            entry = replace(entry, state=State.REVERSED, reversals=1, ended_at=render(now))
        elif entry.state in (State.UNHEARD, State.WAITING):
            entry = replace(entry, state=State.CLOSED, ended_at=render(now))
        self._book.put(entry)
        self._book.write(now.isoformat(), "reverse", reference, entry.state)
        behaviour = sandbox.behaviour(entry.payer_token) or Behaviour()
        if behaviour.loss is Loss.FIRST_REVERSAL_ANSWER and entry.reversals_seen == 1:
            return Reply(0, None)
        return Reply(200, self.view(entry))

    def act(self, due: Due, now: datetime) -> None:
        """A payer does what was planned, when it still can be done."""
        entry = self._aged(due.reference, now)
        behaviour = sandbox.behaviour(entry.payer_token) if entry is not None else None
        if entry is None or behaviour is None:
            return
        in_time = entry.state == State.WAITING and render(now) < entry.expires_at
        if due.what == REFUSE and in_time:
            self._book.put(self._ended(entry, State.REFUSED, behaviour, now))
        elif (due.what == PAY and in_time) or (
            due.what == PAY_LATE and entry.state in (State.CLOSED, State.EXPIRED)
        ):
            self._book.put(self._paid(entry, behaviour, now))
        self._book.write(now.isoformat(), due.what, due.reference, entry.state)

    def notice(self, due: Due) -> tuple[str, Mapping[str, Any]] | None:
        """Where a planned notice goes and what it says; None when there is nothing to say."""
        entry = self._book.find(due.reference)
        if entry is None:
            return None
        view = {**self.view(entry), "notice": due.what.removeprefix(NOTICE)}
        if view["notice"] == "scanned":
            view["state"] = State.WAITING.value
        behaviour = sandbox.behaviour(entry.payer_token) or Behaviour()
        if behaviour.wrong is Wrong.NOTICE and entry.state == State.PAID:
            view["amount"] = entry.amount + 1
        return entry.notify_url, view

    def view(self, entry: Entry) -> dict[str, Any]:
        """What is told of a payment; a fenced one has a reference and a state only."""
        told: dict[str, Any] = {"reference": entry.reference, "state": str(entry.state)}
        if not entry.wallet_no:
            return told
        told |= {
            "wallet_no": entry.wallet_no,
            "amount": entry.charged_amount if entry.charges else entry.amount,
            "currency": entry.currency,
            "merchant_code": entry.merchant_code,
            "merchant_name": f"WALLET MERCHANT {entry.merchant_code[-6:]}",
            "mcc": entry.mcc,
            "payer_token": entry.payer_token,
            "pay_url": f"{self._base_url}/pay/{entry.reference}",
        }
        if entry.reason:
            told["reason"] = entry.reason
        if entry.clearing_date:
            told |= {"clearing_route": ROUTE, "clearing_date": entry.clearing_date}
        return told

    def _refuses(
        self, body: Mapping[str, Any], entry: Entry, behaviour: Behaviour | None, now: datetime
    ) -> str:
        """Why a create is refused, empty when it is not."""
        if entry.wallet_no:
            return "reference_used"
        if entry.state == State.CLOSED:
            return "closed_before"
        if not re.fullmatch("QRW[0-9]{10}", body["merchant_code"]):
            return "merchant_unknown"
        if body["currency"] not in self._settings.currencies:
            return "currency_not_taken"
        if urlsplit(body["notify_url"]).hostname not in self._settings.notice_hosts:
            return "notify_url_refused"
        if body["expires_at"] <= render(now):
            return "expired"
        return "" if behaviour is not None else "payer_unknown"

    def _begin(self, entry: Entry, behaviour: Behaviour, now: float) -> None:
        seconds = {
            Act.PAYS: self._settings.pay_seconds,
            Act.REFUSES: self._settings.pay_seconds,
            Act.PAYS_SLOWLY: self._settings.slow_seconds,
            Act.PAYS_AT_ONCE: 0.0,
        }.get(behaviour.act)
        if seconds is not None:
            self._plan(entry, REFUSE if behaviour.act is Act.REFUSES else PAY, now + seconds)

    def _aged(self, reference: str, now: datetime) -> Entry | None:
        """The entry; what waits for longer than it may has expired."""
        entry = self._book.find(reference)
        late = entry is not None and entry.expires_at <= render(now - _GRACE)
        if entry is not None and late and entry.state == State.WAITING:
            entry = replace(entry, state=State.EXPIRED, ended_at=entry.expires_at)
            self._book.put(entry)
        return entry

    def _paid(self, entry: Entry, behaviour: Behaviour, now: datetime) -> Entry:
        more = 1 if behaviour.wrong is Wrong.CHARGE else 0
        paid = replace(
            entry,
            charges=1,
            charged_amount=entry.amount + more,
            clearing_date=self._book.clearing_date(now),
        )
        return self._ended(paid, State.PAID, behaviour, now)

    def _ended(self, entry: Entry, state: State, behaviour: Behaviour, now: datetime) -> Entry:
        if behaviour.loss is not Loss.NOTICES:
            for number, kind in enumerate(behaviour.notices):
                at = now.timestamp() + number * _DISORDER_SECONDS
                self._plan(entry, f"{NOTICE}{kind}", at)
        reason = behaviour.reason if state is State.REFUSED else ""
        return replace(entry, state=state, reason=reason, ended_at=render(now))

    def _plan(self, entry: Entry, what: str, at: float) -> None:
        self._book.plan(Due(at, what, entry.reference))


def _well_formed(body: Mapping[str, Any]) -> bool:
    if body.keys() != {*_TEXTS, "amount"}:
        return False
    for name, form in _TEXTS.items():
        if not isinstance(body[name], str) or not re.fullmatch(form, body[name], re.ASCII):
            return False
    return type(body["amount"]) is int and 0 < body["amount"] < 10**12


def render(moment: datetime) -> str:
    """RFC 3339 UTC, whole milliseconds."""
    utc = moment.astimezone(UTC)
    return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03d}Z"
