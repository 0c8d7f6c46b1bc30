"""The states of a sweep's jobs in the store: finished, running, interrupted, failed or missing."""

import time
from collections.abc import Collection
from functools import partial

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.sweeps.plan import Plan
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.permissions import where_allowed
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.reaper import close, dead_runs
from rsc_mlflow.tracking.resuming import is_alive

STATES = ("finished", "running", "interrupted", "failed", "missing")


def job_states(client: MlflowClient, plan: Plan, finished: Collection[str]) -> dict[str, tuple[str, str]]:
    """Return the state and run id of each fingerprint, from its most advanced run."""
    now = time.time()
    found = {key: ("finished", "") if key in finished else ("missing", "") for key in plan.jobs}
    for run in iterate_runs(client, ["attributes.status != 'FINISHED'"]):
        key = run.data.tags.get(schema.FINGERPRINT, "") if schema.KIND in run.data.tags else ""
        state = _state(run, now)
        if key in found and STATES.index(state) < STATES.index(found[key][0]):
            found[key] = (state, run.info.run_id)
    return found


def _state(run: Run, now: float) -> str:
    if run.info.status == "FAILED":
        return "failed"
    return "running" if run.info.status == "RUNNING" and is_alive(run, now) else "interrupted"


def close_dead_runs(client: MlflowClient) -> list[str]:
    """Close runs whose process died; return their ids.

    Runs that this user cannot modify are skipped.
    """
    return [run.info.run_id for run in dead_runs(client) if where_allowed(partial(close, client, run), "dead run")]


def previous_parent(client: MlflowClient, identity: str, experiment_id: str) -> str | None:
    """Return the id of the sweep's interrupted run, which is resumed so that its child runs stay together; or None."""
    conditions = [condition("tags", schema.SWEEP, identity), condition("tags", schema.KIND, "sweep")]
    for run in iterate_runs(client, conditions, [experiment_id]):
        if run.info.status in ("KILLED", "FAILED"):
            return str(run.info.run_id)
    return None
