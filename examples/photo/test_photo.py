"""The photograph is segmented tile by tile, and the picture in the READMEs is what comes of it."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SHOWN = ROOT / "docs" / "images" / "photo.png"
SMALL = 150_000


def test_the_photograph_is_labelled_without_seams(tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "photo.py", "--out", "사진"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "20 tiles, labelled and stitched: 427 x 640" in done.stdout
    assert "The same as the photograph labelled in one piece." in done.stdout

    out = tmp_path / "사진"
    labels = np.asarray(Image.open(out / "labels.png"))
    assert labels.shape == (427, 640)
    assert set(np.unique(labels)) == set(range(6))
    # Each label tile is a plain pickle, and has the label map's part without its halo.
    corner = pickle.loads((out / "labels" / "data-00000.pickle").read_bytes())
    assert corner.shape == (144, 144)
    assert np.array_equal(corner[:128, :128], labels[:128, :128])

    drawn = np.asarray(Image.open(out / "picture.png").convert("RGB")).astype(int)
    shown = np.asarray(Image.open(SHOWN).convert("RGB")).astype(int)
    # Other versions of the libraries may find colours that differ a little.
    assert drawn.shape == shown.shape
    assert np.abs(drawn - shown).mean() < 6, f"draw {SHOWN} anew: photo.py --picture {SHOWN}"
    assert SHOWN.stat().st_size < SMALL


def test_both_readmes_show_the_picture():
    for name in ("README.md", "README.ko.md"):
        assert "(docs/images/photo.png)" in (ROOT / name).read_text(encoding="utf-8")
