"""SubmitClearing: what the acquiring bank signed after the payments, carried by its maker.

An item is a JWS compact text (clearline/clearing.py): an acquirer's file, an adjustment, a part of
a settlement, or a payout. The checks of each, in their order:

     1  form and closed schema of header and payload              malformed
     2  no card number anywhere in it: else the whole call        card_data_refused
     3  signed for this network                                   network_mismatch
     4  the acquirer is registered                                acquirer_unknown
     5  the submitter's organisation owns the acquirer            role_forbidden
     6  the signing key is in the acquirer's record               key_unknown
     7  the signature, with the algorithm the record names        signature_invalid
     8  the merchant owns the code at this acquirer               merchant_code_mismatch
     9  this one is on the ledger: its first answer               duplicate
    10  the key is active                                         key_revoked

and of a file

    11  another file of that code, currency and day               conflict

of an adjustment

    11  another one has this reference                            conflict
    12  the payment it is about succeeded, at this code           payment_unknown

of a part of a settlement: chaincode/contract/settlements.py; of a payout

    11  the settlement is on the ledger                           settlement_unknown
    12  it is stated, and no other payout of it was taken         settlement_closed
    13  the account is the settlement's payee                     payee_mismatch
    14  the amount is its net                                     totals_mismatch
    15  paid: nobody had ended the relation by which the merchant used the account
                                                                  relation_not_in_force
        otherwise it is paid, or returned                         ok

What came back is carried forward to the next settlement. No function sends value anywhere: the
ledger records money, it does not move it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from chaincode.contract import payees, settlements, signers
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Refused, Taken, refused, text_item
from chaincode.contract.overlay import Overlay
from clearline import clearing
from clearline.cards import holds_card_number
from clearline.clearing import Adjustment, Clearing, Filing, Part, Payout, SignedClearing
from clearline.clearing_records import (
    AcquirerFile,
    AdjustmentRecord,
    Settlement,
    Standing,
    Statement,
    acquirer_file_key,
    adjustment_key,
    part_key,
    settlement_id,
    settlement_key,
    statement_key,
)
from clearline.clearing_schema import Paid
from clearline.codes import Code, Outcome, Refusal
from clearline.intents import PaymentKey
from clearline.records import (
    Kind,
    Merchant,
    MerchantCode,
    Payment,
    merchant_code_key,
    payment_key,
    record_key,
    touched,
)

_SCANNED = ("network", "acquirer_id", "merchant_id", "merchant_code", "reference", "order_no")


@dataclass(frozen=True, slots=True)
class Item:
    """A parsed item, and the SHA-256 of what it says."""

    signed: SignedClearing
    digest: str

    @property
    def said(self) -> Clearing:
        """What the bank signed."""
        return self.signed.said


def parse(item: object) -> Item:
    """Checks 1 and 2; raises Refusal."""
    signed = clearing.parse(text_item(item))
    said = signed.said
    for name in _SCANNED:
        value = getattr(said, name, None)
        if value is not None and holds_card_number(value):
            raise Refusal(Code.CARD_DATA_REFUSED, f"/{name}: looks like a card number")
    if isinstance(said, Part) and any(holds_card_number(entry.name) for entry in said.entries):
        raise Refusal(Code.CARD_DATA_REFUSED, "/entries: looks like a card number")
    return Item(signed, said.digest())


def plan(items: tuple[Item | Refused, ...], committed: Mapping[str, bytes | None]) -> list[str]:
    """The keys these items read."""
    keys: dict[str, None] = {}
    for item in items:
        if not isinstance(item, Refused):
            said = item.said
            keys[_acquirer_key(said)] = None
            keys[merchant_code_key(said.acquirer_id, said.merchant_code)] = None
            keys |= dict.fromkeys(_touches(said, committed))
    return list(keys)


def _touches(said: Clearing, committed: Mapping[str, bytes | None]) -> list[str]:
    if isinstance(said, Filing):
        return [acquirer_file_key(said.place)]
    if isinstance(said, Adjustment):
        about = [] if said.order_no is None else [_payment_key(said)]
        return [adjustment_key(said.acquirer_id, said.reference), *about]
    if isinstance(said, Payout):
        payee = payees.touches(said.merchant_id, said.account_id, committed)
        return [settlement_key(said.place, said.run), statement_key(said.place), *payee]
    return settlements.touches(said, committed)


def decide(item: Item, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 and on, and what follows when all pass."""
    said = item.said
    key = _name(said)
    try:
        acquirer = signers.own_acquirer(said, transaction, overlay)
        signing_key = signers.verified_key(item.signed.token, acquirer.keys, "acquirer")
        index = overlay.get(MerchantCode, merchant_code_key(said.acquirer_id, said.merchant_code))
        if index is None or index.merchant_id != said.merchant_id:
            raise Refusal(Code.MERCHANT_CODE_MISMATCH, "the code is not this merchant's there")
        first = _taken_before(item, overlay)
        if first is not None:
            return Taken(Outcome(Code.DUPLICATE, key, first[1], tx_id=first[0]))
        if signing_key.status != "active":
            raise Refusal(Code.KEY_REVOKED, "the signing key is revoked")
        status = _DECIDE[type(said)](item, transaction, overlay)
    except Refusal as refusal:
        return Taken(refused(refusal, key))
    return Taken(Outcome(Code.OK, key, status, tx_id=transaction.tx_id))


def _taken_before(item: Item, overlay: Overlay) -> tuple[str, str] | None:
    """Check 9: the transaction that took this very one, and the status there is now."""
    said = item.said
    if isinstance(said, Part):
        return settlements.taken_before(said, item.digest, overlay)
    if isinstance(said, Payout):
        settlement = overlay.get(Settlement, settlement_key(said.place, said.run))
        if settlement is None or not settlement.payout:
            return None
        same = clearing.parse(settlement.payout).said.digest() == item.digest
        return (settlement.txs[-1], settlement.status) if same else None
    if isinstance(said, Filing):
        file = overlay.get(AcquirerFile, acquirer_file_key(said.place))
        return (file.txs[0], "") if file is not None and file.digest == item.digest else None
    made = overlay.get(AdjustmentRecord, adjustment_key(said.acquirer_id, said.reference))
    return (made.txs[0], "") if made is not None and made.digest == item.digest else None


def _file(item: Item, at: Transaction, overlay: Overlay) -> str:
    said = item.said
    assert isinstance(said, Filing)  # noqa: S101 - the table says so
    key = acquirer_file_key(said.place)
    if overlay.get(AcquirerFile, key) is not None:
        raise Refusal(Code.CONFLICT, "another file of that code, currency and day was taken")
    record = AcquirerFile(
        acquirer_id=said.acquirer_id,
        merchant_id=said.merchant_id,
        merchant_code=said.merchant_code,
        currency=said.currency,
        clearing_date=said.clearing_date,
        file_digest=said.file_digest,
        lines=said.lines,
        payments=said.payments,
        refunds=said.refunds,
        fees=said.fees,
        adjustments=said.adjustments,
        filing=item.signed.compact,
        digest=item.digest,
        msp_id=at.submitter.msp_id,
        txs=[at.tx_id],
    )
    overlay.put(key, record)
    return ""


def _adjustment(item: Item, at: Transaction, overlay: Overlay) -> str:
    said = item.said
    assert isinstance(said, Adjustment)  # noqa: S101 - the table says so
    key = adjustment_key(said.acquirer_id, said.reference)
    if overlay.get(AdjustmentRecord, key) is not None:
        raise Refusal(Code.CONFLICT, "another adjustment has this reference")
    if said.order_no is not None:
        payment = overlay.get(Payment, _payment_key(said))
        if payment is None or not settlements.settles(payment, said):
            raise Refusal(Code.PAYMENT_UNKNOWN, "no such payment succeeded at this code")
    record = AdjustmentRecord(
        acquirer_id=said.acquirer_id,
        reference=said.reference,
        merchant_id=said.merchant_id,
        merchant_code=said.merchant_code,
        currency=said.currency,
        clearing_date=said.clearing_date,
        amount=said.amount,
        cause=said.cause.value,
        adjustment=item.signed.compact,
        digest=item.digest,
        msp_id=at.submitter.msp_id,
        txs=[at.tx_id],
    )
    overlay.put(key, record)
    return ""


def _payout(item: Item, at: Transaction, overlay: Overlay) -> str:
    said = item.said
    assert isinstance(said, Payout)  # noqa: S101 - the table says so
    key = settlement_key(said.place, said.run)
    settlement = overlay.get(Settlement, key)
    if settlement is None:
        raise Refusal(Code.SETTLEMENT_UNKNOWN, "no such settlement")
    if settlement.status != Standing.STATED:
        raise Refusal(Code.SETTLEMENT_CLOSED, f"it is {settlement.status}")
    if said.account_id != settlement.account_id:
        raise Refusal(Code.PAYEE_MISMATCH, "the settlement has another payee")
    if said.amount != settlement.net:
        raise Refusal(Code.TOTALS_MISMATCH, f"its net is {settlement.net}")
    if said.status is Paid.PAID:
        _check_in_time(said, overlay)
    changed = replace(settlement, status=said.status.value, payout=item.signed.compact)
    overlay.put(key, touched(changed, at.tx_id))
    if said.status is Paid.RETURNED:
        standing = statement_key(said.place)
        before = overlay.get(Statement, standing)
        if before is None:
            raise ValueError(f"{settlement.id} is stated, and there is no statement")
        back = replace(before, carried=before.carried + said.amount)
        overlay.put(standing, touched(back, at.tx_id))
    return said.status.value


def _check_in_time(said: Payout, overlay: Overlay) -> None:
    """Check 15: who pays another entity's account after the end has not paid the merchant."""
    merchant = overlay.get(Merchant, record_key(Kind.MERCHANT, said.merchant_id))
    if merchant is None:
        raise ValueError(f"{said.merchant_id} has a settlement, and is not there")
    day, paid_on = said.clearing_date, said.value_date
    payees.require_paid_in_time(said.account_id, merchant, day, paid_on, overlay)


def _part(item: Item, at: Transaction, overlay: Overlay) -> str:
    said = item.said
    assert isinstance(said, Part)  # noqa: S101 - the table says so
    return settlements.take(said, item.signed.compact, item.digest, at, overlay)


_DECIDE: dict[type, Callable[[Item, Transaction, Overlay], str]] = {
    Filing: _file,
    Adjustment: _adjustment,
    Part: _part,
    Payout: _payout,
}


def _acquirer_key(said: Clearing) -> str:
    return record_key(Kind.ACQUIRER, said.acquirer_id)


def _payment_key(said: Adjustment) -> str:
    return payment_key(PaymentKey(said.merchant_id, said.order_no or "", said.attempt or 0))


def _name(said: Clearing) -> tuple[str | int, ...]:
    """The record's kind and id, as an outcome names it."""
    if isinstance(said, Payout):
        return (Kind.SETTLEMENT.value, settlement_id(said.place, said.run))
    if isinstance(said, Filing):
        return _split(acquirer_file_key(said.place))
    if isinstance(said, Adjustment):
        return _split(adjustment_key(said.acquirer_id, said.reference))
    return _split(part_key(said.place, said.run, said.part))


def _split(key: str) -> tuple[str | int, ...]:
    kind, _, name = key.partition("/")
    return kind, name
