"""What Go reads, and how it writes: messages, PEM, numbers, quoted texts, times."""

import random
from typing import Any

import pytest
from fabric_protos.common import common_pb2
from fabric_protos.peer import chaincode_shim_pb2 as shim
from fabric_protos.peer import proposal_pb2
from google.protobuf.message import DecodeError
from protobuf_mischief import mutated

from network.embedded import gopem, goproto, gostrconv, gotime

HEADER = common_pb2.ChannelHeader


@pytest.mark.parametrize(
    ("message_type", "raw", "says"),
    [
        (HEADER, b"\xff", goproto.WIRE_FORMAT),
        (HEADER, b"\x22\x05abc", goproto.WIRE_FORMAT),
        (HEADER, b"\x22\x02\xff\xfe", goproto.NO_UTF8),
        # The first fault counts.
        (HEADER, b"\x22\x02\xff\xfe\xff", goproto.NO_UTF8),
        (HEADER, b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", goproto.WIRE_FORMAT),
        (HEADER, b"\x00\x01", goproto.WIRE_FORMAT),
        # A timestamp that is broken inside.
        (HEADER, b"\x1a\x02\x08\x80", goproto.WIRE_FORMAT),
        # Text deep inside: a write record's key.
        (shim.WriteBatchState, b"\x0a\x04\x0a\x02\xff\xfe", goproto.NO_UTF8),
        # Groups that never end, or end as another.
        (HEADER, b"\x7b", goproto.WIRE_FORMAT),
        (HEADER, b"\x7b\x84\x01", goproto.WIRE_FORMAT),
        # Bytes of a field of bytes are nobody's business.
        (proposal_pb2.Proposal, b"\x0a\x02\xff\xfe\x0a\x05", goproto.WIRE_FORMAT),
    ],
)
def test_go_names_the_first_fault(message_type: Any, raw: bytes, says: str) -> None:
    with pytest.raises(DecodeError):
        message_type.FromString(raw)
    with pytest.raises(goproto.GoDecodeError, match=says):
        goproto.parse(message_type, raw)


def test_a_message_is_what_python_takes_for_one() -> None:
    chance = random.Random("parsing")
    good = common_pb2.ChannelHeader(channel_id="c", tx_id="t", type=3, extension=b"x" * 20)
    refused = 0
    for _ in range(500):
        raw = mutated(good.SerializeToString(), chance)
        try:
            expected = HEADER.FromString(raw)
        except DecodeError:
            refused += 1
            with pytest.raises(goproto.GoDecodeError):
                goproto.parse(HEADER, raw)
        else:
            assert goproto.parse(HEADER, raw) == expected
    assert 0 < refused < 500


@pytest.mark.parametrize(
    ("seconds", "nanos", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (1_795_000_000, 999_999_999, "2026-11-18T11:06:40Z"),
        (-1, 0, "1969-12-31T23:59:59Z"),
        (253_402_300_800, 0, "10000-01-01T00:00:00Z"),
        (-62_167_219_201, 0, "-0001-12-31T23:59:59Z"),
        (0, 1_500_000_000, "1970-01-01T00:00:01Z"),
    ],
)
def test_times_as_go_writes_them(seconds: int, nanos: int, text: str) -> None:
    assert gotime.rfc3339(seconds, nanos) == text


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (b"-----BEGIN X-----\nQUJD\n-----END X-----\n", b"ABC"),
        (b"before\n-----BEGIN X-----\nQUJD\n-----END X-----\nafter", b"ABC"),
        (b"-----BEGIN X-----  \r\nQU JD\r\n-----END X----- \t\r\n", b"ABC"),
        (b"-----BEGIN X-----\na: b\n\nQUJD\n-----END X-----", b"ABC"),
        (b"-----BEGIN Y-----\n-----BEGIN X-----\nQUJD\n-----END X-----", b"ABC"),
        (
            b"-----BEGIN X-----\n?\n-----END X-----\n-----BEGIN X-----\nQUJD\n-----END X-----",
            b"ABC",
        ),
        (b"-----BEGIN X-----\n-----END X-----", b""),
        # Bits beyond the last byte are nobody's.
        (b"-----BEGIN X-----\nQR==\n-----END X-----", b"A"),
        (b" -----BEGIN X-----\nQUJD\n-----END X-----", None),
        (b"-----BEGIN X-----QUJD\n-----END X-----", None),
        (b"-----BEGIN X-----\nQUJD-----END X-----", None),
        (b"-----BEGIN X-----\nQUJD\n-----END Y-----", None),
        (b"-----BEGIN X-----\nQUJD\n-----END X-----after", None),
        (b"-----BEGIN X-----\nQUJD=\n-----END X-----", None),
        (b"-----BEGIN X-----\nQUJ\n-----END X-----", None),
        (b"-----BEGIN X-----\nQUJD", None),
        (b"-----BEGIN a:b-----\n-----END a:b-----", None),
        (b"", None),
    ],
)
def test_pem_as_go_reads_it(text: bytes, content: bytes | None) -> None:
    """Each row was held to Go's encoding/pem."""
    assert gopem.decode(text) == content


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", '"plain"'),
        (b'a"b\\c', r'"a\"b\\c"'),
        (b"\a\b\f\n\r\t\v\x00\x1f\x7f", r'"\a\b\f\n\r\t\v\x00\x1f\x7f"'),
        ("é\u00a0\u0085\u200b\U0001f600\U000e0001".encode(), r'"é\u00a0\u0085\u200b😀\U000e0001"'),
        (b"\xff\xe2\x82A\xed\xa0\x80", r'"\xff\xe2\x82A\xed\xa0\x80"'),
    ],
)
def test_texts_as_go_quotes_them(raw: bytes, text: str) -> None:
    assert gostrconv.quote(raw) == text


@pytest.mark.parametrize("raw", [b"0", b"007", b"18446744073709551615", b"0" * 5000 + b"1"])
def test_numbers_that_go_reads(raw: bytes) -> None:
    assert gostrconv.parse_uint64(raw) == int(raw[-20:])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "invalid syntax"),
        (b"+1", "invalid syntax"),
        (b"1_0", "invalid syntax"),
        ("\u0661".encode(), "invalid syntax"),
        (b"\xff", "invalid syntax"),
        (b"18446744073709551616", "value out of range"),
        (b"9" * 5000, "value out of range"),
    ],
)
def test_numbers_that_go_refuses(raw: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        gostrconv.parse_uint64(raw)
    assert str(caught.value) == f"strconv.ParseUint: parsing {gostrconv.quote(raw)}: {says}"
