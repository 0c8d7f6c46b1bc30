"""Servers and processes that die while runs are open: nothing is lost, nothing doubled, nothing stays RUNNING."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.sweeps.state import close_dead_runs
from rsc_mlflow.tracking import schema, store
from rsc_mlflow.tracking.run import open_run
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


def steps(run_id: str, key: str) -> list[int]:
    return [point.step for point in MlflowClient().get_metric_history(run_id, key)]


def test_a_server_that_dies_in_mid_training_and_comes_back(own_server: MlflowServer, tmp_path: Path) -> None:
    mlflow.set_tracking_uri(own_server.uri)
    checkpoint = tmp_path / schema.checkpoint(25)
    checkpoint.write_bytes(b"weights")
    back = threading.Timer(4.0, own_server.start)
    slowest = 0.0
    with open_run(kind="train", name="rides it out") as run:
        for epoch in range(1, 101):
            started = time.perf_counter()
            run.metrics({"train/loss": 1 / epoch, "test/accuracy": 0.5}, epoch)
            if epoch == 25:
                run.log_checkpoint(checkpoint)
            slowest = max(slowest, time.perf_counter() - started)
            if epoch == 20:
                run.flush()
                own_server.kill()
                back.start()
            time.sleep(0.02)
    back.join()
    assert slowest < 0.5  # training never waited for the server
    assert steps(run.run_id, "train/loss") == steps(run.run_id, "test/accuracy") == list(range(1, 101))
    found = MlflowClient().get_run(run.run_id)
    assert found.info.status == "FINISHED"
    (file,) = MlflowClient().list_artifacts(run.run_id, schema.CHECKPOINTS)
    assert file.path == "checkpoints/epoch_0025.pt"


def test_a_run_whose_server_stays_away_is_not_finished(
    own_server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSC_RETRY_TIMEOUT_SECONDS", "1")
    mlflow.set_tracking_uri(own_server.uri)
    run_id = ""

    def train() -> None:
        nonlocal run_id
        with open_run(kind="train", name="alone") as run:
            run_id = run.run_id
            own_server.kill()
            run.metrics({"train/loss": 1.0}, 1)

    with pytest.raises(Exception, match=r"HTTPConnectionPool|Connection refused"):
        train()
    with pytest.raises(InputError, match="no server answers"), open_run(kind="train", name="next"):
        pass
    own_server.start()
    assert MlflowClient().get_run(run_id).info.status == "RUNNING"
    MlflowClient().set_tag(run_id, schema.HEARTBEAT, "1")  # as if minutes had passed
    assert close_dead_runs(MlflowClient()) == []  # nobody could write during the outage
    monkeypatch.setattr(store, "_last_outage", -math.inf)  # as for a process that has seen no outage
    assert close_dead_runs(MlflowClient()) == [run_id]
    found = MlflowClient().get_run(run_id)
    assert found.info.status == "KILLED"
    assert found.data.tags[schema.ERROR].startswith("no heartbeat since")


@pytest.fixture
def child(sqlite_store: str, request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": sqlite_store, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.integration.tracked_child", getattr(request, "param", "")]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        yield process, run_id
        if process.poll() is None:
            process.kill()


def test_a_stopped_process_says_so_and_keeps_its_checkpoint(child: tuple[subprocess.Popen[str], str]) -> None:
    process, run_id = child
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 1
    found = MlflowClient().get_run(run_id)
    assert found.info.status == "KILLED"
    assert found.data.tags[schema.ERROR] == "stopped by SIGTERM"
    assert steps(run_id, "train/loss")[:3] == [1, 2, 3]
    (file,) = MlflowClient().list_artifacts(run_id, schema.CHECKPOINTS)
    assert file.path == "checkpoints/epoch_0003.pt"


@pytest.mark.parametrize("child", ["busy"], indirect=True)
def test_a_second_ctrl_c_stops_at_once_and_the_next_sweep_closes_the_run(
    child: tuple[subprocess.Popen[str], str],
) -> None:
    process, run_id = child
    process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert process.poll() is None  # it is in the middle of something
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == -signal.SIGINT
    assert MlflowClient().get_run(run_id).info.status == "RUNNING"
    assert close_dead_runs(MlflowClient()) == [run_id]
    assert MlflowClient().get_run(run_id).info.status == "KILLED"


def test_the_run_of_a_killed_process_is_closed_by_the_next_sweep(child: tuple[subprocess.Popen[str], str]) -> None:
    process, run_id = child
    deadline = time.monotonic() + 30
    while not MlflowClient().list_artifacts(run_id, schema.CHECKPOINTS) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert steps(run_id, "train/loss")[:3] == [1, 2, 3]  # before the checkpoint
    assert MlflowClient().get_run(run_id).info.status == "RUNNING"
    assert close_dead_runs(MlflowClient()) == [run_id]  # at once: it was on this machine
    assert MlflowClient().get_run(run_id).info.status == "KILLED"
