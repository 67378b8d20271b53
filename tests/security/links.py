"""The links from connectors, as a member's TLS certificate gets to them."""

from __future__ import annotations

import socket
import ssl

from security_world import PEERS, World


def told(world: World, place: int, msp: str, user: str, line: bytes) -> bytes:
    """What the link of a gateway, by its place in the house, answers to a line over this user's
    connection. Raises ssl.SSLError, ConnectionError when it hangs up."""
    crypto = world.house.home / "crypto" / msp
    folder = crypto / "nodes" / PEERS[msp] if user == "peer" else crypto / "users" / user
    gateway = world.house.gateways[place]
    context = ssl.create_default_context(cafile=str(world.house.tls_ca(gateway.bank)))
    context.load_cert_chain(folder / "tls" / "cert.pem", folder / "tls" / "key.pem")
    assert gateway.link_port is not None
    with (
        socket.create_connection(("127.0.0.1", gateway.link_port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        wrapped.makefile("rb") as answers,
    ):
        wrapped.sendall(line)
        answer = answers.readline()
        if not answer:
            raise ConnectionError("it hung up")
        return answer
