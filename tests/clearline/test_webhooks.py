"""The formats of webhooks: registrations, events, Standard Webhooks signatures."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clearline import canonical, jws, webhook_signatures, webhooks
from clearline.answers import PaymentAnswer
from clearline.codes import Code, Refusal
from clearline.intents import PaymentKey
from clearline.jws import Algorithm, KeySigner, Typ
from clearline.statuses import Status
from clearline.webhook_signatures import Headers, WebhookSignatureError
from clearline.webhooks import Action, Event, EventType, Registration

WISH = Registration(
    Action.REGISTER, "clearline-dev", "https://127.0.0.1:8441", "M-0001", "till-1",
    "2026-11-23T08:00:00.000Z", 7, "https://shop.example.com/events", (EventType.SUCCEEDED,),
)  # fmt: skip
REMOVAL = replace(WISH, action=Action.REMOVE, url="", events=(), sequence=8)
ANSWER = PaymentAnswer(
    "M-0001", "A-1", 1, "succeeded", True, 2933, "CNY", "unionpay", "0" * 64, "approved",
    result="a.b.c", tx_id="ab" * 32, block_number=7,
)  # fmt: skip
KEY = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)  # RFC 8032 section 7.1, test 1
NOW = 1_674_087_231


@pytest.mark.parametrize("algorithm", list(Algorithm))
@pytest.mark.parametrize("wish", [WISH, REMOVAL], ids=lambda wish: wish.action)
def test_a_registration_comes_back_as_it_was_signed(
    wish: Registration, algorithm: Algorithm
) -> None:
    signer = KeySigner.generate(algorithm)
    parsed = webhooks.parse(webhooks.sign(wish, signer))
    assert parsed.registration == wish
    assert parsed.registration.digest() == wish.digest()
    jws.public_key(signer.jwk, algorithm).verify(parsed.token)


@pytest.mark.parametrize(
    "change",
    [
        {"action": "pay"},
        {"version": 2},
        {"sequence": 0},
        {"sequence": 1.5},
        {"sequence": True},
        {"sequence": 2**53 + 1},
        {"webhook_id": "a.b"},
        {"webhook_id": ""},
        {"url": ""},
        {"url": "https://a b"},
        {"url": "https://é.example"},
        {"url": "https://example.com/\r\nX: y"},
        {"url": "https://example.com/" + "a" * 512},
        {"events": []},
        {"events": ["payment.received"]},
        {"events": ["payment.succeeded", "payment.succeeded"]},
        {"created": "2026-11-23"},
        {"extra": 1},
        {"audience": "127.0.0.1"},
    ],
    ids=str,
)
def test_what_is_no_registration_is_malformed(change: dict[str, object]) -> None:
    header = {"alg": "Ed25519", "kid": "a" * 43, "typ": Typ.WEBHOOK.value}
    parts = [json.dumps(header).encode(), json.dumps(WISH.payload() | change).encode(), b"0" * 64]
    with pytest.raises(Refusal) as refused:
        webhooks.parse(".".join(jws.encode(part) for part in parts))
    assert refused.value.code is Code.MALFORMED


def test_a_removal_names_no_url_and_an_intent_is_no_registration() -> None:
    signer = KeySigner.generate()
    for payload, typ in (
        (REMOVAL.payload() | {"url": "https://a.example.com"}, Typ.WEBHOOK),
        (WISH.payload(), Typ.INTENT),
        ([1], Typ.WEBHOOK),
    ):
        with pytest.raises(Refusal):
            webhooks.parse(jws.sign(payload, typ, signer))


def test_an_event_is_the_same_bytes_and_id_everywhere() -> None:
    event = Event(EventType.SUCCEEDED, "2026-11-23T08:00:00.000Z", ANSWER)
    assert Event.from_json(canonical.loads(event.to_bytes())) == event
    assert event.to_bytes().startswith(b'{"data":{"acquirer_id":"unionpay","amount":2933,')
    name = webhooks.event_id("clearline-dev", "ab" * 32, PaymentKey("M-0001", "A-1", 1))
    content = b'["clearline-dev","' + b"ab" * 32 + b'","M-0001","A-1",1]'
    assert name == "evt_" + hashlib.sha256(content).hexdigest()[:40]
    others = {
        webhooks.event_id(network, tx_id, PaymentKey(*key))
        for network in ("clearline-dev", "other")
        for tx_id in ("ab" * 32, "cd" * 32)
        for key in (("M-0001", "A-1", 1), ("M-0001", "A-1", 2), ("M-0001", "A-2", 1))
    }
    assert len(others) == 12


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.RECEIVED])
def test_every_status_on_the_ledger_has_a_type(status: Status) -> None:
    assert EventType.of(status).value == f"payment.{status.value}"


def test_a_type_that_tells_another_status_is_no_event() -> None:
    document = canonical.loads(Event(EventType.SUCCEEDED, WISH.created, ANSWER).to_bytes())
    changes: tuple[dict[str, Any], ...] = (
        {"type": "payment.declined"},
        {"type": "x"},
        {"timestamp": "now"},
        {"data": {}},
        {"data": None},
        {"data": document["data"] | {"status": "received"}},
    )
    for change in changes:
        with pytest.raises(ValueError):
            Event.from_json(document | change)
    values: tuple[Any, ...] = (None, [], {"type": "payment.succeeded"})
    for value in values:
        with pytest.raises(ValueError):
            Event.from_json(value)


def test_what_is_signed_is_what_the_standards_public_vector_signs() -> None:
    """libraries/go/webhook_test.go of standard-webhooks, TestWebhookSign; its scheme is `v1`, the
    signed content is that of `v1a`. (No vector of `v1a` with its key is published.)"""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    content = webhook_signatures.signed_content(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}'
    )
    signature = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
    assert signature == "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_headers_and_keys_are_written_as_the_standard_writes_them() -> None:
    """RFC 8032 section 7.1 has the key pair; its signature of this content is deterministic."""
    public = webhook_signatures.public_text(KEY.public_key())
    assert public == "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
    headers = webhook_signatures.sign("msg_1", NOW, b'{"a":1}', [KEY])
    assert dict(headers.to_pairs()) == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1674087231",
        "webhook-signature": "v1a,"
        + base64.b64encode(KEY.sign(b'msg_1.1674087231.{"a":1}')).decode(),
    }
    webhook_signatures.verify(headers, b'{"a":1}', [webhook_signatures.public_key(public)], NOW)


def test_one_good_signature_of_several_is_enough() -> None:
    old, new = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    both = webhook_signatures.sign("msg_1", NOW, b"x", [new, old])
    assert len(both.signature.split(" ")) == 2
    for key in (old, new):
        webhook_signatures.verify(both, b"x", [key.public_key()], NOW)
    mixed = replace(both, signature=f"v1,abc= v2,?? {both.signature}")
    webhook_signatures.verify(mixed, b"x", [old.public_key()], NOW)


GOOD = webhook_signatures.sign("msg_1", NOW, b"body", [KEY])


@pytest.mark.parametrize(
    ("headers", "body", "now"),
    [
        (GOOD, b"Body", NOW),
        (GOOD, b"", NOW),
        (GOOD, b"body ", NOW),
        (GOOD, b"body", NOW + 301),
        (GOOD, b"body", NOW - 301),
        (replace(GOOD, message_id="msg_2"), b"body", NOW),
        (replace(GOOD, timestamp=str(NOW + 1)), b"body", NOW),
        (replace(GOOD, timestamp=f"0{NOW}"), b"body", NOW),
        (replace(GOOD, timestamp="soon"), b"body", NOW),
        (replace(GOOD, timestamp="-1"), b"body", NOW),
        (replace(GOOD, timestamp=f"{NOW}.0"), b"body", NOW),
        (replace(GOOD, timestamp="９" * 10), b"body", NOW),
        (replace(GOOD, message_id=""), b"body", NOW),
        (replace(GOOD, message_id=f"msg_1.{NOW}"), b"body", NOW),
        (replace(GOOD, signature=""), b"body", NOW),
        (replace(GOOD, signature="v1a,"), b"body", NOW),
        (replace(GOOD, signature=GOOD.signature.replace("v1a", "v1")), b"body", NOW),
        (replace(GOOD, signature=GOOD.signature[4:]), b"body", NOW),
        (replace(GOOD, signature="x " * 16 + GOOD.signature), b"body", NOW),
        (webhook_signatures.sign("msg_1", NOW, b"body", [Ed25519PrivateKey.generate()]), b"body",
         NOW),
        # The same bytes, cut elsewhere: id "a" with timestamp and body, and the other way about.
        (Headers("a", str(NOW), webhook_signatures.sign("a", NOW, b"1.x", [KEY]).signature),
         b"x", NOW),
    ],
)  # fmt: skip
def test_forged_altered_and_old_messages_are_refused(
    headers: Headers, body: bytes, now: float
) -> None:
    with pytest.raises(WebhookSignatureError):
        webhook_signatures.verify(headers, body, [KEY.public_key()], now)


def test_without_a_trusted_key_nothing_verifies() -> None:
    webhook_signatures.verify(GOOD, b"body", [KEY.public_key()], NOW)
    with pytest.raises(WebhookSignatureError):
        webhook_signatures.verify(GOOD, b"body", [], NOW)


@pytest.mark.parametrize(
    "text",
    ["", "whpk_", "whsk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", "whpk_????",
     "whpk_" + base64.b64encode(b"1" * 31).decode(),
     "whpk_" + base64.b64encode(bytes(32)).decode(),
     "whpk_" + base64.b64encode(b"\x01" + bytes(31)).decode()],
)  # fmt: skip
def test_what_is_no_webhook_key_or_an_unsafe_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        webhook_signatures.public_key(text)
