"""Intents, reports, bearer tokens and receipts: signed, taken apart strictly, verified."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from samples import INTENT, REPORT

from clearline import answers, bearer, canonical, intents, jws, refusals, reports
from clearline.codes import Code, Refusal
from clearline.jws import Algorithm, JwsError, KeySigner, SignatureInvalidError, Typ
from clearline.statuses import Reason, ReportKind, Status

SIGNER = KeySigner.generate()
CLOSE = intents.CloseIntent(
    INTENT.network, INTENT.merchant_id, INTENT.order_no, INTENT.attempt, INTENT.created
)
PAN = "4111111111111111"


def resigned(payload: dict[str, Any], typ: Typ = Typ.INTENT) -> str:
    return jws.sign(payload, typ, SIGNER)


def signed_bytes(payload: bytes, header: bytes | None = None) -> str:
    header = header or canonical.dumps(
        {"alg": "Ed25519", "kid": SIGNER.key_id, "typ": Typ.INTENT.value}
    )
    body = f"{jws.encode(header)}.{jws.encode(payload)}"
    return f"{body}.{jws.encode(SIGNER.sign(body.encode()))}"


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_an_intent_survives_signing_and_verifies(algorithm: Algorithm) -> None:
    signer = KeySigner.generate(algorithm)
    signed = intents.parse(intents.sign(INTENT, signer))
    assert signed.intent == INTENT
    jws.public_key(signer.jwk, algorithm).verify(signed.token)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_any_changed_character_is_refused(algorithm: Algorithm) -> None:
    signer = KeySigner.generate(algorithm)
    compact = intents.sign(INTENT, signer)
    key = jws.public_key(signer.jwk, algorithm)
    for place in range(len(compact)):
        changed = compact[:place] + ("A" if compact[place] != "A" else "B") + compact[place + 1 :]
        try:
            token = jws.take_apart(changed)
        except JwsError:
            continue
        with pytest.raises(SignatureInvalidError):
            key.verify(token)


def test_the_record_says_the_algorithm_not_the_header() -> None:
    token = jws.take_apart(intents.sign(INTENT, SIGNER))
    other = KeySigner.generate(Algorithm.ES256)
    with pytest.raises(SignatureInvalidError, match="the key is for ES256"):
        jws.public_key(other.jwk, Algorithm.ES256).verify(token)


def test_the_thumbprint_is_rfc_8037s() -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert jws.thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


HEADERS = {
    "alg none": {"alg": "none", "kid": SIGNER.key_id, "typ": Typ.INTENT.value},
    "alg HS256": {"alg": "HS256", "kid": SIGNER.key_id, "typ": Typ.INTENT.value},
    "alg EdDSA": {"alg": "EdDSA", "kid": SIGNER.key_id, "typ": Typ.INTENT.value},
    "no kid": {"alg": "Ed25519", "typ": Typ.INTENT.value},
    "no typ": {"alg": "Ed25519", "kid": SIGNER.key_id},
    "crit": {"alg": "Ed25519", "kid": SIGNER.key_id, "typ": Typ.INTENT.value, "crit": ["b64"]},
    "jwk": {"alg": "Ed25519", "kid": SIGNER.key_id, "typ": Typ.INTENT.value, "jwk": SIGNER.jwk},
    "report": {"alg": "Ed25519", "kid": SIGNER.key_id, "typ": Typ.REPORT.value},
}


@pytest.mark.parametrize("name", HEADERS)
def test_other_headers_are_refused(name: str) -> None:
    compact = signed_bytes(canonical.dumps(INTENT.payload()), json.dumps(HEADERS[name]).encode())
    with pytest.raises(Refusal) as refused:
        intents.parse(compact)
    assert refused.value.code is Code.MALFORMED


def test_a_duplicate_alg_is_refused() -> None:
    header = f'{{"alg":"Ed25519","alg":"none","kid":"{SIGNER.key_id}","typ":"{Typ.INTENT}"}}'
    with pytest.raises(Refusal, match="duplicate member"):
        intents.parse(signed_bytes(canonical.dumps(INTENT.payload()), header.encode()))


GOOD = intents.sign(INTENT, SIGNER)


@pytest.mark.parametrize(
    "compact",
    [
        "", ".", "..", "a.b", "a.b.c.d", GOOD[:-1], GOOD + "=", GOOD + "\n", " " + GOOD,
        GOOD.replace(".", "..", 1), "é" + GOOD, "A" * 20_000, GOOD.rsplit(".", 1)[0] + ".",
    ],
)  # fmt: skip
def test_other_spellings_are_refused(compact: str) -> None:
    with pytest.raises(Refusal) as refused:
        token = intents.parse(compact).token
        try:
            jws.public_key(SIGNER.jwk, Algorithm.ED25519).verify(token)
        except SignatureInvalidError as error:
            raise Refusal(Code.MALFORMED, str(error)) from None
    assert refused.value.code is Code.MALFORMED


def changed_payload(**changes: Any) -> dict[str, Any]:
    return INTENT.payload() | changes


ROUTE = INTENT.payload()["acquirers"][0]


@pytest.mark.parametrize(
    ("payload", "code", "pointer"),
    [
        (changed_payload(amount=0), Code.MALFORMED, "/amount"),
        (changed_payload(amount="2933"), Code.MALFORMED, "/amount"),
        (changed_payload(amount=True), Code.MALFORMED, "/amount"),
        (changed_payload(amount=10**12), Code.MALFORMED, "/amount"),
        (changed_payload(currency="XXX"), Code.MALFORMED, "/currency"),
        (changed_payload(order_no=""), Code.MALFORMED, "/order_no"),
        (changed_payload(order_no="a/b"), Code.MALFORMED, "/order_no"),
        (changed_payload(order_no="."), Code.MALFORMED, "/order_no"),
        (changed_payload(order_no=".."), Code.MALFORMED, "/order_no"),
        (changed_payload(order_no="a\n"), Code.MALFORMED, "/order_no"),
        (changed_payload(order_no="é"), Code.MALFORMED, "/order_no"),
        (changed_payload(attempt=0), Code.MALFORMED, "/attempt"),
        (changed_payload(version=2), Code.MALFORMED, "/version"),
        (changed_payload(kind="refund"), Code.MALFORMED, "/kind"),
        (changed_payload(note="hello"), Code.MALFORMED, "/note"),
        (changed_payload(created="2026-11-23T08:00:00Z"), Code.MALFORMED, "/created"),
        (changed_payload(created="2026-13-23T08:00:00.000Z"), Code.MALFORMED, "/created"),
        (changed_payload(expires_at=INTENT.created), Code.MALFORMED, "/expires_at"),
        (changed_payload(acquirers=[]), Code.MALFORMED, "/acquirers"),
        (changed_payload(acquirers=[ROUTE, ROUTE]), Code.MALFORMED, "/acquirers"),
        (changed_payload(product="cheque"), Code.MALFORMED, "/product"),
        (changed_payload(order_digest="0" * 63), Code.MALFORMED, "/order_digest"),
        (changed_payload(order_no="4111111111111111"), Code.CARD_DATA_REFUSED, "/order_no"),
        (changed_payload(store="4111-1111-1111-1111"), Code.CARD_DATA_REFUSED, "/store"),
        (changed_payload(terminal="4111111111111111"), Code.CARD_DATA_REFUSED, "/terminal"),
        (changed_payload(site="pay.4111111111111111"), Code.CARD_DATA_REFUSED, "/site"),
        (
            changed_payload(goods_category="4111111111111111"),
            Code.CARD_DATA_REFUSED,
            "/goods_category",
        ),
        (
            changed_payload(acquirers=[ROUTE | {"payer_token": "378282246310005"}]),
            Code.CARD_DATA_REFUSED,
            "/acquirers/0/payer_token",
        ),
        (
            changed_payload(acquirers=[ROUTE | {"merchant_code": "378282246310005"}]),
            Code.CARD_DATA_REFUSED,
            "/acquirers/0/merchant_code",
        ),
    ],
)
def test_an_intents_fields_are_checked(payload: dict[str, Any], code: Code, pointer: str) -> None:
    with pytest.raises(Refusal) as refused:
        intents.parse(resigned(payload))
    assert refused.value.code is code
    assert refused.value.detail.startswith(pointer + ":")


@pytest.mark.parametrize("name", INTENT.payload())
def test_a_missing_member_is_refused(name: str) -> None:
    payload = INTENT.payload()
    del payload[name]
    with pytest.raises(Refusal, match=f"/{name}: is missing"):
        intents.parse(resigned(payload))


def test_a_card_number_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(Refusal) as refused:
        intents.parse(resigned(changed_payload(order_no="4111111111111111")))
    assert "4111111111111111" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"created": "2026-11-23T08:30:00.000Z"}, True),
        ({"amount": 2934}, False),
        ({"site": "x"}, False),
    ],
)
def test_the_same_intent_is_the_payload_without_created(change: dict[str, Any], same: bool) -> None:
    assert (dataclasses.replace(INTENT, **change).digest() == INTENT.digest()) is same


def test_a_close_survives_signing_and_is_no_pay_intent() -> None:
    closed, paid = intents.sign(CLOSE, SIGNER), intents.sign(INTENT, SIGNER)
    signed = intents.parse_close(closed)
    assert signed.intent == CLOSE
    assert signed.intent.key == INTENT.key
    jws.public_key(SIGNER.jwk, Algorithm.ED25519).verify(signed.token)
    assert intents.parse_any(closed) == signed
    assert intents.parse_any(paid) == intents.parse(paid)
    for parse, other in ((intents.parse, closed), (intents.parse_close, paid)):
        with pytest.raises(Refusal) as refusal:
            parse(other)
        assert refusal.value.code is Code.MALFORMED


@pytest.mark.parametrize("name", CLOSE.payload())
def test_a_closes_members_are_all_there_and_no_others(name: str) -> None:
    short = {key: value for key, value in CLOSE.payload().items() if key != name}
    for payload in (short, CLOSE.payload() | {"amount": 1}, CLOSE.payload() | {name: [1]}):
        with pytest.raises(Refusal) as refusal:
            intents.parse_close(resigned(payload))
        assert refusal.value.code is Code.MALFORMED


@pytest.mark.parametrize("payload", [[], "close", 7, None, {"kind": ["close"]}, {"kind": "steal"}])
def test_what_is_neither_pay_nor_close_is_malformed(payload: Any) -> None:
    with pytest.raises(Refusal) as refusal:
        intents.parse_any(resigned(payload))
    assert refusal.value.code is Code.MALFORMED


def test_the_same_close_is_the_payload_without_created() -> None:
    later = dataclasses.replace(CLOSE, created="2026-11-23T08:59:00.000Z")
    assert later.digest() == CLOSE.digest()
    assert dataclasses.replace(CLOSE, attempt=2).digest() != CLOSE.digest()


@pytest.mark.parametrize("name", ["network", "merchant_id", "order_no"])
def test_a_close_holds_no_card_number(name: str) -> None:
    with pytest.raises(Refusal) as refusal:
        intents.parse_any(resigned(CLOSE.payload() | {name: PAN}))
    assert refusal.value.code is Code.CARD_DATA_REFUSED
    assert PAN not in refusal.value.detail


def test_a_key_id_is_no_card_number() -> None:
    header = {"alg": "Ed25519", "kid": PAN + "x" * 27, "typ": Typ.INTENT.value}
    compact = signed_bytes(canonical.dumps(INTENT.payload()), canonical.dumps(header))
    with pytest.raises(Refusal, match="card number") as refusal:
        intents.parse(compact)
    assert refusal.value.code is Code.MALFORMED
    assert PAN not in refusal.value.detail


def test_a_reversal_says_that_it_reversed_and_never_that_it_succeeded() -> None:
    failed = dataclasses.replace(
        REPORT, kind=ReportKind.REVERSAL, status=Status.EXPIRED, reason=Reason.REVERSED, sequence=3
    )
    assert reports.parse(reports.sign(failed, SIGNER)).report == failed
    for change in ({"status": Status.SUCCEEDED}, {"reason": Reason.EXPIRED}):
        with pytest.raises(Refusal) as refusal:
            reports.parse(reports.sign(dataclasses.replace(failed, **change), SIGNER))
        assert refusal.value.code is Code.MALFORMED


def test_a_report_survives_signing_and_names_its_payment() -> None:
    signed = reports.parse(reports.sign(REPORT, SIGNER))
    assert signed.report == REPORT
    assert signed.report.key == INTENT.key


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"status": "accepted"}, "/status"),
        ({"kind": "response"}, "/status"),
        ({"sequence": 0}, "/sequence"),
        ({"reason": "because"}, "/reason"),
        ({"acquirer_reference": ""}, "/acquirer_reference"),
        ({"extra": 1}, "/extra"),
        ({"clearing_date": "2026-02-30"}, "/clearing_date"),
        ({"merchant_name": " padded "}, "/merchant_name"),
    ],
)
def test_a_reports_fields_are_checked(changes: dict[str, Any], pointer: str) -> None:
    with pytest.raises(Refusal, match=pointer):
        reports.parse(resigned(REPORT.payload() | changes, Typ.REPORT))


def test_an_intent_is_no_report_and_a_report_no_intent() -> None:
    with pytest.raises(Refusal, match="typ"):
        reports.parse(GOOD)
    with pytest.raises(Refusal, match="typ"):
        intents.parse(reports.sign(REPORT, SIGNER))


@pytest.mark.parametrize(
    "point", [bytes([1]) + bytes(31), bytes(32), b"\xec" + b"\xff" * 30 + b"\x7f"]
)
def test_unsafe_ed25519_keys_are_refused(point: bytes) -> None:
    with pytest.raises(JwsError):
        jws.public_key({"kty": "OKP", "crv": "Ed25519", "x": jws.encode(point)}, Algorithm.ED25519)


@pytest.mark.parametrize(
    "jwk",
    [
        {}, {"kty": "RSA"}, {"kty": "EC", "crv": "P-256", "x": "A" * 43},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kty": "EC", "crv": "P-384", "x": "A" * 43, "y": "A" * 43},
    ],
)  # fmt: skip
def test_other_ec_keys_are_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(JwsError):
        jws.public_key(jwk, Algorithm.ES256)


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_saved_key_is_the_owners_only_and_loads_again(
    algorithm: Algorithm, tmp_path: Path
) -> None:
    signer = KeySigner.generate(algorithm)
    path = tmp_path / "key.pem"
    signer.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KeySigner.load(path).key_id == signer.key_id
    with pytest.raises(FileExistsError):
        signer.save(path)


AUDIENCE = "https://127.0.0.1:8441"


def test_a_bearer_token_is_taken_by_its_gateway_in_its_time() -> None:
    token = bearer.issue("M-0001", AUDIENCE, SIGNER)
    issued = canonical.loads(jws.take_apart(token).payload)["iat"]
    claimed = bearer.parse(token, AUDIENCE, issued + 1)
    assert claimed.merchant_id == "M-0001"
    jws.public_key(SIGNER.jwk, Algorithm.ED25519).verify(claimed.token)
    for audience, now, code in (
        ("https://other:1", issued + 1, Code.UNAUTHENTICATED),
        (AUDIENCE, issued + 500, Code.TOKEN_EXPIRED),
        (AUDIENCE, issued - 500, Code.UNAUTHENTICATED),
    ):
        with pytest.raises(Refusal) as refused:
            bearer.parse(token, audience, now)
        assert refused.value.code is code


def test_a_bearer_token_that_lives_long_is_refused() -> None:
    claims = canonical.loads(jws.take_apart(bearer.issue("M", AUDIENCE, SIGNER)).payload)
    token = jws.sign(claims | {"exp": claims["iat"] + 3600}, Typ.BEARER, SIGNER)
    with pytest.raises(Refusal) as refused:
        bearer.parse(token, AUDIENCE, claims["iat"])
    assert refused.value.code is Code.TOKEN_EXPIRED


def test_a_receipt_survives_signing() -> None:
    receipt = answers.Receipt(
        "clearline-dev", "gateway-bankone", "M", "O", 1, "0" * 64, INTENT.created, INTENT.expires_at
    )
    parsed, token = answers.parse_receipt(answers.sign_receipt(receipt, SIGNER))
    assert parsed == receipt
    jws.public_key(SIGNER.jwk, Algorithm.ED25519).verify(token)


def test_a_refusal_survives_signing_and_has_one_form() -> None:
    receipt = answers.Receipt(
        "clearline-dev", "gateway-bankone", "M", "O", 1, "0" * 64, INTENT.created, INTENT.expires_at
    )
    refusal = refusals.ReceiptRefusal(receipt, Code.CONFLICT, INTENT.created)
    compact = refusals.sign_refusal(refusal, SIGNER)
    parsed, token = refusals.parse_refusal(compact)
    assert parsed == refusal
    jws.public_key(SIGNER.jwk, Algorithm.ED25519).verify(token)
    payload = json.loads(token.payload)
    for wrong in (
        payload | {"code": "ledger_unavailable"},
        payload | {"more": 1},
        payload | {"refused_at": "now"},
        payload | {"receipt": payload["receipt"] | {"attempt": 0}},
        {name: payload[name] for name in ("receipt", "code")},
    ):
        with pytest.raises(Refusal, match="malformed"):
            refusals.parse_refusal(resigned(wrong, Typ.REFUSAL))
    with pytest.raises(Refusal, match="typ must be"):
        refusals.parse_refusal(resigned(payload, Typ.RECEIPT))


ANSWER = answers.PaymentAnswer(
    "M", "O", 1, "succeeded", True, 2933, "CNY", "unionpay", "0" * 64, tx_id="t", block_number=7
)


def test_an_answer_travels_and_what_is_none_is_refused() -> None:
    assert answers.PaymentAnswer.from_json(ANSWER.to_json() | {"later": 1}) == ANSWER
    late = {"kind": "late_success", "sequence": 2, "amount": 1}
    excepted = dataclasses.replace(ANSWER, exceptions=(late,))
    assert excepted.to_json() == dataclasses.asdict(excepted) | {"exceptions": [late]}
    excepted.to_json()["exceptions"][0]["amount"] = 2
    assert late["amount"] == 1
    wrongs: tuple[Any, ...] = (None, [], {}, {"status": "succeeded"})
    for wrong in (*wrongs, ANSWER.to_json() | {"status": "paid"}):
        with pytest.raises(ValueError, match="not a"):
            answers.PaymentAnswer.from_json(wrong)
