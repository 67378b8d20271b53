"""A bank that would change its merchant's keys or account by itself: maker and checker agree, and
nothing comes of it."""

from __future__ import annotations

from typing import Any

import parties
import pytest
from parties import BANK_ONE, OTHER, OWNER, OWNER_NEXT, OWNER_OLD, STRANGER
from security_world import World

from clearline import intents, times
from clearline.jws import KeySigner

KEY, ACCOUNT = "merchant_key", "merchant_account"
BARE = {"merchant_id": parties.MERCHANT, "action": "add", "key_id": STRANGER.key_id}
SIGNERS: list[tuple[str, KeySigner, str]] = [
    ("the bank's own", BANK_ONE, "key_unknown"),
    ("the new key itself", STRANGER, "key_unknown"),
    ("another merchant's", OTHER, "key_unknown"),
    ("a revoked one", OWNER_OLD, "key_revoked"),
    ("one of a later day", OWNER_NEXT, "key_not_yet_valid"),
]


def proposed(world: World, kind: str, body: dict[str, Any], bank: str = "BankOne") -> list[str]:
    item = {"proposal_id": parties.order_no("c"), "kind": kind, "body": body}
    return world.submit(world.user(bank, "maker"), "ProposeRecords", [item]).codes


@pytest.mark.parametrize(("who", "signer", "code"), SIGNERS, ids=[one[0] for one in SIGNERS])
def test_a_key_that_the_merchant_did_not_sign(
    world: World, who: str, signer: KeySigner, code: str
) -> None:
    assert proposed(world, KEY, parties.key_change(STRANGER, signer)) == [code]
    assert proposed(world, ACCOUNT, parties.account_change(signer)) == [code]


def test_a_key_without_a_signature(world: World) -> None:
    for body in (BARE, BARE | {"jwk": STRANGER.jwk}, BARE | {"change": "a.b.c"}):
        assert proposed(world, KEY, body) == ["malformed"]


def test_a_sound_change_carried_for_another_key_or_by_another_bank(world: World) -> None:
    sound = parties.key_change(STRANGER, OWNER)
    assert proposed(world, KEY, sound | {"key_id": OTHER.key_id}) == ["malformed"]
    assert proposed(world, KEY, sound | {"merchant_id": parties.OTHER_MERCHANT}) == ["malformed"]
    assert proposed(world, KEY, sound, "BankTwo") == ["role_forbidden"]
    elsewhere = parties.key_change(STRANGER, OWNER, network="other-net")
    assert proposed(world, KEY, elsewhere) == ["network_mismatch"]


def test_a_change_whose_day_has_come(world: World) -> None:
    past = {"created": times.after(times.now(), -5 * 86_400), "valid_from": times.now()[:10]}
    assert proposed(world, KEY, parties.key_change(STRANGER, OWNER, **past)) == ["change_too_late"]


def test_nothing_is_paid_with_a_key_of_the_banks(world: World) -> None:
    """After all of the above the record is as before, and the bank's signature is nobody's."""
    keys = world.record("merchant", parties.MERCHANT)["keys"]
    assert set(keys) == {
        signer.key_id for signer in (OWNER, parties.OWNER_ES256, OWNER_OLD, OWNER_NEXT)
    }
    for signer in (BANK_ONE, STRANGER):
        refused = world.web[0].post(intents.sign(parties.intent(), signer))
        assert (refused.status_code, refused.json()["code"]) == (401, "key_unknown")
