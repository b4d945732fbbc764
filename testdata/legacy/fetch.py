"""Pickles of old and new numpy, pandas and Python, made here and now by those versions.

    python fetch.py FOLDER

Needs the network, and the interpreters under the pyenv root. What cannot be made is named, and
nothing is skipped in silence: `made.txt` lists what was.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

MAKE = Path(__file__).with_name("make.py")
# Minor version of the interpreter, and what is installed in it.
VERSIONS = [
    ("2.7", ["numpy<1.17", "pandas<0.25"]),
    ("3.6", ["numpy<1.20", "pandas<1.2"]),
    ("3.8", ["numpy<1.25", "pandas<2"]),
    ("3.10", ["numpy<2", "pandas<2.1"]),
    ("3.12", ["numpy<2.2", "pandas<2.4"]),
    ("3.13", ["numpy>=2.2", "pandas>=2.3"]),
]


def interpreter(version):
    """The newest interpreter of a minor version under the pyenv root, if there is one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(pyenv.glob(f"{version}.*/bin/python"))
    return found[-1] if found else None


def main(folder):
    """Make every version's pickles."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    missing = []
    for version, packages in VERSIONS:
        python = interpreter(version)
        if python is None:
            missing.append(f"Python {version}")
            continue
        with tempfile.TemporaryDirectory() as home:
            # Into a folder and not an environment: Python 2.7 has no venv.
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "--target", home, *packages], check=True)
            environment = {**os.environ, "PYTHONPATH": home}
            subprocess.run([python, MAKE, folder], env=environment, check=True)
    made = sorted(path.name for path in folder.glob("*.pickle"))
    (folder / "made.txt").write_text("\n".join(made) + "\n", encoding="utf-8")
    print(f"{len(made)} pickles in {folder}")
    for name in missing:
        print(f"NOT MADE: there is no {name} on this machine")


if __name__ == "__main__":
    main(sys.argv[1])
