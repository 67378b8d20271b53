"""`clearline chaincode`: serve the contract, show the digest of its code."""

from __future__ import annotations

from pathlib import Path

import click
import uvloop

from chaincode.digest import PackageError, code_digest
from chaincode.settings import SettingsError, load_settings
from clearline import logs


@click.group()
def chaincode() -> None:
    """The payment contract as a service.

    Example: clearline chaincode serve --config .clearline/chaincode/BankOne/server.json
    """


@chaincode.command()
@click.option(
    "--config",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The server's settings, as `clearline network up` writes them.",
)
@click.option("--log-level", default="INFO", show_default=True, help="Logs go to standard error.")
def serve(config: Path, log_level: str) -> None:
    """Serve the contract to one organisation's peers until SIGTERM.

    Refuses a package that isn't this code's own.

    Example: clearline chaincode serve --config .clearline/chaincode/BankOne/server.json
    """
    from chaincode.server import serve as run

    logs.configure(log_level.upper())
    try:
        uvloop.run(run(load_settings(config)))
    except (SettingsError, PackageError) as error:
        raise click.ClickException(str(error)) from error


@chaincode.command()
def digest() -> None:
    """Print the SHA-256 of the contract's code, as a package carries it.

    Example: clearline chaincode digest
    """
    click.echo(code_digest())


if __name__ == "__main__":
    chaincode(prog_name="python -m chaincode.cli")
