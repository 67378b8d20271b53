"""`clearline gateway ...`: the processes of a gateway."""

from __future__ import annotations

from pathlib import Path

import click

from clearline import logs
from gateway.settings import Settings, SettingsError

_CONFIG = click.option(
    "--config",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The gateway's settings file (JSON).",
)


@click.group()
def gateway() -> None:
    """A bank's access gateway: REST in front, the ledger behind.

    Example: clearline gateway committer --config settings.json &
    clearline gateway serve --config settings.json
    """


@gateway.command()
@_CONFIG
def committer(config: Path) -> None:
    """Run the process that owns queue, projection and the connection to the peer.

    Example: clearline gateway committer --config settings.json
    """
    # gRPC is loaded here only: the HTTP processes have no use for it.
    from clearline.fabric.blocks import BlockError
    from clearline.fabric.identity import IdentityError
    from clearline.fabric.profile import ProfileError
    from clearline.fabric.store import StoreError
    from clearline.jws import JwsError
    from gateway import service
    from gateway.link import LinkError
    from gateway.projection import ProjectionError

    logs.configure()
    try:
        service.run(Settings.load(config))
    except (
        SettingsError,
        ProfileError,
        IdentityError,
        JwsError,
        StoreError,
        ProjectionError,
        BlockError,
        LinkError,
        OSError,
    ) as error:
        raise click.ClickException(str(error)) from None


@gateway.command()
@_CONFIG
def notifier(config: Path) -> None:
    """Run the process that sends webhooks. Payments don't need it.

    Example: clearline gateway notifier --config settings.json
    """
    from gateway.webhooks import cli as webhooks

    webhooks.notify(config)


@gateway.command()
@_CONFIG
def serve(config: Path) -> None:
    """Run the HTTP workers. They can start before the committer does.

    Example: clearline gateway serve --config settings.json
    """
    from gateway import serve as server

    logs.configure()
    try:
        server.run(Settings.load(config))
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
