"""Ray tasks that work for a sweep, and a Ray that is not there."""

import re
import sys

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.sweeps.executors import ray as ray_module
from rsc_mlflow.sweeps.executors.ray import RayExecutor
from rsc_mlflow.sweeps.jobs import JobSpec
from rsc_mlflow.sweeps.worker import Context, Unit
from rsc_mlflow.tracking import schema
from tests.integration.processes import wait_for
from tests.sweeps.units import endless_unit

TIMEOUT_SECONDS = 120


@pytest.mark.integration
def test_ray_tasks_that_fail_are_lost_or_stopped(sqlite_store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context(mlflow.get_tracking_uri(), "0", "no parent", "a sweep", 1)
    endless = endless_unit()
    executor = RayExecutor(1, "local")
    try:
        assert executor.wait(0.01) == []
        executor.submit(Unit((JobSpec("no entry point", {}, "no fingerprint"),), context))
        (failed,) = executor.wait(TIMEOUT_SECONDS)
        assert failed.outcomes is None
        assert failed.reason.startswith("its Ray task failed (")
        assert "no entry point" in failed.reason
        assert "Traceback" in failed.log
        executor.submit(endless)
        (task,) = executor._units
        client = MlflowClient()
        wait_for("an epoch", lambda: any("train/loss" in run.data.metrics for run in client.search_runs(["0"])))
        executor._ray.cancel(task, force=True)
        (lost,) = executor.wait(TIMEOUT_SECONDS)
        assert (lost.unit, lost.outcomes) == (endless, None)
        assert lost.reason.startswith("its Ray task was lost (")
        assert not lost.reason.endswith("()")
        executor.submit(endless)  # goes on in the run that was left
        wait_for("it goes on", lambda: schema.RESUMED in client.search_runs(["0"])[0].data.tags)
    finally:
        monkeypatch.setattr(ray_module, "GRACE_SECONDS", 60.0)
        executor.close()
    (run,) = client.search_runs(["0"])
    assert run.info.status == "KILLED"


def test_ray_that_is_not_there_or_not_installed_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for nowhere in ("127.0.0.1:1", "ray://[::1]:1", "127.0.0.1:six"):
        with pytest.raises(InputError, match=re.escape(f"No Ray cluster answers at ray_address '{nowhere}'")):
            RayExecutor(None, nowhere)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match="requires the package ray"):
        RayExecutor(None, "local")
