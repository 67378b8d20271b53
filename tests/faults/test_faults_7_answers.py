"""The acquirer's answers: late, lost, twice, out of order, altered. All books end alike."""

import sqlite3
from contextlib import closing

from fault_load import Till
from faulty_house import FaultyHouse, wait_until

# UnionPay behind a meddler with the MAC key (wires.Meddler), and its sandbox's own tokens.
CARD = {
    "tok_approve.twice": "paid",
    "tok_approve.swapped": "paid",
    "tok_slow": "paid",
    "tok_do_not_honor.twice": "declined",
    "tok_approve.again": "paid",
    "tok_approve.more": "closed",
    "tok_approve.another": "closed",
    "tok_approve.late": "closed",
    "tok_do_not_honor.late": "closed",
    "tok_approve.lost": "closed",
    "tok_late": "closed",
    "tok_timeout": "closed",
    "tok_timeout_charged": "closed",
    "tok_reversal_lost": "closed",
}
WALLET = {
    "tok_notice_twice": "paid",
    "tok_notice_disordered": "paid",
    "tok_notice_early": "paid",
    "tok_notice_lost": "paid",
    "tok_notice_wrong_amount": "paid",
    "tok_create_unanswered": "paid",
    "tok_create_lost": "closed",
    "tok_wrong_amount": "closed",
}


def test_answers_of_every_kind(faulty: FaultyHouse) -> None:
    orders = [("unionpay", token) for token in CARD] + [("qr_wallet", token) for token in WALLET]
    with Till.opened(faulty.house.merchant_dir) as till:
        numbers = till.add("answers", orders)
        assert not till.finish(numbers).open
        said = dict(zip((token for _, token in orders), till.statuses(numbers), strict=True))
    assert said == CARD | WALLET
    assert {token.partition(".")[2] for token in CARD} - {""} <= set(faulty.meddler.meddled)


def test_a_forged_answer_is_no_answer(faulty: FaultyHouse) -> None:
    """The connection that brought a wrong MAC is not believed any more, nor what waited on it."""
    with Till.opened(faulty.house.merchant_dir) as till:
        numbers = till.add("forged", [("unionpay", "tok_approve.forged")] * 3)
        assert not till.finish(numbers).open
        assert set(till.statuses(numbers)) == {"closed"}
        more = till.add("after-forged", [("unionpay", "tok_approve")] * 3)
        assert not till.finish(more).open
        assert set(till.statuses(more)) == {"paid"}
    assert "the MAC is wrong" in faulty.log("connector-unionpay")


def test_a_success_after_the_end_is_given_back(faulty: FaultyHouse) -> None:
    """The payer pays when the payment has expired: an exception, until the reversal resolves it."""
    with Till.opened(faulty.house.merchant_dir, expires_in=3) as till:
        (number,) = till.add("after-end", [("qr_wallet", "tok_pays_after_close")])
        assert not till.finish([number]).open
        assert till.statuses([number]) == ["expired"]
    outbox = faulty.data("connector-qr_wallet") / "outbox.db"

    def given_back() -> bool:
        with closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True)) as db:
            row = db.execute("SELECT phase FROM entry WHERE order_no = ?", (number,))
            told = db.execute(
                "SELECT count(*) FROM report JOIN entry USING (key)"
                " WHERE order_no = ? AND telling = 'reversal' AND state = 'committed'", (number,)
            )  # fmt: skip
            return bool(row.fetchone()[0] == "reported" and told.fetchone()[0] == 1)

    wait_until(given_back, 20, "the late success is given back")
