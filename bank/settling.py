"""The desk's work with an acquirer's files: import, settle, decide, pay out.

The maker signs with the acquirer's key, as the connector signs its reports; every step may be
repeated after a lost answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeVar

from bank import desk
from bank.acquirer_file import DailyFile
from bank.desk import DeskError
from bank.patience import Ledger as Channel
from bank.payees import payee
from bank.reconciling import Differing, Ledger, in_parts, reconcile
from clearline import canonical, clearing, reports
from clearline.canonical import Json
from clearline.clearing import Adjustment, Clearing, Entry, Filing, Part, Payout, Place
from clearline.clearing_records import (
    AcquirerFile,
    AdjustmentRecord,
    Settlement,
    Standing,
    Statement,
    acquirer_file_key,
    adjustment_key,
    settlement_id,
    statement_key,
)
from clearline.clearing_schema import MAX_RUNS, Cause, LineKind, Paid
from clearline.codes import Code, Outcome
from clearline.jws import Signer
from clearline.records import Kind, Merchant, MerchantCode, Payment, from_json
from clearline.refunds import Refund, RefundKey, reference, refund_key

PAGE: Final = 200
# Parts of one transaction: their payments are written with them, a few KB each.
_PARTS: Final = 4
_Record = TypeVar("_Record", Merchant, MerchantCode, AcquirerFile, AdjustmentRecord, Settlement,
                  Statement, Refund)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clerk:
    """Who works, and with what: the ledger as the maker sees it, the acquirer, its signing key."""

    ledger: Channel
    network: str
    acquirer_id: str
    signer: Signer


@dataclass(frozen=True, slots=True)
class Stated:
    """What became of a file: its settlement's id and status, the outcomes of what was submitted,
    and what stood in the way."""

    settlement: str
    status: str
    outcomes: tuple[Outcome, ...] = ()
    differences: tuple[Differing, ...] = ()


async def bring_in(clerk: Clerk, file: DailyFile) -> list[Outcome]:
    """Sign a file's control totals and its adjustments, and put them onto the ledger.

    Raises FabricError, DeskError.
    """
    merchant_id = await _owner(clerk, file)
    common = _common(clerk, file, merchant_id)
    items: list[Clearing] = [
        Filing(**common, file_digest=file.digest, lines=len(file.rows), **file.totals._asdict())
    ]
    rows = [row for row in file.rows if row.kind is LineKind.ADJUSTMENT]
    known = await _payments(clerk, merchant_id, file) if rows else {}
    for row in rows:
        about = known.get(row.reference)
        items.append(
            Adjustment(
                **common,
                reference=row.own_reference,
                cause=Cause.CHARGEBACK if about is not None else Cause.CORRECTION,
                amount=row.amount,
                order_no=None if about is None else about.order_no,
                attempt=None if about is None else about.attempt,
            )
        )
    return await _submit(clerk, items)


async def settle(clerk: Clerk, file: DailyFile) -> Stated:
    """State the settlement of an imported file, for the checker to approve; nothing of it when
    file and ledger differ. Raises FabricError, DeskError."""
    place = file.place(clerk.acquirer_id)
    merchant_id = await _owner(clerk, file)
    taken = await _get(clerk, AcquirerFile, acquirer_file_key(place))
    if taken is None or taken.file_digest != file.digest:
        state = "the ledger holds another file" if taken else "the ledger holds no file"
        raise DeskError(
            f"{Code.FILE_UNKNOWN}: {state} of {place.name}; this one's SHA-256 is {file.digest}"
        )
    run, before = await _next_run(clerk, place)
    name = settlement_id(place, run)
    if before is not None and before.status != Standing.OPEN:
        return Stated(name, before.status)
    payments = await _payments(clerk, merchant_id, file)
    refunds = await _refunds(clerk, payments.values())
    known = Ledger(place, payments, refunds, await _adjustments(clerk, file))
    found = reconcile(file, known)
    if found.differences:
        return Stated(name, "", (), found.differences)
    parts = await _parts(clerk, file, merchant_id, run, found.entries)
    outcomes: list[Outcome] = []
    for start in range(0, len(parts), _PARTS):
        outcomes += await _submit(clerk, parts[start : start + _PARTS])
        if not all(outcome.code.taken for outcome in outcomes):
            break
    return Stated(name, outcomes[-1].status, tuple(outcomes))


async def decide(ledger: Channel, names: Sequence[str], decision: str) -> list[Outcome]:
    """Approve or reject settlements as the checker. Raises FabricError, DeskError."""
    items = [{"settlement": name, "decision": decision} for name in names]
    return desk.outcomes(
        await ledger.submit("DecideSettlements", canonical.dumps(items)), len(items)
    )


async def pay_out(
    clerk: Clerk, name: str, status: Paid, reference: str, value_date: str
) -> Outcome:
    """Record what became of a stated settlement's money. Raises FabricError, DeskError."""
    settlement = await _get(clerk, Settlement, f"{Kind.SETTLEMENT}/{name}")
    if settlement is None:
        raise DeskError(f"{Code.SETTLEMENT_UNKNOWN}: the ledger holds no settlement {name}")
    payout = Payout(
        network=clerk.network,
        acquirer_id=settlement.acquirer_id,
        merchant_id=settlement.merchant_id,
        merchant_code=settlement.merchant_code,
        currency=settlement.currency,
        clearing_date=settlement.clearing_date,
        run=settlement.run,
        account_id=settlement.account_id,
        amount=max(settlement.net, 1),
        status=status,
        reference=reference,
        value_date=value_date,
    )
    return (await _submit(clerk, [payout]))[0]


async def settlements(ledger: Channel, acquirer_id: str) -> list[Settlement]:
    """All of an acquirer's, by id. Raises FabricError, DeskError."""
    found: list[Settlement] = []
    while True:
        after = found[-1].id if found else None
        query = {"acquirer_id": acquirer_id, "start_after": after, "limit": PAGE}
        page = desk.listed(await ledger.evaluate("ListSettlements", canonical.dumps(query)))
        found += [_read(Settlement, item) for item in page]
        if len(page) < PAGE:
            return found


async def _parts(
    clerk: Clerk, file: DailyFile, merchant_id: str, run: int, entries: Sequence[Entry]
) -> list[Clearing]:
    place = file.place(clerk.acquirer_id)
    statement = await _get(clerk, Statement, statement_key(place))
    carried = 0 if statement is None else statement.carried
    merchant = await _get(clerk, Merchant, f"{Kind.MERCHANT}/{merchant_id}")
    if merchant is None:
        raise DeskError(f"{Code.MERCHANT_UNKNOWN}: {merchant_id}")
    account_id = await payee(clerk.ledger, merchant, file.clearing_date)
    parts = in_parts(entries)
    return [
        Part(
            **_common(clerk, file, merchant_id),
            run=run,
            file_digest=file.digest,
            account_id=account_id,
            lines=len(file.rows),
            **file.totals._asdict(),
            carried=carried,
            net=file.totals.net + carried,
            parts=len(parts),
            part=number,
            entries=part,
        )
        for number, part in enumerate(parts, 1)
    ]


async def _next_run(clerk: Clerk, place: Place) -> tuple[int, Settlement | None]:
    """The first run that was not rejected, and what there is of it."""
    for run in range(1, MAX_RUNS + 1):
        key = f"{Kind.SETTLEMENT}/{settlement_id(place, run)}"
        before = await _get(clerk, Settlement, key)
        if before is None or before.status != Standing.REJECTED:
            return run, before
    raise DeskError(f"{place.name} was rejected {MAX_RUNS} times")


async def _owner(clerk: Clerk, file: DailyFile) -> str:
    key = f"{Kind.MERCHANT_CODE}/{clerk.acquirer_id}/{file.merchant_code}"
    index = await _get(clerk, MerchantCode, key)
    if index is None:
        raise DeskError(
            f"{Code.MERCHANT_CODE_MISMATCH}: code {file.merchant_code} is no merchant's at"
            f" {clerk.acquirer_id}"
        )
    return index.merchant_id


async def _payments(clerk: Clerk, merchant_id: str, file: DailyFile) -> dict[str, Payment]:
    """The merchant's payments at the file's code, by their reference at the acquirer."""
    found: dict[str, Payment] = {}
    after: list[Json] | None = None
    while True:
        query = {"merchant_id": merchant_id, "start_after": after, "limit": PAGE}
        answer = await clerk.ledger.evaluate("ListPayments", canonical.dumps(query))
        page = [_payment(item) for item in desk.listed(answer)]
        for payment in page:
            there = (payment.acquirer_id, payment.merchant_code)
            if there == (clerk.acquirer_id, file.merchant_code):
                found[reports.acquirer_reference(payment.key, clerk.network)] = payment
        if len(page) < PAGE:
            return found
        after = [page[-1].order_no, page[-1].attempt]


async def _refunds(clerk: Clerk, payments: Iterable[Payment]) -> dict[str, Refund]:
    """The refunds of these payments, by their reference at the acquirer."""
    found: dict[str, Refund] = {}
    for payment in payments:
        if not payment.refunded_amount:
            continue
        for number in count(1):
            key = RefundKey(*payment.key, number)
            refund = await _get(clerk, Refund, refund_key(key))
            if refund is None:
                break
            found[reference(key, clerk.network)] = refund
    return found


async def _adjustments(clerk: Clerk, file: DailyFile) -> dict[str, AdjustmentRecord]:
    found = {}
    for row in file.rows:
        if row.kind is LineKind.ADJUSTMENT:
            key = adjustment_key(clerk.acquirer_id, row.own_reference)
            made = await _get(clerk, AdjustmentRecord, key)
            if made is not None:
                found[row.own_reference] = made
    return found


def _common(clerk: Clerk, file: DailyFile, merchant_id: str) -> dict[str, Any]:
    return {
        "network": clerk.network,
        "merchant_id": merchant_id,
        **file.place(clerk.acquirer_id)._asdict(),
    }


async def _submit(clerk: Clerk, items: Sequence[Clearing]) -> list[Outcome]:
    signed = [clearing.sign(item, clerk.signer) for item in items]
    answer = await clerk.ledger.submit("SubmitClearing", canonical.dumps(signed))
    return desk.outcomes(answer, len(items))


async def _get(clerk: Clerk, kind: type[_Record], key: str) -> _Record | None:
    name, _, record_id = key.partition("/")
    value = await desk.record(clerk.ledger, name, record_id, desk.AT_ONCE)
    return None if value is None else _read(kind, value)


def _read(kind: type[_Record], value: Json) -> _Record:
    try:
        return from_json(kind, value)
    except ValueError as error:
        raise DeskError(f"the ledger answered {error}") from None


def _payment(value: Json) -> Payment:
    try:
        return from_json(Payment, value)
    except ValueError as error:
        raise DeskError(f"the ledger answered {error}") from None
