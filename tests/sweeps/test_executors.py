"""Processes that work for a sweep: real ones, real jobs."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.sweeps.executors import Result
from rsc_mlflow.sweeps.executors import local as local_module
from rsc_mlflow.sweeps.executors import ray as ray_module
from rsc_mlflow.sweeps.executors.local import LocalExecutor
from rsc_mlflow.sweeps.executors.ray import RayExecutor
from rsc_mlflow.sweeps.fork_server import start_fork_server
from rsc_mlflow.sweeps.jobs import Job, JobSpec
from rsc_mlflow.sweeps.worker import Context, Unit
from rsc_mlflow.tracking import schema
from tests.integration.processes import wait_for
from tests.sweeps.units import train, unit

PATIENCE_SECONDS = 120


@pytest.mark.integration
def test_a_worker_is_replaced_after_its_number_of_jobs(sqlite_store: str) -> None:
    start_fork_server()
    small = {"dataset": "digits", "model": "ce-tor-MLP", "epochs": 1, "register": False}
    context = Context(mlflow.get_tracking_uri(), "0", "no parent", "a sweep", 1)
    jobs = [Job("train_classifier", TrainOptions.from_mapping(small | {"random_seed": seed})) for seed in range(5)]
    units = [Unit(tuple(job.spec() for job in some), context) for some in (jobs[:1], jobs[1:3], jobs[3:4], jobs[4:])]
    executor = LocalExecutor(1, jobs_a_worker=3)
    try:
        for unit in units:
            executor.submit(unit)
            (result,) = executor.wait(PATIENCE_SECONDS)
            assert result.outcomes is not None, result.reason
            assert {outcome.state for outcome in result.outcomes} == {"finished"}
    finally:
        executor.close()
    process = {
        int(run.data.params["random_seed"]): run.data.tags[schema.PID] for run in MlflowClient().search_runs(["0"])
    }
    assert process[0] == process[1] == process[2] != process[3] == process[4]


WARM_UP = """
import signal, threading
from multiprocessing import forkserver
from pathlib import Path
from rsc_mlflow.sweeps.fork_server import start_fork_server

signal.signal(signal.SIGINT, signal.default_int_handler)
in_a_thread = threading.Thread(target=start_fork_server).start  # Python sets no signals there
for begin in (start_fork_server, in_a_thread):
    begin()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
status = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/status").read_text()
ignored = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigIgn:"))
print(ignored >> (signal.SIGINT - 1) & 1)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process ignores is read from Linux's /proc")
def test_the_process_that_imports_for_the_workers_does_not_hear_ctrl_c() -> None:
    """It has only begun to import; a traceback of that would say nothing to who stopped the sweep."""
    done = subprocess.run([sys.executable, "-c", WARM_UP], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr


def endless_unit(seed: int = 0) -> Unit:
    options = train("digits", epochs=1_000_000, random_seed=seed)
    return unit(options)


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
        assert executor.wait(PATIENCE_SECONDS) == [
            Result(one, None, "its process was killed, perhaps because memory ran out")
        ]
        assert executor.wait(1.0) == []  # the other goes on
        unknown = Unit((JobSpec("no entry point", {}, "no fingerprint"),), one.context)
        executor.submit(unknown)
        (failed,) = executor.wait(PATIENCE_SECONDS)
        assert (failed.unit, failed.outcomes) == (unknown, None)
        assert "no entry point" in failed.reason
    finally:
        executor.close(keep_logs=False)
    assert sorted(statuses()) == ["KILLED", "RUNNING"]  # the victim's is closed by the next to look
    assert multiprocessing.active_children() == []
    assert not executor.logs.path.exists()


@pytest.mark.integration
def test_a_worker_that_does_not_react_is_killed_in_the_end(sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start_fork_server()
    monkeypatch.setattr(local_module, "KILL_AFTER_SECONDS", 0.5)
    executor = LocalExecutor(1)
    executor.submit(endless_unit())
    wait_for("it trains", lambda: len(pids("RUNNING")) == 1)
    os.kill(pids("RUNNING")[0], signal.SIGSTOP)
    executor.close(keep_logs=False)
    assert multiprocessing.active_children() == []


@pytest.mark.integration
def test_ray_tasks_that_fail_are_lost_or_stopped(sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(mlflow.get_tracking_uri(), "0", "no parent", "a sweep", 1)
    endless = endless_unit()
    executor = RayExecutor(1, "local")
    try:
        assert executor.wait(0.01) == []
        executor.submit(Unit((JobSpec("no entry point", {}, "no fingerprint"),), context))
        (failed,) = executor.wait(PATIENCE_SECONDS)
        assert failed.outcomes is None
        assert failed.reason.startswith("its Ray task failed (")
        assert "no entry point" in failed.reason
        executor.submit(endless)
        (task,) = executor._units
        client = MlflowClient()
        wait_for("an epoch", lambda: any("train/loss" in run.data.metrics for run in client.search_runs(["0"])))
        executor._ray.cancel(task, force=True)
        (lost,) = executor.wait(PATIENCE_SECONDS)
        assert (lost.unit, lost.outcomes) == (endless, None)
        assert lost.reason.startswith("its Ray task was lost")
        executor.submit(endless)  # goes on in the run that was left
        wait_for("it goes on", lambda: schema.RESUMED in client.search_runs(["0"])[0].data.tags)
    finally:
        monkeypatch.setattr(ray_module, "GRACE_SECONDS", 60.0)
        executor.close()
    (run,) = client.search_runs(["0"])
    assert run.info.status == "KILLED"


def test_ray_that_is_not_there_or_not_installed_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for nowhere in ("127.0.0.1:1", "ray://[::1]:1", "127.0.0.1:six"):
        with pytest.raises(InputError, match=re.escape(f"no Ray answers at ray_address '{nowhere}'")):
            RayExecutor(None, nowhere)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="needs the package ray"):
        RayExecutor(None, "local")
