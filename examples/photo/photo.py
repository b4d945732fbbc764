"""A photograph in tiles: each is segmented on its own, and the label map is one again.

    python examples/photo/photo.py [--out photo-out] [--picture FILE.png]

The photograph is the Summer Palace in Beijing, china.jpg, which comes with scikit-learn. Each pixel
is to have the label of the colour that it is nearest to, of six that k-means finds; before that the
photograph is blurred, and after it labels that stand alone give way to those around them. Both look
at neighbours, which is what the overlap of tiles is for: with it no tile has a seam.

It ends with an error unless the label map is that of the photograph labelled in one piece.
"""

import argparse
import functools
import shutil
import sys
from pathlib import Path

import numpy as np
import picklet
import sklearn.datasets
from PIL import Image
from scipy import ndimage
from sklearn.cluster import KMeans

COLOURS = 6
TILE = 128
OVERLAP = 16
BLUR = {"sigma": (2, 2, 0), "truncate": 3}  # looks at 6 pixels on each side
ALONE = 5  # looks at 2
WIDTH = 400  # of each half of the picture


def photograph():
    """Give the path of the photograph."""
    return Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"


def label(pixels, palette):
    """Label the pixels of a tile, or of a whole photograph: the function that is mapped."""
    smooth = ndimage.gaussian_filter(pixels.astype("f4"), **BLUR)
    distances = [((smooth - colour) ** 2).sum(axis=2) for colour in palette]
    return ndimage.median_filter(np.argmin(distances, axis=0).astype("u1"), size=ALONE)


def palette_of(tiles):
    """Find the colours, from some pixels of each tile, the darkest first."""
    sample = np.concatenate([tile[::8, ::8].reshape(-1, 3) for tile in tiles])
    centers = KMeans(COLOURS, n_init=4, random_state=0).fit(sample).cluster_centers_
    return centers[np.argsort(centers.sum(axis=1))].astype("f4")


def beside(preview, labels, palette, path):
    """Draw the tiles of the photograph, and beside them the label map in its colours."""
    left = Image.open(preview).convert("RGB")
    right = Image.fromarray(palette.round().astype("u1")[labels])
    height = round(WIDTH * left.height / left.width)
    picture = Image.new("RGB", (2 * WIDTH + 8, height), "white")
    picture.paste(left.resize((WIDTH, height), Image.Resampling.LANCZOS), (0, 0))
    picture.paste(right.resize((WIDTH, height), Image.Resampling.NEAREST), (WIDTH + 8, 0))
    picture.quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)


def main():
    """Cut, find the colours, label each tile, stitch, compare, draw."""
    parser = argparse.ArgumentParser(description="segment a photograph tile by tile")
    parser.add_argument("--out", type=Path, default=Path("photo-out"))
    parser.add_argument("--picture", type=Path, help="where to draw both (default: in --out)")
    options = parser.parse_args()
    out = options.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    tiles = picklet.tiles(photograph(), out / "tiles", tile=(TILE, TILE), overlap=OVERLAP)
    palette = palette_of(tiles)
    labelled = tiles.map(functools.partial(label, palette=palette), out / "labels", workers=2)
    stitched = picklet.stitch(labelled, out / "labels.png")
    labels = np.asarray(Image.open(out / "labels.png"))
    print(f"{len(tiles)} tiles, labelled and stitched: {stitched.shape[0]} x {stitched.shape[1]}")
    for number, colour in enumerate(palette):
        print(f"  label {number}: {(labels == number).mean():4.0%}, colour {colour.round()}")

    picklet.stitch(tiles, out / "photo.npy")
    if not np.array_equal(labels, label(np.load(out / "photo.npy"), palette)):
        sys.exit("the stitched labels differ from those of the photograph in one piece")
    print("The same as the photograph labelled in one piece.")

    picklet.preview(tiles, out / "preview.png")
    picture = options.picture or out / "picture.png"
    beside(out / "preview.png", labels, palette, picture)
    print(f"{picture}: the tiles, and the label map")


if __name__ == "__main__":
    main()
