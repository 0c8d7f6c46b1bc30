"""Runs opened or adopted, and closed with the truth.

Nothing here touches MLflow's own stack of active runs for writing: one process may hold hundreds of open runs,
as a cohort of models that train together does.
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
    """A run for the time of the block.

    Success ends it FINISHED, after every point and file has reached the store; SIGINT and SIGTERM end it KILLED (see
    :mod:`rsc_mlflow.cancellation`); any exception ends it FAILED; in both cases tag ``rsc.error`` says why, and the
    exception is raised.

    Which run: ``run_id`` if given; ``resume_run_id`` if given; a child of ``parent_run_id`` if given; else the run
    that ``mlflow run`` opened for this process (``MLFLOW_RUN_ID``), once; else MLflow's active run, which its owner
    then ends; else a new run in the experiment of ``MLFLOW_EXPERIMENT_ID`` or ``MLFLOW_EXPERIMENT_NAME``, or
    ``rsc``.  A run that somebody else opened is taken over only while it is unfinished and empty (see
    :mod:`adopting`).

    Args:
        kind: one of :data:`schema.KINDS`.
        name: what a person reads in the list of runs.
        method: unlearning method or attack, for tag ``rsc.method``.
        params: parameters to log at the start; in a resumed run they must equal the stored ones.
        tags: further tags.
        run_id: empty run to write to.
        parent_run_id: run under which this one is listed.
        resume_run_id: unfinished run of the same kind and parameters to resume.
        free_params: parameters that may differ in a resumed run.

    Raises:
        InputError: a parameter or tag that MLflow would refuse or cut; the store or its artifact folder cannot be
            written; the run cannot be resumed.
        AdoptionError: the run that was opened elsewhere has ended, or holds something else; it is left as it is.
        Exception: the store stayed away longer than the retry timeout at the end, so that points would be lost.
    """
    own: dict[str, object] = {schema.KIND: kind}  # MLflow's page lists them in this order
    own |= {schema.METHOD: method} if method else {}
    own |= {**(tags or {}), **environment.tags()}
    params = params or {}
    for key, value in params.items():  # whether the store will take these is found out before there is a run
        check_param(key, param_text(value))
    own |= {schema.HOST: environment.host(), schema.PID: os.getpid(), schema.HEARTBEAT: f"{time.time():.0f}"}
    with cancellation.cancellable():
        client = connect()
        cancellation.check()
        opening = _Opening(client, name, own, params)
        unsaid = resume_run_id is None and parent_run_id is None
        if given := run_id or (run_id_from_environment() if unsaid else None):
            run = opening.adopt(given)
        elif resume_run_id is not None:
            run = opening.resume(resume_run_id, free_params)
        elif unsaid and (active := mlflow.active_run()):
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
    """End a run that was opened for us and came to nothing, as FAILED with ``rsc.error`` and ``tags``; never raises.

    A run that has ended, or that holds anything of this project or of somebody else, is left as it is.
    """
    try:
        client = connect()
        if is_vacant(with_retries(lambda: client.get_run(run_id), "run")):
            marks = [RunTag(key, value) for key, value in (tags or {}).items()]
            with_retries(lambda: client.log_batch(run_id, tags=marks), "run")
            end_run(client, run_id, "FAILED", text, retry_timeout())
    except Exception as error:
        _logger.error("run %s: could not be marked FAILED (%s)", run_id, reason(error))


@dataclass(frozen=True)
class _Opening:
    """A run that is being opened."""

    client: MlflowClient
    name: str
    tags: Mapping[str, object]
    params: Mapping[str, object]

    def adopt(self, run_id: str) -> TrackedRun:
        """The run that ``MLFLOW_RUN_ID`` names, made ours, with our name where MLflow had made one up."""
        with taken_over(self.client, run_id, self.tags, self.params) as run:
            adopted = TrackedRun(self.client, run, resumed=has_begun(run))
            adopted.set_tags(self.tags)
        if run.info.run_name is None or _RANDOM_NAME.fullmatch(run.info.run_name):
            with_retries(lambda: self.client.update_run(run_id, name=self.name), "run")
            adopted.name = self.name
        forget_run_id()
        return adopted

    def join(self, run_id: str) -> TrackedRun:
        """MLflow's active run, which its owner ends."""
        run = with_retries(lambda: self.client.get_run(run_id), "run")
        check_active(run, self.tags, self.params)
        joined = TrackedRun(self.client, run, resumed=has_begun(run), ends=False)
        joined.set_tags(self.tags)
        return joined

    def create(self, parent_run_id: str | None) -> TrackedRun:
        """A new run; where the answer is lost, an empty one without a heartbeat stays, which the next sweep closes."""
        tags = {**environment.source_tags(), **{key: str(value) for key, value in self.tags.items()}}
        tags |= {schema.PARENT_RUN_ID: parent_run_id} if parent_run_id else {}
        experiment_id = current_experiment(self.client)
        made = look_up(
            lambda: self.client.create_run(experiment_id, tags=tags, run_name=self.name),
            "new run",
            lambda why: f"no run can be made in experiment {chosen_experiment()} ({why}); {OWN_EXPERIMENT}",
        )
        return TrackedRun(self.client, made)

    def resume(self, run_id: str, free_params: Collection[str]) -> TrackedRun:
        """An unfinished run, which continues; one that ``mlflow run`` opened for this process points to it."""
        run = check_resumable(self.client, run_id, self.tags, self.params, free_params)
        if (shell := run_id_from_environment()) and shell != run_id:
            with taken_over(self.client, shell, self.tags, self.params):
                text = f"Continued in run {run_id}."
                with_retries(lambda: self.client.set_tag(shell, schema.DESCRIPTION, text), "run")
        forget_run_id()
        with_retries(lambda: self.client.update_run(run_id, status="RUNNING"), "run")
        if schema.ERROR in run.data.tags:
            remove_tag(self.client, run_id, schema.ERROR)
        begun = bool(run.data.params)  # else it was stopped before it had begun
        before = number(run.data.tags.get(schema.RESUMED)) or 0
        resumed = TrackedRun(self.client, run, resumed=begun)
        resumed.set_tags({**self.tags, **({schema.RESUMED: f"{before + 1:.0f}"} if begun else {})})
        return resumed
