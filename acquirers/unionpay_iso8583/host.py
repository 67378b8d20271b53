"""What the acquirer decides about a message: response code, and what its book says afterwards.

Called for a batch inside one transaction of the book; answers leave after it is on stable storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from acquirers.unionpay_iso8583 import refunds, sandbox
from acquirers.unionpay_iso8583.book import Book, Entry, JournalLine, Refund
from acquirers.unionpay_iso8583.codec import Message
from acquirers.unionpay_iso8583.sandbox import Answering, Behaviour, Loss, RefundLoss
from acquirers.unionpay_iso8583.settings import KnownMerchant, UnionPaySettings

ROUTE: Final = "UPOP-SANDBOX"
_ECHOED: Final = ("3", "4", "7", "11", "12", "13", "18", "32", "33", "41", "42", "49", "60", "61",
                 "62")  # fmt: skip
_NEEDED: Final = {
    "0200": ("3", "4", "7", "11", "18", "32", "33", "41", "42", "49", "60", "61"),
    "0420": ("3", "4", "7", "11", "32", "33", "42", "49", "61", "90"),
}
_NEEDED_OF_REFUND: Final = ("3", "4", "7", "11", "32", "33", "42", "49", "61", "62")
_PURCHASE_CODE: Final = "000000"
Clock = Callable[[], datetime]


class Rc:
    """Response codes (field 39) of this acquirer beyond the issuers'."""

    APPROVED: Final = "00"
    INVALID_MERCHANT: Final = "03"
    INVALID_TRANSACTION: Final = "12"
    INVALID_AMOUNT: Final = "13"
    INVALID_CARD: Final = "14"
    REVERSED_BEFORE: Final = "22"
    NOTHING_TO_REVERSE: Final = "25"
    FORMAT_ERROR: Final = "30"
    NOT_SIGNED_ON: Final = "89"
    UNKNOWN_INSTITUTION: Final = "92"
    DUPLICATE: Final = "94"
    MALFUNCTION: Final = "96"
    MAC_WRONG: Final = "A0"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and how long to wait with it; `message` None: nothing is ever answered."""

    message: Message | None
    delay_seconds: float = 0.0


def answer_type(mti: str) -> str:
    """The type of the answer to a request or advice; a repeat (0421) is answered as its first."""
    return f"{mti[:2]}{int(mti[2]) + 1}0"


def answered(request: Message, code: str) -> Message:
    """The answer with this response code: what was asked is echoed, malformed fields are not."""
    echoed = {number: request.fields[number] for number in _ECHOED if number in request.fields}
    echoed = {number: text for number, text in echoed.items() if number not in request.faults}
    return Message(answer_type(request.mti), {**echoed, "39": code})


def refusal(request: Message, code: str) -> Reply:
    """The reply that changes nothing."""
    return Reply(answered(request, code))


def format_fault(request: Message) -> bool:
    """Whether a field that the message type needs is missing or malformed."""
    needed = _NEEDED.get("0420" if request.mti == "0421" else request.mti, ())
    if is_refund(request):
        needed = _NEEDED_OF_REFUND
    return bool(request.faults) or any(number not in request.fields for number in needed)


def is_refund(request: Message) -> bool:
    """Whether it asks for a refund, for the first time or again."""
    return request.mti in ("0200", refunds.REPEAT) and request.get("3") == refunds.PROCESSING_CODE


class Host:
    """Decides purchases, refunds and reversals over the book. For one thread at a time."""

    def __init__(self, book: Book, settings: UnionPaySettings, clock: Clock | None = None) -> None:
        self._book = book
        self._refunds = refunds.Refunds(book)
        self._settings = settings
        self._clock: Clock = clock or (lambda: datetime.now(UTC))

    def decide(self, request: Message) -> Reply:
        """The answer to a signed-on, well-formed 0200, 0201, 0420 or 0421."""
        if is_refund(request):
            return self._refund(request)
        if request.get("3") != _PURCHASE_CODE:
            return refusal(request, Rc.INVALID_TRANSACTION)
        if request.mti == refunds.REPEAT:
            return refusal(request, Rc.INVALID_TRANSACTION)
        if request.mti == "0200":
            return self._purchase(request)
        return self._reverse(request)

    def _purchase(self, request: Message) -> Reply:
        entry = self._book.find(request.get("61")) or Entry(request.get("61"))
        entry = replace(entry, purchases_seen=entry.purchases_seen + 1)
        code, acting = self._judge(request, entry)
        if acting is not None and acting.loss is Loss.PURCHASE:
            self._book.put(entry)
            return Reply(None)
        line = self._journal(request, code)
        if code in (Rc.DUPLICATE, Rc.REVERSED_BEFORE):
            self._book.put(entry)
            return refusal(request, code)
        entry = replace(
            self._book.decide(line, entry),
            merchant_code=request.get("42").strip(),
            payer_token=request.get("60"),
            amount=int(request.get("4")),
            currency=request.get("49"),
            code=code,
            auth_code=_auth_code(entry.reference) if code == Rc.APPROVED else "",
            clearing_date=self._book.clearing_date(self._clock()),
            charges=1 if code == Rc.APPROVED else 0,
        )
        if acting is not None:
            self._book.open_account(entry.payer_token, sandbox.account(entry.payer_token))
        self._book.put(entry)
        return self._answer(request, entry, acting)

    def _judge(self, request: Message, entry: Entry) -> tuple[str, Behaviour | None]:
        if entry.fenced:
            return Rc.REVERSED_BEFORE, None
        if entry.code:
            return Rc.DUPLICATE, None
        if self._merchant(request) is None:
            return Rc.INVALID_MERCHANT, None
        if request.get("49") not in self._settings.currencies:
            return Rc.INVALID_TRANSACTION, None
        if int(request.get("4")) == 0:
            return Rc.INVALID_AMOUNT, None
        if not self._in_vault(request.get("60")):
            return Rc.INVALID_CARD, None
        behaviour = sandbox.behaviour(request.get("60"))
        return behaviour.code, behaviour

    def _in_vault(self, token: str) -> bool:
        """Whether the vault knows this payer. One with a suffix is known before its first purchase
        when the token without it is."""
        return any(self._book.account(one) is not None for one in (token, sandbox.base(token)))

    def _reverse(self, request: Message) -> Reply:
        entry = self._book.find(request.get("61")) or Entry(request.get("61"))
        entry = replace(entry, reversals_seen=entry.reversals_seen + 1)
        lost = sandbox.behaviour(entry.payer_token).loss is Loss.FIRST_REVERSAL
        if lost and entry.reversals_seen == 1:
            self._book.put(entry)
            return Reply(None)
        if not entry.charges:
            code, entry = Rc.NOTHING_TO_REVERSE, replace(entry, fenced=1)
        elif self._book.refunded(entry.reference):
            code = Rc.INVALID_TRANSACTION
        elif (entry.amount, entry.currency) != (int(request.get("4")), request.get("49")):
            code = Rc.INVALID_AMOUNT
        else:
            code, entry = Rc.APPROVED, replace(entry, reversals=1)
        self._journal(request, code)
        self._book.put(entry)
        answer = answered(request, code)
        return Reply(replace(answer, fields={**answer.fields, **self._known(request, entry)}))

    def _refund(self, request: Message) -> Reply:
        refund = self._refunds.seen(request)
        loss = self._refunds.lost(request, refund)
        if loss is RefundLoss.REQUEST:
            self._book.put_refund(refund)
            return Reply(None)
        code = self._refunds.judge(request, refund)
        line = self._journal(request, code)
        if not refund.code:
            given = int(code == Rc.APPROVED)
            refund = replace(
                self._book.decide(line, refund),
                original=request.get("62"),
                merchant_code=request.get("42").strip(),
                amount=int(request.get("4")),
                currency=request.get("49"),
                code=code,
                clearing_date=self._book.clearing_date(self._clock()) if given else "",
                given=given,
            )
        self._book.put_refund(refund)
        if loss is RefundLoss.ANSWER:
            return Reply(None)
        answer = answered(request, code)
        fields = {**answer.fields, **self._known(request, refund), "37": refund.rrn}
        return Reply(replace(answer, fields=fields))

    def _answer(self, request: Message, entry: Entry, acting: Behaviour | None) -> Reply:
        answer = answered(request, entry.code)
        fields = {**answer.fields, **self._known(request, entry), "37": entry.rrn}
        if entry.auth_code:
            fields["38"] = entry.auth_code
        answering = acting.answering if acting is not None else Answering.AT_ONCE
        if answering is Answering.NEVER:
            return Reply(None)
        delay = {
            Answering.AT_ONCE: 0.0,
            Answering.SLOWLY: self._settings.slow_seconds,
            Answering.LATE: self._settings.late_seconds,
        }[answering]
        return Reply(replace(answer, fields=fields), delay)

    def _known(self, request: Message, entry: Entry | Refund) -> dict[str, str]:
        """What this acquirer knows of the merchant, and where the money is cleared."""
        known: dict[str, str] = {}
        merchant = self._merchant(request)
        if merchant is not None:
            known["43"] = merchant.name[:40].ljust(40)
            known["18"] = merchant.mcc
        if entry.clearing_date:
            known["63"] = f"{ROUTE}/{entry.clearing_date.replace('-', '')}"
        return known

    def _merchant(self, request: Message) -> KnownMerchant | None:
        code = request.get("42").strip()
        known = self._settings.merchants.get(code)
        if known is None and len(code) == 15 and code.startswith("898") and code.isdigit():
            return KnownMerchant(f"SANDBOX MERCHANT {code[-6:]}", request.get("18") or "0000")
        return known

    def _journal(self, request: Message, code: str) -> int:
        return self._book.write(
            JournalLine(
                at=self._clock().isoformat(),
                mti=request.mti,
                stan=request.get("11"),
                institution=request.get("33"),
                reference=request.get("61"),
                amount=int(request.get("4")),
                code=code,
            )
        )


def _auth_code(reference: str) -> str:
    return hashlib.sha256(b"authorisation\n" + reference.encode()).hexdigest()[:6].upper()
