"""What the memo of a dump gives back, and in which order."""

import importlib
import io
import itertools
import subprocess
import sys

import picklet.compat
import pytest

COUNT = 5000


class Text:
    """Reduces to a call with a fresh string, which only the memo keeps alive."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return str, (f"{self.number:012}",)


def neighbours():
    """The share of fresh strings that lie right behind the string made before."""
    addresses = [id(text) for text in [f"{number:012}" for number in range(COUNT)]]
    steps = [second - first for first, second in itertools.pairwise(addresses)]
    return steps.count(max(steps, key=steps.count)) / len(steps)


@pytest.mark.parametrize("module", ["picklet", "picklet.compat"])
def test_what_a_dump_releases_lies_in_order_for_the_next(module):
    # In the order of the memo's table, the next dump's objects had neighbouring hashes, and the
    # second dump took twice as long as the first. In a process of its own, whose memory no other
    # test has scattered.
    ran = subprocess.run(
        [sys.executable, __file__, module], capture_output=True, check=True, text=True
    )
    assert float(ran.stdout) > 0.9


def test_indexes_that_were_put_in_by_hand_lose_no_reference():
    objects = [object() for _ in range(6)]
    before = [sys.getrefcount(one) for one in objects]
    pickler = picklet.compat.Pickler(io.BytesIO())
    pickler.memo = {
        id(one): (index, one) for one, index in zip(objects, [9, 1, 1, 2**31, 0, 4], strict=True)
    }
    assert [sys.getrefcount(one) for one in objects] == [count + 1 for count in before]
    pickler.clear_memo()
    assert [sys.getrefcount(one) for one in objects] == before


if __name__ == "__main__":
    values = [Text(number) for number in range(COUNT)]
    for _ in range(3):
        importlib.import_module(sys.argv[1]).dumps(values)
    print(neighbours())
