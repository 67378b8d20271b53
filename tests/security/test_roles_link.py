"""Each member's TLS certificates at the gateways' links: who is heard of an acquirer's health."""

from __future__ import annotations

import ssl

import links
import parties
import pytest
import roles_table as table
from security_world import World

from clearline.acquirer_health import Health, HealthReport, parse_answer, report_line

CELLS = [
    (place, msp, user) for place in range(2) for msp in table.MSPS for user in table.LINK_HAS[msp]
]


def told(world: World, place: int, msp: str, user: str) -> str:
    """What a gateway's link answers to a report about BankOne's quiet acquirer."""
    said = HealthReport(world.network, parties.ONE, f"by-{user}", Health.UP, "", 0)
    return parse_answer(links.told(world, place, msp, user, report_line(said)))


@pytest.mark.parametrize(("place", "msp", "user"), CELLS)
def test_cell(world: World, place: int, msp: str, user: str) -> None:
    if msp == "Supervisor":  # it runs no acquirer: the gateways do not name its TLS CA
        with pytest.raises((ssl.SSLError, ConnectionError)):
            told(world, place, msp, user)
        return
    answer = told(world, place, msp, user)
    if table.heard(msp, user):
        assert answer == ""
    elif user == "connector":
        assert answer == f"the acquirer is not {msp}'s"
    else:
        assert answer == "your TLS certificate does not give you the role connector"
