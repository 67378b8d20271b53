"""A process that makes every promise once: `python durability_process.py MODE FOLDER`.

Notes what it stores and promises in FOLDER/events.json, and the promises in FOLDER/marks, where
strace sees them.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import astuple
from pathlib import Path

HERE = Path(__file__).parent
for room in (
    "embedded_orderer", "embedded_peer", "fabric_client", "gateway", "connector", "acquirers",
    "merchant",
):  # fmt: skip
    sys.path.insert(0, str(HERE.parent / room))
sys.path.insert(0, str(HERE.parent / "support"))
sys.path.insert(0, str(HERE))

import acquirer_scenarios  # noqa: E402 - found by the lines above
import connector_scenarios  # noqa: E402
import gateway_scenarios  # noqa: E402
import ledger_scenarios  # noqa: E402
import merchant_scenarios  # noqa: E402
import queue_scenarios  # noqa: E402
from plants import plant  # noqa: E402
from recorder import Mode, Recorder, watch  # noqa: E402


def main(mode: Mode, folder: Path) -> None:
    marks = os.open(folder / "marks", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    recorder = Recorder(mode, marks)
    watch(recorder)
    if mode is Mode.EARLY:
        plant(recorder)
    asyncio.run(ledger_scenarios.play(recorder, folder))
    asyncio.run(queue_scenarios.play(recorder, folder))
    gateway_scenarios.play(recorder, folder)
    bank = folder / "bank"
    bank.mkdir()
    asyncio.run(connector_scenarios.play(recorder, bank))
    acquirer_scenarios.play(recorder, folder)
    merchant_scenarios.play(recorder, folder)
    events = [astuple(event) for event in recorder.events]
    (folder / "events.json").write_text(json.dumps(events))


if __name__ == "__main__":
    main(Mode(sys.argv[1]), Path(sys.argv[2]))
