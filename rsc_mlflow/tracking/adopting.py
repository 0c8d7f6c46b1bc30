"""Runs that somebody else opened: which of them may become ours, and taking one over so that nobody else does.

``mlflow run`` opens a run and names it in ``MLFLOW_RUN_ID``; a notebook opens MLflow's active run.  Such a run becomes
ours only while it is unfinished and empty of other results.  Everything else is refused before anything is written.
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
    """Whether the run is unfinished and holds nothing yet, of this project or of anybody else."""
    tags = run.data.tags
    unfinished = run.info.lifecycle_stage == "active" and run.info.status in _UNFINISHED
    return unfinished and not {schema.KIND, schema.FINGERPRINT} & set(tags) and not _has_results(run)


def objection(run: Run, tags: Mapping[str, object], params: Mapping[str, object]) -> str | None:
    """Why ``run`` may not become the run with these tags and parameters, as a predicate; None if it may."""
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
        return "holds results already"
    if found := differences(run, params):
        return f"was opened with other options: {'; '.join(found)}"
    return None


def has_begun(run: Run) -> bool:
    """Whether an adopted run was ours before: its process died, and this process resumes it."""
    return schema.FINGERPRINT in run.data.tags and bool(run.data.params)


def check_active(run: Run, tags: Mapping[str, object], params: Mapping[str, object]) -> None:
    """Refuse MLflow's active run where it may not become ours.

    Raises:
        AdoptionError: says why.
    """
    if why := objection(run, tags, params):
        raise AdoptionError(
            f"MLflow's active run {run.info.run_id} {why}; it was left as it is. "
            "End it first (mlflow.end_run()), or start another one"
        )


@contextmanager
def taken_over(
    client: MlflowClient, run_id: str, tags: Mapping[str, object], params: Mapping[str, object]
) -> Iterator[Run]:
    """The run that ``MLFLOW_RUN_ID`` names; in the block the caller writes the tags that make it ours.

    Two commands that ``mlflow run`` starts at once find the same empty run.  Each leaves a mark, then looks again: who
    sees another's mark, or tags, withdraws.  The mark is removed only after the tags are set, so at most one continues.

    Raises:
        AdoptionError: there is no such run, or it may not become ours; it is left as it is.
    """
    run = _permitted(client, run_id, tags, params)
    mark = f"{schema.TAKING_PREFIX}{uuid.uuid4().hex[:12]}"
    try:
        with_retries(lambda: client.set_tag(run_id, mark, environment.host()), "run")
        run = _permitted(client, run_id, tags, params)
        if {key for key in run.data.tags if key.startswith(schema.TAKING_PREFIX)} != {mark}:
            raise AdoptionError(_refusal(run_id, "is being taken over by another command at this moment"))
        yield run
    except BaseException:
        with suppress(Exception):
            remove_tag(client, run_id, mark)
        raise
    remove_tag(client, run_id, mark)


def _permitted(client: MlflowClient, run_id: str, tags: Mapping[str, object], params: Mapping[str, object]) -> Run:
    missing = f"{RUN_ID_VARIABLE} is {run_id!r}, which is not a run of this store"
    try:
        run = look_up(lambda: client.get_run(run_id), "run", lambda why: f"{missing} ({why}); unset it")
    except InputError as error:
        raise AdoptionError(str(error)) from error
    if why := objection(run, tags, params):
        raise AdoptionError(_refusal(run_id, why))
    return run


def _refusal(run_id: str, why: str) -> str:
    return (
        f"{RUN_ID_VARIABLE} is {run_id!r}, a run that {why}; it was left as it is. "
        f"Unset {RUN_ID_VARIABLE} for a new run"
    )


def _writer(run: Run) -> str | None:
    """The process that works on the run, if it is another one than this and alive."""
    tags = run.data.tags
    at_work = schema.HOST in tags and schema.PID in tags and is_alive(run)
    return tags[schema.PID] if at_work and not _is_ours(run) else None


def _is_ours(run: Run) -> bool:
    tags = run.data.tags
    return tags.get(schema.HOST) == environment.host() and tags.get(schema.PID) == str(os.getpid())


def _has_results(run: Run) -> bool:
    """Whether the run holds metrics, apart from MLflow's own of the machine, or models."""
    outputs = run.outputs.model_outputs if run.outputs else []
    return bool(outputs) or any(not key.startswith("system/") for key in run.data.metrics)
