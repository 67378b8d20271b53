"""What faults in the whole house have found, shown at the part at fault."""

from pathlib import Path

import grpc
import pytest
from faulty_house import database_files

from clearline.fabric.blocks import Block
from clearline.fabric.errors import EndorseError, GrpcFailure, PeerError
from clearline.fabric.queue_batch import classify_endorse
from gateway.projection import Projection
from gateway.reader import Reader


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
