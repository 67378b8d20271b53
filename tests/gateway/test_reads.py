"""GET: single payments, pages, waits, blocks."""

import threading
from dataclasses import replace

from helpers_gateway import OTHER, OTHER_MERCHANT, Site, new_intent, signed, token, until


def test_newest_attempt_by_default(site: Site) -> None:
    first = new_intent()
    site.post(signed(first))
    site.ledger.finish(first.key, "declined")
    second = replace(first, attempt=2)
    assert site.post(signed(second)).status_code == 201
    path = f"/v1/payments/{first.order_no}"
    assert site.get(path).json["attempt"] == 2
    assert site.get(f"{path}?attempt=1").json["status"] == "declined"
    assert site.get(f"{path}?attempt=3").status_code == 404


def test_a_received_attempt_is_newer_than_the_one_on_the_ledger(site: Site) -> None:
    first = new_intent()
    site.post(signed(first))
    site.ledger.finish(first.key, "declined")
    second = replace(first, attempt=2)
    path = f"/v1/payments/{first.order_no}"
    site.ledger.down()
    try:
        assert site.post(signed(second), Prefer="respond-async").status_code == 202
        newest = site.get(path)
        assert (newest.json["attempt"], newest.json["status"]) == (2, "received")
        assert "ETag" not in newest.headers
    finally:
        site.ledger.up()
    until(lambda: site.get(path).json["status"] == "requested")


def test_wait_for_the_final_status(site: Site) -> None:
    intent = new_intent()
    site.post(signed(intent))
    timer = threading.Timer(0.2, site.ledger.finish, (intent.key, "declined"))
    timer.start()
    answer = site.get(f"/v1/payments/{intent.order_no}", Prefer="wait=10")
    timer.join()
    assert (answer.json["status"], answer.json["final"]) == ("declined", True)
    assert answer.headers["Preference-Applied"] == "wait=10"


def test_wait_for_what_is_not_there_ends_at_once(site: Site) -> None:
    answer = site.get("/v1/payments/nothing", Prefer="wait=30")
    assert (answer.status_code, answer.json["code"]) == (404, "payment_unknown")


def test_etag_and_block(site: Site) -> None:
    intent = new_intent()
    site.post(signed(intent))
    path = f"/v1/payments/{intent.order_no}"
    answer = site.get(path)
    tag = answer.headers["ETag"]
    assert int(answer.headers["Clearline-Block"]) >= answer.json["block_number"]
    unchanged = site.client.get(path, headers=token() | {"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.data) == (304, b"")
    block = site.ledger.finish(intent.key)
    changed = site.client.get(f"{path}?min_block={block}", headers=token() | {"If-None-Match": tag})
    assert (changed.status_code, changed.json["status"]) == (200, "succeeded")
    assert changed.headers["ETag"] != tag


def test_min_block_waits_and_then_says_so(site: Site) -> None:
    last = int(site.get("/v1/payments").headers["Clearline-Block"])
    timer = threading.Timer(0.1, site.ledger.write, ("noise/1", b"{}"))
    timer.start()
    assert site.get(f"/v1/payments?min_block={last + 1}").status_code == 200
    timer.join()
    answer = site.get("/v1/payments?min_block=9007199254740992")
    assert (answer.status_code, answer.json["code"]) == (503, "block_not_reached")
    assert answer.headers["Retry-After"] == "1"
    assert int(answer.headers["Clearline-Block"]) >= last + 1


def test_pages_hold_each_payment_once(site: Site) -> None:
    orders = [new_intent(merchant_id=OTHER_MERCHANT) for _ in range(7)]
    site.batch([signed(intent, OTHER) for intent in orders])
    site.ledger.finish(orders[3].key)
    reader = token(OTHER_MERCHANT, OTHER)
    until(lambda: site.get("/v1/payments?status=succeeded", **reader).json["payments"] != [])
    seen: list[str] = []
    cursor = ""
    while True:
        page = site.get(f"/v1/payments?limit=3{cursor}", **reader).json
        seen += [payment["order_no"] for payment in page["payments"]]
        if page["next_cursor"] is None:
            break
        assert len(page["payments"]) == 3
        cursor = f"&cursor={page['next_cursor']}"
        # What comes in while somebody turns pages does not shift them.
        site.post(signed(new_intent(merchant_id=OTHER_MERCHANT), OTHER))
    assert sorted(seen) == sorted(intent.order_no for intent in orders)
    assert len(seen) == 7
    final = site.get("/v1/payments?status=succeeded", **reader).json["payments"]
    assert [payment["order_no"] for payment in final] == [orders[3].order_no]


def test_health_and_readiness(site: Site) -> None:
    assert site.client.get("/healthz").json == {"status": "alive"}
    ready = site.client.get("/readyz")
    assert ready.status_code == 200, ready.text
    assert ready.json["status"] == "ready"
    assert ready.json["following"] and ready.json["level"] and ready.json["committer"]
