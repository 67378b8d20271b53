"""Relations at the desk: proposing one, listing them, and whom a clearing date is settled to."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bank_world import Chain, FakeContract
from click.testing import CliRunner, Result
from test_bank_documents import BODIES, CARD

from bank import cli_relations
from bank.desk import DeskError
from bank.documents import DocumentError, draft
from bank.payees import payee
from clearline import canonical
from clearline.cli import cli
from clearline.records import Account, Merchant, dump
from clearline.relations import Relation

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
SOUND = {
    "--account": A, "--owner": "E-1", "--entity": "E-2", "--as": "licensed_agent",
    "--since": "2026-12-01", "--until": "2027-11-30", "--licence-no": "L-7",
}  # fmt: skip


def relate(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, document: Path, **changed: str | None
) -> Result:
    """`clearline bank relate` with these options in place of sound ones."""

    @asynccontextmanager
    async def fake(path: Path) -> AsyncIterator[FakeContract]:
        yield chain.as_(path.stem)

    monkeypatch.setattr("bank.cli_relations.connected", fake)
    said = SOUND | {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    words = [word for name, value in said.items() if value is not None for word in (name, value)]
    words += ["--document", str(document), "--profile", "maker.json"]
    return CliRunner().invoke(cli, ["bank", "relate", *words])


def test_relate_proposes_the_documents_digest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chain, document = Chain(), tmp_path / "d.pdf"
    document.write_bytes(b"who is whose agent")
    done = relate(chain, monkeypatch, document)
    assert done.exit_code == 0, done.output
    (made,) = chain.proposals.values()
    assert made.kind == "relation"
    assert made.body == {
        "account_id": A, "owner_id": "E-1", "entity_id": "E-2", "relationship": "licensed_agent",
        "since": "2026-12-01", "until": "2027-11-30", "licence_no": "L-7",
        "document_digest": hashlib.sha256(b"who is whose agent").hexdigest(),
    }  # fmt: skip
    again = relate(chain, monkeypatch, document)
    assert again.exit_code == 0 and ": duplicate" in again.stdout


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"licence_no": None}, "malformed: /body/licence_no"),
        ({"as": "parent"}, "malformed: /body/licence_no"),
        ({"entity": "E-1"}, "malformed: /body/entity_id"),
        ({"until": "2026-11-30"}, "malformed: /body/until"),
        ({"until": "2029-12-05"}, "malformed: /body/until"),
        ({"since": "1.12.2026"}, "malformed: /body/since"),
        ({"licence_no": CARD}, "card_data_refused: /body/licence_no"),
    ],
)
def test_what_is_no_relation_never_reaches_the_ledger(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changed: dict[str, str | None], said: str
) -> None:
    chain, document = Chain(), tmp_path / "d.pdf"
    document.write_bytes(b"x")
    done = relate(chain, monkeypatch, document, **changed)
    assert (done.exit_code, chain.calls) == (1, [])
    assert said in done.stderr


def test_a_document_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = relate(Chain(), monkeypatch, tmp_path / "none.pdf")
    assert done.exit_code == 1 and "none.pdf" in done.stderr


def test_a_digest_is_no_card_number_and_a_file_is_refused_as_the_options_are() -> None:
    digest = CARD + "a" * 48
    assert draft("relation", BODIES["relation"] | {"document_digest": digest})
    with pytest.raises(DocumentError, match="malformed: /body/until"):
        draft("relation", BODIES["relation"] | {"until": "2026-11-30"})


def _key(record: Account | Relation) -> str:
    name = record.id if isinstance(record, Relation) else record.account_id
    return f"{'relation' if isinstance(record, Relation) else 'account'}/{name}"


class Records:
    """A ledger that answers GetRecords and ListRelations from records by key."""

    def __init__(self, *records: Account | Relation) -> None:
        found: tuple[Any, ...] = records
        self.records = {_key(one): json.loads(dump(one)) for one in found}

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        raise AssertionError(function)

    async def evaluate(self, function: str, *args: str | bytes) -> bytes:
        asked = canonical.loads(bytes(args[0]))  # type: ignore[arg-type]
        if function == "GetRecords":
            return canonical.dumps([self.records.get(f"{kind}/{name}") for kind, name in asked])
        assert function == "ListRelations"
        start = f"relation/{asked['start_after'] or ''}"
        found = [
            one
            for key, one in sorted(self.records.items())
            if one["type"] == "relation" and key > start
            and asked["entity_id"] in (None, one["owner_id"], one["entity_id"])
        ]  # fmt: skip
        return canonical.dumps(found[: asked["limit"]])


def account(account_id: str, entity_id: str) -> Account:
    return Account(account_id, entity_id, "BKONCNBJ", "0001", "CNY", "BankOne")


def related(account_id: str, since: str, until: str, entity_id: str = "E-2") -> Relation:
    term = {"since": since, "until": until, "ended_on": ""}
    return Relation(account_id, "E-1", entity_id, "BankOne", "active", [term], ["t"])


def merchant(*accounts: tuple[str, str]) -> Merchant:
    """Of E-2, registered with E-1's account A; these were named since."""
    changes = [{"account_id": one, "valid_from": day} for one, day in accounts]
    return Merchant("M-2", "E-2", A, "Shop", "5411", ["food"], {}, {}, "active", "BankOne", changes)


LEDGER = Records(
    account(A, "E-1"),
    account(B, "E-1"),
    account(C, "E-2"),
    related(A, "2026-11-24", "2026-11-30"),
    related(B, "2026-12-02", "2026-12-31"),
)


@pytest.mark.parametrize(
    ("named", "day", "expected"),
    [
        ((), "2026-11-24", A),
        ((), "2026-11-30", A),
        (((C, "2026-12-05"),), "2026-11-30", A),
        (((C, "2026-12-05"),), "2026-12-01", C),
        (((B, "2026-12-02"), (C, "2026-12-05")), "2026-12-01", C),
        (((B, "2026-12-02"), (C, "2026-12-05")), "2026-12-02", B),
        (((C, "2026-11-25"), (A, "2026-11-26")), "2026-11-25", C),
    ],
)
def test_the_payee_of_a_day(named: tuple[tuple[str, str], ...], day: str, expected: str) -> None:
    assert asyncio.run(payee(LEDGER, merchant(*named), day)) == expected


def test_a_day_without_a_payee_says_what_it_waits_for() -> None:
    for named in ((), ((B, "2026-12-02"),)):
        with pytest.raises(DeskError, match=r"relation_not_in_force: .*clearline merchant change"):
            asyncio.run(payee(LEDGER, merchant(*named), "2026-12-01"))


def test_relations_are_read_to_their_end_and_by_entity() -> None:
    many = Records(
        *(related(A, "2026-12-01", "2026-12-02", f"F-{number}") for number in range(450)),
        related(B, "2026-12-01", "2026-12-02"),
    )
    found = asyncio.run(cli_relations.relations(many, None))
    assert len({one["entity_id"] for one in found}) == len(found) == 451
    (only,) = asyncio.run(cli_relations.relations(many, "E-2"))
    assert only["account_id"] == B
