"""The codec's half of the package, built by itself: for a sanitizer, or for another interpreter.

`build(python, place)` leaves a package `picklet` in the folder `place`, made of the package's own
Python files and of the extension module of `crates/picklet-python/half`.
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CRATE = ROOT / "crates" / "picklet-python"

# What the package exports of this half.
PACKAGE = '''"""The codec's half of picklet."""

from pickle import PickleBuffer, PickleError, PicklingError, UnpicklingError

from picklet._picklet import *
from picklet.picklers import Pickler, Unpickler
'''


def build(python, place, *, release=False, target=None, features=(), settings=()):
    """Build it for `python` into the folder `place`, which goes on the path."""
    home = ROOT / "target" / "half"
    environment = {**os.environ, "PYO3_PYTHON": str(python), **dict(settings)}
    arguments = ["--quiet", "--manifest-path", CRATE / "half" / "Cargo.toml"]
    arguments += ["--target-dir", home, *(f"--features={feature}" for feature in features)]
    arguments += ["--release"] if release else []
    arguments += ["--target", target] if target else []
    # The versions that everything else was tested with; cargo leaves out what is not needed.
    shutil.copy(ROOT / "Cargo.lock", CRATE / "half")
    subprocess.run(["cargo", "build", *arguments], env=environment, check=True)
    built = home / (target or "") / ("release" if release else "debug") / "lib_picklet.so"
    package = place / "picklet"
    package.mkdir(parents=True, exist_ok=True)
    shutil.copy(built, package / "_picklet.so")
    for name in ("compat.py", "picklers.py", "policy.py", "_sound.py"):
        shutil.copy(CRATE / "python" / "picklet" / name, package)
    (package / "__init__.py").write_text(PACKAGE, encoding="utf-8")
