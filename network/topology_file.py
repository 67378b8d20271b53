"""Reads a topology file: its form, its rules, and what of it the chosen engine runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from network.topology import ALL_ENGINES, Engine, Orderer, Problem, Topology, TopologyError
from network.topology_reader import read_topology
from network.topology_rules import check, check_engine


def load(path: Path, engine: Engine = Engine.EMBEDDED) -> Topology:
    """Read and validate a topology file; what `engine` runs of it.

    Raises TopologyError with all mistakes found.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = f"{path}: {error.strerror or error}"
        raise TopologyError((Problem("unreadable", "", reason),)) from error
    topology = read_topology(text)
    check(topology)
    chosen = _for_engine(topology, engine)
    check_engine(chosen, engine)
    return chosen


def _for_engine(topology: Topology, engine: Engine) -> Topology:
    """The topology without the orderers of other engines; nothing in the result says so."""

    def chosen(orderer: Orderer) -> Orderer:
        port = (orderer.admin_port or 0) if engine is Engine.FABRIC else None
        return replace(orderer, admin_port=port, engines=ALL_ENGINES)

    organizations = tuple(
        replace(
            organization,
            orderers=tuple(
                chosen(orderer) for orderer in organization.orderers if engine in orderer.engines
            ),
        )
        for organization in topology.organizations
    )
    return replace(topology, organizations=organizations)
