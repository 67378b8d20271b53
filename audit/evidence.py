"""One payment's evidence: who signed what, where it stands on the ledger, who endorsed it."""

from __future__ import annotations

from typing import Any, Final

from audit import intents, reports
from audit.draft import Record, Step
from audit.jose import read

_TYPS: Final = {
    "intent": intents.TYP,
    "close": intents.TYP,
    "report": reports.TYP,
    "contradiction": reports.TYP,
    "refund": intents.TYP,
    "refund report": reports.TYP,
    "refund contradiction": reports.TYP,
}


def evidence(record: Record, steps: list[Step]) -> dict[str, Any]:
    """The evidence as an object; every signature in it has been verified on the way."""
    return {
        "payment": {
            name: record[name]
            for name in ("merchant_id", "order_no", "attempt", "status", "reason", "amount",
                         "currency", "refunded_amount", "acquirer_id", "merchant_code",
                         "intent_digest")
        },
        "exceptions": record["exceptions"],
        "steps": [_step(step) for step in steps],
    }  # fmt: skip


def _step(step: Step) -> dict[str, Any]:
    invocation = step.invocation
    return {
        "status": step.status,
        "block": invocation.block,
        "transaction": invocation.index,
        "tx_id": invocation.tx_id,
        "time": invocation.time,
        "submitted_by": f"{invocation.submitter.msp_id} {invocation.submitter.role}",
        "endorsed_by": [f"{one.msp_id} {one.kind}" for one in invocation.endorsers],
        "signed": step.what,
        "key_id": step.key_id,
        "payload": read(step.signed, _TYPS[step.what]).payload,
        "jws": step.signed,
    }


def lines(shown: dict[str, Any]) -> list[str]:
    """The evidence for people."""
    payment = shown["payment"]
    text = [
        f"payment {payment['merchant_id']}/{payment['order_no']}/{payment['attempt']}: "
        f"{payment['status']}" + (f" ({payment['reason']})" if payment["reason"] else ""),
        f"  {payment['amount']} minor units {payment['currency']} through "
        f"{payment['acquirer_id']} as {payment['merchant_code']}",
        f"  intent digest {payment['intent_digest']}",
    ]
    if payment["refunded_amount"]:
        text.append(f"  {payment['refunded_amount']} minor units given back by refunds")
    for one in shown["exceptions"]:
        text.append(
            f"  {one['kind']} by report {one['sequence']}: "
            f"{one['amount']} minor units {one['currency']}, {one['status']}"
        )
    for step in shown["steps"]:
        payload = step["payload"]
        text += [
            f"  {_subject(step)}{step['status']}: block {step['block']}, "
            f"transaction {step['transaction']} {step['tx_id']}",
            f"    submitted {step['time']} by {step['submitted_by']}, endorsed by "
            f"{', '.join(step['endorsed_by'])}",
            f"    {step['signed']} signed with key {step['key_id']}: verified",
        ]
        if step["signed"].endswith(("report", "contradiction")):
            text.append(
                f"    {payload['kind']} {payload['sequence']}, {payload['status']}: "
                f"{payload['reason']}, acquirer reference "
                f"{payload['acquirer_reference']}, clearing date {payload['clearing_date']}"
            )
    return text


def _subject(step: dict[str, Any]) -> str:
    """Whose status a step tells, when it is not the payment's."""
    number = step["payload"].get("refund_no")
    if number is None:
        return ""
    money = f"{step['payload']['amount']} {step['payload']['currency']}"
    return f"refund {number} of {money}: "
