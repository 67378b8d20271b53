"""Forgeries of calls, answers and events: records may be right, and what was said of them wrong."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from forge import Answer, Forge, Tx
from payment_forgeries import DECLINED, KEY, Forgery, registering, succeeded, written

from audit.findings import Check
from clearline import canonical
from clearline.jws import KeySigner

PAN = "4111111111111111"


def answering(tx: Tx, **changed: Any) -> Tx:
    """The transaction, with these members in the first item's answer."""

    def lie(answer: Answer) -> Answer:
        return [answer[0] | changed, *answer[1:]]

    return dataclasses.replace(tx, answer=lie)


def _refused_without_a_reason(forge: Forge) -> None:
    """A sound request that the endorsers call another one's: the merchant is told a lie."""
    lie = answering(forge.intent(), code="conflict", tx_id="", detail="another intent has this key")
    forge.add(dataclasses.replace(lie, writes=lambda _: {}, event=b""))


def _answered_as_taken(forge: Forge) -> None:
    forge.add(answering(forge.intent(signer=KeySigner.generate()), code="ok", status="requested"))


def _answered_with_another_status(forge: Forge) -> None:
    forge.add(forge.intent())
    forge.add(answering(forge.report(**DECLINED), status="succeeded"))


def _answered_for_another_payment(forge: Forge) -> None:
    forge.add(answering(forge.intent(), key=["M-0001", "O-2", 1]))


def _duplicate_of_another_transaction(forge: Forge) -> None:
    succeeded(forge)
    forge.add(answering(forge.report(), tx_id="00" * 32))


def _no_answer(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), answer=lambda _: []))


def _an_answer_of_another_form(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), answer=lambda _: ["ok"]))


def _an_answer_that_is_no_json_of_ours(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), answer=lambda _: [float("nan")]))


def _a_card_number_in_the_answer(forge: Forge) -> None:
    refused = forge.intent(signer=KeySigner.generate())
    forge.add(answering(refused, detail=f"no key {PAN}"))


def _a_failure_that_was_none(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), status=500, writes=lambda _: {}, event=b""))


def _an_event_of_another_status(forge: Forge) -> None:
    forge.add(forge.intent())
    told = json.dumps([["payment", "M-0001", "O-1", 1, "succeeded"]], separators=(",", ":"))
    forge.add(dataclasses.replace(forge.report(**DECLINED), event=told.encode()))


def _no_event(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), event=b""))


def _an_event_of_nothing(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.lease(1), event=b"[]"))


def _another_spelling(forge: Forge) -> None:
    """The same record with its members in another order."""
    honest = written(forge, forge.intent())[KEY]

    def spelt(writes: dict[str, bytes]) -> dict[str, bytes]:
        return {KEY: json.dumps(dict(reversed(json.loads(writes[KEY]).items()))).encode()}

    assert honest
    forge.add(dataclasses.replace(forge.intent(), writes=spelt))


def _an_empty_call(forge: Forge) -> None:
    forge.add(Tx("SubmitReports", [], ("BankOne", "connector")))


def _an_argument_that_is_none(forge: Forge) -> None:
    forge.add(dataclasses.replace(forge.intent(), argument=b"["))


def _a_card_number_refused(forge: Forge) -> None:
    """The call is refused, and the number stands on the ledger all the same."""
    forge.add(dataclasses.replace(forge.intent(store=PAN), status=400))


def _a_read_that_writes(forge: Forge) -> None:
    made = forge.envelope(forge.intent())[1]
    forge.add(Tx("GetPayments", [["M-0001", "O-1", 1]], writes=lambda _: made))


def _a_revoked_key_is_active_again(forge: Forge) -> None:
    change = {"acquirer_id": "unionpay", "key_id": forge.acquirer.key_id}
    forge.add(registering(forge, "acquirer_key", 1, **change, action="revoke"))
    again = registering(forge, "acquirer_key", 2, **change, action="add", jwk=forge.acquirer.jwk)
    record = json.loads(forge.state["acquirer/unionpay"][0])
    record["keys"][forge.acquirer.key_id]["status"] = "active"
    forged = {"acquirer/unionpay": canonical.dumps(record)}
    forge.add(dataclasses.replace(again, writes=lambda _: forged))


ANSWER_FORGERIES: list[tuple[Forgery, Check]] = [
    (_refused_without_a_reason, Check.OUTCOME),
    (_answered_as_taken, Check.MERCHANT_SIGNATURE),
    (_answered_with_another_status, Check.OUTCOME),
    (_answered_for_another_payment, Check.OUTCOME),
    (_duplicate_of_another_transaction, Check.OUTCOME),
    (_no_answer, Check.OUTCOME),
    (_an_answer_of_another_form, Check.OUTCOME),
    (_an_answer_that_is_no_json_of_ours, Check.OUTCOME),
    (_a_failure_that_was_none, Check.OUTCOME),
    (_a_card_number_in_the_answer, Check.CARD_DATA),
    (_a_card_number_refused, Check.CARD_DATA),
    (_an_event_of_another_status, Check.EVENT),
    (_no_event, Check.EVENT),
    (_an_event_of_nothing, Check.EVENT),
    (_another_spelling, Check.RECORD),
    (_a_read_that_writes, Check.RECORD),
    (_an_empty_call, Check.CALL),
    (_an_argument_that_is_none, Check.CALL),
    (_a_revoked_key_is_active_again, Check.KEY),
]
