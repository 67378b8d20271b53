"""Skips, with the reason, what needs Fabric's own programs where FABRIC_BIN is not set."""

from __future__ import annotations

import os

import pytest

needs_fabric = pytest.mark.skipif(
    not os.environ.get("FABRIC_BIN"),
    reason="FABRIC_BIN names no folder with Fabric's executables",
)
