"""Numbers of internal calls of a training and an unlearning command: ``python -m benchmarks walks``.

Counts how often a name is parsed, options are checked, a model is built or pulled, an artifact is read and the store is
checked.
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
CALLS = {
    "dataset and model names parsed": ("names.py", "parse"),
    "options checked": ("fields.py", "__post_init__"),
    "models built with weights": ("models/__init__.py", "build"),
    "models built without": ("models/__init__.py", "build_empty"),
    "models pulled": ("tracking/pull.py", "pull"),
    "artifacts read": ("tracking/pull.py", "read_artifact"),
    "checks that the store answers": ("tracking/store.py", "_ask"),
}
"""Name of a row → file and name of the function whose calls are counted."""
DATASET = "digitsv20-10-0-0"
COMMANDS = {
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
    """Count the calls in the block by their name in :data:`CALLS`."""
    counts: Counter[str] = Counter()
    names = {(str(ROOT / file), function): name for name, (file, function) in CALLS.items()}

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event == "call" and (name := names.get((code.co_filename, code.co_name))):
            counts[name] += 1

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
        for name, words in COMMANDS.items():
            store._have_answered.clear()  # each command is a separate process
            with counted() as counts:
                if status(entry_point(name), list(words)):
                    raise SystemExit(f"{name} failed")
            found[name] = counts
    rows = [[call, *(str(found[name][call]) for name in COMMANDS)] for call in CALLS]
    print_table(["calls", *COMMANDS], rows)


if __name__ == "__main__":
    main()
