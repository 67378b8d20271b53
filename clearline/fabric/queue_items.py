"""What goes into the commit queue, what comes out, and how it says no."""

from dataclasses import dataclass

from clearline.fabric.errors import FabricError, Outcome

RESULTS = 0  # priority of what ends a payment
REQUESTS = 1  # priority of what begins one


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One item of a batch transaction.

    item_id: chosen by the caller, the same for the same work. function: the contract function
    that takes a JSON list of payloads. payload: one element of that list, JSON text. keys: every
    ledger key it will write; items that share one are never in flight together. priority: lower
    goes first. owner: whose it is (a merchant); owners with items of one priority take turns.
    """

    item_id: str
    function: str
    payload: str
    keys: tuple[str, ...]
    priority: int = REQUESTS
    owner: str = ""

    def same_work(self, other: "QueueItem") -> bool:
        """Whether both ask for the same, however urgently and for whomever."""
        return (self.item_id, self.function, self.payload, self.keys) == (
            other.item_id,
            other.function,
            other.payload,
            other.keys,
        )


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What the contract answered for an item, committed.

    block_number is None when nothing was to be written: the answer is then what committed state
    says (an error, a duplicate), and tx_id is on no ledger.
    """

    item_id: str
    outcome: dict[str, object]
    tx_id: str
    block_number: int | None


@dataclass(frozen=True)
class QueueLimits:
    """How much goes at once.

    in_flight: batches on their way. max_items and max_bytes (of payloads): per batch. linger_ms:
    how long a lone item waits for company; busy_linger_ms: the same while another batch is on its
    way (a transaction costs as much as a dozen items, so that under load fewer, fuller ones carry
    more: docs/performance.md). max_pending and max_pending_bytes (of payloads): of one kind
    (results, others) waiting or on their way before QueueFull. commit_status_s: wait for a block
    before the same bytes are sent again. resubmit_s: the bound for that, then items are endorsed
    anew. retain_s: how long outcomes can be looked up.
    """

    in_flight: int = 4
    max_items: int = 200
    max_bytes: int = 1_000_000
    linger_ms: float = 5.0
    busy_linger_ms: float = 25.0
    max_pending: int = 10_000
    max_pending_bytes: int = 128_000_000
    # Longer than a block takes, and short of the 5 s in which an orderer's death is to be over:
    # envelopes that died with it wait this long before the same bytes go again.
    commit_status_s: float = 2.0
    resubmit_s: float = 60.0
    retain_s: float = 3_600.0


class QueueError(Exception):
    """The queue's own refusals."""


class QueueFull(QueueError):  # noqa: N818  the name callers answer 503 for
    """Too many items wait; nothing was taken. Try again later."""


class QueueClosed(QueueError):  # noqa: N818
    """The queue stopped before the item was decided: unknown; it goes on when reopened."""


class ItemConflict(QueueError):  # noqa: N818
    """An item with this id is pending with another function, payload or keys."""


class ItemRefused(FabricError):  # noqa: N818
    """The contract or the network refuses this one item for good.

    Nothing was applied; outcome is `unknown` only when an earlier envelope of it was in no block
    when the bound passed.
    """

    def __init__(
        self, item_id: str, reason: str, transaction_id: str, outcome: Outcome = "not_applied"
    ) -> None:
        super().__init__(f"item {item_id} is refused: {reason}", transaction_id, outcome)
        self.item_id = item_id
        self.reason = reason
