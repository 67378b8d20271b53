"""Receipts and refusals: this gateway's signed word about an intent that it holds."""

from __future__ import annotations

from dataclasses import dataclass

from clearline import times
from clearline.answers import Receipt, parse_receipt, sign_receipt
from clearline.codes import Code
from clearline.jws import Signer
from clearline.refusals import VERDICTS, ReceiptRefusal, sign_refusal
from gateway.messages import Submission


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs receipts."""

    network: str
    gateway: str
    signer: Signer

    def sign(self, submission: Submission, seconds: int) -> tuple[str, str]:
        """A receipt for an intent that is on stable storage, and its deadline, `seconds` from
        now."""
        now = times.now()
        receipt = Receipt(
            network=self.network,
            gateway=self.gateway,
            merchant_id=submission.key.merchant_id,
            order_no=submission.key.order_no,
            attempt=submission.key.attempt,
            intent_digest=submission.intent_digest,
            received_at=now,
            deadline=times.after(now, seconds),
        )
        return sign_receipt(receipt, self.signer), receipt.deadline

    def refuse(self, receipt: str, code: Code) -> str:
        """The signed refusal of what this receipt promised; empty for a code that is no verdict
        on the intent: then the promise stays."""
        if code not in VERDICTS:
            return ""
        claim, _ = parse_receipt(receipt)
        return sign_refusal(ReceiptRefusal(claim, code, times.now()), self.signer)
