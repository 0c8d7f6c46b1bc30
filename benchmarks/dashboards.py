"""Speed and memory of the dashboards on a large store: ``python -m benchmarks dashboards --runs 10000``.

Measures, in a new process after filling the store: the first load, compared with MLflow's ``search_runs`` over the same
runs; a refresh after ten new runs; the response to a changed filter; and the peak memory.  CPU seconds of the process
are printed next to wall time, because they depend less on other programs on the machine.
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import flask
from mlflow import MlflowClient

from benchmarks.filling import fill_store
from dashboards.app import page_body
from dashboards.data import Filters
from dashboards.pages import PAGES, page_at
from dashboards.repository import RunRepository
from rsc_mlflow.tracking.details import Details
from rsc_mlflow.tracking.frame import RunStore

GOALS = {"refresh after 10 new runs": 1.0, "filter change, slowest page": 0.5, "Compare, 100 runs": 1.0}
MEMORY_GOAL_MB = 1000


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return wall seconds, CPU seconds of this process, and the result of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def measure(tracking_uri: str) -> dict[str, Any]:
    """Return the measurements on a store that is already filled."""
    store = RunStore(tracking_uri)
    store.client.search_experiments()  # opening the store is not measured
    first = timed(store.refresh)
    repository = RunRepository(store, Details(lambda: store.client), ui="/")
    quiet = timed(store.refresh)
    fill_store(tracking_uri, 10, seed=1)
    refresh = timed(store.refresh)
    pages = {}
    for page in PAGES:
        page_body(page, repository.snapshot(), Filters(), repository, "/")
        timings = []
        for family in ("mnist", "fashion", "cifar10"):
            filters = Filters(family=(family,))
            timings.append(timed(partial(_answer, page, filters, repository)))
        pages[page.title] = (median(t[0] for t in timings), median(t[1] for t in timings))
    compare = Filters(options={"take": ("newest",)})
    beside = page_at("compare")
    pages["Compare, 100 runs"] = timed(lambda: _answer(beside, compare, repository))[:2]
    memory = _peak_mb()
    return {
        "runs": len(store.snapshot().frame),
        "error": store.snapshot().error,
        "first load": first[:2],
        "refresh, nothing new": quiet[:2],
        "refresh after 10 new runs": refresh[:2],
        "pages": pages,
        "memory": memory,
    }


def _peak_mb() -> float:
    """Return the peak resident memory in MB, without PyTorch, which the dashboards do not load.

    ``ru_maxrss`` is not used, because it starts at the parent's value.
    """
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def _answer(page: Any, filters: Filters, repository: RunRepository) -> str:
    """Do what the server does to respond to a request for a filtered page."""
    from plotly.utils import PlotlyJSONEncoder

    parts = page_body(page, repository.snapshot(), filters, repository, "/")
    return json.dumps([part.to_plotly_json() for part in parts], cls=PlotlyJSONEncoder)


def reference(tracking_uri: str, runs: int) -> tuple[float, float]:
    """Read all runs with MLflow's client, as any program does: with Python's default settings."""
    gc.set_threshold(700, 10, 10)  # importing the dashboards has changed it
    client = MlflowClient(tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]

    def read() -> int:
        token, count = None, 0
        while True:
            page = client.search_runs(ids, max_results=1000, page_token=token)
            count, token = count + len(page), page.token
            if not token:
                return count

    wall, cpu, count = timed(read)
    if count < runs:
        raise RuntimeError(f"the store holds {count} runs, not {runs}")
    return wall, cpu


@click.command()
@click.option("--runs", default=10_000, show_default=True, help="Made-up runs in the store.")
@click.option("--measure", "uri", default="", hidden=True, help="Measure this filled store and print JSON.")
def main(runs: int, uri: str) -> None:
    """Fill a store and measure the dashboards on it."""
    if uri:
        with flask.Flask("benchmark").test_request_context():  # pages read the theme from the request
            print(json.dumps(measure(uri)))
        return
    with tempfile.TemporaryDirectory() as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        MlflowClient(uri).search_experiments()
        wall, _, _ = timed(lambda: fill_store(uri, runs, artifacts=Path(folder, "files").as_uri()))
        print(f"{runs:,} runs written in {wall:.1f} s")
        limit = reference(uri, runs)
        own = [sys.executable, "-m", "benchmarks", "dashboards", "--measure", uri]
        answer = subprocess.run(own, check=True, capture_output=True, text=True).stdout
        _print(json.loads(answer.splitlines()[-1]), limit)


def _print(found: dict[str, Any], limit: tuple[float, float]) -> None:
    rows: list[tuple[str, tuple[float, float], float | None]] = [
        ("MLflow's client reads all runs", limit, None),
        ("first load", found["first load"], None),
    ]
    rows += [(name, found[name], GOALS.get(name)) for name in ("refresh, nothing new", "refresh after 10 new runs")]
    slowest = max((title for title in found["pages"] if title not in GOALS), key=lambda title: found["pages"][title][0])
    name = "filter change, slowest page"
    rows += [(f"filter change, {title}", times, GOALS.get(title)) for title, times in found["pages"].items()]
    rows += [(f"{name} ({slowest})", found["pages"][slowest], GOALS[name])]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end")
    print(f"{'':52}{'wall s':>9}{'cpu s':>9}{'goal s':>9}")
    for title, (wall, cpu), goal in rows:
        print(f"{title:52}{wall:9.2f}{cpu:9.2f}{'' if goal is None else f'{goal:9.1f}'}")
    print(f"first load: {found['first load'][0] / limit[0]:.2f} times MLflow's own reading")
    print(f"memory at its largest: {found['memory']:.0f} MB (goal: {MEMORY_GOAL_MB})")


if __name__ == "__main__":
    main()
