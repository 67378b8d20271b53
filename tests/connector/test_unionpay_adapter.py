"""The adapter against an acquirer that misbehaves, over real sockets; messages as tables."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from acquirers.unionpay_iso8583 import codec
from acquirers.unionpay_iso8583.codec import Message
from acquirers.unionpay_iso8583.create import create
from acquirers.unionpay_iso8583.framing import FrameError, Frames
from clearline.statuses import Reason
from connector.adapter import Answer, Heard, NoAnswerError, NotSentError, Order, Verdict
from connector.settings import SettingsError
from connector.unionpay_iso8583 import messages
from connector.unionpay_iso8583.adapter import Timing, UnionPayAdapter, load_partner
from connector.unionpay_iso8583.wire import Native, Partner, WireError, pack, unpack

ORDER = Order("0a" * 20, 2933, "CNY", "898310148990001", "tok_approve", "5411", "T1", "card")
NOW = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)
TIMING = Timing(answer_seconds=0.3, reversal_seconds=0.3, echo_seconds=0.2, connections=1)
KEY = bytes(range(16))
PARTNER = Partner("127.0.0.1", 1, Path("ca.pem"), "localhost", KEY, "48020000", "48021000")
Misdeed = Callable[[Message, bytes], list[bytes] | None]


async def no_notice(reference: str, answer: Answer) -> bool:
    raise AssertionError("this acquirer sends none")


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


def said(request: Message, key: bytes, **changes: str) -> bytes:
    """An approval of a request, with fields (`f4="..."`) changed."""
    fields = {n: t for n, t in request.fields.items() if n not in ("22", "25", "90")}
    fields |= {"39": "00", **{name[1:]: text for name, text in changes.items()}}
    mti = f"{request.mti[:2]}{int(request.mti[2]) + 1}0"
    return framed(codec.encode(Message(mti, fields), key))


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


# What a rogue acquirer does with a purchase: frames to send, or None to close the connection.
LOST: dict[str, Misdeed] = {
    "wrong MAC": lambda m, k: [flipped(said(m, k))],
    "garbage": lambda m, k: [framed(b"0210" + b"\xff" * 40)],
    "an endless frame": lambda m, k: [b"\xff\xff"],
    "closed": lambda m, k: None,
    "a field out of its form": lambda m, k: [said(m, k, f63="no date")],
}
NEVER: dict[str, Misdeed] = {
    "nothing": lambda m, k: [],
    "another reference": lambda m, k: [said(m, k, f61="0b" * 20)],
    "another trace number": lambda m, k: [said(m, k, f11="999999")],
    "a reversal's answer": lambda m, k: [said(replace(m, mti="0420"), k)],
}
ANSWERS: dict[str, tuple[dict[str, str], Verdict, Reason]] = {
    "approved": ({}, Verdict.APPROVED, Reason.APPROVED),
    "another amount": ({"f4": "000000002934"}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
    "another currency": ({"f49": "840"}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
    "another merchant": ({"f42": "898310148990002"}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
    "another payer": ({"f60": "tok_other"}, Verdict.UNSURE, Reason.INVALID_AMOUNT),
    "duplicate": ({"f39": "94"}, Verdict.UNSURE, Reason.DUPLICATE),
    "reversed before": ({"f39": "22"}, Verdict.REVERSED, Reason.REVERSED),
    "unknown code": ({"f39": "ZZ"}, Verdict.UNSURE, Reason.OTHER),
    "wrong MAC of ours": ({"f39": "A0"}, Verdict.UNSURE, Reason.OTHER),
    "not signed on": ({"f39": "89"}, Verdict.UNSURE, Reason.OTHER),
    "declined": ({"f39": "51"}, Verdict.DECLINED, Reason.INSUFFICIENT_FUNDS),
}


@asynccontextmanager
async def rogue(folder: Path, deed: Misdeed) -> AsyncIterator[UnionPayAdapter]:
    """An adapter that is connected to an acquirer which treats purchases like this."""
    create(folder, "127.0.0.1", 0, "clearline-test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem", folder / "tls-key.pem")
    key = bytes.fromhex((folder / "mac.key").read_text())

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames(reader)
        try:
            while (raw := await frames.next(10)) is not None:
                request = codec.decode(raw)
                assert codec.mac_matches(raw, key)
                data = deed(request, key) if request.mti != "0800" else [said(request, key)]
                if data is None:
                    break
                writer.writelines(data)
        except (FrameError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    partner = folder / "partner.json"
    port = server.sockets[0].getsockname()[1]
    partner.write_text(partner.read_text().replace('"port": 0', f'"port": {port}'))
    adapter = UnionPayAdapter(load_partner(partner), TIMING)
    late.clear()
    await adapter.start(Heard(lambda *said: late.append(said), no_notice))
    try:
        async with asyncio.timeout(5):
            await adapter.ready()
        yield adapter
    finally:
        await adapter.stop()
        server.close()


late: list[tuple[str, Answer]] = []


def pay(folder: Path, deed: Misdeed) -> Answer:
    """One purchase at a rogue acquirer."""

    async def run() -> Answer:
        async with rogue(folder, deed) as adapter:
            return await adapter.pay(ORDER, adapter.new_trace())

    return asyncio.run(run())


@pytest.mark.parametrize("name", LOST)
def test_what_can_not_be_trusted_ends_the_connection(tmp_path: Path, name: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        pay(tmp_path, LOST[name])
    assert caught.value.reason is Reason.CONNECTION_LOST


@pytest.mark.parametrize("name", NEVER)
def test_an_answer_to_something_else_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(NoAnswerError) as caught:
        pay(tmp_path, NEVER[name])
    assert caught.value.reason is Reason.TIMED_OUT


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_means(tmp_path: Path, name: str) -> None:
    changes, verdict, reason = ANSWERS[name]
    answer = pay(tmp_path, lambda m, k: [said(m, k, **changes)])
    assert (answer.verdict, answer.reason) == (verdict, reason)
    assert answer.native


def test_a_second_answer_is_late(tmp_path: Path) -> None:
    async def run() -> None:
        async with rogue(tmp_path, lambda m, k: [said(m, k), said(m, k)]) as adapter:
            assert (await adapter.pay(ORDER, adapter.new_trace())).verdict is Verdict.APPROVED
            async with asyncio.timeout(5):
                while not late:  # noqa: ASYNC110 - the second frame is on its way
                    await asyncio.sleep(0.01)
        assert [(reference, answer.verdict) for reference, answer in late] == [
            (ORDER.reference, Verdict.APPROVED)
        ]

    asyncio.run(run())


def test_it_signs_on_again_after_a_lost_connection(tmp_path: Path) -> None:
    first = [True]

    def once(message: Message, key: bytes) -> list[bytes] | None:
        return None if first and first.pop() else [said(message, key)]

    async def run() -> None:
        async with rogue(tmp_path, once) as adapter:
            with pytest.raises(NoAnswerError):
                await adapter.pay(ORDER, adapter.new_trace())
            async with asyncio.timeout(5):
                await adapter.ready()
                answer = await adapter.pay(ORDER, adapter.new_trace())
            assert answer.verdict is Verdict.APPROVED
            await asyncio.sleep(0.5)  # echoes keep the silent connection
            assert (await adapter.pay(ORDER, adapter.new_trace())).verdict is Verdict.APPROVED

    asyncio.run(run())


def test_without_a_connection_it_is_proved_unsent(tmp_path: Path) -> None:
    create(tmp_path, "127.0.0.1", 1, "clearline-test")

    async def run() -> None:
        adapter = UnionPayAdapter(load_partner(tmp_path / "partner.json"), TIMING)
        await adapter.start(Heard(lambda *_: None, no_notice))
        try:
            with pytest.raises(NotSentError):
                await adapter.pay(ORDER, adapter.new_trace())
            with pytest.raises(NotSentError):
                await adapter.reverse(ORDER, "", 0)
        finally:
            await adapter.stop()

    asyncio.run(run())


@pytest.mark.parametrize(("tries", "mti"), [(0, "0420"), (1, "0421"), (7, "0421")])
def test_a_reversal_names_what_it_undoes(tries: int, mti: str) -> None:
    sending = messages.trace("000123", NOW)
    reversal = messages.reversal(ORDER, sending, "000124", tries, PARTNER, NOW)
    assert reversal.mti == mti
    assert reversal.get("90") == "0200" + "000123" + "1123080000" + "00048020000" + "00048021000"
    assert reversal.get("61") == ORDER.reference
    unknown = messages.reversal(ORDER, "", "000124", tries, PARTNER, NOW)
    assert unknown.get("90")[4:20] == "0" * 16


@pytest.mark.parametrize(
    ("code", "verdict"),
    [("00", Verdict.REVERSED), ("25", Verdict.REVERSED), ("13", Verdict.UNSURE),
     ("96", Verdict.UNSURE), ("A0", Verdict.UNSURE), ("94", Verdict.UNSURE)],
)  # fmt: skip
def test_what_a_reversal_s_answer_means(code: str, verdict: Verdict) -> None:
    assert messages.reversal_answer(Native("0430", {"39": code}, b"x")).verdict is verdict


@pytest.mark.parametrize(
    ("field", "date"), [("R/20261123", "2026-11-23"), ("R/20261399", None), ("R/00000000", None)]
)
def test_a_clearing_date_that_is_none_spoils_no_report(field: str, date: str | None) -> None:
    answer = messages.reversal_answer(Native("0430", {"39": "00", "63": field}, b"x"))
    assert answer.clearing_date == date


CARD = "4111111111111111"
UNTELLABLE = [
    ("43", f"SHOP {CARD}".ljust(40), "merchant_name"),
    ("42", "378282246310005", "merchant_code"),
    ("42", "8983101 4899000", "merchant_code"),  # no card, but no code either
    ("60", CARD, "payer_token"),
    ("60", f"tok_{CARD}", "payer_token"),
    ("63", f"{CARD}/20261123", "clearing_route"),
]


@pytest.mark.parametrize(("field", "text", "name"), UNTELLABLE)
def test_what_no_report_may_say_is_left_out(field: str, text: str, name: str) -> None:
    """Of an end it is left out; an approval that lacks what was asked is none."""
    said = {"4": "000000002933", "49": "156", "42": ORDER.merchant_code, "60": ORDER.payer_token,
            "63": "R/20261123", "43": "SHOP".ljust(40)}  # fmt: skip
    needed = name in ("merchant_code", "payer_token")
    approved = Verdict.UNSURE if needed else Verdict.APPROVED
    for code, verdict in (("00", approved), ("51", Verdict.DECLINED)):
        whole = messages.purchase_answer(ORDER, Native("0210", said | {"39": code}, b"x"))
        fields = said | {"39": code, field: text}
        answer = messages.purchase_answer(ORDER, Native("0210", fields, b"x"))
        assert whole.verdict in (Verdict.APPROVED, Verdict.DECLINED)
        assert getattr(whole, name) is not None
        assert answer == replace(
            whole, verdict=verdict, reason=answer.reason, native=b"x", **{name: None}
        )


def test_both_companies_write_the_same_bytes() -> None:
    purchase = messages.purchase(ORDER, messages.trace("000123", NOW), PARTNER, NOW)
    reversal = messages.reversal(ORDER, "", "000124", 0, PARTNER, NOW)
    for native in (purchase, reversal):
        frame = pack(native, KEY)
        assert frame == framed(codec.encode(Message(native.mti, native.fields), KEY))
        assert codec.decode(frame[2:]).fields == native.fields == unpack(frame[2:], KEY).fields
        for index in range(2, len(frame)):
            with pytest.raises(WireError):
                unpack(frame[2:index] + bytes([frame[index] ^ 1]) + frame[index + 1 :], KEY)
    with pytest.raises(WireError):
        pack(Native("0200", {"61": "a" * 41}), KEY)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (('"port": 8583', '"port": "x"'), "port"),
        (('"mac_key_file": "mac.key"', '"mac_key_file": "none"'), "mac_key_file"),
        (('"mac_key_file": "mac.key"', '"mac_key_file": "ca.pem"'), "partner.json"),
        (('"host": "127.0.0.1"', '"host": ""'), "host"),
        (('"forwarding_institution": "48021000"', '"forwarding_institution": "x"'), "digits"),
        (("{", "["), "JSON"),
    ],
)
def test_a_bad_partner_file_says_what_is_wrong(
    tmp_path: Path, change: tuple[str, str], what: str
) -> None:
    create(tmp_path, "127.0.0.1", 8583, "clearline-test")
    path = tmp_path / "partner.json"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(SettingsError, match=what):
        load_partner(path)
