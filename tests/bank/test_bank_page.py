"""docs/bank.md names every kind of proposal with its members."""

import re
from pathlib import Path

from clearline.proposals import PROPOSALS

PAGE = (Path(__file__).parents[2] / "docs" / "bank.md").read_text(encoding="utf-8")


def test_every_proposal_is_on_the_page() -> None:
    named: dict[str, set[str]] = {}
    for kinds, body in re.findall(r"^\| (`.+?`) \| (.+) \|$", PAGE, re.MULTILINE):
        words = set(re.findall(r"[a-z_0-9]+", body))
        named |= dict.fromkeys(re.findall(r"`([a-z_]+)`", kinds), words)
    assert set(named) == set(PROPOSALS)
    for kind, shape in PROPOSALS.items():
        members = set(shape.json_schema()["properties"])
        if kind.endswith(("_key", "_status")):
            members -= {"merchant_id", "acquirer_id"}  # "the id"
        assert members <= named[kind], kind
