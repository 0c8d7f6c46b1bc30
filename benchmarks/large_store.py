"""Time of the commands with a store of 10,000 runs.

``python -m benchmarks large_store [RUNS]`` runs each program in a new process, with an empty SQLite store and with a
store of RUNS (10,000) made-up runs, and prints wall and CPU seconds.
"""

import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import click
from mlflow.tracking import MlflowClient

from benchmarks.filling import fill_store
from benchmarks.measuring import Cost, machine, print_table, timed
from rsc_mlflow.tracking.store import configure

ROOT = Path(__file__).parents[1]
GRID = """
about: One short training.
entry_point: train_classifier
options: {model: ce-tor-MLP, epochs: 1}
axes: {dataset: [digitsv20-3-0-0]}
"""
DASHBOARDS = """
import os
from rsc_mlflow.tracking.frame import RunStore
snapshot = RunStore(os.environ["MLFLOW_TRACKING_URI"]).refresh()
assert snapshot.complete and snapshot.error is None
"""
TRAINING = ("--dataset", "digitsv20-20-0-0", "--model", "ce-tor-MLP", "--epochs", "1")
SWEEP = ("entry_points.sweep", "--grid", "grid.yaml", "--workers", "1")
PROGRAMS = (
    ("train_classifier, one epoch of digits", ("-m", "entry_points.train_classifier", *TRAINING)),
    ("relabel_finetuning of the newest such model", ("-m", "entry_points.relabel_finetuning", *TRAINING)),
    ("sweep of one job, dry run, no summary yet", ("-m", *SWEEP, "--dry_run", "true")),
    ("sweep of one job, no summary yet", ("-m", *SWEEP)),
    ("the same sweep again: nothing to do", ("-m", *SWEEP)),
    ("dashboards, until all runs are loaded", ("-c", DASHBOARDS)),
)


@click.command()
@click.argument("runs", default=10_000)
def main(runs: int) -> None:
    """Print the times with an empty store and with a store of RUNS made-up runs."""
    configure()
    print(machine())
    columns = [_costs(0), _costs(runs)]
    rows = [
        [name, *(f"{seconds:.1f}" for column in columns for seconds in (column[k].wall, column[k].processor))]
        for k, (name, _) in enumerate(PROGRAMS)
    ]
    print_table(["seconds", "empty store", "(cpu)", f"{runs:,} runs", "(cpu)"], rows)


def _costs(runs: int) -> list[Cost]:
    """Return the cost of each program with a store of this many runs."""
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        MlflowClient(uri).search_experiments()  # makes the tables
        if runs:
            fill_store(uri, runs)
        (Path(folder) / "grid.yaml").write_text(GRID)
        environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
        return [timed(partial(_run, folder, environment, words)) for _, words in PROGRAMS]


def _run(folder: str, environment: dict[str, str], words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{words} ended with {done.returncode}: {done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
