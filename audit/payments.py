"""The auditor's model of payments: each record is what signed intents and reports make of it.

An intent counts when the merchant's registered key signed it, a report when the acquirer's did;
both are taken from the transaction's arguments, and what the contract wrote must be exactly what
follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import JoseError, Signed, digest, read, verify
from audit.registry import Record, Registry, difference

# DESIGN: nothing returns to requested or leaves a final status; unknown is a suspension.
_FINAL: Final = {"succeeded", "declined", "closed", "expired"}
_NEXT: Final[dict[str, set[str]]] = {
    "requested": _FINAL | {"accepted", "unknown"},
    "accepted": _FINAL | {"unknown"},
    "unknown": _FINAL | {"accepted"},
}
_KINDS: Final = {"response": {"accepted"}, "unknown": {"unknown"}, "result": _FINAL}


@dataclass(frozen=True)
class Step:
    """One change of a payment, for its evidence."""

    invocation: Invocation
    status: str
    signed: str
    key_id: str


class Payments:
    """Payments by ledger key, and the steps that made each."""

    def __init__(self, registry: Registry, network: str) -> None:
        self._registry = registry
        self._network = network
        self.records: dict[str, Record] = {}
        self.steps: dict[str, list[Step]] = {}

    def apply(self, invocation: Invocation, writes: dict[str, Record | None]) -> None:
        """Check and take a transaction's payment writes. Raises Wrong."""
        for key, written in writes.items():
            if written is None:
                raise Wrong(Check.RECORD, f"{key} is deleted; payments are never deleted")
            before = self.records.get(key)
            if before is None:
                expected, steps = self._requested(key, written, invocation)
            else:
                expected, steps = self._reported(key, before, written, invocation)
            if written != expected:
                raise Wrong(Check.RECORD, f"{key}: {difference(expected, written)}")
            self.records[key] = expected
            self.steps.setdefault(key, []).extend(steps)

    def counts(self) -> dict[str, int]:
        """Payments by status."""
        found: dict[str, int] = {}
        for record in self.records.values():
            found[record["status"]] = found.get(record["status"], 0) + 1
        return found

    def _requested(
        self, key: str, written: Record, invocation: Invocation
    ) -> tuple[Record, list[Step]]:
        invocation.require("SubmitIntents", "gateway", f"{key}, a request,")
        for item in invocation.items:
            if not isinstance(item, dict) or not isinstance(item.get("intent"), str):
                continue
            if [item["intent"], item.get("acquirer_id")] != [
                written.get("intent"),
                written.get("acquirer_id"),
            ]:
                continue  # refused; another item of the list made the payment
            token = _read(item["intent"], "clearline-intent+jws")
            if token is None or _key_of(token.payload) != key:
                continue
            if self._vouched(token):
                record = self._request(key, item, token, invocation)
                return record, [Step(invocation, "requested", item["intent"], token.key_id)]
        raise Wrong(
            Check.MERCHANT_SIGNATURE, f"{key}: no intent in the arguments is the merchant's"
        )

    def _vouched(self, token: Signed) -> bool:
        """Whether the merchant the intent names signed it with a registered, active key."""
        merchant = self._registry.get("merchant", str(token.payload.get("merchant_id")))
        key = (merchant or {}).get("keys", {}).get(token.key_id)
        if key is None or key["status"] != "active":
            return False
        try:
            verify(token, key)
        except JoseError:
            return False
        return True

    def _request(self, key: str, item: Record, token: Signed, invocation: Invocation) -> Record:
        intent = token.payload
        merchant = self._registry.get("merchant", intent["merchant_id"]) or {}
        acquirer = self._registry.get("acquirer", str(item.get("acquirer_id")))
        route = next(
            (r for r in intent["acquirers"] if r["acquirer_id"] == item.get("acquirer_id")), None
        )
        if intent["network"] != self._network:
            raise Wrong(Check.INTENT, f"{key}: signed for network {intent['network']}")
        if merchant.get("status") != "active":
            raise Wrong(Check.INTENT, f"{key}: the merchant is {merchant.get('status')}")
        if route is None or acquirer is None or acquirer["status"] != "active":
            raise Wrong(Check.INTENT, f"{key}: no active acquirer {item.get('acquirer_id')!r}")
        if acquirer["licence_valid_until"] < invocation.time[:10]:
            raise Wrong(Check.INTENT, f"{key}: the acquirer's licence had ended")
        if route["merchant_code"] not in merchant["codes"].get(route["acquirer_id"], []):
            raise Wrong(Check.OWNERSHIP, f"{key}: {route['merchant_code']} is not the merchant's")
        if intent["currency"] not in acquirer["currencies"]:
            raise Wrong(Check.INTENT, f"{key}: the acquirer takes no {intent['currency']}")
        if intent["expires_at"] <= invocation.time:
            raise Wrong(Check.INTENT, f"{key}: it had expired at {intent['expires_at']}")
        self._check_attempt(key, intent)
        unsigned = {name: value for name, value in intent.items() if name != "created"}
        return {
            "type": "payment",
            "merchant_id": intent["merchant_id"],
            "order_no": intent["order_no"],
            "attempt": intent["attempt"],
            "status": "requested",
            "acquirer_id": route["acquirer_id"],
            "merchant_code": route["merchant_code"],
            "amount": intent["amount"],
            "currency": intent["currency"],
            "intent": item["intent"],
            "intent_digest": digest(unsigned),
            "expires_at": intent["expires_at"],
            "msp_id": invocation.submitter.msp_id,
            "requested_at": invocation.time,
            "reports": [],
            "reason": "",
            "response": "",
            "result": "",
            "txs": [invocation.tx_id],
        }

    def _check_attempt(self, key: str, intent: Record) -> None:
        if intent["attempt"] == 1:
            return
        earlier = self.records.get(
            f"payment/{intent['merchant_id']}/{intent['order_no']}/{intent['attempt'] - 1:04d}"
        )
        if earlier is None or earlier["status"] not in _FINAL - {"succeeded"}:
            raise Wrong(Check.ATTEMPT, f"{key}: the attempt before did not end without success")

    def _reported(
        self, key: str, before: Record, written: Record, invocation: Invocation
    ) -> tuple[Record, list[Step]]:
        invocation.require("SubmitReports", "connector", f"{key}, a report,")
        known = len(before["reports"])
        wanted = [entry[3] for entry in written.get("reports", [])[known:]]
        record, steps = dict(before), list[Step]()
        for item in invocation.items:
            token = _read(item, "clearline-report+jws")
            if token is None or _key_of(token.payload) != key or not wanted:
                continue
            if digest(token.payload) != wanted[0]:
                continue
            wanted.pop(0)
            record = self._report(key, record, item, token, invocation)
            steps.append(Step(invocation, record["status"], item, token.key_id))
        if wanted or not steps:
            raise Wrong(Check.REPORT, f"{key}: a change without its report in the arguments")
        return record, steps

    def _report(
        self, key: str, before: Record, compact: str, token: Signed, invocation: Invocation
    ) -> Record:
        report = token.payload
        acquirer = self._registry.get("acquirer", before["acquirer_id"]) or {}
        signer = acquirer.get("keys", {}).get(token.key_id)
        if report["acquirer_id"] != before["acquirer_id"] or signer is None:
            raise Wrong(Check.ACQUIRER_SIGNATURE, f"{key}: the key is not its acquirer's")
        if signer["status"] != "active":
            raise Wrong(Check.ACQUIRER_SIGNATURE, f"{key}: the key was revoked")
        try:
            verify(token, signer)
        except JoseError as error:
            raise Wrong(Check.ACQUIRER_SIGNATURE, f"{key}: {error}") from None
        if invocation.submitter.msp_id != acquirer["msp_id"]:
            raise Wrong(Check.ROLE, f"{key}: the submitter is not the acquirer's bank")
        if report["network"] != self._network or report["intent_digest"] != before["intent_digest"]:
            raise Wrong(Check.REPORT, f"{key}: the report is about another intent")
        if (report["amount"], report["currency"]) != (before["amount"], before["currency"]):
            raise Wrong(Check.REPORT, f"{key}: the report is about another amount")
        if report["sequence"] != len(before["reports"]) + 1:
            raise Wrong(Check.REPORT, f"{key}: report {report['sequence']} is out of order")
        if report["status"] not in _KINDS.get(report["kind"], ()):
            raise Wrong(Check.REPORT, f"{key}: a {report['kind']} can't say {report['status']}")
        if report["status"] not in _NEXT.get(before["status"], ()):
            raise Wrong(Check.STATUS, f"{key}: {before['status']} -> {report['status']}")
        entry = [report["sequence"], report["kind"], report["status"], digest(report)]
        return before | {
            "status": report["status"],
            "reason": report["reason"],
            "reports": [*before["reports"], entry],
            "response": compact if report["kind"] == "response" else before["response"],
            "result": compact if report["kind"] == "result" else before["result"],
            "txs": [*before["txs"], invocation.tx_id],
        }


def _read(item: Any, typ: str) -> Signed | None:
    """A signed object among the arguments; what is none of them had no effect."""
    try:
        return read(item, typ) if isinstance(item, str) else None
    except JoseError:
        return None


def _key_of(payload: Record) -> str:
    attempt = payload.get("attempt")
    number = f"{attempt:04d}" if isinstance(attempt, int) else "?"
    return f"payment/{payload.get('merchant_id')}/{payload.get('order_no')}/{number}"
