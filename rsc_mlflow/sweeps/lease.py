"""Leases on jobs, so that only one sweep runs a job: a sweep's run holds the lease while it sends heartbeats.

MLflow has no compare-and-set operation, so two sweeps that start at the same time may not see each other.  They then
run jobs twice, but the ledger and the analysis count one finished run per fingerprint.
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
"""Artifact of a sweep's run with the fingerprints of the jobs that it runs."""


def check_no_overlap(client: MlflowClient, jobs: Collection[str]) -> None:
    """Check that no other live sweep runs one of the jobs.  Sweeps that this account may not read are ignored.

    Raises:
        InputError: another sweep runs some of the jobs.
    """
    running = [condition("tags", schema.KIND, "sweep"), condition("attributes", "status", "RUNNING")]
    for run in iterate_runs(client, running):
        if is_alive(run) and (shared := _jobs_of(run) & set(jobs)):
            raise InputError(_refusal(run, len(shared), len(jobs)))


def take(run: TrackedRun, jobs: Collection[str]) -> None:
    """Take the lease on the jobs of a sweep, before it starts the first one."""
    run.log_json({"jobs": sorted(jobs)}, JOBS)


def _jobs_of(run: Run) -> set[str]:
    """Return the jobs that a sweep runs; empty if it has not stored them yet."""
    try:
        return set(read_artifact(run.info.run_id, JOBS)["jobs"])
    except InputError:
        return set()


def _refusal(run: Run, shared: int, jobs: int) -> str:
    host, pid = (run.data.tags.get(key, "unknown") for key in (schema.HOST, schema.PID))
    started = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.info.start_time / 1000))
    return (
        f"Another sweep runs {shared} of these {jobs} jobs: {run.data.tags.get(schema.SWEEP)} "
        f"(run {run.info.run_id}, process {pid} on {host}, started {started}). "
        "Wait until it ends, then start this one again. To show its progress, use --status true."
    )
