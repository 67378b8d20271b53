"""A payment is followed through the logs of who carried it by its name and its transactions."""

import json
from typing import Any

from counter import UNIONPAY, Till, wait_until

from clearline.house.layout import MERCHANT_ID, House


def lines(house: House, process: str, name: str) -> list[dict[str, Any]]:
    """What a process's log says of a payment, oldest first."""
    text = (house.home / "logs" / f"{process}.log").read_text()
    return [json.loads(line) for line in text.splitlines() if name in line]


def test_a_payment_is_followed_by_its_name_and_its_transactions(house: House, till: Till) -> None:
    """Posted alone at one gateway, in a batch at the other: request, transaction, what the
    connector heard, and the transaction of the result."""
    till.take({"followed": (UNIONPAY, "tok_approve"), "grouped": (UNIONPAY, "tok_approve")})
    assert till.post(till.sign("followed")).status_code == 201
    batch = json.dumps({"intents": [till.sign("grouped")]}).encode()
    headers = {"Content-Type": "application/json"}
    posted = till.call("POST", "/v1/payments/batch", 1, headers, batch).json()
    assert [one["code"] for one in posted["outcomes"]] == ["ok"]
    connector = f"connector-{UNIONPAY}"
    for place, order_no in enumerate(("followed", "grouped")):
        name, bank = f"{MERCHANT_ID}/{order_no}/1", house.gateways[place].bank.lower()
        wait_until(lambda no=order_no: till.get(no)["final"], "it has ended")
        ended = till.get(order_no)
        # The answer that told of the end may be there before the line is.
        wait_until(lambda of=name: len(lines(house, connector, of)) >= 2, "the connector says so")
        (committed,) = lines(house, f"committer-{bank}", name)
        assert committed["message"] == "committed"
        assert [name, "ok", "requested"] in committed["items"]
        heard, reported = lines(house, connector, name)
        assert (heard["message"], heard["tx_id"]) == ("requested", committed["tx_id"])
        assert heard["block"] == committed["block"]
        assert (reported["message"], reported["tx_id"]) == ("committed", ended["tx_id"])
        assert [name, "ok", ended["status"]] in reported["items"]
        assert reported["block"] == ended["block_number"]
    taken = lines(house, house.gateways[0].name, f"{MERCHANT_ID}/followed/1")
    assert taken[0]["message"] == "answered"
    assert taken[0]["tx_id"] == lines(house, "committer-bankone", "followed/1")[0]["tx_id"]
    till.pay("followed", "grouped")  # its book has them too
