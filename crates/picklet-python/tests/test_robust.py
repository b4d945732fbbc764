"""Threads, subinterpreters, recursion, and dumps that stream."""

import pickle
import subprocess
import sys
import threading

import graphs
import picklet
import picklet.compat
import pytest

SPECIMENS = graphs.specimens()


def test_threads_dump_and_load_side_by_side():
    records = SPECIMENS["records"]
    wanted = pickle.dumps([records, graphs.Plain(records)])
    wrong = []

    def work():
        for _ in range(30):
            obj = picklet.compat.loads(wanted)
            if (
                picklet.compat.dumps(obj) != wanted
                or picklet.loads(picklet.dumps(obj[0])) != obj[0]
            ):
                wrong.append(obj)

    threads = [threading.Thread(target=work) for _ in range(6)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_an_unpickler_in_use_on_another_thread_is_refused():
    entered, leave = threading.Event(), threading.Event()

    class Slow:
        def __init__(self, data):
            self.data = data

        def read(self, n):
            entered.set()
            leave.wait()
            taken, self.data = self.data[:n], self.data[n:]
            return taken

        def readline(self):
            raise AssertionError

    unpickler = picklet.compat.Unpickler(Slow(pickle.dumps([1])))
    loaded = []
    thread = threading.Thread(target=lambda: loaded.append(unpickler.load()))
    thread.start()
    entered.wait()
    with pytest.raises(RuntimeError, match="already in use"):
        unpickler.load()
    leave.set()
    thread.join()
    assert loaded == [[1]]


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
    made = interpreters.create("legacy")
    run = interpreters.exec
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create(isolated=False)
    run = interpreters.run_string
if sys.argv[1] == "after":
    import picklet
failed = run(made, '''
try:
    import picklet
except ImportError as error:
    print("refused:", error, flush=True)
''')
assert failed is None, failed
import picklet
print(picklet.loads(picklet.dumps("still here")))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_subinterpreters_are_refused_cleanly(when):
    done = subprocess.run(
        [sys.executable, "-c", SUBINTERPRETER, when], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    refused, still = done.stdout.splitlines()
    assert refused.startswith("refused: ")
    assert "subinterpreter" in refused
    assert still == "still here"


@pytest.mark.parametrize("dumps", [picklet.dumps, picklet.compat.dumps])
@pytest.mark.parametrize("make", [list, tuple, dict, graphs.Plain], ids=lambda make: make.__name__)
def test_recursion_that_is_too_deep_is_an_error_and_no_crash(dumps, make):
    obj = None
    for _ in range(100_000):
        if make is dict:
            obj = {"k": obj}
        elif make is graphs.Plain:
            obj = graphs.Plain(obj)
        else:
            obj = make([obj])
    with pytest.raises(RecursionError):
        dumps(obj)
    # Taken apart level by level: the interpreter's own destructors may recurse.
    while obj is not None:
        if make is dict:
            obj = obj.pop("k")
        elif make is graphs.Plain:
            obj = obj.__dict__.pop("value")
        else:
            obj = obj[0]


class Sink:
    """Counts what is written, and keeps nothing."""

    def __init__(self):
        self.total = 0
        self.largest = 0

    def write(self, data):
        size = memoryview(data).nbytes
        self.total += size
        self.largest = max(self.largest, size)


@pytest.mark.parametrize("dump", [picklet.dump, picklet.compat.dump])
@pytest.mark.parametrize("with_objects", [False, True])
def test_a_dump_to_a_file_never_holds_the_pickle(dump, with_objects):
    items = ["%06d" % i * 25 for i in range(150_000)]
    if with_objects:
        items[1000] = graphs.WithReduce(1)
    sink = Sink()
    dump(items, sink)
    assert sink.total > 20_000_000
    assert sink.largest < 1_000_000


def test_large_arrays_go_to_the_file_without_a_copy():
    np = pytest.importorskip("numpy")
    array = np.zeros(4 << 20)
    seen = []

    class Keep:
        def write(self, data):
            if memoryview(data).nbytes == array.nbytes:
                seen.append(np.shares_memory(np.frombuffer(data), array))

    picklet.dump(array, Keep(), 5)
    assert seen == [True]
