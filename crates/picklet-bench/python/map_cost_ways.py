"""The ways of `map_cost.py`: python map_cost_ways.py WAY SOURCE OUT COUNT FUNCTION."""

import pickle
import sys
from pathlib import Path

import map_cost_functions as functions


def slices(source, count):
    """Load the whole pickle and yield its slices of `count` items."""
    with open(source, "rb") as file:
        data = pickle.load(file)
    for start in range(0, len(data), count):
        yield data[start : start + count]


def save(out, results):
    """Save each result as a pickle of its own."""
    out.mkdir(parents=True)
    for number, result in enumerate(results):
        with open(out / f"data-{number:05}.pickle", "wb") as file:
            pickle.dump(result, file)


def main(way, source, out, count, function):
    """Do the job in one of the ways."""
    if way == "picklet":
        import picklet

        between = out / "in"
        picklet.split(source, between, count=count).map(function, out / "out", workers=2)
    elif way == "tiny":
        import picklet

        picklet.open(source).map(function, out, workers=2)
    elif way == "plain loop":
        save(out, map(function, slices(source, count)))
    elif way == "ProcessPoolExecutor.map":
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2) as pool:
            save(out, pool.map(function, slices(source, count)))
    elif way == "joblib":
        import joblib

        run = joblib.Parallel(n_jobs=2, return_as="generator")
        save(out, run(joblib.delayed(function)(part) for part in slices(source, count)))
    elif way == "dask.bag":
        import dask
        import dask.bag

        with open(source, "rb") as file:
            bag = dask.bag.from_sequence(pickle.load(file), partition_size=count)
        with dask.config.set(scheduler="processes", num_workers=2):
            save(out, dask.compute(*bag.map_partitions(function).to_delayed()))
    elif way == "ray":
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        remote = ray.remote(function)
        save(out, map(ray.get, [remote.remote(part) for part in slices(source, count)]))
        ray.shutdown()
    else:
        sys.exit(f"no such way: {way}")


if __name__ == "__main__":
    main(
        sys.argv[1],
        Path(sys.argv[2]),
        Path(sys.argv[3]),
        int(sys.argv[4]),
        getattr(functions, sys.argv[5]),
    )
