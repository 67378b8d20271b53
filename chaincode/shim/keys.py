"""Ledger keys: composite keys and ranges as Fabric's own shims build them.

Layout: U+0000, object type, U+0000, then each attribute and U+0000
(fabric-chaincode-go shim/stub.go, CreateCompositeKey).
"""

from __future__ import annotations

from collections.abc import Sequence

from chaincode.shim.errors import ShimError

_NAMESPACE = "\x00"
_LAST_RUNE = "\U0010ffff"
# The range of all simple keys starts above the composite ones.
FIRST_SIMPLE_KEY = "\x01"


def composite_key(object_type: str, attributes: Sequence[str]) -> str:
    """Build a composite key; raises ShimError for parts that hold U+0000 or U+10FFFF."""
    parts = (object_type, *attributes)
    for part in parts:
        if _NAMESPACE in part or _LAST_RUNE in part:
            raise ShimError("a part of a composite key holds U+0000 or U+10FFFF")
        try:
            part.encode()
        except UnicodeEncodeError:
            raise ShimError("a part of a composite key is not valid UTF-8") from None
    return _NAMESPACE + "".join(part + _NAMESPACE for part in parts)


def split_composite_key(key: str) -> tuple[str, tuple[str, ...]]:
    """Object type and attributes of a composite key; raises ShimError for other keys."""
    if len(key) < 2 or key[0] != _NAMESPACE or key[-1] != _NAMESPACE:
        raise ShimError("not a composite key")
    object_type, *attributes = key[1:-1].split(_NAMESPACE)
    return object_type, tuple(attributes)


def composite_range(object_type: str, attributes: Sequence[str]) -> tuple[str, str]:
    """First key and end (exclusive) of all composite keys that begin with these parts."""
    start = composite_key(object_type, attributes)
    return start, start + _LAST_RUNE


def simple_range(start: str, end: str) -> tuple[str, str]:
    """A range of simple keys; an empty start or end is open. Raises ShimError for U+0000."""
    for key in (start, end):
        if key.startswith(_NAMESPACE):
            raise ShimError("a simple key begins with U+0000")
    return start or FIRST_SIMPLE_KEY, end
