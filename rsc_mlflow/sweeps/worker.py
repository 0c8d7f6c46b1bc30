"""Run the jobs of one unit of work in a worker process, and return the outcome of each.

Each experiment opens its own run, as it does without a sweep.  The tags that all runs of a sweep share, such as the
parent and the sweep's name, are set through MLflow's run context.
"""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import mlflow
import torch
from mlflow.entities import Run
from mlflow.environment_variables import MLFLOW_RUN_CONTEXT
from mlflow.tracking import MlflowClient

from rsc_mlflow import cancellation
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.gpu_turns import share_gpus
from rsc_mlflow.experiments.registry import ExperimentSpec, Start, experiments
from rsc_mlflow.sweeps.failures import traceback_of
from rsc_mlflow.sweeps.jobs import Job, JobSpec, Outcome
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.checkpoints import checkpoint_paths
from rsc_mlflow.tracking.permissions import may_change
from rsc_mlflow.tracking.project_run import forget_run_id
from rsc_mlflow.tracking.query import condition, find_by_fingerprint, iterate_runs
from rsc_mlflow.tracking.reaper import UNENDED, close
from rsc_mlflow.tracking.resuming import is_alive
from rsc_mlflow.tracking.store import StoreError, connect, reason
from rsc_mlflow.training import Diverged

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """Settings that all units of a sweep share."""

    tracking_uri: str
    experiment_id: str
    parent_run_id: str
    sweep: str
    threads: int


@dataclass(frozen=True)
class Unit:
    """Jobs that run together: a single job, or the members of a cohort."""

    jobs: tuple[JobSpec, ...]
    context: Context


def run_unit(unit: Unit) -> list[Outcome]:
    """Run the jobs that have no finished run yet; return one outcome per job, in any order.

    A failed job is an outcome, not an exception.  SIGTERM and SIGINT end the runs as KILLED and raise
    KeyboardInterrupt.
    """
    _prepare_process(unit)
    experiment = experiments()[unit.jobs[0].entry_point]
    jobs = [Job(spec.entry_point, experiment.options_class.from_mapping(spec.params)) for spec in unit.jobs]
    work = _Work(connect(known=True), experiment, unit.context.parent_run_id)  # the sweep has used it already
    with cancellation.cancellable():
        work.run(jobs)
    return work.outcomes


def _prepare_process(unit: Unit) -> None:
    context = unit.context
    os.environ["MLFLOW_EXPERIMENT_ID"] = context.experiment_id
    os.environ["MLFLOW_TRACKING_URI"] = context.tracking_uri
    share_gpus()
    forget_run_id()  # the sweep's own run, if `mlflow run` started the sweep
    tags = {schema.PARENT_RUN_ID: context.parent_run_id, schema.SWEEP: context.sweep}
    tags |= {schema.COHORT_SIZE: str(len(unit.jobs)), schema.THREADS: str(context.threads)}
    os.environ[MLFLOW_RUN_CONTEXT.name] = json.dumps(tags)
    mlflow.set_tracking_uri(context.tracking_uri)
    torch.set_num_threads(context.threads)


@dataclass
class _Work:
    """A unit that is being run."""

    client: MlflowClient
    experiment: ExperimentSpec
    parent_run_id: str
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> None:
        """Run jobs that start at the same epoch together; with several groups, jobs that run after others come last."""
        begun = [(self._epoch(start.run_id), job, start) for job in jobs if (start := self._start(job)) is not None]
        several = len({epoch for epoch, _, _ in begun}) > 1
        groups: dict[tuple[bool, int], list[tuple[Job, Start]]] = defaultdict(list)
        for epoch, job, start in begun:
            groups[several and bool(self.experiment.runs_after(job.options)), epoch].append((job, start))
        for key in sorted(groups):
            self._run_together(groups[key])

    def _start(self, job: Job) -> Start | None:
        """Return how to start the job: in its newest interrupted run or in a new run; None if it is finished."""
        found = iterate_runs(self.client, [condition("tags", schema.FINGERPRINT, job.fingerprint)])
        runs = [run for run in found if schema.KIND in run.data.tags]
        if finished := [run.info.run_id for run in runs if run.info.status == "FINISHED"]:
            self.outcomes.append(Outcome(job.fingerprint, "finished", "", finished[0]))
            return None
        interrupted = [run.info.run_id for run in self._interrupted(runs) if run.data.params]
        return Start(job.options, interrupted[0] if interrupted and self.experiment.resumes else None)

    def _interrupted(self, runs: Sequence[Run]) -> Iterator[Run]:
        """Close and return the runs that no live process works on and that this account may change.

        A sweep gives each job to one process at a time.  So a run that a process of this sweep left open on another
        machine is dead, even if its last heartbeat is recent.  A live run outside this sweep is not touched.
        """
        for run in runs:
            unended, tags = run.info.status in UNENDED, run.data.tags
            lost = tags.get(schema.PARENT_RUN_ID) == self.parent_run_id and tags.get(schema.HOST) != environment.host()
            if (unended and is_alive(run) and not lost) or not may_change(run):
                continue
            if unended:
                close(self.client, run)
            yield run

    def _epoch(self, run_id: str | None) -> int:
        """Return the epoch of the newest checkpoint, which must be the same for all members of a cohort."""
        return 0 if run_id is None else max(checkpoint_paths(self.client, run_id), default=0)

    def _run_together(self, group: Sequence[tuple[Job, Start]]) -> None:
        cancellation.check()
        try:
            self.experiment.run([start for _, start in group])
        except Exception as error:
            self._after(error, group)
        else:
            for job, _ in group:
                self._conclude(job, "the command returned, but the store has no finished run of this job")

    def _after(self, error: Exception, group: Sequence[tuple[Job, Start]]) -> None:
        """Retry without diverged members, in halves if memory was too small, separately or in a new run; or fail."""
        jobs = [job for job, _ in group]
        if len(group) == 1:
            unusable = isinstance(error, InputError) and not isinstance(error, StoreError | Diverged)
            if group[0][1].run_id is not None and unusable:
                self._run_together([(jobs[0], Start(jobs[0].options))])
            else:
                self._conclude(jobs[0], reason(error), error)
        elif isinstance(error, Diverged):
            for k in error.members:
                self._conclude(jobs[k], reason(error), error)
            self.run([job for k, job in enumerate(jobs) if k not in error.members])
        elif isinstance(error, torch.OutOfMemoryError):
            half = -(-len(jobs) // 2)
            _logger.warning(
                "Not enough memory to train %d models together. Training %d of them first.", len(jobs), half
            )
            error.__traceback__ = None  # its frames keep the cohort in memory
            torch.cuda.empty_cache()
            self.run(jobs[:half])
            self.run(jobs[half:])
        else:
            _logger.warning(
                "Training %d models together failed (%s). Training each separately.", len(group), reason(error)
            )
            for job in jobs:
                self.run([job])

    def _conclude(self, job: Job, otherwise: str, error: Exception | None = None) -> None:
        """Add the outcome of a job: finished if the store has a finished run, regardless of errors in this process."""
        if (run := find_by_fingerprint(job.fingerprint, client=self.client)) is not None:
            self.outcomes.append(Outcome(job.fingerprint, "finished", "", run.info.run_id))
            return
        _logger.error("%s failed: %s", job.description, otherwise, exc_info=error)
        self.outcomes.append(Outcome(job.fingerprint, "failed", otherwise, log=traceback_of(error)))
