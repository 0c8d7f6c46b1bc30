"""Do memory and open files stay flat over a long run?

``python -m benchmarks long_runs`` trains 2,000 epochs of digits in a child process, looks at its memory and open files
every half second, and prints the slope over the middle half of the time: when everything has been allocated once,
and before the finished model is exported and drawn.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from rsc_mlflow.tracking.store import configure

ROOT = Path(__file__).parents[1]
LOOK_SECONDS = 0.5


def watch(process: "subprocess.Popen[bytes]") -> np.ndarray:
    """Rows (seconds, resident MB, open files, threads) until the process ends: float64 [looks, 4]."""
    rows, began, child = [], time.monotonic(), psutil.Process(process.pid)
    while process.poll() is None:
        try:
            with child.oneshot():
                memory = child.memory_info().rss / 2**20
                rows.append((time.monotonic() - began, memory, child.num_fds(), child.num_threads()))
        except psutil.Error:
            break
        time.sleep(LOOK_SECONDS)
    return np.array(rows, dtype=float)


def slope(looks: np.ndarray, column: int) -> float:
    """Change of a column over the middle half of the time, by a straight line through it."""
    middle = looks[len(looks) // 4 : 3 * len(looks) // 4]
    steepness = np.polyfit(middle[:, 0], middle[:, column], 1)[0]
    return float(steepness * (middle[-1, 0] - middle[0, 0]))


@click.command()
@click.option("--epochs", default=2000, show_default=True, help="Epochs of digits.")
def main(epochs: int) -> None:
    """Memory and open files over a long training run."""
    configure()
    words = ["--dataset", "digitsv20-3-0-0", "--model", "ce-tor-MLP", "--epochs", str(epochs)]
    words += ["--checkpoint_every", "100", "--score_every", "1"]
    with tempfile.TemporaryDirectory(prefix="rsc-long-") as folder:
        environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "entry_points.train_classifier", *words]
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.DEVNULL)
        looks = watch(process)
    table = Table(title=f"{epochs} epochs of digits in {looks[-1, 0]:.0f} s, exit status {process.returncode}")
    for heading in ("", "after 1/4", "after 1/2", "after 3/4", "change from 1/4 to 3/4", "per 1,000 epochs"):
        table.add_column(heading, justify="left" if not heading else "right")
    for column, name in ((1, "resident memory, MB"), (2, "open files"), (3, "threads")):
        stages = (looks[len(looks) * quarter // 4, column] for quarter in (1, 2, 3))
        change = slope(looks, column)
        table.add_row(name, *(f"{s:.0f}" for s in stages), f"{change:+.1f}", f"{change / (epochs / 2) * 1000:+.2f}")
    Console(width=120).print(table)
    sys.exit(process.returncode)


if __name__ == "__main__":
    main()
