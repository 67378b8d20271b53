"""`mypy --strict` on tests/, one folder after the other, because each is a root for imports.

    .venv/bin/python scripts/types_of_tests.py             every folder
    .venv/bin/python scripts/types_of_tests.py gateway     these only

Several folders have a module of the same name (conftest.py, test_logs.py), so that no single run
takes them all. A folder's run reports the errors of its own files; what they import from other
folders is followed and reported where it lives.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
# Beside the cache of the rooms' own run: following imports in silence, it would undo that one.
CACHE = ROOT / ".mypy_cache" / "tests"


def folders() -> list[Path]:
    """Every folder that is a root for imports, tests/ itself first."""
    return [TESTS, *sorted({file.parent for file in TESTS.rglob("*.py")} - {TESTS})]


def checked(folder: Path, roots: list[Path]) -> bool:
    """True if mypy finds nothing in this folder's files; its errors go to standard output."""
    command = [
        *(sys.executable, "-m", "mypy", "--no-error-summary"),
        *("--explicit-package-bases", "--follow-imports", "silent", "--cache-dir", str(CACHE)),
        *(str(file.relative_to(ROOT)) for file in sorted(folder.glob("*.py"))),
    ]
    # Its own first. Not tests/ itself: its folders are named like rooms and would hide them.
    paths = [folder, *(root for root in roots if root != folder), ROOT / "scripts"]
    bases = os.pathsep.join(str(path) for path in paths if path != TESTS)
    environment = os.environ | {"MYPYPATH": bases}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def main() -> int:
    """0 if every folder is clean, 1 if one is not; every folder is looked at."""
    roots = folders()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="*", help="below tests/ (default: every one)")
    named = [TESTS / name for name in parser.parse_args().folder] or roots
    if unknown := [folder for folder in named if folder not in roots]:
        parser.error(f"no folder of tests: {', '.join(map(str, unknown))}")
    failed = [folder for folder in named if not checked(folder, roots)]
    for folder in failed:
        print(f"mypy: errors in {folder.relative_to(ROOT)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
