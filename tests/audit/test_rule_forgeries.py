"""A forgery for each rule of the contract: one transaction that writes what the rule refuses.

The rows are the contract's own (tests/chaincode/rules_of_*.py). Of each, two endorsers lie: they
grant what must be refused, refuse or redo what must be taken; and once they answer the truth and
write the lie. The auditor must name what the rule is about, in this transaction; and must find
nothing wrong with what the contract itself decides.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import rule_rows
from contract_world import NOW, USUAL
from forge import NETWORK, Decided, Forge, Tx
from lenient import Lenient, records
from rule_rows import Row
from test_contract_rules import CALLS, GATEWAYS, ROWS

from audit.findings import Check, Finding
from audit.verifier import Verifier
from chaincode.contract.context import Submitter
from clearline.codes import Code

# What the auditor calls a ledger on which a rule with this code was broken, by function.
SIGNED = ("key_unknown", "key_revoked", "signature_invalid")
ALWAYS: dict[Check, tuple[str, ...]] = {
    Check.FORM: ("malformed",),
    Check.CARD_DATA: ("card_data_refused",),
}
NAMES: dict[str, dict[Check, tuple[str, ...]]] = {
    "SubmitIntents": ALWAYS
    | {
        Check.MERCHANT_SIGNATURE: ("merchant_unknown", "key_not_yet_valid", *SIGNED),
        Check.INTENT: (
            *("network_mismatch", "merchant_inactive", "acquirer_not_acceptable", "not_yet_valid"),
            *("acquirer_unknown", "acquirer_inactive", "currency_not_accepted", "expired"),
            "refund_amount_refused",
        ),
        Check.OWNERSHIP: ("merchant_code_mismatch",),
        Check.ATTEMPT: ("already_succeeded", "attempt_out_of_order", "refund_out_of_order"),
        Check.RECORD: ("conflict", "payment_unknown"),
        Check.STATUS: ("already_final", "not_refundable"),
    },
    "SubmitReports": ALWAYS
    | {
        Check.ACQUIRER_SIGNATURE: ("acquirer_unknown", *SIGNED),
        Check.ROLE: ("role_forbidden",),
        Check.REPORT: (
            *("network_mismatch", "payment_unknown", "acquirer_mismatch", "intent_mismatch"),
            *("sequence_gap", "amount_mismatch", "reference_mismatch", "reported_code_mismatch"),
            "refund_unknown",
        ),
        Check.LEASE: ("lease_lost",),
        Check.EQUIVOCATION: ("equivocation",),
        Check.STATUS: ("already_final", "transition_forbidden"),
    },
    "SubmitEvidence": ALWAYS
    | {
        Check.ACQUIRER_SIGNATURE: ("acquirer_unknown", "key_unknown", "signature_invalid"),
        Check.REPORT: (
            *("network_mismatch", "payment_unknown", "acquirer_mismatch", "refund_unknown"),
        ),
        Check.EQUIVOCATION: ("no_contradiction",),
    },
    "TakeLease": ALWAYS | {Check.LEASE: ("acquirer_unknown", "role_forbidden", "lease_taken")},
    "ProposeRecords": ALWAYS
    | {
        Check.KEY: ("key_refused",),
        Check.RECORD: ("conflict", "merchant_unknown"),
        Check.OWNERSHIP: ("role_forbidden",),
        Check.MERCHANT_SIGNATURE: (
            *("network_mismatch", "key_not_yet_valid", "not_yet_valid", "change_too_late"),
            *SIGNED,
        ),
    },
    "DecideRecords": {
        Check.FORM: ("malformed",),
        Check.MAKER_CHECKER: ("proposal_unknown", "same_person", "proposal_decided"),
        Check.OWNERSHIP: (
            *("record_exists", "account_taken", "entity_unknown", "account_unknown"),
            *("merchant_code_taken", "acquirer_unknown", "role_forbidden"),
        ),
        Check.RELATION: ("relation_not_in_force", "relation_unknown"),
        Check.RECORD: ("merchant_unknown", "record_full"),
        Check.KEY: ("key_refused", "key_unknown", "key_revoked"),
        Check.MERCHANT_SIGNATURE: ("change_too_late",),
    },
    "CountersignRelations": ALWAYS
    | {
        Check.ROLE: ("role_forbidden",),
        Check.RELATION: (
            *("proposal_unknown", "not_attested", "proposal_decided", "change_too_late"),
            "record_exists",
        ),
    },
    "EndRelations": ALWAYS
    | {
        Check.ROLE: ("role_forbidden",),
        Check.RELATION: ("relation_unknown", "relation_not_in_force"),
    },
    "SubmitClearing": ALWAYS
    | {
        Check.ACQUIRER_SIGNATURE: ("acquirer_unknown", *SIGNED),
        Check.ROLE: ("role_forbidden",),
        Check.OWNERSHIP: ("merchant_code_mismatch",),
        Check.RECORD: ("conflict",),
        Check.SETTLEMENT: (
            *("network_mismatch", "file_unknown", "settlement_unknown", "settlement_closed"),
        ),
        Check.TOTALS: ("totals_mismatch",),
        Check.PAYEE: ("payee_mismatch", "relation_not_in_force"),
        Check.LINE: ("payment_unknown", "line_unknown", "line_mismatch", "already_settled"),
    },
    "DecideSettlements": ALWAYS
    | {
        Check.ROLE: ("role_forbidden",),
        Check.MAKER_CHECKER: ("same_person",),
        Check.SETTLEMENT: ("settlement_unknown", "settlement_closed"),
        Check.TOTALS: ("totals_mismatch",),
        Check.PAYEE: ("relation_not_in_force",),
    },
    "SubmitRules": ALWAYS
    | {
        Check.ROLE: ("role_forbidden",),
        Check.RECORD: ("conflict",),
        Check.RULE: ("rule_out_of_order", "change_too_late"),
    },
    "SubmitCheckpoints": ALWAYS | {Check.ROLE: ("role_forbidden",), Check.RECORD: ("conflict",)},
}
NAMED = {
    function: {code: check for check, codes in checks.items() for code in codes}
    for function, checks in NAMES.items()
}
# Rows whose code stands for another rule of the function than most.
EXCEPT = {
    "rejected after it was attested": Check.MAKER_CHECKER,
    "e its first day has come": Check.RELATION,
    "f a term that overlaps": Check.RELATION,
    "g once too often": Check.RELATION,
    "end 6 by its bank for days gone by": Check.RELATION,
    "3 another bank's": Check.MAKER_CHECKER,
    "key of no acquirer": Check.RECORD,
    "another bank approves": Check.MAKER_CHECKER,
    "new key, signer revoked since": Check.MERCHANT_SIGNATURE,
    "account signed before the last": Check.RECORD,
    "account for a day before the last's": Check.RECORD,
    "16 another maker": Check.MAKER_CHECKER,
    "3 another bank decides": Check.ROLE,
    "7 of another kind": Check.RULE,
}
CALL_CHECKS = {
    "function_unknown": Check.CALL,
    "malformed": Check.CALL,
    "batch_too_large": Check.CALL,
    "role_forbidden": Check.ROLE,
    "card_data_refused": Check.CARD_DATA,
}
# What a record is called that is written for an item that was taken before.
AGAIN = {
    "CountersignRelations": Check.RELATION,
    "EndRelations": Check.RELATION,
    "SubmitEvidence": Check.EQUIVOCATION,
    "TakeLease": Check.LEASE,
    "DecideRecords": Check.MAKER_CHECKER,
}
TAKEN = ("ok", "late_success", "duplicate")
# Rows whose item writes the very record that is forged: it differs, and by this member.
WRITTEN = {"refund 13 another with its number": "contradictions"}


@dataclasses.dataclass
class Channel:
    """Blocks up to a row's ledger, and a verifier that has taken them."""

    forge: Forge
    verifier: Verifier

    def judge(self, tx: Tx) -> Finding | None:
        """The finding about a block of this transaction, which is then taken away again."""
        ahead = self.forge.copy()
        ahead.add(tx)
        return self.verifier.take(ahead.blocks[-1])

    def accept(self, tx: Tx) -> Finding | None:
        """The finding about it, which stays."""
        self.forge.add(tx)
        return self.verifier.take(self.forge.blocks[-1])


@pytest.fixture(scope="session")
def channels() -> dict[str, Channel]:
    """By what happened before: a row that changes nothing leaves its channel to the next."""
    return {}


def channel_of(row: Row, blank: Forge, channels: dict[str, Channel]) -> Channel:
    ledger = row.given()
    known = channels.pop(repr(ledger.calls), None)
    if known is None:
        forge = blank.copy()
        for call in ledger.calls:
            user = forge.actor(call.submitter)
            forge.add(Tx(call.name, call.items, user, time=call.at))
        known = Channel(forge, Verifier(NETWORK, "clearline"))
        assert [known.verifier.take(raw) for raw in forge.blocks] == [None] * len(forge.blocks)
    if row.code not in ("ok", "late_success") and not row.writes:
        channels[repr(ledger.calls)] = known
    return known


def granted(forge: Forge, function: str, item: object, who: Submitter) -> Tx:
    """The transaction with everything as if the item had been in order."""
    user = forge.actor(who)
    signer = forge.actors[user]

    def lie(tx_id: str, honest: Decided) -> Decided:
        made = Lenient(records(forge.state), tx_id, signer.msp_id, who.person)
        return replace(made.effect(function, item), reads=honest.reads)

    return Tx(function, [item], user, time=NOW, lie=lie)


def written_only(tx: Tx) -> Tx:
    """The same writes under a true answer."""
    whole = tx.lie
    assert whole is not None

    def lie(tx_id: str, honest: Decided) -> Decided:
        return replace(honest, writes=whole(tx_id, honest).writes)

    return replace(tx, lie=lie)


def withheld(tx: Tx) -> Tx:
    """What is to be taken is called a conflict, and nothing is written."""

    def lie(tx_id: str, honest: Decided) -> Decided:
        said = [honest.answer[0] | {"code": "conflict", "tx_id": ""}]
        return replace(honest, writes={}, answer=said, event=b"")

    return replace(tx, lie=lie)


def expected(row: Row) -> Check:
    """What a ledger is called on which this row's rule was broken."""
    if row.code in TAKEN:
        return Check.OUTCOME
    return EXCEPT.get(row.rule) or NAMED[row.function][row.code]


def assert_named(finding: Finding | None, channel: Channel, check: Check, code: str) -> None:
    assert finding is not None, "taken as right"
    assert (finding.check, finding.transaction) == (check, 0), str(finding)
    assert finding.block == channel.verifier.totals.blocks
    assert code in finding.detail, str(finding)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.function} {row.rule}: {row.code}")
def test_a_broken_rule_is_named(row: Row, blank: Forge, channels: dict[str, Channel]) -> None:
    channel = channel_of(row, blank, channels)
    who = row.submitter or USUAL[row.function]
    lie = replace(granted(channel.forge, row.function, row.item, who), time=NOW + row.after)
    check = expected(row)
    if row.code in ("ok", "late_success"):
        assert_named(channel.judge(withheld(lie)), channel, check, row.code)
    else:
        assert_named(channel.judge(lie), channel, check, row.code)
        beside = AGAIN.get(row.function, Check.RECORD) if row.code == "duplicate" else check
        member = WRITTEN.get(row.rule)
        beside = beside if member is None else Check.RECORD
        assert_named(channel.judge(written_only(lie)), channel, beside, member or row.code)
    if row.code != Code.CARD_DATA_REFUSED:  # such a call can't be honest and on the ledger
        finding = channel.accept(replace(lie, lie=None))
        assert finding is None, str(finding)


@pytest.mark.parametrize(
    ("code", "name", "argument", "submitter"),
    [call[1:] for call in CALLS],
    ids=[call[0] for call in CALLS],
)
def test_a_call_that_must_be_refused_is_named(
    code: str, name: str, argument: bytes, submitter: Submitter, registered: Forge
) -> None:
    """Whole calls, taken and with an effect."""
    forge = registered.copy()
    made = forge.envelope(forge.intent())[1]
    user = forge.actor(submitter)
    forge.add(Tx(name, [], user, argument=argument, writes=lambda _: made))
    verifier = Verifier(NETWORK, "clearline")
    (finding,) = [one for raw in forge.blocks if (one := verifier.take(raw)) is not None]
    # How a read is asked is no rule of the ledger's: nothing may be written by one.
    reads = name.startswith(("Get", "List")) and code == "malformed"
    assert finding.check is (Check.RECORD if reads else CALL_CHECKS[code]), str(finding)
    assert reads or code in finding.detail


def test_every_code_of_the_contract_has_its_forgery() -> None:
    forged = {row.code for row in ROWS} | {call[1] for call in CALLS}
    assert {code.value for code in Code} - GATEWAYS == forged


def test_no_row_lacks_its_forgery() -> None:
    """Every file of rows is among those that are forged above."""
    forged = {id(row) for row in ROWS}
    files = sorted(Path(rule_rows.__file__).parent.glob("rules_of_*.py"))
    for path in files:
        lists = [one for one in vars(import_module(path.stem)).values() if isinstance(one, list)]
        rows = [row for one in lists for row in one if isinstance(row, Row)]
        assert rows, path.stem
        assert {id(row) for row in rows} <= forged, path.stem
    assert len(files) > 3


def test_no_exception_is_stale() -> None:
    assert set(EXCEPT) <= {row.rule for row in ROWS}
    for function, checks in NAMED.items():
        assert set(checks) == {
            row.code for row in ROWS if row.function == function and row.code not in TAKEN
        }, function
