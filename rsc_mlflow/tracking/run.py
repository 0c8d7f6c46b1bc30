"""Create, adopt and resume runs, and end them with the correct status.

MLflow's stack of active runs is only read: one process can have hundreds of open runs, one per model of a cohort.
"""

import logging
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import mlflow
from mlflow.entities import RunTag
from mlflow.tracking import MlflowClient

from rsc_mlflow import cancellation
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.adopting import check_active, has_begun, is_vacant, taken_over
from rsc_mlflow.tracking.experiments import chosen_experiment, current_experiment
from rsc_mlflow.tracking.project_run import forget_run_id, run_id_from_environment
from rsc_mlflow.tracking.resuming import check_resumable
from rsc_mlflow.tracking.store import OWN_EXPERIMENT, connect, look_up, reason, remove_tag, retry_timeout, with_retries
from rsc_mlflow.tracking.tracked import TrackedRun as TrackedRun
from rsc_mlflow.tracking.tracked import end_run
from rsc_mlflow.tracking.values import check_param, number, param_text

_RANDOM_NAME = re.compile(r"[a-z]+-[a-z]+-\d{1,4}")
_logger = logging.getLogger(__name__)


@contextmanager
def open_run(
    *,
    kind: str,
    name: str,
    method: str | None = None,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, object] | None = None,
    run_id: str | None = None,
    parent_run_id: str | None = None,
    resume_run_id: str | None = None,
    free_params: Collection[str] = (),
) -> Iterator[TrackedRun]:
    """Open a run for the duration of the block.

    The run ends as FINISHED after the store has all its points and files.  It ends as KILLED after SIGINT or SIGTERM
    (see :mod:`rsc_mlflow.cancellation`), and as FAILED after any other exception.  In both cases the tag ``rsc.error``
    gives the reason, and the exception is raised again.

    The run is the first of these that applies: ``run_id``; ``resume_run_id``; a child of ``parent_run_id``; the run
    that ``mlflow run`` created for this process (``MLFLOW_RUN_ID``), once; MLflow's active run, which the caller ends;
    a new run in the experiment ``MLFLOW_EXPERIMENT_ID``, ``MLFLOW_EXPERIMENT_NAME`` or ``rsc``.  A run that was created
    elsewhere is used only if it is unfinished and empty (see :mod:`adopting`).

    Args:
        kind: one of :data:`schema.KINDS`.
        name: name of the run in lists.
        method: entry point or unlearning method, for the tag ``rsc.method``.
        params: parameters to log at the start; in a resumed run they must equal the stored parameters.
        tags: additional tags.
        run_id: empty run to write to.
        parent_run_id: parent of a new run.
        resume_run_id: unfinished run of the same kind and parameters to resume.
        free_params: parameters that may differ in a resumed run.

    Raises:
        InputError: MLflow would refuse or truncate a parameter or tag, the store or its artifact folder cannot be
            written, or the run cannot be resumed.
        AdoptionError: the run that was created elsewhere has ended or has other results.  It is not changed.
        Exception: the store was unreachable for longer than the retry timeout at the end.
    """
    own: dict[str, object] = {schema.KIND: kind}  # MLflow's UI lists the tags in this order
    own |= {schema.METHOD: method} if method else {}
    own |= {**(tags or {}), **environment.tags()}
    params = params or {}
    for key, value in params.items():  # before a run is created
        check_param(key, param_text(value))
    own |= {schema.HOST: environment.host(), schema.PID: os.getpid(), schema.HEARTBEAT: f"{time.time():.0f}"}
    with cancellation.cancellable():
        client = connect()
        cancellation.check()
        opening = _Opening(client, name, own, params)
        unspecified = resume_run_id is None and parent_run_id is None
        if given := run_id or (run_id_from_environment() if unspecified else None):
            run = opening.adopt(given)
        elif resume_run_id is not None:
            run = opening.resume(resume_run_id, free_params)
        elif unspecified and (active := mlflow.active_run()):
            run = opening.join(active.info.run_id)
        else:
            run = opening.create(parent_run_id)
        try:
            run.log_params({key: value for key, value in params.items() if key not in run.params})
            run.begin()
            yield run
            cancellation.check()
            run.finish()
        except KeyboardInterrupt as error:
            run.abort("KILLED", str(error) or "interrupted")
            raise
        except BaseException as error:
            run.abort("FAILED", reason(error))
            raise


def mark_failed(run_id: str, text: str, tags: Mapping[str, str] | None = None) -> None:
    """End a run that was created for this process as FAILED, with ``rsc.error`` and ``tags``; never raise.

    A run that has ended or has results is not changed.
    """
    try:
        client = connect()
        if is_vacant(with_retries(lambda: client.get_run(run_id), "run")):
            marks = [RunTag(key, value) for key, value in (tags or {}).items()]
            with_retries(lambda: client.log_batch(run_id, tags=marks), "run")
            end_run(client, run_id, "FAILED", text, retry_timeout())
    except Exception as error:
        _logger.error("Run %s could not be marked FAILED (%s).", run_id, reason(error))


@dataclass(frozen=True)
class _Opening:
    """A run that is being opened."""

    client: MlflowClient
    name: str
    tags: Mapping[str, object]
    params: Mapping[str, object]

    def adopt(self, run_id: str) -> TrackedRun:
        """Adopt the run in ``MLFLOW_RUN_ID``; rename it if MLflow chose a random name."""
        with taken_over(self.client, run_id, self.tags, self.params) as run:
            adopted = TrackedRun(self.client, run, resumed=has_begun(run))
            adopted.set_tags(self.tags)
        if run.info.run_name is None or _RANDOM_NAME.fullmatch(run.info.run_name):
            with_retries(lambda: self.client.update_run(run_id, name=self.name), "run")
            adopted.name = self.name
        forget_run_id()
        return adopted

    def join(self, run_id: str) -> TrackedRun:
        """Write to MLflow's active run, which the caller ends."""
        run = with_retries(lambda: self.client.get_run(run_id), "run")
        check_active(run, self.tags, self.params)
        joined = TrackedRun(self.client, run, resumed=has_begun(run), ends=False)
        joined.set_tags(self.tags)
        return joined

    def create(self, parent_run_id: str | None) -> TrackedRun:
        """Create a run.  If the response is lost, an empty run remains, which the next sweep closes."""
        tags = {**environment.source_tags(), **{key: str(value) for key, value in self.tags.items()}}
        tags |= {schema.PARENT_RUN_ID: parent_run_id} if parent_run_id else {}
        experiment_id = current_experiment(self.client)
        made = look_up(
            lambda: self.client.create_run(experiment_id, tags=tags, run_name=self.name),
            "new run",
            lambda why: f"Cannot create a run in experiment {chosen_experiment()!r} ({why}). {OWN_EXPERIMENT}",
        )
        return TrackedRun(self.client, made)

    def resume(self, run_id: str, free_params: Collection[str]) -> TrackedRun:
        """Resume an unfinished run; the run that ``mlflow run`` created for this process then refers to it."""
        run = check_resumable(self.client, run_id, self.tags, self.params, free_params)
        if (shell := run_id_from_environment()) and shell != run_id:
            with taken_over(self.client, shell, self.tags, self.params):
                text = f"Continued in run {run_id}."
                with_retries(lambda: self.client.set_tag(shell, schema.DESCRIPTION, text), "run")
        forget_run_id()
        with_retries(lambda: self.client.update_run(run_id, status="RUNNING"), "run")
        if schema.ERROR in run.data.tags:
            remove_tag(self.client, run_id, schema.ERROR)
        begun = bool(run.data.params)  # False if it was stopped before its parameters were logged
        before = number(run.data.tags.get(schema.RESUMED)) or 0
        resumed = TrackedRun(self.client, run, resumed=begun)
        resumed.set_tags({**self.tags, **({schema.RESUMED: f"{before + 1:.0f}"} if begun else {})})
        return resumed
