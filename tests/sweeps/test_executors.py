"""Processes that work for a sweep: real ones, real jobs."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient
from rsc_mlflow.sweeps.ray_executor import RayExecutor
from rsc_mlflow.sweeps.workers import warm_up

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.sweeps import executors, ray_executor
from rsc_mlflow.sweeps.executors import LocalExecutor, Result
from rsc_mlflow.sweeps.jobs import Job, JobSpec
from rsc_mlflow.sweeps.worker import Context, Unit
from rsc_mlflow.tracking import schema
from tests.integration.processes import wait_for

PATIENCE_SECONDS = 120


@pytest.mark.integration
def test_a_worker_is_replaced_after_its_number_of_jobs(sqlite_store: str, tmp_path: Path) -> None:
    warm_up()
    small = {"dataset": "digits", "model": "ce-tor-MLP", "epochs": 1, "register": False}
    context = Context(mlflow.get_tracking_uri(), "0", "no parent", "a sweep", 1)
    jobs = [Job("train_classifier", TrainOptions.from_mapping(small | {"random_seed": seed})) for seed in range(5)]
    units = [Unit(tuple(job.spec() for job in some), context) for some in (jobs[:1], jobs[1:3], jobs[3:4], jobs[4:])]
    executor = LocalExecutor(1, tmp_path, jobs_a_worker=3)
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
from rsc_mlflow.sweeps.workers import warm_up

signal.signal(signal.SIGINT, signal.default_int_handler)
for begin in (warm_up, threading.Thread(target=warm_up).start):  # in a thread: Python sets no signals there
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


def worker() -> BaseProcess:
    (found,) = (process for process in multiprocessing.active_children() if process.name == "rsc-worker-0")
    return found


@pytest.mark.integration
def test_workers_that_are_shot_fail_or_hang(sqlite_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warm_up()
    context = Context(mlflow.get_tracking_uri(), "0", "no parent", "a sweep", 1)
    long = TrainOptions.from_mapping({"dataset": "digits", "model": "ce-tor-MLP", "epochs": 1_000_000})
    endless = Unit((Job("train_classifier", long).spec(),), context)
    executor = LocalExecutor(1, tmp_path)
    try:
        assert executor.wait(0.01) == []
        executor.submit(endless)
        with pytest.raises(RuntimeError, match="no worker is free"):
            executor.submit(endless)
        os.kill(worker().pid or 0, signal.SIGKILL)
        assert executor.wait(PATIENCE_SECONDS) == [Result(endless, None, "its process was ended by SIGKILL")]
        unknown = Unit((JobSpec("no entry point", {}, "no fingerprint"),), context)
        executor.submit(unknown)
        assert executor.wait(PATIENCE_SECONDS) == [Result(unknown, None, "its process ended with status 1")]
        assert "KeyError: 'no entry point'" in (tmp_path / "worker-0.log").read_text()
        executor.submit(endless)
        hanging = worker()
        os.kill(hanging.pid or 0, signal.SIGSTOP)
        monkeypatch.setattr(executors, "GRACE_SECONDS", 0.5)
    finally:
        executor.close()
    assert hanging.exitcode is not None


@pytest.mark.integration
def test_ray_tasks_that_fail_are_lost_or_stopped(sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(mlflow.get_tracking_uri(), "0", "no parent", "a sweep", 1)
    long = TrainOptions.from_mapping({"dataset": "digits", "model": "ce-tor-MLP", "epochs": 1_000_000})
    endless = Unit((Job("train_classifier", long).spec(),), context)
    executor = RayExecutor(1, "local")
    try:
        assert executor.wait(0.01) == []
        executor.submit(Unit((JobSpec("no entry point", {}, "no fingerprint"),), context))
        (failed,) = executor.wait(PATIENCE_SECONDS)
        assert (failed.outcomes, failed.reason) == (None, "its Ray task failed (KeyError: 'no entry point')")
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
        monkeypatch.setattr(ray_executor, "GRACE_SECONDS", 60.0)
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
