"""What faults in the whole house have found, shown at the part at fault."""

from pathlib import Path

from faulty_house import database_files

from clearline.fabric.blocks import Block
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
