"""``MPIPoolExecutor``, an executor whose workers are the processes of an MPI job."""

import os
import pathlib
import shutil
import subprocess
import sys

import picklet

HERE = pathlib.Path(__file__).parent
BIN = pathlib.Path(sys.executable).parent


def under_mpi(*words, timeout=300):
    """Run a Python program as the first of three processes; the other two are workers."""
    start = shutil.which("mpiexec", path=f"{BIN}{os.pathsep}{os.environ['PATH']}")
    assert start, "no mpiexec: pip install --group engines"
    command = [start, "-n", "3", sys.executable, "-m", "mpi4py.futures", *map(str, words)]
    path = os.pathsep.join([str(HERE), str(HERE.parent / "tests"), *filter(None, sys.path)])
    environment = {
        **os.environ,
        "PYTHONPATH": path,
        # Open MPI by default wants a core for each process, and another user than root.
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_ALLOW_RUN_AS_ROOT": "1",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=timeout)


def test_the_contract_holds_on_mpi():
    ran = under_mpi("-m", "pytest", "-p", "no:cacheprovider", HERE / "contract_on_mpi.py")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout


JOB = """
import os, pathlib, signal, time
import picklet
from mpi4py.futures import MPIPoolExecutor

def die_once(segment):
    here = pathlib.Path(FOLDER)
    with open(here / "runs", "a") as file:
        file.write(f"{segment[0]} ")
    if segment[0] == 10 and not (here / "died").exists():
        # Until the others are done, so that it is known what is left.
        while (here / "out/.picklet/journal").read_text().count("xxh3") < 3:
            time.sleep(0.01)
        (here / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return segment

if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        picklet.open("in").map(die_once, "out", executor=executor)
"""


def test_a_worker_killed_in_the_middle_ends_the_job_and_the_next_one_goes_on(tmp_path):
    picklet.split(range(40), "in", count=10)
    job = tmp_path / "job.py"
    job.write_text(JOB.replace("FOLDER", repr(str(tmp_path))))
    first = under_mpi(job)
    assert first.returncode != 0
    assert (tmp_path / "died").exists(), first.stderr
    second = under_mpi(job)
    assert second.returncode == 0, second.stderr
    assert picklet.open("out").load() == list(range(40))
    runs = (tmp_path / "runs").read_text().split()
    assert sorted(runs, key=int) == ["0", "10", "10", "20", "30"]
