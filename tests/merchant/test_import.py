"""A row a rule: what an order file may hold, and what is said about the rest."""

import io
import json
import sqlite3
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from import_profiles import profile_of
from merchant_world import World

from clearline.intents import Route
from merchant.importer import (
    MAX_LINE,
    Bad,
    FileCode,
    FileRefusedError,
    Format,
    Taken,
    read,
)
from merchant.orders import Order, RowCode
from merchant.profile import Profile

CARD = "4111111111111111"


PROFILE = profile_of(payer_token="tok_approve")


def rows(data: bytes, form: Format = Format.CSV, profile: Profile = PROFILE) -> list[Taken | Bad]:
    return list(read(io.BytesIO(data), form, profile))


def one(data: bytes, form: Format = Format.CSV, profile: Profile = PROFILE) -> Order:
    (row,) = rows(data, form, profile)
    assert isinstance(row, Taken), row
    return row.order


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("29.33", "CNY", 2933),
        ("0.01", "CNY", 1),
        ("29.3", "CNY", 2930),
        ("29", "CNY", 2900),
        ("29.330", "CNY", 2933),
        ("1", "JPY", 1),
        ("1.234", "KWD", 1234),
        ("9999999999.99", "CNY", 999_999_999_999),
    ],
)
def test_amounts_are_exact(text: str, currency: str, minor: int) -> None:
    csv = one(f"order_no,amount,currency\nA,{text},{currency}\n".encode())
    assert (csv.amount, csv.currency) == (minor, currency)
    line = f'{{"order_no":"A","amount":{text},"currency":"{currency}"}}\n'
    assert one(line.encode(), Format.JSONL) == csv
    assert one(line.replace(text, f'"{text}"').encode(), Format.JSONL).amount == minor


@pytest.mark.parametrize(
    "data",
    [
        b"order_no,amount\nA-1,29.33\n",
        b"order_no,amount\nA-1,29.33",
        b"\xef\xbb\xbforder_no,amount\r\nA-1,29.33\r\n",
        b'"order_no","amount"\n"A-1","29.33"\n',
        b"\n\norder_no , amount\n\n  A-1 ,\t29.33 \n\n",
        b"amount,order_no\n29.33,A-1\n",
        b"order_no,amount,store,payer_token\nA-1,29.33,,\n",
    ],
)
def test_spellings_of_the_same_file(data: bytes) -> None:
    order = one(data)
    assert (order.order_no, order.amount, order.store) == ("A-1", 2933, "s")
    assert order.digest == one(b"order_no,amount\nA-1,29.33\n").digest


BAD_ROWS = [
    (b"A-1\n", RowCode.FIELDS_MISSING),
    (b"A-1,1,CNY,x\n", RowCode.FIELDS_SURPLUS),
    (b'"A-1,1,CNY\n', RowCode.QUOTING_INVALID),
    (b'"A"-1,1,CNY\n', RowCode.QUOTING_INVALID),
    (b"A-1,1,CNY\xff\n", RowCode.ENCODING_INVALID),
    (b"A-1,1," + b"x" * MAX_LINE + b"\n", RowCode.LINE_TOO_LONG),
    (b"A-1,1," + b"x" * 300 + b"\n", RowCode.FIELD_TOO_LONG),
    (b",1,CNY\n", RowCode.FIELD_MISSING),
    (b"A-1,,CNY\n", RowCode.FIELD_MISSING),
    (b"A 1,1,CNY\n", RowCode.ORDER_NO_INVALID),
    (b"..,1,CNY\n", RowCode.ORDER_NO_INVALID),
    (b"A/1,1,CNY\n", RowCode.ORDER_NO_INVALID),
    ("A-\u0661,1,CNY\n".encode(), RowCode.ORDER_NO_INVALID),
    (b"A-1,29.333,CNY\n", RowCode.AMOUNT_INVALID),
    (b"A-1,-1,CNY\n", RowCode.AMOUNT_INVALID),
    (b"A-1,0,CNY\n", RowCode.AMOUNT_INVALID),
    (b"A-1,1e3,CNY\n", RowCode.AMOUNT_INVALID),
    (b'A-1,"1,000",CNY\n', RowCode.AMOUNT_INVALID),
    (b"A-1,10000000000,CNY\n", RowCode.AMOUNT_INVALID),
    ("A-1,\u0661,CNY\n".encode(), RowCode.AMOUNT_INVALID),
    (b"A-1,1.5,JPY\n", RowCode.AMOUNT_INVALID),
    (b"A-1,1,XXX\n", RowCode.CURRENCY_INVALID),
    (b"A-1,1,cny\n", RowCode.CURRENCY_INVALID),
    (f"A-1,1,{CARD}\n".encode(), RowCode.CARD_DATA_REFUSED),
    (f"{CARD},1,CNY\n".encode(), RowCode.CARD_DATA_REFUSED),
    (f"A-1,{CARD},CNY\n".encode(), RowCode.CARD_DATA_REFUSED),
    (b"A-1,4111 1111-1111 1111,CNY\n", RowCode.CARD_DATA_REFUSED),
    (f"{CARD}\n".encode(), RowCode.CARD_DATA_REFUSED),
]


@pytest.mark.parametrize(("row", "code"), BAD_ROWS, ids=[f"{c}-{r[:12]!r}" for r, c in BAD_ROWS])
def test_a_bad_row_is_named_and_stops_nothing_else(row: bytes, code: RowCode) -> None:
    data = b"order_no,amount,currency\nA-0,1,CNY\n" + row + b"A-2,2,CNY\n"
    first, bad, last = rows(data)
    assert isinstance(first, Taken) and isinstance(last, Taken)
    assert (first.line, last.line) == (2, 4)
    assert isinstance(bad, Bad)
    assert (bad.line, bad.code) == (3, code)
    assert CARD not in bad.detail + bad.order_no and "4111" not in bad.detail + bad.order_no


JSON_ROWS = [
    (b"[1]\n", RowCode.JSON_INVALID),
    (b"{\n", RowCode.JSON_INVALID),
    (b'{"order_no":"A","order_no":"B","amount":1}\n', RowCode.JSON_INVALID),
    (b'{"order_no":"A","amount":NaN}\n', RowCode.JSON_INVALID),
    (b'{"a":' + b"[" * 30_000 + b"}\n", RowCode.JSON_INVALID),
    (b'{"order_no":"A","amount":1,"note":"x"}\n', RowCode.MEMBER_UNKNOWN),
    (b'{"order_no":"A","amount":true}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"store":["x"]}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"store":5}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":29.330000000000002}\n', RowCode.AMOUNT_INVALID),
    (b'{"order_no":"A","amount":1e2}\n', RowCode.AMOUNT_INVALID),
    (b'{"order_no":"A","amount":' + b"9" * 5_000 + b"}\n", RowCode.FIELD_TOO_LONG),
    (b'{"amount":1}\n', RowCode.FIELD_MISSING),
    (b'{"order_no":"A"}\n', RowCode.FIELD_MISSING),
    (b'{"order_no":"A","amount":1,"payer_token":"\\ud800"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"mcc":"541"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"product":"cash"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"acquirer":"nobody"}\n', RowCode.ACQUIRER_UNKNOWN),
    (b'{"order_no":"A","amount":1,"merchant_code":"C-1"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"merchant_code":"1234567890123456"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"merchant_code.unionpay":"C 1"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"merchant_code":"C1","merchant_code.unionpay":"C2"}\n',
     RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"merchant_code.nobody":"C1"}\n', RowCode.MEMBER_UNKNOWN),
    (b'{"order_no":"A","amount":1,"order_digest":"' + b"a" * 63 + b'"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"order_digest":"' + b"A" * 64 + b'"}\n', RowCode.FIELD_INVALID),
    (b'{"order_no":"A","amount":1,"order_digest":"\\u0034111111111111111"}\n',
     RowCode.CARD_DATA_REFUSED),
    (b'{"order_no":"A","amount":1,"payer_token":"\\u0034111111111111111"}\n',
     RowCode.CARD_DATA_REFUSED),
    (b'{"order_no":"A","amount":4111111111111111}\n', RowCode.CARD_DATA_REFUSED),
]  # fmt: skip


@pytest.mark.parametrize(("row", "code"), JSON_ROWS, ids=[f"{c}-{r[:40]!r}" for r, c in JSON_ROWS])
def test_bad_json_lines(row: bytes, code: RowCode) -> None:
    bad, good = rows(row + b'{"order_no":1001,"amount":29.33,"mcc":5812}\n', Format.JSONL)
    assert isinstance(bad, Bad) and (bad.line, bad.code) == (1, code)
    assert isinstance(good, Taken) and good.order.order_no == "1001" and good.order.mcc == "5812"


@pytest.mark.parametrize(
    ("row", "code", "said"),
    [
        (
            b'{"order_no":"A","amount":1,"note":5}\n',
            RowCode.MEMBER_UNKNOWN,
            "not an order's member",
        ),
        (b'{"order_no":"A","amount":true}\n', RowCode.FIELD_INVALID, "a string or a number"),
        (b'{"order_no":[],"amount":1}\n', RowCode.FIELD_INVALID, "a string or a number"),
        (b'{"order_no":"A","amount":1,"store":5}\n', RowCode.FIELD_INVALID, "must be a string"),
    ],
)
def test_what_is_said_of_a_member(row: bytes, code: RowCode, said: str) -> None:
    (bad,) = rows(row, Format.JSONL)
    assert isinstance(bad, Bad) and bad.code is code
    assert bad.detail.endswith(said)


def test_every_row_code_has_a_row() -> None:
    assert {code for _, code in BAD_ROWS + JSON_ROWS} | {RowCode.CONFLICT} == set(RowCode)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", FileCode.FILE_EMPTY),
        (b"\n \n", FileCode.FILE_EMPTY),
        (b"order_no,amount\n", FileCode.FILE_EMPTY),
        (b"A-1,29.33\nA-2,1\n", FileCode.HEADER_MISSING),
        (b"order_no;amount\nA-1;1\n", FileCode.HEADER_MISSING),
        (b"order_no,amount,colour\nA-1,1,red\n", FileCode.COLUMN_UNKNOWN),
        (f"order_no,amount,{CARD}\n".encode(), FileCode.HEADER_INVALID),
        (b"order_no,amount,payer_token.nobody\n", FileCode.COLUMN_UNKNOWN),
        (b"order_no,amount,merchant_code.nobody\n", FileCode.COLUMN_UNKNOWN),
        (b"order_no,amount,amount\nA-1,1,1\n", FileCode.COLUMN_TWICE),
        (b"order_no,currency\nA-1,CNY\n", FileCode.COLUMN_MISSING),
        (b'order_no,"amount\nA-1,1\n', FileCode.HEADER_INVALID),
        (b"order_no,amount\xff\nA-1,1\n", FileCode.ENCODING_INVALID),
        ("order_no,amount\nA-1,1\n".encode("utf-16"), FileCode.ENCODING_INVALID),
        (b"order_no,amount\rA-1,1\r", FileCode.LINE_ENDS_INVALID),
        (b"x" * (MAX_LINE + 9), FileCode.HEADER_INVALID),
    ],
)
def test_a_file_that_is_not_one_is_refused_whole(data: bytes, code: FileCode) -> None:
    with pytest.raises(FileRefusedError) as raised:
        rows(data)
    assert raised.value.code is code
    assert CARD not in str(raised.value)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(list(Format)))
def test_no_bytes_break_the_importer(data: bytes, form: Format) -> None:
    head = b"order_no,amount,payer_token\n" if form is Format.CSV else b""
    try:
        found = rows(head + data, form)
    except FileRefusedError:
        return
    assert all(isinstance(row, Taken | Bad) for row in found)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 999_999_999_999))
def test_every_amount_survives(minor: int) -> None:
    text = f"{minor // 100}.{minor % 100:02d}"
    assert one(f"order_no,amount\nA-1,{text}\n".encode()).amount == minor


def test_tokens_are_one_acquirers_own() -> None:
    profile = profile_of("unionpay", "wallet")
    head = b"order_no,amount,payer_token,payer_token.unionpay,payer_token.wallet,acquirer\n"

    def routes(row: bytes) -> tuple[Route, ...]:
        return one(head + row, profile=profile).routes

    union, wallet = (
        Route("unionpay", "Cunionpay", "tok_a"),
        Route("wallet", "Cwallet", "tok_b"),
    )
    assert routes(b"A,1,tok_a,,,\n") == (union,)
    assert routes(b"A,1,,tok_a,tok_b,\n") == (union, wallet)
    assert routes(b"A,1,tok_b,,,wallet\n") == (wallet,)
    assert routes(b"A,1,,tok_a,tok_b,wallet\n") == (wallet,)
    (bad,) = rows(head + b"A,1,,tok_a,,wallet\n", profile=profile)
    assert isinstance(bad, Bad) and bad.code is RowCode.FIELD_MISSING


def test_the_profile_fills_in_what_the_file_does_not_say() -> None:
    bare = Profile(**{
        name: getattr(PROFILE, name) for name in ("network", "merchant_id", "gateways", "pins")
    }, routes=PROFILE.routes, defaults=MappingProxyType({}))  # fmt: skip
    (bad,) = rows(b"order_no,amount\nA-1,1\n", profile=bare)
    assert isinstance(bad, Bad) and bad.code is RowCode.FIELD_MISSING
    assert (
        one(b"order_no,amount,store\nA-1,1,s\n").digest != one(b"order_no,amount\nA-1,1\n").digest
    )


def test_import_again_skips_and_conflicts(world: World, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("order_no,amount\nA-1,29.33\nA-2,1\nA-1,29.33\nA-1,30\n")
    first = world.run("import", str(file), "--json")
    document = json.loads(first.stdout)
    assert (document["added"], document["same"]) == (2, 1)
    assert [(bad["line"], bad["code"]) for bad in document["bad"]] == [(5, "conflict")]
    assert first.exit_code == document["exit_code"] == 1
    assert "line 5 (order A-1): conflict" in first.stderr
    again = json.loads(world.run("import", str(file), "--json").stdout)
    assert (again["added"], again["same"], len(again["bad"])) == (0, 3, 1)
    listed = world.run("list", "--json").stdout.splitlines()
    assert [json.loads(line)["amount"] for line in listed] == [2933, 100]


def test_bad_rows_and_conflicts_are_told_of_in_the_order_of_their_lines(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("order_no,amount\nA-1,1\nA-1,2\nA-2,x\nA-2,1\nA-2,3\nA-3,y\n")
    result = world.run("import", str(file), "--json")
    told = [(bad["line"], bad["code"]) for bad in json.loads(result.stdout)["bad"]]
    assert told == [
        (3, "conflict"), (4, "amount_invalid"), (6, "conflict"), (7, "amount_invalid"),
    ]  # fmt: skip
    lines = [line.partition(" (")[0] for line in result.stderr.splitlines()]
    assert lines == ["line 3", "line 4", "line 6", "line 7"]


def test_card_numbers_never_reach_the_book(world: World) -> None:
    text = f"order_no,amount,payer_token\nA-1,1,{CARD}\n{CARD},1,t\nA-2,1,t\n"
    result = world.run("import", "-", "--format", "csv", stdin=text)
    assert result.exit_code == 1 and result.output.count("card_data_refused") == 2
    assert CARD not in result.output
    order = world.run("order", "A-9", "1", "--payer-token", CARD)
    assert order.exit_code == 1 and "card_data_refused" in order.output
    assert CARD not in order.output
    book = sqlite3.connect(world.home / "orders.db")
    assert book.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    book.close()
    for file in world.home.iterdir():
        assert CARD.encode() not in file.read_bytes()


def test_a_large_file(world: World, tmp_path: Path) -> None:
    file = tmp_path / "orders.jsonl"
    with file.open("w") as stream:
        for number in range(3000):
            stream.write(f'{{"order_no":"A-{number}","amount":"{number + 1}.07"}}\n')
    assert json.loads(world.run("import", str(file), "--json").stdout)["added"] == 3000
