"""CPython's own tests of pickle, from the interpreter's own files, on ``picklet.compat``.

Each class pairs an abstract class of ``test.pickletester`` with the settings
that ``test.test_pickle`` gives C pickle: the same errors, and nothing skipped
that C pickle does not skip. Where the interpreter came without its tests, all
of them are reported as skipped.
"""

import collections
import copyreg
import io
import pickle
import sys
import unittest

import picklet.compat as compat
import pytest

pickletester = pytest.importorskip("test.pickletester", reason="Python came without its tests")
test_pickle = pytest.importorskip("test.test_pickle", reason="Python came without its tests")

pytestmark = [
    # Deep recursion, and warnings that the tests themselves expect.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(autouse=True)
def fresh_import_paths():
    """Tests put a relative folder on sys.path, and each test runs in a folder of its own."""
    sys.path_importer_cache.clear()


class TestModule(pickletester.AbstractPickleModuleTests, unittest.TestCase):
    from picklet.compat import Pickler, Unpickler, dump, dumps, load, loads


class TestUnpickler(test_pickle.CUnpicklerTests):
    unpickler = compat.Unpickler


class TestPickler(test_pickle.CPicklerTests):
    pickler = compat.Pickler
    unpickler = compat.Unpickler


class TestPicklerWithStockUnpickler(test_pickle.CPicklerTests):
    pickler = compat.Pickler
    unpickler = pickle.Unpickler


class TestStockPicklerWithUnpickler(test_pickle.CPicklerTests):
    pickler = pickle.Pickler
    unpickler = compat.Unpickler


class TestInMemory(test_pickle.InMemoryPickleTests):
    bad_stack_errors = (pickle.UnpicklingError,)
    truncated_errors = (pickle.UnpicklingError, EOFError)

    def dumps(self, arg, protocol=None, **kwargs):
        return compat.dumps(arg, protocol, **kwargs)

    def loads(self, buf, **kwds):
        return compat.loads(buf, **kwds)


class TestPersistent(test_pickle.CPersPicklerTests):
    pickler = compat.Pickler
    unpickler = compat.Unpickler


class TestIdentityPersistent(test_pickle.CIdPersPicklerTests):
    pickler = compat.Pickler
    unpickler = compat.Unpickler


class TestObjects(test_pickle.CPicklerUnpicklerObjectTests):
    pickler_class = compat.Pickler
    unpickler_class = compat.Unpickler


class TestDispatchTable(pickletester.AbstractDispatchTableTests, unittest.TestCase):
    pickler_class = compat.Pickler

    def get_dispatch_table(self):
        return copyreg.dispatch_table.copy()


class TestChainedDispatchTable(pickletester.AbstractDispatchTableTests, unittest.TestCase):
    pickler_class = compat.Pickler

    def get_dispatch_table(self):
        return collections.ChainMap({}, copyreg.dispatch_table)


class TestHooks(pickletester.AbstractHookTests, unittest.TestCase):
    class HookedPickler(compat.Pickler, pickletester.AbstractCustomPicklerClass):
        pass

    pickler_class = HookedPickler


if sys.version_info >= (3, 13):

    class TestPicklingErrors(test_pickle.CPicklingErrorTests):
        pickler = compat.Pickler


def test_the_suite_is_run_on_picklet_and_not_on_the_standard_library():
    assert compat.Pickler is not pickle.Pickler
    assert compat.loads is not pickle.loads
    assert compat.Unpickler(io.BytesIO(compat.dumps([1]))).load() == [1]
