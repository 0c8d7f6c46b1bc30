"""Checks whether an interrupted run can be resumed, and reads the points that it has stored."""

import math
import os
import time
from collections.abc import Collection, Mapping
from functools import partial

from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.store import look_up, with_retries
from rsc_mlflow.tracking.upload_queue import HEARTBEAT_SECONDS
from rsc_mlflow.tracking.values import number, param_text, same_value, unquoted, whole

ALIVE_SECONDS = 4 * HEARTBEAT_SECONDS
"""Age of the last heartbeat after which a run counts as dead."""
_SKEW_SECONDS = 86_400.0
"""A time stamp further in the future than this is not a time in seconds since 1970, and is ignored."""


def check_resumable(
    client: MlflowClient,
    run_id: str,
    tags: Mapping[str, object],
    params: Mapping[str, object],
    free_params: Collection[str],
) -> Run:
    """Return the run if it can be resumed.

    It must be unfinished and not active in another process, and have this kind, fingerprint and parameters.

    Raises:
        InputError: the run cannot be resumed; the message gives the reason.
    """
    run = look_up(
        lambda: client.get_run(run_id),
        "run",
        lambda why: f"Invalid value for 'resume_run_id': {run_id!r} ({why}). Expected the id of an unfinished run.",
    )
    if run.info.lifecycle_stage != "active":
        raise InputError(f"Run {run_id} was deleted. Restore it, or start a new run without resume_run_id.")
    if run.info.status == "FINISHED":
        raise InputError(f"Run {run_id} is finished and cannot be resumed.")
    stored = run.data.tags
    if stored.get(schema.KIND) != tags[schema.KIND]:
        kind = stored.get(schema.KIND, "none")
        raise InputError(f"Run {run_id} is of kind {kind!r}. Expected kind {tags[schema.KIND]!r}.")
    if run.info.status == "RUNNING" and is_alive(run):
        raise InputError(
            f"Run {run_id} is still running on {stored.get(schema.HOST)} (process {stored.get(schema.PID)}). "
            "Stop that process first."
        )
    if found := differences(run, params, free_params):
        raise InputError(f"Run {run_id} was started with other options: {'; '.join(found)}. Use the same options.")
    if stored.get(schema.FINGERPRINT) != tags.get(schema.FINGERPRINT):
        raise InputError(f"Run {run_id} was started for another job ({schema.FINGERPRINT} differs). Start a new run.")
    return run


def differences(run: Run, params: Mapping[str, object], free_params: Collection[str] = ()) -> list[str]:
    """Return the parameters whose stored values differ, e.g. ``["random_seed was 2, is 9"]``.

    ``mlflow run`` stores values as typed, so a stored ``auto`` agrees with every value.
    """
    return [
        f"{key} was {unquoted(run.data.params[key])}, is {param_text(value)}"
        for key, value in params.items()
        if key not in free_params and key in run.data.params and not _agree(run.data.params[key], value)
    ]


def _agree(stored: str, given: object) -> bool:
    return same_value(stored, given) or unquoted(stored) == "auto"


def is_alive(run: Run, now: float | None = None) -> bool:
    """Return whether the process of an open run is alive: it sent a heartbeat within ``ALIVE_SECONDS``, and if it
    ran on this machine, it exists."""
    tags = run.data.tags
    gone = tags.get(schema.HOST) == environment.host() and not process_exists(tags.get(schema.PID, ""))
    return not gone and heartbeat_age(run, now) < ALIVE_SECONDS


def heartbeat_age(run: Run, now: float | None = None) -> float:
    """Return the seconds since the run's last heartbeat, or else since its start; infinite if it has neither.

    Impossible time stamps (see ``_SKEW_SECONDS``) are ignored.
    """
    now = time.time() if now is None else now
    start = number(run.info.start_time)
    signs = (number(run.data.tags.get(schema.HEARTBEAT)), None if start is None else start / 1000)
    return next((now - sign for sign in signs if sign is not None and 0 <= sign <= now + _SKEW_SECONDS), math.inf)


def process_exists(pid: str) -> bool:
    """Return whether this machine has a process with this id; False if the text is not a number."""
    process = whole(pid)
    if process is None or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def stored_points(client: MlflowClient, run: Run) -> dict[tuple[str, int], Metric]:
    """Return all points that the store has of a run, by metric and step."""
    ask = partial(client.get_metric_history, run.info.run_id)
    histories = (with_retries(partial(ask, key), "metrics") for key in run.data.metrics)
    return {(point.key, point.step): point for history in histories for point in history}
