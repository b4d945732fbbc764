"""Pickle a few objects with whatever numpy and pandas this interpreter has; Python 2.7 or newer.

    python make.py FOLDER

`fetch.py` makes an environment for each version and runs this in it.
"""

import collections
import datetime
import decimal
import os
import pickle
import sys


def plain():
    """Give data of the standard library that every Python has."""
    return collections.OrderedDict(
        [
            ("numbers", [0, -1, 255, 65536, 1 << 40, -(1 << 70), 1.5, -0.0, 1j]),
            ("truth", (True, False, None)),
            ("text", [u"", u"a", u"\xe9", u"\uac00\ub098", "native"]),
            ("set", set([1, 2])),
            ("frozen", frozenset([3])),
            ("when", datetime.datetime(2020, 2, 29, 12, 30, 1, 5)),
            ("day", datetime.date(1999, 12, 31)),
            ("span", datetime.timedelta(1, 2, 3)),
            ("exact", decimal.Decimal("1.10")),
            ("counts", collections.Counter("aab")),
            ("by default", collections.defaultdict(list, {"k": [1]})),
            ("queue", collections.deque([1, 2], 5)),
        ]
    )


def arrays(np):
    """Give numpy arrays and scalars."""
    record = np.array([(1, 2.5, b"ab")], dtype=[("i", "<i4"), ("f", "<f8"), ("s", "S2")])
    return {
        "ints": np.arange(5),
        "floats": np.linspace(0, 1, 4).reshape(2, 2),
        "order": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "empty": np.array([]),
        "truth": np.array([True, False]),
        "text": np.array([u"a", u"bc"]),
        "big endian": np.arange(3, dtype=">i2"),
        "complex": np.array([1 + 2j]),
        "record": record,
        "times": np.array(["2020-01-01", "2021-06-01"], dtype="M8[ns]"),
        "objects": np.array([1, "x", None], dtype=object),
        "scalar": np.float64(1.5),
        "type": np.dtype("<u4"),
    }


def frames(pd):
    """Give pandas frames, series and indexes."""
    frame = pd.DataFrame({"i": [1, 2], "f": [0.5, 1.5], "s": [u"a", u"b"], "b": [True, False]})
    return {
        "frame": frame,
        "indexed": frame.set_index("s"),
        "series": pd.Series([1.0, 2.0], name="x"),
        "times": pd.DataFrame({"t": pd.to_datetime(["2020-01-01", "2020-01-02"])}),
        "range": pd.date_range("2020-01-01", periods=3),
        "categories": pd.Series(["a", "b", "a"]).astype("category"),
        "levels": pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
        "stamp": pd.Timestamp("2020-01-01 12:00"),
        "span": pd.Timedelta(days=1),
    }


def main(folder):
    """Write one file for each kind of data and protocol."""
    label = "python%d.%d" % sys.version_info[:2]
    kinds = [(label + "-plain", plain())]
    try:
        import numpy as np
    except ImportError:
        pass
    else:
        kinds.append(("%s-numpy%s" % (label, np.__version__), arrays(np)))
    try:
        import pandas as pd
    except ImportError:
        pass
    else:
        kinds.append(("%s-pandas%s" % (label, pd.__version__), frames(pd)))
    for name, data in kinds:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            path = os.path.join(folder, "%s-protocol%d.pickle" % (name, protocol))
            with open(path, "wb") as file:
                pickle.dump(data, file, protocol)


if __name__ == "__main__":
    main(sys.argv[1])
