"""The contract of a map, on the executors of the standard library."""

import concurrent.futures
import multiprocessing

import pytest
from contract import *  # noqa: F403

SPAWN = multiprocessing.get_context("spawn")


def processes():
    return concurrent.futures.ProcessPoolExecutor(2, mp_context=SPAWN)


@pytest.fixture(params=["threads", "processes"])
def dies(request):
    return request.param == "processes"


@pytest.fixture
def how(dies):
    if dies:
        yield {"executor": processes}
        return
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        yield {"executor": executor}


def test_an_executor_that_cannot_be_made_anew_names_what_ran_when_it_broke(tens):
    def die(segment):
        import os

        os._exit(1)

    with processes() as executor, pytest.raises(RuntimeError, match="executor=lambda"):
        tens.map(die, "out", executor=executor)
