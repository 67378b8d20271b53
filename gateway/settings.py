"""A gateway's settings file: one JSON object that both of its processes read."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import tempfile
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Final

from clearline.canonical import Json
from clearline.schema import (
    IDENTIFIER,
    NETWORK,
    Integer,
    Listed,
    Mapped,
    Members,
    SchemaError,
    Text,
)
from gateway.limits import Policy
from gateway.webhooks import settings as webhook_settings
from gateway.webhooks.settings import WebhookSettings

# struct sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
_LONGEST_SOCKET_PATH: Final = 100
SOCKET_NAME: Final = "committer.sock"
_PATH: Final = Text("[^\\x00]{1,1024}", "must be a path")
_LISTEN: Final = Text(r"[A-Za-z0-9.\[\]:_-]{1,255}:[0-9]{1,5}", "must be host:port")


class SettingsError(ValueError):
    """The settings can't be used; the message names the file, the place and the fault."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a gateway takes at most; every one has a default.

    intent_bytes, batch_bytes: bodies. batch_items: intents in one batch. commit_wait_s: how long a
    POST waits for the commit. preferred_wait_s: the most a client may ask for. block_wait_s: how
    long a read waits for `min_block`. receipt_deadline_s: within which a received intent is on the
    ledger or refused. queue_items: intents waiting before 503. transactions: on their way to the
    ledger at a time; transaction_items: intents in one (few of them: what comes meanwhile fills the
    next, and most of what peers, orderer and streams do is done once a transaction). merchant_rate
    and merchant_burst: intents a second and at once per merchant. read_rate and read_burst: the
    same for reads. final_waiters: threads of a worker that may wait for final
    statuses. acquirer_depth: payments waiting for an acquirer from which it takes no more.
    acquirer_backlog_s: the same in seconds of the acquirer's own pace. connections: open ones in
    each worker; one more takes the place of the one that does least. handshake_s: for a TLS
    handshake. first_byte_s: from there to the first byte. request_s: from a request's first
    byte to its last, and for taking the answer.
    """

    intent_bytes: int = 16_384
    batch_bytes: int = 1_048_576
    batch_items: int = 200
    commit_wait_s: int = 10
    preferred_wait_s: int = 30
    block_wait_s: int = 5
    receipt_deadline_s: int = 300
    queue_items: int = 4_000
    transactions: int = 2
    transaction_items: int = 300  # the contract takes 500
    merchant_rate: int = 2_000
    merchant_burst: int = 10_000
    read_rate: int = 1_000
    read_burst: int = 2_000
    final_waiters: int = 24
    acquirer_depth: int = 10_000
    acquirer_backlog_s: int = 2
    connections: int = 1_000
    handshake_s: int = 5
    first_byte_s: int = 15
    request_s: int = 20

    @property
    def posts(self) -> Policy:
        """What a merchant may post."""
        return _policy("intents", self.merchant_burst, self.merchant_rate)

    @property
    def reads(self) -> Policy:
        """What a merchant may read, and do about its webhooks."""
        return _policy("reads", self.read_burst, self.read_rate)


_policy = lru_cache(maxsize=16)(Policy)

_LIMITS: Final = Members(
    {item.name: Integer(1, 100_000_000) for item in fields(Limits)},
    frozenset(item.name for item in fields(Limits)),
)
_CIDR: Final = Text("[0-9A-Fa-f.:]{2,45}/[0-9]{1,3}", "must be an address range, 10.0.0.0/8")
_THIS_MACHINE: Final = ("127.0.0.0/8", "::1/128")
_LINK: Final = Members({"listen": _LISTEN, "tls_cas": Mapped(IDENTIFIER, _PATH, 64)})
_SETTINGS: Final = Members(
    {
        "name": IDENTIFIER,
        "network": NETWORK,
        "listen": _LISTEN,
        "audience": Text(r"https?://[A-Za-z0-9.:\[\]-]{1,128}", "must be the gateway's base URL"),
        "tls": Members({"certificate": _PATH, "private_key": _PATH}),
        "profile": _PATH,
        "data_dir": _PATH,
        "workers": Integer(1, 64),
        "threads": Integer(1, 1024),
        "limits": _LIMITS,
        "webhooks": webhook_settings.SHAPE,
        "link": _LINK,
        "metrics_from": Listed(_CIDR, 0, 64),
    },
    frozenset({"workers", "threads", "limits", "webhooks", "link", "metrics_from"}),
)


@dataclass(frozen=True, slots=True)
class LinkSettings:
    """Where connectors report their acquirers' health, and the TLS CAs of the organisations whose
    connectors may, by MSP id. The listener shows the gateway's own TLS certificate."""

    host: str
    port: int
    authorities: tuple[tuple[str, Path], ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """A gateway: its name in receipts, where it listens, and where its ledger and data are.

    `audience` is the base URL bearer tokens must be for; `threads` are per worker; `metrics_from`
    are the address ranges that may read /metrics.
    """

    name: str
    network: str
    host: str
    port: int
    audience: str
    certificate: Path
    private_key: Path
    profile: Path
    data_dir: Path
    workers: int = 2
    threads: int = 32
    limits: Limits = field(default_factory=Limits)
    webhooks: WebhookSettings = field(default_factory=WebhookSettings)
    link: LinkSettings | None = None
    metrics_from: tuple[str, ...] = _THIS_MACHINE

    @classmethod
    def load(cls, path: Path) -> Settings:
        """Read a settings file. Raises SettingsError; relative paths are the file's folder's."""
        try:
            document: Json = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"can't read the gateway's settings {path}: {error}") from None
        try:
            _SETTINGS.check(document, "")
            webhooks = webhook_settings.from_json(
                document.get("webhooks", {}), path.resolve().parent
            )
        except SchemaError as error:
            raise SettingsError(f"{path}: {error}") from None
        host, port = _address(path, document["listen"], "/listen")
        folder = path.resolve().parent
        link = None
        if "link" in document:
            authorities = tuple(
                (name, folder / ca) for name, ca in document["link"]["tls_cas"].items()
            )
            link = LinkSettings(
                *_address(path, document["link"]["listen"], "/link/listen"),
                authorities,
            )
        return cls(
            name=document["name"],
            network=document["network"],
            host=host,
            port=port,
            audience=document["audience"],
            certificate=folder / document["tls"]["certificate"],
            private_key=folder / document["tls"]["private_key"],
            profile=folder / document["profile"],
            data_dir=folder / document["data_dir"],
            workers=document.get("workers", 2),
            threads=document.get("threads", 32),
            limits=Limits(**document.get("limits", {})),
            webhooks=webhooks,
            link=link,
            metrics_from=_networks(path, document),
        )

    @property
    def projection(self) -> Path:
        """The SQLite file the committer writes and the workers read."""
        return self.data_dir / "projection.db"

    @property
    def webhook_store(self) -> Path:
        """The SQLite file of events, webhooks and deliveries."""
        return self.data_dir / "webhooks.db"

    @property
    def webhook_secret(self) -> Path:
        """The file webhook keys are derived from."""
        return self.data_dir / "webhook.secret"

    @property
    def health_board(self) -> Path:
        """The SQLite file of what connectors report about their acquirers."""
        return self.data_dir / "acquirers.db"

    @property
    def queue_store(self) -> Path:
        """The commit queue's SQLite file."""
        return self.data_dir / "queue.db"

    @property
    def socket(self) -> Path:
        """Where the committer listens for this gateway's workers.

        In data_dir, or, when that is too long for a Unix socket, in the system's folder for
        temporary files under a name that only this data_dir has.
        """
        path = self.data_dir.resolve() / SOCKET_NAME
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return path
        digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"clearline-{os.getuid()}" / f"{digest}.sock"


def _address(path: Path, text: str, place: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if int(port) > 65535:
        raise SettingsError(f"{path}: {place}: port {port} is beyond 65535")
    return host.strip("[]"), int(port)


def _networks(path: Path, document: Json) -> tuple[str, ...]:
    if "metrics_from" not in document:
        return _THIS_MACHINE
    for index, text in enumerate(document["metrics_from"]):
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise SettingsError(f"{path}: /metrics_from/{index}: {error}") from None
    return tuple(document["metrics_from"])
