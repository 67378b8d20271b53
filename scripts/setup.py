"""Make the virtual environment and install the pinned, hashed requirements into it.

Runs under whatever `python3` is, so it must parse and explain itself under an old one too.
Nothing is installed again while the requirements stay the same.
"""

import hashlib
import os
import subprocess
import sys
import time

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# hfc's closure comes last and without dependencies: fabric-sdk-py pins packages that no longer
# build. setuptools and wheel come first, because two of them build from source.
STEPS = (
    ("build.txt", "what builds packages", ["--require-hashes"]),
    ("dev.txt", "what Clearline and its tests need (the longest step)", ["--require-hashes"]),
    (
        "hfc.txt",
        "the client of Fabric's CA (two packages are built from source)",
        ["--require-hashes", "--no-deps", "--no-build-isolation"],
    ),
)
EVERY = 5.0  # seconds between two lines about a step that goes on


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
    started = time.time()
    steps = len(STEPS) + 2
    say("installing into %s, once: one to three minutes" % os.path.relpath(venv))
    say("1 of %d: an empty virtual environment" % steps)
    # Clear: one made by another Python would mix two versions' libraries.
    run([sys.executable, "-m", "venv", "--clear", venv], "could not make the virtual environment")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
    for number, (name, what, options) in enumerate(STEPS):
        path = os.path.join(ROOT, "requirements", name)
        count = packages(path)
        say("%d of %d: %s, %d packages" % (number + 2, steps, what, count))
        run(
            pip + options + ["-r", path],
            "could not install requirements/%s; is the package index reachable?" % name,
            count,
        )
    say("%d of %d: Clearline itself" % (steps, steps))
    run(pip + ["--no-deps", "--no-build-isolation", "-e", ROOT], "could not install Clearline")
    with open(stamp, "w") as file:
        file.write(wanted)
    say("done in %d s" % (time.time() - started))


def say(text):
    """One line, at once, wherever it goes."""
    sys.stdout.write("setup: " + text + "\n")
    sys.stdout.flush()


def packages(path):
    """How many packages a list of requirements names."""
    with open(path) as file:
        return sum("==" in line for line in file if not line.lstrip().startswith("#"))


def run(command, failure, count=0):
    """Run a step, telling how far it is, and stop with `failure` when it fails.

    What it printed is shown only then: warnings and errors go to standard error as they come.
    """
    printed = []
    fetched = 0
    told = time.time()
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, universal_newlines=True
    ) as process:
        for line in process.stdout:
            printed.append(line)
            fetched += line.startswith("Collecting ")
            if count and line.startswith("Installing collected packages"):
                say("  %d fetched, now they are installed" % fetched)
            elif count and line.startswith("Collecting ") and time.time() - told >= EVERY:
                told = time.time()
                say("  %d of %d fetched" % (fetched, count))
    if process.returncode != 0:
        sys.stderr.write("".join(printed[-20:]))
        stop(failure)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".venv")
