"""An external builder for chaincode that runs as a service: detect, build and release in one file.

Fabric's peer calls bin/detect, bin/build and bin/release of a builder's folder
(core/container/externalbuilder/externalbuilder.go); all three are this file, which looks at the
name it was called by. Release gives the peer the package's own connection.json where it has one,
else the one that lies beside the builder's folder: so every organisation can install the same
package, and no key is in it.

It runs as a program of its own, on the standard library alone.
"""

import json
import shutil
import sys
from pathlib import Path

# The status by which detect says "not for this builder".
NOT_MINE = 1
CONNECTION = "connection.json"


def detect(metadata: Path) -> int:
    """0 when metadata.json says that the chaincode is a service."""
    kind = json.loads((metadata / "metadata.json").read_text(encoding="utf-8"))["type"]
    return 0 if kind == "ccaas" else NOT_MINE


def build(source: Path, output: Path) -> int:
    """Nothing to build, the service runs already; a connection.json of the package is kept."""
    connection = source / CONNECTION
    if connection.is_file():
        shutil.copy(connection, output / CONNECTION)
    return 0


def release(built: Path, beside: Path, output: Path) -> int:
    """Put connection.json where the peer looks for it (externalbuilder/instance.go)."""
    own = built / CONNECTION
    folder = output / "chaincode" / "server"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(own if own.is_file() else beside, folder / CONNECTION)
    return 0


def main(argv: list[str]) -> int:
    """argv: the program, then what the peer gives: detect SOURCE METADATA, build SOURCE METADATA
    OUTPUT, release BUILT OUTPUT."""
    program = Path(argv[0]).absolute()
    if program.name == "detect":
        return detect(Path(argv[2]))
    if program.name == "build":
        return build(Path(argv[1]), Path(argv[3]))
    if program.name == "release":
        return release(Path(argv[1]), program.parent.parent.parent / CONNECTION, Path(argv[2]))
    print(f"not a step of a builder: {program.name}", file=sys.stderr)  # noqa: T201 - the peer logs it
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv))
