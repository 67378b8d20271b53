"""What faults in the whole house have found, shown at the part at fault."""

from pathlib import Path

import grpc
import pytest
from books import Books
from faulty_house import database_files
from news import missing, out_of_place, untold

from clearline.fabric.blocks import Block
from clearline.fabric.errors import EndorseError, GrpcFailure, PeerError
from clearline.fabric.queue_batch import classify_endorse
from clearline.intents import PaymentKey
from gateway.projection import Projection
from gateway.reader import Reader
from gateway.webhooks.views import encode_cursor


def blocks(path: Path, count: int) -> None:
    """A projection with so many (empty) blocks."""
    projection = Projection(path, "clearline")
    for number in range(count):
        projection.apply(Block(number, bytes([number]), b"", bytes([number + 1]), b"", ()))
    projection.close()


def test_a_projection_that_was_made_again_is_read(tmp_path: Path) -> None:
    """Workers outlive the file: one that keeps the old one open would answer from it for ever."""
    path = tmp_path / "projection.db"
    blocks(path, 3)
    reader = Reader(path)
    with reader.snapshot() as snapshot:
        assert snapshot.last_block == 2
    for file in database_files(path):
        file.unlink()
    blocks(path, 2)
    with reader.snapshot() as snapshot:
        assert snapshot.last_block == 1
    reader._forget()


@pytest.mark.parametrize("said", [
    "chaincode response 400, timestamp_out_of_window: 599 s from the clock of this server",
    "request unauthorized due to incorrect timestamp 2026-11-23T08:00:00Z, peer time 2026",
])  # fmt: skip
def test_a_wrong_clock_is_no_fault_of_a_batch(said: str) -> None:
    """Refused for good, results were stuck until somebody restarted the connector."""
    details = (PeerError("127.0.0.1:7051", "BankOne", said),)
    failure = GrpcFailure(grpc.StatusCode.ABORTED, "failed to endorse transaction", details)
    assert classify_endorse(EndorseError("Endorse", "", "not_applied", failure)) == "unavailable"


EVENTS = [
    {"id": name, "cursor": encode_cursor(number), "type": f"payment.{status}",
     "data": {"order_no": order_no, "attempt": 1}}
    for number, (name, order_no, status) in enumerate(
        [("a1", "A", "requested"), ("b1", "B", "requested"), ("a2", "A", "succeeded"),
         ("b2", "B", "declined")]
    )
]  # fmt: skip


@pytest.mark.parametrize(
    ("arrived", "owed_after", "absent", "odd"),
    [
        (["a1", "b1", "a2", "b2"], -1, [], []),
        (["b1", "b2", "a1", "a2"], -1, [], []),  # payments overtake each other
        (["a1", "b1", "b2"], -1, ["a2"], []),
        (["a2", "b2"], 1, [], []),  # registered after the first two
        (["b1", "a2", "a1", "b2"], -1, [], ["a1"]),
        (["a1", "b1", "a2", "b2", "c1"], -1, [], ["c1"]),
    ],
)
def test_the_checker_sees_what_is_wrong_with_the_news(
    arrived: list[str], owed_after: int, absent: list[str], odd: list[str]
) -> None:
    assert missing(EVENTS, arrived, owed_after) == absent
    assert out_of_place(EVENTS, arrived) == odd


@pytest.mark.parametrize(
    ("ledger", "differing"),
    [
        ({"A": "succeeded", "B": "declined"}, []),
        ({"A": "succeeded", "B": "closed"}, ["B"]),
        ({"A": "succeeded", "B": "declined", "C": "closed"}, ["C"]),
        ({"A": "succeeded"}, ["B"]),
    ],
)
def test_the_checker_sees_what_is_not_told(ledger: dict[str, str], differing: list[str]) -> None:
    payments = {PaymentKey("M", name, 1): {"status": status} for name, status in ledger.items()}
    books = Books(payments, {}, {}, "clearline-dev")
    assert untold(EVENTS, books) == [str((name, 1, 0)) for name in differing]
