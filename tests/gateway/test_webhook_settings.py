"""The webhooks' keys and settings: the signing secret's file, what settings allow."""

import json
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_gateway import write_settings

from gateway.settings import Settings, SettingsError
from gateway.webhooks.keys import WebhookKeyError, WebhookKeys


def test_keys_are_a_webhooks_own_and_change_with_their_file(tmp_path: Path) -> None:
    path = tmp_path / "webhook.secret"
    keys = WebhookKeys.load(path, "clearline-dev", "gateway-bankone")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert WebhookKeys.load(path, "clearline-dev", "gateway-bankone") == keys
    names = [
        (found, merchant_id, webhook_id)
        for found in (keys, replace(keys, gateway="other"), replace(keys, network="other"))
        for merchant_id in ("M-1", "M-2")
        for webhook_id in ("a", "b")
    ]
    texts = {text for found, *name in names for text in found.public(*name)}
    assert len(texts) == 12
    (old,) = keys.public("M-1", "a")
    path.write_text("ab" * 32 + "\n" + path.read_text())
    new, kept = WebhookKeys.load(path, "clearline-dev", "gateway-bankone").public("M-1", "a")
    assert (kept, new != old) == (old, True)
    for text in ("", "ab", "zz" * 32, ("ab" * 32 + "\n") * 5, "é"):
        path.write_text(text)
        with pytest.raises(WebhookKeyError):
            WebhookKeys.load(path, "clearline-dev", "gateway-bankone")


@pytest.mark.parametrize(
    ("webhooks", "place_"),
    [
        ({"allow_private": ["10.0.0.1/8"]}, "/webhooks/allow_private"),
        ({"allow_private": ["10.0.0.0"]}, "/webhooks/allow_private/0"),
        ({"ports": ["70000"]}, "/webhooks/ports"),
        ({"ports": ["9-8"]}, "/webhooks/ports"),
        ({"ports": ["0"]}, "/webhooks/ports"),
        ({"schemes": ["ftp"]}, "/webhooks/schemes/0"),
        ({"timeout_s": 0}, "/webhooks/timeout_s"),
        ({"unknown": 1}, "/webhooks/unknown"),
    ],
)
def test_bad_settings_name_the_place(tmp_path: Path, webhooks: object, place_: str) -> None:
    path = write_settings(tmp_path, "127.0.0.1:7051")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"webhooks": webhooks}))
    with pytest.raises(SettingsError, match=re.escape(place_)):
        Settings.load(path)


def test_by_default_nothing_private_is_taken(tmp_path: Path) -> None:
    chosen = Settings.load(write_settings(tmp_path, "127.0.0.1:7051")).webhooks
    assert (chosen.rules.allow_private, chosen.rules.schemes) == ((), ("https",))
    assert hash(chosen) == hash(replace(chosen))
