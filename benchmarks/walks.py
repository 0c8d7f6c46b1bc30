"""Calls that two commands make between their options and the model: ``python -m benchmarks walks``.

Counts how often a name is parsed, a model is built, an artifact is fetched and the store is checked.
"""

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from benchmarks.measuring import print_table
from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.tracking import store

ROOT = Path(__file__).parents[1] / "rsc_mlflow"
STATIONS = {
    "dataset and model names parsed": ("names.py", "parse"),
    "options checked": ("fields.py", "__post_init__"),
    "models built with weights": ("models/__init__.py", "build"),
    "models built without": ("models/__init__.py", "build_empty"),
    "models pulled": ("tracking/pull.py", "pull"),
    "artifacts read": ("tracking/pull.py", "read_artifact"),
    "checks that the store answers": ("tracking/store.py", "_ask"),
}
"""Station → the file and the function that count."""
DATASET = "digitsv20-10-0-0"
WALKS = {
    "train_classifier": (*("--dataset", DATASET, "--model", "ce-tor-MLP"), *("--epochs", "1", "--clean_seeds", "0")),
    "group_influence": (
        *("--model_uri", f"models:/rsc-digits-MLP@{DATASET}"),
        "--influences",
        "false",
        "--max_iterations",
        "3",
    ),
}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the calls in the block, by kind."""
    counts: Counter[str] = Counter()
    names = {(str(ROOT / file), function): station for station, (file, function) in STATIONS.items()}

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and (station := names.get((code.co_filename, code.co_name))):
            counts[station] += 1

    sys.setprofile(note)
    try:
        yield counts
    finally:
        sys.setprofile(None)


@click.command()
def main() -> None:
    """Run one training and one unlearning on a new store, and print the calls of each."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="rsc-bench-") as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        os.chdir(folder)
        for name, words in WALKS.items():
            store._have_answered.clear()  # each command is a separate process
            with counted() as counts:
                if status(entry_point(name), list(words)):
                    raise SystemExit(f"{name} failed")
            found[name] = counts
    rows = [[station, *(str(found[name][station]) for name in WALKS)] for station in STATIONS]
    print_table(["calls", *WALKS], rows)


if __name__ == "__main__":
    main()
