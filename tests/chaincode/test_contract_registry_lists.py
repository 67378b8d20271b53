"""Lists about the register: conflicts inside one list, keys, codes, what approving leaves."""

from __future__ import annotations

import json

import contract_world as w
from contract_world import (
    Ledger,
    approved,
    intent_item,
    proposal,
    registered,
    verdict,
)
from samples import INTENT

from clearline import records
from clearline.intents import Route
from clearline.records import Merchant


def test_two_registrations_of_one_code_in_one_list() -> None:
    ledger = registered()
    codes = {"unionpay": ["898310148990009"]}
    first = proposal("m2", "merchant", **w.merchant("M-2", codes=codes))
    second = proposal("m3", "merchant", **w.merchant("M-3", codes=codes))
    assert approved(ledger, first, second) == ["ok", "merchant_code_taken"]
    assert "merchant/M-3" not in ledger.state
    assert (
        json.loads(ledger.state["merchant_code/unionpay/898310148990009"])["merchant_id"] == "M-2"
    )


def test_two_owners_of_one_account_in_one_list() -> None:
    ledger = registered()
    codes = approved(
        ledger,
        proposal("e2", "entity", **w.entity("E-2")),
        proposal("a2", "account", **w.account(w.OTHER_ACCOUNT, "E-2")),
        proposal("a1", "account", **w.account(w.OTHER_ACCOUNT, "E-1")),
    )
    assert codes == ["ok", "ok", "account_taken"]


def test_one_proposal_decided_twice_in_one_list() -> None:
    ledger = Ledger()
    assert ledger.codes("ProposeRecords", [proposal("p", "entity", **w.entity())]) == ["ok"]
    both = [verdict("p"), verdict("p", "reject"), verdict("p")]
    assert ledger.codes("DecideRecords", both) == ["ok", "proposal_decided", "duplicate"]


def test_one_proposal_id_twice_in_one_list() -> None:
    same = proposal("p", "entity", **w.entity())
    other = proposal("p", "entity", **w.entity("E-2"))
    assert Ledger().codes("ProposeRecords", [same, same, other]) == ["ok", "duplicate", "conflict"]


def test_a_refused_approval_stays_open_and_writes_nothing() -> None:
    ledger = Ledger()
    assert approved(ledger, proposal("a", "account", **w.account())) == ["entity_unknown"]
    assert approved(ledger, proposal("e", "entity", **w.entity())) == ["ok"]
    assert ledger.codes("DecideRecords", [verdict("a")]) == ["ok"]


def test_two_entities_of_one_registration_in_one_list() -> None:
    ledger = Ledger()
    same = proposal("e2", "entity", **w.entity("E-2", registration_no="reg-e.1"))
    assert approved(ledger, proposal("e1", "entity", **w.entity()), same) == ["ok", "record_exists"]
    assert json.loads(ledger.state["registration/CN/REGE1"])["entity_id"] == "E-1"


def test_a_code_at_a_second_bank_takes_payments() -> None:
    ledger = registered()
    second = w.acquirer("second", keys=[w.STRANGER.jwk])
    assert approved(ledger, proposal("a2", "acquirer", **second), bank="BankTwo") == ["ok"]
    routed = intent_item(acquirer_id="second", acquirers=(Route("second", "77", "tok"),))
    assert ledger.codes("SubmitIntents", [routed]) == ["merchant_code_mismatch"]
    body = {"merchant_id": "M-0001", "acquirer_id": "second", "code": "77"}
    assert approved(ledger, proposal("c", "merchant_code", **body), bank="BankTwo") == ["ok"]
    merchant = records.load(Merchant, ledger.state["merchant/M-0001"])
    assert merchant.codes == {"unionpay": [w.CODE], "second": ["77"]}
    assert merchant.msp_id == "BankOne"
    assert json.loads(ledger.state["merchant_code/second/77"])["merchant_id"] == "M-0001"
    assert ledger.codes("SubmitIntents", [routed]) == ["ok"]


def test_a_revoked_key_stays_and_cannot_come_back() -> None:
    ledger = registered()
    body = {"merchant_id": INTENT.merchant_id, "key_id": w.MERCHANT.key_id}
    assert approved(ledger, proposal("r", "merchant_key", action="revoke", **body)) == ["ok"]
    merchant = records.load(Merchant, ledger.state["merchant/M-0001"])
    assert merchant.keys[w.MERCHANT.key_id].status == "revoked"
    again = proposal("a", "merchant_key", **w.key_body(w.MERCHANT, w.MERCHANT_ES256))
    assert approved(ledger, again) == ["key_refused"]
    assert ledger.codes("SubmitIntents", [intent_item(w.MERCHANT_ES256)]) == ["ok"]


def test_a_record_holds_a_bounded_number_of_keys() -> None:
    ledger = registered()
    signers = [w.ed25519_signer(f"more-{number}") for number in range(31)]
    codes = approved(
        ledger,
        *(
            proposal(f"k{number}", "merchant_key", **w.key_body(signer))
            for number, signer in enumerate(signers)
        ),
    )
    assert codes == ["ok"] * 30 + ["key_refused"]


def test_a_new_key_counts_from_its_day_and_the_older_ones_stay() -> None:
    ledger = registered()
    assert approved(ledger, proposal("k", "merchant_key", **w.key_body())) == ["ok"]
    merchant = records.load(Merchant, ledger.state["merchant/M-0001"])
    assert merchant.keys[w.STRANGER.key_id] == records.KeyRecord(
        "Ed25519", w.STRANGER.jwk, "active", "2026-11-24"
    )
    assert merchant.keys[w.MERCHANT.key_id] == records.KeyRecord("Ed25519", w.MERCHANT.jwk)


def test_a_change_of_account_stands_beside_the_first_account() -> None:
    ledger = registered()
    change = proposal("c", "merchant_account", **w.account_body())
    account = proposal("a2", "account", **w.account(w.OTHER_ACCOUNT))
    assert approved(ledger, account, change) == ["ok", "ok"]
    merchant = records.load(Merchant, ledger.state["merchant/M-0001"])
    assert merchant.account_id == w.ACCOUNT
    assert merchant.accounts == [
        {
            "account_id": w.OTHER_ACCOUNT,
            "valid_from": "2026-11-24",
            "signed_at": "2026-11-23T08:00:00.000Z",
            "tx_id": merchant.txs[-1],
        }
    ]


def test_a_bank_revokes_every_key_and_can_add_none() -> None:
    """Who has lost all its keys is registered anew, under another id and other codes."""
    ledger = registered()
    for number, key in enumerate((w.MERCHANT, w.MERCHANT_ES256)):
        body = {"merchant_id": "M-0001", "action": "revoke", "key_id": key.key_id}
        assert approved(ledger, proposal(f"r{number}", "merchant_key", **body)) == ["ok"]
    for signer in (w.MERCHANT, w.BANK, w.STRANGER):
        (code,) = ledger.codes(
            "ProposeRecords", [proposal("k", "merchant_key", **w.key_body(signer=signer))]
        )
        assert code in ("key_revoked", "key_unknown")
    anew = w.merchant("M-0001.2", keys=[w.STRANGER.jwk], codes={"unionpay": ["898310148990009"]})
    assert approved(ledger, proposal("m2", "merchant", **anew)) == ["ok"]


def test_a_suspended_merchant_comes_back() -> None:
    ledger = registered()
    for number, (status, code) in enumerate([("suspended", "merchant_inactive"), ("active", "ok")]):
        body = {"merchant_id": "M-0001", "status": status}
        assert approved(ledger, proposal(f"s{number}", "merchant_status", **body)) == ["ok"]
        assert ledger.codes("SubmitIntents", [intent_item()]) == [code]
