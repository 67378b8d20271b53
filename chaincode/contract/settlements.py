"""A settlement: its parts as the acquiring bank's maker brings them, and its checker's decision.

A part carries the whole header and some of the lines. After SubmitClearing's checks 1 to 10:

    11  no other part has this number                             conflict
    12  the file of that day is on the ledger, and this one       file_unknown
    13  lines and totals are the file's, the net is theirs and what is carried forward
                                                                  totals_mismatch
    14  what is carried is what the statement says                totals_mismatch
    15  the payee is the merchant's account of that day           payee_mismatch
        ... that is its entity's, or a relation lets it use       relation_not_in_force
        (another that it named later, while none does: chaincode/contract/payees.py)
    16  no later day is settled; the run before was rejected, this one is open
                                                                  settlement_closed
        ... with this header, and by this maker       conflict, role_forbidden
    17  each line's object is on the ledger: a payment or refund that succeeded at this code, an
        adjustment there                                          line_unknown
    18  ... with this amount, currency and clearing date          line_mismatch
    19  ... and in no other settlement                            already_settled
    20  with the last part, lines and totals are the header's     totals_mismatch
        otherwise it is taken: open, with the last part proposed  ok

A refused part writes nothing, its lines neither. DecideRecords has its like: an item of
DecideSettlements is {"settlement": id, "decision": approve|reject}. The checks:

     1  form                                 malformed, or card_data_refused for the whole call
     2  the settlement is on the ledger                           settlement_unknown
     3  its acquirer is the submitter's organisation's            role_forbidden
     4  the checker is another person than the maker              same_person
     5  decided so before, by this person                         duplicate
     6  it is proposed (or open, to be rejected)                  settlement_closed
     7  approved: no later day is settled / what is carried is what the statement says now
                                                        settlement_closed / totals_mismatch
        ... the merchant may still use the payee                  relation_not_in_force
        otherwise it is stated, carried or rejected               ok

With a net over zero it is stated and to be paid; else there is nothing to pay, and the net is
carried forward. A rejected one frees its lines for the next run of the same day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from chaincode.contract import payees
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Refused, Taken, refused
from chaincode.contract.overlay import Overlay
from clearline import canonical, reports
from clearline.cards import holds_card_number
from clearline.clearing import Adjustment, Entry, Part, Place
from clearline.clearing_records import (
    AcquirerFile,
    AdjustmentRecord,
    Settlement,
    SettlementPart,
    Standing,
    Statement,
    acquirer_file_key,
    adjustment_key,
    part_key,
    settlement_key,
    statement_key,
)
from clearline.clearing_schema import SETTLEMENT_ID, LineKind
from clearline.codes import Code, Outcome, Refusal
from clearline.intents import PaymentKey
from clearline.records import Kind, Merchant, Payment, payment_key, record_key, touched
from clearline.refunds import Refund, RefundKey, refund_key
from clearline.schema import Members, OneOf, SchemaError
from clearline.statuses import Status

_ITEM = Members(
    {
        "settlement": SETTLEMENT_ID,
        "decision": OneOf(("approve", "reject")),
    }
)

# What a line of a settlement can be about.
Line = Payment | Refund | AdjustmentRecord


@dataclass(frozen=True, slots=True)
class Verdict:
    """A parsed item of DecideSettlements."""

    settlement: str
    place: Place
    approves: bool

    @property
    def key(self) -> str:
        """The settlement's ledger key."""
        return record_key(Kind.SETTLEMENT, self.settlement)


def touches(part: Part, committed: Mapping[str, bytes | None]) -> list[str]:
    """The keys a part reads, besides acquirer and merchant code."""
    place, run = part.place, part.run
    keys = [
        *payees.touches(part.merchant_id, part.account_id, committed, part.clearing_date),
        acquirer_file_key(place),
        statement_key(place),
        settlement_key(place, run),
        part_key(place, run, part.part),
    ]
    if run > 1:
        keys.append(settlement_key(place, run - 1))
    return keys + [_line_key(part, entry) for entry in part.entries if _has_object(entry)]


def taken_before(part: Part, digest: str, overlay: Overlay) -> tuple[str, str] | None:
    """The transaction that took this very part, and the settlement's status now."""
    kept = overlay.get(SettlementPart, part_key(part.place, part.run, part.part))
    settlement = overlay.get(Settlement, settlement_key(part.place, part.run))
    if kept is None or settlement is None or kept.digest != digest:
        return None
    return kept.txs[0], settlement.status


def take(part: Part, text: str, digest: str, at: Transaction, overlay: Overlay) -> str:
    """Checks 11 to 20, and the part when all pass: the settlement's status. Raises Refusal."""
    key = settlement_key(part.place, part.run)
    own = part_key(part.place, part.run, part.part)
    if overlay.get(SettlementPart, own) is not None:
        raise Refusal(Code.CONFLICT, f"another part {part.part} was taken")
    _check_totals(part, overlay)
    merchant = overlay.get(Merchant, record_key(Kind.MERCHANT, part.merchant_id))
    if merchant is None:
        raise Refusal(Code.PAYEE_MISMATCH, "no such merchant")
    payees.require_payee(part.account_id, merchant, part.clearing_date, overlay)
    settlement = _header(part, at, overlay)
    settled = _settled_lines(part, settlement.id, at, overlay)
    settlement = _counted(settlement, part)
    overlay.put(own, SettlementPart(settlement.id, part.part, text, digest, [at.tx_id]))
    overlay.put(key, touched(settlement, at.tx_id))
    for line_key, line in settled.items():
        record: Any = line  # one of a TypeVar's kinds, which mypy takes one by one
        overlay.put(line_key, record)
    return settlement.status


def _check_totals(part: Part, overlay: Overlay) -> None:
    """Checks 12 to 14."""
    file = overlay.get(AcquirerFile, acquirer_file_key(part.place))
    if file is None or file.file_digest != part.file_digest:
        raise Refusal(Code.FILE_UNKNOWN, "the ledger holds no such file")
    if (part.lines, part.totals) != (file.lines, file.totals):
        raise Refusal(Code.TOTALS_MISMATCH, "lines and totals are not the file's")
    if part.net != part.totals.net + part.carried:
        raise Refusal(Code.TOTALS_MISMATCH, "the net is not that of the totals and what is carried")
    _check_carried(part.carried, part.place, overlay)


def _check_carried(carried: int, place: Place, overlay: Overlay) -> None:
    statement = overlay.get(Statement, statement_key(place))
    due = 0 if statement is None else statement.carried
    if carried != due:
        raise Refusal(Code.TOTALS_MISMATCH, f"to be carried forward are {due}")


def _check_day(place: Place, overlay: Overlay) -> None:
    statement = overlay.get(Statement, statement_key(place))
    if statement is not None and statement.through >= place.clearing_date:
        raise Refusal(Code.SETTLEMENT_CLOSED, f"{statement.through} is settled")


def _header(part: Part, at: Transaction, overlay: Overlay) -> Settlement:
    """Check 16: the settlement that this part is of."""
    _check_day(part.place, overlay)
    header_digest = canonical.digest(part.header())
    before = overlay.get(Settlement, settlement_key(part.place, part.run))
    if before is not None:
        if before.status != Standing.OPEN:
            raise Refusal(Code.SETTLEMENT_CLOSED, f"it is {before.status}")
        if before.header_digest != header_digest:
            raise Refusal(Code.CONFLICT, "another part has another header")
        if before.maker != at.submitter.person:
            raise Refusal(Code.ROLE_FORBIDDEN, "another maker has begun it")
        return before
    if part.run > 1:
        last = overlay.get(Settlement, settlement_key(part.place, part.run - 1))
        if last is None or last.status != Standing.REJECTED:
            state = "is not on the ledger" if last is None else f"is {last.status}"
            raise Refusal(Code.SETTLEMENT_CLOSED, f"run {part.run - 1} {state}")
    return Settlement(
        acquirer_id=part.acquirer_id,
        merchant_id=part.merchant_id,
        merchant_code=part.merchant_code,
        currency=part.currency,
        clearing_date=part.clearing_date,
        run=part.run,
        status=Standing.OPEN.value,
        file_digest=part.file_digest,
        account_id=part.account_id,
        lines=part.lines,
        payments=part.payments,
        refunds=part.refunds,
        fees=part.fees,
        adjustments=part.adjustments,
        carried=part.carried,
        net=part.net,
        parts=part.parts,
        header_digest=header_digest,
        msp_id=at.submitter.msp_id,
        maker=at.submitter.person,
    )


def _settled_lines(
    part: Part, settlement: str, at: Transaction, overlay: Overlay
) -> dict[str, Line]:
    """Checks 17 to 19: the objects of the lines, naming their settlement."""
    settled: dict[str, Line] = {}
    for index, entry in enumerate(part.entries):
        if not _has_object(entry):
            continue
        key = _line_key(part, entry)
        line = _line(part, entry, key, index, overlay)
        if key in settled or not _free(line.settlement, settlement, part.place):
            place = line.settlement or "this part"
            raise Refusal(Code.ALREADY_SETTLED, f"/entries/{index}: is in {place}")
        txs = [*line.txs, at.tx_id]
        settled[key] = replace(line, settlement=settlement, txs=txs)
    return settled


def _line(part: Part, entry: Entry, key: str, index: int, overlay: Overlay) -> Line:
    if entry.kind == LineKind.ADJUSTMENT:
        made = overlay.get(AdjustmentRecord, key)
        if made is None or made.merchant_code != part.merchant_code:
            raise Refusal(Code.LINE_UNKNOWN, f"/entries/{index}: no such adjustment")
        said: tuple[object, ...] = (made.amount, made.currency, made.clearing_date)
        if said != (entry.amount, part.currency, part.clearing_date):
            raise Refusal(Code.LINE_MISMATCH, f"/entries/{index}: the ledger has {said}")
        return made
    if entry.kind == LineKind.REFUND:
        return _refund(part, entry, key, index, overlay)
    payment = overlay.get(Payment, key)
    if payment is None or not settles(payment, part):
        raise Refusal(Code.LINE_UNKNOWN, f"/entries/{index}: no such {entry.kind} succeeded there")
    # The bank's own report of the end may leave the day out: then the file's counts.
    day = reports.parse(payment.result).report.clearing_date or part.clearing_date
    said = (payment.amount, payment.currency, day)
    if said != (entry.amount, part.currency, part.clearing_date):
        raise Refusal(Code.LINE_MISMATCH, f"/entries/{index}: the ledger has {said}")
    return payment


def _refund(part: Part, entry: Entry, key: str, index: int, overlay: Overlay) -> Refund:
    refund = overlay.get(Refund, key)
    if refund is None or not settles(refund, part):
        raise Refusal(Code.LINE_UNKNOWN, f"/entries/{index}: no such refund succeeded there")
    said = (refund.amount, refund.currency, refund.clearing_date or part.clearing_date)
    if said != (entry.amount, part.currency, part.clearing_date):
        raise Refusal(Code.LINE_MISMATCH, f"/entries/{index}: the ledger has {said}")
    return refund


def settles(payment: Payment | Refund, said: Part | Adjustment) -> bool:
    """Whether money came in by this payment, or went back by this refund, at that code."""
    there = (payment.acquirer_id, payment.merchant_code)
    return payment.status == Status.SUCCEEDED and there == (said.acquirer_id, said.merchant_code)


def _free(before: str, settlement: str, place: Place) -> bool:
    """Whether a line is in no settlement but an earlier, rejected run of this day."""
    return not before or (before != settlement and before.startswith(f"{place.name}/"))


def _counted(settlement: Settlement, part: Part) -> Settlement:
    """Check 20: the settlement with this part; with its last one, proposed."""
    more = (len(part.entries), *part.own_totals)
    counted = [one + other for one, other in zip(settlement.counted, more, strict=True)]
    taken = settlement.taken + 1
    if taken < settlement.parts:
        return replace(settlement, counted=counted, taken=taken)
    if counted != [settlement.lines, *settlement.totals]:
        raise Refusal(Code.TOTALS_MISMATCH, f"the lines of all parts come to {counted}")
    return replace(settlement, counted=counted, taken=taken, status=Standing.PROPOSED.value)


def _has_object(entry: Entry) -> bool:
    return entry.kind != LineKind.FEE


def _line_key(part: Part, entry: Entry) -> str:
    if entry.kind == LineKind.ADJUSTMENT:
        return adjustment_key(part.acquirer_id, entry.name)
    if entry.kind == LineKind.REFUND:
        return refund_key(RefundKey(part.merchant_id, entry.name, entry.attempt, entry.number))
    return payment_key(PaymentKey(part.merchant_id, entry.name, entry.attempt))


def parse_verdict(item: object) -> Verdict:
    """Check 1 of a decision; raises Refusal."""
    try:
        _ITEM.check(item, "")
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    assert isinstance(item, dict)  # noqa: S101 - the schema has just said so
    name = item["settlement"]
    parts = name.split("/")
    if any(map(holds_card_number, parts)):
        raise Refusal(Code.CARD_DATA_REFUSED, "/settlement: looks like a card number")
    return Verdict(name, Place(*parts[:4]), item["decision"] == "approve")


def plan_verdicts(
    items: tuple[Verdict | Refused, ...], committed: Mapping[str, bytes | None]
) -> list[str]:
    """The keys that deciding reads: settlement and statement, and once these are read, what says
    whether the merchant may use the payee."""
    keys: dict[str, None] = {}
    overlay = Overlay(committed)
    for item in items:
        if isinstance(item, Refused):
            continue
        keys |= dict.fromkeys((item.key, statement_key(item.place)))
        settlement = overlay.get(Settlement, item.key) if item.key in committed else None
        if settlement is not None and item.approves:
            payee = payees.touches(settlement.merchant_id, settlement.account_id, committed)
            keys |= dict.fromkeys(payee)
    return list(keys)


def decide(item: Verdict, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 2 to 7 of a decision, and what follows."""
    name = (Kind.SETTLEMENT.value, item.settlement)
    settlement = overlay.get(Settlement, item.key)
    who = transaction.submitter
    try:
        if settlement is None:
            raise Refusal(Code.SETTLEMENT_UNKNOWN, "no such settlement")
        if settlement.msp_id != who.msp_id:
            raise Refusal(Code.ROLE_FORBIDDEN, f"the acquirer is {settlement.msp_id}'s")
        if settlement.maker == who.person:
            raise Refusal(Code.SAME_PERSON, "the maker can't decide")
        approved = settlement.status not in (Standing.OPEN, Standing.PROPOSED, Standing.REJECTED)
        rejected = settlement.status == Standing.REJECTED
        if settlement.checker == who.person and (approved if item.approves else rejected):
            tx_id = settlement.txs[-1]
            return Taken(Outcome(Code.DUPLICATE, name, settlement.status, tx_id=tx_id))
        fitting = (Standing.PROPOSED,) if item.approves else (Standing.OPEN, Standing.PROPOSED)
        if settlement.status not in fitting:
            raise Refusal(Code.SETTLEMENT_CLOSED, f"it is {settlement.status}")
        if item.approves:
            _check_day(settlement.place, overlay)
            _check_carried(settlement.carried, settlement.place, overlay)
            _check_payee(settlement, overlay)
    except Refusal as refusal:
        return Taken(refused(refusal, name, "" if settlement is None else settlement.status))
    decided = replace(settlement, status=_after(item, settlement), checker=who.person)
    overlay.put(item.key, touched(decided, transaction.tx_id))
    if item.approves:
        _state(decided, transaction, overlay)
    return Taken(Outcome(Code.OK, name, decided.status, tx_id=transaction.tx_id))


def _check_payee(settlement: Settlement, overlay: Overlay) -> None:
    merchant = overlay.get(Merchant, record_key(Kind.MERCHANT, settlement.merchant_id))
    if merchant is None:
        raise ValueError(f"{settlement.id} is there, and its merchant is not")
    payees.require_still(settlement.account_id, merchant, settlement.clearing_date, overlay)


def _after(item: Verdict, settlement: Settlement) -> str:
    if not item.approves:
        return Standing.REJECTED.value
    return (Standing.STATED if settlement.net > 0 else Standing.CARRIED).value


def _state(settlement: Settlement, at: Transaction, overlay: Overlay) -> None:
    """The statement after this settlement: only what can't be paid is carried on."""
    key = statement_key(settlement.place)
    before = overlay.get(Statement, key)
    overlay.put(
        key,
        Statement(
            acquirer_id=settlement.acquirer_id,
            merchant_id=settlement.merchant_id,
            merchant_code=settlement.merchant_code,
            currency=settlement.currency,
            carried=min(settlement.net, 0),
            through=settlement.clearing_date,
            settlement=settlement.id,
            txs=[*([] if before is None else before.txs), at.tx_id],
        ),
    )
