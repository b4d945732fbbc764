"""What shapes cannot tell: values that native code takes as places in memory.

The safe loader asks here about live objects. ``before`` looks at the arguments of a call, or at a
state, that native code would act on at once; ``after`` at the object that was made. Each gives
``None``, or what is wrong in words that follow "the pickle holds". Every object met here was made
by a global that the policy lists, so that asking it for its attributes runs no code of the
pickle's. Nothing is imported but what the pickle's own listed globals have imported.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["after", "before"]


def before(sort: str, given: Any) -> str | None:
    """What is wrong with arguments or a state."""
    return _BEFORE[sort](given)


def after(sort: str, made: Any) -> str | None:
    """What is wrong with an object, now that it has its state."""
    check = _AFTER.get(sort)
    return check(made) if check else None


def _numpy() -> Any:
    return sys.modules["numpy"]


def _is_array(value: Any, kinds: str) -> bool:
    return isinstance(value, _numpy().ndarray) and value.dtype.kind in kinds


def _forget_computed(obj: Any) -> None:
    # What a pickle says was computed may be anything. It is computed anew when asked for.
    attributes = getattr(obj, "__dict__", None)
    if attributes is not None and attributes.get("_cache"):
        attributes["_cache"] = {}
    elif isinstance(getattr(obj, "_cache", None), dict):
        obj._cache.clear()


# Managers: where each block's rows lie.


def _bounds(place: Any) -> tuple[int, int, int] | None:
    """Lowest, highest and number of the rows of a place, or None when it is none."""
    if isinstance(place, slice):
        parts = (place.start, place.stop, place.step)
        if not all(type(part) is int and abs(part) < 1 << 62 for part in parts if part is not None):
            return None
        start, step = place.start or 0, 1 if place.step is None else place.step
        if place.stop is None or step == 0:
            return None
        rows = range(start, place.stop, step)
        return (min(rows[0], rows[-1]), max(rows[0], rows[-1]), len(rows)) if rows else (0, 0, 0)
    if not _is_array(place, "iu") or place.ndim != 1:
        return None
    return (int(place.min()), int(place.max()), len(place)) if len(place) else (0, 0, 0)


def _covers(places: list[Any], rows: int) -> bool:
    """Whether the places hold each row from 0 to ``rows`` exactly once."""
    bounds = [_bounds(place) for place in places]
    if sum(bound[2] if bound else rows + 1 for bound in bounds) != rows:
        return False
    if any(bound and bound[2] and (bound[0] < 0 or bound[1] >= rows) for bound in bounds):
        return False
    seen = _numpy().zeros(rows, dtype=bool)
    for place in places:
        seen[place] = True
    return bool(seen.all())


_MISPLACED = "a pandas frame whose blocks do not fill its axes"


def _block_before(args: Any) -> str | None:
    values, place, dimensions = args
    if getattr(values, "ndim", 0) > 2 or dimensions not in (1, 2):
        return "a pandas block of an unusual shape"
    bound = _bounds(place)
    if bound is None or bound[0] < 0:
        return _MISPLACED
    # A place for each row of the values; one array of pandas' own is one row.
    rows = len(values) if dimensions == 1 or values.ndim == 2 else 1
    return None if bound[2] == rows else _MISPLACED


def _manager_before(given: Any) -> str | None:
    if isinstance(given[-1], dict):
        state = given[-1]
        if "0.14.1" not in state or {"axes", "blocks"} - set(state["0.14.1"]):
            return _MISPLACED
        axes, blocks = state["0.14.1"]["axes"], state["0.14.1"]["blocks"]
        if any({"values", "mgr_locs"} - set(block) for block in blocks):
            return _MISPLACED
        places = [block["mgr_locs"] for block in blocks]
        arrays = [block["values"] for block in blocks]
    else:
        blocks, axes = given
        if not isinstance(blocks, (tuple, list)):
            blocks, axes = (blocks,), [axes]
        places = [_place_of(block) for block in blocks]
        arrays = [block.values for block in blocks]
    if len(axes) not in (1, 2) or not _covers(places, len(axes[0])):
        return _MISPLACED
    fits = all(
        len(array) == len(axes[0])
        if len(axes) == 1
        else array.shape[-1] == len(axes[1]) and (array.ndim == 1 or len(array) == _len(place))
        for array, place in zip(arrays, places, strict=True)
    )
    return None if fits else _MISPLACED


def _len(place: Any) -> int:
    bound = _bounds(place)
    return bound[2] if bound else -1


def _place_of(block: Any) -> Any:
    place = block.mgr_locs
    return place.as_slice if place.is_slice_like else place.as_array


def _manager(made: Any) -> str | None:
    shape = tuple(len(axis) for axis in made.axes)
    blocks = made.blocks
    if len(shape) == 1:
        fits = len(blocks) == 1 and len(blocks[0].values) == shape[0]
    else:
        fits = _covers([_place_of(block) for block in blocks], shape[0]) and all(
            block.shape[0] == len(block.mgr_locs) and block.shape[1] == shape[1] for block in blocks
        )
    if not fits:
        return _MISPLACED
    # A list of axes that the pickle could still add to is not the one that is kept.
    if isinstance(made.axes, list):
        made.axes = list(made.axes)
    return None


def _frame(made: Any) -> str | None:
    axes = 2 if type(made).__name__ == "DataFrame" else 1
    return None if made._mgr.ndim == axes else _MISPLACED


# Arrays.


def _codes_fit(codes: Any, count: int) -> bool:
    if not _is_array(codes, "i") or codes.ndim > 2:
        return False
    return not codes.size or (int(codes.min()) >= -1 and int(codes.max()) < count)


def _array_backed(made: Any) -> str | None:
    name, dtype = type(made).__name__, made.dtype
    wrong = f"a pandas {name} of an unusual form"
    data = getattr(made, "_ndarray", None)
    if data is None:
        data = made._codes if name == "Categorical" else made._data
    if not isinstance(data, _numpy().ndarray) or data.ndim not in (1, 2):
        return wrong
    if name == "Categorical":
        categories = getattr(dtype, "categories", None)
        fits = categories is not None and _codes_fit(data, len(categories))
    elif name == "PeriodArray":
        fits = data.dtype == "i8" and hasattr(dtype, "freq")
    elif name in ("DatetimeArray", "TimedeltaArray"):
        fits = data.dtype.kind == ("M" if name == "DatetimeArray" else "m")
        if fits and dtype != data.dtype:
            unit = _numpy().datetime_data(data.dtype)[0]
            fits = getattr(dtype, "unit", None) == unit
    elif name.startswith("StringArray"):
        fits = data.dtype == object and getattr(dtype, "name", None) in ("string", "str")
    else:
        fits = getattr(dtype, "numpy_dtype", None) == data.dtype
    _forget_computed(made)
    return None if fits else wrong


def _masked(made: Any) -> str | None:
    kinds = {"IntegerArray": "iu", "FloatingArray": "f", "BooleanArray": "b"}
    data, mask = made._data, made._mask
    _forget_computed(made)
    if (
        _is_array(data, kinds[type(made).__name__])
        and _is_array(mask, "b")
        and data.shape == mask.shape
    ):
        return None
    return f"a pandas {type(made).__name__} of an unusual form"


def _interval(made: Any) -> str | None:
    _forget_computed(made)
    left, right = made._left, made._right
    if len(left) == len(right) and left.dtype == right.dtype:
        return None
    return "a pandas IntervalArray of an unusual form"


def _sparse(made: Any) -> str | None:
    _forget_computed(made)
    index, values = made._sparse_index, made._sparse_values
    if values.ndim == 1 and index.npoints == len(values) and made.dtype.subtype == values.dtype:
        return None
    return "a pandas SparseArray of an unusual form"


def _index(made: Any) -> str | None:
    if hasattr(made, "levels"):
        codes, levels = made.codes, made.levels
        fits = len(codes) == len(levels) and all(
            _codes_fit(_numpy().asarray(code), len(level)) and len(code) == len(codes[0])
            for code, level in zip(codes, levels, strict=True)
        )
        return None if fits else "a pandas MultiIndex whose codes are none of its levels'"
    data = getattr(made, "_data", None)
    if type(data).__name__ in ("DatetimeArray", "TimedeltaArray", "PeriodArray", "Categorical"):
        return _array_backed(data)
    return None


# pyarrow.


def _arrow_before(args: Any) -> str | None:
    kind, _length, _nulls, _offset, buffers, children, dictionary = args[0]
    if (
        kind.num_fields == 0
        and kind.num_buffers == len(buffers)
        and not children
        and dictionary is None
    ):
        return None
    return "a pyarrow array of an unusual form"


def _arrow(made: Any) -> str | None:
    try:
        made.validate(full=True)
    except ValueError:
        return "a pyarrow array whose buffers do not fit its type"
    return None


def _arrow_backed(made: Any) -> str | None:
    data = getattr(made, "_pa_array", None)
    data = made._data if data is None else data
    _forget_computed(made)
    wanted = getattr(made.dtype, "pyarrow_dtype", None)
    text = str(data.type) in ("string", "large_string")
    chunked = isinstance(data, sys.modules["pyarrow"].ChunkedArray)
    if chunked and (text if wanted is None else wanted == data.type):
        return None
    return f"a pandas {type(made).__name__} of an unusual form"


# scipy and scikit-learn.


def _sparse_matrix(made: Any) -> str | None:
    wrong = f"a scipy {type(made).__name__} whose indexes do not fit its shape"
    shape = tuple(int(side) for side in made._shape)
    if len(shape) not in (1, 2) or not all(0 <= side < 1 << 62 for side in shape):
        return wrong
    sort = type(made).__name__[:3]
    if sort == "lil":
        return None if _lists(made, shape) else wrong
    if sort == "dok":
        return None if _keyed(made, shape) else wrong
    data = made.data
    if sort == "dia":
        fits = data.ndim == 2 and _is_array(made.offsets, "iu") and len(made.offsets) == len(data)
    elif sort == "coo":
        attributes = vars(made)
        coords = attributes.get("coords") or (attributes["row"], attributes["col"])
        fits = len(coords) == len(shape) and all(
            _within(coord, side) and len(coord) == len(data)
            for coord, side in zip(coords, shape, strict=True)
        )
    else:
        fits = _compressed(made, sort, shape)
    return None if fits else wrong


def _lists(made: Any, shape: tuple[int, ...]) -> bool:
    rows, values = made.rows, made.data
    if not (_is_array(rows, "O") and _is_array(values, "O") and len(shape) == 2):
        return False
    if rows.shape != (shape[0],) or values.shape != (shape[0],):
        return False
    # Copies, which nothing else in the pickle can add to or shorten any more.
    made.rows, made.data = rows.copy(), values.copy()
    for place, (row, of_row) in enumerate(zip(rows, values, strict=True)):
        if type(row) is not list or type(of_row) is not list or len(row) != len(of_row):
            return False
        columns = [_whole(column) for column in row]
        ascending = all(a < b for a, b in zip([-1, *columns], columns, strict=False))
        if not ascending or (columns and columns[-1] >= shape[1]):
            return False
        if not all(_is_number(value) for value in of_row):
            return False
        made.rows[place], made.data[place] = columns, of_row.copy()
    return True


def _keyed(made: Any, shape: tuple[int, ...]) -> bool:
    # scipy before 1.11 keeps them in the object, which is a dict, and not in an attribute.
    for held in (vars(made).get("_dict", {}), made if isinstance(made, dict) else {}):
        for key, value in dict.items(held):
            places = key if isinstance(key, tuple) else (key,)
            within = all(
                0 <= _whole(place) < side for place, side in zip(places, shape, strict=False)
            )
            if len(places) != len(shape) or not within or not _is_number(value):
                return False
    if "_dict" in vars(made):
        made._dict = dict(made._dict)
    return True


def _whole(value: Any) -> int:
    """A whole number that a pickle gives as a place; -1 when it is none."""
    return int(value) if type(value) is int or isinstance(value, _numpy().integer) else -1


def _is_number(value: Any) -> bool:
    return type(value) in (bool, int, float, complex) or isinstance(value, _numpy().generic)


def _within(indexes: Any, side: int) -> bool:
    if not _is_array(indexes, "iu") or indexes.ndim != 1:
        return False
    return not len(indexes) or (int(indexes.min()) >= 0 and int(indexes.max()) < side)


def _compressed(made: Any, sort: str, shape: tuple[int, ...]) -> bool:
    pointers, indexes, data = made.indptr, made.indices, made.data
    major, minor = shape if len(shape) == 2 else (1, shape[0])
    if sort == "csc":
        major, minor = minor, major
    if sort == "bsr":
        if data.ndim != 3 or 0 in data.shape[1:]:
            return False
        if major % data.shape[1] or minor % data.shape[2]:
            return False
        major, minor = major // data.shape[1], minor // data.shape[2]
    elif data.ndim != 1:
        return False
    return (
        _is_array(pointers, "i")
        and pointers.shape == (major + 1,)
        and pointers.dtype == indexes.dtype
        and int(pointers[0]) == 0
        and int(pointers[-1]) <= min(len(indexes), len(data))
        and bool((pointers[1:] >= pointers[:-1]).all())
        and _within(indexes, minor)
    )


_MISSHAPED_TREE = "a decision tree whose nodes lead nowhere"


def _tree_before(given: Any) -> str | None:
    if isinstance(given, dict):
        nodes = given.get("nodes")
        fits = (
            nodes is not None and nodes.ndim == 1 and 0 < given.get("node_count", 0) == len(nodes)
        )
        return None if fits and "values" in given else _MISSHAPED_TREE
    features, classes, outputs = given
    fits = 0 <= features < 1 << 31 and 0 < outputs < 1 << 20 and _is_array(classes, "i")
    if fits and classes.dtype == "i8" and classes.shape == (outputs,):
        return None if 0 < int(classes.min()) <= int(classes.max()) < 1 << 31 else _MISSHAPED_TREE
    return _MISSHAPED_TREE


def _tree(made: Any) -> str | None:
    numpy = _numpy()
    left, right, feature = made.children_left, made.children_right, made.feature
    inner = left != -1
    place = numpy.arange(len(left))[inner]
    # A child stands behind its parent, so that no walk is endless.
    fits = (
        bool(((right != -1) == inner).all())
        and bool((left[inner] > place).all())
        and bool((right[inner] > place).all())
        and bool((left[inner] < len(left)).all())
        and bool((right[inner] < len(left)).all())
        and bool(((feature[inner] >= 0) & (feature[inner] < made.n_features)).all())
    )
    return None if fits else _MISSHAPED_TREE


def _cache(made: Any) -> None:
    _forget_computed(made)


_BEFORE = {
    "block": _block_before,
    "manager": _manager_before,
    "arrow": _arrow_before,
    "tree": _tree_before,
}
_AFTER = {
    "array-backed": _array_backed,
    "masked": _masked,
    "interval": _interval,
    "sparse": _sparse,
    "arrow-backed": _arrow_backed,
    "arrow": _arrow,
    "index": _index,
    "manager": _manager,
    "frame": _frame,
    "cache": _cache,
    "sparse matrix": _sparse_matrix,
    "tree": _tree,
}
