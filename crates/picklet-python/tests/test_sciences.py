"""scipy's matrices, scikit-learn's estimators and torch's state dicts in safe loads."""

import collections
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
