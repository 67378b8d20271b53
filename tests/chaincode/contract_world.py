"""A ledger in memory and the parties around it, for tests of the contract's decisions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from samples import INTENT, REFUND, REFUND_REPORT, REPORT

from chaincode.contract.context import Role, Submitter, Transaction
from chaincode.contract.decision import Decision
from chaincode.contract.functions import FUNCTIONS, KeyReader, RangeReader, function
from clearline import canonical, changes, intents, refunds, reports
from clearline.changes import AccountChange, KeyChange
from clearline.codes import Outcome
from clearline.intents import CloseIntent, PayIntent
from clearline.jws import KeySigner
from clearline.refunds import RefundIntent
from clearline.reports import Report

NETWORK = "clearline-dev"
NOW = datetime(2026, 11, 23, 8, 0, 30, tzinfo=UTC)
ACCOUNT = "a" * 64
OTHER_ACCOUNT = "b" * 64
CODE = INTENT.acquirers[0].merchant_code
CLOSE = CloseIntent(
    network=INTENT.network,
    merchant_id=INTENT.merchant_id,
    order_no=INTENT.order_no,
    attempt=INTENT.attempt,
    created="2026-11-23T08:00:10.000Z",
)


def ed25519_signer(seed: str) -> KeySigner:
    """A signer whose key is the same in every run."""
    secret = hashlib.sha256(seed.encode()).digest()
    return KeySigner(ed25519.Ed25519PrivateKey.from_private_bytes(secret))


def es256_signer(seed: int) -> KeySigner:
    """A P-256 signer whose key is the same in every run."""
    return KeySigner(ec.derive_private_key(seed, ec.SECP256R1()))


MERCHANT = ed25519_signer("merchant")
MERCHANT_ES256 = es256_signer(7001)
BANK = ed25519_signer("acquirer")
STRANGER = ed25519_signer("stranger")

GATEWAY = Submitter("BankTwo", Role.GATEWAY, "person-gateway")
CONNECTOR = Submitter("BankOne", Role.CONNECTOR, "person-connector")
MAKER = Submitter("BankOne", Role.BANK_MAKER, "person-maker")
CHECKER = Submitter("BankOne", Role.BANK_CHECKER, "person-checker")
AUDITOR = Submitter("Supervisor", Role.AUDITOR, "person-auditor")
SUPERVISOR = Submitter("Supervisor", Role.SUPERVISOR, "person-supervisor")
# Who calls a writing function in these tests, unless one says otherwise.
USUAL = {
    "SubmitIntents": GATEWAY,
    "SubmitReports": CONNECTOR,
    "SubmitEvidence": AUDITOR,
    "TakeLease": CONNECTOR,
    "ProposeRecords": MAKER,
    "DecideRecords": CHECKER,
    "CountersignRelations": SUPERVISOR,
    "EndRelations": SUPERVISOR,
    "SubmitClearing": MAKER,
    "DecideSettlements": CHECKER,
    "SubmitRules": SUPERVISOR,
    "SubmitCheckpoints": SUPERVISOR,
}


@dataclass(frozen=True)
class Call:
    """A committed transaction, as it was submitted."""

    name: str
    items: Sequence[Any]
    submitter: Submitter
    at: datetime


@dataclass
class Ledger:
    """State as a peer would hold it after each transaction."""

    state: dict[str, bytes] = field(default_factory=dict)
    height: int = 0
    calls: list[Call] = field(default_factory=list)

    def decide(
        self,
        name: str,
        items: Sequence[Any],
        submitter: Submitter | None = None,
        at: datetime = NOW,
    ) -> Decision:
        """Decide without committing, reading first what the plan names."""
        tx = Transaction(f"tx{self.height + 1}", at, NETWORK, submitter or USUAL[name])
        called = function(name, tx.submitter)
        assert not isinstance(called, KeyReader | RangeReader)
        batch = called.batch(canonical.dumps(list(items)))
        committed: dict[str, bytes | None] = {}
        for _ in range(3):
            committed |= {key: self.state.get(key) for key in batch.missing(committed)}
        assert batch.missing(committed) == []
        decision = batch.decide(tx, committed)
        unread = [key for key, _ in decision.writes if key not in committed]
        assert unread == [], "every key written is read first"
        assert len(decision.outcomes) == len(items)
        return decision

    def submit(
        self,
        name: str,
        items: Sequence[Any],
        submitter: Submitter | None = None,
        at: datetime = NOW,
    ) -> tuple[Outcome, ...]:
        """Decide and commit one transaction."""
        decision = self.decide(name, items, submitter, at)
        self.state.update(decision.writes)
        self.height += 1
        self.calls.append(Call(name, items, submitter or USUAL[name], at))
        return decision.outcomes

    def codes(self, name: str, items: Sequence[Any], **kwargs: Any) -> list[str]:
        """The outcome codes of one committed transaction."""
        return [outcome.code.value for outcome in self.submit(name, items, **kwargs)]

    def copy(self) -> Ledger:
        """A ledger of its own with the same state."""
        return Ledger(dict(self.state), self.height, list(self.calls))


def proposal(proposal_id: str, kind: str, **body: Any) -> dict[str, Any]:
    """An item of ProposeRecords."""
    return {"proposal_id": proposal_id, "kind": kind, "body": body}


def verdict(proposal_id: str, decision: str = "approve") -> dict[str, str]:
    """An item of DecideRecords."""
    return {"proposal_id": proposal_id, "decision": decision}


def entity(entity_id: str = "E-1", **changed: Any) -> dict[str, Any]:
    body = {
        "entity_id": entity_id,
        "name": "Corner Shop Ltd",
        "country": "CN",
        "registration_no": f"REG-{entity_id}",
    }
    return body | changed


def account(account_id: str = ACCOUNT, entity_id: str = "E-1") -> dict[str, Any]:
    return {
        "account_id": account_id,
        "entity_id": entity_id,
        "bank_code": "BKONCNBJ",
        "last4": "4242",
        "currency": "CNY",
    }


def merchant(merchant_id: str = INTENT.merchant_id, **changed: Any) -> dict[str, Any]:
    body = {
        "merchant_id": merchant_id,
        "entity_id": "E-1",
        "account_id": ACCOUNT,
        "name": "Corner Shop",
        "mcc": "5411",
        "goods_categories": ["groceries"],
        "codes": {"unionpay": [CODE]},
        "keys": [MERCHANT.jwk, MERCHANT_ES256.jwk],
    }
    return body | changed


def acquirer(acquirer_id: str = "unionpay", **changed: Any) -> dict[str, Any]:
    body = {
        "acquirer_id": acquirer_id,
        "name": "UnionPay by BankOne",
        "currencies": ["CNY", "USD"],
        "licence_no": "L-2026-1",
        "licence_valid_until": "2030-12-31",
        "keys": [BANK.jwk],
    }
    return body | changed


def approved(ledger: Ledger, *proposals: dict[str, Any], bank: str = "BankOne") -> list[str]:
    """Propose and approve these in two transactions; the codes of the approval."""
    maker, checker = replace(MAKER, msp_id=bank), replace(CHECKER, msp_id=bank)
    made = ledger.codes("ProposeRecords", proposals, submitter=maker)
    assert made == ["ok"] * len(proposals)
    decided = [verdict(item["proposal_id"]) for item in proposals]
    return ledger.codes("DecideRecords", decided, submitter=checker)


def key_change(
    new: KeySigner = STRANGER,
    merchant_id: str = INTENT.merchant_id,
    network: str = NETWORK,
    created: str = "2026-11-23T08:00:00.000Z",
    valid_from: str = "2026-11-24",
) -> KeyChange:
    """A change that adds this key; by default the sample merchant's for tomorrow."""
    return KeyChange(network, merchant_id, new.jwk, created, valid_from)


def key_body(
    new: KeySigner = STRANGER, signer: KeySigner = MERCHANT, **changed: Any
) -> dict[str, Any]:
    """A proposal's body that adds a merchant's key, as `signer` signed it."""
    change = key_change(new, **changed)
    return {
        "merchant_id": change.merchant_id,
        "action": "add",
        "key_id": new.key_id,
        "change": changes.sign(change, signer),
    }


def account_body(
    account_id: str = OTHER_ACCOUNT, signer: KeySigner = MERCHANT, **changed: Any
) -> dict[str, Any]:
    """A proposal's body that changes a merchant's account, as `signer` signed it."""
    at = account(account_id)
    said = {
        "network": NETWORK,
        "merchant_id": INTENT.merchant_id,
        "account_id": account_id,
        "bank_code": at["bank_code"],
        "last4": at["last4"],
        "created": "2026-11-23T08:00:00.000Z",
        "valid_from": "2026-11-24",
    }
    change = AccountChange(**(said | changed))
    return {
        "merchant_id": change.merchant_id,
        "account_id": change.account_id,
        "change": changes.sign(change, signer),
    }


def registered() -> Ledger:
    """A ledger with one acquirer and one active merchant, all in one approval."""
    ledger = Ledger()
    codes = approved(
        ledger,
        proposal("p1", "entity", **entity()),
        proposal("p2", "account", **account()),
        proposal("p3", "acquirer", **acquirer()),
        proposal("p4", "merchant", **merchant()),
    )
    assert codes == ["ok"] * 4
    return ledger


def intent_item(
    signer: KeySigner = MERCHANT, acquirer_id: str = "unionpay", **changed: Any
) -> dict[str, Any]:
    """An item of SubmitIntents: the sample intent with these fields changed."""
    signed = intents.sign(replace(INTENT, **changed), signer)
    return {"intent": signed, "acquirer_id": acquirer_id}


def close_item(signer: KeySigner = MERCHANT, **changed: Any) -> dict[str, Any]:
    """An item of SubmitIntents: the close of the sample payment with these fields changed."""
    return {"intent": intents.sign(replace(CLOSE, **changed), signer)}


def refund_item(signer: KeySigner = MERCHANT, **changed: Any) -> dict[str, Any]:
    """An item of SubmitIntents: the sample refund with these fields changed."""
    return {"intent": refunds.sign(replace(REFUND, **changed), signer)}


def refund_report_item(signer: KeySigner = BANK, of: RefundIntent = REFUND, **changed: Any) -> str:
    """An item of SubmitReports: the sample report on a refund, about `of`, with these changed."""
    about: dict[str, Any] = {
        "merchant_id": of.merchant_id,
        "order_no": of.order_no,
        "attempt": of.attempt,
        "refund_no": of.refund_no,
        "intent_digest": of.digest(),
        "amount": of.amount,
        "currency": of.currency,
        "acquirer_reference": refunds.reference(of.key, of.network),
    }
    return reports.sign(replace(REFUND_REPORT, **(about | changed)), signer)


def report_item(signer: KeySigner = BANK, of: PayIntent = INTENT, **changed: Any) -> str:
    """An item of SubmitReports: the sample report, about `of`, with these fields changed."""
    about: dict[str, Any] = {
        "merchant_id": of.merchant_id,
        "order_no": of.order_no,
        "attempt": of.attempt,
        "intent_digest": of.digest(),
        "acquirer_reference": reports.acquirer_reference(of.key, of.network),
    }
    return reports.sign(replace(REPORT, **(about | changed)), signer)


def report(**changed: Any) -> Report:
    """The sample report with these fields changed."""
    return replace(REPORT, **changed)


def requested() -> Ledger:
    """A registered ledger with the sample payment requested."""
    ledger = registered()
    assert ledger.codes("SubmitIntents", [intent_item()]) == ["ok"]
    return ledger


WRITERS = tuple(name for name, of in FUNCTIONS.items() if name in USUAL and of)
