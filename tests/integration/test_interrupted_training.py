"""A training process that is killed, and the same run going on to the very same weights."""

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from rsc_mlflow.sweeps.state import close_dead_runs
from rsc_mlflow.tracking.pull import pull
from tests.integration.processes import finish, finished_run, newest_run, start, wait_for

pytestmark = pytest.mark.integration
OPTIONS: dict[str, Any] = {
    "dataset": "digitsv20-20-0-0",
    "model": "ce-tor-MLP",
    "input_noise": 0.1,
    "epochs": 60,
    "checkpoint_every": 2,
}


def train(store: str, **options: Any) -> subprocess.Popen[str]:
    return start("train_classifier", store, environment={"TMPDIR": str(temporary())}, **(OPTIONS | options))


def temporary() -> Path:
    """Where the processes of a test put their temporary files."""
    folder = Path("temporary").absolute()
    folder.mkdir(exist_ok=True)
    return folder


def wait_for_checkpoint(process: subprocess.Popen[str]) -> Run:
    client = MlflowClient()

    def found() -> bool:
        run = newest_run(client)
        return run is not None and bool(client.list_artifacts(run.info.run_id, "checkpoints"))

    wait_for("checkpoint", found, process)
    run = newest_run(client)
    assert run is not None
    return run


def test_a_run_that_was_shot_goes_on_and_ends_with_the_weights_of_an_undisturbed_one(sqlite_store: str) -> None:
    client = MlflowClient()
    process = train(sqlite_store)
    killed = wait_for_checkpoint(process)
    process.kill()
    process.communicate()
    assert client.get_run(killed.info.run_id).info.status == "RUNNING"
    assert close_dead_runs(client) == [killed.info.run_id]  # at once: its process was on this machine
    assert client.get_run(killed.info.run_id).info.status == "KILLED"

    resumed = finished_run(train(sqlite_store, resume_run_id=killed.info.run_id), client, 60)
    assert resumed.info.run_id == killed.info.run_id
    other = finished_run(train(sqlite_store), client, 60)
    assert other.info.run_id != killed.info.run_id

    one, two = (pull(f"runs:/{run.info.run_id}/model").state_dict for run in (killed, other))
    assert all(torch.equal(one[key], two[key]) for key in one)
    for name in ("train/loss", "test/loss", "spurious/score"):
        histories = [
            [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for run in (killed, other)
        ]
        assert sorted(histories[0]) == sorted(histories[1]), name


def test_a_signal_ends_the_run_as_killed_with_its_checkpoint_kept(sqlite_store: str) -> None:
    client = MlflowClient()
    process = train(sqlite_store, epochs=500)
    run = wait_for_checkpoint(process)
    process.send_signal(signal.SIGTERM)
    exit_status, _ = finish(process)
    assert exit_status != 0
    after = client.get_run(run.info.run_id)
    assert after.info.status == "KILLED"
    assert "stopped by SIGTERM" in after.data.tags["rsc.error"]
    assert client.list_artifacts(run.info.run_id, "checkpoints")
    assert client.search_registered_models() == []
    assert list(temporary().glob("rsc-*")) == []
