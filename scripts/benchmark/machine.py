"""The machine and the settings a table was taken with."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from network.topology import Topology

_PACKAGES = ("grpcio", "protobuf", "cryptography", "lmdb", "flask", "gunicorn", "uvloop")


@dataclass(frozen=True, slots=True)
class Setting:
    """Name and value of something a figure depends on."""

    name: str
    value: str


def describe(topology: Topology, engine: str) -> tuple[Setting, ...]:
    """Machine, software, engine, batch settings and policy of a run that starts now."""
    batch = topology.channel.batch
    peers = len(list(topology.peers()))
    orderers = len(list(topology.orderers()))
    policy = topology.channel.endorsement.value
    if topology.chaincode.endorsement is not None:
        threshold = topology.chaincode.endorsement
        policy = f"{threshold.at_least} of {', '.join(threshold.of)}"
    memory = psutil.virtual_memory().total / 2**30
    busy = os.getloadavg()[0]
    return (
        Setting("processor", f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB"),
        Setting("system", f"{platform.system()} {platform.release()} {platform.machine()}"),
        Setting("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Setting("packages", ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)),
        Setting("engine", f"{engine}: {peers} peers, {orderers} orderer(s), TLS on every hop"),
        Setting(
            "batch",
            f"{batch.timeout_ms} ms, {batch.max_message_count} messages, "
            f"{batch.preferred_max_bytes} preferred bytes",
        ),
        Setting("endorsement policy", policy),
        Setting("load before the run", f"{busy:.1f} processes running (1 minute's average)"),
    )


def listed(settings: tuple[Setting, ...]) -> str:
    """The settings as a Markdown list."""
    return "\n".join(f"- {setting.name}: {setting.value}" for setting in settings)


def _processor() -> str:
    """The processor's name: Linux and macOS tell it in different places."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
