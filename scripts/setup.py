"""Make the virtual environment and install the pinned, hashed requirements into it.

Runs under whatever `python3` is, so it must parse and explain itself under an old one too.
Nothing is installed again while the requirements stay the same.
"""

import hashlib
import os
import subprocess
import sys

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# hfc's closure comes last and without dependencies: fabric-sdk-py pins packages that no longer
# build. setuptools and wheel come first, because two of them build from source.
STEPS = (
    ("build.txt", ["--require-hashes"]),
    ("dev.txt", ["--require-hashes"]),
    ("hfc.txt", ["--require-hashes", "--no-deps", "--no-build-isolation"]),
)


def stop(message):
    """End with a message that says what to do next."""
    sys.stderr.write("setup: " + message + "\n")
    sys.exit(1)


def fingerprint():
    """What the environment was made from: it changes with any requirement or entry point."""
    digest = hashlib.sha256(sys.version.encode())
    for name in [os.path.join("requirements", step[0]) for step in STEPS] + ["pyproject.toml"]:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def main(venv):
    """Install into `venv`, unless it is up to date."""
    if sys.version_info < OLDEST:
        stop(
            "Clearline needs Python %d.%d or newer; %s is %s. Install one and run, for example: "
            "make setup PYTHON=python3.12"
            % (OLDEST[0], OLDEST[1], sys.executable, sys.version.split()[0])
        )
    try:
        import ensurepip  # noqa: F401
        import venv as _  # noqa: F401
    except ImportError:
        stop(
            "this Python has no venv module. On Debian and Ubuntu: install the package "
            "python3-venv; elsewhere use a Python from python.org or your package manager."
        )
    venv = os.path.join(ROOT, venv)
    python = os.path.join(venv, "bin", "python")
    stamp = os.path.join(venv, "clearline-setup")
    wanted = fingerprint()
    if os.path.exists(stamp):
        with open(stamp) as file:
            if file.read() == wanted:
                return
    print("setup: installing into %s (about half a minute, once)" % os.path.relpath(venv))
    # Clear: one made by another Python would mix two versions' libraries.
    run([sys.executable, "-m", "venv", "--clear", venv], "could not make the virtual environment")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for name, options in STEPS:
        run(
            pip + options + ["-r", os.path.join(ROOT, "requirements", name)],
            "could not install requirements/%s; is the package index reachable?" % name,
        )
    run(pip + ["--no-deps", "--no-build-isolation", "-e", ROOT], "could not install Clearline")
    with open(stamp, "w") as file:
        file.write(wanted)


def run(command, failure):
    """Run a step and stop with `failure` when it fails."""
    if subprocess.call(command, cwd=ROOT) != 0:
        stop(failure)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".venv")
