"""The parties of these tests on the house's ledger: two quiet acquirers (nobody forwards to them),
two merchants, keys good and revoked.

    quiet-one   BankOne's, key BANK_ONE, revoked key BANK_ONE_OLD
    quiet-two   BankTwo's, key BANK_TWO
    M-SEC       keys OWNER (Ed25519), OWNER_ES256, revoked OWNER_OLD, OWNER_NEXT of a later day; a
                code at each
    M-OTHER     key OTHER; a code at quiet-one
"""

from __future__ import annotations

import secrets
from dataclasses import fields, replace
from itertools import count
from typing import Any

from samples import INTENT, REFUND, REFUND_REPORT, REPORT
from security_world import World

from clearline import changes, clearing, intents, refunds, reports, times
from clearline.cards import holds_card_number
from clearline.changes import AccountChange, KeyChange
from clearline.clearing import Adjustment, Cleared, Entry, Filing, Part, Payout
from clearline.clearing_records import settlement_id
from clearline.clearing_schema import Cause, Paid
from clearline.intents import CloseIntent, PayIntent, PaymentKey, Route
from clearline.jws import Algorithm, KeySigner
from clearline.refunds import RefundIntent
from clearline.reports import Report

OWNER, OWNER_OLD, OWNER_NEXT, OTHER, STRANGER = (KeySigner.generate() for _ in range(5))
OWNER_ES256 = KeySigner.generate(Algorithm.ES256)
BANK_ONE, BANK_ONE_OLD, BANK_TWO = (KeySigner.generate() for _ in range(3))
BANK_ONE_ES256 = KeySigner.generate(Algorithm.ES256)
MERCHANT, OTHER_MERCHANT = "M-SEC", "M-OTHER"
ONE, TWO = "quiet-one", "quiet-two"
CODE_ONE, CODE_TWO, OTHER_CODE = "SECONE1", "SECTWO1", "SECONE2"
ACCOUNT = "c" * 64
_HEADER = frozenset(one.name for one in fields(Filing))
_COMMON = frozenset(one.name for one in fields(Cleared))
# Anew in each run, so that a kept house does not know them.
_RUN = secrets.token_hex(3)
_numbers = count(1)


def order_no(name: str = "O") -> str:
    """An order number nobody had before. One in four thousand has a reference at the acquirer
    that looks like a card number, and is refused as one where it stands for another payment."""
    while True:
        number = f"{name}-{_RUN}-{next(_numbers)}"
        keys = (PaymentKey(MERCHANT, number, attempt) for attempt in (1, 2))
        references = (reports.acquirer_reference(key, INTENT.network) for key in keys)
        if not any(map(holds_card_number, references)):
            return number


def intent(**changed: Any) -> PayIntent:
    """M-SEC's wish for a payment of its own, good for a quarter of an hour."""
    now = times.now()
    usual: dict[str, Any] = {
        "merchant_id": MERCHANT,
        "order_no": order_no(),
        "acquirers": (Route(ONE, CODE_ONE, "tok_approve"),),
        "created": now,
        "expires_at": times.after(now, 900),
    }
    return replace(INTENT, **(usual | changed))


def item(wanted: PayIntent, signer: KeySigner = OWNER, route: str = ONE) -> dict[str, str]:
    """It as an item of SubmitIntents."""
    return {"intent": intents.sign(wanted, signer), "acquirer_id": route}


def close(of: PayIntent) -> CloseIntent:
    """The wish to close it."""
    return CloseIntent(of.network, of.merchant_id, of.order_no, of.attempt, times.now())


def refund(of: PayIntent, **changed: Any) -> RefundIntent:
    """The wish to give all of it back, good for a quarter of an hour."""
    now = times.now()
    about: dict[str, Any] = {
        "network": of.network,
        "merchant_id": of.merchant_id,
        "order_no": of.order_no,
        "attempt": of.attempt,
        "amount": of.amount,
        "currency": of.currency,
        "created": now,
        "expires_at": times.after(now, 900),
    }
    return replace(REFUND, **(about | changed))


def _reported(of: PayIntent | RefundIntent, reference: str) -> dict[str, Any]:
    return {
        "acquirer_id": ONE,
        "merchant_id": of.merchant_id,
        "order_no": of.order_no,
        "attempt": of.attempt,
        "intent_digest": of.digest(),
        "amount": of.amount,
        "acquirer_reference": reference,
    }


def report(of: PayIntent, **changed: Any) -> Report:
    """The result `succeeded` of quiet-one on it."""
    about = _reported(of, reports.acquirer_reference(of.key, of.network))
    return replace(REPORT, **(about | changed))


def signed_report(of: PayIntent, signer: KeySigner = BANK_ONE, **changed: Any) -> str:
    """It, signed."""
    return reports.sign(report(of, **changed), signer)


def signed_refund_report(of: RefundIntent, **changed: Any) -> str:
    """The result `succeeded` of quiet-one on this refund, signed."""
    about = _reported(of, refunds.reference(of.key, of.network)) | {"refund_no": of.refund_no}
    return reports.sign(replace(REFUND_REPORT, **(about | changed)), BANK_ONE)


def requested(world: World, **changed: Any) -> PayIntent:
    """A payment on the ledger that waits for its acquirer."""
    wanted = intent(**changed)
    gateway = world.user("BankTwo", "gateway")
    answer = world.submit(gateway, "SubmitIntents", [item(wanted)])
    assert answer.codes == ["ok"], answer
    return wanted


def paid(world: World, **changed: Any) -> PayIntent:
    """A payment on the ledger that has succeeded at quiet-one."""
    wanted = requested(world, **changed)
    answer = world.submit(
        world.user("BankOne", "connector"), "SubmitReports", [signed_report(wanted)]
    )
    assert answer.codes == ["ok"], answer
    return wanted


def filing(day: str, **changed: Any) -> str:
    """The file of quiet-one's day for M-SEC, signed: empty."""
    return clearing.sign(replace(_filing(day), **changed), BANK_ONE)


def _filing(day: str) -> Filing:
    return Filing(
        network=INTENT.network,
        acquirer_id=ONE,
        merchant_id=MERCHANT,
        merchant_code=CODE_ONE,
        currency="CNY",
        clearing_date=day,
        file_digest="0" * 64,
        lines=0,
        payments=0,
        refunds=0,
        fees=0,
        adjustments=0,
    )


def cleared() -> dict[str, str]:
    """A sound object of each kind of clearing, signed, that the ledger does not hold."""
    filing_ = _filing("2026-11-20")
    common = {name: one for name, one in filing_.payload().items() if name in _COMMON}
    said: dict[str, Any] = {
        "acquirer_file": filing_,
        "adjustment": Adjustment(
            **common, reference="CB-1", cause=Cause.CORRECTION, amount=-5, order_no="x", attempt=1
        ),
        "settlement": Part(
            **common, run=1, file_digest="0" * 64, account_id=ACCOUNT, lines=0, payments=0,
            refunds=0, fees=0, adjustments=0, carried=0, net=0, parts=1, part=1, entries=(),
        ),
        "payout": Payout(
            **common, run=1, account_id=ACCOUNT, amount=5, status=Paid.PAID, reference="T-1",
            value_date="2026-11-20",
        ),
    }  # fmt: skip
    return {kind: clearing.sign(one, BANK_ONE) for kind, one in said.items()}


def settlement(world: World, of: PayIntent) -> str:
    """A settlement of this payment and its day that waits for a checker: its id."""
    totals: dict[str, Any] = {"lines": 1, "payments": of.amount}
    file = replace(_filing(REPORT.clearing_date or ""), **totals)
    told = {name: value for name, value in file.payload().items() if name in _HEADER}
    part = Part(
        **told,
        run=1,
        account_id=ACCOUNT,
        carried=0,
        net=of.amount,
        parts=1,
        part=1,
        entries=(Entry("payment", of.order_no, of.attempt, 0, of.amount),),
    )
    items = [clearing.sign(said, BANK_ONE) for said in (file, part)]
    answer = world.submit(world.user("BankOne", "maker"), "SubmitClearing", items)
    assert answer.codes == ["ok", "ok"], answer
    return settlement_id(part.place, 1)


def register(world: World) -> None:
    """Put the parties on the ledger, each bank its own, by maker and checker."""
    approve(
        world,
        "BankOne",
        ("acquirer", _acquirer(ONE, BANK_ONE, BANK_ONE_OLD, BANK_ONE_ES256)),
        ("entity", _entity("E-SEC")),
        ("entity", _entity("E-OTHER")),
        ("account", _account(ACCOUNT, "E-SEC")),
        ("account", _account("d" * 64, "E-OTHER")),
        ("merchant", _merchant(MERCHANT, "E-SEC", ACCOUNT, CODE_ONE, OWNER, OWNER_OLD,
                               OWNER_ES256)),
        ("merchant", _merchant(OTHER_MERCHANT, "E-OTHER", "d" * 64, OTHER_CODE, OTHER)),
        ("merchant_key", {"merchant_id": MERCHANT, "action": "revoke",
                          "key_id": OWNER_OLD.key_id}),
        ("acquirer_key", {"acquirer_id": ONE, "action": "revoke",
                          "key_id": BANK_ONE_OLD.key_id}),
    )  # fmt: skip
    approve(world, "BankOne", ("merchant_key", key_change(OWNER_NEXT, OWNER)), name="next")
    approve(
        world,
        "BankTwo",
        ("acquirer", _acquirer(TWO, BANK_TWO)),
        ("merchant_code", {"merchant_id": MERCHANT, "acquirer_id": TWO, "code": CODE_TWO}),
    )


def key_change(new: KeySigner, signer: KeySigner, **changed: Any) -> dict[str, Any]:
    """The body of a proposal that adds a key to M-SEC for a later day, as `signer` signed it."""
    said = {
        "network": INTENT.network,
        "merchant_id": MERCHANT,
        "jwk": new.jwk,
        "created": times.now(),
        "valid_from": times.after(times.now(), 30 * 86_400)[:10],
    }
    change = KeyChange(**(said | changed))
    return {
        "merchant_id": change.merchant_id,
        "action": "add",
        "key_id": new.key_id,
        "change": changes.sign(change, signer),
    }


def account_change(signer: KeySigner) -> dict[str, Any]:
    """The same for another account."""
    change = AccountChange(
        INTENT.network,
        MERCHANT,
        "d" * 64,
        "BKONCNBJ",
        "0001",
        times.now(),
        times.after(times.now(), 30 * 86_400)[:10],
    )
    return {
        "merchant_id": MERCHANT,
        "account_id": change.account_id,
        "change": changes.sign(change, signer),
    }


def relation_body(**changed: str) -> dict[str, str]:
    """The body of a proposal that M-OTHER's entity be settled to M-SEC's account, next month."""
    body = {
        "account_id": ACCOUNT,
        "owner_id": "E-SEC",
        "entity_id": "E-OTHER",
        "relationship": "franchisor",
        "since": times.after(times.now(), 30 * 86_400)[:10],
        "until": times.after(times.now(), 60 * 86_400)[:10],
        "document_digest": "d" * 64,
    }
    return body | changed


def approve(
    world: World, bank: str, *wanted: tuple[str, dict[str, Any]], name: str = "sec"
) -> None:
    items = [
        {"proposal_id": f"{name}-{bank}-{number}", "kind": kind, "body": body}
        for number, (kind, body) in enumerate(wanted)
    ]
    made = world.submit(world.user(bank, "maker"), "ProposeRecords", items)
    assert made.codes == ["ok"] * len(items), made
    verdicts = [{"proposal_id": one["proposal_id"], "decision": "approve"} for one in items]
    done = world.submit(world.user(bank, "checker"), "DecideRecords", verdicts)
    assert done.codes == ["ok"] * len(items), done


def _acquirer(acquirer_id: str, *signers: KeySigner) -> dict[str, Any]:
    return {
        "acquirer_id": acquirer_id,
        "name": "A quiet acquirer",
        "currencies": ["CNY"],
        "licence_no": "Z1",
        "licence_valid_until": "2099-12-31",
        "keys": [signer.jwk for signer in signers],
    }


def _entity(entity_id: str) -> dict[str, Any]:
    return {
        "entity_id": entity_id,
        "name": "A legal entity",
        "country": "CN",
        "registration_no": f"R-{entity_id}",
    }


def _account(account_id: str, entity_id: str) -> dict[str, Any]:
    return {
        "account_id": account_id,
        "entity_id": entity_id,
        "bank_code": "BKONCNBJ",
        "last4": "0042",
        "currency": "CNY",
    }


def _merchant(
    merchant_id: str, entity_id: str, account_id: str, code: str, *signers: KeySigner
) -> dict[str, Any]:
    return {
        "merchant_id": merchant_id,
        "entity_id": entity_id,
        "account_id": account_id,
        "name": "A merchant",
        "mcc": "5411",
        "goods_categories": ["groceries"],
        "codes": {ONE: [code]},
        "keys": [signer.jwk for signer in signers],
    }
