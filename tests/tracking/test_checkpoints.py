"""Earlier checkpoints are deleted, in a folder and through a server."""

import logging
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.checkpoints import prune_checkpoints
from rsc_mlflow.tracking.run import TrackedRun, open_run
from tests.integration.faulty_proxy import faulty_proxy


def stored(run: TrackedRun) -> list[str]:
    return sorted(item.path for item in MlflowClient().list_artifacts(run.run_id, "checkpoints"))


def log(run: TrackedRun, folder: Path, *epochs: int) -> None:
    for epoch in epochs:
        (file := folder / f"epoch_{epoch:04d}.pt").write_bytes(b"weights")
        run.log_file(file, schema.CHECKPOINTS)
    run.flush()


def check_pruning(folder: Path) -> None:
    with open_run(kind="train", name="x") as run:
        run.log_text("not ours", "checkpoints/notes.txt")
        log(run, folder, 5, 10, 9999, 10000)
        assert prune_checkpoints(run, 10001, 2)
        kept = ["checkpoints/epoch_10000.pt", "checkpoints/epoch_9999.pt", "checkpoints/notes.txt"]
        assert stored(run) == kept
        assert prune_checkpoints(run, 10000, 1)
        assert stored(run) == kept


@pytest.mark.usefixtures("sqlite_store")
def test_in_a_folder(tmp_path: Path) -> None:
    check_pruning(tmp_path)


@pytest.mark.integration
@pytest.mark.usefixtures("server_store")
def test_through_a_server(tmp_path: Path) -> None:
    check_pruning(tmp_path)


@pytest.mark.integration
def test_a_server_that_went_away_is_not_waited_for(
    server_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with faulty_proxy(server_store) as between:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", between.uri)
        mlflow.set_tracking_uri(between.uri)
        with caplog.at_level(logging.WARNING), open_run(kind="train", name="x") as run:
            log(run, tmp_path, 1, 2)
            between.fault = lambda method, path: "away"
            assert prune_checkpoints(run, 3, 1)
            between.fault = lambda method, path: ""
            assert len(stored(run)) == 2
    assert "cannot be deleted" not in caplog.text
