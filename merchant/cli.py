"""`clearline merchant`: setting up, taking orders, tokens. Paying and looking: cli_pay.py."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import orjson

from clearline import bearer, canonical
from clearline.canonical import CanonicalError, Json
from clearline.jws import Algorithm, KeySigner
from clearline.schema import SchemaError
from merchant import (
    cli_change,
    cli_close,
    cli_omissions,
    cli_pay,
    cli_refund,
    cli_show,
    cli_statement,
    cli_webhook,
    profile,
)
from merchant.attempts import Entry
from merchant.desk import DEFAULT_HOME, ENVIRONMENT, Desk, home_option, load_profile, opened
from merchant.importer import Bad, FileRefusedError, Format, Taken, read
from merchant.orders import OrderRefusedError, RowCode, take
from merchant.profile import FILE, ProfileError

_CHUNK: Final = 500  # rows a transaction
_SUFFIXES: Final = {".csv": Format.CSV, ".jsonl": Format.JSONL, ".ndjson": Format.JSONL}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT_HOME,
    envvar=ENVIRONMENT,
    help=f"The merchant's folder (default: ./{DEFAULT_HOME}).",
)
@click.pass_context
def merchant(context: click.Context, home: Path) -> None:
    """A merchant's desk: orders, signed payment requests, proven outcomes.

    Example: clearline merchant import orders.csv && clearline merchant pay --all
    """
    context.obj = home


@merchant.command()
@home_option
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in Algorithm]),
    default=Algorithm.ED25519.value,
    show_default=True,
)
def keygen(home: Path, algorithm: str) -> None:
    """Make the merchant's signing key (key.pem, 0600) and print its public half.

    The printed JWK goes to the merchant's bank, which puts it on the ledger. A key that is there
    is never overwritten.

    Example: clearline merchant keygen --algorithm ES256
    """
    signer = KeySigner.generate(Algorithm(algorithm))
    try:
        path = profile.save_key(signer, home)
    except (ProfileError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"wrote {path}; keep it secret and keep a copy", err=True)
    click.echo(orjson.dumps({"kid": signer.key_id, "jwk": signer.jwk}))


@merchant.command()
@home_option
@click.option("--network", required=True, help="The network's name, such as clearline-dev.")
@click.option("--merchant-id", required=True, help="The merchant's id on the ledger.")
@click.option("--gateway", nargs=2, multiple=True, required=True, metavar="URL CA_FILE")
@click.option("--acquirer-key", nargs=2, multiple=True, required=True, metavar="ACQUIRER JWK_FILE")
@click.option("--route", nargs=2, multiple=True, required=True, metavar="ACQUIRER MERCHANT_CODE")
@click.option("--default", "defaults", nargs=2, multiple=True, metavar="FIELD VALUE")
def init(
    home: Path,
    network: str,
    merchant_id: str,
    gateway: tuple[tuple[str, str], ...],
    acquirer_key: tuple[tuple[str, str], ...],
    route: tuple[tuple[str, str], ...],
    defaults: tuple[tuple[str, str], ...],
) -> None:
    """Write the merchant's profile, merchant.json; one that is there is never overwritten.

    Routes are in order of preference. A JWK file holds one public key, or what `clearline bank
    keygen` printed; it must come from the acquiring bank itself. CA paths are relative to the
    merchant's folder.

    Example: clearline merchant init --network clearline-dev --merchant-id M1
    --gateway https://127.0.0.1:8441 ca.pem --acquirer-key unionpay unionpay.jwk
    --route unionpay 898310148990001 --default currency CNY --default mcc 5411
    """
    keys: dict[str, list[Json]] = {}
    for acquirer_id, file in acquirer_key:
        keys.setdefault(acquirer_id, []).append(_jwk(Path(file)))
    document = {
        "network": network,
        "merchant_id": merchant_id,
        "gateways": [{"url": url, "ca": ca} for url, ca in gateway],
        "acquirer_keys": keys,
        "routes": [{"acquirer_id": a, "merchant_code": code} for a, code in route],
        "defaults": {
            name: int(value) if name == "expires_in_seconds" and value.isdecimal() else value
            for name, value in defaults
        },
    }
    try:
        path = profile.save(document, home)
    except SchemaError as error:
        raise click.UsageError(f"the profile would not be usable: {error}") from None
    except (ProfileError, CanonicalError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"wrote {path}", err=True)


def _jwk(path: Path) -> Json:
    try:
        value = canonical.loads(path.read_bytes())
    except (OSError, CanonicalError) as error:
        raise click.ClickException(f"can't read the key file {path}: {error}") from None
    return value["jwk"] if isinstance(value, dict) and "jwk" in value else value


@dataclass(slots=True)
class _Import:
    """What an import came to, counted as it goes."""

    entries: Counter[Entry] = field(default_factory=Counter)
    bad: list[Bad] = field(default_factory=list)

    def refuse(self, bad: Bad) -> None:
        self.bad.append(bad)
        named = f" (order {bad.order_no})" if bad.order_no else ""
        click.echo(f"line {bad.line}{named}: {bad.code}: {bad.detail}", err=True)

    def to_json(self) -> dict[str, Json]:
        return {
            "added": self.entries[Entry.ADDED],
            "same": self.entries[Entry.SAME],
            "updated": self.entries[Entry.UPDATED],
            "bad": [
                {"line": bad.line, "order_no": bad.order_no, "code": bad.code, "detail": bad.detail}
                for bad in self.bad
            ],
            "exit_code": 1 if self.bad else 0,
        }


@merchant.command("import")
@home_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--format", "form", type=click.Choice([f.value for f in Format]))
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
def import_(home: Path, file: str, form: str | None, as_json: bool) -> None:
    """Take the orders of a CSV or JSON-lines file (- for standard input) into the order book.

    A bad row is reported with its line number and stops nothing else; an order that is there
    already is skipped, one that differs is a conflict. Exit code 1 when a row was not taken.

    Example: clearline merchant import orders.csv
    """
    chosen = Format(form) if form else _SUFFIXES.get(Path(file).suffix.lower())
    if chosen is None:
        raise click.UsageError("say --format csv or --format jsonl: the file's name doesn't")
    with _open(file) as stream, opened(home) as desk:
        try:
            result = _import(desk, stream, chosen)
        except FileRefusedError as error:
            raise click.ClickException(f"{file}: {error}") from None
    if as_json:
        click.echo(orjson.dumps(result.to_json()))
    else:
        counts = result.entries
        click.echo(
            f"{counts[Entry.ADDED]} orders added, {counts[Entry.SAME]} there already, "
            f"{counts[Entry.UPDATED]} updated by the profile, {len(result.bad)} not taken"
        )
    sys.exit(1 if result.bad else 0)


@contextmanager
def _open(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).open("rb")  # noqa: SIM115 - closed below; only the opening is caught
    except OSError as error:
        raise click.ClickException(f"can't read {file}: {error.strerror}") from None
    with stream:
        yield stream


def _import(desk: Desk, stream: BinaryIO, form: Format) -> _Import:
    result = _Import()
    chunk: list[Taken | Bad] = []
    for row in read(stream, form, desk.profile):
        chunk.append(row)
        if len(chunk) >= _CHUNK:
            _add(desk, chunk, result)
            chunk = []
    _add(desk, chunk, result)
    return result


def _add(desk: Desk, chunk: list[Taken | Bad], result: _Import) -> None:
    """Put a chunk's good rows into the book, then report on all its rows in their order."""
    taken = [row.order for row in chunk if isinstance(row, Taken)]
    entries = iter(desk.book.add(taken) if taken else [])
    for row in chunk:
        if isinstance(row, Bad):
            result.refuse(row)
        elif (entry := next(entries)) is Entry.CONFLICT:
            detail = "the order book holds another order under this number; it stays"
            result.refuse(Bad(row.line, row.order.order_no, RowCode.CONFLICT, detail))
        else:
            result.entries[entry] += 1


@merchant.command()
@home_option
@click.argument("order_no")
@click.argument("amount")
@click.option("--currency")
@click.option("--store")
@click.option("--terminal")
@click.option("--mcc")
@click.option("--product")
@click.option("--goods-category")
@click.option("--site")
@click.option("--payer-token")
@click.option("--acquirer")
@click.option("--merchant-code", help="Your code at the acquirer, instead of the profile's.")
@click.option("--order-digest", help="SHA-256 of the order in your own system, 64 hex digits.")
def order(home: Path, order_no: str, amount: str, **fields: Any) -> None:
    """Take one order: AMOUNT is a decimal such as 29.33; the profile fills in the rest.

    Example: clearline merchant order A-1001 29.33 --currency CNY --payer-token tok_approve
    """
    row = {name: value for name, value in fields.items() if value is not None}
    with opened(home) as desk:
        try:
            taken = take(row | {"order_no": order_no, "amount": amount}, desk.profile)
        except OrderRefusedError as error:
            raise click.ClickException(str(error)) from None
        (entry,) = desk.book.add([taken])
    if entry is Entry.CONFLICT:
        raise click.ClickException(
            f"{RowCode.CONFLICT}: the order book holds another order {order_no}; it stays"
        )
    click.echo(f"order {taken.order_no}, {taken.money}: {entry}")


@merchant.command()
@home_option
@click.option("--gateway", type=int, default=1, show_default=True, help="Which one, from 1.")
@click.option(
    "--lifetime",
    type=click.IntRange(1, bearer.MAX_LIFETIME),
    default=120,
    show_default=True,
    help="Seconds.",
)
def token(home: Path, gateway: int, lifetime: int) -> None:
    """Print a bearer token for reading at one gateway.

    Example: curl --cacert ca.pem -H "Authorization: Bearer $(clearline merchant token)"
    https://127.0.0.1:8441/v1/payments/A-1001
    """
    settings = load_profile(home)
    if not 1 <= gateway <= len(settings.gateways):
        raise click.UsageError(
            f"--gateway must be 1 to {len(settings.gateways)}: that many are in {home / FILE}"
        )
    try:
        signer = profile.load_signer(home)
    except ProfileError as error:
        raise click.ClickException(str(error)) from None
    url = settings.gateways[gateway - 1].url
    click.echo(bearer.issue(settings.merchant_id, url, signer, lifetime))


for _command in (
    cli_pay.pay,
    cli_close.close,
    cli_change.change,
    cli_pay.watch,
    cli_refund.refund,
    cli_show.status,
    cli_show.list_orders,
    cli_omissions.omissions,
    cli_statement.statement,
):
    merchant.add_command(_command)
for _command in (cli_webhook.webhook, cli_webhook.listen):
    merchant.add_command(_command)
