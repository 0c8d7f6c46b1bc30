"""Closing runs whose process is gone: MLflow would show them as RUNNING for ever."""

import time
from collections.abc import Sequence
from functools import partial

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.resuming import ALIVE_SECONDS, heartbeat_age, is_alive
from rsc_mlflow.tracking.store import connect, patiently


def dead_runs(
    older_than: float = ALIVE_SECONDS, experiment_ids: Sequence[str] | None = None, client: MlflowClient | None = None
) -> list[Run]:
    """RUNNING runs of this project whose last heartbeat is more than ``older_than`` seconds ago, or whose process
    was on this machine and is gone."""
    running = iterate_runs(client or connect(), [condition("attributes", "status", "RUNNING")], experiment_ids)
    now = time.time()
    return [run for run in running if schema.KIND in run.data.tags and not is_alive(run, now, older_than)]


def reap(
    older_than: float = ALIVE_SECONDS, experiment_ids: Sequence[str] | None = None, client: MlflowClient | None = None
) -> list[str]:
    """End such runs as KILLED with ``rsc.error``; returns their ids."""
    client = client or connect()
    closed = []
    for run in dead_runs(older_than, experiment_ids, client):
        patiently(partial(close, client, run), "reaper")
        closed.append(str(run.info.run_id))
    return closed


def close(client: MlflowClient, run: Run) -> None:
    """End one such run; repeating it does no harm."""
    last = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() - heartbeat_age(run)))
    client.set_tag(run.info.run_id, schema.ERROR, f"no heartbeat since {last}")
    client.set_terminated(run.info.run_id, "KILLED")
