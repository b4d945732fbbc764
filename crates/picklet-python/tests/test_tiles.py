"""Tiles: numpy says what each must hold, and what stitching must give."""

import hashlib
import itertools
import json
import os
import pathlib
import pickle
import random
import shutil
import warnings

import picklet
import pytest

np = pytest.importorskip("numpy")

EDGES = ["shrink", "shift", "reflect", "constant"]
TYPES = ["u1", ">u2", "i4", "f8", "f4", "c16", "?", "M8[s]", "S3", "U2", [("a", "i2"), ("b", "f4")]]
CASES = int(os.environ.get("PICKLET_CASES", "60"))


def make(rng, shape, dtype):
    dtype = np.dtype(dtype)
    count = int(np.prod(shape))
    if dtype.kind in "SU":
        words = np.array(["", "a", "bc", "xyz"])
        return words[rng.integers(0, 4, count)].astype(dtype).reshape(shape)
    if dtype.kind == "b":
        return rng.random(shape) > 0.5
    data = rng.integers(0, 200, (count, dtype.itemsize), dtype="u1")
    if dtype.kind in "fc":
        return rng.random(shape).astype(dtype)
    return np.frombuffer(data.tobytes(), dtype).reshape(shape)


def spans(side, tile, overlap, edge):
    """The core and window of each tile along an axis, as the design tells them."""
    if tile is None:
        return [((0, side), (0, side))]
    found = []
    for low in range(0, side, tile):
        high = min(low + tile, side)
        start, stop = low - overlap, low + tile + overlap
        if edge == "shrink":
            start, stop = max(0, start), min(side, high + overlap)
        elif edge == "shift":
            if stop - start >= side:
                start, stop = 0, side
            else:
                back = max(0, stop - side) - max(0, -start)
                start, stop = start - back, stop - back
        found.append(((low, high), (start, stop)))
    return found


def expected(array, window, edge):
    """The window, by numpy's own padding."""
    pad = [
        (max(0, -start), max(0, stop - side))
        for (start, stop), side in zip(window, array.shape, strict=True)
    ]
    mode = "reflect" if edge == "reflect" else "constant"
    if array.dtype.kind in "SUVM" and mode == "constant" and any(map(any, pad)):
        whole = np.zeros(
            [a + n + b for (a, b), n in zip(pad, array.shape, strict=True)], array.dtype
        )
        inner = tuple(slice(a, a + n) for (a, _), n in zip(pad, array.shape, strict=True))
        whole[inner] = array
    else:
        whole = np.pad(array, pad, mode=mode) if any(map(any, pad)) else array
    return whole[tuple(slice(a + p, b + p) for (a, b), (p, _) in zip(window, pad, strict=True))]


@pytest.mark.parametrize("seed", range(CASES))
def test_each_tile_is_what_numpy_cuts_and_stitching_gives_the_source(seed, tmp_path):
    rng = np.random.default_rng(seed)
    choose = random.Random(seed)
    axes = choose.randint(1, 4)
    shape = tuple(choose.randint(1, 30 if axes < 3 else 7) for _ in range(axes))
    tile = tuple(choose.choice([None, *range(1, 9)]) for _ in range(choose.randint(1, axes)))
    if not any(tile):
        tile = (3,)
    overlap = tuple(choose.randint(0, 6) if side else 0 for side in tile)
    edge = choose.choice(EDGES)
    array = make(rng, shape, choose.choice(TYPES))
    if choose.random() < 0.3:
        array = np.asfortranarray(array)
    protocol = choose.randint(0, 5)
    if choose.random() < 0.5:
        np.save("source.npy", array)
        source = "source.npy"
    else:
        source = "source.pickle"
        with open(source, "wb") as file:
            pickle.dump(array, file, protocol)
    per_axis = [
        spans(side, *(z or (None, 0)), edge)
        for side, z in itertools.zip_longest(shape, zip(tile, overlap, strict=True))
    ]
    grid = list(itertools.product(*per_axis))
    if len(grid) > 80:
        pytest.skip("many tiles")
    cut = picklet.tiles(source, "tiles", tile=tile, overlap=overlap, edge=edge, trust=True)
    assert len(cut) == len(grid)
    entries = json.loads((tmp_path / "tiles/segments.json").read_text())["segments"]
    for path, entry, spans_of in zip(cut.paths, entries, grid, strict=True):
        window = [list(w) for _, w in spans_of]
        assert entry["window"]["halo"] == window
        assert entry["window"]["core"] == [list(c) for c, _ in spans_of]
        got = pickle.loads(path.read_bytes())
        want = expected(array, window, edge)
        assert got.shape == want.shape
        assert got.dtype == want.dtype.newbyteorder("=")
        assert got.tobytes() == want.astype(got.dtype).tobytes()
    made = picklet.stitch(cut, "whole.npy")
    whole = np.load("whole.npy")
    assert made.shape == shape
    assert whole.dtype == array.dtype
    assert whole.tobytes() == np.ascontiguousarray(array).tobytes()


def blended(blocks, shape, mode):
    """What numpy makes of overlapping blocks: (window, values) each."""
    dtype = blocks[0][1].dtype
    if mode == "max":
        whole = None
        for window, block in blocks:
            part = np.full(shape, -np.inf)
            place, inner = clip(window, shape)
            part[place] = block[inner]
            whole = part if whole is None else np.maximum(whole, part)
        return whole.astype(dtype)
    total = np.zeros(shape, "c16" if dtype.kind == "c" else "f8")
    weights = np.zeros(shape)
    for window, block in blocks:
        weight = np.ones(block.shape)
        if mode == "hann":
            for axis, (start, stop) in enumerate(window):
                length = stop - start
                line = np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2
                if length != shape[axis] or axis < 2:
                    sides = [1] * block.ndim
                    sides[axis] = length
                    weight = weight * line.reshape(sides)
        place, inner = clip(window, shape)
        total[place] += block[inner] * weight[inner]
        weights[place] += weight[inner]
    whole = total / weights
    if dtype.kind in "iu":
        whole = np.rint(whole)
    return whole.astype(dtype)


def clip(window, shape):
    place, inner = [], []
    for (start, stop), side in zip(window, shape, strict=True):
        low, high = max(0, start), min(side, stop)
        place.append(slice(low, high))
        inner.append(slice(low - start, high - start))
    return tuple(place), tuple(inner)


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("mode", ["mean", "hann", "max"])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "i4", "f4", "f8", "f2", "c8"])
def test_overlaps_are_blended_as_numpy_would(mode, edge, dtype):
    if mode == "max" and dtype == "c8":
        pytest.skip("complex numbers have no largest")
    rng = np.random.default_rng(1)
    shape = (23, 31)
    array = (rng.random(shape) * 100).astype(dtype)
    cut = picklet.tiles(array, "tiles", tile=(9, 10), overlap=(4, 3), edge=edge)
    mapped = cut.map(scrambled, "changed", workers=0)
    blocks = [pickle.loads(path.read_bytes()) for path in mapped.paths]
    manifest = json.loads(pathlib.Path("tiles/segments.json").read_text())
    windows = [entry["window"]["halo"] for entry in manifest["segments"]]
    picklet.stitch("changed", "whole.npy", mode=mode)
    whole = np.load("whole.npy")
    assert whole.shape == shape
    assert whole.dtype == blocks[0].dtype
    want = blended(list(zip(windows, blocks, strict=True)), shape, mode)
    if np.dtype(dtype).kind in "iu":
        # A sum that lies between two integers may fall to either.
        assert np.abs(whole.astype("i8") - want.astype("i8")).max() <= (mode != "max")
        assert (whole != want).mean() < 0.1
    else:
        assert np.allclose(whole, want, rtol=1e-3 if dtype == "f2" else 1e-6)


def scrambled(tile):
    """Tiles that differ where they overlap."""
    return (tile + abs(hash(tile.tobytes())) % 50).astype(tile.dtype)


def masks(tile):
    """Another type, no channels, twice the size."""
    return (tile.sum(axis=2) > 300).repeat(2, axis=0).repeat(2, axis=1)


def features(tile):
    """Channels first, one for each 4 x 4 pixels."""
    gray = tile[:, :, 0].astype("f4")
    return np.stack([gray[::4, ::4], gray[1::4, 1::4], gray[2::4, 2::4], gray[3::4, 3::4]])


def test_outputs_of_a_map_may_have_other_types_channels_and_sizes():
    rng = np.random.default_rng(5)
    array = rng.integers(0, 256, (40, 60, 3), dtype="u1")
    tiles = picklet.tiles(array, "tiles", tile=(16, 20), overlap=4)
    picklet.stitch(tiles.map(masks, "masks", workers=1), "masks.npy")
    whole = np.load("masks.npy")
    assert whole.dtype == bool
    assert (whole == masks(array)).all()
    picklet.stitch(tiles.map(features, "features", workers=1), "features.npy")
    assert (np.load("features.npy") == features(array)).all()
    # And a map of what was mapped.
    again = picklet.open("masks").map(np.logical_not, "again", workers=1)
    picklet.stitch(again, "again.npy")
    assert (np.load("again.npy") != whole).all()
    with pytest.raises(picklet.UnpicklingError, match="whole number"):
        picklet.stitch(tiles.map(np.ravel, "flat", workers=1), "flat.npy")


@pytest.mark.parametrize("mode", ["mean", "hann", "max"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "?"])
def test_unchanged_tiles_blend_to_the_source(mode, dtype):
    rng = np.random.default_rng(2)
    array = make(rng, (37, 41, 3), dtype) if dtype != "?" else rng.random((37, 41, 3)) > 0.5
    picklet.tiles(array, "tiles", tile=(8, 8), overlap=3)
    picklet.stitch("tiles", "whole.npy", mode=mode)
    assert (np.load("whole.npy") == array).all()


def where(tile, info):
    """The core's first element on each axis, all over the tile."""
    return np.full(tile.shape, sum(low for low, _ in info.window["core"]), "i4")


def fails_at_one(tile, info):
    if info.index == 1:
        raise ValueError("this one")
    return tile


def test_what_was_mapped_is_stitched_and_mapped_again_without_its_inputs():
    array = np.arange(40 * 50, dtype="u2").reshape(40, 50)
    tiles = picklet.tiles(array, "tiles", tile=(16, 20), overlap=3)
    with pytest.warns(UserWarning, match="1 of 9 segments failed"):
        mapped = tiles.map(fails_at_one, "first/mapped", on_error="quarantine", workers=1)
    assert len(mapped) == 8
    shutil.rmtree("tiles")
    os.rename("first", "elsewhere")
    with pytest.raises(
        picklet.SegmentsError, match=r"1 of 9 tiles .*data-00001 \(quarantined; 0:16, 20:40\)"
    ):
        picklet.stitch("elsewhere/mapped", "whole.npy")
    assert picklet.stitch("elsewhere/mapped", "whole.npy", fill=7).filled == ("data-00001",)
    want = array.copy()
    want[:16, 20:40] = 7
    assert (np.load("whole.npy") == want).all()
    assert picklet.preview("elsewhere/mapped", "seen.png").missing == ("data-00001",)
    again = picklet.open("elsewhere/mapped").map(where, "again", workers=1)
    shutil.rmtree("elsewhere")
    picklet.stitch(again, "again.npy", fill=-1)
    whole = np.load("again.npy")
    assert {(r, c): int(whole[r, c]) for r in (0, 16, 32) for c in (0, 20, 40)} == {
        (r, c): -1 if (r, c) == (0, 20) else r + c for r in (0, 16, 32) for c in (0, 20, 40)
    }


def test_a_tile_that_lies_elsewhere_is_mapped_anew():
    black = np.zeros((8, 8), "u1")
    picklet.tiles(black, "tiles", tile=(4, 8)).map(where, "out", workers=1)
    # The same bytes at other places.
    other = picklet.tiles(np.zeros((4, 16), "u1"), "tiles", tile=(4, 8), overwrite=True)
    picklet.stitch(other.map(where, "out", workers=1), "whole.npy")
    whole = np.load("whole.npy")
    assert whole.shape == (4, 16)
    assert (whole[:, :8] == 0).all()
    assert (whole[:, 8:] == 8).all()
    # And what is no tile any more has no grid.
    picklet.split(["a", "b"], "lists", count=1).map(len, "out", workers=1)
    with pytest.raises(picklet.UnpicklingError, match="holds no tiles"):
        picklet.stitch("out", "whole.npy")


@pytest.mark.parametrize("compress", ["zstd", "gzip"])
def test_tiles_are_stored_compressed_and_with_their_sha256(compress):
    array = np.arange(40 * 50, dtype="f4").reshape(40, 50)
    tiles = picklet.tiles(array, "tiles", tile=(16, 20), overlap=3, compress=compress, sha256=True)
    ending = {"zstd": ".pickle.zst", "gzip": ".pickle.gz"}[compress]
    assert [path.name for path in tiles.paths] == [f"data-{n:05}{ending}" for n in range(9)]
    sums = pathlib.Path("tiles/SHA256SUMS").read_text().splitlines()
    said = {line.split()[1].lstrip("*"): line.split()[0] for line in sums}
    for path in tiles.paths:
        assert said[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()
    tiles.paths[3].unlink()
    with pytest.raises(picklet.SegmentsError, match=r"data-00003 \(its file is gone"):
        picklet.stitch("tiles", "whole.npy")
    picklet.tiles(
        array, "tiles", tile=(16, 20), overlap=3, compress=compress, sha256=True, resume=True
    )
    for mode in "crop", "hann":
        picklet.stitch("tiles", "whole.npy", mode=mode)
        assert np.allclose(np.load("whole.npy"), array, rtol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "hann", "max"])
@pytest.mark.parametrize("overlap", [0, 3, 9, 40])
def test_blending_gives_the_same_bytes_however_the_axes_lie(mode, overlap):
    """Channels first and last, complex numbers, halos larger than tiles; twice the same."""
    rng = np.random.default_rng(overlap)
    array = rng.integers(0, 60000, (3, 29, 22), dtype="u2")
    first = picklet.tiles(array, "first", tile=(None, 7, 5), overlap=(0, overlap, overlap))
    last = picklet.tiles(
        np.ascontiguousarray(array.transpose(1, 2, 0)), "last", tile=(7, 5), overlap=overlap
    )
    scattered = first.map(scrambled_by_place, "first-mapped", workers=0)
    also = last.map(scrambled_by_place, "last-mapped", workers=0)
    for times in range(2):
        picklet.stitch(scattered, f"first-{times}.npy", mode=mode)
        picklet.stitch(also, f"last-{times}.npy", mode=mode)
    one, other = (np.load(f"{name}-0.npy") for name in ("first", "last"))
    assert (one == other.transpose(2, 0, 1)).all()
    for name in "first", "last":
        assert (
            pathlib.Path(f"{name}-0.npy").read_bytes() == pathlib.Path(f"{name}-1.npy").read_bytes()
        )
    blocks = [pickle.loads(path.read_bytes()) for path in also.paths]
    manifest = json.loads(pathlib.Path("last/segments.json").read_text())
    windows = [entry["window"]["halo"] for entry in manifest["segments"]]
    want = blended(list(zip(windows, blocks, strict=True)), other.shape, mode)
    assert np.abs(other.astype("i8") - want.astype("i8")).max() <= (mode != "max")
    if mode != "max":
        complex_ = last.map(as_complex, "complex", workers=0)
        picklet.stitch(complex_, "complex.npy", mode=mode)
        whole = np.load("complex.npy")
        source = array.transpose(1, 2, 0)
        assert np.allclose(whole, source + 1j * source[..., ::-1], rtol=1e-6)


def scrambled_by_place(tile, info):
    """Tiles that differ where they overlap, alike for all orders of axes."""
    return tile + np.uint16(info.index * 37 % 5000)


def as_complex(tile):
    return tile + 1j * tile[..., ::-1]


def test_missing_tiles_are_filled_where_nobody_else_has_them():
    array = np.full((20, 20), 5, "f4")
    cut = picklet.tiles(array, "tiles", tile=(10, 10), overlap=2)
    cut.paths[0].unlink()
    with pytest.raises(picklet.SegmentsError, match=r"1 of 4 tiles .*data-00000"):
        picklet.stitch("tiles", "whole.npy", mode="mean")
    filled = picklet.stitch("tiles", "whole.npy", mode="mean", fill=float("nan"))
    assert filled.filled == ("data-00000",)
    whole = np.load("whole.npy")
    assert np.isnan(whole[:8, :8]).all()
    assert (whole[8:] == 5).all()
    assert (whole[:, 8:] == 5).all()
    picklet.stitch("tiles", "whole.npy", fill=7)
    assert (np.load("whole.npy")[:10, :10] == 7).all()
    drawn = picklet.preview("tiles", "tiles.png")
    assert (drawn.width, drawn.height, drawn.tiles, drawn.missing) == (20, 20, 3, ("data-00000",))


@pytest.mark.parametrize("mode", ["crop", "mean", "hann", "max"])
@pytest.mark.parametrize("damaged", [0, 3])
def test_damaged_tiles_are_filled_as_missing_ones_are(mode, damaged):
    array = np.arange(1, 401, dtype="f4").reshape(20, 20)
    cut = picklet.tiles(array, "tiles", tile=(10, 10), overlap=2)
    path = cut.paths[damaged]
    flipped = bytearray(path.read_bytes())
    flipped[-20] ^= 1
    path.write_bytes(flipped)
    drawn = picklet.preview("tiles", "tiles.png")
    assert (drawn.tiles, drawn.missing) == (3, (f"data-0000{damaged}",))
    with pytest.raises(picklet.SegmentsError, match=path.name):
        picklet.stitch("tiles", "whole.npy", mode=mode)
    assert not pathlib.Path("whole.npy").exists()
    filled = picklet.stitch("tiles", "whole.npy", mode=mode, fill=-7)
    assert filled.filled == (f"data-0000{damaged}",)
    # What a neighbour's halo has, blending takes from there.
    reach = 0 if mode == "crop" else 2
    gone = np.s_[: 10 - reach, : 10 - reach] if damaged == 0 else np.s_[10 + reach :, 10 + reach :]
    expected = array.copy()
    expected[gone] = -7
    assert np.allclose(np.load("whole.npy"), expected, rtol=1e-6)
    for other in cut.paths:
        other.write_bytes(b"?" * other.stat().st_size)
    with pytest.raises(picklet.SegmentsError, match="all 4 tiles"):
        picklet.stitch("tiles", "none.npy", mode=mode, fill=0)


def test_tiles_quarantined_at_a_url_are_called_so():
    cut = picklet.tiles(np.ones((20, 20), "u1"), "memory://tiles/in", tile=(10, 10))

    def fails(tile, info):
        if info.index == 2:
            raise ValueError("not this one")
        return tile

    with pytest.warns(UserWarning, match="data-00002"):
        cut.map(fails, "memory://tiles/out", workers=0, on_error="quarantine")
    with pytest.raises(picklet.SegmentsError, match=r"data-00002 \(quarantined"):
        picklet.stitch("memory://tiles/out", "whole.npy")
    assert picklet.stitch("memory://tiles/out", "whole.npy", fill=0).filled == ("data-00002",)


def test_members_of_npz_files_are_cut_stored_and_compressed():
    a, b = np.arange(300.0).reshape(20, 15), np.arange(7)
    for save, name in [(np.savez, "stored.npz"), (np.savez_compressed, "small.npz")]:
        save(name, a=a, b=b)
        with pytest.raises(picklet.UnpicklingError, match=r"2 arrays \(a, b\)"):
            picklet.tiles(name, "none", tile=(4,))
        picklet.tiles(name, name + ".tiles", tile=(6, 7), overlap=1, member="a")
        picklet.stitch(name + ".tiles", "whole.npy")
        assert (np.load("whole.npy") == a).all()


def test_what_was_stitched_as_a_pickle_opens_with_pickle():
    array = np.arange(120.0).reshape(4, 5, 6)
    picklet.tiles(array, "tiles", tile=(None, 2, 3))
    picklet.stitch("tiles", "whole.pickle")
    with open("whole.pickle", "rb") as file:
        assert (pickle.load(file) == array).all()


def test_a_source_is_refused_in_one_line():
    array = np.zeros((4, 4))
    with pytest.raises(ValueError, match="3 axes"):
        picklet.tiles(array, "out", tile=(1, 1, 1))
    with pytest.raises(ValueError, match="edge is"):
        picklet.tiles(array, "out", tile=(1,), edge="wrap")
    with pytest.raises(TypeError, match="a path or an array"):
        picklet.tiles([1, 2], "out", tile=(1,))
    with open("list.pickle", "wb") as file:
        pickle.dump([1, 2], file)
    with pytest.raises(picklet.UnpicklingError, match="holds no array"):
        picklet.tiles("list.pickle", "out", tile=(1,))
    picklet.split([1, 2], "lists", count=1)
    with pytest.raises(picklet.UnpicklingError, match="holds no tiles"):
        picklet.stitch("lists", "out.npy")
    assert not os.path.exists("out")


def around(source, array, tile=(50, 60), **how):
    """Cut, compare each tile, stitch, compare."""
    cut = picklet.tiles(source, "tiles", tile=tile, overlap=7, overwrite=True, **how)
    picklet.stitch(cut, "whole.npy")
    whole = np.load("whole.npy")
    assert whole.shape == array.shape
    assert (whole == array).all()


def picture(shape, dtype="u1"):
    rng = np.random.default_rng(3)
    smooth = np.add.outer(np.arange(shape[0]), np.arange(shape[1]))
    if len(shape) > 2:
        smooth = smooth[..., None] + np.arange(shape[2]) * 40
    return ((smooth + rng.integers(0, 5, shape)) % 251).astype(dtype)


def test_png_of_every_kind_is_cut_and_written(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for number, (mode, shape) in enumerate(
        [("L", (130, 170)), ("RGB", (130, 170, 3)), ("RGBA", (130, 170, 4)), ("LA", (9, 8, 2))]
    ):
        array = picture(shape)
        image.fromarray(array, mode).save("a.png")
        around("a.png", array)
        picklet.stitch("tiles", f"{number}.png")
        assert (np.asarray(image.open(f"{number}.png")) == array).all()
    deep = picture((60, 70)).astype("u2") * 250
    image.fromarray(deep).save("deep.png")
    around("deep.png", deep)
    picklet.stitch("tiles", "deep-again.png")
    assert (np.asarray(image.open("deep-again.png")) == deep).all()
    colours = image.fromarray(picture((60, 70, 3))).convert("P", palette=image.Palette.ADAPTIVE)
    colours.save("palette.png")
    around("palette.png", np.asarray(colours.convert("RGB")))
    bits = image.fromarray(picture((60, 70)) > 100)
    bits.save("bits.png")
    around("bits.png", np.asarray(bits).astype("u1") * 255)
    data = (tmp_path / "palette.png").read_bytes()
    for end in range(0, len(data), 97):
        (tmp_path / "cut.png").write_bytes(data[:end])
        with pytest.raises((picklet.UnpicklingError, OSError)):
            picklet.tiles("cut.png", "cut", tile=(8, 8), overwrite=True)


def test_jpeg_is_cut_as_it_is_decoded():
    image = pytest.importorskip("PIL.Image")
    for array in picture((130, 170)), picture((130, 170, 3)):
        image.fromarray(array).save("a.jpg", quality=95, subsampling=0, progressive=array.ndim == 3)
        pixels = np.asarray(image.open("a.jpg"))
        picklet.tiles("a.jpg", "tiles", tile=(50, 60), overwrite=True)
        picklet.stitch("tiles", "whole.npy")
        whole = np.load("whole.npy")
        assert whole.shape == pixels.shape
        # Decoders may differ in the last bits.
        assert np.abs(whole.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4", "f8"])
def test_tiff_of_every_layout_is_cut_and_written(dtype):
    tifffile = pytest.importorskip("tifffile")
    gray, colour = picture((130, 170), dtype), picture((130, 170, 3), dtype)
    stack = np.stack([gray, gray[::-1], gray.T.copy().reshape(130, 170)])
    for how in [
        {},
        {"tile": (32, 48)},
        {"rowsperstrip": 7},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"compression": "zlib"},
    ]:
        tifffile.imwrite("gray.tif", gray, photometric="minisblack", **how)
        around("gray.tif", gray)
        tifffile.imwrite("rgb.tif", colour, photometric="rgb", **how)
        around("rgb.tif", colour)
        tifffile.imwrite("stack.tif", stack, photometric="minisblack", **how)
        around("stack.tif", stack, tile=(1, 50, 60) if how else (None, 50, 60))
        around("stack.tif", stack[1], page=1)
    picklet.tiles("stack.tif", "tiles", tile=(2, 50, 60), overlap=(0, 3, 3), overwrite=True)
    for name, array, tile in [
        ("g", gray, (50, 60)),
        ("c", colour, (50, 60)),
        ("s", stack, (2, 50)),
    ]:
        picklet.tiles(array, name, tile=tile, overlap=3)
        picklet.stitch(name, f"{name}.tif")
        again = tifffile.imread(f"{name}.tif")
        assert again.dtype == array.dtype
        assert (again == array).all()


def test_planar_tiff_and_pages_of_different_sizes():
    tifffile = pytest.importorskip("tifffile")
    planes = picture((130, 170, 3)).transpose(2, 0, 1).copy()
    for how in {}, {"tile": (32, 48)}:
        tifffile.imwrite("planes.tif", planes, photometric="rgb", planarconfig="separate", **how)
        around("planes.tif", planes.transpose(1, 2, 0))
    with tifffile.TiffWriter("pages.tif") as file:
        file.write(picture((30, 40)))
        file.write(picture((15, 20)))
    with pytest.raises(picklet.UnpicklingError, match="pages of different sizes"):
        picklet.tiles("pages.tif", "none", tile=(8, 8))
    around("pages.tif", picture((15, 20)), page=1)


def test_files_that_were_cut_off_are_refused_in_one_line(tmp_path):
    image, tifffile = pytest.importorskip("PIL.Image"), pytest.importorskip("tifffile")
    rng = np.random.default_rng(4)
    array = rng.integers(0, 256, (90, 70, 3), dtype="u1")
    image.fromarray(array).save("사진.png")
    image.fromarray(array).save("사진.jpg")
    image.fromarray(array).save("점진.jpg", progressive=True)
    tifffile.imwrite("사진.tif", array, photometric="rgb")
    np.save("배열.npy", array)
    np.savez("배열.npz", a=array)
    np.savez_compressed("작은 배열.npz", a=array)
    with open("배열.pickle", "wb") as file:
        pickle.dump(array, file)
    for source in sorted(tmp_path.iterdir()):
        data = source.read_bytes()
        picklet.tiles(source, "whole", tile=(40, 40), overwrite=True)
        for end in 0, 1, 4, 8, 9, 60, len(data) // 2, len(data) - 20, len(data) - 5:
            path = tmp_path / f"잘린 {source.name}"
            path.write_bytes(data[:end])
            with pytest.raises((picklet.UnpicklingError, OSError)) as told:
                picklet.tiles(path, "cut", tile=(40, 40), overwrite=True)
            assert f"잘린 {source.name}" in str(told.value), (source.name, end)
            assert "\n" not in str(told.value)
            path.unlink()


def test_nothing_is_printed_or_warned_by_a_cut(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picklet.tiles(np.zeros((9, 9)), "tiles", tile=(4, 4))
        picklet.stitch("tiles", "whole.npy")
    assert capfd.readouterr() == ("", "")
