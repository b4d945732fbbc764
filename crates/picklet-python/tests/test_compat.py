"""``picklet.compat`` and the picklers: what CPython's own tests leave open."""

import gc
import io
import pickle
import shlex
import threading
import weakref
from collections import OrderedDict
from fractions import Fraction

import picklet
import pytest
from picklet import compat

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Node:
    def __init__(self):
        self.next = None


def both(use):
    """Give what ``use`` makes of pickle and of picklet.compat."""
    return use(pickle), use(compat)


def test_compat_offers_every_public_name_of_pickle():
    assert set(pickle.__all__) <= set(dir(compat))
    assert compat.PicklingError is pickle.PicklingError
    assert compat.encode_long(255) == b"\xff\x00"
    with pytest.raises(AttributeError):
        _ = compat.no_such_name


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_dumps_that_share_a_memo_give_the_bytes_of_c_pickle(protocol):
    shared = ["a", ("b", 1.5)]

    def use(module):
        file = io.BytesIO()
        pickler = module.Pickler(file, protocol)
        for obj in (shared, {"again": shared}, Fraction(1, 3), shared[1], Fraction):
            pickler.dump(obj)
        memo = pickler.memo.copy()
        pickler.clear_memo()
        pickler.dump(shared)
        return file.getvalue(), {index: obj for index, obj in memo.values()}

    (stock, stock_memo), (ours, our_memo) = both(use)
    assert ours == stock
    assert {i for i in our_memo} == {i for i in stock_memo}
    assert our_memo[0] is stock_memo[0] is shared

    unpickler = compat.Unpickler(io.BytesIO(ours))
    first = unpickler.load()
    assert unpickler.load()["again"] is first


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fast_and_bin_give_the_bytes_of_c_pickle(protocol):
    def use(module):
        file = io.BytesIO()
        pickler = module.Pickler(file, protocol)
        pickler.fast = 1
        pickler.dump([["x", 2, 70000, 1.5], ("x", {"x": None})])
        return file.getvalue(), pickler.bin

    stock, ours = both(use)
    assert ours == stock


def test_a_hook_that_uses_the_same_pickler_again_gets_an_error_and_no_crash():
    class Again(compat.Pickler):
        def persistent_id(self, obj):
            if obj == "again":
                with pytest.raises(RuntimeError, match="already in use"):
                    self.dump("inner")
                with pytest.raises(RuntimeError, match="already in use"):
                    self.clear_memo()
            return None

    file = io.BytesIO()
    Again(file).dump(["again", "again"])
    assert pickle.loads(file.getvalue()) == ["again", "again"]


def test_a_failed_dump_leaves_a_usable_pickler():
    file = io.BytesIO()
    pickler = compat.Pickler(file)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickler.dump([1, lambda: None])
    file.seek(0)
    file.truncate()
    pickler.clear_memo()
    pickler.dump([1, 2])
    assert pickle.loads(file.getvalue()) == [1, 2]


def test_cycles_through_a_memo_are_collected():
    class Holder(compat.Pickler):
        pass

    node = Node()
    pickler = Holder(io.BytesIO())
    pickler.dump([1, "x"])
    node.next = pickler
    dumped = []
    dumped.append(node)

    def reduce(obj):
        return Node, ()

    pickler.dispatch_table = {Node: reduce}
    pickler.dump(dumped)
    gone = weakref.ref(pickler)
    del pickler, node, dumped
    gc.collect()
    assert gone() is None


def test_a_pickler_works_on_another_thread_than_its_own():
    file = io.BytesIO()
    pickler = compat.Pickler(file)
    thread = threading.Thread(target=pickler.dump, args=([1, "x"],))
    thread.start()
    thread.join()
    assert pickle.loads(file.getvalue()) == [1, "x"]


def test_buffers_of_several_loads_are_taken_in_order():
    arrays = [bytearray(b"one"), bytearray(b"two")]
    file, buffers = io.BytesIO(), []
    pickler = compat.Pickler(file, 5, buffer_callback=buffers.append)
    for array in arrays:
        pickler.dump(pickle.PickleBuffer(array))
    file.seek(0)
    unpickler = compat.Unpickler(file, buffers=buffers)
    assert [bytes(unpickler.load()) for _ in arrays] == [b"one", b"two"]


class TestSafeUnpickler:
    def test_what_is_not_listed_is_refused_by_name(self):
        unpickler = picklet.Unpickler(io.BytesIO(pickle.dumps([shlex.split, shlex.quote])))
        with pytest.raises(picklet.UntrustedGlobalError) as raised:
            unpickler.load()
        assert raised.value.names == ("shlex.split", "shlex.quote")

    def test_allow_trust_and_unknown_mean_what_they_mean_for_load(self):
        data = pickle.dumps(shlex.split)
        assert picklet.Unpickler(io.BytesIO(data), allow="shlex.split").load() is shlex.split
        assert picklet.Unpickler(io.BytesIO(data), trust=True).load() is shlex.split
        stub = picklet.Unpickler(io.BytesIO(data), unknown="stub").load()
        assert isinstance(stub, picklet.Stub)

    def test_classes_memoised_by_one_load_may_be_used_by_the_next(self):
        file = io.BytesIO()
        pickler = picklet.Pickler(file)
        pickler.dump(OrderedDict(a=1))
        pickler.dump(OrderedDict(b=2))
        file.seek(0)
        unpickler = picklet.Unpickler(file)
        assert [unpickler.load(), unpickler.load()] == [OrderedDict(a=1), OrderedDict(b=2)]

    def test_an_object_put_into_the_memo_by_hand_is_not_called(self):
        called = []
        unpickler = picklet.Unpickler(io.BytesIO(b"\x80\x04h\x00)R."))
        unpickler.memo = {0: lambda: called.append(1)}
        with pytest.raises(pickle.UnpicklingError):
            unpickler.load()
        assert not called

    def test_an_override_may_give_more_and_super_keeps_to_the_policy(self):
        class Mine(picklet.Unpickler):
            def find_class(self, module_name, global_name):
                if global_name == "split":
                    return shlex.split
                return super().find_class(module_name, global_name)

        data = pickle.dumps([shlex.split, Fraction(1, 2)])
        assert Mine(io.BytesIO(data)).load() == [shlex.split, Fraction(1, 2)]
        with pytest.raises(picklet.UntrustedGlobalError) as raised:
            Mine(io.BytesIO(pickle.dumps(shlex.quote))).load()
        assert raised.value.names == ("shlex.quote",)

    def test_what_super_gives_keeps_its_argument_checks(self):
        class Plain(picklet.Unpickler):
            def find_class(self, module_name, global_name):
                return super().find_class(module_name, global_name)

        # getattr is listed for one call only, and this is another.
        data = b"\x80\x04cbuiltins\ngetattr\n(cfractions\nFraction\n\x8c\x08__init__tR."
        with pytest.raises(pickle.UnpicklingError):
            Plain(io.BytesIO(data)).load()

    def test_persistent_ids_go_to_the_resolver_alone(self):
        class Names(picklet.Unpickler):
            def persistent_load(self, pid):
                return f"<{pid}>"

        assert Names(io.BytesIO(b"\x80\x04\x8c\x01aQ.")).load() == "<a>"
        with pytest.raises(pickle.UnpicklingError):
            picklet.Unpickler(io.BytesIO(b"\x80\x04\x8c\x01aQ.")).load()
