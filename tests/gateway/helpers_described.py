"""A gateway's processes over a small ledger, and what it says of itself, for schemathesis."""

from pathlib import Path
from typing import Any

import requests
import schemathesis
from helpers_gateway import (
    REGISTRY,
    Process,
    new_intent,
    record_name,
    signed,
    until,
    write_identity,
    write_settings,
)
from helpers_ledger import Ledger
from helpers_settlements import PLACE, SETTLEMENT

from clearline import free_ports, records
from clearline.clearing_records import settlement_key
from clearline.fabric.profile import Profile


class Described:
    """A gateway's processes with one payment on the ledger, and its description."""

    def __init__(self, folder: Path) -> None:
        write_identity(folder)
        self.ledger = Ledger(folder / "cert.pem", folder / "key.pem")
        port = free_ports.choose()
        # What an example prefers to wait for never comes.
        path = write_settings(folder, self.ledger.peer.endpoint, port, preferred_wait_s=1)
        self.ledger.use(Profile.load(folder / "profile.json"))
        for record in REGISTRY:
            kind, name = record_name(record)
            self.ledger.write(records.record_key(kind, name), records.dump(record))
        self.ledger.write(settlement_key(PLACE, 1), records.dump(SETTLEMENT))
        self.committer = Process(folder, "committer", "committer", "--config", str(path))
        self.server = Process(folder, "serve", "serve", "--config", str(path))
        self.committer.start()
        self.server.start()
        self.url = f"https://127.0.0.1:{port}"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(folder / "cert.pem")
        until(self.ready, 20)
        self.order_no = (intent := new_intent()).order_no
        self.known = {"order_no": self.order_no} | PLACE._asdict() | {"run": 1}
        posted = self.session.post(
            f"{self.url}/v1/payments",
            data=signed(intent),
            headers={"Content-Type": "application/jose"},
            timeout=20,
        )
        assert posted.status_code == 201

    def ready(self) -> bool:
        try:
            return bool(self.session.get(f"{self.url}/readyz", timeout=5).ok)
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        self.session.close()
        self.server.stop()
        self.committer.stop()
        self.ledger.close()

    def schema(self) -> Any:
        """The description, of this server."""
        document = self.session.get(f"{self.url}/openapi.json", timeout=10).json()
        document["servers"] = [{"url": self.url}]
        return schemathesis.openapi.from_dict(document)
