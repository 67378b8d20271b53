"""The auditor's reading of what banks signed: which report counts, and what it does.

A report counts when the acquirer's active key signed it, its own bank submitted it under the epoch
in force, and its number is the next one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import JoseError, Signed, digest, read, verify
from audit.leases import Leases
from audit.registry import Record, Registry

# Nothing returns to requested or leaves a final status; unknown is a suspension.
FINAL: Final = {"succeeded", "declined", "closed", "expired"}
_FAILED: Final = FINAL - {"succeeded"}
_NEXT: Final[dict[str, set[str]]] = {
    "requested": FINAL | {"accepted", "unknown"},
    "accepted": FINAL | {"unknown"},
    "unknown": FINAL | {"accepted"},
}
_KINDS: Final = {
    "response": {"accepted"},
    "unknown": {"unknown"},
    "result": FINAL,
    "reversal": _FAILED,
}


@dataclass(frozen=True)
class Told:
    """A report among the arguments: the signed text, taken apart, and the epoch it came under."""

    compact: str
    token: Signed
    epoch: int

    @property
    def payload(self) -> Record:
        """What the bank signed."""
        return self.token.payload


class Reports:
    """What reports do to payments, by what the registry and the leases say."""

    def __init__(self, registry: Registry, leases: Leases, network: str) -> None:
        self._registry = registry
        self._leases = leases
        self._network = network

    def signer(self, key: str, payment: Record, told: Told) -> Record:
        """The key record that signed, one of the payment's acquirer. Raises Wrong."""
        acquirer = self._acquirer(payment)
        signer = acquirer.get("keys", {}).get(told.token.key_id)
        if told.payload["acquirer_id"] != payment["acquirer_id"] or signer is None:
            raise Wrong(Check.ACQUIRER_SIGNATURE, f"{key}: the key is not its acquirer's")
        try:
            verify(told.token, signer)
        except JoseError as error:
            raise Wrong(Check.ACQUIRER_SIGNATURE, f"{key}: {error}") from None
        if told.payload["network"] != self._network:
            raise Wrong(Check.REPORT, f"{key}: signed for network {told.payload['network']}")
        found: Record = signer
        return found

    def check_submitted(
        self, key: str, payment: Record, told: Told, invocation: Invocation
    ) -> None:
        """By the acquirer's bank, with an active key, under the epoch in force. Raises Wrong."""
        if self.signer(key, payment, told)["status"] != "active":
            raise Wrong(Check.ACQUIRER_SIGNATURE, f"{key}: the key was revoked")
        if invocation.submitter.msp_id != self._acquirer(payment)["msp_id"]:
            raise Wrong(Check.ROLE, f"{key}: the submitter is not the acquirer's bank")
        epoch = self._leases.epoch(payment["acquirer_id"])
        if told.epoch != epoch:
            raise Wrong(Check.LEASE, f"{key}: reported under epoch {told.epoch}, {epoch} is due")

    def apply(self, key: str, before: Record, told: Told, invocation: Invocation) -> Record:
        """The payment with this report. Raises Wrong."""
        report = told.payload
        self.check_submitted(key, before, told, invocation)
        if report["intent_digest"] != before["intent_digest"]:
            raise Wrong(Check.REPORT, f"{key}: the report is about another intent")
        if (report["amount"], report["currency"]) not in _amounts(before, report):
            raise Wrong(Check.REPORT, f"{key}: the report is about another amount")
        _check_place(key, before, report)
        if report["sequence"] != len(before["reports"]) + 1:
            raise Wrong(Check.REPORT, f"{key}: report {report['sequence']} is out of order")
        if report["status"] not in _KINDS.get(report["kind"], ()):
            raise Wrong(Check.REPORT, f"{key}: a {report['kind']} can't say {report['status']}")
        if report["kind"] == "reversal" and report["reason"] != "reversed":
            raise Wrong(Check.REPORT, f"{key}: a reversal for reason {report['reason']}")
        said = [report["sequence"], report["kind"], report["status"], digest(report)]
        return before | {
            "reports": [*before["reports"], [*said, invocation.tx_id]],
            "txs": [*before["txs"], invocation.tx_id],
            **self._effect(key, before, told, invocation.tx_id),
        }

    def _effect(self, key: str, before: Record, told: Told, tx_id: str) -> Record:
        kind, status = told.payload["kind"], told.payload["status"]
        if before["status"] in FINAL:
            return _after_end(key, before, told, tx_id)
        if kind == "reversal" or status not in _NEXT.get(before["status"], ()):
            raise Wrong(Check.STATUS, f"{key}: {before['status']} -> {kind} {status}")
        text = {kind: told.compact} if kind in ("response", "result") else {}
        return {"status": status, "reason": told.payload["reason"], **text}

    def _acquirer(self, payment: Record) -> Record:
        return self._registry.get("acquirer", payment["acquirer_id"]) or {}


def _check_place(key: str, payment: Record, report: Record) -> None:
    """The reference is the payment's own at its acquirer, and money is at its merchant code."""
    named = [payment[name] for name in ("merchant_id", "order_no", "attempt")]
    if report["acquirer_reference"] != digest([report["network"], *named])[:40]:
        raise Wrong(Check.REPORT, f"{key}: the report names another payment's reference")
    money = report["status"] in ("accepted", "succeeded")
    if money and report["merchant_code"] not in (None, payment["merchant_code"]):
        raise Wrong(Check.REPORT, f"{key}: of money at merchant code {report['merchant_code']}")


def _after_end(key: str, before: Record, told: Told, tx_id: str) -> Record:
    """What may come after the end: a success as an open exception, and its reversal."""
    kind, status = told.payload["kind"], told.payload["status"]
    exceptions = before["exceptions"]
    if excepted(before) and kind == "reversal" and status == before["status"]:
        return {"exceptions": [one | {"status": "resolved"} for one in exceptions]}
    late = (kind, status) == ("result", "succeeded") and before["status"] in _FAILED
    if not late or excepted(before):
        raise Wrong(Check.STATUS, f"{key}: a {kind} {status} after {before['status']}")
    exception = {
        "kind": "late_success",
        "sequence": told.payload["sequence"],
        "digest": digest(told.payload),
        "amount": told.payload["amount"],
        "currency": told.payload["currency"],
        "status": "open",
        "tx_id": tx_id,
    }
    return {"exceptions": [*exceptions, exception]}


def _amounts(before: Record, report: Record) -> list[tuple[int, str]]:
    """What a report may be about: what was asked; after the end whatever was paid, and that given
    back."""
    if before["status"] not in FINAL:
        return [(before["amount"], before["currency"])]
    if report["kind"] == "reversal" and excepted(before):
        opened = (one for one in before["exceptions"] if one["status"] == "open")
        return [(one["amount"], one["currency"]) for one in opened]
    return [(report["amount"], report["currency"])]


def excepted(payment: Record) -> bool:
    """Whether money moved that the payment's status does not tell of."""
    return any(one["status"] == "open" for one in payment["exceptions"])


def ended_by(payment: Record) -> int:
    """The number of the result that ended it, 0 for none."""
    return next((entry[0] for entry in payment["reports"] if entry[1] == "result"), 0)


def told_by(item: Any) -> Told | None:
    """A report among the arguments, bare or with its epoch; what is none had no effect."""
    compact, epoch = item, 0
    if isinstance(item, dict) and set(item) == {"report", "epoch"}:
        compact, epoch = item["report"], item["epoch"]
    token = signed(compact, "clearline-report+jws")
    return None if token is None else Told(compact, token, epoch)


def signed(item: Any, typ: str) -> Signed | None:
    """A signed object among the arguments; what is none of them had no effect."""
    try:
        return read(item, typ) if isinstance(item, str) else None
    except JoseError:
        return None


def name_of(payload: Record) -> str:
    """`<merchant_id>/<order_no>/<attempt, four digits>` of what is signed about a payment."""
    attempt = payload.get("attempt")
    number = f"{attempt:04d}" if isinstance(attempt, int) else "?"
    return f"{payload.get('merchant_id')}/{payload.get('order_no')}/{number}"
