"""The auditor's model of who is registered: proposals of makers, decisions of checkers.

A record is right when it is exactly what an approved proposal says; nothing else may make one.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

from audit.changes import moved, signed_change
from audit.findings import Check, Wrong
from audit.invocation import Invocation
from audit.jose import thumbprint

Record = dict[str, Any]
_MOST_CODES, _MOST_ACQUIRERS = 16, 8
_NEW: Final = {"entity": "entity_id", "account": "account_id", "acquirer": "acquirer_id"}


class Registry:
    """Entities, accounts, merchants, merchant codes, acquirers, proposals: by ledger key."""

    def __init__(self, network: str) -> None:
        self._network = network
        self._records: dict[str, Record] = {}

    def get(self, kind: str, record_id: str) -> Record | None:
        """A record by its kind and id."""
        return self._records.get(f"{kind}/{record_id}")

    def counts(self) -> dict[str, int]:
        """Records by kind."""
        found: dict[str, int] = {}
        for key in self._records:
            kind = key.split("/", 1)[0]
            found[kind] = found.get(kind, 0) + 1
        return found

    def apply(self, invocation: Invocation, writes: dict[str, Record | None]) -> None:
        """Check and take a transaction's writes. Raises Wrong, and then takes nothing."""
        expected: dict[str, Record] = {}
        if invocation.function == "ProposeRecords":
            self._propose(invocation, writes, expected)
        elif invocation.function == "DecideRecords":
            self._decide(invocation, writes, expected)
        for key, written in writes.items():
            if written is None:
                raise Wrong(Check.RECORD, f"{key} is deleted; records are never deleted")
            if key not in expected:
                raise Wrong(Check.RECORD, f"{key} is written without an approved proposal")
            if written != expected[key]:
                raise Wrong(Check.RECORD, f"{key}: {difference(expected[key], written)}")
        for key in expected:
            if key not in writes:
                raise Wrong(Check.RECORD, f"{key} follows, but is not written")
        self._records.update(expected)

    def _propose(
        self, invocation: Invocation, writes: dict[str, Record | None], expected: dict[str, Record]
    ) -> None:
        invocation.require("ProposeRecords", ("bank-maker",), "a proposal")
        for item in invocation.items:
            key = f"proposal/{item.get('proposal_id')}" if isinstance(item, dict) else ""
            if key not in writes or key in expected:
                continue
            if key in self._records:
                raise Wrong(Check.RECORD, f"{key} is proposed twice")
            self._check_signed(item["kind"], item["body"], invocation)
            expected[key] = {
                "type": "proposal",
                "proposal_id": item["proposal_id"],
                "kind": item["kind"],
                "body": item["body"],
                "status": "proposed",
                "msp_id": invocation.submitter.msp_id,
                "maker": invocation.submitter.person,
                "checker": "",
                "txs": [invocation.tx_id],
            }

    def _decide(
        self, invocation: Invocation, writes: dict[str, Record | None], expected: dict[str, Record]
    ) -> None:
        invocation.require("DecideRecords", ("bank-checker",), "a decision")
        for item in invocation.items:
            key = f"proposal/{item.get('proposal_id')}" if isinstance(item, dict) else ""
            approved = isinstance(item, dict) and item.get("decision") == "approve"
            written = writes.get(key)
            if written is None or key in expected:
                continue
            if (written.get("status") == "approved") is not approved:
                continue  # refused; a later item of the list decided
            proposal = self._records.get(key)
            if proposal is None or proposal["status"] != "proposed":
                raise Wrong(Check.MAKER_CHECKER, f"{key} is decided without being proposed")
            if invocation.submitter.msp_id != proposal["msp_id"]:
                raise Wrong(Check.MAKER_CHECKER, f"{key} is decided by another organisation")
            if invocation.submitter.person == proposal["maker"]:
                raise Wrong(Check.MAKER_CHECKER, f"{key} is decided by its maker")
            expected[key] = proposal | {
                "status": "approved" if approved else "rejected",
                "checker": invocation.submitter.person,
                "txs": [*proposal["txs"], invocation.tx_id],
            }
            if approved:
                self._carry_out(proposal, invocation, expected)

    def _check_signed(self, kind: str, body: Record, invocation: Invocation) -> None:
        """A proposal that only the merchant may ask for is its own bank's, and it signed it."""
        if kind != "merchant_account" and (kind, body.get("action")) != ("merchant_key", "add"):
            return
        merchant = self.get("merchant", str(body["merchant_id"]))
        signed_change(kind, body, merchant, invocation, self._network)
        if merchant is not None and merchant["msp_id"] != invocation.submitter.msp_id:
            raise Wrong(Check.OWNERSHIP, f"merchant/{body['merchant_id']} is another bank's")

    def _carry_out(
        self, proposal: Record, invocation: Invocation, expected: dict[str, Record]
    ) -> None:
        kind, body, msp = proposal["kind"], proposal["body"], proposal["msp_id"]
        tx_id = invocation.tx_id
        if kind in _NEW:
            self._new(kind, body, msp, tx_id, expected)
        elif kind == "merchant":
            self._merchant(body, msp, tx_id, expected)
        elif kind == "merchant_code":
            self._further_code(body, msp, tx_id, expected)
        else:
            subject = kind.split("_", 1)[0]
            key = f"{subject}/{body[f'{subject}_id']}"
            before = expected.get(key) or self._records.get(key)
            if before is None:
                raise Wrong(Check.RECORD, f"{key} is changed but not registered")
            if before["msp_id"] != msp:
                raise Wrong(Check.OWNERSHIP, f"{key} is {before['msp_id']}'s, not {msp}'s")
            changed = deepcopy(before) | {"txs": [*before["txs"], tx_id]}
            if "change" in body:
                self._signed(kind, changed, body, invocation, expected)
            else:
                _CHANGES[kind.split("_", 1)[1]](changed, body)
            expected[key] = changed

    def _signed(
        self,
        kind: str,
        merchant: Record,
        body: Record,
        invocation: Invocation,
        expected: dict[str, Record],
    ) -> None:
        """What the merchant's own signature changes, held again when it is approved."""
        change = signed_change(kind, body, merchant, invocation, self._network)
        if kind == "merchant_key":
            if change["key_id"] in merchant["keys"]:
                raise Wrong(Check.RECORD, f"merchant/{body['merchant_id']} has this key already")
            merchant["keys"][change["key_id"]] = _key(change["jwk"], change["from"])
            return
        key = f"account/{change['account_id']}"
        account = expected.get(key) or self._records.get(key)
        merchant["accounts"].append(moved(merchant, account, change, invocation.tx_id))

    def _new(
        self, kind: str, body: Record, msp: str, tx_id: str, expected: dict[str, Record]
    ) -> None:
        key = f"{kind}/{body[_NEW[kind]]}"
        self._free(key, expected)
        if kind == "account" and not self._known("entity", body["entity_id"], expected):
            raise Wrong(Check.OWNERSHIP, f"{key} belongs to an entity that is not registered")
        record = {**body, "type": kind, "msp_id": msp, "txs": [tx_id]}
        if kind == "entity":
            self._register(body, tx_id, expected)
        if kind == "acquirer":
            record |= {"keys": _keys(body["keys"]), "status": "active"}
        expected[key] = record

    def _merchant(self, body: Record, msp: str, tx_id: str, expected: dict[str, Record]) -> None:
        key = f"merchant/{body['merchant_id']}"
        self._free(key, expected)
        account = expected.get(f"account/{body['account_id']}") or self.get(
            "account", body["account_id"]
        )
        if account is None or account["entity_id"] != body["entity_id"]:
            raise Wrong(Check.OWNERSHIP, f"{key}: the account is not its entity's")
        for acquirer_id, codes in body["codes"].items():
            for code in codes:
                one = {"acquirer_id": acquirer_id, "code": code, "merchant_id": body["merchant_id"]}
                self._own_code(one, msp, tx_id, expected)
        expected[key] = {
            **body,
            "type": "merchant",
            "keys": _keys(body["keys"]),
            "status": "active",
            "accounts": [],
            "msp_id": msp,
            "txs": [tx_id],
        }

    def _further_code(
        self, body: Record, msp: str, tx_id: str, expected: dict[str, Record]
    ) -> None:
        """A code of the bank `msp`, for a merchant that any bank registered."""
        key = f"merchant/{body['merchant_id']}"
        before = expected.get(key) or self._records.get(key)
        if before is None:
            raise Wrong(Check.RECORD, f"{key} has a code, but is not registered")
        self._own_code(body, msp, tx_id, expected)
        there = [*before["codes"].get(body["acquirer_id"], []), body["code"]]
        codes = before["codes"] | {body["acquirer_id"]: there}
        if len(there) > _MOST_CODES or len(codes) > _MOST_ACQUIRERS:
            raise Wrong(Check.RECORD, f"{key} has more codes than it may")
        expected[key] = before | {"codes": codes, "txs": [*before["txs"], tx_id]}

    def _own_code(self, body: Record, msp: str, tx_id: str, expected: dict[str, Record]) -> None:
        owner = f"merchant_code/{body['acquirer_id']}/{body['code']}"
        acquirer = expected.get(f"acquirer/{body['acquirer_id']}") or self.get(
            "acquirer", body["acquirer_id"]
        )
        if acquirer is None or acquirer["msp_id"] != msp:
            raise Wrong(Check.OWNERSHIP, f"{owner}: the acquirer is not {msp}'s")
        if owner in self._records or owner in expected:
            raise Wrong(Check.OWNERSHIP, f"{owner} belongs to a merchant already")
        expected[owner] = {**body, "type": "merchant_code", "txs": [tx_id]}

    def _register(self, body: Record, tx_id: str, expected: dict[str, Record]) -> None:
        """One registration is one entity, however its number is spelt."""
        number = "".join(c for c in body["registration_no"] if c not in ".-").upper()
        key = f"registration/{body['country']}/{number}"
        if key in self._records or key in expected:
            raise Wrong(Check.OWNERSHIP, f"{key} is another entity's")
        expected[key] = {
            "type": "registration",
            "country": body["country"],
            "registration_no": body["registration_no"],
            "entity_id": body["entity_id"],
            "txs": [tx_id],
        }

    def _known(self, kind: str, record_id: str, expected: dict[str, Record]) -> bool:
        key = f"{kind}/{record_id}"
        return key in expected or key in self._records

    def _free(self, key: str, expected: dict[str, Record]) -> None:
        if key in self._records or key in expected:
            raise Wrong(Check.RECORD, f"{key} is registered twice")


def difference(expected: Record, written: Any) -> str:
    """The first member that differs, for people."""
    if not isinstance(written, dict):
        return "not an object"
    for name in sorted({*expected, *written}):
        if expected.get(name) != written.get(name):
            return f"{name} is {_short(written.get(name))}, not {_short(expected.get(name))}"
    return "the same"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _keys(jwks: list[dict[str, str]]) -> Record:
    return {thumbprint(jwk): _key(jwk) for jwk in jwks}


def _key(jwk: dict[str, str], valid_from: str = "") -> Record:
    algorithm = "Ed25519" if jwk.get("kty") == "OKP" else "ES256"
    return {"algorithm": algorithm, "jwk": jwk, "status": "active", "valid_from": valid_from}


def _change_key(record: Record, body: Record) -> None:
    if body["action"] == "add":
        record["keys"][body["key_id"]] = _key(body["jwk"])
    elif body["key_id"] in record["keys"]:
        record["keys"][body["key_id"]]["status"] = "revoked"


def _change_status(record: Record, body: Record) -> None:
    record["status"] = body["status"]


_CHANGES: Final[dict[str, Callable[[Record, Record], None]]] = {
    "key": _change_key,
    "status": _change_status,
}
