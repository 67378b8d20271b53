"""Strict reading and RFC 8785 writing."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearline import canonical
from clearline.canonical import CanonicalError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner, max_size=4)
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b'{"a":1,"a":2}', "duplicate member"),
        (b'{"a":{"b":1,"b":1}}', "duplicate member"),
        (b"1.0", "not an integer"),
        (b"1e3", "not an integer"),
        (b"-0", "negative zero"),
        (b"NaN", "not JSON"),
        (b"Infinity", "not JSON"),
        (b"9007199254740993", "beyond 2^53"),
        (b"9" * 5000, "beyond 2^53"),
        (b"", "not JSON"),
        (b"{} x", "not JSON"),
        (b"\xff", "not JSON"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\u00e9":1}', "not ASCII"),
        (b"[" * 40 + b"]" * 40, "32 levels"),
        (b"[" * 200_000, "32 levels"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "32 levels"),
    ],
)
def test_refuses_what_two_parsers_could_take_differently(text: bytes, why: str) -> None:
    with pytest.raises(CanonicalError, match=why.replace("^", r"\^")):
        canonical.loads(text)


def test_writes_what_rfc_8785_shows_for_strings_and_order() -> None:
    value = {"peach": '\u20ac$\u000f\nA\'B"\\\\"/', "Peach": [56, {"d": True, "10": None}], "1": ""}
    assert canonical.dumps(value) == (
        '{"1":"","Peach":[56,{"10":null,"d":true}],"peach":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'.encode()
    )


@pytest.mark.parametrize("value", [1.5, 2**53 + 1, {"é": 1}, {1: 2}, b"x", "\ud800", {"a": {2.0}}])
def test_writes_nothing_else(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical.dumps(value)


@given(VALUES)
def test_reading_what_was_written_gives_the_value_and_the_same_bytes(value: object) -> None:
    written = canonical.dumps(value)
    assert canonical.loads(written) == value
    assert canonical.dumps(canonical.loads(written)) == written


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}', b"1.5", b"-0", b"-0.0", b"1e2", b"100000000000000000000", b"0.1",
        b"18446744073709551615", b"9007199254740992", b"9007199254740993", b"-9007199254740993",
        b'"\\u0041"', b'"A"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", b" 1", b"[1,2]",
        b'{"b":1,"a":2}', b'{"\xc3\xa9":1}', b'"\xc3\xa9"', b'"\x7f"', b'"\\/"', b"null", b"nul",
        b"true", b"",
    ],
)  # fmt: skip
def test_both_ways_of_reading_say_the_same(text: bytes) -> None:
    assert _said(canonical.loads, text) == _said(canonical._strictly, text)


@given(VALUES, st.data())
def test_both_ways_of_reading_say_the_same_of_damaged_text(
    value: object, data: st.DataObject
) -> None:
    written = canonical.dumps(value)
    at = data.draw(st.integers(0, len(written)))
    other = written[:at] + data.draw(
        st.sampled_from([b"", b"0", b".", b"e", b"-", b",", b'"', b" "])
    )
    other += written[at + data.draw(st.integers(0, 1)) :]
    assert _said(canonical.loads, other) == _said(canonical._strictly, other)


def _said(read: Callable[[bytes], object], text: bytes) -> str:
    """The value and its types, or the words of the refusal."""
    try:
        return repr(read(text))
    except CanonicalError as error:
        return f"refused: {error}"


@pytest.mark.parametrize("inner", ["1", '"é"', "null", "true"])
def test_the_deepest_value_is_in_32_containers(inner: str) -> None:
    deepest = "[" * 32 + inner + "]" * 32
    assert canonical.dumps(canonical.loads(deepest)) == deepest.encode()
    with pytest.raises(CanonicalError, match="32 levels"):
        canonical.loads(f"[{deepest}]")
    with pytest.raises(CanonicalError, match="32 levels"):
        canonical.dumps([json.loads(deepest)])


@given(st.recursive(st.floats() | st.binary() | st.integers(2**53 + 1), st.lists, max_leaves=3))
def test_what_has_no_place_is_found_wherever_it_stands(value: object) -> None:
    held = isinstance(value, list) and not json.dumps(value, default=str).strip("[], ")
    for whole in (value, {"a": value}, [[1, {"b": ("x", value)}]]):
        if held:
            canonical.dumps(whole)
        else:
            with pytest.raises(CanonicalError):
                canonical.dumps(whole)
