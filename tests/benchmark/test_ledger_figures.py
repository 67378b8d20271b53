"""What `make bench-ledger` adds up, leaves out and compares."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from benchmark import comparison, usage
from benchmark.contenders import CONTRACT, GO, PYTHON
from benchmark.figures import AtLeast, AtMost, Below, Figures
from benchmark.ledger_rounds import GROUPED, SINGLE, Run, Spent, lone_name, rate_name

NOBODY: Any = None

EACH = {
    "peer0.bankone": 3.0,
    "peer0.banktwo": 2.0,
    "orderer0": 1.0,
    "chaincode.bankone": 0.5,
    "chaincode.banktwo": 0.25,
}


def test_processes_add_up_to_their_kinds() -> None:
    assert usage.by_stage(EACH) == {"peer": 5.0, "orderer": 1.0, "chaincode": 0.75}
    assert usage.per_unit(EACH, 2.0, 1000)["all"] == pytest.approx(8.75)
    assert usage.per_unit(EACH, 2.0, 1000)["client"] == pytest.approx(2.0)


def test_the_contracts_idle_servers_are_not_the_shims() -> None:
    """Each server of the contender stands in for the contract's of the same organisation."""
    own = {"chaincode.bankone": 10.0, "chaincode.banktwo": 20.0}
    later = {"chaincode.bankone": 11.0, "chaincode.banktwo": 20.5}
    found = usage.attributed(EACH, own, later)
    assert usage.by_stage(found) == {"peer": 5.0, "orderer": 1.0, "chaincode": 1.5}
    # The contract's own load: its servers did the work.
    assert usage.attributed(EACH, {}, {}) == EACH


def test_a_process_that_is_gone_counts_for_nothing() -> None:
    assert usage.seconds_of({"chaincode.bankone": os.getpid()}).keys() == {"chaincode.bankone"}
    assert usage.seconds_of({"chaincode.bankone": 2**22 + 1}) == {}


@pytest.mark.parametrize(
    ("bar", "holds", "fails"),
    [(AtLeast(1.0), 1.0, 0.99), (AtMost(1.2), 1.2, 1.21), (Below(1.0), 0.99, 1.0)],
)
def test_bars(bar: Any, holds: float, fails: float) -> None:
    assert bar.holds(holds)
    assert not bar.holds(fails)


def spent(scale: float, chaincode: float) -> Spent:
    each = {"peer0.bankone": 4 * scale, "orderer0": scale, "chaincode.bankone": chaincode}
    return Spent(
        usage.per_unit({k: v / 1000 for k, v in each.items()}, 0.7 / 1000, 1),
        usage.per_unit({k: v / 1000 for k, v in usage.by_stage(each).items()}, 0.7 / 1000, 1),
    )


def run_of(engine: str, rate: float, shim: float) -> Run:
    """Two rounds; our shim's servers cost `shim` ms, Go's 1 ms."""
    run = Run(engine, NOBODY, NOBODY, 1.0, print)
    for number in range(2):
        for contender, chaincode in ((CONTRACT, 2.0), (PYTHON, shim), (GO, 1.0)):
            for load in (SINGLE, GROUPED):
                run.figures.add(rate_name(contender, load), "1/s", rate * (1 + number))
                run.cpu.setdefault((contender, load.name), []).append(spent(1 + number, chaincode))
            run.figures.add(lone_name(contender), "ms", 40.0)
    return run


@pytest.fixture
def compared() -> Iterator[Figures]:
    yield comparison.ratios([run_of("embedded", 100, 1.1), run_of("fabric", 120, 0.9)])


def verdicts(figures: Figures, part: str) -> dict[str, tuple[Any, str]]:
    found = {one.name: (one.median, one.verdict) for one in figures.all() if part in one.name}
    assert found, part
    return found


def test_our_shim_beside_gos(compared: Figures) -> None:
    found = verdicts(compared, "of the Go shim's")
    end = "in flight: our shim's CPU, of the Go shim's"
    assert found == {
        f"embedded, 1 a transaction, 200 {end}": (pytest.approx(1.1), "OK"),
        f"embedded, 100 a transaction, 20 {end}": (pytest.approx(1.1), "**below**"),
        f"fabric, 1 a transaction, 200 {end}": (pytest.approx(0.9), "OK"),
        f"fabric, 100 a transaction, 20 {end}": (pytest.approx(0.9), "OK"),
    }


def test_the_clients_share(compared: Figures) -> None:
    found = verdicts(compared, "client's CPU")
    assert list(found.values()) == [(pytest.approx(0.7), "OK")] * 4


def test_one_engine_beside_the_other(compared: Figures) -> None:
    rates = verdicts(compared, "embedded, of fabric: our shim, 1 a transaction")
    assert rates["embedded, of fabric: " + rate_name(PYTHON, SINGLE)] == (
        pytest.approx(100 / 120),
        "**below**",
    )
    assert verdicts(compared, "lone: p50").popitem()[1] == (1.0, "OK")
    # With one engine there is nothing to hold it against.
    alone = comparison.ratios([run_of("embedded", 100, 1.1)])
    assert not [one for one in alone.all() if "of fabric" in one.name]


def test_tables_and_json_name_each_process() -> None:
    run = run_of("embedded", 100, 1.1)
    table = comparison.by_process(run).splitlines()
    names = [cell.strip() for cell in table[0].split("|")[2:-1]]
    assert names == ["client", "chaincode.bankone", "orderer0", "peer0.bankone", "all"]
    assert len(table) == 2 + 6
    # Medians of the two rounds: the peer's 4 and 8 ms.
    assert table[2].split("|")[5].strip() == "6.00"
    assert "peer " in comparison.by_stage(run)
    document = json.loads(json.dumps(comparison.document([run], comparison.ratios([run]))))
    cpu = document["engines"]["embedded"]["cpu_ms_per_transaction"]
    rounds = cpu[f"{PYTHON}: {SINGLE.name}"]
    assert [one["processes"]["peer0.bankone"] for one in rounds] == [4.0, 8.0]
