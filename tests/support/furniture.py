"""What a test changes in a house between the making of its rooms' settings and their start."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clearline.house import rooms
from clearline.house.layout import House


@contextmanager
def furnished(then: Callable[[House], object]) -> Iterator[None]:
    """What is brought up meanwhile has `then` done to its settings before its rooms start."""
    furnish = rooms.furnish

    def more(house: House, connectors: int = 1) -> None:
        furnish(house, connectors)
        then(house)

    rooms.furnish = more
    try:
        yield
    finally:
        rooms.furnish = furnish


def change(path: Path, **members: Any) -> None:
    """Other values for members of a settings file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | members, indent=2) + "\n")
