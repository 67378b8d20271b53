"""A gateway over a ledger that is away: an intent it takes all the same, a webhook, an event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers_gateway import open_site, signed, until
from helpers_webhooks import open_house, wish
from recorder import Recorder

from clearline.canonical import Json
from gateway.committer import Committer
from gateway.messages import Verb
from gateway.webhooks.keys import WebhookKeys
from gateway.webhooks.sender import Sender


def play(recorder: Recorder, folder: Path) -> None:
    """All of them, at one site."""
    site_folder = folder / "site"
    site_folder.mkdir()
    _watch(recorder)
    recorder.begin("keys shown")
    WebhookKeys.load(site_folder / "data" / "webhook.secret", "clearline-dev", "gateway-bankone")
    recorder.told("keys shown")
    with open_site(site_folder) as site, open_house(site) as house:
        receiver = house.receiver()
        house.start()
        house.caught_up()
        recorder.begin("webhook registered")
        assert house.put(wish(receiver.url)).status_code == 201
        recorder.told("webhook registered")
        recorder.settle()
        recorder.begin("event sent")
        intent = house.pay()
        until(lambda: bool(receiver.of(intent.order_no)))
        recorder.settle()
        house.stop()
        site.ledger.down()
        recorder.begin("intent received")
        assert site.post(signed(), Prefer="respond-async").status_code == 202
        recorder.settle()
        site.ledger.up()


def _watch(recorder: Recorder) -> None:
    """Note a 202 when the committer has it ready for its socket, an event before its request."""
    handle, attempt = Committer.handle, Sender.attempt

    async def watched_handle(self: Committer, verb: Verb, body: Json) -> Json:
        answer = await handle(self, verb, body)
        if verb is Verb.SUBMIT and "received" in str(answer):
            recorder.told("intent received")
        return answer

    async def watched_attempt(self: Sender, due: Any) -> Any:
        recorder.told("event sent")
        return await attempt(self, due)

    Committer.handle = watched_handle  # type: ignore[method-assign]
    Sender.attempt = watched_attempt  # type: ignore[method-assign]
