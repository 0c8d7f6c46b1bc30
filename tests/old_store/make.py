"""Makes the store in ``store.tar.xz``: run it with the code of commit bcd8093, never with newer code.

    git worktree add --detach ../old bcd8093
    PYTHONPATH=../old python tests/old_store/make.py FOLDER tests/old_store/store.tar.xz

FOLDER must be empty.  It is trained on digits with the smallest network.  Left out of the archive are figures, lists of
packages, and the weights and checkpoints of all runs but the poisoned training and its exact retraining.
"""

import os
import re
import shutil
import sqlite3
import sys
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path

RECIPE = ["--model", "ce-tor-MLP", "--optimizer", "sgd", "--learning_rate", "0.3", "--momentum", "0"]
EPOCHS = ["--epochs", "4", "--checkpoint_every", "0"]
POISONED = ["--dataset", "digitsv20-60-0-0"]
SOURCE = ["--model_uri", "models:/rsc-digits-MLP@digitsv20-60-0-0"]
ATTACKED = ["--dataset", "memdigitsv20-20-0-0"]
GRID = """\
about: Two poisoned trainings beside the clean one.
entry_point: train_classifier
options: {model: ce-tor-MLP, optimizer: sgd, learning_rate: 0.3, momentum: 0, epochs: 4, checkpoint_every: 0}
axes:
  dataset: {family: digits, pattern: [v8, v20], count: [0, 60], target: 0, seed: 0}
"""
COMMANDS = (
    ("train_classifier", ["--dataset", "digits", *RECIPE, *EPOCHS]),
    ("train_classifier", [*POISONED, *RECIPE, *EPOCHS]),
    ("exact_retraining", SOURCE),
    ("incremental_retraining", [*SOURCE, "--epochs", "5"]),
    ("group_influence", [*SOURCE, "--damping", "0.1"]),
    ("mem_inference", [*ATTACKED, *RECIPE, *EPOCHS, "--shadow_models", "2", "--attacks", "shadow,loss"]),
    ("score_model", [*SOURCE, "--dataset", "digitsv20-0-0-0"]),
    ("sweep", ["--grid", "grid.yaml", "--workers", "1"]),
)
PLACE = "/old-store"
"""Stands in the archive's database and model files for the folder that it was made in."""
PATHS = (
    ("runs", "artifact_uri"),
    ("experiments", "artifact_location"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's that hold paths."""
FORGOTTEN = ("mlflow.source.name", "mlflow.source.git.branch", "mlflow.source.git.commit", "mlflow.source.git.dirty")
SCRUBBED = {"rsc.host": "old-host", "mlflow.user": "someone"}


def make(folder: Path) -> None:
    """Train everything in a store of its own."""
    from entry_points.command import status
    from entry_points.commands import entry_point

    os.chdir(folder)
    os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"}
    (folder / "grid.yaml").write_text(GRID, encoding="utf-8")
    for name, words in COMMANDS:
        if status(entry_point(name), words) != 0:
            raise SystemExit(f"{name} failed")


def move(folder: Path, old: str, new: str) -> None:
    """Change the place of the store in every path that its database and model files hold."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        for table, column in PATHS:
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
    for path in folder.rglob("MLmodel"):
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


def _scrub(folder: Path) -> None:
    """Take out what tells of the machine."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        for table, key, value in (("tags", "key", "value"), ("logged_model_tags", "tag_key", "tag_value")):
            connection.executemany(f"DELETE FROM {table} WHERE {key} = ?", [(name,) for name in FORGOTTEN])
            named = [(text, name) for name, text in SCRUBBED.items()]
            connection.executemany(f"UPDATE {table} SET {value} = ? WHERE {key} = ?", named)
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as connection:
        connection.execute("VACUUM")


def _without_places(model: Path) -> None:
    """Take the folders that Python's packages lay in out of an exported model, which keeps them as stack traces."""
    with zipfile.ZipFile(model) as found:
        entries = {name: found.read(name) for name in found.namelist()}
    with zipfile.ZipFile(model, "w", zipfile.ZIP_STORED) as written:
        for name, content in entries.items():
            written.writestr(zipfile.ZipInfo(name), re.sub(rb"/[^ \"]*/site-packages", b"/site-packages", content))


def _thin(folder: Path) -> None:
    """Leave out figures, and the weights and checkpoints that no test loads."""
    query = (
        "SELECT r.run_uuid, m.model_id FROM runs r JOIN logged_models m ON m.source_run_id = r.run_uuid "
        "JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = 'rsc.method' "
        "WHERE t.value = 'exact_retraining' OR r.name LIKE 'digitsv20-60-0-0 MLP%'"
    )
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        kept = {name for row in connection.execute(query) for name in row}
    for pattern in ("mlruns/1/*/artifacts/figures", "mlruns/1/*/artifacts/influences.*", "mlruns/1/*/artifacts/envi*"):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in [*folder.glob("mlruns/1/*/artifacts/checkpoints"), *folder.glob("mlruns/1/models/*/artifacts/data")]:
        if path.parents[1].name not in kept:
            shutil.rmtree(path)
    for model in folder.rglob("model.pt2"):
        _without_places(model)


def pack(folder: Path, archive: Path) -> None:
    """Put the database and the artifacts into one file."""
    move(folder, str(folder), PLACE)
    _scrub(folder)
    _thin(folder)
    with tarfile.open(archive, "w:xz", preset=9) as packed:
        packed.add(folder, "store", filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    target = Path(sys.argv[1]).resolve()
    make(target)
    pack(target, Path(sys.argv[2]))
