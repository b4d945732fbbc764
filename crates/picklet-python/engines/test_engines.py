"""The contract of a map on Dask, Ray and Spark: real clusters of two worker processes each.

Nothing is skipped: an engine that is not installed is a failure. ``make test-engines`` installs
all of them.
"""

import os
import pathlib
import subprocess
import sys

import picklet
import pytest
from contract import *  # noqa: F403

TESTS = pathlib.Path(__file__).parents[1] / "tests"


@pytest.fixture(scope="module")
def dask():
    import dask
    from distributed import LocalCluster

    # As the cluster that picklet starts; otherwise Dask ends four workers for each try.
    dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield {"engine": "dask", "address": cluster.scheduler_address}


@pytest.fixture(scope="module")
def ray():
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield {"engine": "ray"}
    ray.shutdown()


@pytest.fixture(scope="module")
def spark():
    import pyspark

    os.environ["PYSPARK_PYTHON"] = sys.executable
    # Two executors of one core each, which are processes of their own.
    conf = pyspark.SparkConf().setMaster("local-cluster[2,1,1024]").setAppName("picklet-tests")
    conf.set("spark.ui.enabled", "false").set("spark.task.maxFailures", "1")
    conf.set("spark.executorEnv.PYTHONPATH", os.pathsep.join(p for p in sys.path if p))
    context = pyspark.SparkContext.getOrCreate(conf)
    yield {"engine": "spark"}
    context.stop()


@pytest.fixture(params=["dask", "ray", "spark"], scope="module")
def how(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def dies():
    return True


@pytest.fixture
def tens():
    return picklet.split(range(30), "in", count=10)


def test_the_workers_are_at_least_two_processes(how):
    """Each of two tasks waits for the other."""
    picklet.split(["a", "b"], "pair", count=1)

    def meet(segment):
        import time

        mine, other = segment[0], {"a": "b", "b": "a"}[segment[0]]
        pathlib.Path(here, mine).touch()
        for _ in range(3000):
            if pathlib.Path(here, other).exists():
                return [os.getpid()]
            time.sleep(0.01)
        raise TimeoutError(other)

    here = os.getcwd()
    assert len(set(picklet.open("pair").map(meet, "out", **how).load())) == 2


@pytest.mark.parametrize("engine", ["dask", "ray", "spark"])
def test_an_engine_of_this_machine_needs_no_address_and_the_program_drives_it(engine, tens):
    """Run as the program runs it, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    words = ["map", "in", "-o", f"by-{engine}", "--call", "mapped:total", "--engine", engine, "-j2"]
    command = [sys.executable, "-m", "picklet", *words, "--python", sys.executable]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert "3 segments, 30 items in" in ran.stdout
    assert list(picklet.open(f"by-{engine}")) == [45, 145, 245]
