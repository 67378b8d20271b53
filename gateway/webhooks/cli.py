"""What `clearline gateway notifier` does; apart from gateway.cli, which loads no gRPC."""

from __future__ import annotations

import ssl
from pathlib import Path

import click

from clearline import logs
from clearline.fabric.blocks import BlockError
from clearline.fabric.identity import IdentityError
from clearline.fabric.profile import ProfileError
from gateway.settings import Settings, SettingsError
from gateway.webhooks import service
from gateway.webhooks.keys import WebhookKeyError
from gateway.webhooks.store import StoreError


def notify(config: Path) -> None:
    """Run until SIGTERM. Raises click.ClickException that says what is wrong."""
    logs.configure()
    try:
        service.run(Settings.load(config))
    except (
        SettingsError,
        ProfileError,
        IdentityError,
        WebhookKeyError,
        StoreError,
        BlockError,
        ssl.SSLError,
        OSError,
    ) as error:
        raise click.ClickException(str(error)) from None
