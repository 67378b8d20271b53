"""The auditor's model of payments: each record is what signed intents and reports make of it.

An intent counts when the merchant's registered key signed it, a report when the acquirer's did;
both are taken from the transaction's arguments, and what the contract wrote must be exactly what
follows from them: the payment, the texts it does not keep itself, and the evidence of two reports
with one number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from audit.changes import active
from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import JoseError, Signed, digest, verify
from audit.leases import Leases
from audit.registry import Record, Registry, difference
from audit.reports import FINAL, Reports, Told, ended_by, excepted, name_of, signed, told_by

PREFIXES = ("payment/", "report/", "equivocation/")
_WITNESSES = ("gateway", "connector", "supervisor", "auditor")


@dataclass(frozen=True)
class Step:
    """One signed object that counted, for a payment's evidence: `what` is intent, close, report or
    contradiction, `status` the payment's after it."""

    invocation: Invocation
    what: str
    status: str
    signed: str
    key_id: str


@dataclass
class _Taken:
    """What a transaction makes, before it is held against what it wrote."""

    records: dict[str, Record] = field(default_factory=dict)
    steps: list[tuple[str, Step]] = field(default_factory=list)


class Payments:
    """Payments, kept reports and equivocations by ledger key, and the steps of each payment."""

    def __init__(self, registry: Registry, leases: Leases, network: str) -> None:
        self._registry = registry
        self._reports = Reports(registry, leases, network)
        self._network = network
        self._beside: dict[str, Record] = {}
        self.records: dict[str, Record] = {}
        self.steps: dict[str, list[Step]] = {}

    def apply(self, invocation: Invocation, writes: Mapping[str, Record | None]) -> None:
        """Check and take what a transaction wrote. Raises Wrong, and then takes nothing."""
        taken = _Taken()
        for key, written in writes.items():
            if written is None:
                raise Wrong(Check.RECORD, f"{key} is deleted; payments are never deleted")
            if not key.startswith("payment/"):
                continue
            before = self.records.get(key)
            if before is None or invocation.function == "SubmitIntents":
                self._asked(key, before, written, invocation, taken)
            else:
                self._reported(key, before, written, invocation, taken)
        for key, written in writes.items():
            if key.startswith("equivocation/") and written is not None:
                self._contradicted(key, written, invocation, taken)
        for key, written in writes.items():
            if key not in taken.records:
                raise Wrong(Check.RECORD, f"{key} is written without its report")
            if written != taken.records[key]:
                raise Wrong(Check.RECORD, f"{key}: {difference(taken.records[key], written)}")
        for key in taken.records:
            if key not in writes:
                raise Wrong(Check.RECORD, f"{key} follows, but is not written")
        self._take(taken)

    def counts(self) -> dict[str, int]:
        """Payments by status."""
        found: dict[str, int] = {}
        for record in self.records.values():
            found[record["status"]] = found.get(record["status"], 0) + 1
        return found

    def exceptions(self) -> dict[str, int]:
        """What a supervisor must look at: open exceptions and equivocations."""
        return {
            "open": sum(map(excepted, self.records.values())),
            "equivocations": sum(key.startswith("equivocation/") for key in self._beside),
        }

    def _take(self, taken: _Taken) -> None:
        for key, record in taken.records.items():
            held = self.records if key.startswith("payment/") else self._beside
            held[key] = record
        for key, step in taken.steps:
            self.steps.setdefault(key, []).append(step)

    def _asked(
        self,
        key: str,
        before: Record | None,
        written: Record,
        invocation: Invocation,
        taken: _Taken,
    ) -> None:
        """A request, a close, or both in one list."""
        invocation.require("SubmitIntents", ("gateway",), f"{key}, a request or close,")
        record = self._requested(key, written, invocation, taken) if before is None else before
        if written.get("close") != record["close"]:
            record = self._closed(key, record, written, invocation, taken)
        elif before is not None:
            raise Wrong(Check.RECORD, f"{key} is written again without a close")
        taken.records[key] = record

    def _requested(
        self, key: str, written: Record, invocation: Invocation, taken: _Taken
    ) -> Record:
        for item in invocation.items:
            if not isinstance(item, dict) or not isinstance(item.get("intent"), str):
                continue
            if [item["intent"], item.get("acquirer_id")] != [
                written.get("intent"),
                written.get("acquirer_id"),
            ]:
                continue  # refused; another item of the list made the payment
            token = _intent(key, item["intent"], "pay")
            if token is not None and self._vouched(token, invocation):
                record = self._request(key, item, token, invocation)
                step = Step(invocation, "intent", "requested", item["intent"], token.key_id)
                taken.steps.append((key, step))
                return record
        raise Wrong(
            Check.MERCHANT_SIGNATURE, f"{key}: no intent in the arguments is the merchant's"
        )

    def _closed(
        self, key: str, before: Record, written: Record, invocation: Invocation, taken: _Taken
    ) -> Record:
        if before["close"]:
            raise Wrong(Check.RECORD, f"{key} is closed by its merchant twice")
        compact = written.get("close")
        token = _intent(key, compact, "close")
        if (
            token is None
            or {"intent": compact} not in invocation.items
            or not self._vouched(token, invocation)
        ):
            raise Wrong(
                Check.MERCHANT_SIGNATURE, f"{key}: no close in the arguments is the merchant's"
            )
        if token.payload["network"] != self._network:
            raise Wrong(Check.INTENT, f"{key}: closed for network {token.payload['network']}")
        if before["status"] in FINAL:
            raise Wrong(Check.STATUS, f"{key}: closed although it was {before['status']}")
        step = Step(invocation, "close", before["status"], str(compact), token.key_id)
        taken.steps.append((key, step))
        return before | {
            "close": compact,
            "close_tx": invocation.tx_id,
            "txs": [*before["txs"], invocation.tx_id],
        }

    def _vouched(self, token: Signed, invocation: Invocation) -> bool:
        """Whether the merchant the intent names signed it with a registered, active key whose day
        has come."""
        merchant = self._registry.get("merchant", str(token.payload.get("merchant_id")))
        key = (merchant or {}).get("keys", {}).get(token.key_id)
        if key is None or not active(key, invocation.time[:10]):
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
            "close": "",
            "close_tx": "",
            "exceptions": [],
            "txs": [invocation.tx_id],
        }

    def _check_attempt(self, key: str, intent: Record) -> None:
        if intent["attempt"] == 1:
            return
        earlier = self.records.get(
            f"payment/{intent['merchant_id']}/{intent['order_no']}/{intent['attempt'] - 1:04d}"
        )
        if earlier is None or earlier["status"] not in FINAL - {"succeeded"}:
            raise Wrong(Check.ATTEMPT, f"{key}: the attempt before did not end without success")
        if excepted(earlier):
            raise Wrong(Check.ATTEMPT, f"{key}: the attempt before has an open exception")

    def _reported(
        self,
        key: str,
        before: Record,
        written: Record,
        invocation: Invocation,
        taken: _Taken,
    ) -> None:
        invocation.require("SubmitReports", ("connector",), f"{key}, a report,")
        new = written.get("reports", [])[len(before["reports"]) :]
        if not new:
            raise Wrong(Check.REPORT, f"{key}: a change without a report")
        record = before
        for entry in new:
            told, record = self._next(key, record, entry[3], invocation)
            number = told.payload["sequence"]
            if ended_by(record) != number:
                kept = f"report/{name_of(told.payload)}/{number:04d}"
                taken.records[kept] = _kept(told, invocation.tx_id)
            what = Step(invocation, "report", record["status"], told.compact, told.token.key_id)
            taken.steps.append((key, what))
        taken.records[key] = record

    def _next(
        self, key: str, before: Record, wanted: str, invocation: Invocation
    ) -> tuple[Told, Record]:
        """The report with the digest `wanted` that counted; copies of it may have been refused."""
        why = Wrong(Check.REPORT, f"{key}: a change without its report in the arguments")
        found = [told for told in map(told_by, invocation.items) if told is not None]
        for told in found:
            if f"payment/{name_of(told.payload)}" == key and digest(told.payload) == wanted:
                try:
                    return told, self._reports.apply(key, before, told, invocation)
                except Wrong as wrong:
                    why = wrong
        raise why

    def _contradicted(
        self, key: str, written: Record, invocation: Invocation, taken: _Taken
    ) -> None:
        """Evidence of two reports with one number: the payment's, and one in the arguments."""
        why = Wrong(Check.EQUIVOCATION, f"{key}: no new contradiction is in the arguments")
        for told in map(told_by, invocation.items):
            if told is None or key in self._beside or not _shows(told, key, written):
                continue
            try:
                taken.records[key], step = self._evidence(key, told, invocation, taken)
                taken.steps.append((f"payment/{name_of(told.payload)}", step))
                return
            except Wrong as wrong:
                why = wrong
        raise why

    def _evidence(
        self, key: str, told: Told, invocation: Invocation, taken: _Taken
    ) -> tuple[Record, Step]:
        name, report = name_of(told.payload), told.payload
        payment = taken.records.get(f"payment/{name}") or self.records.get(f"payment/{name}")
        if payment is None or not 0 < report["sequence"] <= len(payment["reports"]):
            raise Wrong(Check.EQUIVOCATION, f"{key}: the payment took no report of this number")
        if payment["reports"][report["sequence"] - 1][3] == digest(report):
            raise Wrong(Check.EQUIVOCATION, f"{key}: both reports say the same")
        signer = self._reports.signer(key, payment, told)
        if invocation.function == "SubmitReports":
            invocation.require("SubmitReports", ("connector",), key)
            self._reports.check_submitted(key, payment, told, invocation)
        else:
            invocation.require("SubmitEvidence", _WITNESSES, key)
        names = ("merchant_id", "order_no", "attempt", "sequence", "acquirer_id")
        record = {member: report[member] for member in names} | {
            "type": "equivocation",
            "first": self._first(payment, name, report["sequence"], taken),
            "second": told.compact,
            "key_status": signer["status"],
            "msp_id": invocation.submitter.msp_id,
            "recorded_at": invocation.time,
            "txs": [invocation.tx_id],
        }
        status = payment["status"]
        return record, Step(invocation, "contradiction", status, told.compact, told.token.key_id)

    def _first(self, payment: Record, name: str, number: int, taken: _Taken) -> str:
        if ended_by(payment) == number:
            return str(payment["result"])
        key = f"report/{name}/{number:04d}"
        return str((taken.records.get(key) or self._beside[key])["report"])


def _shows(told: Told, key: str, written: Record) -> bool:
    number = told.payload.get("sequence")
    named = f"{name_of(told.payload)}/{number:04d}" if isinstance(number, int) else ""
    return told.compact == written.get("second") and f"equivocation/{named}" == key


def _kept(told: Told, tx_id: str) -> Record:
    report = told.payload
    names = ("merchant_id", "order_no", "attempt", "sequence")
    kept = {name: report[name] for name in names}
    return kept | {"type": "report", "report": told.compact, "txs": [tx_id]}


def _intent(key: str, compact: object, kind: str) -> Signed | None:
    """An intent of this kind about this payment; what is none had no effect."""
    token = signed(compact, "clearline-intent+jws")
    if token is None or token.payload.get("kind") != kind:
        return None
    return token if f"payment/{name_of(token.payload)}" == key else None
