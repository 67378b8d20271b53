"""Forgeries of what only a merchant may change, and of reports of money elsewhere: what a bank and
one more peer could write. Each names the check that must find it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from forge import NETWORK, NOW, OWN, Forge, Tx
from payment_forgeries import KEY, record, writing, written
from samples import INTENT

from audit.findings import Check
from clearline import changes, reports
from clearline.changes import AccountChange, KeyChange
from clearline.jws import KeySigner
from clearline.statuses import Reason, ReportKind, Status

M = INTENT.merchant_id
TOMORROW = NOW + timedelta(days=1)
Forgery = Callable[[Forge], None]
BANKS = KeySigner.generate()


def key_item(forge: Forge, signer: KeySigner | None = None, **changed: Any) -> dict[str, Any]:
    """A proposal to add the bank's own key to its merchant; by default as it signed it."""
    said = {"network": NETWORK, "merchant_id": M, "jwk": BANKS.jwk,
            "created": "2026-11-23T08:20:00.000Z", "valid_from": "2026-11-24"}  # fmt: skip
    text = changes.sign(KeyChange(**(said | changed)), signer or forge.merchant)
    body = {"merchant_id": M, "action": "add", "key_id": BANKS.key_id, "change": text}
    return {"proposal_id": "k-1", "kind": "merchant_key", "body": body}


def account_item(forge: Forge, signer: KeySigner | None = None) -> dict[str, Any]:
    """A proposal to settle the merchant elsewhere."""
    change = AccountChange(
        NETWORK, M, "f" * 64, "BKONCNBJ", "0002", "2026-11-23T08:20:00.000Z", "2026-11-24"
    )
    text = changes.sign(change, signer or forge.merchant)
    body = {"merchant_id": M, "account_id": "f" * 64, "change": text}
    return {"proposal_id": "a-1", "kind": "merchant_account", "body": body}


def proposed(item: dict[str, Any]) -> Tx:
    return Tx("ProposeRecords", [item], ("BankOne", "maker"))


def approval(proposal_id: str, at: datetime = NOW) -> Tx:
    item = {"proposal_id": proposal_id, "decision": "approve"}
    return Tx("DecideRecords", [item], ("BankOne", "checker"), time=at)


def second_account(forge: Forge) -> None:
    body = {"account_id": "f" * 64, "entity_id": "E-1", "bank_code": "BKONCNBJ",
            "last4": "0002", "currency": "CNY"}  # fmt: skip
    forge.add(proposed({"proposal_id": "f-1", "kind": "account", "body": body}))
    forge.add(approval("f-1"))


def changed_by_its_merchant(forge: Forge) -> None:
    """The honest way: the merchant signs, maker and checker carry it."""
    second_account(forge)
    for item in (key_item(forge), account_item(forge)):
        forge.add(proposed(item))
        forge.add(approval(item["proposal_id"]))


def next_day(forge: Forge, signer: KeySigner, at: datetime = TOMORROW) -> Tx:
    """A payment of tomorrow."""
    times = {"created": "2026-11-24T08:00:00.000Z", "expires_at": "2026-11-24T09:00:00.000Z"}
    return dataclasses.replace(forge.intent(signer=signer, **times), time=at)


def _proposed_anyway(forge: Forge, honest: dict[str, Any], item: dict[str, Any]) -> None:
    """Two peers write the proposal that the contract refuses."""
    records = written(forge, proposed(honest))
    (kept,) = records.values()
    kept["body"] = item["body"]
    forge.add(writing(proposed(item), *records.items()))


def _key_by_its_bank(forge: Forge) -> None:
    _proposed_anyway(forge, key_item(forge), key_item(forge, BANKS))


def _key_without_a_signature(forge: Forge) -> None:
    bare = key_item(forge)
    bare["body"] = {n: v for n, v in bare["body"].items() if n != "change"} | {"jwk": BANKS.jwk}
    _proposed_anyway(forge, key_item(forge), bare)


def _key_for_another_network(forge: Forge) -> None:
    _proposed_anyway(forge, key_item(forge), key_item(forge, network="other"))


def _key_that_counts_at_once(forge: Forge) -> None:
    honest = key_item(forge)
    _proposed_anyway(forge, honest, key_item(forge, created="2026-11-22T08:20:00.000Z",
                                             valid_from="2026-11-23"))  # fmt: skip


def _key_signed_in_the_future(forge: Forge) -> None:
    _proposed_anyway(forge, key_item(forge), key_item(forge, created="2026-11-23T09:20:00.000Z"))


def _account_by_its_bank(forge: Forge) -> None:
    second_account(forge)
    _proposed_anyway(forge, account_item(forge), account_item(forge, BANKS))


def _key_approved_too_late(forge: Forge) -> None:
    forge.add(proposed(key_item(forge)))
    honest = written(forge, approval("k-1"))
    forge.add(writing(approval("k-1", TOMORROW), *honest.items()))


def _key_approved_after_its_signer_was_revoked(forge: Forge) -> None:
    forge.add(proposed(key_item(forge)))
    revoke = {"merchant_id": M, "action": "revoke", "key_id": forge.merchant.key_id}
    forge.add(proposed({"proposal_id": "r-1", "kind": "merchant_key", "body": revoke}))
    honest = written(forge, approval("k-1"))
    forge.add(approval("r-1"))
    merchant = honest[f"merchant/{M}"]
    merchant["keys"][forge.merchant.key_id]["status"] = "revoked"
    merchant["txs"] = record(forge, f"merchant/{M}")["txs"] + merchant["txs"][-1:]
    forge.add(writing(approval("k-1"), *honest.items()))


def _key_that_counts_earlier_than_signed(forge: Forge) -> None:
    forge.add(proposed(key_item(forge)))
    honest = written(forge, approval("k-1"))
    honest[f"merchant/{M}"]["keys"][BANKS.key_id]["valid_from"] = ""
    forge.add(writing(approval("k-1"), *honest.items()))


def _account_that_is_not_as_signed(forge: Forge) -> None:
    forge.add(proposed(account_item(forge)))  # there is no such account
    honest = written(forge, proposed(key_item(forge)))
    merchant = record(forge, f"merchant/{M}")
    entry = {"account_id": "f" * 64, "valid_from": "2026-11-24",
             "signed_at": "2026-11-23T08:20:00.000Z", "tx_id": OWN}  # fmt: skip
    proposal = record(forge, "proposal/a-1") | {"status": "approved"}
    assert list(honest) == ["proposal/k-1"]
    forged = merchant | {"accounts": [entry]}
    forge.add(writing(approval("a-1"), (f"merchant/{M}", forged), ("proposal/a-1", proposal)))


def _payment_with_a_key_of_tomorrow(forge: Forge) -> None:
    changed_by_its_merchant(forge)
    intent = forge.intent(signer=BANKS)
    honest = written(forge, forge.intent())
    honest[KEY]["intent"] = intent.items[0]["intent"]
    forge.add(writing(intent, *honest.items()))


def _told(forge: Forge, **said: Any) -> None:
    """Two peers take a report that the contract refuses."""
    forge.add(forge.intent())
    response: dict[str, Any] = {"kind": ReportKind.RESPONSE, "status": Status.ACCEPTED}
    response["reason"] = Reason.ACCEPTED
    told = forge.report(**(response | said))
    honest = written(forge, forge.report(**response))
    honest[KEY]["response"] = told.items[0]
    honest[KEY]["reports"][0][3] = _digest(told)
    forge.add(writing(told, *honest.items()))


def _digest(told: Tx) -> str:
    return reports.parse(told.items[0]).report.digest()


def _another_payments_reference(forge: Forge) -> None:
    _told(forge, acquirer_reference="0" * 40)


def _money_at_another_code(forge: Forge) -> None:
    _told(forge, merchant_code="1")


CHANGE_FORGERIES: list[tuple[Forgery, Check]] = [
    (_key_by_its_bank, Check.MERCHANT_SIGNATURE),
    (_key_without_a_signature, Check.FORM),
    (_key_for_another_network, Check.MERCHANT_SIGNATURE),
    (_key_that_counts_at_once, Check.MERCHANT_SIGNATURE),
    (_key_signed_in_the_future, Check.MERCHANT_SIGNATURE),
    (_account_by_its_bank, Check.MERCHANT_SIGNATURE),
    (_key_approved_too_late, Check.MERCHANT_SIGNATURE),
    (_key_approved_after_its_signer_was_revoked, Check.MERCHANT_SIGNATURE),
    (_key_that_counts_earlier_than_signed, Check.RECORD),
    (_account_that_is_not_as_signed, Check.OWNERSHIP),
    (_payment_with_a_key_of_tomorrow, Check.MERCHANT_SIGNATURE),
    (_another_payments_reference, Check.REPORT),
    (_money_at_another_code, Check.REPORT),
]
