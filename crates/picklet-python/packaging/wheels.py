"""A wheel for each interpreter of this machine, each tried where nothing else is.

    python wheels.py build     makes dist/picklet-….whl for every CPython from 3.11 on
    python wheels.py try       installs each into an empty environment and runs the tutorial there

The interpreters are those called python3.N on the PATH and those under the pyenv root.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DIST = ROOT / "dist"
OLDEST = 11

sys.path.insert(0, str(ROOT / "crates" / "picklet-python" / "tests"))
from pages import run_page  # noqa: E402


def interpreters():
    """The newest interpreter found of each minor version: {minor version: path}."""
    found = {}
    for minor in range(OLDEST, 30):
        if path := shutil.which(f"python3.{minor}"):
            found[minor] = Path(path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in sorted(pyenv.glob("3.*/bin/python")):
        if (match := re.fullmatch(r"3\.(\d+)\.\d+", path.parts[-3])) and int(match[1]) >= OLDEST:
            found[int(match[1])] = path
    return found


def build():
    """One wheel for each interpreter."""
    for minor, python in interpreters().items():
        print(f"Python 3.{minor}: {python}", flush=True)
        maturin = [sys.executable, "-m", "maturin", "build", "--release", "--quiet"]
        environment = {**os.environ, "PYO3_PYTHON": str(python)}
        arguments = ["--interpreter", str(python), "--out", str(DIST)]
        subprocess.run([*maturin, *arguments], cwd=ROOT, env=environment, check=True)


def try_each():
    """The tutorial's page runs with each wheel, in an environment that holds nothing else."""
    wheels = sorted(DIST.glob("picklet-*.whl"))
    if not wheels:
        sys.exit(f"no wheel in {DIST}: python {__file__} build makes them")
    known = interpreters()
    tutorial = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for wheel in wheels:
        minor = int(re.search(r"-cp3(\d+)-", wheel.name)[1])
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            environment = folder / "environment"
            subprocess.run([known[minor], "-m", "venv", environment], check=True)
            python = environment / "bin" / "python"
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, wheel], check=True)
            work = folder / "work"
            work.mkdir()
            count = run_page(tutorial, work, str(python))
            print(f"{wheel.name}: {count} blocks of the tutorial, as printed there", flush=True)


if __name__ == "__main__":
    {"build": build, "try": try_each}[sys.argv[1]]()
