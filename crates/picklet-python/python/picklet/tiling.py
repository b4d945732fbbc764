"""``picklet.tiles``, ``picklet.stitch`` and ``picklet.preview``: arrays and images in tiles.

Everything is done in Rust, on the bytes of files: no array is loaded. numpy is
only needed by whoever loads a tile, and to hand over an array that is in memory.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from picklet import _picklet, again
from picklet.policy import Allow, LoadRules
from picklet.segments import Segments

__all__ = ["Preview", "Stitched", "preview", "stitch", "tiles"]

Edge = Literal["shrink", "shift", "reflect", "constant"]
Mode = Literal["crop", "mean", "hann", "max"]


class Stitched(NamedTuple):
    """What :func:`stitch` made."""

    shape: tuple[int, ...]
    """The shape of the array."""
    filled: tuple[str, ...]
    """Names of tiles that were missing or damaged, and filled."""


class Preview(NamedTuple):
    """What :func:`preview` drew."""

    width: int
    """Pixels of a row."""
    height: int
    """Rows of pixels."""
    tiles: int
    """Tiles that are there."""
    missing: tuple[str, ...]
    """Names of tiles that are not, crossed out."""


def tiles(
    source: Any,
    out: str | os.PathLike[str],
    *,
    tile: int | Sequence[int | None],
    overlap: int | Sequence[int] = 0,
    edge: Edge = "shrink",
    member: str | None = None,
    page: int | None = None,
    name: str = "data",
    allow: Allow = None,
    trust: bool = False,
    compress: Literal["zstd", "gzip"] | None = None,
    sha256: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Segments:
    """Cut an array or image into tiles, each a plain pickle of an ``ndarray`` in ``out``.

    ``source`` is the path of a ``.npy`` or ``.npz`` file (``member`` says which
    array), a pickled ``ndarray``, TIFF (``page`` says which page), PNG or JPEG;
    of none of them more than a band of tiles is in memory, but for JPEG and
    interlaced PNG. Or it is an array, which goes through a temporary file.

    ``tile`` has the sides of a tile from the first axis on; ``None`` is an axis
    that is not cut, as are those that it does not reach: ``(512, 512)`` cuts an
    image of any number of channels. Around that core each tile has ``overlap``
    elements of its neighbours, a number for all axes or one for each. ``edge``
    says what tiles are at the ends: smaller (``"shrink"``), moved inwards
    (``"shift"``), or as large as all others, with what lies outside mirrored
    (``"reflect"``) or zero (``"constant"``).

    ``compress`` stores the tiles as ``.pickle.zst`` or ``.pickle.gz``; ``sha256``
    gives each a SHA-256 too, and writes ``SHA256SUMS``.

    Map them as any segments. A function of two arguments is told where its tile
    lies: ``info.window`` has the ``core`` and the ``halo`` of the tile and the
    ``shape`` and ``dtype`` of the whole.

    >>> import numpy, picklet
    >>> image = numpy.arange(40_000, dtype="uint16").reshape(200, 200)
    >>> cut = picklet.tiles(image, "tiles", tile=(64, 64), overlap=8)
    >>> len(cut), cut[5].shape
    (16, (80, 80))
    >>> picklet.stitch(cut, "again.npy").shape
    (200, 200)
    >>> bool((numpy.load("again.npy") == image).all())
    True
    """
    if resume and overwrite:
        raise ValueError("give resume=True or overwrite=True, not both")
    policy = LoadRules.of(allow, trust)
    options: dict[str, Any] = {
        "tile": [tile] if isinstance(tile, int) else [_side(side) for side in tile],
        "overlap": [overlap] if isinstance(overlap, int) else list(overlap),
        "edge": edge,
        "member": member,
        "page": page,
        "name": name,
        "compress": compress,
        "sha256": sha256,
        "existing": "resume" if resume else "overwrite" if overwrite else "refuse",
    }
    folder = os.fspath(out)
    options["made_by"] = again.call(
        "picklet.tiles",
        source,
        folder,
        tile=tile,
        overlap=overlap or None,
        edge=None if edge == "shrink" else edge,
        member=member,
        page=page,
        name=None if name == "data" else name,
        resume=True,
    )
    if isinstance(source, (str, os.PathLike)):
        _picklet.tiles(os.fspath(source), folder, options)
    elif hasattr(source, "__array__"):
        _tiles_of_array(source, folder, options)
    else:
        raise TypeError(
            f"the source is a path or an array, not {type(source).__name__}; a file that is open "
            "is given by its name"
        )
    return Segments(_picklet.Directory(folder), policy)


def _side(side: int | None) -> int | None:
    return None if side is None or side == -1 else side


def _tiles_of_array(source: Any, folder: str, options: dict[str, Any]) -> None:
    """Cut what is in memory, by way of a file."""
    import numpy

    with tempfile.TemporaryDirectory(prefix="picklet-") as scratch:
        path = os.path.join(scratch, "array.npy")
        numpy.save(path, numpy.asarray(source), allow_pickle=False)
        _picklet.tiles(path, folder, options, type(source).__name__)


def _directory_of(tiles: Segments | str | os.PathLike[str]) -> _picklet.Directory:
    """Look anew: tiles may have come or gone since a directory was opened."""
    path = tiles.location if isinstance(tiles, Segments) else tiles
    return _picklet.Directory(os.fspath(path))


def stitch(
    tiles: Segments | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    mode: Mode = "crop",
    fill: float | bool | None = None,
) -> Stitched:
    """Join tiles, or what a map made of them, into one array in the file ``out``.

    The ending of ``out`` says what it is to be: ``.npy``, ``.pickle``, ``.tif``
    or ``.png``. What a map made may have another dtype, other channels, and sides
    that are those of the tiles times a whole number or divided by one.

    ``mode`` says what is taken where tiles overlap: ``"crop"`` takes each tile's
    core, exactly; ``"mean"`` averages; ``"hann"`` averages with weights that fall
    towards the ends of a tile; ``"max"`` takes the largest. Tiles that are missing,
    quarantined or damaged are named in an error, unless ``fill`` is a value to put
    there.
    """
    directory = _directory_of(tiles)
    text = None if fill is None else str(int(fill) if isinstance(fill, bool) else fill)
    shape, filled = _picklet.stitch(directory, os.fspath(out), mode, text)
    return Stitched(tuple(shape), tuple(filled))


def preview(
    tiles: Segments | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    pixels: int | None = None,
) -> Preview:
    """Draw tiles into the PNG ``out``: a thumbnail, the grid, and what is missing crossed out.

    The longer side has ``pixels`` pixels, 1024 if not said otherwise.
    """
    directory = _directory_of(tiles)
    drawn = _picklet.preview(directory, os.fspath(out), pixels)
    return Preview(drawn["width"], drawn["height"], drawn["tiles"], tuple(drawn["missing"]))
