"""`clearline bank signer`: the service that holds a signing key for connectors."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click
import orjson

from bank import signer_settings
from bank.signer_desk import SignerDesk
from bank.signer_server import SignerServer
from clearline import logs
from clearline.jws import JwsError, thumbprint
from clearline.signers.holders import SignerError
from clearline.signers.opening import load_key, open_holder
from clearline.signers.pkcs11_token import TokenHolder
from clearline.signers.settings import FileKey, SignerSettingsError, TokenKey

_CONFIG = click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="The settings file."
)


@click.group()
def signer() -> None:
    """Hold a report-signing key apart from the connectors that need it.

    Example: clearline bank signer serve --config signer.json
    """


@signer.command()
@_CONFIG
def serve(config: Path) -> None:
    """Sign reports for the bank's connectors until SIGTERM; each leaves a line in the log.

    Example: clearline bank signer serve --config signer.json
    """
    logs.configure()
    try:
        settings = signer_settings.load(config)
        key, holder = open_holder(settings.signer)
        server = SignerServer(
            settings, SignerDesk(key, holder, settings.network, settings.acquirer_id)
        )
        server.start()
    except (SignerSettingsError, JwsError, OSError) as error:
        raise click.ClickException(str(error)) from None
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        ended.wait()
    finally:
        server.stop()


@signer.command("public-key")
@_CONFIG
def public_key(config: Path) -> None:
    """Print the public half of the key that a settings file's `signer` names, as keygen does.

    From a token it is what the token says: compare it with what was printed when the key was made.

    Example: clearline bank signer public-key --config signer.json > unionpay.public.json
    """
    try:
        named = signer_settings.load_signer(config)
        if isinstance(named, FileKey):
            jwk = load_key(named).jwk
        elif isinstance(named, TokenKey):
            jwk = TokenHolder(named).public_jwk()
        else:
            raise click.ClickException("a service's key is printed where the service runs")
    except (SignerSettingsError, JwsError, SignerError, OSError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(orjson.dumps({"kid": thumbprint(jwk), "jwk": jwk}))
