"""The check of the commit queue's rule can fail: each way to break it is found."""

from __future__ import annotations

import pytest
from queue_witness import VALID, Envelope, Submission, Witness

BOUND = 60.0
CONFLICT = 11
FIRST = Envelope("a", ("one", "two"), 1.0, b"A")
AGAIN = Envelope("b", ("one",), 5.0, b"B")
SENT = Submission("a", 2.0, b"A", reached=True)
NOT_TAKEN = Submission("a", 2.0, b"A", reached=False)


def broken(*seen: Envelope | Submission, codes: dict[str, int]) -> list[str]:
    witness = Witness(
        [item for item in seen if isinstance(item, Envelope)],
        [item for item in seen if isinstance(item, Submission)],
    )
    return witness.broken(codes, BOUND)


@pytest.mark.parametrize(
    ("seen", "codes"),
    [
        ([FIRST, SENT, SENT], {"a": VALID}),
        ([FIRST, SENT, AGAIN], {"a": CONFLICT, "b": VALID}),
        ([FIRST, NOT_TAKEN, AGAIN], {"b": VALID}),
        ([FIRST, SENT, Envelope("b", ("one",), 62.0, b"B")], {"b": VALID}),
    ],
    ids=["sent-again", "invalid-then-anew", "not-taken-then-anew", "bound-passed-then-anew"],
)
def test_the_rule_allows(seen: list[Envelope | Submission], codes: dict[str, int]) -> None:
    assert broken(*seen, codes=codes) == []


@pytest.mark.parametrize(
    ("seen", "codes", "finding"),
    [
        ([SENT], {"a": VALID}, "a was submitted before it was stored"),
        (
            [FIRST, Submission("a", 0.5, b"A", reached=True)],
            {"a": VALID},
            "a was submitted before it was stored",
        ),
        (
            [FIRST, Submission("a", 2.0, b"X", reached=True)],
            {"a": VALID},
            "a was submitted with other bytes than were stored",
        ),
        (
            [FIRST, SENT, AGAIN],
            {"b": VALID},
            "one was endorsed anew while the fate of a was open",
        ),
        (
            [FIRST, NOT_TAKEN, SENT, AGAIN],
            {"a": VALID, "b": CONFLICT},
            "one was endorsed anew while the fate of a was open",
        ),
        (
            [FIRST, SENT, Envelope("b", ("one",), 62.0, b"B")],
            {"a": VALID, "b": VALID},
            "one is valid twice",
        ),
    ],
)
def test_the_rule_forbids(
    seen: list[Envelope | Submission], codes: dict[str, int], finding: str
) -> None:
    assert broken(*seen, codes=codes) == [finding]


def test_only_what_was_sent_twice_and_is_valid_was_resolved() -> None:
    witness = Witness([FIRST], [SENT])
    assert witness.resolved({"a": VALID}) == 0
    witness.submissions.append(SENT)
    assert witness.resolved({"a": VALID}) == 1
    assert witness.resolved({"a": CONFLICT}) == 0
    assert witness.resolved({}) == 0
