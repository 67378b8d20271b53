"""A contract without rules: what two lying endorsers would write for an item, whatever it is.

What can't be read of an item is made up from the sample payment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import contract_world as w
from forge import Decided
from rules_of_clearing import FILING
from rules_of_relations import relation
from rules_of_supervision import CHECKPOINT, rule
from samples import INTENT, REPORT

from clearline import canonical, jws, times
from clearline.canonical import CanonicalError
from clearline.clearing_schema import What
from clearline.jws import JwsError

Record = dict[str, Any]
RULE = rule()
_SAMPLES = {
    "clearline-intent+jws": INTENT.payload(),
    "clearline-report+jws": REPORT.payload(),
    "clearline-clearing+jws": FILING.payload(),
}


@dataclass
class Lenient:
    """Makes the effect of one item on `state`, which holds the ledger's records by key."""

    state: Mapping[str, Record]
    tx_id: str
    msp_id: str
    person: str
    at: str = times.render(w.NOW)
    writes: dict[str, Record] = field(default_factory=dict)

    def effect(self, function: str, item: Any) -> Decided:
        """Answer, writes and event as if every rule held."""
        key, status, kind = getattr(self, f"_{function}")(item)
        outcome = {"code": "ok", "key": key, "status": status, "detail": "", "tx_id": self.tx_id}
        writes = {name: canonical.dumps(one) for name, one in self.writes.items()}
        event = b"" if kind is None else canonical.dumps([[kind, *key, status]])
        return Decided({}, writes, [outcome], event)

    def _SubmitIntents(self, item: Any) -> tuple[list[Any], str, str | None]:
        members = item if isinstance(item, dict) else {}
        intent = _payload(members.get("intent"), "clearline-intent+jws")
        name, path = _named(intent)
        before = self.state.get(f"payment/{path}")
        if intent.get("kind") == "refund":
            return self._refund(members["intent"], intent)
        if before is not None and intent.get("kind") == "close":
            closed = {"close": members["intent"], "close_tx": self.tx_id}
            self._put(f"payment/{path}", before | closed)
            return name, before["status"], "payment"
        route = (intent.get("acquirers") or INTENT.payload()["acquirers"])[0]
        same = ("merchant_id", "order_no", "attempt", "amount", "currency", "expires_at")
        self.writes[f"payment/{path}"] = {one: (INTENT.payload() | intent)[one] for one in same} | {
            **dict.fromkeys(("reason", "response", "result", "close", "close_tx"), ""),
            "type": "payment", "status": "requested", "msp_id": self.msp_id,
            "acquirer_id": members.get("acquirer_id", "unionpay"),
            "merchant_code": route["merchant_code"], "intent": members.get("intent", ""),
            "intent_digest": canonical.digest(intent), "requested_at": self.at,
            "reports": [], "exceptions": [], "refunded_amount": 0, "txs": [self.tx_id],
        }  # fmt: skip
        return name, "requested", "payment"

    def _refund(self, compact: str, intent: Record) -> tuple[list[Any], str, str | None]:
        name, path = _named(intent)
        same = ("merchant_id", "order_no", "attempt", "refund_no", "amount", "currency")
        self.writes[f"refund/{path}/{intent['refund_no']:04d}"] = {
            one: intent[one] for one in (*same, "expires_at")
        } | {
            **dict.fromkeys(("reason", "result", "clearing_date"), ""),
            "type": "refund", "status": "requested", "msp_id": self.msp_id, "intent": compact,
            "acquirer_id": "unionpay", "merchant_code": w.CODE, "requested_at": self.at,
            "intent_digest": canonical.digest(intent), "reports": [], "contradictions": [],
            "txs": [self.tx_id],
        }  # fmt: skip
        return [*name, intent["refund_no"]], "requested", "refund"

    def _refund_report(self, compact: Any, report: Record) -> tuple[list[Any], str, str | None]:
        name, path = _named(report)
        key = f"refund/{path}/{report['refund_no']:04d}"
        before = self.state.get(key)
        if before is None:
            found = (one for place, one in self.state.items() if place.startswith("refund/"))
            before = next(found, {"reports": [], "txs": []})
        said = [report["sequence"], report["kind"], report["status"], canonical.digest(report)]
        changed = {"status": report["status"], "reason": report["reason"], "result": compact}
        told = {"reports": [*before["reports"], [*said, self.tx_id, compact]]}
        self._put(key, before | changed | told)
        return [*name, report["refund_no"]], report["status"], "refund"

    def _SubmitReports(self, item: Any) -> tuple[list[Any], str, str | None]:
        compact = item.get("report") if isinstance(item, dict) else item
        report = _payload(compact, "clearline-report+jws")
        if isinstance(report.get("refund_no"), int):
            return self._refund_report(compact, report)
        name, path = _named(report)
        before = self.state.get(f"payment/{path}")
        if before is None:
            before = next(one for key, one in self.state.items() if key.startswith("payment/"))
        said = [report["sequence"], report["kind"], report["status"], canonical.digest(report)]
        changed = {"status": report["status"], "reason": report["reason"], "result": compact}
        told = {"reports": [*before["reports"], [*said, self.tx_id]]}
        self._put(f"payment/{path}", before | changed | told)
        return name, report["status"], "payment"

    def _SubmitEvidence(self, item: Any) -> tuple[list[Any], str, str | None]:
        report = _payload(item, "clearline-report+jws")
        if isinstance(report.get("refund_no"), int):
            return self._refund_report(item, report)
        name, path = _named(report)
        members = ("merchant_id", "order_no", "attempt", "sequence", "acquirer_id")
        self.writes[f"equivocation/{path}/{report['sequence']:04d}"] = {
            one: report[one] for one in members
        } | {
            "type": "equivocation", "first": "a.b.c", "second": item, "key_status": "active",
            "msp_id": self.msp_id, "recorded_at": self.at, "txs": [self.tx_id],
        }  # fmt: skip
        return name, "requested", "equivocation"

    def _TakeLease(self, item: Any) -> tuple[list[Any], str, str | None]:
        taken = item if isinstance(item, dict) else w_lease()
        record = {"type": "lease", "msp_id": self.msp_id, "txs": [self.tx_id]}
        self.writes[f"lease/{taken['acquirer_id']}"] = taken | record
        return ["lease", taken["acquirer_id"]], taken["holder"], None

    def _ProposeRecords(self, item: Any) -> tuple[list[Any], str, str | None]:
        made = item if isinstance(item, dict) else w.proposal("n", "entity", **w.entity())
        record = {"type": "proposal", "status": "proposed", "msp_id": self.msp_id,
                  "maker": self.person, "checker": "", "txs": [self.tx_id]}  # fmt: skip
        self.writes[f"proposal/{made['proposal_id']}"] = made | record
        return ["proposal", made["proposal_id"]], "proposed", None

    def _DecideRecords(self, item: Any) -> tuple[list[Any], str, str | None]:
        key = f"proposal/{item['proposal_id']}"
        made = w.proposal(item["proposal_id"], "entity", **w.entity("E-2"))
        before = self.state.get(key) or made | {"type": "proposal", "txs": []}
        self._put(key, before | {"status": "approved", "checker": self.person})
        kind, body = before["kind"], before["body"]
        subject = kind.split("_")[0] if kind != "merchant_code" else kind
        named = body.get(f"{subject}_id") or f"{body.get('acquirer_id')}/{body.get('code')}"
        if subject == "relation":
            named = f"{body['account_id']}/{body['entity_id']}"
        there = self.state.get(f"{subject}/{named}") or {"type": subject, "txs": []}
        self._put(f"{subject}/{named}", there | body)
        return ["proposal", item["proposal_id"]], "approved", None

    def _CountersignRelations(self, item: Any) -> tuple[list[Any], str, str | None]:
        made = item if isinstance(item, dict) else w.verdict("rel")
        key = f"proposal/{made['proposal_id']}"
        before = self.state.get(key) or {"type": "proposal", "txs": []}
        status = "refused" if made["decision"] == "reject" else "approved"
        self._put(key, before | {"status": status})
        body = relation() | before.get("body", {})
        term = body | {"tx_id": self.tx_id}
        there = {"type": "relation", "status": "active", "terms": [term], "txs": []}
        self._put(f"relation/{body['account_id']}/{body['entity_id']}", body | there)
        return ["proposal", made["proposal_id"]], status, None

    def _EndRelations(self, item: Any) -> tuple[list[Any], str, str | None]:
        name = f"{item['account_id']}/{item['entity_id']}"
        there = self.state.get(f"relation/{name}") or {"type": "relation", "txs": []}
        self._put(f"relation/{name}", there | {"status": "ended", "until": item["until"]})
        return ["relation", name], "ended", None

    def _SubmitClearing(self, item: Any) -> tuple[list[Any], str, str | None]:
        said = _payload(item, "clearline-clearing+jws")
        if said["kind"] not in list(What):
            said = FILING.payload()
        place = "/".join(
            str(said[one]) for one in ("acquirer_id", "merchant_code", "currency", "clearing_date")
        )
        own = {"digest": canonical.digest(said), "msp_id": self.msp_id, "txs": [self.tx_id]}
        if said["kind"] == "acquirer_file":
            self.writes[f"acquirer_file/{place}"] = said | own | {"filing": item}
            return ["acquirer_file", place], "", None
        if said["kind"] == "adjustment":
            name = f"{said['acquirer_id']}/{said['reference']}"
            self.writes[f"adjustment/{name}"] = said | own | {"adjustment": item}
            return ["adjustment", name], "", None
        name = f"{place}/{said['run']:02d}"
        self._put(f"settlement/{name}", self.state.get(f"settlement/{name}") or said | {"txs": []})
        if said["kind"] == "payout":
            return ["settlement", name], said["status"], None
        part = f"{name}/{said['part']:04d}"
        self.writes[f"settlement_part/{part}"] = {"text": item, "settlement": name} | own
        return ["settlement_part", part], "proposed", None

    def _DecideSettlements(self, item: Any) -> tuple[list[Any], str, str | None]:
        name = item["settlement"]
        key = f"settlement/{name}"
        self._put(key, (self.state.get(key) or {"txs": []}) | {"status": "stated"})
        return ["settlement", name], "stated", None

    def _SubmitRules(self, item: Any) -> tuple[list[Any], str, str | None]:
        said = item if isinstance(item, dict) else RULE
        key = f"rule/{said['rule_id']}/{said['version']:04d}"
        own = {"type": "rule", "msp_id": self.msp_id, "maker": self.person, "checker": ""}
        self._put(key, (self.state.get(key) or {"txs": []}) | said | own | {"status": "in_force"})
        return ["rule", said["rule_id"], said["version"]], "in_force", None

    def _SubmitCheckpoints(self, item: Any) -> tuple[list[Any], str, str | None]:
        said = item if isinstance(item, dict) and isinstance(item["block"], int) else CHECKPOINT
        own = {"type": "checkpoint", "msp_id": self.msp_id, "txs": [self.tx_id]}
        self.writes[f"checkpoint/{said['block']:010d}"] = said | own
        return ["checkpoint", said["block"]], "", None

    def _put(self, key: str, record: Record) -> None:
        self.writes[key] = record | {"txs": [*record["txs"], self.tx_id]}


def w_lease() -> Record:
    """A takeover."""
    return {"acquirer_id": "unionpay", "epoch": 1, "holder": "a"}


def _payload(compact: Any, typ: str) -> Record:
    """What can be read of a signed object; the sample where nothing can."""
    try:
        found: Record = canonical.loads(jws.decode(str(compact).split(".")[1]))
        return _SAMPLES[typ] | found
    except (JwsError, CanonicalError, IndexError):
        return dict(_SAMPLES[typ])


def _named(payload: Record) -> tuple[list[Any], str]:
    name = [payload["merchant_id"], payload["order_no"], payload["attempt"]]
    return name, f"{name[0]}/{name[1]}/{name[2]:04d}"


def records(state: Mapping[str, tuple[bytes, Any]]) -> dict[str, Record]:
    """A forge's state as records."""
    return {key: json.loads(value) for key, (value, _) in state.items()}
