"""The auditor's model of settlements: each object once, totals, payee, what is carried forward.

A settlement's parts are taken while it is open; with the last one it must come to what its header
says, and that to what the acquirer's file says. A checker, who is not its maker, states it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from audit import cards
from audit.clearing_forms import VERDICT
from audit.draft import Draft, Outcome, Record, Refused
from audit.findings import Check
from audit.jose import Signed, digest, read
from audit.relations import check_payee, check_still
from clearline.codes import Code

_REPORT: Final = "clearline-report+jws"
_SUMS: Final = ("lines", "payments", "refunds", "fees", "adjustments")
_HEADER: Final = (
    *("acquirer_id", "merchant_id", "merchant_code", "currency", "clearing_date", "run"),
    *("file_digest", "account_id", *_SUMS, "carried", "net", "parts"),
)


def place_of(said: Record) -> str:
    """An account of clearing: acquirer, merchant code, currency, clearing date."""
    names = ("acquirer_id", "merchant_code", "currency", "clearing_date")
    return "/".join(said[name] for name in names)


def statement_of(place: str) -> str:
    """The ledger key of the merchant's statement at an account of clearing."""
    return f"statement/{place.rpartition('/')[0]}"


@dataclass(frozen=True)
class Cleared:
    """An item of SubmitClearing: the signed text, taken apart."""

    compact: str
    token: Signed

    @property
    def said(self) -> Record:
        """What the bank signed."""
        return self.token.payload

    @property
    def settlement_id(self) -> str:
        """The settlement that a part or payout is of."""
        return f"{place_of(self.said)}/{self.said['run']:02d}"

    @property
    def settlement(self) -> str:
        """Its ledger key."""
        return f"settlement/{self.settlement_id}"

    @property
    def record(self) -> str:
        """The ledger key of the record that keeps the text; a payout's is its settlement's."""
        said = self.said
        if said["kind"] == "acquirer_file":
            return f"acquirer_file/{place_of(said)}"
        if said["kind"] == "adjustment":
            return f"adjustment/{said['acquirer_id']}/{said['reference']}"
        if said["kind"] == "payout":
            return self.settlement
        return f"settlement_part/{self.settlement_id}/{said['part']:04d}"

    @property
    def name(self) -> tuple[str | int, ...]:
        """Kind and id of that record."""
        kind, _, name = self.record.partition("/")
        return (kind, name)

    @property
    def place(self) -> str:
        """A refusal tells no status."""
        return ""

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The records it can make or change."""
        said = self.said
        if said["kind"] == "payout":
            return (self.record, statement_of(place_of(said)))
        if said["kind"] != "settlement":
            return (self.record,)
        return (self.record, self.settlement, *map(self.line, said["entries"]))

    def line(self, entry: list[Any]) -> str:
        """The ledger key of what a line is about; a fee's is what it is taken for."""
        if entry[0] == "adjustment":
            return f"adjustment/{self.said['acquirer_id']}/{entry[1]}"
        payment = f"{self.said['merchant_id']}/{entry[1]}/{entry[2]:04d}"
        if entry[0] == "refund":
            return f"refund/{payment}/{entry[3]:04d}"
        return f"payment/{payment}"


def part_before(cleared: Cleared, draft: Draft) -> tuple[str, str] | None:
    """The transaction that took this very part, and its settlement's status now."""
    part, settlement = draft.get(cleared.record), draft.get(cleared.settlement)
    if part is None or settlement is None or part["digest"] != digest(cleared.said):
        return None
    return part["txs"][0], settlement["status"]


def take_part(cleared: Cleared, draft: Draft) -> str:
    """The settlement's status after this part. Raises Refused."""
    said = cleared.said
    if draft.get(cleared.record) is not None:
        raise Refused(Code.CONFLICT, Check.RECORD, f"another part {said['part']} is on the ledger")
    _check_file(said, draft)
    _check_carried(place_of(said), said["carried"], draft)
    check_payee(said, draft)
    header = _header(cleared, draft)
    lines = _lines(cleared, draft)
    counted = [
        one + more for one, more in zip(header["counted"], _sums(said["entries"]), strict=True)
    ]
    last = header["taken"] + 1 == header["parts"]
    if last and counted != [said[name] for name in _SUMS]:
        raise Refused(Code.TOTALS_MISMATCH, Check.TOTALS, f"all lines come to {counted}")
    changed = {"counted": counted, "taken": header["taken"] + 1}
    status = "proposed" if last else "open"
    draft.made[cleared.settlement] = draft.touched(header, status=status, **changed)
    draft.made |= lines
    draft.made[cleared.record] = {
        "type": "settlement_part",
        "settlement": cleared.settlement_id,
        "part": said["part"],
        "text": cleared.compact,
        "digest": digest(said),
        "txs": [draft.invocation.tx_id],
    }
    return status


def _sums(entries: list[list[Any]]) -> list[int]:
    """Lines, payments, refunds, fees, adjustments."""
    kinds = ("payment", "refund", "fee", "adjustment")
    sums = [sum(entry[4] for entry in entries if entry[0] == kind) for kind in kinds]
    return [len(entries), *sums]


def _check_file(said: Record, draft: Draft) -> None:
    file = draft.get(f"acquirer_file/{place_of(said)}")
    if file is None or file["file_digest"] != said["file_digest"]:
        raise Refused(Code.FILE_UNKNOWN, Check.SETTLEMENT, "the acquirer's file is another")
    if any(said[name] != file[name] for name in _SUMS):
        raise Refused(Code.TOTALS_MISMATCH, Check.TOTALS, "the totals are not the file's")
    come_in = said["payments"] + said["adjustments"] + said["carried"]
    if said["net"] != come_in - said["refunds"] - said["fees"]:
        raise Refused(Code.TOTALS_MISMATCH, Check.TOTALS, f"the net is not {said['net']}")


def _check_carried(place: str, carried: int, draft: Draft) -> None:
    statement = draft.get(statement_of(place))
    due = 0 if statement is None else statement["carried"]
    if carried != due:
        raise Refused(
            Code.TOTALS_MISMATCH, Check.TOTALS, f"{carried} is carried where {due} is due"
        )


def _check_day(place: str, draft: Draft) -> None:
    statement, day = draft.get(statement_of(place)), place.rpartition("/")[2]
    if statement is not None and statement["through"] >= day:
        raise Refused(
            Code.SETTLEMENT_CLOSED, Check.SETTLEMENT, f"{statement['through']} is settled already"
        )


def _header(cleared: Cleared, draft: Draft) -> Record:
    """The settlement as it is before this part. Raises Refused."""
    said, who = cleared.said, draft.invocation.submitter
    _check_day(place_of(said), draft)
    signed = digest({name: one for name, one in said.items() if name not in ("part", "entries")})
    before = draft.get(cleared.settlement)
    if before is not None:
        if before["status"] != "open":
            raise Refused(
                Code.SETTLEMENT_CLOSED,
                Check.SETTLEMENT,
                f"a part of one that is {before['status']}",
            )
        if before["header_digest"] != signed:
            raise Refused(Code.CONFLICT, Check.RECORD, "another part has another header")
        if before["maker"] != who.person:
            raise Refused(Code.ROLE_FORBIDDEN, Check.MAKER_CHECKER, "another maker has begun it")
        return before
    if said["run"] > 1:
        last = draft.get(f"settlement/{place_of(said)}/{said['run'] - 1:02d}")
        if last is None or last["status"] != "rejected":
            raise Refused(
                Code.SETTLEMENT_CLOSED, Check.SETTLEMENT, "the run before was not rejected"
            )
    return {name: said[name] for name in _HEADER} | {
        "type": "settlement",
        "status": "open",
        "header_digest": signed,
        "msp_id": who.msp_id,
        "maker": who.person,
        "taken": 0,
        "counted": [0] * 5,
        "checker": "",
        "payout": "",
        "txs": [],
    }


def _lines(cleared: Cleared, draft: Draft) -> dict[str, Record]:
    """What the lines are about, in this settlement from now on. Raises Refused."""
    found: dict[str, Record] = {}
    place, name = place_of(cleared.said), cleared.settlement_id
    for index, entry in enumerate(cleared.said["entries"]):
        if entry[0] == "fee":
            continue
        key = cleared.line(entry)
        line = _line(cleared.said, entry, key, f"line {index}", draft)
        # An earlier run of this day was rejected, and its lines are free.
        free = line["settlement"] in ("", name) or line["settlement"].startswith(f"{place}/")
        if key in found or line["settlement"] == name or not free:
            raise Refused(Code.ALREADY_SETTLED, Check.LINE, f"line {index} is settled already")
        found[key] = draft.touched(line, settlement=name)
    return found


def _line(said: Record, entry: list[Any], key: str, where: str, draft: Draft) -> Record:
    there = draft.get(key)
    if there is None:
        raise Refused(Code.LINE_UNKNOWN, Check.LINE, f"{where}: the ledger holds no such thing")
    if entry[0] in ("payment", "refund"):
        if not came_in(there, said):
            raise Refused(Code.LINE_UNKNOWN, Check.LINE, f"{where}: no money moved there by it")
        signed = read(there["result"], _REPORT).payload["clearing_date"]
        day = signed or said["clearing_date"]
    else:
        if there["merchant_code"] != said["merchant_code"]:
            raise Refused(Code.LINE_UNKNOWN, Check.LINE, f"{where}: it is of another code")
        day = there["clearing_date"]
    if (there["amount"], there["currency"], day) != (
        entry[4],
        said["currency"],
        said["clearing_date"],
    ):
        raise Refused(Code.LINE_MISMATCH, Check.LINE, f"{where} is not as the ledger has it")
    return there


def came_in(payment: Record, said: Record) -> bool:
    """Whether a payment succeeded at that acquirer and code."""
    there = [payment[name] for name in ("status", "acquirer_id", "merchant_code")]
    return there == ["succeeded", said["acquirer_id"], said["merchant_code"]]


@dataclass(frozen=True)
class Verdict:
    """An item of DecideSettlements."""

    settlement: str
    decision: str

    @property
    def name(self) -> tuple[str | int, ...]:
        """What names the settlement."""
        return ("settlement", self.settlement)

    @property
    def place(self) -> str:
        """Its ledger key."""
        return f"settlement/{self.settlement}"

    @property
    def speaks_of(self) -> tuple[str, ...]:
        """The records it can make or change."""
        return (self.place, statement_of(self.settlement.rpartition("/")[0]))


def parse_verdict(item: Any) -> Verdict:
    """Form and cards. Raises Refused."""
    fault = VERDICT.fault(item)
    if fault is not None:
        raise Refused(Code.MALFORMED, Check.FORM, fault)
    if any(map(cards.held, item["settlement"].split("/"))):
        raise Refused(Code.CARD_DATA_REFUSED, Check.CARD_DATA, "it looks like a card number")
    return Verdict(**item)


def decide(verdict: Verdict, draft: Draft) -> Outcome:
    """What the contract must answer; what follows goes into the draft. Raises Refused."""
    settlement, who = draft.get(verdict.place), draft.invocation.submitter
    if settlement is None:
        raise Refused(Code.SETTLEMENT_UNKNOWN, Check.SETTLEMENT, "there is no such settlement")
    if settlement["msp_id"] != who.msp_id:
        raise Refused(Code.ROLE_FORBIDDEN, Check.ROLE, "the submitter is not the acquirer's bank")
    if settlement["maker"] == who.person:
        raise Refused(Code.SAME_PERSON, Check.MAKER_CHECKER, "its maker decided it")
    status, approves = settlement["status"], verdict.decision == "approve"
    decided = {True: ("stated", "carried", "paid", "returned"), False: ("rejected",)}
    if status in decided[approves] and settlement["checker"] == who.person:
        return Outcome(
            Code.DUPLICATE, Check.RECORD, verdict.name, status, settlement["txs"][-1],
            "it was decided so already", verdict.speaks_of,
        )  # fmt: skip
    if status not in (("proposed",) if approves else ("open", "proposed")):
        raise Refused(Code.SETTLEMENT_CLOSED, Check.SETTLEMENT, f"one that is {status} was decided")
    after = "rejected"
    if approves:
        after = _state(settlement, draft)
    changed = draft.touched(settlement, status=after, checker=who.person)
    draft.made[verdict.place] = changed
    return Outcome(Code.OK, Check.OUTCOME, verdict.name, after, draft.invocation.tx_id)


def _state(settlement: Record, draft: Draft) -> str:
    """Its status once stated; what can't be paid goes on in the statement. Raises Refused."""
    place = place_of(settlement)
    _check_day(place, draft)
    _check_carried(place, settlement["carried"], draft)
    check_still(settlement, draft)
    key, net = statement_of(place), settlement["net"]
    before = draft.get(key) or {"txs": []}
    names = ("acquirer_id", "merchant_id", "merchant_code", "currency")
    draft.made[key] = {name: settlement[name] for name in names} | {
        "type": "statement",
        "carried": min(net, 0),
        "through": settlement["clearing_date"],
        "settlement": f"{place}/{settlement['run']:02d}",
        "txs": [*before["txs"], draft.invocation.tx_id],
    }
    return "stated" if net > 0 else "carried"
