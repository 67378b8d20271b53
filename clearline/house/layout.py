"""Where things are in a home, and which ports the network chose."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

MERCHANT_ID = "M-0001"
MERCHANT_BANK = "BankOne"
# The first acquirer, which answers at once: what benchmarks pay through.
ACQUIRER_ID = "unionpay"
ACQUIRER_BANK = "BankOne"


@dataclass(frozen=True, slots=True)
class Listening:
    """A room's process and where it listens."""

    name: str
    port: int
    host: str = "127.0.0.1"


class HouseError(Exception):
    """The house can't be started; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A bank's access gateway: its name, its bank and its ports on 127.0.0.1; `link_port` is where
    connectors report, None in a home that was made without it."""

    bank: str
    port: int
    link_port: int | None = None

    @property
    def name(self) -> str:
        """`gateway-bankone`."""
        return f"gateway-{self.bank.lower()}"

    @property
    def url(self) -> str:
        """Base URL, also the audience of bearer tokens."""
        return f"https://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class Acquirer:
    """An acquirer of the sandbox: its bank, its port on 127.0.0.1, and at which code there the
    demonstration merchant is known. `kind` names mock and adapter alike."""

    acquirer_id: str
    kind: str
    title: str
    merchant_code: str
    bank: str = ""
    port: int = 0

    @property
    def process(self) -> str:
        """`acquirer-unionpay`."""
        return f"acquirer-{self.acquirer_id}"

    @property
    def connector(self) -> str:
        """`connector-unionpay`."""
        return f"connector-{self.acquirer_id}"


KNOWN = (
    Acquirer("unionpay", "unionpay_iso8583", "UnionPay acquiring, sandbox", "898310148990001"),
    Acquirer("qr_wallet", "qr_wallet", "QR wallet, sandbox", "QRW0000000001"),
)


@dataclass(frozen=True, slots=True)
class Connector:
    """One of an acquirer's connectors; all but the first are started to stand by."""

    acquirer: Acquirer
    number: int = 1

    @property
    def name(self) -> str:
        """`connector-unionpay`, `connector-unionpay-2`: process, folder and holder of the lease."""
        return self.acquirer.connector + ("" if self.number == 1 else f"-{self.number}")


@dataclass(frozen=True, slots=True)
class House:
    """A home whose network is up: the paths and ports that the rooms' settings are made of.

    An acquirer has the connectors that were furnished: one, or a standby beside it for good.
    """

    home: Path
    network: str
    gateways: tuple[Gateway, ...]
    acquirers: tuple[Acquirer, ...]

    @classmethod
    def of(cls, home: Path) -> House:
        """The house in `home`. Raises HouseError when the network was never brought up there."""
        try:
            topology: dict[str, Any] = yaml.safe_load((home / "network.yaml").read_text())
            gateways = tuple(
                Gateway(organization["name"], service["port"], _port(organization, "link"))
                for organization in topology["organizations"]
                for service in organization.get("services", ())
                if service["name"] == "gateway"
            )
            places = {place["name"]: place for place in topology["acquirers"]}
            acquirers = tuple(
                replace(known, bank=place["bank"], port=place["port"])
                for known in KNOWN
                if (place := places.get(known.acquirer_id)) is not None
            )
            return cls(home, topology["network"], gateways, acquirers)
        except FileNotFoundError:
            raise HouseError(f"no network in {home}: run `clearline up` first") from None
        except (KeyError, TypeError, yaml.YAMLError) as error:
            raise HouseError(
                f"{home / 'network.yaml'} is not a resolved topology: {error}"
            ) from None

    def listening(self) -> tuple[Listening, ...]:
        """Every port the rooms listen on."""
        gateways = [Listening(gateway.name, gateway.port) for gateway in self.gateways]
        links = [
            Listening(f"{gateway.name}'s link", gateway.link_port)
            for gateway in self.gateways
            if gateway.link_port is not None
        ]
        acquirers = [Listening(acquirer.process, acquirer.port) for acquirer in self.acquirers]
        return (*gateways, *links, *acquirers)

    @property
    def run_dir(self) -> Path:
        """Where the supervisors keep their state."""
        return self.home / "run"

    def acquirer_dir(self, acquirer: Acquirer) -> Path:
        """An acquirer's own folder: another company's keys, book and settings."""
        return self.home / "acquirers" / acquirer.acquirer_id

    def connectors(self, acquirer: Acquirer) -> tuple[Connector, ...]:
        """The acquirer's connectors in this house."""
        both = (Connector(acquirer), Connector(acquirer, 2))
        return tuple(one for one in both if one.number == 1 or self.settings(one).exists())

    def settings(self, connector: Connector) -> Path:
        """A connector's settings file."""
        return self.room_dir(connector.name) / "settings.json"

    @property
    def merchant_dir(self) -> Path:
        """The demonstration merchant's folder."""
        return self.home / "merchant"

    def signer_key(self, acquirer: Acquirer) -> Path:
        """The acquiring bank's signing key, which is not its Fabric identity."""
        return self.home / "bank" / acquirer.bank / f"{acquirer.acquirer_id}.key.pem"

    def room_dir(self, name: str) -> Path:
        """Settings and data of one room's process."""
        return self.home / "rooms" / name

    def profile(self, organization: str, user: str) -> Path:
        """A user's connection profile."""
        return self.home / "profiles" / organization / f"{user}.json"

    def tls_ca(self, organization: str) -> Path:
        """The organisation's TLS root, which clients of its gateway trust."""
        return self.home / "crypto" / organization / "tlsca" / "cert.pem"

    def service_tls(self, organization: str, service: str) -> Path:
        """Folder with cert.pem and key.pem of a service's TLS."""
        return self.home / "crypto" / organization / "services" / service / "tls"


def _port(organization: dict[str, Any], name: str) -> int | None:
    """The port of an organisation's service by name."""
    services = organization.get("services", ())
    return next((service["port"] for service in services if service["name"] == name), None)
