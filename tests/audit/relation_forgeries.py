"""Forgeries of relations: what the account's bank and one more peer could write to have another
entity's money at its customer's account. Each names the check that must find it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from forge import Forge, Tx
from payment_forgeries import Forgery, record, registering, writing, written
from settlement_forgeries import account, granted

from audit.findings import Check

SUPERVISOR = ("Supervisor", "supervisor")
COUNTERSIGNED = {"proposal_id": "q-2", "decision": "approve"}


def key(forge: Forge) -> str:
    return f"relation/{account(forge)}/E-2"


def attesting(forge: Forge, **changed: Any) -> Tx:
    """E-2 is registered, and a relation proposed; the checker's approval is returned."""
    forge.add(registering(forge, "entity", 1, entity_id="E-2", registration_no="R2"))
    body: dict[str, Any] = {
        "account_id": account(forge),
        "owner_id": "E-1",
        "entity_id": "E-2",
        "relationship": "parent",
        "since": "2026-11-24",
        "until": "2027-11-23",
        "document_digest": "d" * 64,
    }
    return registering(forge, "relation", 2, **(body | changed))


def related(forge: Forge) -> None:
    """In force from the next day on."""
    forge.add(attesting(forge))
    forge.add(Tx("CountersignRelations", [COUNTERSIGNED], SUPERVISOR))


def end(forge: Forge, until: str = "2026-11-30") -> Tx:
    item = {"account_id": account(forge), "entity_id": "E-2", "until": until}
    return Tx("EndRelations", [item], SUPERVISOR)


def relation(forge: Forge, **changed: Any) -> dict[str, Any]:
    """The record as the supervisor's countersignature would make it."""
    ahead = forge.copy()
    related(ahead)
    forge.drafts = [*ahead.drafts, *ahead_txs(ahead)]
    made = record(ahead, key(ahead))
    made["terms"][0] |= changed
    return made


def ahead_txs(ahead: Forge) -> list[str]:
    """Whatever forged records call a transaction becomes the forger's own."""
    return [record(ahead, key(ahead))["txs"][-1]]


def _attested_and_in_force_at_once(forge: Forge) -> None:
    """The bank's checker makes the record that is the supervisor's to make."""
    made = relation(forge)
    approval = attesting(forge)
    honest = written(forge, approval)
    forge.add(writing(approval, *honest.items(), (key(forge), made)))


def _countersigned_before_the_checker(forge: Forge) -> None:
    made = relation(forge)
    attesting(forge)
    proposal = record(forge, "proposal/q-2") | {"status": "approved"}
    granted(
        forge,
        Tx("CountersignRelations", [COUNTERSIGNED], SUPERVISOR),
        {"proposal/q-2": proposal, key(forge): made},
    )


def _countersigned_for_longer(forge: Forge) -> None:
    """The supervisor's own signature, and another day than it signed for."""
    forge.add(attesting(forge))
    tx = Tx("CountersignRelations", [COUNTERSIGNED], SUPERVISOR)
    honest = written(forge, tx)
    honest[key(forge)]["terms"][0]["until"] = "2029-11-23"
    forge.add(writing(tx, *honest.items()))


def _an_end_that_is_none(forge: Forge) -> None:
    """Answered as ended; the record stays as it was."""
    related(forge)
    forge.add(dataclasses.replace(end(forge), writes=lambda _: {}))


def _an_end_taken_back(forge: Forge) -> None:
    """The bank's next proposal writes the longer term again."""
    related(forge)
    before = record(forge, key(forge))
    forge.add(end(forge))
    again = registering(forge, "entity", 3, entity_id="E-3", registration_no="R3")
    forge.add(writing(again, *written(forge, again).items(), (key(forge), before)))


def _a_merchant_at_anothers_account(forge: Forge) -> None:
    """Of an entity whose relation is attested and no more."""
    forge.add(attesting(forge))
    approval = registering(
        forge, "merchant", 3, merchant_id="M-0002", entity_id="E-2", codes={"unionpay": ["C2"]}
    )
    sound = forge.copy()
    sound.state["account/" + account(forge)] = (
        json.dumps(record(forge, "account/" + account(forge)) | {"entity_id": "E-2"}).encode(),
        (0, 0),
    )
    honest = written(sound, approval)
    forge.drafts = sound.drafts
    granted(forge, approval, honest)


RELATION_FORGERIES: list[tuple[Forgery, Check]] = [
    (_attested_and_in_force_at_once, Check.RECORD),
    (_countersigned_before_the_checker, Check.RELATION),
    (_countersigned_for_longer, Check.RECORD),
    (_an_end_that_is_none, Check.RECORD),
    (_an_end_taken_back, Check.RECORD),
    (_a_merchant_at_anothers_account, Check.OWNERSHIP),
]
