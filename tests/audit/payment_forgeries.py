"""Forgeries of closes, exceptions, evidence, leases and the register: what two lying peers and a
lying submitter could write together. Each names the check that must find it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from forge import OWN, Forge, Tx
from registrations import registrations

from audit.findings import Check
from clearline import canonical, reports
from clearline.jws import KeySigner
from clearline.statuses import Reason, ReportKind, Status

KEY = "payment/M-0001/O-1/0001"
KEPT = "report/M-0001/O-1/0001/0002"
EVIDENCE = "equivocation/M-0001/O-1/0001/0001"
DECLINED: dict[str, Any] = {"status": Status.DECLINED, "reason": Reason.DO_NOT_HONOR}
REVERSED: dict[str, Any] = {
    "kind": ReportKind.REVERSAL,
    "status": Status.DECLINED,
    "reason": Reason.REVERSED,
}
Forgery = Callable[[Forge], None]


def writing(tx: Tx, *changed: tuple[str, Any]) -> Tx:
    """The transaction with these records, whatever its items come to."""
    forged = {key: canonical.dumps(value) for key, value in changed}
    return dataclasses.replace(tx, writes=lambda _: forged)


def record(forge: Forge, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(forge.state[key][0])
    return found


def written(forge: Forge, tx: Tx) -> dict[str, Any]:
    """What the contract would write."""
    return {key: json.loads(value) for key, value in forge.envelope(tx)[1].items()}


def declined(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(forge.report(**DECLINED))


def late(forge: Forge) -> None:
    declined(forge)
    forge.add(forge.report(sequence=2))


def succeeded(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(forge.report())


def shown(forge: Forge, by: tuple[str, str] = ("Supervisor", "auditor"), **changed: Any) -> Tx:
    """A report shown as evidence against the one on the ledger."""
    return Tx("SubmitEvidence", forge.report(**changed).items, by)


def _closed_by_a_stranger(forge: Forge) -> None:
    forge.add(forge.intent())
    honest = written(forge, forge.close())
    stranger = forge.close(signer=KeySigner.generate())
    honest[KEY]["close"] = stranger.items[0]["intent"]
    forge.add(writing(stranger, *honest.items()))


def _closed_without_a_close(forge: Forge) -> None:
    forge.add(forge.intent())
    honest = written(forge, forge.close())
    forge.add(writing(forge.close("O-2"), *honest.items()))


def _pay_intent_as_a_close(forge: Forge) -> None:
    forge.add(forge.intent())
    honest, pay = written(forge, forge.close()), forge.intent().items[0]["intent"]
    honest[KEY]["close"] = pay
    forge.add(writing(Tx("SubmitIntents", [{"intent": pay}]), *honest.items()))


def _closed_after_the_end(forge: Forge) -> None:
    succeeded(forge)
    close = forge.close()
    value = record(forge, KEY) | {"close": close.items[0]["intent"], "close_tx": "x"}
    forge.add(writing(close, (KEY, value)))


def _closed_for_another_network(forge: Forge) -> None:
    forge.add(forge.intent())
    close = forge.close(network="other")
    value = record(forge, KEY) | {"close": close.items[0]["intent"], "close_tx": "x"}
    forge.add(writing(close, (KEY, value)))


def _close_that_ends(forge: Forge) -> None:
    """A close is a trigger: only the acquirer's answer ends a payment."""
    forge.add(forge.intent())
    honest = written(forge, forge.close())
    honest[KEY]["status"] = "closed"
    forge.add(writing(forge.close(), *honest.items()))


def _closed_twice(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(forge.close())
    again = forge.close(created="2026-11-23T08:21:00.000Z")
    value = record(forge, KEY) | {"close": again.items[0]["intent"]}
    forge.add(writing(again, (KEY, value)))


def _succeeded_after_decline(forge: Forge) -> None:
    """A late success that takes the status with it."""
    declined(forge)
    honest = written(forge, forge.report(sequence=2))
    honest[KEY] |= {"status": "succeeded", "reason": "approved"}
    forge.add(writing(forge.report(sequence=2), *honest.items()))


def _late_success_without_an_exception(forge: Forge) -> None:
    declined(forge)
    honest = written(forge, forge.report(sequence=2))
    honest[KEY]["exceptions"] = []
    forge.add(writing(forge.report(sequence=2), *honest.items()))


def _late_success_whose_text_is_lost(forge: Forge) -> None:
    declined(forge)
    honest = written(forge, forge.report(sequence=2))
    forge.add(writing(forge.report(sequence=2), (KEY, honest[KEY])))


def _kept_text_from_nowhere(forge: Forge) -> None:
    late(forge)
    forge.add(writing(forge.report(sequence=2), (KEPT, record(forge, KEPT))))


def _told_after_the_end(forge: Forge, **changed: Any) -> None:
    said = forge.report(**changed)
    report = reports.parse(said.items[0]).report
    value = record(forge, KEY)
    entry = [report.sequence, report.kind.value, report.status.value, report.digest(), OWN]
    value["reports"].append(entry)
    forge.add(writing(said, (KEY, value)))


def _declined_after_success(forge: Forge) -> None:
    succeeded(forge)
    _told_after_the_end(forge, sequence=2, **DECLINED)


def _reversal_of_nothing(forge: Forge) -> None:
    declined(forge)
    _told_after_the_end(forge, sequence=2, **REVERSED)


def _reversal_with_another_status(forge: Forge) -> None:
    late(forge)
    _told_after_the_end(forge, sequence=3, **REVERSED | {"status": Status.CLOSED})


def _reversal_of_another_amount(forge: Forge) -> None:
    late(forge)
    _told_after_the_end(forge, sequence=3, **REVERSED | {"amount": 1})


def _late_success_of_another_amount_hidden(forge: Forge) -> None:
    """The exception says what was asked, the report what was paid."""
    declined(forge)
    honest = written(forge, forge.report(sequence=2, amount=1))
    honest[KEY]["exceptions"][0]["amount"] = honest[KEY]["amount"]
    forge.add(writing(forge.report(sequence=2, amount=1), *honest.items()))


def _exception_resolved_without_a_reversal(forge: Forge) -> None:
    late(forge)
    value = record(forge, KEY)
    value["exceptions"][0]["status"] = "resolved"
    forge.add(writing(forge.report(sequence=2), (KEY, value)))


def _attempt_over_an_open_exception(forge: Forge) -> None:
    late(forge)
    second = forge.intent(attempt=2)
    resolved = forge.copy()
    resolved.add(resolved.report(sequence=3, **REVERSED))
    forge.add(writing(second, *written(resolved, second).items()))


def _report_under_a_lost_lease(forge: Forge) -> None:
    forge.add(forge.intent())
    honest = written(forge, forge.report())
    forge.add(forge.lease(1))
    forge.add(writing(forge.report(), *honest.items()))


def _contradiction_under_a_lost_lease(forge: Forge) -> None:
    succeeded(forge)
    honest = written(forge, forge.report(**DECLINED))
    forge.add(forge.lease(1))
    forge.add(writing(forge.report(**DECLINED), *honest.items()))


def _lease_out_of_turn(forge: Forge) -> None:
    honest = written(forge, forge.lease(1))["lease/unionpay"]
    forge.add(writing(forge.lease(3), ("lease/unionpay", honest | {"epoch": 3})))


def _lease_by_another_bank(forge: Forge) -> None:
    honest = written(forge, forge.lease(1))["lease/unionpay"]
    forge.add(writing(forge.lease(1, bank="BankTwo"), ("lease/unionpay", honest)))


def _lease_of_another_holder(forge: Forge) -> None:
    honest = written(forge, forge.lease(1))["lease/unionpay"]
    forge.add(writing(forge.lease(1), ("lease/unionpay", honest | {"holder": "b"})))


def _lease_by_a_gateway(forge: Forge) -> None:
    honest = written(forge, forge.lease(1))
    by = dataclasses.replace(forge.lease(1), user=("BankOne", "gateway"))
    forge.add(writing(by, *honest.items()))


def _invented_contradiction(forge: Forge) -> None:
    """The second report is in no argument."""
    succeeded(forge)
    honest = written(forge, shown(forge, **DECLINED))
    forge.add(writing(shown(forge), *honest.items()))


def _a_report_against_itself(forge: Forge) -> None:
    succeeded(forge)
    honest = written(forge, shown(forge, **DECLINED))[EVIDENCE]
    same = shown(forge)
    forge.add(writing(same, (EVIDENCE, honest | {"second": same.items[0]})))


def _evidence_before_the_report(forge: Forge) -> None:
    succeeded(forge)
    key = f"{EVIDENCE[:-1]}2"
    honest = written(forge, shown(forge, **DECLINED))[EVIDENCE]
    early = shown(forge, sequence=2)
    value = honest | {"sequence": 2, "second": early.items[0]}
    forge.add(writing(early, (key, value)))


def _evidence_written_again(forge: Forge) -> None:
    succeeded(forge)
    forge.add(shown(forge, **DECLINED))
    other = shown(forge, **DECLINED | {"reason": Reason.OTHER})
    value = record(forge, EVIDENCE) | {"second": other.items[0]}
    forge.add(writing(other, (EVIDENCE, value)))


def _evidence_by_a_stranger(forge: Forge) -> None:
    succeeded(forge)
    honest = written(forge, shown(forge, **DECLINED))[EVIDENCE]
    stranger = shown(forge, signer=KeySigner.generate(), **DECLINED)
    forge.add(writing(stranger, (EVIDENCE, honest | {"second": stranger.items[0]})))


def _evidence_by_a_maker(forge: Forge) -> None:
    succeeded(forge)
    honest = written(forge, shown(forge, **DECLINED))
    forge.add(writing(shown(forge, ("BankOne", "maker"), **DECLINED), *honest.items()))


def _evidence_with_another_first(forge: Forge) -> None:
    succeeded(forge)
    tx = shown(forge, **DECLINED)
    honest = written(forge, tx)[EVIDENCE]
    forge.add(writing(tx, (EVIDENCE, honest | {"first": tx.items[0]})))


def registering(forge: Forge, kind: str, number: int, **changed: Any) -> Tx:
    """A proposal like the registered one, with these members; its approval is returned."""
    named = {one["kind"]: one["body"] for one in registrations(forge.merchant, forge.acquirer)}
    body = named.get(kind, {}) | changed
    item = {"proposal_id": f"q-{number}", "kind": kind, "body": body}
    forge.add(Tx("ProposeRecords", [item], ("BankOne", "maker")))
    return Tx(
        "DecideRecords",
        [{"proposal_id": f"q-{number}", "decision": "approve"}],
        ("BankOne", "checker"),
    )


def _one_registration_under_two_ids(forge: Forge) -> None:
    other = registering(forge, "entity", 1, entity_id="E-2", registration_no="R2")
    honest = written(forge, other)
    same = registering(forge, "entity", 2, entity_id="E-2", registration_no="r-1")
    honest["proposal/q-2"] = honest.pop("proposal/q-1")
    honest["entity/E-2"]["registration_no"] = "r-1"
    honest.pop("registration/CN/R2")
    forge.add(writing(same, *honest.items()))


def _index_left_out(forge: Forge) -> None:
    approval = registering(forge, "entity", 1, entity_id="E-2", registration_no="R2")
    honest = written(forge, approval)
    del honest["registration/CN/R2"]
    forge.add(writing(approval, *honest.items()))


def _code_by_a_bank_without_the_acquirer(forge: Forge) -> None:
    body = {"merchant_id": "M-0001", "acquirer_id": "unionpay", "code": "77"}
    honest = written(forge, registering(forge, "merchant_code", 1, **body))
    item = {"proposal_id": "q-2", "kind": "merchant_code", "body": body}
    forge.add(Tx("ProposeRecords", [item], ("BankTwo", "maker")))
    del honest["proposal/q-1"]
    honest["proposal/q-2"] = record(forge, "proposal/q-2") | {"status": "approved"}
    decisions = [{"proposal_id": "q-2", "decision": "approve"}]
    forge.add(writing(Tx("DecideRecords", decisions, ("BankTwo", "checker")), *honest.items()))


def _further_code_without_its_index(forge: Forge) -> None:
    body = {"merchant_id": "M-0001", "acquirer_id": "unionpay", "code": "77"}
    approval = registering(forge, "merchant_code", 1, **body)
    honest = written(forge, approval)
    del honest["merchant_code/unionpay/77"]
    forge.add(writing(approval, *honest.items()))


PAYMENT_FORGERIES: list[tuple[Forgery, Check]] = [
    (_closed_by_a_stranger, Check.MERCHANT_SIGNATURE),
    (_closed_without_a_close, Check.RECORD),
    (_pay_intent_as_a_close, Check.FORM),
    (_closed_for_another_network, Check.INTENT),
    (_closed_after_the_end, Check.STATUS),
    (_close_that_ends, Check.RECORD),
    (_closed_twice, Check.RECORD),
    (_succeeded_after_decline, Check.RECORD),
    (_late_success_without_an_exception, Check.RECORD),
    (_late_success_whose_text_is_lost, Check.RECORD),
    (_kept_text_from_nowhere, Check.RECORD),
    (_declined_after_success, Check.STATUS),
    (_reversal_of_nothing, Check.STATUS),
    (_reversal_with_another_status, Check.STATUS),
    (_reversal_of_another_amount, Check.REPORT),
    (_late_success_of_another_amount_hidden, Check.RECORD),
    (_exception_resolved_without_a_reversal, Check.RECORD),
    (_attempt_over_an_open_exception, Check.ATTEMPT),
    (_report_under_a_lost_lease, Check.LEASE),
    (_contradiction_under_a_lost_lease, Check.LEASE),
    (_lease_out_of_turn, Check.LEASE),
    (_lease_by_another_bank, Check.LEASE),
    (_lease_of_another_holder, Check.RECORD),
    (_lease_by_a_gateway, Check.ROLE),
    (_invented_contradiction, Check.EQUIVOCATION),
    (_a_report_against_itself, Check.EQUIVOCATION),
    (_evidence_before_the_report, Check.EQUIVOCATION),
    (_evidence_written_again, Check.EQUIVOCATION),
    (_evidence_by_a_stranger, Check.ACQUIRER_SIGNATURE),
    (_evidence_by_a_maker, Check.ROLE),
    (_evidence_with_another_first, Check.RECORD),
    (_one_registration_under_two_ids, Check.OWNERSHIP),
    (_index_left_out, Check.RECORD),
    (_code_by_a_bank_without_the_acquirer, Check.OWNERSHIP),
    (_further_code_without_its_index, Check.RECORD),
]
