"""TakeLease: which of an acquirer's connectors may report, changed by an explicit takeover only.

An item is {"acquirer_id", "epoch", "holder"}. The checks, in their order:

     1  form                                                      malformed
     2  no card number in the holder's name                       card_data_refused
     3  the acquirer is registered                                acquirer_unknown
     4  the submitter's organisation owns the acquirer            role_forbidden
     5  this holder has this epoch                                duplicate
     6  the epoch is the one in force plus one                    lease_taken
        otherwise the holder has the lease                        ok

Before the first lease the epoch is 0. A report says under which epoch it was submitted; the record
is read with it, so that one under the old epoch, ordered after the takeover, is not valid.
"""

from __future__ import annotations

from dataclasses import dataclass

from chaincode.contract import signers
from chaincode.contract.context import Transaction
from chaincode.contract.decision import Refused, Taken, refused
from chaincode.contract.overlay import Overlay
from clearline.cards import holds_card_number
from clearline.codes import Code, Outcome, Refusal
from clearline.records import Kind, Lease, record_key
from clearline.schema import EPOCH, IDENTIFIER, Members, SchemaError

_ITEM = Members({"acquirer_id": IDENTIFIER, "epoch": EPOCH, "holder": IDENTIFIER})


@dataclass(frozen=True, slots=True)
class Takeover:
    """A parsed item."""

    acquirer_id: str
    epoch: int
    holder: str

    @property
    def key(self) -> str:
        """The lease's ledger key."""
        return record_key(Kind.LEASE, self.acquirer_id)

    @property
    def acquirer_key(self) -> str:
        """The acquirer's ledger key."""
        return record_key(Kind.ACQUIRER, self.acquirer_id)


def require_in_force(epoch: int, lease_key: str, overlay: Overlay) -> None:
    """Who reports must hold the lease: the epoch is the newest; raises Refusal."""
    newest = epoch_of(overlay.get(Lease, lease_key))
    if epoch != newest:
        raise Refusal(Code.LEASE_LOST, f"epoch {newest} is in force, this is {epoch}")


def parse(item: object) -> Takeover:
    """Checks 1 and 2; raises Refusal."""
    try:
        _ITEM.check(item, "")
    except SchemaError as error:
        raise Refusal(Code.MALFORMED, str(error)) from None
    assert isinstance(item, dict)  # noqa: S101 - the schema has just said so
    for name in ("acquirer_id", "holder"):
        if holds_card_number(item[name]):
            raise Refusal(Code.CARD_DATA_REFUSED, f"/{name}: looks like a card number")
    return Takeover(**item)


def plan(items: tuple[Takeover | Refused, ...]) -> list[str]:
    """The keys these items read: lease and acquirer."""
    keys: dict[str, None] = {}
    for item in items:
        if not isinstance(item, Refused):
            keys |= dict.fromkeys((item.key, item.acquirer_key))
    return list(keys)


def decide(item: Takeover, transaction: Transaction, overlay: Overlay) -> Taken:
    """Checks 3 to 6, and the lease when all pass."""
    key = (Kind.LEASE.value, item.acquirer_id)
    try:
        owner = transaction.submitter.msp_id
        signers.acquirer_owned_by(owner, item.acquirer_id, overlay)
        before = overlay.get(Lease, item.key)
        if before is not None and (before.epoch, before.holder) == (item.epoch, item.holder):
            return Taken(Outcome(Code.DUPLICATE, key, before.holder, tx_id=before.txs[-1]))
        if item.epoch != epoch_of(before) + 1:
            holder = "nobody's" if before is None else f"{before.holder}'s"
            raise Refusal(Code.LEASE_TAKEN, f"epoch {epoch_of(before)} is in force, {holder}")
    except Refusal as refusal:
        return Taken(refused(refusal, key))
    txs = [] if before is None else before.txs
    lease = Lease(
        acquirer_id=item.acquirer_id,
        epoch=item.epoch,
        holder=item.holder,
        msp_id=owner,
        txs=[*txs, transaction.tx_id],
    )
    overlay.put(item.key, lease)
    return Taken(Outcome(Code.OK, key, lease.holder, tx_id=transaction.tx_id))


def epoch_of(lease: Lease | None) -> int:
    """The epoch in force."""
    return 0 if lease is None else lease.epoch
