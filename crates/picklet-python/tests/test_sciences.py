"""scipy's matrices, scikit-learn's estimators and torch's state dicts in safe loads."""

import collections
import copyreg
import io
import pickle
import sys
import types

import picklet
import pytest


def test_sparse_matrices_load_and_their_indexes_are_checked():
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random(5, 4, 0.5, format="csr")
    for name in ("csr", "csc", "coo", "bsr", "dia"):
        whole = matrix.asformat(name)
        assert (picklet.loads(pickle.dumps(whole)) != whole).nnz == 0
    bad = matrix.copy()
    bad.indices = bad.indices + 1_000_000
    with pytest.raises(pickle.UnpicklingError, match="csr_matrix"):
        picklet.loads(pickle.dumps(bad))
    bad = matrix.copy()
    bad.indptr[-1] = 1_000_000
    with pytest.raises(pickle.UnpicklingError, match="csr_matrix"):
        picklet.loads(pickle.dumps(bad))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_matrices_of_lists_and_dicts_load_and_their_places_are_checked(protocol):
    sparse = pytest.importorskip("scipy.sparse")
    for kind in (sparse.random, lambda *given, **more: sparse.random_array(given[:2], **more)):
        for name in ("lil", "dok"):
            whole = kind(6, 5, density=0.5, format=name)
            for value in (whole, whole.astype("c8"), whole.astype(bool)):
                loaded = picklet.loads(pickle.dumps(value, protocol))
                assert type(loaded) is type(value)
                assert loaded.dtype == value.dtype
                assert (loaded.toarray() == value.toarray()).all()
                loaded[1, 2] = 1
                assert loaded.tocsr()[1, 2] == 1


def _broken_lists(matrix, how):
    if how == "a column outside":
        matrix.rows[0][-1] = 1_000_000
    elif how == "columns out of order":
        matrix.rows[0].reverse()
        matrix.data[0].reverse()
    elif how == "values missing":
        matrix.data[0].pop()
    elif how == "rows missing":
        matrix.rows = matrix.rows[:-1].copy()
    elif how == "no list":
        matrix.rows[0] = tuple(matrix.rows[0])
    elif how == "no number":
        matrix.data[0][0] = "x"
    else:
        matrix.rows[0][0] = "x"


@pytest.mark.parametrize(
    "how",
    [
        "a column outside", "columns out of order", "values missing", "rows missing", "no list",
        "no number", "no place",
    ],
)  # fmt: skip
def test_broken_matrices_of_lists_are_refused(how):
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.lil_matrix([[1.0, 2.0, 3.0], [0, 0, 4.0]])
    _broken_lists(matrix, how)
    with pytest.raises(pickle.UnpicklingError, match="lil_matrix"):
        picklet.loads(pickle.dumps(matrix))


def test_what_a_matrix_of_lists_was_made_of_changes_it_no_more():
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.lil_matrix([[1.0, 2.0, 3.0]])
    row = matrix.rows[0]
    loaded, shared = picklet.loads(pickle.dumps([matrix, row]))
    shared.append(1_000_000)
    assert loaded.rows[0] == [0, 1, 2]


@pytest.mark.parametrize("key", [(0, 1_000_000), (-1, 0), (0,), ("x", 0), "x"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_broken_matrices_that_are_dicts_are_refused(key, protocol):
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.dok_matrix([[1.0, 2.0, 3.0]])
    state = {**vars(matrix), "_dict": {**matrix._dict, key: 1.0}}

    class Broken:
        def __reduce__(self):
            made = (sparse.dok_matrix, dict, dict(matrix))
            return copyreg._reconstructor, made, state

    with pytest.raises(pickle.UnpicklingError, match="dok_matrix"):
        picklet.loads(pickle.dumps(Broken(), protocol))


def test_estimators_load_by_their_policy_and_trees_are_checked():
    tree = pytest.importorskip("sklearn.tree")
    fitted = tree.DecisionTreeClassifier().fit([[0], [1], [2]], [0, 1, 0])
    data = pickle.dumps(fitted, 4)
    with pytest.raises(picklet.UntrustedGlobalError, match="DecisionTreeClassifier"):
        picklet.loads(data)
    loaded = picklet.loads(data, allow="sklearn")
    assert loaded.predict([[0], [1], [2]]).tolist() == [0, 1, 0]
    state = fitted.tree_.__getstate__()
    state["nodes"]["left_child"][0] = 1_000_000
    made = fitted.tree_.__reduce__()[:2]

    class Tree:
        def __reduce__(self):
            return (*made, state)

    with pytest.raises(pickle.UnpicklingError, match="tree"):
        picklet.loads(pickle.dumps(Tree(), 4), allow=["sklearn"])


@pytest.fixture
def torch(monkeypatch):
    """The names that a state dict refers to; torch itself is too large for a test."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    class FloatStorage:
        __module__ = "torch"

    FloatStorage.__qualname__ = "FloatStorage"

    def _rebuild_tensor_v2(*args):
        return ("tensor", *args)

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    torch.FloatStorage, utils._rebuild_tensor_v2 = FloatStorage, _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


def state_dict(torch, size=(2, 2)):
    """What `torch.save` puts into an archive's data.pkl."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self):
            rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
            return rebuild, (Storage(), 0, size, (2, 1), False, collections.OrderedDict())

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if isinstance(obj, Storage):
                return ("storage", torch.FloatStorage, "0", "cpu", 4)
            return None

    values = collections.OrderedDict(weight=Tensor())
    values._metadata = collections.OrderedDict({"": {"version": 1}})
    file = io.BytesIO()
    Pickler(file, 2).dump(values)
    return file.getvalue()


class Unpickler(picklet.Unpickler):
    def persistent_load(self, pid):
        return pid


def test_a_state_dict_loads_by_its_policy_with_the_callers_storages(torch):
    data = state_dict(torch)
    with pytest.raises(picklet.UntrustedGlobalError, match=r"_rebuild_tensor_v2"):
        Unpickler(io.BytesIO(data)).load()
    loaded = Unpickler(io.BytesIO(data), allow="torch").load()
    storage = ("storage", torch.FloatStorage, "0", "cpu", 4)
    assert loaded["weight"][:4] == ("tensor", storage, 0, (2, 2))
    assert loaded._metadata == {"": {"version": 1}}
    with pytest.raises(pickle.UnpicklingError, match="unusual arguments"):
        Unpickler(io.BytesIO(state_dict(torch, size=("a", 2))), allow="torch").load()
    with pytest.raises(pickle.UnpicklingError, match="persistent"):
        picklet.loads(data, allow="torch")
