"""JSON as the ledger holds it: strict to read, canonical to write.

Reading refuses what two parsers could take differently: duplicate members, numbers with a
fraction or an exponent, integers beyond 2^53, lone surrogates, more than 32 levels. Writing is
RFC 8785 (JCS) for the values reading admits; member names must be ASCII, where byte order and
RFC 8785's UTF-16 order agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import orjson

Json: TypeAlias = Any
MAX_INTEGER: Final = 2**53
MAX_DEPTH: Final = 32


class CanonicalError(ValueError):
    """The text is not JSON as the ledger takes it; the message says why."""


def _no_fraction(text: str) -> Json:
    raise CanonicalError(f"number {text[:40]!r} is not an integer")


def _no_constant(text: str) -> Json:
    raise CanonicalError(f"{text} is not JSON")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(value := int(text)) > MAX_INTEGER:
        raise CanonicalError(f"integer {text[:40]} is beyond 2^53")
    if text == "-0":
        raise CanonicalError("negative zero")
    return value


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise CanonicalError(f"duplicate member {twice[:64]!r}")
    return members


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members,
    parse_float=_no_fraction,
    parse_int=_integer,
    parse_constant=_no_constant,
)


def loads(data: bytes | str) -> Json:
    """Parse JSON strictly (RFC 8259, I-JSON of RFC 7493 without fractions).

    Raises CanonicalError for everything else, whatever the bytes.
    """
    found = _if_canonical(data)
    return _strictly(data) if found is None else found[0]


def _if_canonical(data: bytes | str) -> tuple[Json] | None:
    """The value of a text that is its own canonical form, by a faster parser that is not strict.

    Equal bytes leave it no room: a duplicate member, an exponent, a negative zero or a spelling of
    its own would come back as other bytes. What they let pass - a float, an integer beyond 2^53 -
    is refused by _check. Everything else, None, is the strict parser's to name.
    """
    try:
        raw = data.encode() if isinstance(data, str) else data
        value = orjson.loads(raw)
        if orjson.dumps(value, option=orjson.OPT_SORT_KEYS) != raw:
            return None
        _check(value, 0)
    except (ValueError, TypeError):  # CanonicalError and both of orjson's among them
        return None
    return (value,)


def _strictly(data: bytes | str) -> Json:
    """As loads, of any text."""
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = _DECODER.decode(text)
    except CanonicalError:
        raise
    except RecursionError:
        raise CanonicalError(f"more than {MAX_DEPTH} levels") from None
    except ValueError:
        # Not the parser's own words: they differ between Python versions, and the contract's
        # answers quote ours.
        raise CanonicalError("not JSON in UTF-8") from None
    _check(value, 0)
    return value


def dumps(value: Json) -> bytes:
    """RFC 8785 bytes of objects, arrays, strings, integers, booleans and null.

    Raises CanonicalError for floats, integers beyond 2^53, other types, non-ASCII member names.
    """
    _check(value, 0)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Json) -> str:
    """SHA-256 of the canonical bytes, 64 lower-case hex digits."""
    return hashlib.sha256(dumps(value)).hexdigest()


def _check(value: Json, depth: int) -> None:
    """Raise CanonicalError unless `value`, inside `depth` containers, is what the ledger holds.

    Scalars are looked at where they stand: a call for each would cost more than the look.
    """
    kind = type(value)
    inside: Iterable[Json] = (value,)
    if kind is dict or kind is list or kind is tuple:
        if depth >= MAX_DEPTH:
            raise CanonicalError(f"more than {MAX_DEPTH} levels")
        if kind is dict:
            _check_names(value)
            inside = value.values()
        else:
            inside = value
    for member in inside:
        kind = type(member)
        if kind is str:
            if not member.isascii():
                _check_text(member)
        elif kind is int:
            if not -MAX_INTEGER <= member <= MAX_INTEGER:
                raise CanonicalError(f"integer {member} is beyond 2^53")
        elif kind is dict or kind is list or kind is tuple:
            if member or depth + 1 >= MAX_DEPTH:
                _check(member, depth + 1)
        elif member is not None and kind is not bool:
            raise CanonicalError(f"{kind.__name__} has no place in ledger JSON")


def _check_names(members: dict[Any, Json]) -> None:
    try:
        if "".join(members).isascii():
            return
    except TypeError:
        pass
    odd = next(name for name in members if not isinstance(name, str) or not name.isascii())
    raise CanonicalError(f"member name {str(odd)[:64]!a} is not ASCII")


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CanonicalError("a string holds a lone surrogate") from None
