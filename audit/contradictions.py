"""The auditor's reading of evidence: a report that contradicts the one the ledger holds, shown by
whoever has it. A revoked key's signature counts, and the record says so."""

from __future__ import annotations

from typing import Any

from audit.draft import Draft, Outcome, Refused
from audit.findings import Check
from audit.jose import digest
from audit.reports import Told, acquirer_of, contradiction, payment_of, signer
from clearline.codes import Code


def text_of(item: Any) -> str:
    """An item of SubmitEvidence: a report, bare. Raises Refused."""
    if not isinstance(item, str):
        raise Refused(Code.MALFORMED, Check.FORM, "evidence is a signed text")
    return item


def decide(told: Told, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    key = signer(told, acquirer_of(told, draft))
    payment = payment_of(told, draft)
    number, held = told.payload["sequence"], payment["reports"]
    if number > len(held) or held[number - 1][3] == digest(told.payload):
        raise Refused(
            Code.NO_CONTRADICTION, Check.EQUIVOCATION, f"the payment took no other report {number}"
        )
    before = contradiction(told, payment, key, draft)
    if before is None:
        tx_id = draft.invocation.tx_id
        return Outcome(Code.OK, Check.OUTCOME, told.name, payment["status"], tx_id)
    return Outcome(
        Code.DUPLICATE, Check.EQUIVOCATION, told.name, payment["status"], before,
        "this number's evidence is on the ledger already", told.speaks_of,
    )  # fmt: skip
