"""What to do about each code, as the problem pages and docs/codes.md say it."""

from __future__ import annotations

from typing import Final

from clearline.codes import Code

_AGAIN: Final = (
    "Send the same again after Retry-After, here or at another gateway. The same intent sent twice "
    "is one payment."
)
_NOTHING: Final = "Nothing: it is done."
_MEND: Final = "Mend the item as the detail says; the same again is refused again."
_STATUS: Final = "Ask for the payment's status; its result says how it ended."
_REPORT: Final = "For a connector: read the payment and the reports on it before the next report."
_REGISTER: Final = "Register it first, by maker and checker."

ADVICE: Final[dict[Code, str]] = {
    Code.OK: _NOTHING,
    Code.DUPLICATE: _NOTHING,
    Code.LATE_SUCCESS: "The report is on the ledger, the status stays: the bank owes a reversal.",
    Code.MALFORMED: _MEND,
    Code.BATCH_TOO_LARGE: "Send fewer or smaller items in one call.",
    Code.CARD_DATA_REFUSED: "Take the card number out: payers are named by their token. At the "
    "contract the whole call is refused; send the others again without that item.",
    Code.FUNCTION_UNKNOWN: "Call a function of docs/roles.md; the versions may differ.",
    Code.ROLE_FORBIDDEN: "Use an identity of the organisation and role that docs/roles.md names.",
    Code.NETWORK_MISMATCH: "Sign for the network that this gateway names at /v1/gateway.",
    Code.MERCHANT_UNKNOWN: "The bank registers the merchant; look at the merchant id as well.",
    Code.MERCHANT_INACTIVE: "Ask the bank that registered the merchant.",
    Code.KEY_UNKNOWN: "Sign with a registered key, or have this one registered at the bank.",
    Code.KEY_REVOKED: "Sign with another registered key; a revoked one never comes back.",
    Code.KEY_NOT_YET_VALID: "Sign with the older key until the day that the change named.",
    Code.SIGNATURE_INVALID: "Sign the very bytes that are sent, with the key the header names.",
    Code.ACQUIRER_NOT_ACCEPTABLE: "Name an acquirer the intent accepts, or sign a new attempt.",
    Code.ACQUIRER_UNKNOWN: "Name a registered acquirer; /v1/gateway lists them.",
    Code.ACQUIRER_INACTIVE: "Sign an attempt that names another acquirer.",
    Code.MERCHANT_CODE_MISMATCH: "Use the merchant's own code at this acquirer, as registered.",
    Code.CURRENCY_NOT_ACCEPTED: "Use a currency that this acquirer takes, or another acquirer.",
    Code.EXPIRED: "Ask for the payment's status first: an envelope of this intent may still be on "
    "its way by another gateway. Then sign a new intent.",
    Code.NOT_YET_VALID: "Set the clock of the signing machine right.",
    Code.CONFLICT: "This order number and attempt were used with another content, and nothing was "
    "changed: ask for that payment, or use the next attempt or another order number.",
    Code.ATTEMPT_OUT_OF_ORDER: "Ask for the attempt before: it has not ended. Or money came in "
    "after its end, which the acquiring bank must reverse first.",
    Code.ALREADY_SUCCEEDED: "Nothing: the order is paid by an earlier attempt.",
    Code.NOT_REFUNDABLE: "Ask for the payment's status: only what has succeeded can be refunded; "
    "close one that is open.",
    Code.REFUND_AMOUNT_REFUSED: "Ask for the payment: refund at most its amount less its "
    "refunded_amount, in its currency; of a late success, all that was paid.",
    Code.REFUND_OUT_OF_ORDER: "Ask for the refund before: it has not ended, or another gateway is "
    "ahead; one refund of a payment is open at a time.",
    Code.PAYMENT_UNKNOWN: "Look at merchant, order and attempt; another gateway may be ahead: say "
    "min_block.",
    Code.REFUND_UNKNOWN: "Look at merchant, order, attempt and refund number; another gateway may "
    "be ahead: say min_block.",
    Code.ACQUIRER_MISMATCH: "Report the payments of this acquirer only.",
    Code.INTENT_MISMATCH: _REPORT,
    Code.AMOUNT_MISMATCH: "Reverse at the acquirer: it charged something else than was asked for.",
    Code.REFERENCE_MISMATCH: _REPORT,
    Code.REPORTED_CODE_MISMATCH: "Reverse at the acquirer: it has the money under another code.",
    Code.EQUIVOCATION: "Stop signing with this key and find out who signed twice: both are kept.",
    Code.SEQUENCE_GAP: "Send the report with the missing number first.",
    Code.ALREADY_FINAL: _STATUS,
    Code.TRANSITION_FORBIDDEN: _REPORT,
    Code.LEASE_TAKEN: "Read the lease, and take the next epoch only if you mean to.",
    Code.LEASE_LOST: "Stop: another connector of this acquirer has taken over.",
    Code.NO_CONTRADICTION: "Nothing: what is on the ledger agrees with it.",
    Code.FILE_UNKNOWN: "Import the acquirer's file first, and settle by that very file.",
    Code.TOTALS_MISMATCH: "Hold the file against the ledger line by line, and what is carried "
    "against the statement; then state it again.",
    Code.PAYEE_MISMATCH: "Settle to the merchant's account of that clearing date, as the "
    "registry holds it.",
    Code.LINE_UNKNOWN: "Ask the acquirer about the line; it is not settled until the ledger "
    "holds its payment.",
    Code.LINE_MISMATCH: "Ask the acquirer about the line: its file and its bank's reports differ.",
    Code.ALREADY_SETTLED: "Take the line out: its money is settled.",
    Code.SETTLEMENT_UNKNOWN: "Look at the settlement's id; the maker is told it.",
    Code.SETTLEMENT_CLOSED: "Read the settlement and the statement; what was stated is mended by "
    "an adjustment.",
    Code.PROPOSAL_UNKNOWN: "Look at the proposal's id; the maker is told it.",
    Code.PROPOSAL_DECIDED: "Read what was decided; make a new proposal for another change.",
    Code.SAME_PERSON: "Let another person of the bank check it.",
    Code.ENTITY_UNKNOWN: _REGISTER,
    Code.ACCOUNT_UNKNOWN: _REGISTER,
    Code.ACCOUNT_TAKEN: "Use an account of this entity: one account belongs to one entity.",
    Code.NOT_ATTESTED: "Wait for the bank's checker: there is nothing to countersign before.",
    Code.RELATION_UNKNOWN: (
        "Look at the account's and the entity's id; what is only attested is still a proposal."
    ),
    Code.RELATION_NOT_IN_FORCE: (
        "Use an account of this entity, or have a further term attested; what is held back is"
        " settled to the next account that the merchant signs for."
    ),
    Code.MERCHANT_CODE_TAKEN: "Ask the acquirer whose code it is: a code belongs to one merchant.",
    Code.RECORD_EXISTS: "Read the record that exists; propose a change of it instead.",
    Code.RECORD_FULL: "Take out entries that are not used any more.",
    Code.KEY_REFUSED: "Make a new key of a kind that is taken, for this owner alone.",
    Code.CHANGE_TOO_LATE: "Whoever says it says it again, with a later date.",
    Code.RULE_OUT_OF_ORDER: "Read the rule's versions; the next number is the last one's plus one.",
    Code.UNAUTHENTICATED: "Send a bearer token (`clearline merchant token`) for this gateway.",
    Code.TOKEN_EXPIRED: "Make a new token, for minutes at most; look at this machine's clock.",
    Code.NOT_FOUND: "Look at the address; /docs lists what there is.",
    Code.METHOD_NOT_ALLOWED: "Use a method that the Allow header names.",
    Code.UNSUPPORTED_MEDIA_TYPE: "Send the media type that the Accept-Post header names.",
    Code.NOT_ACCEPTABLE: "Accept application/json.",
    Code.PAYLOAD_TOO_LARGE: "Send a smaller body, or fewer items in one.",
    Code.PARAMETER_INVALID: "Mend the query or header as the detail says.",
    Code.RATE_LIMITED: _AGAIN,
    Code.OVERLOADED: _AGAIN,
    Code.LEDGER_UNAVAILABLE: _AGAIN,
    Code.ACQUIRER_UNAVAILABLE: "Nothing of this request goes to the ledger; what an earlier post "
    "of the same intent did stays. Send the same again after Retry-After, or, once this attempt "
    "has ended, sign one that names another acquirer.",
    Code.BLOCK_NOT_REACHED: "Ask again after Retry-After, or another gateway.",
    Code.WEBHOOK_UNKNOWN: "List the webhooks; they are each gateway's own.",
    Code.WEBHOOK_TARGET_REFUSED: "Use an https address that is public.",
    Code.WEBHOOK_STALE: "Read the webhook as it is; sign the change anew, with the time of now.",
    Code.WEBHOOK_LIMIT: "Remove one that is not used.",
    Code.WEBHOOKS_UNAVAILABLE: "Send the same again after Retry-After; payments are not concerned.",
}
