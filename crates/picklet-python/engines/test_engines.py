"""The contract of a map on Dask, Ray and Spark: real clusters of two worker processes each.

Nothing is skipped: an engine that is not installed is a failure. ``make test-engines`` installs
all of them.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.request

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
    # And as one on a busy machine: a worker that died may take long to come back.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "10 minutes"})
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
def how(request, bucket):
    return request.getfixturevalue(request.param)


@pytest.fixture
def dies():
    return True


@pytest.fixture(scope="module")
def bucket():
    """A bucket of this machine's own, in the environment of every cluster that comes later."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "test"
    os.environ["AWS_REGION"] = "us-east-1"
    scope = "Credential=test/20240101/us-east-1/s3/aws4_request"
    request = urllib.request.Request(
        f"http://{host}:{port}/engines",
        method="PUT",
        headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}"},
    )
    urllib.request.urlopen(request).close()
    yield "s3://engines"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def at(request, bucket, tmp_path):
    """All in a folder that the workers share, or all in a bucket."""
    place = {"folder": str(tmp_path), "s3": f"{bucket}/{tmp_path.name}"}[request.param]
    return lambda name: f"{place}/{name}"


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
def test_an_engine_of_this_machine_needs_no_address_and_the_program_drives_it(engine, at, tens):
    """Run as the program runs it, in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    words = ["map", at("in"), "-o", at("out"), "--call", "mapped:total", "--engine", engine]
    command = [sys.executable, "-m", "picklet", *words, "-j2", "--python", sys.executable, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    *events, report = map(json.loads, ran.stdout.splitlines())
    named = {event["segment"] for event in events if event["event"] == "segment"}
    assert named == {f"data-0000{n}.pickle" for n in range(3)}
    assert (report["done"], report["items"], report["complete"]) == (3, 30, True)
    assert list(picklet.open(at("out"))) == [45, 145, 245]


@pytest.mark.parametrize("engine", ["dask", "ray", "spark"])
@pytest.mark.parametrize("how_it_ends", [signal.SIGINT, signal.SIGKILL])
def test_a_program_that_ends_in_the_middle_takes_its_cluster_with_it(engine, how_it_ends, tmp_path):
    picklet.split(range(30), "in", count=10)
    tag = f"PICKLET_TAG={tmp_path}"
    path = os.pathsep.join([str(TESTS), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PICKLET_TAG": str(tmp_path)}
    words = ["map", "in", "-o", "out", "--call", "mapped:hang_loudly", "--engine", engine, "-j2"]
    program = subprocess.Popen(
        [sys.executable, "-m", "picklet", *words, "--python", sys.executable], env=environment
    )
    wait_until(lambda: (tmp_path / "hanging").exists() or program.poll() is not None)
    assert program.poll() is None
    program.send_signal(how_it_ends)
    program.wait()
    wait_until(lambda: not processes_with(tag))
    assert program.returncode in (130, -how_it_ends)


def processes_with(tag):
    """Find the processes that were started with this in their environment."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if tag.encode() in words:
            found.append((process / "cmdline").read_bytes())
    return found


def wait_until(true):
    """Look again and again, for two minutes at most."""
    for _ in range(12000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come true")
