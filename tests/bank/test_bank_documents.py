"""What a bank's clerk may propose: a row a rule, each refused here as the contract would."""

from pathlib import Path
from typing import Any

import pytest

from bank.accounts import AccountError, name_account
from bank.documents import DocumentError, draft, read_json, read_records
from clearline import changes
from clearline.changes import AccountChange, KeyChange
from clearline.codes import Code
from clearline.jws import Algorithm, KeySigner
from clearline.records import PROPOSALS, account_id

KEY, OTHER = KeySigner.generate(), KeySigner.generate(Algorithm.ES256)
CARD = "4111111111111111"
NOON = "2026-11-23T12:00:00.000Z"
BODIES: dict[str, dict[str, Any]] = {
    "entity": {
        "entity_id": "E-1",
        "name": "Corner Shop Ltd",
        "country": "CN",
        "registration_no": "91310000MA1FL0QX5T",
    },
    "account": {
        "account_id": "0" * 64,
        "entity_id": "E-1",
        "bank_code": "ICBKCNBJ",
        "last4": "1234",
        "currency": "CNY",
    },
    "merchant": {
        "merchant_id": "M-1",
        "entity_id": "E-1",
        "account_id": "0" * 64,
        "name": "Corner Shop",
        "mcc": "5411",
        "goods_categories": ["groceries"],
        "codes": {"unionpay": ["898310148990001"]},
        "keys": [KEY.jwk, OTHER.jwk],
    },
    "acquirer": {
        "acquirer_id": "unionpay",
        "name": "UnionPay",
        "currencies": ["CNY"],
        "licence_no": "Z2001",
        "licence_valid_until": "2030-12-31",
        "keys": [KEY.jwk],
    },
    "merchant_code": {"merchant_id": "M-1", "acquirer_id": "unionpay", "code": "898310148990002"},
    "merchant_key": {
        "merchant_id": "M-1",
        "action": "add",
        "key_id": OTHER.key_id,
        "change": changes.sign(KeyChange("net", "M-1", OTHER.jwk, NOON, "2026-11-24"), KEY),
    },
    "merchant_account": {
        "merchant_id": "M-1",
        "account_id": "0" * 64,
        "change": changes.sign(
            AccountChange("net", "M-1", "0" * 64, "BKONCNBJ", "0001", NOON, "2026-11-24"), KEY
        ),
    },
    "acquirer_key": {"acquirer_id": "unionpay", "action": "revoke", "key_id": KEY.key_id},
    "merchant_status": {"merchant_id": "M-1", "status": "suspended"},
    "acquirer_status": {"acquirer_id": "unionpay", "status": "active"},
    "relation": {
        "account_id": "0" * 64,
        "owner_id": "E-1",
        "entity_id": "E-2",
        "relationship": "licensed_agent",
        "since": "2026-12-01",
        "until": "2027-11-30",
        "document_digest": "4" * 64,
        "licence_no": "L-7",
    },
    "relation_end": {"account_id": "0" * 64, "entity_id": "E-2", "until": "2026-12-31"},
}


def test_every_kind_has_a_good_body_and_a_stable_id() -> None:
    assert set(BODIES) == set(PROPOSALS)
    ids = set()
    for kind, body in BODIES.items():
        made = draft(kind, body)
        assert draft(kind, dict(reversed(list(body.items())))).proposal_id == made.proposal_id
        assert made.proposal_id.startswith(kind[:15]) and len(made.proposal_id) <= 32
        ids.add(made.proposal_id)
    assert len(ids) == len(BODIES)
    assert draft("entity", BODIES["entity"], "my-id").proposal_id == "my-id"


BAD: list[tuple[str, dict[str, Any], Code, str]] = [
    ("entity", {"country": "cn"}, Code.MALFORMED, "/body/country"),
    ("entity", {"colour": "red"}, Code.MALFORMED, "/body/colour"),
    ("entity", {"name": " x"}, Code.MALFORMED, "/body/name"),
    ("entity", {"name": f"Shop {CARD}"}, Code.CARD_DATA_REFUSED, "/body/name"),
    ("entity", {"registration_no": CARD}, Code.CARD_DATA_REFUSED, "/body/registration_no"),
    ("account", {"account_id": "6222"}, Code.MALFORMED, "/body/account_id"),
    ("account", {"last4": "12345"}, Code.MALFORMED, "/body/last4"),
    ("account", {"currency": "XXX"}, Code.MALFORMED, "/body/currency"),
    ("merchant", {"mcc": 5411}, Code.MALFORMED, "/body/mcc"),
    ("merchant", {"keys": []}, Code.MALFORMED, "/body/keys"),
    ("merchant", {"keys": [KEY.jwk, KEY.jwk]}, Code.KEY_REFUSED, "/body/keys"),
    ("merchant", {"keys": [KEY.jwk | {"d": "AAAA"}]}, Code.MALFORMED, "/body/keys/0/d"),
    (
        "merchant",
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}]},
        Code.KEY_REFUSED,
        "/body/keys/0",
    ),
    ("merchant", {"codes": {"unionpay": [CARD[:15]]}}, Code.OK, ""),
    (
        "merchant",
        {"codes": {"unionpay": ["378282246310005"]}},
        Code.CARD_DATA_REFUSED,
        "/body/codes",
    ),
    ("acquirer", {"licence_valid_until": "2030-02-30"}, Code.MALFORMED, "licence_valid_until"),
    ("merchant_key", {"jwk": OTHER.jwk}, Code.MALFORMED, "/body/jwk"),
    ("merchant_key", {"action": "revoke"}, Code.MALFORMED, "/body/change"),
    ("merchant_key", {"key_id": KEY.key_id}, Code.MALFORMED, "/body/change"),
    ("merchant_key", {"merchant_id": "M-2"}, Code.MALFORMED, "/body/change"),
    ("merchant_key", {"change": "x"}, Code.MALFORMED, "/body/change"),
    ("merchant_account", {"account_id": "1" * 64}, Code.MALFORMED, "/body/change"),
    ("acquirer_key", {"action": "add", "jwk": OTHER.jwk}, Code.KEY_REFUSED, "/body/key_id"),
    ("acquirer_key", {"action": "add"}, Code.MALFORMED, "/body/jwk"),
    ("merchant_status", {"status": "closed"}, Code.MALFORMED, "/body/status"),
]


@pytest.mark.parametrize(("kind", "change", "code", "place"), BAD)
def test_bad_bodies(kind: str, change: dict[str, Any], code: Code, place: str) -> None:
    body = BODIES[kind] | change
    if code is Code.OK:
        assert draft(kind, body)
        return
    with pytest.raises(DocumentError) as raised:
        draft(kind, body)
    assert raised.value.code is code and place in raised.value.detail
    assert CARD not in str(raised.value)


@pytest.mark.parametrize("body", [None, [], "x", 5, {}])
def test_bodies_that_are_no_objects(body: Any) -> None:
    with pytest.raises(DocumentError):
        draft("entity", body)
    with pytest.raises(DocumentError, match="kind"):
        draft("payment", BODIES["entity"])


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '[{"kind":"entity"}]', "[5]", '[{"kind":"entity","body":{},"x":1}]',
     '[{"kind":"entity","kind":"account","body":{}}]', "[1.5]"],
)  # fmt: skip
def test_files_that_are_no_list_of_records(tmp_path: Path, text: str) -> None:
    file = tmp_path / "records.json"
    file.write_text(text)
    with pytest.raises(DocumentError, match=r"records\.json"):
        read_records(file)


def test_a_file_is_read_with_its_items_named(tmp_path: Path) -> None:
    import json

    file = tmp_path / "records.json"
    items = [{"kind": kind, "body": body} for kind, body in BODIES.items()]
    file.write_text("\ufeff" + json.dumps(items))
    assert [item.kind for item in read_records(file)] == list(BODIES)
    file.write_text(json.dumps([items[0], items[1] | {"body": {}}]))
    with pytest.raises(DocumentError, match="item 1: /body"):
        read_records(file)
    file.write_text(json.dumps([items[0], items[0]]))
    with pytest.raises(DocumentError, match="twice"):
        read_records(file)
    with pytest.raises(DocumentError, match="can't read"):
        read_json(tmp_path / "nowhere.json")


SECRET = b"0123456789abcdef"


def test_one_account_has_one_name() -> None:
    plain = name_account(SECRET, "ICBKCNBJ", "6222021234567890123")
    assert plain.account_id == account_id(SECRET, "ICBKCNBJ", "6222021234567890123")
    assert plain.last4 == "0123"
    for spelling in ("6222 0212 3456 7890 123", " 6222-021234567890123\n"):
        assert name_account(SECRET, "ICBKCNBJ", spelling) == plain
    assert name_account(SECRET + b"x", "ICBKCNBJ", "6222021234567890123") != plain
    iban = name_account(SECRET, "COBADEFF", "de89 3704 0044 0532 0130 00")
    assert iban == name_account(SECRET, "COBADEFF", "DE89370400440532013000")


@pytest.mark.parametrize(
    ("secret", "bank_code", "number"),
    [
        (b"short", "ICBKCNBJ", "123456"),
        (SECRET, "icbk", "123456"),
        (SECRET, "ICBKCNBJ", ""),
        (SECRET, "ICBKCNBJ", "12"),
        (SECRET, "ICBKCNBJ", "ABCDEFGH"),
        (SECRET, "ICBKCNBJ", "1" * 35),
        (SECRET, "ICBKCNBJ", "12345/6"),
    ],
)
def test_accounts_that_have_no_name(secret: bytes, bank_code: str, number: str) -> None:
    with pytest.raises(AccountError) as raised:
        name_account(secret, bank_code, number)
    assert not number or number not in str(raised.value)
