"""Closing runs whose process is gone: MLflow would show them as RUNNING for ever."""

import time
from collections.abc import Sequence
from functools import partial

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.resuming import ALIVE_SECONDS, heartbeat_age
from rsc_mlflow.tracking.store import connect, patiently


def silent_runs(
    older_than: float = ALIVE_SECONDS, experiment_ids: Sequence[str] | None = None, client: MlflowClient | None = None
) -> list[Run]:
    """RUNNING runs of this project whose last heartbeat is more than ``older_than`` seconds ago."""
    client = client or connect()
    running = iterate_runs(client, [condition("attributes", "status", "RUNNING")], experiment_ids)
    now = time.time()
    return [run for run in running if schema.KIND in run.data.tags and heartbeat_age(run, now) > older_than]


def reap(
    older_than: float = ALIVE_SECONDS, experiment_ids: Sequence[str] | None = None, client: MlflowClient | None = None
) -> list[str]:
    """End such runs as KILLED with ``rsc.error``; returns their ids."""
    client = client or connect()
    closed = []
    for run in silent_runs(older_than, experiment_ids, client):
        run_id = run.info.run_id
        last = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() - heartbeat_age(run)))
        patiently(partial(_close, client, run_id, f"no heartbeat since {last}"), "reaper")
        closed.append(run_id)
    return closed


def _close(client: MlflowClient, run_id: str, text: str) -> None:
    client.set_tag(run_id, schema.ERROR, text)
    client.set_terminated(run_id, "KILLED")
