"""Where things are in a home, and which ports the network chose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ACQUIRER_ID = "unionpay"
ADAPTER = "unionpay_iso8583"
ACQUIRER_BANK = "BankOne"
MERCHANT_ID = "M-0001"
MERCHANT_CODE = "898310148990001"


class HouseError(Exception):
    """The house can't be started; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """A bank's access gateway: its name, its bank and its port on 127.0.0.1."""

    bank: str
    port: int

    @property
    def name(self) -> str:
        """`gateway-bankone`."""
        return f"gateway-{self.bank.lower()}"

    @property
    def url(self) -> str:
        """Base URL, also the audience of bearer tokens."""
        return f"https://127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True)
class House:
    """A home whose network is up: the paths and ports that the rooms' settings are made of."""

    home: Path
    network: str
    gateways: tuple[Gateway, ...]
    acquirer_port: int

    @classmethod
    def of(cls, home: Path) -> House:
        """The house in `home`. Raises HouseError when the network was never brought up there."""
        try:
            topology: dict[str, Any] = yaml.safe_load((home / "network.yaml").read_text())
            gateways = tuple(
                Gateway(organization["name"], service["port"])
                for organization in topology["organizations"]
                for service in organization.get("services", ())
                if service["name"] == "gateway"
            )
            port = next(a["port"] for a in topology["acquirers"] if a["name"] == ACQUIRER_ID)
            return cls(home, topology["network"], gateways, port)
        except FileNotFoundError:
            raise HouseError(f"no network in {home}: run `clearline up` first") from None
        except (KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
            raise HouseError(
                f"{home / 'network.yaml'} is not a resolved topology: {error}"
            ) from None

    @property
    def run_dir(self) -> Path:
        """Where the supervisors keep their state."""
        return self.home / "run"

    @property
    def acquirer_dir(self) -> Path:
        """The acquirer's own folder: another company's keys, book and settings."""
        return self.home / "acquirers" / ACQUIRER_ID

    @property
    def merchant_dir(self) -> Path:
        """The demonstration merchant's folder."""
        return self.home / "merchant"

    @property
    def signer_key(self) -> Path:
        """The acquiring bank's signing key, which is not its Fabric identity."""
        return self.home / "bank" / ACQUIRER_BANK / f"{ACQUIRER_ID}.key.pem"

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
