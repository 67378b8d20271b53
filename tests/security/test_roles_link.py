"""Each member's TLS certificates at the gateways' links: who is heard of an acquirer's health."""

from __future__ import annotations

import socket
import ssl

import parties
import pytest
import roles_table as table
from security_world import PEERS, World

from clearline.acquirer_health import Health, HealthReport, parse_answer, report_line

CELLS = [
    (place, msp, user) for place in range(2) for msp in table.MSPS for user in table.LINK_HAS[msp]
]


def told(world: World, place: int, msp: str, user: str) -> str:
    """What a gateway's link answers to a report about BankOne's quiet acquirer."""
    crypto = world.house.home / "crypto" / msp
    folder = crypto / "nodes" / PEERS[msp] if user == "peer" else crypto / "users" / user
    gateway = world.house.gateways[place]
    context = ssl.create_default_context(cafile=str(world.house.tls_ca(gateway.bank)))
    context.load_cert_chain(folder / "tls" / "cert.pem", folder / "tls" / "key.pem")
    said = HealthReport(world.network, parties.ONE, f"by-{user}", Health.UP, "", 0)
    assert gateway.link_port is not None
    with (
        socket.create_connection(("127.0.0.1", gateway.link_port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        wrapped.makefile("rb") as answers,
    ):
        wrapped.sendall(report_line(said))
        line = answers.readline()
        if not line:
            raise ConnectionError("it hung up")
        return parse_answer(line)


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
