"""Files of the libraries that people pickle with, dumped by those and scanned.

Ordinary data is clean; an estimator whose classes are not all listed is suspicious and never
dangerous; and what joblib's loader and pickle's see differently is found with the real joblib.
"""

import contextlib
import io
import pickle
import runpy
import warnings
from pathlib import Path

import graphs
import picklet
import pytest
import test_numpy
import test_pandas

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
sparse = pytest.importorskip("scipy.sparse")
joblib = pytest.importorskip("joblib")
pytest.importorskip("lz4")

ROOT = Path(__file__).resolve().parents[3]


def assert_clean(data, policy=None):
    report = picklet.scan(data, policy=policy)
    assert report.verdict == "clean", [
        (one.rule, one.callable, one.arguments, one.reason) for one in report.findings
    ] + list(report.damages)
    assert report.pickles >= 1


def every_dtype():
    """All of numpy's built-in types in both byte orders, units of time, and what is made of them."""
    plain = {np.dtype(kind) for kind in np.sctypeDict.values()}
    plain |= {kind.newbyteorder() for kind in plain}
    units = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "25s"]
    times = {np.dtype(f"{kind}8[{unit}]") for kind in "Mm" for unit in units}
    made = {np.dtype(text) for text in ("S0", "S7", "U0", "U7", ">U3", "V0", "V9", "O")}
    made |= {
        np.dtype([("a", "i4"), ("b", "O")]),
        np.dtype([("a", ">f8"), ("b", [("c", "M8[D]", (2, 3))])], align=True),
        np.dtype(("i2", (2, 2))),
    }
    return sorted(plain | times | made, key=str)


@pytest.mark.parametrize("dtype", every_dtype(), ids=str)
def test_arrays_of_every_dtype_are_clean(dtype):
    arrays = [
        np.zeros(3, dtype), np.zeros((2, 3), dtype, order="F"), np.zeros((4, 4), dtype)[::2, 1:],
        np.zeros((0, 4), dtype), np.zeros((), dtype), np.zeros(2, dtype)[0],
    ]  # fmt: skip
    if dtype.names and dtype.hasobject:
        del arrays[
            -1
        ]  # numpy makes it from an array of objects, which the scanner calls suspicious
    for protocol in graphs.PROTOCOLS:
        assert_clean(pickle.dumps([dtype, *arrays], protocol))
    if not dtype.hasobject:
        file = io.BytesIO()
        np.savez_compressed(file, *arrays)
        assert picklet.scan(file.getvalue()).verdict == "clean"


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("count", [0, 1, 5000])
def test_arrays_of_strings_of_any_length_are_clean(count, protocol):
    for options in ({}, {"na_object": None}, {"na_object": float("nan")}, {"na_object": pd.NA}):
        dtype = np.dtypes.StringDType(**options)
        strings = [f"문자열 {n}" * (n % 7) for n in range(count)]
        if options and strings:
            strings[-1] = options["na_object"]
        assert_clean(pickle.dumps([dtype, np.array(strings, dtype)], protocol))


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
def test_what_loads_by_the_data_policy_is_clean(protocol):
    values = {**test_numpy.ARRAYS, **test_numpy.MASKED, **test_pandas.VALUES}
    values["numpy scalars"], values["dtypes"] = test_numpy.SCALARS, test_numpy.DTYPES
    for value in values.values():
        assert_clean(pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", graphs.PROTOCOLS)
@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
def test_sparse_matrices_are_clean(form, protocol):
    assert_clean(pickle.dumps(sparse.random(6, 5, 0.5, format=form), protocol))
    assert_clean(pickle.dumps(sparse.random_array((6, 5), density=0.5, format=form), protocol))


JOBLIB = {
    "array": np.arange(1000.0),
    "objects": np.array([1, "a", None, np.arange(3)], dtype=object),
    "mixed": {"a": np.arange(10), "b": [np.zeros((2, 2), "f4", order="F"), "x"]},
    "strings": np.array(["x", "yz"]),
    "plain": list(range(1000)),
    "frame": pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": [0.5, None]}),
    "series": pd.Series([1, 2, 3], name="s"),
    "sparse": sparse.random(6, 5, 0.5, format="csr"),
    "matrix": np.array([[1, 2]]).view(np.matrix),
    "structured": np.zeros(3, [("a", "i4"), ("b", "f8")]),
    "time": np.array(["2020-01-01"], "M8[D]"),
    "masked": np.ma.array([1, 2], mask=[0, 1]),
    "bytes that are opcodes": np.frombuffer(b"(((((]]]]}}NNNN." * 50, "u1"),
}


@pytest.mark.parametrize("name", JOBLIB)
def test_dumps_of_joblib_are_clean_in_every_compression(name, tmp_path):
    for compress in (0, 1, 9, "zlib", "gzip", "bz2", "lzma", "xz", "lz4"):
        file = tmp_path / "dump.joblib"
        joblib.dump(
            JOBLIB[name], file, compress=(compress, 3) if isinstance(compress, str) else compress
        )
        assert_clean(file)
    for protocol in graphs.PROTOCOLS:
        joblib.dump(JOBLIB[name], file, protocol=protocol)
        assert_clean(file)


def test_a_call_in_joblibs_array_runs_by_pickle_and_is_found(tmp_path, monkeypatch):
    """The real joblib and its own wrapper, which the generator of evasions has stand-ins for."""
    monkeypatch.chdir(tmp_path)
    from joblib.numpy_pickle import NumpyArrayWrapper

    call = b"cos\nmkdir\n\x8c\x06marker\x85R"

    def wrapped(shape, dtype, raw, **more):
        wrapper = NumpyArrayWrapper(np.ndarray, shape, "C", np.dtype(dtype))
        vars(wrapper).update(more)
        data = pickle.dumps(wrapper, 3)
        return data[:-1] + raw

    plain = wrapped((len(call),), "u1", call, numpy_array_alignment_bytes=None) + b"."
    inner = wrapped((1,), "O", plain) + b"."
    padded = wrapped((4,), "u1", b"\x06xxx0N.dddd" + call, numpy_array_alignment_bytes=True) + b"."
    for data, load in [(plain, pickle.load), (inner, joblib.load), (padded, joblib.load)]:
        Path("file.joblib").write_bytes(data)
        with open("file.joblib", "rb") as file, contextlib.suppress(Exception):
            load(file)
        Path("marker").rmdir()
        assert picklet.scan("file.joblib").verdict == "dangerous"


def estimators():
    """One fitted estimator of each class of scikit-learn that can be fitted on a few small tables."""
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.utils import all_estimators

    classifier, regressor = LogisticRegression(), Ridge()
    guesses = [
        {}, {"estimator": classifier}, {"estimator": regressor},
        {"estimators": [("a", classifier), ("b", classifier)]},
        {"estimators": [("a", regressor), ("b", regressor)]},
        {"transformers": [("a", "passthrough", [0])]}, {"steps": [("a", classifier)]},
        {"transformer_list": [("a", "passthrough")]},
        {"estimator": classifier, "param_grid": {"C": [1]}},
        {"estimator": classifier, "param_distributions": {"C": [1, 2]}, "n_iter": 2},
    ]  # fmt: skip
    table = np.random.RandomState(0).rand(30, 4)
    third = np.arange(30) % 3
    targets = [third, third % 2, third + 0.5, table[:, :2], None, np.stack([third, third], 1)]
    tables = [table, ["a b c", "b"] * 15, [{"a": 1.0}] * 30, third]
    for name, kind in all_estimators():
        fitted = None
        for guess in guesses:
            for target in targets:
                for data in tables:
                    try:
                        made = clone(kind(**guess))
                        fitted = made.fit(data) if target is None else made.fit(data, target)
                    except Exception:
                        continue
                    break
                if fitted is not None:
                    break
            if fitted is not None:
                break
        if fitted is not None:
            yield name, fitted


def test_estimators_are_clean_by_their_policy_or_suspicious_for_a_class_that_it_does_not_list():
    pytest.importorskip("sklearn")
    clean, suspicious = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, fitted in estimators():
            try:
                data = pickle.dumps(fitted)
            except Exception:
                continue
            assert picklet.scan(data).verdict in ("suspicious", "clean"), name
            report = picklet.scan(data, policy="sklearn")
            if report.verdict == "clean":
                clean.append(name)
                picklet.loads(data, allow="sklearn")
                continue
            suspicious.append(name)
            assert report.verdict == "suspicious", (name, report.findings)
            assert any(finding.rule == "unlisted-import" for finding in report.findings), name
            policy = picklet.Policy.from_toml(picklet.scan(data).suggested_policy)
            assert picklet.scan(data, policy=policy).verdict == "clean", name
    assert len(clean) > 140, (len(clean), suspicious)
    assert len(suspicious) < 60, suspicious


def test_every_listed_class_of_scikit_learn_still_keeps_to_the_evidence():
    """What the generator of the list looks at, looked at in the scikit-learn that is here."""
    sklearn = pytest.importorskip("sklearn")
    import importlib
    import re

    table = ROOT / "crates" / "picklet-codec" / "src" / "policy" / "sklearn.rs"
    text = table.read_text(encoding="utf-8")
    listed = re.findall(r'^    \("(sklearn[^"]*)", "([^"]+)"\),$', text, re.MULTILINE)
    made_for = re.search(r"scikit-learn ([0-9.]+)", text).group(1)
    assert len(listed) == int(re.search(r"(\d+) classes", text).group(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        broken = runpy.run_path(str(ROOT / "testdata" / "policy" / "list_sklearn.py"))["broken"]
        missing = []
        for module, name in listed:
            try:
                kind = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError):
                missing.append((module, name))
                continue
            assert list(broken(kind)) == [], (module, name)
    assert sklearn.__version__ != made_for or not missing, missing
