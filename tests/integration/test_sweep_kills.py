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
from mlflow.entities import Run

from entry_points.command import status
from entry_points.commands import entry_point
from rsc_mlflow.cancellation import ECHO_SECONDS
from rsc_mlflow.sweeps.state import close_dead_runs
from tests.integration.sweep_process import (
    GRID,
    JOBS,
    SweepProcess,
    assert_each_job_finished_once,
    finished,
    jobs_of,
    runs,
    training_processes,
)
from tests.mlflow_server import MlflowServer

pytestmark = pytest.mark.integration
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


def with_checkpoints(uri: str) -> list[str]:
    """The runs that have stored a checkpoint."""
    client = MlflowClient(uri)
    return [run.info.run_id for run in jobs_of(runs(uri)) if client.list_artifacts(run.info.run_id, "checkpoints")]


def sweeps_of(found: list[Run]) -> list[str]:
    """Runs of sweeps themselves."""
    return [run.info.run_id for run in found if run.data.tags["rsc.kind"] == "sweep"]


def test_killed_again_and_again(
    own_server: MlflowServer,
    tmp_path: Path,
    sweeps: Callable[..., SweepProcess],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A worker, then the sweep while models train; the next start goes on to the end, in the same run.

    A second sweep is refused while the first lives, and has nothing to do after its end. On Ray:
    ``test_ray_cluster.py``.
    """
    sweep = sweeps(tmp_path, own_server.uri, "--workers", "2", "--cohort_size", "2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own_server.uri)
    sweep.start()
    sweep.until(lambda: kill_one(own_server.uri))
    assert status(entry_point("sweep"), ["--grid", sweep.grid]) == 2
    (parent,) = sweeps_of(runs(own_server.uri))
    assert f"(run {parent}, process {sweep.pid} on " in capsys.readouterr().err.splitlines()[-1]
    sweep.until(lambda: finished(own_server.uri) and training_processes(own_server.uri))
    sweep.kill()
    before = finished(own_server.uri)
    sweep.start()
    assert sweep.wait() == 0, sweep.text()
    assert_each_job_finished_once(own_server.uri, JOBS)
    assert finished(own_server.uri).items() >= before.items()  # never run again
    assert any("rsc.resumed" in run.data.tags for run in jobs_of(runs(own_server.uri)))  # what was killed went on
    assert status(entry_point("sweep"), ["--grid", sweep.grid]) == 0
    assert "nothing to do" in "".join(capsys.readouterr())
    assert_each_job_finished_once(own_server.uri, JOBS)
    assert sweeps_of(runs(own_server.uri)) == [parent]


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
    assert "To resume, run the same command." in sweep.text()
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
