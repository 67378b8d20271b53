"""What a connector tells gateways about its acquirer: a hint, never an outcome.

The wire is mutual TLS; on it the connector writes a line of JSON (at most MAX_LINE bytes) for each
report, and the gateway answers each with a line. The schema is closed: there is no member in which
an outcome could travel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from clearline import canonical
from clearline.canonical import CanonicalError
from clearline.cards import holds_card_number, redact
from clearline.schema import IDENTIFIER, NETWORK, Integer, Members, OneOf, SchemaError, Text

MAX_LINE: Final = 2_048
EVERY_S: Final = 1.0  # seconds between two reports of a connector
STALE_S: Final = 5.0  # seconds after which a report says nothing any more


class Health(StrEnum):
    """An acquirer as its connector sees it."""

    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


class HealthError(ValueError):
    """A line that is no report or answer; the message says why."""


_REASON: Final = Text("[ -~]{0,120}", "must be up to 120 printable ASCII characters")
_REPORT: Final = Members(
    {
        "network": NETWORK,
        "acquirer_id": IDENTIFIER,
        "connector": IDENTIFIER,
        "health": OneOf(tuple(Health)),
        "reason": _REASON,
        "depth": Integer(0, 1_000_000_000),
        "under_way": Integer(0, 1_000_000_000),
    },
    frozenset({"under_way"}),
)
_ANSWER: Final = Members({"refused": _REASON})


@dataclass(frozen=True, slots=True)
class HealthReport:
    """`depth`: payments that wait for the acquirer or are under way there; `under_way`: payments
    that are `requested` on the ledger and wait for nobody here, because they are at the acquirer,
    in doubt or stuck; `reason`: for people, empty while all is well; `connector`: which of the
    acquirer's connectors says so."""

    network: str
    acquirer_id: str
    connector: str
    health: Health
    reason: str
    depth: int
    under_way: int = 0


def report_line(report: HealthReport) -> bytes:
    """A report as it travels, the line end included."""
    return canonical.dumps(asdict(report) | {"health": report.health.value}) + b"\n"


def parse_report(line: bytes) -> HealthReport:
    """The report a line holds, its reason without card numbers: it is shown to everybody, and an
    acquirer's own words can stand in it. Raises HealthError, also for a card number in a name."""
    fields = _parse(line, _REPORT)
    for name in ("network", "acquirer_id", "connector"):
        if holds_card_number(str(fields[name])):
            raise HealthError(f"/{name}: looks like a card number")
    told = {"health": Health(fields["health"]), "reason": redact(str(fields["reason"]))}
    return HealthReport(**(fields | told))


def answer_line(refused: str) -> bytes:
    """A gateway's answer: why the report is not taken, empty when it is. No card number goes back
    with it, whatever the report held."""
    printable = "".join(c if " " <= c <= "~" else "?" for c in redact(refused))
    return canonical.dumps({"refused": printable[:120]}) + b"\n"


def parse_answer(line: bytes) -> str:
    """Why the gateway does not take a report, empty when it does. Raises HealthError."""
    return str(_parse(line, _ANSWER)["refused"])


def _parse(line: bytes, shape: Members) -> dict[str, canonical.Json]:
    if len(line) > MAX_LINE:
        raise HealthError(f"longer than {MAX_LINE} bytes")
    try:
        document = canonical.loads(line)
        shape.check(document, "")
    except (CanonicalError, SchemaError) as error:
        raise HealthError(str(error)) from None
    return dict(document)
