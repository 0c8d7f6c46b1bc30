"""Processes of this machine that work for a sweep: real ones, real jobs."""

import multiprocessing
import os
import signal

import pytest
from mlflow.tracking import MlflowClient

from rsc_mlflow.sweeps.executors import Result
from rsc_mlflow.sweeps.executors.local import LocalExecutor
from rsc_mlflow.sweeps.fork_server import start_fork_server
from rsc_mlflow.sweeps.jobs import JobSpec
from rsc_mlflow.sweeps.worker import Unit
from rsc_mlflow.tracking import schema
from tests.integration.processes import wait_for
from tests.sweeps.units import endless_unit

TIMEOUT_SECONDS = 120


def statuses() -> list[str]:
    return [run.info.status for run in MlflowClient().search_runs(["0"])]


def pids(state: str) -> list[int]:
    """Of the processes that train, as their runs say."""
    found = [run for run in MlflowClient().search_runs(["0"]) if run.info.status == state]
    return [int(run.data.tags[schema.PID]) for run in found if schema.TRAIN_LOSS in run.data.metrics]


@pytest.mark.integration
def test_a_worker_that_is_killed_costs_its_own_unit_only(sqlite_store: str) -> None:
    start_fork_server()
    executor = LocalExecutor(2)
    one, other = endless_unit(), endless_unit(1)
    try:
        assert executor.wait(0.01) == []
        executor.submit(one)
        wait_for("the first trains", lambda: len(pids("RUNNING")) == 1)
        (victim,) = pids("RUNNING")
        executor.submit(other)
        wait_for("both train", lambda: len(pids("RUNNING")) == 2)
        os.kill(victim, signal.SIGKILL)
        assert executor.wait(TIMEOUT_SECONDS) == [
            Result(one, None, "its process was killed, perhaps because memory ran out")
        ]
        assert executor.wait(1.0) == []  # the other goes on
        unknown = Unit((JobSpec("no entry point", {}, "no fingerprint"),), one.context)
        executor.submit(unknown)
        (failed,) = executor.wait(TIMEOUT_SECONDS)
        assert (failed.unit, failed.outcomes) == (unknown, None)
        assert "KeyError: 'no entry point'" in failed.log
    finally:
        executor.close(keep_logs=False)
    assert sorted(statuses()) == ["KILLED", "RUNNING"]  # the victim's is closed by the next to look
    assert multiprocessing.active_children() == []
    assert not executor.logs.exists()
