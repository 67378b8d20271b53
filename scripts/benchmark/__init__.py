"""Benchmarks as programs: load generators, meters and tables for scripts/bench*.py.
What may enter: how something is measured and shown. What is measured lives in the rooms.
Each module has one subject; nothing here runs at import."""
