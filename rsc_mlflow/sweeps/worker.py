"""One unit of work, in whatever process an executor gives it: claim the jobs, run them, say what became of each."""

import logging
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import PurePosixPath

import mlflow
import torch
from mlflow.tracking import MlflowClient

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.registry import ExperimentSpec, Start, experiments
from rsc_mlflow.sweeps.claims import Claimant, Claimed
from rsc_mlflow.sweeps.estimate import COHORT_SIZE
from rsc_mlflow.sweeps.jobs import Job, JobSpec, Outcome
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.project_run import forget_run_id
from rsc_mlflow.tracking.signals import deferred, interruptible
from rsc_mlflow.tracking.store import StoreError, connect, reason, with_retries
from rsc_mlflow.training import Diverged

_CHECKPOINT = re.compile(r"epoch_(\d+)\.pt")
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """What all units of a sweep have in common."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    sweep: str
    threads: int


@dataclass(frozen=True)
class Unit:
    """Jobs that run together: one, or the members of a cohort."""

    jobs: tuple[JobSpec, ...]
    context: Context


def run_unit(unit: Unit) -> list[Outcome]:
    """Run what nobody else runs or has finished; one outcome per job, in any order.

    A job that fails is an outcome, not an exception; SIGTERM and SIGINT end the runs as KILLED and go on as
    KeyboardInterrupt.
    """
    _prepare_process(unit.context)
    client = connect(known=True)  # the sweep has reached it
    experiment = experiments()[unit.jobs[0].entry_point]
    work = _Work(client, unit, experiment, Claimant(client, unit.context.experiment_id))
    with interruptible():  # while jobs are claimed, too
        return work.run()


def _prepare_process(context: Context) -> None:
    os.environ["MLFLOW_EXPERIMENT_ID"] = context.experiment_id
    os.environ["MLFLOW_TRACKING_URI"] = context.tracking_uri
    forget_run_id()  # the sweep's own run, where `mlflow run` started it
    mlflow.set_tracking_uri(context.tracking_uri)
    torch.set_num_threads(context.threads)


class _Work:
    """A unit while it is carried out."""

    def __init__(self, client: MlflowClient, unit: Unit, experiment: ExperimentSpec, claimant: Claimant) -> None:
        self._client = client
        self._context = unit.context
        self._experiment = experiment
        self._claimant = claimant
        parse = experiment.options_class.from_mapping
        self._jobs = [Job(spec.entry_point, parse(spec.params)) for spec in unit.jobs]
        self._outcomes: list[Outcome] = []
        self._held: set[str] = set()  # runs that carry our claim

    def run(self) -> list[Outcome]:
        """See :func:`run_unit`."""
        try:
            for group in self._by_epoch(self._claim_all()):
                self._run_together(group)
        finally:
            with deferred():  # stopped twice, by the terminal and by the sweep
                self._let_go()
        return self._outcomes

    def _claim_all(self) -> list[tuple[Job, Start]]:
        claimed = []
        for job in self._jobs:
            with deferred():  # a signal must not come between a claim and our knowing of it
                start = self._claim(job)
            if start is not None:
                claimed.append((job, start))
        if len(claimed) > 1:
            for _, start in claimed:
                with_retries(partial(self._client.set_tag, start.run_id, COHORT_SIZE, str(len(claimed))), "claim")
        return claimed

    def _claim(self, job: Job) -> Start | None:
        tags = {
            schema.KIND: str(job.identity["kind"]),
            schema.METHOD: str(job.identity["method"]),
            schema.PARENT_RUN_ID: self._context.parent_run_id,
            schema.SWEEP: self._context.sweep,
        }
        name = self._experiment.run_name(job.options)
        try:
            answer = self._claimant.claim(job.fingerprint, name, tags, resumes=self._experiment.resumes)
        except Exception as error:
            self._outcomes.append(Outcome(job.fingerprint, "failed", f"could not be claimed: {reason(error)}"))
            return None
        if isinstance(answer, Claimed):
            self._held.add(answer.run_id)
            return Start(job.options, answer.run_id, answer.resumes)
        self._outcomes.append(Outcome(job.fingerprint, "finished" if answer.finished else "busy", "", answer.run_id))
        return None

    def _by_epoch(self, claimed: Sequence[tuple[Job, Start]]) -> list[list[tuple[Job, Start]]]:
        """Members of a cohort must begin at the same epoch."""
        groups: dict[int, list[tuple[Job, Start]]] = defaultdict(list)
        for job, start in claimed:
            groups[self._epoch(start) if start.resumes and len(claimed) > 1 else 0].append((job, start))
        return list(groups.values())

    def _epoch(self, start: Start) -> int:
        found = with_retries(lambda: self._client.list_artifacts(start.run_id, schema.CHECKPOINTS), "checkpoints")
        matches = (_CHECKPOINT.fullmatch(PurePosixPath(item.path).name) for item in found)
        return max((int(match[1]) for match in matches if match), default=0)

    def _run_together(self, group: Sequence[tuple[Job, Start]]) -> None:
        if not self._experiment.resumes:  # it adopts the run as it finds it
            for _, start in group:
                with_retries(partial(self._client.update_run, start.run_id, status="RUNNING"), "start")
        try:
            self._experiment.run([start for _, start in group])
        except Exception as error:
            if len(group) == 1:
                self._failed(*group[0], error)
                return
            if isinstance(error, Diverged):
                self._run_without_diverged(group, error)
                return
            _logger.warning("%d models together: %s; each is tried alone", len(group), reason(error))
            for job, start in group:
                self._run_together([(job, start)])
            return
        for job, start in group:
            self._check(job, start)

    def _run_without_diverged(self, group: Sequence[tuple[Job, Start]], error: Diverged) -> None:
        """They have failed; the others go on together from their checkpoints."""
        for k in error.members:
            self._give_up(*group[k], error)
        others = [(job, replace(start, resumes=True)) for k, (job, start) in enumerate(group) if k not in error.members]
        for together in self._by_epoch(others):
            self._run_together(together)

    def _failed(self, job: Job, start: Start, error: Exception) -> None:
        """A run that cannot be resumed is given up for a new one; any other failure is the job's outcome.

        What diverged would diverge again, from a checkpoint or from the start.
        """
        if start.resumes and isinstance(error, InputError) and not isinstance(error, StoreError | Diverged):
            self._claimant.abandon(start.run_id, f"could not go on: {reason(error)}")
            self._held.remove(start.run_id)
            if (again := self._claim(job)) is not None:
                self._run_together([(job, again)])
            return
        self._give_up(job, start, error)

    def _give_up(self, job: Job, start: Start, error: Exception) -> None:
        _logger.error("%s failed", job.shown, exc_info=error)
        self._close(start.run_id, reason(error))
        self._outcomes.append(Outcome(job.fingerprint, "failed", reason(error), start.run_id))

    def _close(self, run_id: str, text: str) -> None:
        """End a run that the experiment refused before it opened it."""
        if self._status(run_id) in ("SCHEDULED", "RUNNING"):
            with_retries(lambda: self._client.set_tag(run_id, schema.ERROR, text[:500]), "failed run")
            with_retries(lambda: self._client.set_terminated(run_id, "FAILED"), "failed run")

    def _check(self, job: Job, start: Start) -> None:
        """Believe the store, not the absence of an exception."""
        run = with_retries(lambda: self._client.get_run(start.run_id), "finished run")
        if run.info.status == "FINISHED" and run.data.tags.get(schema.FINGERPRINT) == job.fingerprint:
            self._outcomes.append(Outcome(job.fingerprint, "finished", "", start.run_id))
            return
        text = f"the entry point returned, but its run is {run.info.status} with another identity than planned"
        self._close(start.run_id, text)
        self._outcomes.append(Outcome(job.fingerprint, "failed", text, start.run_id))

    def _status(self, run_id: str) -> str:
        return str(with_retries(lambda: self._client.get_run(run_id), "run").info.status)

    def _let_go(self) -> None:
        """Take claims off; a run that we were stopped in before the experiment opened it is given up."""
        ended = {outcome.run_id for outcome in self._outcomes}
        for run_id in self._held:
            try:
                if run_id not in ended and self._status(run_id) in ("SCHEDULED", "RUNNING"):
                    self._claimant.drop(run_id)
                else:
                    self._claimant.release(run_id)
            except Exception as error:
                _logger.warning("run %s: its claim stays until it is seen to be dead (%s)", run_id, reason(error))
