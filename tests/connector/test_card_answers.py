"""An acquirer that says a card number where a token or a route belongs: no payment hangs on it."""

from pathlib import Path
from typing import Any

import pytest
from benches import BENCHES, Bench, Payer
from fake_ledger import FakeLedger
from helpers_connector import World, connected
from scenarios import play, statuses

from acquirers.qr_wallet.wallet import Wallet
from acquirers.unionpay_iso8583.host import Host
from clearline import reports
from clearline.statuses import Reason

CARD = "4111111111111111"


@pytest.fixture(params=BENCHES.values(), ids=lambda bench: str(bench.acquirer_id))
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Its acquirer says the card number for the payer and for the route of whatever has ended."""
    bench: Bench = request.param
    known, view = Host._known, Wallet.view

    def card_known(self: Host, *about: Any) -> dict[str, str]:
        return known(self, *about) | {"60": CARD, "63": f"{CARD}/20261123"}

    def card_view(self: Wallet, entry: Any) -> dict[str, Any]:
        told = view(self, entry)
        ended = told["state"] != "waiting" and "wallet_no" in told
        return told | ({"payer_token": CARD, "clearing_route": CARD} if ended else {})

    monkeypatch.setattr(Host, "_known", card_known)
    monkeypatch.setattr(Wallet, "view", card_view)
    return World.make(tmp_path, bench)


@pytest.mark.parametrize(
    ("payer", "reason"),
    [(Payer.REFUSED, Reason.INSUFFICIENT_FUNDS), (Payer.PAYS, Reason.REVERSED)],
)
def test_it_ends_and_says_no_card_number(world: World, payer: Payer, reason: Reason) -> None:
    """A refusal ends as it is; an approval of nobody knows whose payment is given back."""

    async def scenario(world: World, ledger: FakeLedger) -> None:
        async with world.bench.serve(world.folder), connected(world.parts(ledger, world.adapter())):
            (key,) = world.request(ledger, world.intent(1, world.bench.tokens[payer]))
            await ledger.until_final([key])
        payment = ledger.payment(key)
        assert payment.reason == reason, statuses(ledger, key)
        assert payment.status == ("declined" if payer is Payer.REFUSED else "closed")
        report = reports.parse(payment.result).report
        assert (report.payer_token, report.clearing_route) == (None, None)

    play(world, scenario)
