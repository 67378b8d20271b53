"""Settings and processes of the rooms on one machine."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from clearline.house import command
from clearline.house.layout import (
    MERCHANT_BANK,
    MERCHANT_ID,
    Acquirer,
    Connector,
    Gateway,
    House,
)
from clearline.jws import KeySigner
from clearline.processes import GroupSpec, Probe, ProcessSpec

GROUP = "rooms"


def furnish(house: House, connectors: int = 1) -> None:
    """Make what the rooms need before they start: keys, settings, the merchant's folder.

    What is there stays; a second call changes nothing. `connectors`: 2 gives each acquirer a
    standby.
    """
    for acquirer in house.acquirers:
        _furnish_acquirer(house, acquirer)
        wanted = {Connector(acquirer, number) for number in range(1, connectors + 1)}
        for connector in wanted | set(house.connectors(acquirer)):
            _write(house.settings(connector), _connector_settings(house, connector))
    for gateway in house.gateways:
        _write(house.room_dir(gateway.name) / "settings.json", _gateway_settings(house, gateway))
    _furnish_merchant(house)


def specification(house: House) -> GroupSpec:
    """The processes of the rooms: the acquirers, each gateway's, the connectors."""
    house = replace(house, home=house.home.resolve())  # they run in another folder than ours
    specs = [
        _process(
            house,
            acquirer.process,
            ["acquirer", "serve", acquirer.kind, "--config",
             str(house.acquirer_dir(acquirer) / "settings.json")],
            Probe("tcp", f"127.0.0.1:{acquirer.port}"),
        )
        for acquirer in house.acquirers
    ]  # fmt: skip
    for gateway in house.gateways:
        settings = house.room_dir(gateway.name) / "settings.json"
        socket = house.room_dir(gateway.name) / "data" / "committer.sock"
        committer = _process(
            house,
            f"committer-{gateway.bank.lower()}",
            ["gateway", "committer", "--config", str(settings)],
            Probe("file", str(socket)),
        )
        server = _process(
            house,
            gateway.name,
            ["gateway", "serve", "--config", str(settings)],
            Probe("http", f"{gateway.url}/readyz", str(house.tls_ca(gateway.bank))),
            after=(committer.name,),
        )
        notifier = _process(
            house,
            f"notifier-{gateway.bank.lower()}",
            ["gateway", "notifier", "--config", str(settings)],
            Probe("file", str(settings.parent / "data" / "notifier.ready")),
            after=(committer.name,),
        )
        specs += [committer, server, notifier]
    specs += [
        _connector(house, connector)
        for acquirer in house.acquirers
        for connector in house.connectors(acquirer)
    ]
    return GroupSpec(GROUP, tuple(specs), grace_seconds=10.0)


def ledger_records(house: House, bank: str, account_id: str) -> list[dict[str, Any]]:
    """What a bank's maker proposes and its checker approves before the first payment: its
    acquirers, and the merchant or the merchant's codes at them."""
    own = [acquirer for acquirer in house.acquirers if acquirer.bank == bank]
    records = [_acquirer_record(house, acquirer) for acquirer in own]
    codes = {acquirer.acquirer_id: [acquirer.merchant_code] for acquirer in own}
    if bank == MERCHANT_BANK:
        return records + _merchant_records(house, account_id, codes)
    return records + [
        {
            "proposal_id": f"dev-code-{acquirer.acquirer_id}",
            "kind": "merchant_code",
            "body": {
                "merchant_id": MERCHANT_ID,
                "acquirer_id": acquirer.acquirer_id,
                "code": acquirer.merchant_code,
            },
        }
        for acquirer in own
    ]


def _acquirer_record(house: House, acquirer: Acquirer) -> dict[str, Any]:
    return {
        "proposal_id": f"dev-acquirer-{acquirer.acquirer_id}",
        "kind": "acquirer",
        "body": {
            "acquirer_id": acquirer.acquirer_id,
            "name": acquirer.title,
            "currencies": ["CNY"],
            "licence_no": "Z2000131000013",
            "licence_valid_until": "2036-12-31",
            "keys": [KeySigner.load(house.signer_key(acquirer)).jwk],
        },
    }


def _merchant_records(
    house: House, account_id: str, codes: dict[str, list[str]]
) -> list[dict[str, Any]]:
    merchant = KeySigner.load(house.merchant_dir / "key.pem")
    return [
        {
            "proposal_id": "dev-entity",
            "kind": "entity",
            "body": {
                "entity_id": "E-0001",
                "name": "Example Retail Ltd",
                "country": "CN",
                "registration_no": "91310000MA1K35XK5X",
            },
        },
        {
            "proposal_id": "dev-account",
            "kind": "account",
            "body": {
                "account_id": account_id,
                "entity_id": "E-0001",
                "bank_code": "BKONCNBJ",
                "last4": "0017",
                "currency": "CNY",
            },
        },
        {
            "proposal_id": "dev-merchant",
            "kind": "merchant",
            "body": {
                "merchant_id": MERCHANT_ID,
                "entity_id": "E-0001",
                "account_id": account_id,
                "name": "Example Retail",
                "mcc": "5411",
                "goods_categories": ["groceries", "household", "stationery", "beverages"],
                "codes": codes,
                "keys": [merchant.jwk],
            },
        },
    ]


def _furnish_acquirer(house: House, acquirer: Acquirer) -> None:
    folder = house.acquirer_dir(acquirer)
    if not (folder / "settings.json").exists():
        command.output(
            "acquirer", "init", acquirer.kind,
            "--dir", folder, "--listen", f"127.0.0.1:{acquirer.port}",
        )  # fmt: skip
    key = house.signer_key(acquirer)
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True)
        KeySigner.generate().save(key)


def _furnish_merchant(house: House) -> None:
    folder = house.merchant_dir
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not (folder / "key.pem").exists():
        KeySigner.generate().save(folder / "key.pem")
    profile = {
        "network": house.network,
        "merchant_id": MERCHANT_ID,
        "gateways": [
            {"url": gateway.url, "ca": str(house.tls_ca(gateway.bank).resolve())}
            for gateway in house.gateways
        ],
        "acquirer_keys": {
            acquirer.acquirer_id: [KeySigner.load(house.signer_key(acquirer)).jwk]
            for acquirer in house.acquirers
        },
        "gateway_keys": _receipt_keys(house),
        "routes": [
            {"acquirer_id": acquirer.acquirer_id, "merchant_code": acquirer.merchant_code}
            for acquirer in house.acquirers
        ],
        "defaults": {
            "store": "store-1",
            "terminal": "T0000001",
            "mcc": "5411",
            "product": "card",
            "goods_category": "groceries",
            "site": "shop.example",
            "currency": "CNY",
            "expires_in_seconds": 900,
            "payer_token": "tok_approve",
        },
    }
    _write(folder / "merchant.json", profile)


def _gateway_settings(house: House, gateway: Gateway) -> dict[str, Any]:
    tls = house.service_tls(gateway.bank, "gateway").resolve()
    return _link(house, gateway) | {
        "name": gateway.name,
        "network": house.network,
        "listen": f"127.0.0.1:{gateway.port}",
        "audience": gateway.url,
        "tls": {"certificate": str(tls / "cert.pem"), "private_key": str(tls / "key.pem")},
        "profile": str(house.profile(gateway.bank, "gateway").resolve()),
        "data_dir": "data",
        "workers": 2,
        "threads": 32,
        # A house on one machine: receivers are on loopback, and need no certificate there.
        "webhooks": {
            "allow_private": ["127.0.0.0/8"],
            "schemes": ["https", "http"],
            "ports": ["443", "1024-65535"],
        },
    }


def _link(house: House, gateway: Gateway) -> dict[str, Any]:
    """Where connectors of either bank report their acquirers' health."""
    if gateway.link_port is None:
        return {}
    authorities = {other.bank: str(house.tls_ca(other.bank).resolve()) for other in house.gateways}
    return {"link": {"listen": f"127.0.0.1:{gateway.link_port}", "tls_cas": authorities}}


def _receipt_keys(house: House) -> dict[str, Any]:
    """The keys gateways sign receipts with, as their banks hand them to the merchant."""
    return {
        gateway.name: [
            KeySigner.load(
                house.profile(gateway.bank, "gateway").parent / profile["private_key"]
            ).jwk
        ]
        for gateway in house.gateways
        for profile in (json.loads(house.profile(gateway.bank, "gateway").read_text()),)
    }


def _connector_settings(house: House, connector: Connector) -> dict[str, Any]:
    acquirer = connector.acquirer
    return {
        "name": connector.name,
        "network": house.network,
        "acquirer_id": acquirer.acquirer_id,
        "adapter": acquirer.kind,
        "profile": str(house.profile(acquirer.bank, "connector").resolve()),
        "signer": {"file": str(house.signer_key(acquirer).resolve())},
        "data_dir": "data",
        "partner": str((house.acquirer_dir(acquirer) / "partner.json").resolve()),
        "gateways": [
            {
                "endpoint": f"127.0.0.1:{gateway.link_port}",
                "server_name": "localhost",
                "tls_ca": str(house.tls_ca(gateway.bank).resolve()),
            }
            for gateway in house.gateways
            if gateway.link_port is not None
        ],
    }


def _connector(house: House, connector: Connector) -> ProcessSpec:
    settings = house.settings(connector)
    role = [] if connector.number == 1 else ["--standby"]
    # Either will do: which of two acts is the lease's to say, and changes while they run.
    shown = (settings.parent / "data" / name for name in ("ready", "standby"))
    return _process(
        house,
        connector.name,
        ["connector", "serve", "--config", str(settings), *role],
        Probe("file", "\n".join(map(str, shown))),
        after=(connector.acquirer.process,),
    )


def _process(
    house: House, name: str, words: list[str], probe: Probe, after: tuple[str, ...] = ()
) -> ProcessSpec:
    return ProcessSpec(
        name=name,
        argv=tuple(command.argv(*words)),
        log=str((house.home / "logs" / f"{name}.log").resolve()),
        cwd=str(house.home.resolve()),
        probes=(probe,),
        after=after,
    )


def _write(path: Path, value: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=2) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
