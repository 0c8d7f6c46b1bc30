"""Processes that work for a sweep: real ones, real jobs."""

from pathlib import Path

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.sweeps.executors import LocalExecutor
from rsc_mlflow.sweeps.jobs import Job
from rsc_mlflow.sweeps.worker import Context, Unit
from rsc_mlflow.sweeps.workers import warm_up
from rsc_mlflow.tracking import schema

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
        int(run.data.params["random_seed"]): run.data.tags[schema.PID] for run in MlflowClient().search_runs("0")
    }
    assert process[0] == process[1] == process[2] != process[3] == process[4]
