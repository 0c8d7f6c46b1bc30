"""Time of short commands: ``python -m benchmarks startup [ROUNDS]``.

The programs run alternately, each in a new process; prints medians over ROUNDS (3).  The first two rows, importing
PyTorch and MLflow, are lower bounds for all commands that train and track.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from mlflow.tracking import MlflowClient

from benchmarks.measuring import Cost, machine, middle, print_table, timed
from rsc_mlflow.tracking.store import configure

ROOT = Path(__file__).parents[1]
GRID = """
about: One short training.
entry_point: train_classifier
options: {model: ce-tor-MLP, epochs: 1}
axes: {dataset: [digits]}
"""
DIGITS = ("--dataset", "digits", "--model", "ce-tor-MLP")
PROGRAMS: dict[str, tuple[int, tuple[str, ...]]] = {
    "import torch": (0, ("-c", "import torch")),
    "import torch, mlflow": (0, ("-c", "import torch, mlflow")),
    "train_classifier --help": (0, ("-m", "entry_points.train_classifier", "--help")),
    "list of commands": (0, ("-m", "entry_points")),
    "mem_inference --help": (0, ("-m", "entry_points.mem_inference", "--help")),
    "train_classifier, one option wrong": (2, ("-m", "entry_points.train_classifier", *DIGITS, "--epochs", "none")),
    "sweep of one job, dry run": (0, ("-m", "entry_points.sweep", "--grid", "grid.yaml", "--dry_run", "true")),
    "train_classifier, one epoch of digits": (0, ("-m", "entry_points.train_classifier", *DIGITS, "--epochs", "1")),
}
"""Name → expected exit status and arguments of ``python``."""


@click.command()
@click.argument("rounds", default=3)
def main(rounds: int) -> None:
    """Print the wall and CPU seconds of each command."""
    configure()
    print(machine())
    costs: dict[str, list[Cost]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as folder:
        uri = f"sqlite:///{folder}/mlflow.db"
        MlflowClient(uri).search_experiments()  # makes the tables
        (Path(folder) / "grid.yaml").write_text(GRID)
        environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT)}
        for _ in range(rounds):
            for name in PROGRAMS:
                costs[name].append(timed(lambda: _run(name, folder, environment)))  # noqa: B023
    print_table(["seconds until it has ended", "", "(cpu)"], [[name, *middle(found)] for name, found in costs.items()])


def _run(name: str, folder: str, environment: dict[str, str]) -> None:
    status, words = PROGRAMS[name]
    done = subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode != status:
        raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")


if __name__ == "__main__":
    main()
