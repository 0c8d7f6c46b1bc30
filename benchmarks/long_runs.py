"""Change of memory and open files during long runs.

``python -m benchmarks long_runs`` trains 2,000 epochs of digits in one process, then runs a sweep of 500 short training
runs.  It reads memory and open files of each process every half second, and prints the change over the middle half of
the time, after all has been allocated once and before the final model is exported and plotted.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
import psutil
from mlflow.tracking import MlflowClient
from rich.console import Console
from rich.table import Table

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.store import configure

ROOT = Path(__file__).parents[1]
LOOK_SECONDS = 0.5
TRAINING = ["--dataset", "digitsv20-3-0-0", "--model", "ce-tor-MLP", "--checkpoint_every", "100", "--score_every", "1"]
GRID = """
about: Short trainings.
entry_point: train_classifier
options: {{model: ce-tor-MLP, epochs: 1, dataset: digitsv20-3-0-0}}
axes: {{random_seed: [{seeds}]}}
"""
COLUMNS = ("resident memory, MB", "open files", "threads")


@dataclass
class Looks:
    """Measurements (seconds, resident MB, open files, threads) of each long-lived process.

    Attributes:
        status: exit status of the program.
        processes: role → float64 [looks, 4].
    """

    status: int = 0
    processes: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Duration."""
        return max(rows[-1, 0] for rows in self.processes.values())


def watch(command: list[str], folder: str) -> Looks:
    """Run a program on a new store in ``folder``, and measure it and its workers until it ends."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=folder, env=environment, stderr=subprocess.DEVNULL)
    rows: dict[int, list[tuple[float, float, int, int]]] = {}
    began, parent = time.monotonic(), psutil.Process(process.pid)
    while process.poll() is None:
        for one in [parent, *_children(parent)]:
            try:
                with one.oneshot():
                    look = (one.memory_info().rss / 2**20, one.num_fds(), one.num_threads())
                rows.setdefault(one.pid, []).append((time.monotonic() - began, *look))
            except psutil.Error:
                continue
        time.sleep(LOOK_SECONDS)
    looks = Looks(process.wait())
    roles = iter(range(1, len(rows)))
    for pid, found in rows.items():
        if pid == process.pid:
            looks.processes["the program"] = np.array(found, dtype=float)
        elif len(found) > 20 and max(look[1] for look in found) > 100:  # not the small helpers of multiprocessing
            looks.processes[f"its process {next(roles)}"] = np.array(found, dtype=float)
    return looks


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return parent.children(recursive=True)
    except psutil.Error:
        return []


def slope(looks: np.ndarray, column: int) -> float:
    """Return the change of a column over the middle half of the time, from a linear fit."""
    middle = looks[len(looks) // 4 : 3 * len(looks) // 4]
    steepness = np.polyfit(middle[:, 0], middle[:, column], 1)[0]
    return float(steepness * (middle[-1, 0] - middle[0, 0]))


def show(title: str, looks: Looks, steps: int, unit: str) -> None:
    """Print a table for a program that ran ``steps`` epochs or jobs at a constant rate."""
    table = Table(title=f"{title} in {looks.seconds:.0f} s, exit status {looks.status}")
    per = f"per {1000 if steps > 1000 else 100:,} {unit}"
    for heading in ("", "after 1/4", "after 1/2", "after 3/4", "change from 1/4 to 3/4", per):
        table.add_column(heading, justify="left" if not heading else "right")
    for role, rows in looks.processes.items():
        for column, name in enumerate(COLUMNS, 1):
            stages = (rows[len(rows) * quarter // 4, column] for quarter in (1, 2, 3))
            change = slope(rows, column)
            rate = change / max(steps / 2, 1) * (1000 if steps > 1000 else 100)
            table.add_row(f"{role}: {name}", *(f"{s:.0f}" for s in stages), f"{change:+.1f}", f"{rate:+.2f}")
    Console(width=120).print(table)


def _finished(uri: str) -> int:
    """Return the number of jobs of sweeps that have a finished run."""
    runs = iterate_runs(MlflowClient(uri), [condition("attributes", "status", "FINISHED")])
    return sum(schema.SWEEP in run.data.tags and run.data.tags[schema.KIND] != "sweep" for run in runs)


@click.command()
@click.option("--epochs", default=2000, show_default=True, help="Epochs of digits; 0: skip them.")
@click.option("--jobs", default=500, show_default=True, help="Jobs of the sweep; 0: skip it.")
@click.option("--cohort_size", default="auto", show_default=True, help="Models trained at a time in the sweep.")
def main(epochs: int, jobs: int, cohort_size: str) -> None:
    """Measure memory and open files during a long training run and a long sweep."""
    configure()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="rsc-long-") as folder:
        if epochs:
            looks = watch(["entry_points.train_classifier", *TRAINING, "--epochs", str(epochs)], folder)
            show(f"{epochs:,} epochs of digits", looks, epochs, "epochs")
            failed += looks.status != 0
        if jobs:
            (Path(folder) / "grid.yaml").write_text(GRID.format(seeds=", ".join(map(str, range(jobs)))))
            words = ["entry_points.sweep", "--grid", "grid.yaml", "--workers", "1", "--cohort_size", cohort_size]
            looks = watch(words, folder)
            done = _finished(f"sqlite:///{folder}/mlflow.db")
            show(f"a sweep: {done} of {jobs} jobs of one epoch of digits", looks, done, "jobs")
            failed += looks.status != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
