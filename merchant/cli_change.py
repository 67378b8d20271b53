"""`clearline merchant change`: a further key, or another account, signed for the bank to carry."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from clearline import canonical, changes, times
from clearline.canonical import CanonicalError, Json
from clearline.changes import AccountChange, KeyChange, MerchantChange
from clearline.codes import Refusal
from clearline.jws import Algorithm, JwsError, KeySigner
from clearline.schema import BANK_CODE, LAST4, SHA256_HEX, Members, SchemaError
from merchant import profile as profiles
from merchant.desk import home_option, load_profile
from merchant.profile import ProfileError

NEXT_KEY_FILE: Final = "next-key.pem"
# Time for two people at the bank, and for the merchant to see it on the ledger before it holds.
_USUAL_NOTICE: Final = timedelta(days=3)
_ACCOUNT: Final = Members({"account_id": SHA256_HEX, "bank_code": BANK_CODE, "last4": LAST4})
_out = click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("change.jws"),
    show_default=True,
    help="Where the signed change is written; a file that is there is never overwritten.",
)
_from = click.option(
    "--from",
    "valid_from",
    metavar="DATE",
    help="The first clearing date it holds for, YYYY-MM-DD in UTC (default: in three days).",
)


@click.group()
def change() -> None:
    """Sign a change that only this merchant may ask for; its bank's maker and checker carry it.

    Example: clearline merchant change key
    """


@change.command()
@home_option
@click.option(
    "--new-key",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The further key (PKCS#8 PEM); made when it is not there (default: {NEXT_KEY_FILE} in "
    "the folder).",
)
@click.option(
    "--algorithm",
    type=click.Choice([algorithm.value for algorithm in Algorithm]),
    default=Algorithm.ED25519.value,
    show_default=True,
    help="Of a key that is made.",
)
@_from
@_out
def key(
    home: Path, new_key: Path | None, algorithm: str, valid_from: str | None, out: Path
) -> None:
    """Sign, with the present key, that a further key is this merchant's from a later day on.

    Until that day the ledger takes nothing that the further key signed; the present key stays
    good until the bank revokes it.

    Example: clearline merchant change key --from 2026-12-01
    """
    settings, path = load_profile(home), new_key or home / NEXT_KEY_FILE
    new = _load_or_make(path, Algorithm(algorithm))
    now = times.now()
    wanted = KeyChange(
        settings.network, settings.merchant_id, new.jwk, now, valid_from or _usual(now)
    )
    _write(home, wanted, out)
    click.echo(
        f"key {new.key_id} ({path}) counts from {wanted.valid_from} on. Give {out} to your bank; "
        f"on that day, once the ledger has it, put {path} in the place of "
        f"{home / profiles.KEY_FILE}",
        err=True,
    )


@change.command()
@home_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_from
@_out
def account(home: Path, file: Path, valid_from: str | None, out: Path) -> None:
    """Sign that this merchant is settled to another account from a later clearing date on.

    FILE holds what `clearline bank account-id` printed at the bank: the account's name on the
    ledger, bank code and last four digits. Compare them before you hand the change over.

    Example: clearline merchant change account account.json --from 2026-12-01
    """
    settings, named = load_profile(home), _account(file)
    now = times.now()
    wanted = AccountChange(
        settings.network,
        settings.merchant_id,
        named["account_id"],
        named["bank_code"],
        named["last4"],
        now,
        valid_from or _usual(now),
    )
    _write(home, wanted, out)
    click.echo(
        f"settled to the account at {wanted.bank_code} that ends in {wanted.last4} from "
        f"{wanted.valid_from} on. Give {out} to your bank",
        err=True,
    )


def _usual(now: str) -> str:
    return (times.parse(now).date() + _USUAL_NOTICE).isoformat()


def _load_or_make(path: Path, algorithm: Algorithm) -> KeySigner:
    try:
        if path.exists():
            return KeySigner.load(path)
        made = KeySigner.generate(algorithm)
        made.save(path)
    except JwsError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"can't use {path}: {error.strerror}") from None
    return made


def _account(file: Path) -> dict[str, Json]:
    try:
        document = canonical.loads(file.read_bytes())
        _ACCOUNT.check(document, "")
    except OSError as error:
        raise click.ClickException(f"can't read {file}: {error.strerror}") from None
    except (CanonicalError, SchemaError) as error:
        raise click.ClickException(f"{file}: {error}") from None
    found: dict[str, Json] = document
    return found


def _write(home: Path, wanted: MerchantChange, out: Path) -> None:
    """Sign it, hold it against the form that the ledger takes, and write it."""
    try:
        signer = profiles.load_signer(home)
        compact = changes.sign(wanted, signer)
        changes.parse(compact)
        profiles.write_new(out, compact.encode() + b"\n")
    except ProfileError as error:
        raise click.ClickException(str(error)) from None
    except (Refusal, ValueError) as error:
        raise click.ClickException(f"{error}; see --from") from None
    except OSError as error:
        raise click.ClickException(f"can't write {out}: {error.strerror}") from None
