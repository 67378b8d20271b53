"""What an order says for itself: its merchant code at each acquirer and its own digest."""

import io
import json
from pathlib import Path

import pytest
from import_profiles import profile_of
from merchant_world import World

from clearline import intents
from clearline.intents import PayIntent, Route
from merchant.importer import Bad, Format, Taken, read
from merchant.orders import Order, RowCode, intent_for
from merchant.profile import Profile

CARD = "4111111111111111"
OWN = "0b" * 32
# A SHA-256 may hold what would be a card number anywhere else.
CARDLIKE = f"a{CARD}b" + "c" * 46
NOW = "2026-11-23T12:00:00.000Z"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return profile_of("unionpay", "wallet")


def lines(text: str, profile: Profile, form: Format = Format.CSV) -> list[Taken | Bad]:
    return list(read(io.BytesIO(text.encode()), form, profile))


def one(text: str, profile: Profile, form: Format = Format.CSV) -> Order:
    (row,) = lines(text, profile, form)
    assert isinstance(row, Taken), row
    return row.order


CODES = [
    # what the row says, and the routes of the intent
    ({"payer_token": "a"}, {"unionpay": "Cunionpay"}),
    ({"payer_token": "a", "merchant_code": "X1"}, {"unionpay": "X1"}),
    ({"payer_token": "a", "merchant_code.unionpay": "X1"}, {"unionpay": "X1"}),
    (
        {"payer_token": "a", "acquirer": "wallet", "merchant_code": "X1"},
        {"wallet": "X1"},
    ),
    ({"payer_token.wallet": "b", "merchant_code": "X1"}, {"wallet": "X1"}),
    (
        {"payer_token": "a", "payer_token.wallet": "b", "merchant_code": "X1"},
        {"unionpay": "X1", "wallet": "Cwallet"},
    ),
    (
        {"payer_token": "a", "payer_token.wallet": "b", "merchant_code.wallet": "X2"},
        {"unionpay": "Cunionpay", "wallet": "X2"},
    ),
    (
        {
            **{"payer_token": "a", "payer_token.wallet": "b"},
            **{"merchant_code": "X1", "merchant_code.wallet": "X2"},
        },
        {"unionpay": "X1", "wallet": "X2"},
    ),
    (
        {"payer_token": "a", "merchant_code": "X1", "merchant_code.unionpay": "X1"},
        {"unionpay": "X1"},
    ),
    ({"payer_token": "a", "merchant_code.wallet": "X2"}, {"unionpay": "Cunionpay"}),
]


@pytest.mark.parametrize(("said", "routes"), CODES, ids=[",".join(said) for said, _ in CODES])
def test_an_order_names_its_own_codes(
    profile: Profile, said: dict[str, str], routes: dict[str, str]
) -> None:
    row = {"order_no": "A", "amount": "1"} | said
    order = one(f"{','.join(row)}\n{','.join(row.values())}\n", profile)
    assert {route.acquirer_id: route.merchant_code for route in order.routes} == routes
    assert one(json.dumps(row) + "\n", profile, Format.JSONL) == order


@pytest.mark.parametrize("digest", [OWN, CARDLIKE])
def test_an_order_brings_its_own_digest(profile: Profile, digest: str) -> None:
    head = "order_no,amount,payer_token,order_digest\n"
    order = one(f"{head}A,1,a,{digest}\n", profile)
    assert intent_for(order, 1, profile, NOW).order_digest == digest
    row = {"order_no": "A", "amount": "1", "payer_token": "a", "order_digest": digest}
    assert one(json.dumps(row) + "\n", profile, Format.JSONL) == order
    # Without one it is the row's, which tells rows apart whatever digest they give.
    plain = one("order_no,amount,payer_token\nA,1,a\n", profile)
    assert intent_for(plain, 1, profile, NOW).order_digest == plain.digest
    assert len({plain.digest, order.digest, one(f"{head}A,2,a,{digest}\n", profile).digest}) == 3
    assert Order.from_text(order.to_text()) == order


def test_an_order_stored_without_a_digest_of_its_own_is_read(profile: Profile) -> None:
    order = one("order_no,amount,payer_token\nA,1,a\n", profile)
    stored = json.loads(order.to_text())
    del stored["own_digest"]
    assert Order.from_text(json.dumps(stored)) == order


def test_a_card_number_beside_or_in_place_of_a_digest_is_refused(profile: Profile) -> None:
    head = "order_no,amount,payer_token,order_digest,store\n"
    spoiled = [
        f"A,1,a,{CARD},s\n",
        f"A,1,a,{CARDLIKE[:-1]},s\n".replace(f"a{CARD}b", f"-{CARD}-"),
        f"A,1,{CARD},{OWN},s\n",
        f"A,1,a,{OWN},{CARDLIKE}\n",
    ]
    for number, found in enumerate(lines(head + "".join(spoiled), profile), start=2):
        assert isinstance(found, Bad)
        assert (found.line, found.code) == (number, RowCode.CARD_DATA_REFUSED)
        assert CARD not in found.detail


def test_bad_values_are_told_of_by_line_and_reason(profile: Profile) -> None:
    head = "order_no,amount,payer_token,merchant_code,merchant_code.unionpay,order_digest\n"
    text = head + f"A,1,a,C-1,,\nB,1,a,,C_1,\nC,1,a,,,abc\nD,1,a,C1,C2,\nE,1,a,C1,C1,{OWN}\n"
    *bad, good = lines(text, profile)
    told = [(row.line, row.order_no, row.code, row.detail) for row in bad if isinstance(row, Bad)]
    fifteen = "must be 1 to 15 letters or digits (ISO 8583 42)"
    invalid = RowCode.FIELD_INVALID
    assert told == [
        (2, "A", invalid, f"merchant_code {fifteen}"),
        (3, "B", invalid, f"merchant_code.unionpay {fifteen}"),
        (4, "C", invalid, "order_digest must be 64 lower-case hex digits"),
        (5, "D", invalid, "merchant_code and merchant_code.unionpay are not the same"),
    ]
    assert isinstance(good, Taken)


def signed(world: World, order_no: str) -> PayIntent:
    """The one intent that gateways were sent for this order; its signature was checked there."""
    (compact,) = world.posted()[order_no]
    intent = intents.parse_any(compact).intent
    assert isinstance(intent, PayIntent)
    return intent


def test_the_signed_intent_says_what_the_order_said(world: World, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(f"order_no,amount,merchant_code,order_digest\nA-1,29.33,OWN1,{OWN}\nA-2,1,,\n")
    assert world.run("import", str(file)).exit_code == 0
    options = ("--merchant-code", "OWN3", "--order-digest", CARDLIKE)
    assert world.run("order", "A-3", "2", *options).exit_code == 0
    assert world.pay("--all")["counts"] == {"paid": 3}
    first, plain, third = (signed(world, name) for name in ("A-1", "A-2", "A-3"))
    (setting,) = world.profile["routes"]
    token = plain.acquirers[0].payer_token
    assert first.acquirers == (Route(setting["acquirer_id"], "OWN1", token),)
    assert plain.acquirers == (Route(setting["acquirer_id"], setting["merchant_code"], token),)
    assert third.acquirers == (Route(setting["acquirer_id"], "OWN3", token),)
    assert (first.order_digest, third.order_digest) == (OWN, CARDLIKE)
    assert plain.order_digest not in (OWN, CARDLIKE)
    assert f"order digest {OWN}" in world.run("status", "A-1").stdout
    bad = world.run("order", "A-4", "1", "--merchant-code", "no-code")
    assert bad.exit_code == 1 and "field_invalid: merchant_code must be" in bad.stderr
