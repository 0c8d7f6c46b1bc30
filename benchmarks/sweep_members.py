"""Part 3 of ``python -m benchmarks sweeps``: what logging and exporting cost per model of a large sweep.

MEMBERS poisoned MLPs on digits, and the clean models that they are compared with, are trained for one epoch: first in
cohorts without a tracking store, then by a sweep of one worker into a SQLite store, then by the same sweep through a
server on this machine.  The difference to the first row is the cost of planning, logging, scoring clean baselines,
exporting and registering.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from mlflow.tracking import MlflowClient

from benchmarks.measuring import Cost, print_table, timed
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import experiments, options_of
from rsc_mlflow.experiments.scores import evaluate_members
from rsc_mlflow.experiments.training import TrainingJob, prepare
from rsc_mlflow.sweeps.estimate import MOST_ON_CPU
from rsc_mlflow.sweeps.grid import load_grid
from rsc_mlflow.sweeps.plan import make_plan
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.training import Cohort, Member, resolve_device
from tests.mlflow_server import MlflowServer

GRID = """
about: Models for one epoch.
entry_point: train_classifier
options: {{model: ce-tor-MLP, epochs: 1, dataset: digitsv20-10-0-0}}
axes: {{random_seed: [{seeds}]}}
"""
_SAMPLING_SECONDS = 0.2


def members(count: int) -> None:
    """Print the seconds per model without a store, in a SQLite store and through a server."""
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as name:
        folder = Path(name)
        grid = folder / "members.yaml"
        grid.write_text(GRID.format(seeds=", ".join(map(str, range(count)))))
        options = _options(grid)
        plain = timed(lambda: _train_only(options))
        stored = _sweep(grid, f"sqlite:///{folder / 'mlflow.db'}", folder, len(options))
        with _server(folder) as server:
            before = server.processor_seconds()
            through = _sweep(grid, server.uri, folder, len(options))
            serving = server.processor_seconds() - before
    print(f"\n{len(options):,} models of one epoch on digits, {len(options) - count} of them clean; one worker")
    header = ("seconds per model", "wall", "sweep (cpu)", "server (cpu)", "wall beyond training")
    costs = (("training and scoring only", plain, 0.0), ("sweep into a SQLite store", stored, 0.0))
    rows = [
        (what, *(f"{s / len(options):.3f}" for s in (cost.wall, cost.processor, server_s, cost.wall - plain.wall)))
        for what, cost, server_s in (*costs, ("sweep through a server", through, serving))
    ]
    print_table(header, rows)


def _options(grid: Path) -> list[TrainOptions]:
    """Return the options of all jobs of a sweep of the grid."""
    loaded = load_grid(grid, options_of, tuple(experiments()))
    plan = make_plan(loaded.options(), loaded.entry_point, experiments())
    return [job.options for job in plan.jobs.values() if isinstance(job.options, TrainOptions)]


def _train_only(options: list[TrainOptions]) -> None:
    """Train and score the models in cohorts, and keep nothing."""
    for start in range(0, len(options), MOST_ON_CPU):
        prepared = [prepare(TrainingJob(one)) for one in options[start : start + MOST_ON_CPU]]
        datasets = [one.dataset for one in prepared]
        cohort = Cohort([Member(one.data, one.config) for one in prepared], datasets[0].classes, resolve_device("cpu"))
        for _ in cohort.epochs():
            thresholds = [one.job.options.resolved_threshold for one in prepared]
            for one in evaluate_members(cohort.logits, datasets, thresholds, [True] * len(prepared)):
                one.metrics([0])


@contextmanager
def _server(folder: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(folder, f"sqlite:///{folder / 'server.db'}", ["--app-name", "rsc"]).start()
    try:
        yield server
    finally:
        server.stop()


def _sweep(grid: Path, uri: str, folder: Path, count: int) -> Cost:
    """Return the wall time of the command ``sweep`` and the CPU time of its processes."""
    client = MlflowClient(uri)
    client.search_experiments()  # makes the tables
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "entry_points.sweep", "--grid", str(grid), "--workers", "1", "--yes", "true"]
    began = time.perf_counter()
    with (folder / "sweep.log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        busy = 0.0
        while process.poll() is None:
            busy = max(busy, _processor_seconds(process.pid))
            time.sleep(_SAMPLING_SECONDS)
    wall = time.perf_counter() - began
    finished = iterate_runs(client, [condition("tags", schema.KIND, "train"), "attributes.status = 'FINISHED'"])
    if process.returncode or sum(1 for _ in finished) != count:
        raise SystemExit(f"The sweep into {uri} failed:\n{(folder / 'sweep.log').read_text()[-3000:]}")
    return Cost(wall, busy)


def _processor_seconds(pid: int) -> float:
    """Return the CPU time of a process and its living descendants, which are those that work for long."""
    try:
        process = psutil.Process(pid)
        times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0.0
    return sum(one.user + one.system for one in times)
