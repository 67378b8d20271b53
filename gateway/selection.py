"""Which of a merchant's payments are listed: the filters of GET /v1/payments, and its cursors."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from clearline.codes import Code, Refusal
from clearline.schema import IDENTIFIER, SchemaError, Shape, Time
from clearline.statuses import Status

STATUSES: Final = tuple(status.value for status in Status if status is not Status.RECEIVED)
ACQUIRER: Final = IDENTIFIER
CREATED: Final = Time()
FILTERS: Final = ("status", "acquirer", "created_from", "created_to")
_SHAPES: Final[dict[str, Shape]] = {
    "acquirer": ACQUIRER,
    "created_from": CREATED,
    "created_to": CREATED,
}
_CURSOR: Final = re.compile(r"v1\.([1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Selection:
    """What must hold of a payment that is listed. `statuses`: one of these, any when there are
    none; `acquirer`: its route, any when empty; `created_from` and `created_to`: when its intent
    was signed, from the first and before the second, without a bound when empty."""

    statuses: frozenset[str] = frozenset()
    acquirer: str = ""
    created_from: str = ""
    created_to: str = ""

    @property
    def everything(self) -> bool:
        """Whether it leaves nothing out."""
        return self == _EVERYTHING

    def condition(self) -> tuple[str, list[str]]:
        """For SQL: what must hold of a row of `payments`, and the values for its marks."""
        terms, values = ["1"], [*sorted(self.statuses)]
        if self.statuses:
            terms.append(f"status IN ({','.join('?' * len(self.statuses))})")
        for term, value in (
            ("acquirer_id = ?", self.acquirer),
            ("created >= ?", self.created_from),
            ("created < ?", self.created_to),
        ):
            if value:
                terms.append(term)
                values.append(value)
        return " AND ".join(terms), values


_EVERYTHING: Final = Selection()


def parse(found: dict[str, str], statuses: list[str]) -> Selection:
    """What the query's parameters say. Raises Refusal `parameter_invalid`."""
    for status in statuses:
        if status not in STATUSES:
            raise Refusal(Code.PARAMETER_INVALID, f"status: must be one of {', '.join(STATUSES)}")
    for name, shape in _SHAPES.items():
        try:
            if name in found:
                shape.check(found[name], "")
        except SchemaError as error:
            raise Refusal(Code.PARAMETER_INVALID, f"{name}: {error.reason}") from None
    others = {name: found[name] for name in _SHAPES if name in found}
    return Selection(frozenset(statuses), **others)


def encode_cursor(seq: int) -> str:
    """A place in this gateway's list as a text."""
    return base64.urlsafe_b64encode(f"v1.{seq}".encode()).rstrip(b"=").decode()


def cursor(text: str | None) -> int | None:
    """The place a cursor names. Raises Refusal for what is none of ours."""
    if text is None:
        return None
    try:
        plain = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        match = _CURSOR.fullmatch(plain.decode("ascii"))
    except (binascii.Error, ValueError):
        match = None
    if match is None or int(match[1]) >= 2**63:
        raise Refusal(Code.PARAMETER_INVALID, "cursor: not one this gateway gave")
    return int(match[1])
