"""CPython's own pickle tests, and ours of the codec, on every interpreter of this machine.

    python suite.py

`make test-python` runs them on the interpreter of the environment. This builds picklet for each
other CPython 3.11, 3.12 and 3.13 that is found, without optimisation, and runs them there; and
once more on its own interpreter with the portable path, which reads no private layouts. What is
not there is said, and not tested.
"""

import os
import subprocess
import sys
from pathlib import Path

from wheels import ROOT, interpreters

TESTED = (11, 12, 13)
TESTS = ("test_pickletester.py", "test_borrowed.py", "test_instances.py", "test_compat.py")
PORTABLE_TESTS = (*TESTS, "test_encode.py", "test_deterministic.py")


def run(name, python, tests, features=()):
    """Build picklet for `python` in an environment of its own, and run `tests` in it."""
    home = ROOT / "target" / "suite" / name
    inside = home / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", home], check=True)
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "cloudpickle>=3", "pytest>=8", "hypothesis>=6"], check=True)
    environment = {**os.environ, "VIRTUAL_ENV": str(home), "PYO3_PYTHON": str(inside)}
    arguments = [f"--features={feature}" for feature in features]
    wheels = home / "wheels"
    maturin = [sys.executable, "-m", "maturin", "build", "--quiet", "--profile", "dev"]
    options = ["--interpreter", inside, "--out", wheels, *arguments]
    subprocess.run([*maturin, *options], cwd=ROOT, env=environment, check=True)
    [wheel] = wheels.glob("*.whl")
    subprocess.run([*pip, "--force-reinstall", "--no-deps", wheel], check=True)
    wheel.unlink()
    folder = ROOT / "crates" / "picklet-python" / "tests"
    paths = [folder / test for test in tests]
    print(f"{name}: {inside}", flush=True)
    pytest = [inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
    subprocess.run(pytest, cwd=ROOT, env=environment, check=True)


def main():
    """Every interpreter, then the portable path."""
    found = interpreters()
    for minor in TESTED:
        if minor == sys.version_info.minor:
            continue
        if minor not in found:
            print(f"NOT TESTED: there is no Python 3.{minor} on this machine", flush=True)
            continue
        run(f"3.{minor}", found[minor], TESTS)
    run("portable", Path(sys.executable), PORTABLE_TESTS, ["portable"])


if __name__ == "__main__":
    main()
