"""What a merchant signs about webhooks, made from the description and posted to the running
gateway: behind the signature too every answer is as described. No notifier runs here, so nothing
that is registered is ever called."""

from itertools import count
from typing import Any
from urllib.parse import quote

import pytest
from helpers_described import Described
from helpers_gateway import (
    AUDIENCE,
    ES256,
    MERCHANT,
    OTHER,
    OTHER_MERCHANT,
    OWNER,
    REVOKED,
    SUSPENDED,
    SUSPENDED_MERCHANT,
)
from hypothesis import given
from hypothesis import strategies as st
from samples import INTENT
from signed_payloads import Payloads, Seen, bounded, sign_any

from clearline import times
from clearline.jws import Typ

PATH = "/v1/webhooks/{webhook_id}"
SHAPES = {"PUT": "WebhookRegistration", "DELETE": "WebhookRemoval"}
SIGNERS = (OWNER, OWNER, OWNER, OWNER, ES256, OTHER, REVOKED, SUSPENDED)
URLS = (
    "https://shop.example.com/a", "https://shop.example.com/b", "https://127.0.0.1/",
    "http://shop.example.com/", "https://a:b@shop.example.com/", "https://shop.example.com:81/",
)  # fmt: skip
REACHED = {
    "PUT": {200, 201, 400, 401, 422},  # 409, where one registered is drawn again: not always
    "DELETE": {204, 400, 401, 404, 409},
}
_sequences = count(1_795_420_800_000)


@pytest.fixture(scope="module")
def payloads(described: Described) -> Payloads:
    document = described.session.get(f"{described.url}/openapi.json", timeout=10).json()
    return Payloads(document, *SHAPES.values())


def ours(draw: Any, action: str) -> dict[str, Any]:
    """This gateway's and its merchants' own values."""
    now = times.now()
    whose = draw(st.sampled_from([MERCHANT] * 8 + [OTHER_MERCHANT, SUSPENDED_MERCHANT]))
    body = {
        "action": action,
        "version": 1,
        "network": INTENT.network,
        "audience": AUDIENCE,
        "merchant_id": whose,
        "webhook_id": draw(st.sampled_from(["till-1", "till-2", *"abcdefgh"])),
        "created": draw(st.sampled_from([now] * 8 + [times.after(now, -301)])),
        "sequence": draw(st.sampled_from([next(_sequences)] * 4 + [5])),
    }
    if action == "register":
        body["url"] = draw(st.sampled_from(URLS))
        body["events"] = ["payment.closed"]
    return body


@pytest.mark.parametrize("method", SHAPES)
def test_what_is_signed_about_a_webhook(
    described: Described, schema: Any, payloads: Payloads, method: str
) -> None:
    operation, shape, seen = schema[PATH][method], SHAPES[method], Seen()

    @bounded(70)
    @given(data=st.data())
    def hold(data: Any) -> None:
        action = {"PUT": "register", "DELETE": "remove"}[method]
        body = payloads.varied(data.draw, shape, ours(data.draw, action))
        named = body.get("webhook_id") if isinstance(body, dict) else None
        case = operation.Case(
            path_parameters={"webhook_id": named if isinstance(named, str) and named else "a"},
            media_type="application/jose",
            body=sign_any(body, Typ.WEBHOOK, data.draw(st.sampled_from(SIGNERS))),
        )
        if method == "DELETE" and isinstance(named, str):
            register(described, named)
        for _ in range(data.draw(st.integers(1, 2))):  # the same again is safe
            seen.hold(
                case,
                case.call(
                    described.url, described.session, timeout=20, verify=described.session.verify
                ),
            )

    hold()
    assert set(seen.statuses) >= REACHED[method], (seen.statuses, seen.codes)


def register(described: Described, webhook_id: str) -> None:
    """Have there be what is to be removed, if it is a name for one."""
    body = {
        "action": "register", "version": 1, "network": INTENT.network, "audience": AUDIENCE,
        "merchant_id": MERCHANT, "webhook_id": webhook_id, "url": URLS[0],
        "events": ["payment.closed"], "created": times.now(), "sequence": 7,
    }  # fmt: skip
    described.session.put(
        f"{described.url}/v1/webhooks/{quote(webhook_id, safe='', errors='replace')}",
        data=sign_any(body, Typ.WEBHOOK, OWNER),
        headers={"Content-Type": "application/jose"},
        timeout=10,
    )
