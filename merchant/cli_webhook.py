"""`clearline merchant webhook register | list | remove | replay`, `clearline merchant listen`."""

from __future__ import annotations

import signal
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import click
import orjson

from clearline import logs
from clearline.canonical import Json
from clearline.schema import SchemaError
from clearline.webhooks import WEBHOOK_ID, EventType
from merchant import inbox, profile
from merchant.attempts import BookError
from merchant.client import HttpGateways
from merchant.desk import Desk, home_option, load_profile, opened
from merchant.inbox import EventRefusedError, Kind
from merchant.listen import Clerk, Keys, Receiver, Server
from merchant.orderbook import OrderBook
from merchant.profile import BOOK_FILE, Profile, ProfileError
from merchant.webhook_desk import WebhookDesk, WebhookDeskError
from merchant.webhook_keys import WebhookFile

_ENDS: Final = (
    EventType.SUCCEEDED, EventType.DECLINED, EventType.CLOSED, EventType.EXPIRED,
    EventType.REFUND_SUCCEEDED, EventType.REFUND_DECLINED,
)  # fmt: skip
_gateway = click.option(
    "--gateway",
    "chosen",
    type=int,
    multiple=True,
    help="Which of the profile's gateways, from 1 (default: all).",
)


@click.group()
@home_option
@click.pass_context
def webhook(context: click.Context, home: Path) -> None:
    """Webhooks at the merchant's gateways.

    Example: clearline merchant webhook register till-1 https://shop.example.com/events
    """
    context.obj = home


def _check_id(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        WEBHOOK_ID.check(value, "")
    except SchemaError as error:
        raise click.BadParameter(error.reason) from None
    return value


_webhook_id = click.argument("webhook_id", callback=_check_id)


@contextmanager
def _desk(settings: Profile, home: Path) -> Iterator[WebhookDesk]:
    try:
        signer = profile.load_signer(home)
    except ProfileError as error:
        raise click.ClickException(str(error)) from None
    with closing(HttpGateways(settings, signer)) as http:
        yield WebhookDesk(settings, signer, http)


def _numbers(settings: Profile, chosen: tuple[int, ...]) -> list[int]:
    count = len(settings.gateways)
    for number in chosen:
        if not 1 <= number <= count:
            raise click.UsageError(
                f"--gateway must be 1 to {count}: that many are in merchant.json"
            )
    return [number - 1 for number in dict.fromkeys(chosen)] or list(range(count))


def _file(home: Path) -> WebhookFile:
    try:
        return WebhookFile.load(home)
    except ProfileError as error:
        raise click.ClickException(str(error)) from None


@webhook.command()
@home_option
@_webhook_id
@click.argument("url")
@click.option(
    "--event",
    "events",
    type=click.Choice([event.value for event in EventType]),
    multiple=True,
    help="What to be told; may be given several times (default: every end of a payment).",
)
@_gateway
def register(
    home: Path, webhook_id: str, url: str, events: tuple[str, ...], chosen: tuple[int, ...]
) -> None:
    """Have payments' news posted to URL, signed by each gateway; again with another URL to move it.

    The gateways' keys are stored in webhooks.json: `listen` trusts those and no other. Exit code 1
    when a gateway did not take it.

    Example: clearline merchant webhook register till-1 https://shop.example.com/events
    """
    settings, failed = load_profile(home), False
    wanted = tuple(EventType(event) for event in dict.fromkeys(events)) or _ENDS
    held = _file(home)
    with _desk(settings, home) as desk:
        for number in _numbers(settings, chosen):
            name = settings.gateways[number].url
            try:
                shown = desk.register(number, webhook_id, url, wanted)
            except WebhookDeskError as error:
                click.echo(f"{name}: not registered: {error}", err=True)
                failed = True
                continue
            held.keys.setdefault(name, {})[webhook_id] = shown["keys"]
            held.save(home)
            click.echo(f"{name}: {webhook_id} posts to {shown['url']}")
    sys.exit(1 if failed else 0)


@webhook.command("list")
@home_option
@_gateway
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines.")
def list_webhooks(home: Path, chosen: tuple[int, ...], as_json: bool) -> None:
    """Show the webhooks at each gateway and how their deliveries go; fetches their keys anew.

    Example: clearline merchant webhook list
    """
    settings, failed = load_profile(home), False
    held = _file(home)
    with _desk(settings, home) as desk:
        for number in _numbers(settings, chosen):
            name = settings.gateways[number].url
            try:
                found = desk.list(number)
            except WebhookDeskError as error:
                click.echo(f"{name}: {error}", err=True)
                failed = True
                continue
            for shown in found:
                held.keys.setdefault(name, {})[shown["webhook_id"]] = shown["keys"]
                _show(name, shown, as_json)
            held.save(home)
    sys.exit(1 if failed else 0)


def _show(name: str, shown: Json, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps({"gateway": name} | shown))
        return
    status = f"{shown['status']} {shown['reason']}".rstrip()
    click.echo(f"{name}: {shown['webhook_id']} {status} {shown['url']}")
    click.echo(
        f"  delivered {shown['delivered']}, waiting {shown['pending']},"
        f" given up {shown['given_up']}; {', '.join(shown['events'])}"
    )
    if shown["last_error"]:
        click.echo(f"  last failure {shown['last_failure']}: {shown['last_error']}")


@webhook.command()
@home_option
@_webhook_id
@_gateway
def remove(home: Path, webhook_id: str, chosen: tuple[int, ...]) -> None:
    """Remove a webhook and what waits for it. Exit code 1 when a gateway did not.

    Example: clearline merchant webhook remove till-1
    """
    settings, failed = load_profile(home), False
    held = _file(home)
    with _desk(settings, home) as desk:
        for number in _numbers(settings, chosen):
            name = settings.gateways[number].url
            try:
                desk.remove(number, webhook_id)
            except WebhookDeskError as error:
                click.echo(f"{name}: not removed: {error}", err=True)
                failed = True
                continue
            held.keys.get(name, {}).pop(webhook_id, None)
            held.save(home)
            click.echo(f"{name}: {webhook_id} removed")
    sys.exit(1 if failed else 0)


@webhook.command()
@home_option
@click.option("--gateway", type=int, default=1, show_default=True, help="Which one, from 1.")
@click.option("--cursor", help="Where to begin (default: where the last replay ended).")
@click.option("--all", "every", is_flag=True, help="From the beginning.")
@click.option("--json", "as_json", is_flag=True, help="Print the counts as JSON.")
def replay(home: Path, gateway: int, cursor: str | None, every: bool, as_json: bool) -> None:
    """Fetch events that were missed and put them into the order book, as `listen` would.

    Cursors are places on the ledger: they are good at every gateway. Exit code 1 when an event was
    disputed or refused.

    Example: clearline merchant webhook replay
    """
    with opened(home) as desk, _desk(desk.profile, home) as fetcher:
        (number,) = _numbers(desk.profile, (gateway,))
        held = _file(home)
        begin = "" if every else (held.cursor if cursor is None else cursor)
        counts: Counter[str] = Counter()
        try:
            _replay(desk, fetcher, held, number, begin, counts)
        except WebhookDeskError as error:
            raise click.ClickException(str(error)) from None
    if as_json:
        click.echo(orjson.dumps(dict(counts) | {"cursor": held.cursor}))
    else:
        click.echo(", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing new")
    sys.exit(1 if counts[Kind.DISPUTED.value] or counts["refused"] else 0)


def _replay(
    desk: Desk,
    fetcher: WebhookDesk,
    held: WebhookFile,
    gateway: int,
    cursor: str,
    counts: Counter[str],
) -> None:
    name = desk.profile.gateways[gateway].url
    while True:
        page = fetcher.events(gateway, cursor)
        deliveries = []
        for item in page.events:
            event_id = item.get("id") if isinstance(item, dict) else None
            try:
                deliveries.append(inbox.read(str(event_id), item, desk.profile, name))
            except EventRefusedError as error:
                counts["refused"] += 1
                click.echo(f"{event_id}: refused: {error}", err=True)
        for taken in inbox.take(desk.book, desk.profile, deliveries):
            counts[taken.kind.value] += 1
            if taken.kind is Kind.DISPUTED:
                click.echo(f"DISPUTED {taken.order_no}: {taken.detail}", err=True)
        if not page.events or page.next_cursor == cursor:
            return
        cursor = held.cursor = page.next_cursor  # the effect is stored: now the place may move
        held.save(desk.home)


@click.command()
@home_option
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), required=True, help="0 takes a free one.")
@click.option("--path", default="/", show_default=True, help="Where events are posted.")
@click.option("--cert", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--key", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def listen(
    home: Path, host: str, port: int, path: str, cert: Path | None, key: Path | None
) -> None:
    """Receive webhooks: an order becomes paid when the bank's signature inside proves it.

    With --cert and --key over TLS; without, something that speaks TLS must stand in front. What
    was missed while it did not run comes by itself, or by `webhook replay`.

    Example: clearline merchant listen --port 8443 --cert cert.pem --key key.pem
    """
    settings = load_profile(home)
    try:
        keys = Keys(home)
        OrderBook(home / BOOK_FILE, settings.network, settings.merchant_id).close()
        tls = _tls(cert, key)
    except (ProfileError, BookError, OSError) as error:
        raise click.ClickException(str(error)) from None
    logs.configure()
    clerk = Clerk(
        lambda: OrderBook(home / BOOK_FILE, settings.network, settings.merchant_id), settings
    )
    try:
        server = Server((host, port), path, Receiver(settings, keys, clerk), tls)
    except OSError as error:
        clerk.close()
        raise click.ClickException(f"can't listen on {host}:{port}: {error.strerror}") from None
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    scheme = "http" if tls is None else "https"
    click.echo(f"listening on {scheme}://{host}:{server.server_port}{path}", err=True)
    with server:
        server.serve_forever(0.2)
    clerk.close()


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise click.UsageError("--cert and --key go together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key)
    return context
