"""A sweep, its workers and the server are killed or stopped: nothing is repeated, lost, doubled or left open."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from rsc_mlflow.cancellation import ECHO_SECONDS
from rsc_mlflow.sweeps.state import close_dead_runs
from tests.integration.sweep_process import (
    GRID,
    JOBS,
    SweepProcess,
    assert_each_job_finished_once,
    jobs_of,
    runs,
    training_processes,
)
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration
EXECUTORS = ("local", "ray")
LONG = GRID.replace("epochs: 40", "epochs: 100000").replace("seed: [0, 1, 2]", "seed: [0]")


@pytest.fixture
def sweeps() -> Iterator[Callable[..., SweepProcess]]:
    """Makes sweeps whose processes do not outlive the test."""
    with ExitStack() as stack:

        def make(*arguments: Any, **keywords: Any) -> SweepProcess:
            sweep = SweepProcess(*arguments, **keywords)
            stack.callback(sweep.end)
            return sweep

        yield make


def kill_one(uri: str) -> bool:
    """``kill -9`` of one of the training processes; False if all have just ended by themselves."""
    try:
        os.kill(training_processes(uri)[0], signal.SIGKILL)
    except (ProcessLookupError, IndexError):
        return False
    return True


def finished(uri: str) -> dict[str, int]:
    """Finished run of a job → when it ended."""
    return {run.info.run_id: run.info.end_time for run in jobs_of(runs(uri)) if run.info.status == "FINISHED"}


def with_checkpoints(uri: str) -> list[str]:
    """The runs that have stored a checkpoint."""
    client = MlflowClient(uri)
    return [run.info.run_id for run in jobs_of(runs(uri)) if client.list_artifacts(run.info.run_id, "checkpoints")]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_killed_again_and_again(
    executor: str, own_server: MlflowServer, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    """A worker, then the sweep while models train; the next start goes on to the end."""
    sweep = sweeps(tmp_path, own_server.uri, "--executor", executor, "--workers", "2", "--cohort_size", "2")
    sweep.start()
    sweep.until(lambda: kill_one(own_server.uri))
    sweep.until(lambda: finished(own_server.uri) and training_processes(own_server.uri))
    sweep.kill()
    before = finished(own_server.uri)
    sweep.start()
    assert sweep.wait() == 0, sweep.text()
    assert_each_job_finished_once(own_server.uri, JOBS)
    assert finished(own_server.uri).items() >= before.items()  # never run again
    assert any("rsc.resumed" in run.data.tags for run in jobs_of(runs(own_server.uri)))  # what was killed went on
    sweep.start()
    assert sweep.wait() == 0
    assert "nothing to do" in sweep.text()
    assert_each_job_finished_once(own_server.uri, JOBS)


def test_a_second_sweep_is_refused_while_the_first_lives(
    own_server: MlflowServer, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    """The first is killed in the end: then the second goes on with its jobs, in its run."""
    folders = [tmp_path / name for name in ("first", "second")]
    first, second = (sweeps(folder, own_server.uri, "--workers", "2", "--cohort_size", "2") for folder in folders)
    first.start()
    first.until(lambda: training_processes(own_server.uri))
    second.start()
    assert second.wait() == 2, second.text()
    (parent,) = [run for run in runs(own_server.uri) if run.data.tags["rsc.kind"] == "sweep"]
    assert f"(run {parent.info.run_id}, process {first.pid} on " in second.text().splitlines()[-1]
    first.kill()
    second.start()
    assert second.wait() == 0, second.text()
    assert_each_job_finished_once(own_server.uri, JOBS)
    assert [run.info.run_id for run in runs(own_server.uri) if run.data.tags["rsc.kind"] == "sweep"] == [
        parent.info.run_id
    ]


@pytest.mark.parametrize(("number", "group"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_ends_the_runs_as_killed_with_their_checkpoints(
    number: signal.Signals, group: bool, sqlite_store: str, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    """Ctrl-C in a terminal reaches the workers as well as the sweep; ``kill`` the sweep alone."""
    sweep = sweeps(tmp_path, sqlite_store, "--workers", "2", "--cohort_size", "2", grid=LONG)
    sweep.start()
    sweep.until(lambda: len(with_checkpoints(sqlite_store)) == 2)
    (os.killpg if group else os.kill)(sweep.pid, number)
    assert sweep.wait() not in (0, None)
    found = runs(sqlite_store)
    assert len(found) == 3
    for run in found:
        assert run.info.status == "KILLED"
        assert (
            f"stopped by {number.name}" in run.data.tags["rsc.error"] or "stopped by SIG" in run.data.tags["rsc.error"]
        )
    assert len(with_checkpoints(sqlite_store)) == 2
    assert not any(psutil.pid_exists(int(run.data.tags["rsc.pid"])) for run in found)


def test_a_second_ctrl_c_stops_at_once_and_the_next_sweep_closes_what_is_left(
    sqlite_store: str, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    """The workers are stopped, so that they cannot react: only the second signal ends the sweep."""
    sweep = sweeps(tmp_path, sqlite_store, "--workers", "1", "--cohort_size", "2", grid=LONG)
    sweep.start()
    sweep.until(lambda: training_processes(sqlite_store))
    worker = psutil.Process(training_processes(sqlite_store)[0])
    worker.suspend()
    os.kill(sweep.pid, signal.SIGINT)
    sweep.until(lambda: "send the signal again to stop immediately" in sweep.text())
    time.sleep(ECHO_SECONDS + 0.2)
    assert not sweep.is_over()
    os.kill(sweep.pid, signal.SIGINT)
    assert sweep.wait() == -signal.SIGINT
    worker.kill()
    worker.wait(60)
    left = [run.info.run_id for run in runs(sqlite_store)]
    assert sorted(close_dead_runs(MlflowClient(sqlite_store))) == sorted(left)


def test_the_server_is_killed_and_comes_back(
    own_server: MlflowServer, tmp_path: Path, sweeps: Callable[..., SweepProcess]
) -> None:
    sweep = sweeps(tmp_path, own_server.uri, "--workers", "2", "--cohort_size", "4")
    sweep.start()
    sweep.until(lambda: training_processes(own_server.uri))
    own_server.kill()
    time.sleep(5)
    own_server.start()
    assert sweep.wait() == 0, sweep.text()
    assert_each_job_finished_once(own_server.uri, JOBS)
