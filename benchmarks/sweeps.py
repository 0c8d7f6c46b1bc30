"""``python -m benchmarks sweeps [JOBS] [FINISHED] [--members MEMBERS]``: overhead and cost per model of sweeps.

Part 1 runs JOBS (20) short training runs on digits one after the other in this process, then the same with a sweep with
one worker, each with a new SQLite store.  The difference is the time for planning, the ledger and starting processes.
Part 2 fills a store with made-up runs, of which FINISHED (10,000) are jobs of a grid, and measures the time in which a
sweep finds the remaining jobs, without a summary (as in the first sweep on this store) and with one.
Part 3 trains MEMBERS (1,000) small models in one sweep; see :mod:`benchmarks.sweep_members`.
"""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import mlflow
from mlflow.tracking import MlflowClient

from benchmarks.filling import fill_store
from benchmarks.measuring import machine, print_table
from benchmarks.sweep_members import members
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import experiments, options_of
from rsc_mlflow.experiments.training import TrainingJob, train_members
from rsc_mlflow.sweeps.grid import Grid, load_grid
from rsc_mlflow.sweeps.ledger import Ledger
from rsc_mlflow.sweeps.plan import make_plan
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.run import open_run

SHORT = """
about: Short trainings.
entry_point: train_classifier
options: {{model: ce-tor-MLP, epochs: 1, dataset: digits}}
axes: {{random_seed: [{seeds}]}}
"""
LARGE = """
about: {count} jobs.
entry_point: train_classifier
options: {{model: ce-tor-MLP}}
axes:
  random_seed: [{seeds}]
  dataset: {{family: mnist, pattern: [v8, v20], count: [3, 10, 20, 100, 2000], target: [0, 1], seed: [0, 1, 2, 3, 4]}}
"""


@click.command()
@click.argument("jobs", default=20)
@click.argument("finished", default=10_000)
@click.option("--members", "count", default=1000, show_default=True, help="Models of the large sweep.")
def main(jobs: int, finished: int, count: int) -> None:
    """Measure the overhead for JOBS short runs, the restart with FINISHED finished runs, and a large sweep.

    Each part is skipped if its number is 0.
    """
    print(machine())
    if jobs:
        overhead(jobs)
    if finished:
        restart(finished)
    if count:
        members(count)


def overhead(jobs: int) -> None:
    """Print the overhead of a sweep (part 1)."""
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as name:
        folder = Path(name)
        grid = folder / "short.yaml"
        grid.write_text(SHORT.format(seeds=", ".join(map(str, range(jobs)))))
        plain = _plain(folder / "plain", grid)
        start = _seconds(folder / "sweep", grid, "--dry_run", "true")
        sweep = _seconds(folder / "sweep", grid, "--workers", "1", "--cohort_size", "1", "--yes", "true")
        cohort = _seconds(folder / "cohort", grid, "--workers", "1", "--yes", "true")
    each = (sweep - plain - start) / jobs
    rows = [
        ("the jobs alone, in one process that is up", f"{plain:.1f}", f"{plain / jobs:.2f}"),
        ("a sweep that runs nothing (imports, planning, ledger)", f"{start:.1f}", "–"),
        ("a sweep of one worker, one model at a time", f"{sweep:.1f}", f"{sweep / jobs:.2f}"),
        ("a sweep of one worker, in cohorts", f"{cohort:.1f}", f"{cohort / jobs:.2f}"),
        ("overhead of the third row (third − first − second)", f"{sweep - plain - start:.1f}", f"{each:.2f}"),
    ]
    print(f"\n{jobs} jobs of one epoch on digits")
    print_table(("what", "seconds", "a job"), rows)


def _plain(folder: Path, grid: Path) -> float:
    """Return the seconds of the jobs of the grid, one after the other."""
    _use(folder)
    known = load_grid(grid, options_of, tuple(experiments()))
    options = [one for one in known.options() if isinstance(one, TrainOptions)]
    train_members([TrainingJob(TrainOptions(dataset="digits", model="ce-tor-MLP", epochs=1, random_seed=9999))])
    began = time.perf_counter()
    for one in options:
        train_members([TrainingJob(one)])
    return time.perf_counter() - began


def _use(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.chdir(folder)
    mlflow.set_tracking_uri(uri)
    MlflowClient().search_experiments()  # makes the tables
    return uri


def _seconds(folder: Path, grid: Path, *arguments: str) -> float:
    """Return the wall time of the command ``sweep``."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": _use(folder), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "entry_points.sweep", "--grid", str(grid), *arguments]
    began = time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - began


def restart(finished: int) -> None:
    """Print the time to restart a large sweep (part 2)."""
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as name:
        folder = Path(name)
        uri = _use(folder / "store")
        path = folder / "large.yaml"
        seeds = range(-(-finished // 100))
        path.write_text(LARGE.format(count=100 * len(seeds), seeds=", ".join(map(str, seeds))))
        fill_store(uri, finished + finished // 20)
        grid = load_grid(path, options_of, tuple(experiments()))
        matched = _pretend(folder / "store" / "mlflow.db", grid, finished)
        first, without = _timed_plan(grid)
        with open_run(kind="sweep", name="an earlier sweep") as run:
            first.save(run)
        second, with_summary = _timed_plan(grid)
        assert len(first.finished) == len(second.finished)
    rows = [
        ("no summary yet: every finished run is asked for", *without, str(first.fetched)),
        ("an earlier sweep left a summary", *with_summary, str(second.fetched)),
    ]
    print(f"\n{matched:,} jobs, all finished: until a sweep knows it")
    print_table(("store", "seconds", "(cpu)", "runs read"), rows)


def _pretend(database: Path, grid: Grid, finished: int) -> int:
    """Set the fingerprints of finished made-up runs to those of the grid's jobs; return the number of runs."""
    plan = make_plan(grid.options(), grid.entry_point, experiments())
    with sqlite3.connect(database) as connection:
        ended = connection.execute("SELECT run_uuid FROM runs WHERE status = 'FINISHED'").fetchall()
        pairs = list(zip(list(plan.jobs)[:finished], [row[0] for row in ended], strict=False))
        connection.executemany(
            "DELETE FROM tags WHERE key = ? AND run_uuid = ?", [(schema.FINGERPRINT, r) for _, r in pairs]
        )
        rows = [(schema.FINGERPRINT, key, run_id) for key, run_id in pairs]
        connection.executemany("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, ?)", rows)
    return len(pairs)


def _timed_plan(grid: Grid) -> tuple[Ledger, tuple[str, str]]:
    """Do what a sweep does before its first job; return the ledger, and the wall and CPU seconds."""
    began, busy = time.perf_counter(), time.process_time()
    plan = make_plan(grid.options(), grid.entry_point, experiments())
    ledger = Ledger.read(MlflowClient())
    plan.wanted(ledger.finished)
    return ledger, (f"{time.perf_counter() - began:.1f}", f"{time.process_time() - busy:.1f}")
