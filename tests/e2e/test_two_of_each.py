"""Two connectors of each acquirer and two gateways: one is killed, the other goes on."""

import json
import signal
from pathlib import Path

import psutil
from books import differences, read_books
from counter import UNIONPAY, WALLET, Till, kill, numbered, process, wait_until

from clearline.house import command
from clearline.house.layout import Connector, House
from clearline.house.status import ACTS, STANDS_BY, healthy, statuses
from merchant.desk import opened

CARDS = ["tok_approve", "tok_approve", "tok_do_not_honor", "tok_approve"]
PAYERS = ["tok_approve", "tok_slow", "tok_refuses", "tok_notice_twice", "tok_create_unanswered"]


def shows(house: House, connector: Connector, name: str) -> bool:
    """Whether the connector says so of itself: `ready` acts, `standby` stands by."""
    return (house.room_dir(connector.name) / "data" / name).exists()


def take_over(house: House, connector: Connector) -> int:
    """Give the acquirer to this connector; the epoch."""
    told = command.output("connector", "take-over", "--config", house.settings(connector))
    holder, _, rest = told.partition(" holds epoch ")
    epoch, _, acquirer = rest.strip().partition(" of ")
    assert (holder, acquirer) == (connector.name, connector.acquirer.acquirer_id)
    return int(epoch)


def test_a_standby_of_each_acquirer_takes_over_and_gives_back(house: House, till: Till) -> None:
    """kill -9 of both that act while a merchant pays; the keeper starts them again, and then the
    lease says that they stand by. No reference is at its acquirer twice."""
    pairs = [house.connectors(acquirer) for acquirer in house.acquirers]
    assert [len(pair) for pair in pairs] == [2, 2]
    listed = statuses(house)
    assert healthy(listed)
    shown = {row.process: row for row in listed}
    for first, second in pairs:
        assert (shown[first.name].role, shown[second.name].role) == (ACTS, STANDS_BY)
        assert shown[second.name].epoch is None
    orders = numbered("lease-c", UNIONPAY, CARDS * 10) | numbered("lease-w", WALLET, PAYERS * 4)
    with till.paying(*till.take(orders)) as paying:
        wait_until(lambda: any(till.ends("lease-c-004")) and till.ends("lease-c-004") != ["signed"],
                   "the first payments are under way")  # fmt: skip
        for first, _ in pairs:
            kill(house, "rooms", first.name, signal.SIGKILL)
        for first, second in pairs:
            epoch = take_over(house, second)
            assert epoch == (shown[first.name].epoch or 0) + 1
        for first, second in pairs:
            wait_until(lambda c=second: shows(house, c, "ready"), f"{second.name} acts")
            wait_until(
                lambda c=first: (
                    process(house, "rooms", c.name).ready and shows(house, c, "standby")
                ),
                f"{first.name} is back and stands by",
            )
        paying.done()
    told = command.output("status", "--home", house.home, "--json")  # fails unless all is well
    roles = {row["process"]: row["role"] for row in map(json.loads, told.splitlines())}
    for first, second in pairs:
        assert (roles[first.name], roles[second.name]) == (STANDS_BY, ACTS)
    for first, second in pairs:
        take_over(house, first)
        wait_until(lambda c=first: shows(house, c, "ready"), f"{first.name} acts again")
        wait_until(lambda c=second: shows(house, c, "standby"), f"{second.name} stands by")
    more = numbered("back-c", UNIONPAY, CARDS) | numbered("back-w", WALLET, PAYERS)
    till.pay(*till.take(more))
    books = read_books(house)
    assert differences(books) == []
    assert {key.order_no for key in books.ledger} >= {*orders, *more}


def test_a_gateway_dies_and_the_same_intents_go_to_the_other(
    house: House, till: Till, tmp_path: Path
) -> None:
    dying = house.gateways[0]
    orders = numbered("fail", UNIONPAY, CARDS * 30)
    with till.paying(*till.take(orders), "--concurrency", "24") as paying:
        wait_until(lambda: "requested" in till.ends("fail-010") + till.ends("fail-012")
                   or "paid" in till.ends("fail-010"), "payments are under way")  # fmt: skip
        victim = process(house, "rooms", dying.name)
        assert victim.id is not None
        family = [psutil.Process(victim.id.pid)]
        family += family[0].children(recursive=True)
        for member in reversed(family):
            member.kill()
        said = paying.done()
    assert dying.url in said  # the merchant's tool noticed
    wait_until(lambda: process(house, "rooms", dying.name).ready, "the gateway is back")
    with opened(house.merchant_dir) as desk:
        for order_no in orders:
            assert len(desk.book.intents(order_no, 1)) == 1
            assert till.ends(order_no) in (["paid"], ["declined"])
    books = read_books(house)
    assert differences(books) == []
    assert {key.order_no for key in books.ledger} >= set(orders)
