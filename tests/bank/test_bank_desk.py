"""The desk at a fake contract, and its commands."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
from bank_world import Chain, FakeContract
from click.testing import CliRunner, Result
from test_bank_documents import BODIES

from bank import desk
from bank.cli import bank
from bank.connection import connected, explain
from bank.desk import Decision, DeskError
from bank.documents import draft
from bank.patience import Patience
from chaincode.contract.context import Role, Submitter
from chaincode.contract.functions import function
from clearline.cli import cli
from clearline.codes import Code, Refusal
from clearline.fabric.errors import (
    CommitError,
    EndorseError,
    EvaluateError,
    GrpcFailure,
    PeerError,
    SubmitError,
)
from clearline.jws import KeySigner

Run = Callable[..., Result]
IMPATIENT = Patience(disagreeing=0.0, missing=0.0)
RECORDS = [draft(kind, BODIES[kind]) for kind in ("entity", "account", "merchant")]


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def run(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`clearline bank ...`; a profile's file name says who it is."""

    @asynccontextmanager
    async def fake(path: Path) -> AsyncIterator[FakeContract]:
        yield chain.as_(path.stem)

    monkeypatch.setattr("bank.cli.connected", fake)
    monkeypatch.setattr("bank.cli.PATIENT", IMPATIENT)
    return lambda *arguments, **options: CliRunner().invoke(cli, ["bank", *arguments], **options)


def test_apply_registers_in_order_with_two_people(chain: Chain) -> None:
    results = asyncio.run(desk.apply(chain.as_("maker"), chain.as_("checker"), RECORDS))
    assert all(result.done for result in results)
    assert ("merchant", "M-1") in chain.records
    assert chain.calls == [("maker", "ProposeRecords"), ("checker", "DecideRecords")]
    again = asyncio.run(desk.apply(chain.as_("maker"), chain.as_("checker"), RECORDS))
    assert all(result.done and result.outcome.code is Code.DUPLICATE for result in again)
    assert chain.calls[2:] == [("maker", "ProposeRecords")]


def test_apply_says_what_is_not_in_effect(chain: Chain) -> None:
    backwards = RECORDS[::-1]
    first = asyncio.run(desk.apply(chain.as_("maker"), chain.as_("checker"), backwards))
    assert [(item.done, item.outcome.code) for item in first] == [
        (False, Code.ACCOUNT_UNKNOWN),
        (False, Code.ENTITY_UNKNOWN),
        (True, Code.OK),
    ]
    second = asyncio.run(desk.apply(chain.as_("maker"), chain.as_("checker"), RECORDS))
    assert all(item.done for item in second)


def test_one_person_can_apply_nothing(chain: Chain) -> None:
    results = asyncio.run(desk.apply(chain.as_("maker"), chain.as_("maker"), RECORDS[:1]))
    assert [(item.done, item.outcome.code) for item in results] == [(False, Code.SAME_PERSON)]


def test_a_rejected_record_is_not_done(chain: Chain) -> None:
    asyncio.run(desk.propose(chain.as_("maker"), RECORDS[:1]))
    asyncio.run(desk.decide(chain.as_("checker"), [RECORDS[0].proposal_id], Decision.REJECT))
    (result,) = asyncio.run(desk.apply(chain.as_("maker"), chain.as_("checker"), RECORDS[:1]))
    assert not result.done and result.outcome.status == "rejected"


def test_lists_are_read_to_their_end(chain: Chain) -> None:
    drafts = [draft("entity", BODIES["entity"] | {"entity_id": f"E-{n}"}) for n in range(450)]
    asyncio.run(desk.propose(chain.as_("maker"), drafts))
    found = asyncio.run(desk.proposals(chain.as_("maker"), "proposed"))
    assert sorted(p.proposal_id for p in found) == sorted(d.proposal_id for d in drafts)
    assert asyncio.run(desk.proposals(chain.as_("maker"), "approved")) == []


class _Garbled:
    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    async def submit(self, function: str, *args: str | bytes) -> bytes:
        return self.answer

    evaluate = submit


@pytest.mark.parametrize(
    "answer",
    [b"", b"{}", b"[]", b"[5]", b'[{"code":"ok"}]', b"[{},{}]",
     b'[{"code":"fine","key":[],"status":"","detail":"","tx_id":""}]'],
)  # fmt: skip
def test_answers_of_no_contract_are_refused(answer: bytes) -> None:
    with pytest.raises(DeskError):
        asyncio.run(desk.propose(_Garbled(answer), RECORDS[:1]))


@pytest.mark.parametrize("answer", [b"x", b"{}", b"[5]", b'[{"type":"entity"}]'])
def test_lists_of_no_contract_are_refused(answer: bytes) -> None:
    with pytest.raises(DeskError):
        asyncio.run(desk.proposals(_Garbled(answer), None))


def write(folder: Path, value: Any) -> str:
    file = folder / "file.json"
    file.write_text(json.dumps(value))
    return str(file)


def test_propose_approve_show(run: Run, tmp_path: Path, chain: Chain) -> None:
    file = write(tmp_path, BODIES["entity"])
    proposed = run("propose", "entity", file, "--profile", "maker.json")
    assert proposed.exit_code == 0 and ": ok proposed" in proposed.stdout
    (name,) = chain.proposals
    assert f"clearline bank approve {name}" in proposed.stderr
    listed = run("list", "--status", "proposed", "--profile", "checker.json")
    assert json.loads(listed.stdout)["proposal_id"] == name
    own = run("approve", name, "--profile", "maker.json")
    assert own.exit_code == 1 and "same_person" in own.stdout
    assert run("show", "entity", "E-1", "--profile", "maker.json").exit_code == 1
    assert run("approve", name, "--profile", "checker.json").exit_code == 0
    again = run("approve", name, "--profile", "checker.json")
    assert again.exit_code == 0 and "duplicate approved" in again.stdout
    late = run("reject", name, "--profile", "checker.json")
    assert late.exit_code == 1 and "proposal_decided" in late.stdout
    shown = run("show", "entity", "E-1", "--profile", "maker.json")
    assert json.loads(shown.stdout)["name"] == "Corner Shop Ltd"
    assert run("approve", "nobody", "--profile", "checker.json").exit_code == 1


def test_bad_proposals_never_reach_the_ledger(run: Run, tmp_path: Path, chain: Chain) -> None:
    file = write(tmp_path, BODIES["entity"] | {"country": "China"})
    result = run("propose", "entity", file, "--profile", "maker.json")
    assert result.exit_code == 1 and "malformed: /body/country" in result.stderr
    missing = run("propose", "entity", "nowhere.json", "--profile", "maker.json")
    assert missing.exit_code == 1 and "can't read" in missing.stderr
    assert run("propose", "payment", file, "--profile", "maker.json").exit_code == 2
    assert run("propose", "entity", file).exit_code == 2
    assert run("approve", "--profile", "checker.json").exit_code == 2
    assert chain.calls == []


def test_carry_proposes_what_the_merchant_signed(run: Run, tmp_path: Path, chain: Chain) -> None:
    for kind in ("merchant_key", "merchant_account"):
        file = tmp_path / "change.jws"
        file.write_text(str(BODIES[kind]["change"]) + "\n")
        done = run("carry", str(file), "--profile", "maker.json")
        assert done.exit_code == 0, done.output
        assert '"merchant_id":"M-1"' in done.stderr
    made = {one.kind: one.body for one in chain.proposals.values()}
    assert made == {kind: BODIES[kind] for kind in made} and len(made) == 2
    listed = run("list", "--profile", "checker.json")
    shown = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {one["signed"]["kind"] for one in shown} == {"key", "account"}


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "x" * 20_000])
def test_what_is_no_change_is_not_carried(
    run: Run, tmp_path: Path, chain: Chain, text: str
) -> None:
    file = tmp_path / "change.jws"
    file.write_text(text)
    for path in (file, tmp_path / "none"):
        done = run("carry", str(path), "--profile", "maker.json")
        assert done.exit_code == 1 and "malformed" in done.output
    assert chain.calls == []


def test_apply_from_a_file(run: Run, tmp_path: Path, chain: Chain) -> None:
    items = [{"kind": item.kind, "body": item.body} for item in RECORDS]
    people = ("--maker", "maker.json", "--checker", "checker.json")
    result = run("apply", write(tmp_path, items), *people)
    assert result.exit_code == 0 and result.stdout.count(": ok approved") == 3
    again = run("apply", write(tmp_path, items), *people)
    assert again.exit_code == 0 and again.stdout.count(": duplicate approved") == 3
    chain.records.clear()
    chain.proposals.clear()
    wrong = run("apply", write(tmp_path, items[1:]), *people)
    assert wrong.exit_code == 1 and "2 of 2 not in effect" in wrong.stderr
    assert "entity_unknown" in wrong.stdout


def test_keygen(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "keys" / "acquirer.pem"
    result = run("keygen", "--out", str(path), "--algorithm", "ES256")
    signer = KeySigner.load(path)
    assert json.loads(result.stdout) == {"kid": signer.key_id, "jwk": signer.jwk}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    again = run("keygen", "--out", str(path))
    assert again.exit_code == 1 and "never overwritten" in again.stderr
    assert path.read_bytes() == before


def test_account_id_reads_the_number_and_shows_it_nowhere(run: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"0123456789abcdef\n")
    options = ("--bank-code", "ICBKCNBJ", "--secret-file", str(secret))
    result = run("account-id", *options, input="6222 0212 3456 7890 123\n")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["last4"] == "0123" and len(document["account_id"]) == 64
    bad = run("account-id", *options, input="6222/0212\n")
    assert bad.exit_code == 1 and "6222" not in bad.output
    gone = run("account-id", *options[:3], str(tmp_path / "gone"), input="1234\n")
    assert gone.exit_code == 1 and "can't read" in gone.stderr


def test_every_command_shows_an_example() -> None:
    for name, command in bank.commands.items():
        assert "Example: clearline bank" in (command.help or ""), name


def test_failures_say_what_is_known() -> None:
    failure = GrpcFailure(grpc.StatusCode.UNAVAILABLE, "gone")
    unknown = explain(SubmitError("submit", "ab", "unknown", failure))
    assert "not known" in unknown and "Run the same command again" in unknown
    assert "Nothing was changed" in explain(CommitError("ab", 11, 7))
    assert "question" in explain(EvaluateError("evaluate", "ab", "not_applied", failure))


def _refused(said: str) -> EndorseError:
    details = (PeerError("b:7051", "BankOne", f"chaincode response 403, {said}"),)
    failure = GrpcFailure(grpc.StatusCode.ABORTED, "failed to endorse", details)
    return EndorseError("Endorse", "ab", "not_applied", failure)


@pytest.mark.parametrize(
    ("name", "role"), [("ProposeRecords", "bank-maker"), ("DecideRecords", "bank-checker")]
)
def test_the_wrong_role_is_told_whose_profile_to_use(name: str, role: str) -> None:
    with pytest.raises(Refusal) as refused:  # the contract's own words
        function(name, Submitter("BankOne", Role.GATEWAY, "ab" * 32))
    told = explain(_refused(str(refused.value)))
    assert "Nothing was changed" in told and "again" not in told
    assert f"one of role {role} with --profile" in told


def test_a_refusal_is_not_said_to_pass_by_itself() -> None:
    told = explain(_refused("batch_too_large: 900000 bytes, at most 800000"))
    assert "would be refused again" in told


def test_a_profile_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def connect() -> None:
        async with connected(tmp_path / "nowhere.json"):
            pass

    with pytest.raises(click.ClickException, match=r"nowhere\.json"):
        asyncio.run(connect())
    result = CliRunner().invoke(cli, ["bank", "list", "--profile", str(tmp_path / "x.json")])
    assert result.exit_code == 1 and "x.json" in result.stderr
