"""`clearline bank`: the desk's commands."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from bank import cli_relations, desk
from bank.accounts import AccountError, name_account
from bank.cli_clearing import COMMANDS
from bank.connection import connected
from bank.desk import Applied, Decision
from bank.documents import (
    DocumentError,
    Draft,
    body_of,
    draft,
    read_change,
    read_json,
    read_records,
)
from bank.patience import PATIENT
from bank.signer_cli import signer
from clearline import changes
from clearline.canonical import Json
from clearline.codes import Code, Outcome
from clearline.jws import Algorithm, KeySigner
from clearline.proposals import PROPOSALS, STATUSES
from clearline.records import Kind, Proposal

_Answer = TypeVar("_Answer")
_profile = click.option(
    "--profile",
    required=True,
    envvar="CLEARLINE_BANK_PROFILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The clerk's connection profile (or $CLEARLINE_BANK_PROFILE).",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def bank() -> None:
    """A bank's desk: register merchants, accounts, acquirers and keys, by maker and checker.

    Example: clearline bank propose merchant merchant.json --profile maker.json
    """


bank.add_command(signer)


@bank.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("acquirer-key.pem"),
    show_default=True,
)
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in Algorithm]),
    default=Algorithm.ED25519.value,
    show_default=True,
)
def keygen(out: Path, algorithm: str) -> None:
    """Make an acquirer's report-signing key (PKCS#8 PEM, 0600) and print its public half.

    A file that is there is never overwritten.

    Example: clearline bank keygen --out unionpay.pem
    """
    made = KeySigner.generate(Algorithm(algorithm))
    try:
        out.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        made.save(out)
    except FileExistsError:
        raise click.ClickException(
            f"{out} exists and is never overwritten; move it away first"
        ) from None
    except OSError as error:
        raise click.ClickException(f"can't write {out}: {error.strerror}") from None
    click.echo(f"wrote {out}; keep it secret and keep a copy", err=True)
    click.echo(orjson.dumps({"kid": made.key_id, "jwk": made.jwk}))


@bank.command("account-id")
@click.option("--bank-code", required=True, help="The account's bank: BIC or national code.")
@click.option(
    "--secret-file",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The banks' shared key; its bytes as they are.",
)
def account_id(bank_code: str, secret_file: Path) -> None:
    """Print how the ledger names an account: a keyed hash and the last four digits.

    The number is read from standard input, or asked for without echo; it is not an option, so
    that it stays out of shell histories and process lists. It is stored nowhere.

    Example: clearline bank account-id --bank-code ICBKCNBJ --secret-file accounts.key
    """
    try:
        secret = secret_file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"can't read {secret_file}: {error.strerror}") from None
    if sys.stdin.isatty():
        number = click.prompt("account number", hide_input=True, confirmation_prompt=True)
    else:
        number = sys.stdin.readline(256)
    try:
        name = name_account(secret, bank_code, number)
    except AccountError as error:
        raise click.ClickException(str(error)) from None
    click.echo(
        orjson.dumps(
            {"account_id": name.account_id, "bank_code": name.bank_code, "last4": name.last4}
        )
    )


@bank.command()
@click.argument("kind", type=click.Choice(list(PROPOSALS)))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_profile
@click.option("--id", "proposal_id", help="The proposal's id (default: made of its content).")
def propose(kind: str, file: Path, profile: Path, proposal_id: str | None) -> None:
    """Propose one record as the bank's maker; FILE.json holds its body.

    The same content gets the same id, so that proposing again does no harm. To make a change that
    was made before (suspend a merchant a second time) name a new --id.

    Example: clearline bank propose merchant merchant.json --profile maker.json
    """
    try:
        item = draft(kind, read_json(file), proposal_id)
    except DocumentError as error:
        raise click.ClickException(f"{file}: {error}") from None
    _proposed(profile, item)


def _proposed(profile: Path, item: Draft) -> None:
    outcomes = _run(_propose(profile, [item]))
    _report(outcomes)
    if outcomes[0].code.taken:
        click.echo(f"next: clearline bank approve {item.proposal_id} --profile CHECKER", err=True)
    sys.exit(_exit_code(outcomes))


@bank.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_profile
@click.option("--id", "proposal_id", help="The proposal's id (default: made of its content).")
def carry(file: Path, profile: Path, proposal_id: str | None) -> None:
    """Propose, as the bank's maker, a change that a merchant signed: a further key, or another
    account. FILE is what `clearline merchant change` wrote.

    Without the merchant's signature the ledger takes no such change. It prints what the merchant
    asked for: ask it back on another way, then let the checker approve before its day.

    Example: clearline bank carry change.jws --profile maker.json
    """
    try:
        signed = read_change(file)
        kind, body = body_of(signed)
        item = draft(kind, body, proposal_id)
    except DocumentError as error:
        raise click.ClickException(f"{file}: {error}") from None
    click.echo(orjson.dumps(signed.change.payload()), err=True)
    _proposed(profile, item)


@bank.command()
@click.argument("proposal_ids", nargs=-1, required=True, metavar="ID...")
@_profile
def approve(proposal_ids: tuple[str, ...], profile: Path) -> None:
    """Approve proposals as the bank's checker, in the order given.

    Example: clearline bank approve merchant-8f2d6c1e90ab34cd --profile checker.json
    """
    _decide(profile, proposal_ids, Decision.APPROVE)


@bank.command()
@click.argument("proposal_ids", nargs=-1, required=True, metavar="ID...")
@_profile
def reject(proposal_ids: tuple[str, ...], profile: Path) -> None:
    """Reject proposals as the bank's checker.

    Example: clearline bank reject merchant-8f2d6c1e90ab34cd --profile checker.json
    """
    _decide(profile, proposal_ids, Decision.REJECT)


@bank.command("apply")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--maker", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--checker", required=True, type=click.Path(path_type=Path, dir_okay=False))
def apply(file: Path, maker: Path, checker: Path) -> None:
    """Propose and approve a list of records in order, for demonstration and first set-up.

    FILE.json is a list of {"kind", "body"}. Still two identities: a maker's and a checker's
    profile. Running it again does no harm.

    Example: clearline bank apply records.json --maker maker.json --checker checker.json
    """
    try:
        drafts = read_records(file)
    except DocumentError as error:
        raise click.ClickException(str(error)) from None
    results = _run(_apply(maker, checker, drafts))
    for result in results:
        _print(result.outcome)
    left = [result.draft.proposal_id for result in results if not result.done]
    if left:
        click.echo(
            f"{len(left)} of {len(results)} not in effect; mend the cause and run it again: "
            f"{', '.join(left)}",
            err=True,
        )
    sys.exit(1 if left else 0)


@bank.command("list")
@_profile
@click.option("--status", type=click.Choice(STATUSES))
def list_proposals(profile: Path, status: str | None) -> None:
    """List proposals, one JSON line each.

    Example: clearline bank list --status proposed --profile checker.json
    """
    for proposal in _run(_proposals(profile, status)):
        click.echo(
            orjson.dumps(
                {
                    "proposal_id": proposal.proposal_id,
                    "kind": proposal.kind,
                    "status": proposal.status,
                    "msp_id": proposal.msp_id,
                    "body": proposal.body,
                    **_signed_part(proposal.body),
                }
            )
        )


@bank.command()
@click.argument("kind", type=click.Choice([kind.value for kind in Kind]))
@click.argument("record_id", metavar="ID")
@_profile
def show(kind: str, record_id: str, profile: Path) -> None:
    """Print a record as the ledger holds it.

    A merchant code's id is ACQUIRER/CODE, a relation's ACCOUNT/ENTITY, a payment's
    MERCHANT/ORDER/ATTEMPT (four digits).

    Example: clearline bank show merchant M-0001 --profile maker.json
    """
    found = _run(_record(profile, kind, record_id))
    if found is None:
        raise click.ClickException(f"{Code.NOT_FOUND}: the ledger holds no {kind} {record_id}")
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))


for _command in (*COMMANDS, *cli_relations.COMMANDS):
    bank.add_command(_command)


def _signed_part(body: Json) -> dict[str, Json]:
    """What the merchant signed, readable, where a proposal carries that."""
    if "change" not in body:
        return {}
    return {"signed": changes.parse(body["change"]).change.payload()}


def _run(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    return asyncio.run(work)


async def _propose(profile: Path, drafts: Sequence[Draft]) -> list[Outcome]:
    async with connected(profile) as ledger:
        return await desk.propose(ledger, drafts)


async def _apply(maker: Path, checker: Path, drafts: Sequence[Draft]) -> list[Applied]:
    async with connected(maker) as one, connected(checker) as other:
        return await desk.apply(one, other, drafts, PATIENT)


async def _proposals(profile: Path, status: str | None) -> list[Proposal]:
    async with connected(profile) as ledger:
        return await desk.proposals(ledger, status)


async def _record(profile: Path, kind: str, record_id: str) -> Json:
    async with connected(profile) as ledger:
        return await desk.record(ledger, kind, record_id, PATIENT)


async def _decided(profile: Path, ids: Sequence[str], decision: Decision) -> list[Outcome]:
    async with connected(profile) as ledger:
        return await desk.decide(ledger, ids, decision, PATIENT)


def _decide(profile: Path, proposal_ids: tuple[str, ...], decision: Decision) -> None:
    outcomes = _run(_decided(profile, list(dict.fromkeys(proposal_ids)), decision))
    _report(outcomes)
    sys.exit(_exit_code(outcomes))


def _report(outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        _print(outcome)


def _print(outcome: Outcome) -> None:
    name = "/".join(str(part) for part in outcome.key) or "-"
    said = " ".join(part for part in (outcome.status, outcome.detail) if part)
    click.echo(f"{name}: {outcome.code} {said}".rstrip())


def _exit_code(outcomes: Sequence[Outcome]) -> int:
    return 0 if all(outcome.code.taken for outcome in outcomes) else 1
