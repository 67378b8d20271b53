"""What each command of a merchant starts from: its folder, with profile, key and order book."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from clearline.jws import KeySigner
from merchant import profile as profiles
from merchant.attempts import BookError
from merchant.orderbook import OrderBook
from merchant.profile import BOOK_FILE, Profile, ProfileError

# Not "merchant": in a clone that is this room's source.
DEFAULT_HOME: Final = "shop"
ENVIRONMENT: Final = "CLEARLINE_MERCHANT_HOME"
_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Desk:
    """A merchant's folder, opened."""

    home: Path
    profile: Profile
    book: OrderBook

    def signer(self) -> KeySigner:
        """The signing key. Raises click.ClickException that says what to do."""
        try:
            return profiles.load_signer(self.home)
        except ProfileError as error:
            raise click.ClickException(str(error)) from None


def load_profile(home: Path) -> Profile:
    """The folder's profile. Raises click.ClickException that says what to do."""
    try:
        return profiles.load(home)
    except ProfileError as error:
        raise click.ClickException(str(error)) from None


@contextmanager
def opened(home: Path) -> Iterator[Desk]:
    """The folder's profile and order book; turns their errors into the command line's."""
    profile = load_profile(home)
    try:
        book = OrderBook(home / BOOK_FILE, profile.network, profile.merchant_id)
        try:
            yield Desk(home, profile, book)
        finally:
            book.close()
    except BookError as error:
        raise click.ClickException(str(error)) from None
    except sqlite3.Error as error:
        # A full disk, say. What was committed stays; the transaction under way is undone.
        raise click.ClickException(
            f"the order book {home / BOOK_FILE} can't be written: {error}. Nothing is half done; "
            "mend the cause and run the same command again."
        ) from None


def _chosen(context: click.Context, _: click.Parameter, value: Path | None) -> Path:
    # Beside the command it wins over the one beside the group, and that over the environment.
    if value is not None:
        return value
    return context.obj if isinstance(context.obj, Path) else Path(DEFAULT_HOME)


def home_option(command: _Command) -> _Command:
    """Adds --home to a command."""
    return click.option(
        "--home",
        type=click.Path(path_type=Path, file_okay=False),
        callback=_chosen,
        help=f"The merchant's folder (default: ./{DEFAULT_HOME}, or ${ENVIRONMENT}).",
    )(command)
