"""Stores that hold a source to unlearn."""

import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest

from tests.experiments.unlearning_runs import runs, train


@pytest.fixture(scope="module")
def trained_store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite store that holds one source: training it once serves all tests."""
    folder = tmp_path_factory.mktemp("trained-store")
    shutil.copyfile(empty_store, folder / "mlflow.db")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow.set_tracking_uri(uri)
        train()
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]
    return folder / "mlflow.db"


@pytest.fixture
def source_run(trained_store: Path, sqlite_store: str, tmp_path: Path) -> str:
    """The current store is a copy of the trained one; the id of the run that made the source."""
    with sqlite3.connect(trained_store) as trained, sqlite3.connect(tmp_path / "mlflow.db") as copy:
        trained.backup(copy)
    (run,) = runs("train_classifier")
    return str(run.info.run_id)
