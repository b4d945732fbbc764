"""CPython's own pickle tests, and ours of the codec, on every interpreter of this machine.

    python suite.py

`make test-python` runs them on the interpreter of the environment. This builds the codec's half of
picklet for each other CPython 3.11, 3.12 and 3.13 that is found, without optimisation, and runs
them there; and on its own interpreter once more with numpy 1, and with the portable path, which
reads no private layouts. What is not there is said, and not tested.
"""

import os
import subprocess
import sys
from pathlib import Path

import half
from wheels import interpreters

TESTED = (11, 12, 13)
TESTS = (
    "test_pickletester.py",
    "test_borrowed.py",
    "test_compat.py",
    "test_instances.py",
    "test_known_types.py",
)
PORTABLE_TESTS = (*TESTS, "test_encode.py", "test_deterministic.py")
NEEDED = ("cloudpickle>=3", "pytest>=8", "hypothesis>=6")


def run(name, python, tests, features=(), numpy="numpy>=2"):
    """Build the half for `python`, and run `tests` in an environment of their own."""
    home = half.ROOT / "target" / "suite" / name
    inside = home / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", home], check=True)
    pip = [inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *NEEDED, numpy], check=True)
    half.build(inside, home / "half", features=features)
    folder = half.CRATE / "tests"
    paths = [folder / test for test in tests]
    print(f"{name}: {inside}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(home / "half"), "PYTHONDONTWRITEBYTECODE": "1"}
    pytest = [inside, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
    subprocess.run(pytest, cwd=half.ROOT, env=environment, check=True)


def main():
    """Every interpreter, then the other numpy and the portable path."""
    found = interpreters()
    for minor in TESTED:
        if minor == sys.version_info.minor:
            continue
        if minor not in found:
            print(f"NOT TESTED: there is no Python 3.{minor} on this machine", flush=True)
            continue
        run(f"3.{minor}", found[minor], TESTS)
    run("numpy-1", Path(sys.executable), ["test_known_types.py"], numpy="numpy<2")
    run("portable", Path(sys.executable), PORTABLE_TESTS, ["portable"])


if __name__ == "__main__":
    main()
