"""Adopt runs that were created elsewhere: by ``mlflow run`` (``MLFLOW_RUN_ID``) or as MLflow's active run.

A run is adopted only if it is unfinished and has no other results.  Otherwise it is refused before anything is written.
"""

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import AdoptionError, InputError
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.project_run import RUN_ID_VARIABLE
from rsc_mlflow.tracking.resuming import differences, is_alive
from rsc_mlflow.tracking.store import look_up, remove_tag, with_retries

_UNFINISHED = ("RUNNING", "SCHEDULED")


def is_vacant(run: Run) -> bool:
    """Return whether the run is unfinished and has no results."""
    tags = run.data.tags
    unfinished = run.info.lifecycle_stage == "active" and run.info.status in _UNFINISHED
    return unfinished and not {schema.KIND, schema.FINGERPRINT} & set(tags) and not _has_results(run)


def objection(run: Run, tags: Mapping[str, object], params: Mapping[str, object]) -> str | None:
    """Return why ``run`` cannot be adopted for these tags and parameters, as a predicate; None if it can."""
    stored = run.data.tags
    if run.info.lifecycle_stage != "active":
        return "was deleted"
    if run.info.status not in _UNFINISHED:
        return f"has ended ({run.info.status})"
    if (pid := _writer(run)) is not None:
        return f"is being written by process {pid} on {stored.get(schema.HOST)}"
    if stored.get(schema.FINGERPRINT, tags.get(schema.FINGERPRINT)) != tags.get(schema.FINGERPRINT):
        return f"belongs to another job ({schema.FINGERPRINT} {stored[schema.FINGERPRINT][:12]}…)"
    if stored.get(schema.KIND, tags[schema.KIND]) != tags[schema.KIND]:
        return f"is of kind {stored[schema.KIND]!r}, not {tags[schema.KIND]!r}"
    if schema.FINGERPRINT not in stored and _has_results(run):
        return "already has results"
    if found := differences(run, params):
        return f"was opened with other options: {'; '.join(found)}"
    return None


def has_begun(run: Run) -> bool:
    """Return whether an adopted run was already used by a process of this project, so that it is resumed."""
    return schema.FINGERPRINT in run.data.tags and bool(run.data.params)


def check_active(run: Run, tags: Mapping[str, object], params: Mapping[str, object]) -> None:
    """Check that MLflow's active run can be adopted.

    Raises:
        AdoptionError: it cannot.
    """
    if why := objection(run, tags, params):
        raise AdoptionError(
            f"Cannot use MLflow's active run {run.info.run_id}, which {why}. It was not changed. "
            "End it first (mlflow.end_run()) or start another one."
        )


@contextmanager
def taken_over(
    client: MlflowClient, run_id: str, tags: Mapping[str, object], params: Mapping[str, object]
) -> Iterator[Run]:
    """Adopt the run in ``MLFLOW_RUN_ID``; within the block, the caller writes the tags of this project.

    Two commands started at the same time may find the same empty run.  Each writes a mark and reads the run again; a
    command that sees another mark, or other tags, gives up.  The mark is removed after the tags are written, so at most
    one command continues.

    Raises:
        AdoptionError: the run does not exist or cannot be adopted; it is not changed.
    """
    run = _permitted(client, run_id, tags, params)
    mark = f"{schema.TAKING_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        with_retries(lambda: client.set_tag(run_id, mark, environment.host()), "run")
        run = _permitted(client, run_id, tags, params)
        if {key for key in run.data.tags if key.startswith(schema.TAKING_PREFIX)} != {mark}:
            raise AdoptionError(_refusal(run_id, "is being adopted by another command"))
        yield run
    except BaseException:
        with suppress(Exception):
            remove_tag(client, run_id, mark)
        raise
    remove_tag(client, run_id, mark)


def _permitted(client: MlflowClient, run_id: str, tags: Mapping[str, object], params: Mapping[str, object]) -> Run:
    missing = f"Invalid value for {RUN_ID_VARIABLE!r}: {run_id!r}. There is no such run"
    try:
        run = look_up(lambda: client.get_run(run_id), "run", lambda why: f"{missing} ({why}). Unset {RUN_ID_VARIABLE}.")
    except InputError as error:
        raise AdoptionError(str(error)) from error
    if why := objection(run, tags, params):
        raise AdoptionError(_refusal(run_id, why))
    return run


def _refusal(run_id: str, why: str) -> str:
    return (
        f"Invalid value for {RUN_ID_VARIABLE!r}: {run_id!r}. The run {why}. It was not changed. "
        f"Unset {RUN_ID_VARIABLE} to create a new run."
    )


def _writer(run: Run) -> str | None:
    """Return the id of another live process that writes the run, or None."""
    tags = run.data.tags
    at_work = schema.HOST in tags and schema.PID in tags and is_alive(run)
    return tags[schema.PID] if at_work and not _is_ours(run) else None


def _is_ours(run: Run) -> bool:
    tags = run.data.tags
    return tags.get(schema.HOST) == environment.host() and tags.get(schema.PID) == str(os.getpid())


def _has_results(run: Run) -> bool:
    """Return whether the run has models, or metrics other than MLflow's system metrics."""
    outputs = run.outputs.model_outputs if run.outputs else []
    return bool(outputs) or any(not key.startswith("system/") for key in run.data.metrics)
