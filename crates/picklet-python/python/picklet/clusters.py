"""Other people's executors and clusters, all seen as one thing: submit, and wait.

picklet decides what runs when, and keeps the books (``executors.py``); these
only carry a call to a worker and its answer back, and tell a call that ended
from a worker that died.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any, Literal

from picklet import _picklet

__all__ = ["ENGINES", "Cluster", "Engine", "Maker", "connect"]

#: The engines that ``engine=`` names.
Engine = Literal["dask", "ray", "spark"]
ENGINES: tuple[Engine, ...] = ("dask", "ray", "spark")

#: What ``executor=`` takes: an executor, or what makes one.
Maker = Executor | Callable[[], Executor]


class Cluster:
    """Any ``concurrent.futures.Executor``."""

    #: How many calls run at the same time.
    workers: int

    def __init__(self, executor: Maker, workers: int | None) -> None:
        """Take the executor, or make it: what is made can be made anew when it breaks."""
        self._make = None if isinstance(executor, Executor) else executor
        self._executor = executor if isinstance(executor, Executor) else self._made(executor)
        # The standard library's and Dask's say it by the one name, mpi4py's by the other.
        known = getattr(self._executor, "_max_workers", None)
        known = known or getattr(self._executor, "num_workers", None)
        self.workers = (
            workers or (known if isinstance(known, int) else 0) or _picklet.default_workers()
        )

    @staticmethod
    def _made(make: Callable[[], Executor]) -> Executor:
        executor = make() if callable(make) else None
        if not isinstance(executor, Executor):
            kind = type(make if executor is None else executor).__name__
            raise TypeError(f"executor= takes an Executor or a function making one, not {kind}")
        return executor

    def submit(self, function: Callable[..., str], *arguments: str) -> Future[str]:
        """Begin a call."""
        return self._executor.submit(function, *arguments)

    def is_death(self, error: BaseException) -> bool:
        """Tell whether a call ended so because its worker did."""
        return isinstance(error, BrokenExecutor)

    #: Whether the death of one worker is the end of every call that was begun.
    dies_together = True

    def renew(self) -> bool:
        """Get going again after ``dies_together``; False where that cannot be done."""
        if self._make is None:
            return False
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._made(self._make)
        return True

    def close(self) -> None:
        """End what was begun here. An executor that was given stays."""
        if self._make is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)


class Dask(Cluster):
    """A Dask cluster; without an address one of this machine's processes."""

    dies_together = False

    def __init__(self, address: str | None, workers: int | None) -> None:
        """Connect to the scheduler at ``address``."""
        import dask
        from distributed import Client, KilledWorker

        if address is None:
            count = workers or _picklet.default_workers()
            # A call whose worker died is to be told, and not tried again behind our back.
            with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
                self._client = Client(
                    n_workers=count,
                    threads_per_worker=1,
                    set_as_default=False,
                    dashboard_address=None,
                )
        else:
            self._client = Client(address, set_as_default=False)
        self._death = KilledWorker
        # What is told of the function is kept on the workers, and must not be taken for pure.
        self._executor = self._client.get_executor(pure=False, retries=0)
        self.workers = workers or sum(self._client.nthreads().values()) or 1

    def is_death(self, error: BaseException) -> bool:
        """Dask has then tried the call on as many workers as its ``allowed-failures`` says."""
        return isinstance(error, self._death)

    def close(self) -> None:
        """Disconnect; a cluster that was started here ends."""
        self._client.close()


class Ray(Cluster):
    """A Ray cluster; without an address one of this machine's processes."""

    dies_together = False

    def __init__(self, address: str | None, workers: int | None) -> None:
        """Connect to the cluster at ``address``; a connection that is there is used."""
        import ray

        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            local: dict[str, Any] = (
                {} if address else {"num_cpus": workers or _picklet.default_workers()}
            )
            ray.init(address=address or "local", include_dashboard=None, **local)
        self.workers = workers or int(ray.cluster_resources().get("CPU", 1)) or 1
        self._remote: dict[Any, Any] = {}

    def submit(self, function: Callable[..., str], *arguments: str) -> Future[str]:
        """Begin a call, which Ray is not to try again by itself."""
        if function not in self._remote:
            self._remote[function] = self._ray.remote(num_cpus=1, max_retries=0)(function)
        future: Future[str] = self._remote[function].remote(*arguments).future()
        return future

    def is_death(self, error: BaseException) -> bool:
        """Tell a worker's death from an error of the call."""
        errors = self._ray.exceptions
        deaths = (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError)
        return isinstance(error, deaths)

    def close(self) -> None:
        """Disconnect, if the connection was made here."""
        if self._ours:
            self._ray.shutdown()


class Spark(Cluster):
    """A Spark cluster; without an address one of this machine's processes."""

    dies_together = False

    def __init__(self, address: str | None, workers: int | None) -> None:
        """Use the session that is there, or start one with ``address`` as its master."""
        from concurrent.futures import ThreadPoolExecutor

        from pyspark import SparkConf, SparkContext

        self._ours = SparkContext._active_spark_context is None
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        master = address or f"local[{workers or _picklet.default_workers()}]"
        conf = SparkConf().setAppName("picklet").setMaster(master)
        # A call whose worker died is to be told, and not tried again behind our back.
        conf.set("spark.task.maxFailures", "1").set("spark.ui.enabled", "false")
        conf.set("spark.ui.showConsoleProgress", "false")
        self._context = SparkContext.getOrCreate(conf)
        self.workers = workers or self._context.defaultParallelism or 1
        # A job for each call, because jobs are what Spark runs at the same time and answers by
        # themselves. Each waits in a thread.
        self._threads = ThreadPoolExecutor(2 * self.workers, "picklet-spark")

    def submit(self, function: Callable[..., str], *arguments: str) -> Future[str]:
        """Begin a call as a job of one task."""
        return self._threads.submit(self._job, function, arguments)

    def _job(self, function: Callable[..., str], arguments: tuple[str, ...]) -> str:
        calls = self._context.parallelize([arguments], 1)
        [answer] = calls.map(lambda given: function(*given)).collect()
        return str(answer)

    def is_death(self, error: BaseException) -> bool:
        """Spark says it in words only."""
        words = ("Python worker exited unexpectedly", "ExecutorLostFailure", "Executor lost")
        return any(word in str(error) for word in words)

    def close(self) -> None:
        """Stop the session, if it was started here."""
        if self._ours:
            self._context.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)


def connect(
    executor: Maker | None, engine: str | None, address: str | None, workers: int | None
) -> Cluster:
    """Give the cluster that the arguments of a map name."""
    if executor is not None:
        if engine is not None or address is not None:
            raise ValueError("give executor= or engine=, not both")
        return Cluster(executor, workers)
    kinds: dict[str, type[Dask] | type[Ray] | type[Spark]] = {
        "dask": Dask, "ray": Ray, "spark": Spark,
    }  # fmt: skip
    if engine not in kinds:
        raise ValueError(f"engine= is one of {', '.join(map(repr, ENGINES))}, not {engine!r}")
    try:
        return kinds[engine](address, workers)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"engine={engine!r} needs {error.name}; run `pip install picklet[{engine}]`",
            name=error.name,
        ) from None
