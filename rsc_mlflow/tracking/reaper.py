"""Close runs whose process died; MLflow would otherwise show them as RUNNING forever."""

import math
import time
from itertools import chain

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.query import condition, iterate_runs
from rsc_mlflow.tracking.resuming import heartbeat_age, is_alive
from rsc_mlflow.tracking.store import with_retries

UNENDED = ("RUNNING", "SCHEDULED")
"""Sweeps of earlier versions created the runs of their jobs in advance, with status SCHEDULED."""


def dead_runs(client: MlflowClient) -> list[Run]:
    """Return open runs of this project whose process is not alive (see :func:`resuming.is_alive`)."""
    now = time.time()
    searches = [iterate_runs(client, [condition("attributes", "status", status)]) for status in UNENDED]
    return [run for run in chain(*searches) if schema.KIND in run.data.tags and not is_alive(run, now)]


def close(client: MlflowClient, run: Run) -> None:
    """End a run as KILLED with the tag ``rsc.error``; can be repeated."""
    age = heartbeat_age(run)
    since = time.strftime(" since %Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() - age)) if math.isfinite(age) else ""
    with_retries(lambda: client.set_tag(run.info.run_id, schema.ERROR, f"no heartbeat{since}"), "dead run")
    with_retries(lambda: client.set_terminated(run.info.run_id, "KILLED"), "dead run")
