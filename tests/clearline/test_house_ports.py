"""A port of the rooms that somebody else has: said before anything of the rooms starts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from clearline.house import bringup, command
from clearline.house.bringup import Choice
from clearline.house.layout import House, HouseError
from network.bringup import PortChoice, UpRequest, make_home
from network.home import Home
from network.topology import Engine


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a topology, certificates and free ports, in which nothing runs."""
    made = Home(tmp_path / "home")
    make_home(UpRequest(made, None, Engine.EMBEDDED, PortChoice.FREE), lambda _: None)
    return made.root


def test_a_taken_port_of_a_room_is_named_and_the_network_stops_again(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(command, "run", lambda *words: said.append(" ".join(words[:2])))
    for listening in House.of(home).listening():
        said.clear()
        with socket.socket() as taker:
            taker.bind((listening.host, listening.port))
            taker.listen()
            with pytest.raises(HouseError) as refused:
                bringup.up(Choice(home), lambda _: None)
        assert f"port {listening.port} of {listening.name} is taken by" in str(refused.value)
        assert f"(pid {os.getpid()})" in str(refused.value)
        assert "--free-ports" in str(refused.value)
        assert "[port_taken]" in str(refused.value)
        assert said == ["network up", "network down"]
        assert not (home / "rooms").exists()


def test_every_room_that_listens_is_checked(home: Path) -> None:
    names = {listening.name for listening in House.of(home).listening()}
    banks = ("bankone", "banktwo")
    assert names == {
        *(f"gateway-{bank}" for bank in banks),
        *(f"gateway-{bank}'s link" for bank in banks),
        "acquirer-unionpay",
        "acquirer-qr_wallet",
    }
