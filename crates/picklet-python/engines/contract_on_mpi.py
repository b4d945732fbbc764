"""The contract of a map on ``MPIPoolExecutor``, for ``test_mpi.py``, which starts it under MPI."""

import pathlib

import picklet
import pytest
from contract import *  # noqa: F403
from mpi4py.futures import MPIPoolExecutor


@pytest.fixture(scope="session")
def executor():
    with MPIPoolExecutor() as executor:
        yield executor


@pytest.fixture
def how(executor):
    return {"executor": executor}


@pytest.fixture
def dies():
    return True


@pytest.fixture
def survives():
    """MPI ends all of a job when one of its processes is killed: ``test_mpi.py`` looks at that."""
    return False


def test_the_workers_are_two_processes(how):
    """Each of two tasks waits for the other."""
    here = pathlib.Path.cwd()
    picklet.split(["a", "b"], "pair", count=1)

    def meet(segment):
        import os
        import time

        mine, other = segment[0], {"a": "b", "b": "a"}[segment[0]]
        (here / mine).touch()
        for _ in range(3000):
            if (here / other).exists():
                return [os.getpid()]
            time.sleep(0.01)
        raise TimeoutError(other)

    assert len(set(picklet.open("pair").map(meet, "out", **how).load())) == 2
