"""The UnionPay sandbox over real sockets: tokens, duplicates, reversals, restart."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_acquirer import (
    PURCHASE,
    REFERENCE,
    REVERSAL,
    Bank,
    altered,
    managing,
    numbered,
    running,
    with_bank,
)

from acquirers.unionpay_iso8583.book import Entry, read_entries
from acquirers.unionpay_iso8583.sandbox import TOKENS, Answering, Loss

AT_ONCE = [name for name, item in TOKENS.items() if item.answering is Answering.AT_ONCE]


def only(book: Path) -> Entry:
    """The book's one entry."""
    (entry,) = read_entries(book)
    return entry


@pytest.mark.parametrize("token", AT_ONCE)
def test_a_token_decides_the_outcome(tmp_path: Path, token: str) -> None:
    async def test(bank: Bank) -> None:
        answer = await bank.ask(altered(PURCHASE, f60=token))
        assert answer.mti == "0210"
        assert answer.get("39") == TOKENS[token].code
        assert (answer.get("11"), answer.get("61")) == ("000001", REFERENCE)
        assert answer.get("4") == "000000002933"
        assert answer.get("43").strip() == "SANDBOX MERCHANT 990001"
        assert len(answer.get("37")) == 12
        assert bool(answer.get("38")) == (TOKENS[token].code == "00")

    entry = only(with_bank(tmp_path, test))
    charged = 1 if TOKENS[token].code == "00" else 0
    assert (entry.charges, entry.code, entry.net) == (charged, TOKENS[token].code, 2933 * charged)


def test_every_token_of_the_specification_is_there() -> None:
    expected = {
        "tok_approve", "tok_insufficient_funds", "tok_do_not_honor", "tok_expired_card",
        "tok_invalid_card", "tok_lost_card", "tok_stolen_card", "tok_incorrect_pin",
        "tok_not_permitted", "tok_suspected_fraud", "tok_limit_exceeded", "tok_restricted_card",
        "tok_issuer_unavailable", "tok_timeout", "tok_timeout_charged", "tok_late", "tok_slow",
    }  # fmt: skip
    assert expected <= TOKENS.keys()
    table = (Path(__file__).parents[2] / "docs" / "acquirers.md").read_text()
    for name, behaviour in TOKENS.items():
        assert f"| `{name}` | {behaviour.code} |" in table, name


def test_a_suffix_is_another_payer_with_the_same_behaviour(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        answer = await bank.ask(altered(PURCHASE, f60="tok_stolen_card.payer-7"))
        assert answer.get("39") == "43"

    assert only(with_bank(tmp_path, test)).payer_token == "tok_stolen_card.payer-7"


@pytest.mark.parametrize(("token", "charges"), [("tok_timeout", 0), ("tok_timeout_charged", 1)])
def test_a_timeout_is_never_answered(tmp_path: Path, token: str, charges: int) -> None:
    async def test(bank: Bank) -> None:
        await bank.send(altered(PURCHASE, f60=token))
        await bank.send(altered(PURCHASE, f11="000007", f61=numbered(7)))
        assert (await bank.receive()).get("61") == numbered(7)
        reversed_ = await bank.ask(REVERSAL)
        assert (reversed_.mti, reversed_.get("39")) == ("0430", "00" if charges else "25")

    first = next(item for item in read_entries(with_bank(tmp_path, test))
                 if item.reference == REFERENCE)  # fmt: skip
    assert (first.charges, first.reversals, first.net) == (charges, charges, 0)


def test_late_answers_come_after_others_and_charge_at_once(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        await bank.send(altered(PURCHASE, f60="tok_late"))
        await bank.send(altered(PURCHASE, f60="tok_slow", f11="000002", f61=numbered(2)))
        await bank.send(altered(PURCHASE, f11="000003", f61=numbered(3)))
        order = [(await bank.receive()).get("11") for _ in range(3)]
        assert order == ["000003", "000002", "000001"]

    book = with_bank(tmp_path, test, slow_seconds=0.2, late_seconds=0.5)
    assert [item.charges for item in read_entries(book)] == [1, 1, 1]


@pytest.mark.parametrize("token", ["tok_approve", "tok_do_not_honor"])
def test_a_reference_is_taken_once_whatever_else_differs(tmp_path: Path, token: str) -> None:
    async def test(bank: Bank) -> None:
        first = altered(PURCHASE, f60=token)
        assert (await bank.ask(first)).get("39") == TOKENS[token].code
        assert (await bank.ask(first)).get("39") == "94"
        other = altered(first, f11="000777", f4="000000000001", f60="tok_approve")
        assert (await bank.ask(other)).get("39") == "94"
        same_stan = altered(PURCHASE, f61=numbered(1))
        assert (await bank.ask(same_stan)).get("39") == "00"

    entries = read_entries(with_bank(tmp_path, test))
    assert [(item.charges, item.purchases_seen) for item in entries] == [
        (1, 1),
        (1 if token == "tok_approve" else 0, 3),
    ]


def test_the_same_reference_at_once_on_two_connections_is_charged_once(tmp_path: Path) -> None:
    async def run() -> Path:
        async with running(tmp_path) as acquirer:
            async with acquirer.signed_on() as one, acquirer.signed_on() as two:
                answers = await asyncio.gather(one.ask(PURCHASE), two.ask(PURCHASE))
            assert sorted(item.get("39") for item in answers) == ["00", "94"]
            return acquirer.settings.place.book

    assert only(asyncio.run(run())).charges == 1


def test_reversal_and_its_repeats(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        await bank.ask(PURCHASE)
        for request in (REVERSAL, replace(REVERSAL, mti="0421"), REVERSAL):
            answer = await bank.ask(request)
            assert (answer.mti, answer.get("39")) == ("0430", "00")

    entry = only(with_bank(tmp_path, test))
    assert (entry.charges, entry.reversals, entry.reversals_seen, entry.net) == (1, 1, 3, 0)


def test_a_reversal_of_another_amount_changes_nothing(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        await bank.ask(PURCHASE)
        assert (await bank.ask(altered(REVERSAL, f4="000000002934"))).get("39") == "13"
        assert (await bank.ask(altered(REVERSAL, f49="840"))).get("39") == "13"

    assert only(with_bank(tmp_path, test)).net == 2933


def test_a_purchase_after_its_reversal_is_refused(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        assert (await bank.ask(REVERSAL)).get("39") == "25"
        assert (await bank.ask(PURCHASE)).get("39") == "22"
        assert (await bank.ask(replace(REVERSAL, mti="0421"))).get("39") == "25"

    entry = only(with_bank(tmp_path, test))
    assert (entry.charges, entry.fenced, entry.purchases_seen) == (0, 1, 1)


def test_a_first_reversal_can_be_lost(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        await bank.send(altered(PURCHASE, f60="tok_reversal_lost"))
        await bank.send(REVERSAL)
        repeat = await bank.ask(altered(replace(REVERSAL, mti="0421"), f11="000003"))
        assert (repeat.get("11"), repeat.get("39")) == ("000003", "00")

    assert TOKENS["tok_reversal_lost"].loss is Loss.FIRST_REVERSAL
    assert only(with_bank(tmp_path, test)).net == 0


def test_a_restart_keeps_the_book(tmp_path: Path) -> None:
    async def charge(bank: Bank) -> None:
        assert (await bank.ask(PURCHASE)).get("39") == "00"
        assert (await bank.ask(altered(REVERSAL, f61=numbered(5)))).get("39") == "25"

    async def again(bank: Bank) -> None:
        assert (await bank.ask(PURCHASE)).get("39") == "94"
        assert (await bank.ask(altered(PURCHASE, f61=numbered(5)))).get("39") == "22"
        assert (await bank.ask(REVERSAL)).get("39") == "00"

    with_bank(tmp_path, charge)
    entries = {item.reference: item for item in read_entries(with_bank(tmp_path, again))}
    assert (entries[REFERENCE].charges, entries[REFERENCE].reversals) == (1, 1)
    assert entries[numbered(5)].charges == 0


def test_sign_on_echo_and_sign_off(tmp_path: Path) -> None:
    async def run() -> None:
        async with running(tmp_path) as acquirer, acquirer.bank() as bank:
            assert (await bank.ask(managing("301"))).get("39") == "89"
            assert (await bank.ask(PURCHASE)).get("39") == "89"
            assert (await bank.ask(managing("001", "99999"))).get("39") == "92"
            await bank.sign_on()
            assert (await bank.ask(managing("301"))).get("39") == "00"
            assert (await bank.ask(managing("777"))).get("39") == "12"
            assert (await bank.ask(managing("002"))).get("39") == "00"
            assert (await bank.ask(PURCHASE)).get("39") == "89"
            assert read_entries(acquirer.settings.place.book) == []

    asyncio.run(run())


def test_many_pipelined_purchases_are_all_answered(tmp_path: Path) -> None:
    async def test(bank: Bank) -> None:
        for number in range(500):
            await bank.send(altered(PURCHASE, f11=f"{number:06d}", f61=numbered(number)))
        answers = [await bank.receive() for _ in range(500)]
        assert {item.get("61") for item in answers} == {numbered(n) for n in range(500)}
        assert {item.get("39") for item in answers} == {"00"}
        assert len({item.get("37") for item in answers}) == 500

    assert sum(item.charges for item in read_entries(with_bank(tmp_path, test))) == 500
