"""A training process that is killed, and the same run going on to the very same weights."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from rsc_mlflow.tracking.pull import pull

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("sqlite_store")]
ROOT = Path(__file__).parents[2]
OPTIONS = {
    "dataset": "digitsv20-20-0-0",
    "model": "ce-tor-MLP",
    "input_noise": "0.1",
    "epochs": "60",
    "checkpoint_every": "2",
}


def command(**options: str) -> list[str]:
    arguments = [word for key, value in (OPTIONS | options).items() for word in (f"--{key}", value)]
    return [sys.executable, "-m", "entry_points.train_classifier", *arguments]


def start(**options: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command(**options), env=environment, stderr=subprocess.PIPE, text=True)


def newest_run() -> Run | None:
    client = MlflowClient()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    return found[0] if found else None


def wait_for_checkpoint(process: subprocess.Popen[str]) -> Run:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        run = newest_run()
        if run and MlflowClient().list_artifacts(run.info.run_id, "checkpoints"):
            return run
        time.sleep(0.1)
    raise AssertionError(f"no checkpoint appeared; exit status {process.poll()}")


def test_a_run_that_was_shot_goes_on_and_ends_with_the_weights_of_an_undisturbed_one() -> None:
    process = start()
    killed = wait_for_checkpoint(process)
    process.kill()
    process.communicate()
    assert MlflowClient().get_run(killed.info.run_id).info.status == "RUNNING"

    resumed = start(resume_run_id=killed.info.run_id)
    _, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    undisturbed = start()
    _, errors = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, errors
    other = newest_run()
    assert other is not None
    assert other.info.run_id != killed.info.run_id

    one, two = (pull(f"runs:/{run.info.run_id}/model").state_dict for run in (killed, other))
    assert all(torch.equal(one[key], two[key]) for key in one)
    client = MlflowClient()
    for name in ("train/loss", "test/loss", "spurious/score"):
        histories = [
            [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for run in (killed, other)
        ]
        assert sorted(histories[0]) == sorted(histories[1]), name


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_as_killed_with_its_checkpoint_kept(number: signal.Signals) -> None:
    process = start(epochs="500")
    run = wait_for_checkpoint(process)
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode != 0
    after = MlflowClient().get_run(run.info.run_id)
    assert after.info.status == "KILLED"
    assert number.name in after.data.tags["rsc.error"]
    assert MlflowClient().list_artifacts(run.info.run_id, "checkpoints")
    assert MlflowClient().search_registered_models() == []
