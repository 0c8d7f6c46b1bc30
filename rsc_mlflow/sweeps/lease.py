"""One sweep at a time runs a job: the run of a sweep is its lease, for as long as that run has a heartbeat.

MLflow has no compare-and-set, so two sweeps that start at the same second can both find no other.  Then jobs are run
twice, and counted once: the ledger and the analysis take one finished run per fingerprint.
"""

import time
from collections.abc import Collection

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.pull import read_artifact
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.resuming import is_alive
from rsc_mlflow.tracking.run import TrackedRun

JOBS = "jobs.json"
"""Artifact of a sweep's run: the fingerprints of the jobs that it runs."""


def check_no_overlap(client: MlflowClient, jobs: Collection[str]) -> None:
    """Refuse jobs that a living sweep runs, of all that this account may read.

    Raises:
        InputError: names the first such sweep, and says what to do.
    """
    running = [condition("tags", schema.KIND, "sweep"), condition("attributes", "status", "RUNNING")]
    for run in iterate_runs(client, running):
        if is_alive(run) and (shared := _jobs_of(run) & set(jobs)):
            raise InputError(_refusal(run, len(shared), len(jobs)))


def take(run: TrackedRun, jobs: Collection[str]) -> None:
    """Write down what the sweep of this run runs, before it starts its first job."""
    run.log_json({"jobs": sorted(jobs)}, JOBS)


def _jobs_of(run: Run) -> set[str]:
    """What a sweep runs; empty where it has not said so yet."""
    try:
        return set(read_artifact(run.info.run_id, JOBS)["jobs"])
    except InputError:
        return set()


def _refusal(run: Run, shared: int, jobs: int) -> str:
    host, pid = (run.data.tags.get(key, "unknown") for key in (schema.HOST, schema.PID))
    started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.info.start_time / 1000))
    return (
        f"another sweep runs {shared} of these {jobs} jobs: {run.data.tags.get(schema.SWEEP)} "
        f"(run {run.info.run_id}, process {pid} on {host}, started {started}). "
        "Wait until it ends and start this one again, or look at its progress with --status true"
    )
