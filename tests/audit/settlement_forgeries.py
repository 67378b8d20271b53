"""Forgeries of settlements: what a bank's maker, its signing key and two lying peers could write
together. Each names the check that must find it."""

from __future__ import annotations

import dataclasses
from typing import Any

from forge import Answer, Forge, Tx
from payment_forgeries import KEY, Forgery, succeeded, written
from registrations import registrations
from rules_of_clearing import ADJUSTMENT, CHARGEBACK, FEE, FILING, PAID, PART, PAYOUT, TAKEN_FEE
from samples import INTENT

from audit.findings import Check
from clearline import canonical, clearing
from clearline.clearing import Cleared, Entry

MAKER, CHECKER = ("BankOne", "maker"), ("BankOne", "checker")
OURS = (PAID._replace(name="O-1"), TAKEN_FEE._replace(name="O-1"))
SETTLEMENT = "settlement/unionpay/898310148990001/CNY/2026-11-23/01"
NAME = SETTLEMENT.partition("/")[2]
STATEMENT = "statement/unionpay/898310148990001/CNY"


def account(forge: Forge) -> str:
    """The merchant's, as it was registered."""
    (found,) = (
        one["body"]["account_id"]
        for one in registrations(forge.merchant, forge.acquirer)
        if one["kind"] == "merchant"
    )
    return str(found)


def carried(forge: Forge, of: Cleared, **changed: Any) -> Tx:
    """What the bank signed, carried by its maker."""
    usual: dict[str, Any] = {"account_id": account(forge)} if hasattr(of, "account_id") else {}
    if of is PART:
        usual["entries"] = OURS
    said: Any = dataclasses.replace(of, **(usual | changed))
    return Tx("SubmitClearing", [clearing.sign(said, forge.acquirer)], MAKER)


def decided(decision: str = "approve", run: int = 1) -> Tx:
    name = NAME.replace("/01", f"/{run:02d}")
    return Tx("DecideSettlements", [{"settlement": name, "decision": decision}], CHECKER)


def filed(forge: Forge, **changed: Any) -> None:
    succeeded(forge)
    forge.add(carried(forge, FILING, **changed))


def stated(forge: Forge) -> None:
    filed(forge)
    forge.add(carried(forge, PART))
    forge.add(decided())


def granted(forge: Forge, tx: Tx, writes: dict[str, Any]) -> None:
    """The call with these records, answered as if it had been taken."""
    forged = {key: canonical.dumps(value) for key, value in writes.items()}

    def answer(honest: Answer) -> Answer:
        return [one | {"code": "ok", "status": "proposed"} for one in honest]

    forge.add(dataclasses.replace(tx, writes=lambda _: forged, answer=answer))


def _part(forge: Forge, **changed: Any) -> None:
    """A part that the bank signed and no contract would take, with everything that would follow."""
    sound = forge.copy()
    del sound.state[f"acquirer_file/{NAME.rpartition('/')[0]}"]
    sound.add(carried(sound, FILING))
    honest = written(sound, carried(sound, PART))
    forge.drafts = sound.drafts
    tx = carried(forge, PART, **changed)
    members = {name: one for name, one in changed.items() if name in honest[SETTLEMENT]}
    text = next(key for key in honest if key.startswith("settlement_part/"))
    honest[SETTLEMENT] |= members
    honest[text]["text"] = tx.items[0]
    granted(forge, tx, honest)


def _another_payee(forge: Forge) -> None:
    filed(forge)
    _part(forge, account_id="e" * 64)


def _a_line_twice(forge: Forge) -> None:
    totals = {"lines": 4, "payments": 2 * INTENT.amount, "fees": 2 * FEE}
    filed(forge, **totals)
    _part(forge, **totals, net=2 * PART.net, entries=OURS * 2)


def _a_line_of_another_merchant(forge: Forge) -> None:
    filed(forge)
    theirs = OURS[0]._replace(name="O-7")
    honest = written(forge, carried(forge, PART))
    tx = carried(forge, PART, entries=(theirs, OURS[1]._replace(name="O-7")))
    honest["payment/M-0002/O-7/0001"] = honest.pop(KEY) | {"merchant_id": "M-0002"}
    granted(forge, tx, honest)


def _a_wrong_net(forge: Forge) -> None:
    filed(forge)
    _part(forge, net=PART.net - 100)


def _a_wrong_net_on_record_only(forge: Forge) -> None:
    filed(forge)
    tx = carried(forge, PART)
    honest = written(forge, tx)
    honest[SETTLEMENT]["net"] -= 100
    forged = {key: canonical.dumps(value) for key, value in honest.items()}
    forge.add(dataclasses.replace(tx, writes=lambda _: forged))


def _another_file(forge: Forge) -> None:
    filed(forge)
    _part(forge, file_digest="0" * 64)


def _fees_that_are_not_the_files(forge: Forge) -> None:
    filed(forge)
    lines = (OURS[0], OURS[1]._replace(amount=FEE + 100))
    _part(forge, fees=FEE + 100, net=PART.net - 100, entries=lines)


def _a_payment_that_was_declined(forge: Forge) -> None:
    filed(forge)
    _part(forge, entries=tuple(line._replace(attempt=2) for line in OURS))


def _settled_again(forge: Forge) -> None:
    stated(forge)
    again = carried(forge, PART, run=2)
    writes = {SETTLEMENT.replace("/01", "/02"): {"type": "settlement"}}
    granted(forge, again, writes)


def _carried_is_forgotten(forge: Forge) -> None:
    """What the merchant owes is gone from its statement."""
    filed(forge, lines=3, adjustments=CHARGEBACK)
    forge.add(carried(forge, ADJUSTMENT, order_no=None, attempt=None))
    totals = {"lines": 3, "adjustments": CHARGEBACK, "net": PART.net + CHARGEBACK}
    back = Entry("adjustment", "CB-1", 0, 0, CHARGEBACK)
    forge.add(carried(forge, PART, **totals, entries=(*OURS, back)))
    honest = written(forge, decided())
    honest[STATEMENT]["carried"] = 0
    forged = {key: canonical.dumps(value) for key, value in honest.items()}
    forge.add(dataclasses.replace(decided(), writes=lambda _: forged))


def _paid_to_somebody_else(forge: Forge) -> None:
    stated(forge)
    honest = written(forge, carried(forge, PAYOUT))
    tx = carried(forge, PAYOUT, account_id="e" * 64)
    honest[SETTLEMENT]["payout"] = tx.items[0]
    granted(forge, tx, honest)


def _stated_by_its_maker(forge: Forge) -> None:
    """The maker's person with a checker's certificate."""
    filed(forge)
    forge.add(carried(forge, PART))
    honest = written(forge, decided())
    forge.add(
        dataclasses.replace(
            decided(),
            user=MAKER,
            writes=lambda _: {key: canonical.dumps(value) for key, value in honest.items()},
        )
    )


SETTLEMENT_FORGERIES: list[tuple[Forgery, Check]] = [
    (_another_payee, Check.PAYEE),
    (_a_line_twice, Check.LINE),
    (_a_line_of_another_merchant, Check.LINE),
    (_a_payment_that_was_declined, Check.LINE),
    (_a_wrong_net, Check.TOTALS),
    (_a_wrong_net_on_record_only, Check.RECORD),
    (_fees_that_are_not_the_files, Check.TOTALS),
    (_another_file, Check.SETTLEMENT),
    (_settled_again, Check.SETTLEMENT),
    (_carried_is_forgotten, Check.RECORD),
    (_paid_to_somebody_else, Check.PAYEE),
    (_stated_by_its_maker, Check.ROLE),
]
