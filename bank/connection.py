"""Connecting a clerk's identity to the ledger, and telling its failures on the command line."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import click

from bank.desk import DeskError
from bank.patience import Ledger, PatientLedger
from clearline.fabric.errors import EndorseError, EvaluateError, FabricError
from clearline.fabric.gateway import Gateway
from clearline.fabric.identity import IdentityError
from clearline.fabric.profile import Profile, ProfileError
from clearline.fabric.queue_batch import classify_endorse

# As the contract says it: which roles may call the function (chaincode/contract/functions.py).
_ROLE: Final = re.compile(r"role_forbidden: \w+ is for (bank-[a-z]+)\b")
_OPTIONS: Final = "--profile, or --maker and --checker"


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[Ledger]:
    """The contract as the identity of this connection profile sees it.

    Raises click.ClickException that says what is known and what to do.
    """
    try:
        profile = Profile.load(path)
        async with Gateway.connect(profile) as gateway:
            yield PatientLedger(gateway.network(profile.channel).contract(profile.chaincode))
    except (ProfileError, IdentityError) as error:
        raise click.ClickException(str(error)) from None
    except DeskError as error:
        raise click.ClickException(str(error)) from None
    except FabricError as error:
        raise click.ClickException(explain(error)) from None


def explain(error: FabricError) -> str:
    """A failure of the ledger in words: what is known of its effect, and what to do."""
    if isinstance(error, EvaluateError):
        known = "Nothing was changed: it was a question"
    elif error.outcome == "not_applied":
        known = "Nothing was changed"
    else:
        known = "Whether it took effect is not known"
    return f"{error}\n{known}. {_advice(error)}"


def _advice(error: FabricError) -> str:
    role = _ROLE.search(str(error))
    if role is not None:
        return f"This profile has another role: name one of role {role[1]} with {_OPTIONS}."
    if isinstance(error, EndorseError) and classify_endorse(error) == "refused":
        return "It would be refused again: mend what it says first."
    return "Run the same command again: it does no harm."
