"""The acquirer's own vault decides which tokens exist."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from helpers_acquirer import PURCHASE, REVERSAL, altered, numbered, running

from acquirers.unionpay_iso8583 import sandbox
from acquirers.unionpay_iso8583.book import Book, read_entries
from acquirers.unionpay_iso8583.sandbox import TOKENS


def vault(path: Path) -> dict[str, str]:
    """What the file's vault holds."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT token, account FROM vault"))


def answers(folder: Path, *tokens: str) -> list[str]:
    """What purchases by these tokens are answered, each under another reference."""

    async def test() -> list[str]:
        async with running(folder) as acquirer, acquirer.signed_on() as bank:
            first = len(read_entries(acquirer.settings.place.book))
            return [
                (await bank.ask(altered(PURCHASE, f60=token, f61=numbered(first + n)))).get("39")
                for n, token in enumerate(tokens)
            ]

    return asyncio.run(test())


def test_a_new_books_vault_holds_the_sandboxs_tokens(tmp_path: Path) -> None:
    Book(tmp_path / "book.db").close()
    assert vault(tmp_path / "book.db") == {token: sandbox.account(token) for token in TOKENS}


def test_a_token_put_into_the_vault_is_honoured_and_one_taken_out_declined(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as acquirer, acquirer.signed_on() as bank:

            async def ask(number: int, token: str) -> str:
                answer = await bank.ask(altered(PURCHASE, f60=token, f61=numbered(number)))
                return answer.get("39")

            other = Book(acquirer.settings.place.book)
            try:
                assert await ask(1, "tok_new_payer") == "14"
                other.open_account("tok_new_payer", "acct-1")
                assert await ask(2, "tok_new_payer") == "00"
                assert await ask(3, "tok_approve") == "00"
                other.close_account("tok_approve")
                assert await ask(4, "tok_approve") == "14"
                assert await ask(5, "tok_approve.4711") == "14"
                # Taken out is not charged; what was charged before can be given back.
                undone = await bank.ask(altered(REVERSAL, f61=numbered(3)))
                assert undone.get("39") == "00"
            finally:
                other.close()
            charged = {
                entry.reference: entry.net for entry in read_entries(acquirer.settings.place.book)
            }
            assert charged == {
                **{numbered(n): 0 for n in (1, 3, 4, 5)},
                numbered(2): 2933,
            }

    asyncio.run(test())


def test_what_the_vault_says_outlives_a_restart(tmp_path: Path) -> None:
    # A payer with a suffix has an account of its own from the first purchase on.
    assert answers(tmp_path, "tok_approve.4711", "tok_insufficient_funds.1") == ["00", "51"]
    (path,) = tmp_path.rglob("book*.db")
    held = vault(path)
    assert held["tok_approve.4711"] not in ("", held["tok_approve"])
    other = Book(path)
    other.close_account("tok_approve")
    other.close()
    assert answers(tmp_path, "tok_approve", "tok_approve.4712", "tok_approve.4711") == [
        "14", "14", "00",
    ]  # fmt: skip


def test_the_vault_of_an_older_book_is_filled_once(tmp_path: Path) -> None:
    # As such books are: a vault that only remembered who had paid.
    path = tmp_path / "book.db"
    made = Book(path)
    for token in TOKENS:
        made.close_account(token)
    made.open_account("tok_approve.1", "acct-1")
    made.close()
    Book(path).close()
    assert set(vault(path)) == {"tok_approve.1"}
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 0")
    Book(path).close()
    assert set(vault(path)) == {*TOKENS, "tok_approve.1"}
