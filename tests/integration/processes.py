"""Entry points as processes of their own, for tests that take something away from them while they run."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

ROOT = Path(__file__).parents[2]
PATIENT = 240.0
"""Seconds after which a test gives up on a process (a crowded machine is ten times slower than a quiet one)."""


def start(
    entry_point: str, uri: str, *, before: str = "", environment: dict[str, str] | None = None, **options: object
) -> subprocess.Popen[str]:
    """``python -m entry_points.NAME --option value …`` on the store ``uri``; ``before`` is Python to run first."""
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    program = f"import runpy\n{before}\nrunpy.run_module('entry_points.{entry_point}', run_name='__main__')"
    command = [sys.executable, "-c", program, *words]
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    clean |= {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    clean |= {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.Popen(command, env=clean | (environment or {}), stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit status and what it wrote to standard error."""
    try:
        _, errors = process.communicate(timeout=PATIENT)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        raise AssertionError(f"still running after {PATIENT:.0f} s: {errors[-3000:]}") from None
    return process.returncode, errors


def wait_for(what: str, condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Look again until ``condition`` holds."""
    deadline = time.monotonic() + PATIENT
    while not condition():
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended before {what}: {process.stderr.read()[-3000:] if process.stderr else ''}")
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.1)


def newest_run(client: MlflowClient) -> Run | None:
    """The store's newest run, if there is any."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    return found[0] if found else None


def logged_epochs(client: MlflowClient, run_id: str, metric: str) -> list[int]:
    """The steps of a metric's points, as stored."""
    return sorted(point.step for point in client.get_metric_history(run_id, metric))


def finished_run(process: subprocess.Popen[str], client: MlflowClient, epochs: int) -> Run:
    """The run of a training process that must end well, with each epoch's metrics stored exactly once."""
    exit_status, errors = finish(process)
    assert exit_status == 0, errors
    run = newest_run(client)
    assert run is not None
    assert run.info.status == "FINISHED"
    for metric in ("train/loss", "test/accuracy", "spurious/score"):
        assert logged_epochs(client, run.info.run_id, metric) == list(range(1, epochs + 1)), metric
    return run


def aliases(client: MlflowClient, model: str = "rsc-digits-MLP") -> dict[str, int]:
    """Alias → version number of a registered model (text over HTTP, a number from a database)."""
    return {name: int(version) for name, version in client.get_registered_model(model).aliases.items()}
