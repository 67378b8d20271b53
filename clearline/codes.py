"""Outcome codes: the one enumeration of how a request, report or registration can end.

Each code has its HTTP status and RFC 9457 problem type and is documented in docs/codes.md.
A code never changes its meaning; clients may act on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from clearline.canonical import Json

TYPE_BASE: Final = "urn:clearline:problem:"


class Code(StrEnum):
    """How an item ended."""

    # taken
    OK = "ok"
    DUPLICATE = "duplicate"
    LATE_SUCCESS = "late_success"
    # form
    MALFORMED = "malformed"
    BATCH_TOO_LARGE = "batch_too_large"
    CARD_DATA_REFUSED = "card_data_refused"
    FUNCTION_UNKNOWN = "function_unknown"
    # who
    ROLE_FORBIDDEN = "role_forbidden"
    NETWORK_MISMATCH = "network_mismatch"
    MERCHANT_UNKNOWN = "merchant_unknown"
    MERCHANT_INACTIVE = "merchant_inactive"
    KEY_UNKNOWN = "key_unknown"
    KEY_REVOKED = "key_revoked"
    KEY_NOT_YET_VALID = "key_not_yet_valid"
    SIGNATURE_INVALID = "signature_invalid"
    # where to
    ACQUIRER_NOT_ACCEPTABLE = "acquirer_not_acceptable"
    ACQUIRER_UNKNOWN = "acquirer_unknown"
    ACQUIRER_INACTIVE = "acquirer_inactive"
    MERCHANT_CODE_MISMATCH = "merchant_code_mismatch"
    CURRENCY_NOT_ACCEPTED = "currency_not_accepted"
    # when and again
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    CONFLICT = "conflict"
    ATTEMPT_OUT_OF_ORDER = "attempt_out_of_order"
    ALREADY_SUCCEEDED = "already_succeeded"
    NOT_REFUNDABLE = "not_refundable"
    REFUND_AMOUNT_REFUSED = "refund_amount_refused"
    REFUND_OUT_OF_ORDER = "refund_out_of_order"
    # reports
    PAYMENT_UNKNOWN = "payment_unknown"
    REFUND_UNKNOWN = "refund_unknown"
    ACQUIRER_MISMATCH = "acquirer_mismatch"
    INTENT_MISMATCH = "intent_mismatch"
    AMOUNT_MISMATCH = "amount_mismatch"
    REFERENCE_MISMATCH = "reference_mismatch"
    REPORTED_CODE_MISMATCH = "reported_code_mismatch"
    EQUIVOCATION = "equivocation"
    SEQUENCE_GAP = "sequence_gap"
    ALREADY_FINAL = "already_final"
    TRANSITION_FORBIDDEN = "transition_forbidden"
    LEASE_TAKEN = "lease_taken"
    LEASE_LOST = "lease_lost"
    NO_CONTRADICTION = "no_contradiction"
    # clearing
    FILE_UNKNOWN = "file_unknown"
    TOTALS_MISMATCH = "totals_mismatch"
    PAYEE_MISMATCH = "payee_mismatch"
    LINE_UNKNOWN = "line_unknown"
    LINE_MISMATCH = "line_mismatch"
    ALREADY_SETTLED = "already_settled"
    SETTLEMENT_UNKNOWN = "settlement_unknown"
    SETTLEMENT_CLOSED = "settlement_closed"
    # registration
    PROPOSAL_UNKNOWN = "proposal_unknown"
    PROPOSAL_DECIDED = "proposal_decided"
    SAME_PERSON = "same_person"
    ENTITY_UNKNOWN = "entity_unknown"
    ACCOUNT_UNKNOWN = "account_unknown"
    ACCOUNT_TAKEN = "account_taken"
    NOT_ATTESTED = "not_attested"
    RELATION_UNKNOWN = "relation_unknown"
    RELATION_NOT_IN_FORCE = "relation_not_in_force"
    MERCHANT_CODE_TAKEN = "merchant_code_taken"
    RECORD_EXISTS = "record_exists"
    RECORD_FULL = "record_full"
    KEY_REFUSED = "key_refused"
    CHANGE_TOO_LATE = "change_too_late"
    RULE_OUT_OF_ORDER = "rule_out_of_order"
    # a gateway's own, never the contract's
    UNAUTHENTICATED = "unauthenticated"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    NOT_ACCEPTABLE = "not_acceptable"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    PARAMETER_INVALID = "parameter_invalid"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    LEDGER_UNAVAILABLE = "ledger_unavailable"
    ACQUIRER_UNAVAILABLE = "acquirer_unavailable"
    BLOCK_NOT_REACHED = "block_not_reached"
    WEBHOOK_UNKNOWN = "webhook_unknown"
    WEBHOOK_TARGET_REFUSED = "webhook_target_refused"
    WEBHOOK_STALE = "webhook_stale"
    WEBHOOK_LIMIT = "webhook_limit"
    WEBHOOKS_UNAVAILABLE = "webhooks_unavailable"

    @property
    def http_status(self) -> int:
        """The HTTP status this code travels with."""
        return _INFO[self][0]

    @property
    def summary(self) -> str:
        """RFC 9457 title: one sentence, the same for each occurrence."""
        return _INFO[self][1]

    @property
    def type_uri(self) -> str:
        """RFC 9457 problem type."""
        return TYPE_BASE + self.value

    @property
    def taken(self) -> bool:
        """Whether the item took effect, now or before."""
        return self in (Code.OK, Code.DUPLICATE, Code.LATE_SUCCESS)


_INFO: Final[dict[Code, tuple[int, str]]] = {
    Code.OK: (201, "The item took effect."),
    Code.DUPLICATE: (200, "The same item took effect before; this is its first answer."),
    # The report is on the ledger, so a success; nothing that was asked for came of it, so not 201.
    Code.LATE_SUCCESS: (200, "A success after the end: taken as an open exception; the end stays."),
    Code.MALFORMED: (400, "The item is not of the documented form."),
    Code.BATCH_TOO_LARGE: (413, "The list holds more items or bytes than one call takes."),
    Code.CARD_DATA_REFUSED: (422, "A field looks like a card number, which must not enter."),
    Code.FUNCTION_UNKNOWN: (404, "The contract has no such function."),
    Code.ROLE_FORBIDDEN: (403, "The submitter's organisation or role may not do this."),
    Code.NETWORK_MISMATCH: (422, "The item was signed for another network."),
    Code.MERCHANT_UNKNOWN: (403, "No such merchant is registered."),
    Code.MERCHANT_INACTIVE: (403, "The merchant may not request payments now."),
    Code.KEY_UNKNOWN: (401, "The signing key is not registered for this signer."),
    Code.KEY_REVOKED: (401, "The signing key is revoked."),
    Code.KEY_NOT_YET_VALID: (401, "The signing key counts from a later clearing date on."),
    Code.SIGNATURE_INVALID: (401, "The signature does not match."),
    Code.ACQUIRER_NOT_ACCEPTABLE: (422, "The intent does not name this acquirer."),
    Code.ACQUIRER_UNKNOWN: (422, "No such acquirer is registered."),
    Code.ACQUIRER_INACTIVE: (422, "The acquirer takes no payments now, or its licence ended."),
    Code.MERCHANT_CODE_MISMATCH: (422, "The merchant does not own this code at this acquirer."),
    Code.CURRENCY_NOT_ACCEPTED: (422, "The acquirer does not take this currency."),
    Code.EXPIRED: (422, "The intent had expired when it was submitted."),
    Code.NOT_YET_VALID: (422, "The intent was created in the future."),
    Code.CONFLICT: (422, "The key was used before with other content."),
    Code.ATTEMPT_OUT_OF_ORDER: (
        409,
        "The attempt before this one has not ended without success, or has an open exception.",
    ),
    Code.ALREADY_SUCCEEDED: (409, "An attempt at this order has succeeded."),
    Code.NOT_REFUNDABLE: (409, "The payment has not succeeded, so nothing can be given back."),
    Code.REFUND_AMOUNT_REFUSED: (
        422,
        "The refund is of more than is left of the payment, or of another currency.",
    ),
    Code.REFUND_OUT_OF_ORDER: (409, "The refund before this one is not there, or has not ended."),
    Code.PAYMENT_UNKNOWN: (404, "No such payment is on the ledger."),
    Code.REFUND_UNKNOWN: (404, "No such refund is on the ledger."),
    Code.ACQUIRER_MISMATCH: (403, "The payment is not this acquirer's."),
    Code.INTENT_MISMATCH: (422, "The report is about another intent."),
    Code.AMOUNT_MISMATCH: (422, "The report's amount or currency is not the requested one."),
    Code.REFERENCE_MISMATCH: (422, "The report's acquirer reference is not this payment's."),
    Code.REPORTED_CODE_MISMATCH: (422, "The report is of money at another merchant code."),
    Code.EQUIVOCATION: (409, "Another report with this number was signed before; both are kept."),
    Code.SEQUENCE_GAP: (409, "A report with a lower number is missing."),
    Code.ALREADY_FINAL: (409, "The payment has ended; its status stays."),
    Code.TRANSITION_FORBIDDEN: (409, "The payment's status may not go there."),
    Code.LEASE_TAKEN: (409, "Another holder or epoch has this acquirer's lease."),
    Code.LEASE_LOST: (409, "The report was submitted under an epoch that is not in force."),
    Code.NO_CONTRADICTION: (422, "The report contradicts none on the ledger."),
    Code.FILE_UNKNOWN: (422, "The ledger holds no such file of the acquirer's for that day."),
    Code.TOTALS_MISMATCH: (422, "The totals don't add up, or are not the file's."),
    Code.PAYEE_MISMATCH: (422, "The payee is not the merchant's attested account of that day."),
    Code.LINE_UNKNOWN: (422, "A line names what the ledger does not hold as this merchant's."),
    Code.LINE_MISMATCH: (422, "A line's amount, currency or day is not the ledger's."),
    Code.ALREADY_SETTLED: (409, "A line's object is in another settlement."),
    Code.SETTLEMENT_UNKNOWN: (404, "No such settlement is on the ledger."),
    Code.SETTLEMENT_CLOSED: (409, "The settlement stands where this can't follow."),
    Code.PROPOSAL_UNKNOWN: (404, "No such proposal is on the ledger."),
    Code.PROPOSAL_DECIDED: (409, "The proposal was decided before."),
    Code.SAME_PERSON: (403, "A maker can't check their own proposal."),
    Code.ENTITY_UNKNOWN: (422, "No such legal entity is registered."),
    Code.ACCOUNT_UNKNOWN: (422, "No such account is registered for this entity."),
    Code.ACCOUNT_TAKEN: (409, "The account belongs to another entity."),
    Code.NOT_ATTESTED: (409, "No bank has attested the relation yet."),
    Code.RELATION_UNKNOWN: (404, "No such relation is on the ledger."),
    Code.RELATION_NOT_IN_FORCE: (
        409,
        "The relation by which the account may be used does not hold on that day.",
    ),
    Code.MERCHANT_CODE_TAKEN: (409, "The merchant code belongs to another merchant."),
    Code.RECORD_EXISTS: (409, "A record with this id or registration exists."),
    Code.RECORD_FULL: (409, "The record holds as many entries as it may."),
    Code.KEY_REFUSED: (422, "The key can't be registered: wrong kind, unsafe, or in use."),
    Code.CHANGE_TOO_LATE: (409, "The change's date has come, or a later one was taken."),
    Code.RULE_OUT_OF_ORDER: (
        409,
        "The rule's version before this one is not decided, or there is nothing to withdraw.",
    ),
    Code.UNAUTHENTICATED: (401, "The request carries no bearer token this gateway takes."),
    Code.TOKEN_EXPIRED: (401, "The bearer token has expired, or lives too long."),
    Code.NOT_FOUND: (404, "There is nothing at this address."),
    Code.METHOD_NOT_ALLOWED: (405, "This address does not take that method."),
    Code.UNSUPPORTED_MEDIA_TYPE: (415, "The body's media type is not one this address takes."),
    Code.NOT_ACCEPTABLE: (406, "No representation the client accepts can be given."),
    Code.PAYLOAD_TOO_LARGE: (413, "The body is larger than this address takes."),
    Code.PARAMETER_INVALID: (400, "A query parameter or header is not of the documented form."),
    Code.RATE_LIMITED: (429, "Too many requests; see Retry-After."),
    Code.OVERLOADED: (503, "The gateway's queue is full; see Retry-After."),
    Code.LEDGER_UNAVAILABLE: (503, "The ledger can't be reached; see Retry-After."),
    Code.ACQUIRER_UNAVAILABLE: (
        503,
        "No acquirer the intent names, or the payment's own, takes requests now; see Retry-After.",
    ),
    Code.BLOCK_NOT_REACHED: (503, "This gateway has not seen the asked-for block yet."),
    Code.WEBHOOK_UNKNOWN: (404, "This merchant has no such webhook at this gateway."),
    Code.WEBHOOK_TARGET_REFUSED: (422, "This gateway sends no webhooks to that address."),
    Code.WEBHOOK_STALE: (409, "A later registration was taken, or this one's time is not now."),
    Code.WEBHOOK_LIMIT: (409, "The merchant has as many webhooks here as it may have."),
    Code.WEBHOOKS_UNAVAILABLE: (503, "Webhooks can't be stored or read now; see Retry-After."),
}


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """An item is refused: the code and, for people, the detail."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else str(code))
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the contract answers about one item, in the order of the items.

    `key` names the record (a payment's [merchant_id, order_no, attempt], a record's [kind, id]),
    `status` is its status after this item, `tx_id` the transaction that first took the item.
    """

    code: Code
    key: tuple[str | int, ...] = ()
    status: str = ""
    detail: str = ""
    tx_id: str = ""

    def to_json(self) -> dict[str, Json]:
        """The object that travels."""
        return {
            "code": self.code.value,
            "key": list(self.key),
            "status": self.status,
            "detail": self.detail,
            "tx_id": self.tx_id,
        }

    @classmethod
    def from_json(cls, value: dict[str, Json]) -> Outcome:
        """The outcome an object describes. Raises KeyError or ValueError for another object."""
        return cls(
            Code(value["code"]),
            tuple(value["key"]),
            value["status"],
            value["detail"],
            value["tx_id"],
        )
