"""A home is made once, finished when it was cut off, and never made over something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from network import topology_document
from network.bringup import PortChoice, UpRequest, make_home
from network.home import Home, HomeError, Marker, read_marker, remove, write_marker
from network.topology import DEFAULT_TOPOLOGY, Engine


def quiet(_: str) -> None:
    """No progress wanted."""


@pytest.fixture
def request_(tmp_path: Path) -> UpRequest:
    return UpRequest(Home(tmp_path / "home"), None, Engine.EMBEDDED, PortChoice.FREE)


def test_a_home_is_made_once(request_: UpRequest) -> None:
    topology = make_home(request_, quiet)
    home = request_.home
    genesis = home.genesis_block.read_bytes()
    marker = read_marker(home)
    assert marker is not None
    assert marker.topology_sha256 == topology_document.digest(topology)
    assert make_home(request_, quiet) == topology
    assert make_home(replace(request_, ports=PortChoice.TOPOLOGY), quiet) == topology
    assert home.genesis_block.read_bytes() == genesis


def test_a_home_that_was_cut_off_is_made_anew(request_: UpRequest) -> None:
    make_home(request_, quiet)
    home = request_.home
    home.genesis_block.unlink()
    half = home.organization("BankOne") / "ca" / "key.pem"
    half.write_bytes(b"half a key")
    make_home(request_, quiet)
    assert home.genesis_block.exists()
    assert half.read_bytes() != b"half a key"


def test_a_home_remembers_its_own_topology_file(request_: UpRequest, tmp_path: Path) -> None:
    document = yaml.safe_load(DEFAULT_TOPOLOGY.read_text(encoding="utf-8"))
    document["channel"]["batch"]["timeout_ms"] = 40
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    made = make_home(replace(request_, topology=path), quiet)
    assert make_home(request_, quiet) == made
    document["channel"]["batch"]["timeout_ms"] = 50
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(HomeError, match="timeout_ms: 40 -> 50") as refused:
        make_home(request_, quiet)
    assert refused.value.code == "topology_changed"
    path.unlink()
    assert make_home(request_, quiet) == made


def test_another_engine_is_refused(request_: UpRequest) -> None:
    make_home(request_, quiet)
    with pytest.raises(HomeError, match="--engine embedded") as refused:
        make_home(replace(request_, engine=Engine.FABRIC), quiet)
    assert refused.value.code == "other_engine"


def test_marker_of_a_later_format_is_not_touched(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.marker_file.write_text('{"format": 9}', encoding="utf-8")
    with pytest.raises(HomeError, match="format 9") as refused:
        read_marker(home)
    assert refused.value.code == "unreadable_home"


def test_a_home_in_a_home_is_refused(request_: UpRequest) -> None:
    make_home(request_, quiet)
    inside = Home(request_.home.root / "run" / "trial")
    with pytest.raises(HomeError, match="lies in") as refused:
        make_home(replace(request_, home=inside), quiet)
    assert refused.value.code == "nested_home"
    assert not inside.root.exists()


def test_a_home_called_run_is_not_taken_for_a_folder_of_locks(request_: UpRequest) -> None:
    inner = Home(request_.home.root / "run")
    make_home(replace(request_, home=inner), quiet)
    with pytest.raises(HomeError) as refused:
        make_home(request_, quiet)
    assert refused.value.code == "foreign_folder"
    assert read_marker(inner) is not None


def test_remove_keeps_what_is_not_ours(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    write_marker(home, Marker("n", Engine.EMBEDDED, "0", free_ports=False, source="default"))
    (home.root / "crypto" / "BankOne").mkdir(parents=True)
    (home.root / "photos").mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (home.root / "logs").symlink_to(outside)
    assert remove(home) == ("photos",)
    assert outside.is_dir()
    assert not home.marker_file.exists()


def test_an_empty_folder_is_a_new_home(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    assert read_marker(Home(tmp_path)) is None
