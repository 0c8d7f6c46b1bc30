"""Run a sweep: plan the jobs of a grid, look up finished runs, run the missing ones, and report failures."""

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import mlflow
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console

from rsc_mlflow import cancellation
from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.options import TrainOptions
from rsc_mlflow.experiments.registry import experiments, options_of
from rsc_mlflow.messages import answer
from rsc_mlflow.sweeps import lease
from rsc_mlflow.sweeps.estimate import Estimator, members_that_fit
from rsc_mlflow.sweeps.executors import EXECUTORS, Executor
from rsc_mlflow.sweeps.failures import failure_list
from rsc_mlflow.sweeps.gpus import default_workers, training_at_once
from rsc_mlflow.sweeps.grid import Grid, load_grid
from rsc_mlflow.sweeps.jobs import Job, Outcome
from rsc_mlflow.sweeps.ledger import Ledger
from rsc_mlflow.sweeps.options import LIMIT, SweepOptions
from rsc_mlflow.sweeps.plan import Plan, make_plan
from rsc_mlflow.sweeps.registering import check_registration
from rsc_mlflow.sweeps.report import Reporter, print_failures, print_plan, print_status, span
from rsc_mlflow.sweeps.results import finished_runs, result_table
from rsc_mlflow.sweeps.schedule import Schedule
from rsc_mlflow.sweeps.shipped import grid_file
from rsc_mlflow.sweeps.state import close_dead_runs, job_states, previous_parent
from rsc_mlflow.sweeps.worker import Context, Unit
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.experiments import current_experiment, where_to_look
from rsc_mlflow.tracking.fingerprint import fingerprint
from rsc_mlflow.tracking.pull import resolve
from rsc_mlflow.tracking.run import TrackedRun, open_run
from rsc_mlflow.tracking.store import connect
from rsc_mlflow.unlearning.choices import AUTO

_logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
SUMMARY_SECONDS = 600.0
"""Time between summaries of the ledger."""
FAILURES_SECONDS = 60.0
"""Time between updates of ``failures.json``."""


@dataclass(frozen=True)
class Sweep:
    """A grid, its plan and the ledger."""

    grid: Grid
    plan: Plan
    ledger: Ledger
    client: MlflowClient

    @property
    def identity(self) -> str:
        """Value of the tag ``rsc.sweep``: the grid's name and a hash of its jobs."""
        return f"{self.grid.name}-{fingerprint({'jobs': sorted(self.plan.requested)})[:8]}"

    @property
    def left(self) -> list[str]:
        """Fingerprints without a finished run."""
        return [key for key in self.plan.jobs if key not in self.ledger.finished]


def run_sweep(options: SweepOptions) -> int:
    """Run a sweep; return the exit status, 0 if every job of the grid has a finished run, 1 if any job failed.

    Raises:
        InputError: the grid is invalid or too large, the tracking store is not available, models cannot be registered,
            or another sweep is running some of the jobs.
    """
    grid = read_grid(options)
    sweep = plan_sweep(grid, recheck=options.recheck)
    if options.status:
        print_status(sweep.identity, sweep.plan, job_states(sweep.client, sweep.plan, sweep.ledger.finished))
        return 0
    if options.dry_run:
        print_dry_run(sweep, options)
        return 0
    if not sweep.left:
        answer(f"{sweep.identity}: nothing to do, all {len(sweep.plan.requested)} jobs are finished")
        print_results(sweep)
        return 0
    check_registration(sweep.plan.jobs[key].options for key in sweep.left)
    close_dead_runs(sweep.client)
    lease.check_no_overlap(sweep.client, sweep.left)
    with cancellation.cancellable():
        failed = _run_in(
            EXECUTORS[options.executor](options.workers, options.ray_address, len(sweep.left)), sweep, options
        )
    print_results(sweep)
    return 1 if failed else 0


def print_results(sweep: Sweep) -> None:
    """Print the results of finished jobs of the grid's kind, including those of earlier sweeps."""
    known, finished = experiments(), sweep.ledger.finished
    kind = known[sweep.grid.entry_point].kind
    keys = (key for key, job in sweep.plan.jobs.items() if known[job.entry_point].kind == kind and key in finished)
    table = result_table(finished_runs(sweep.client, [finished[key].run_id for key in keys]))
    if table is not None:
        Console(width=130).print(table)


def _run_in(executor: Executor, sweep: Sweep, options: SweepOptions) -> dict[str, str]:
    """Run the missing jobs; return the reasons of failed jobs by fingerprint."""
    try:
        failed = _run(sweep, options, executor)
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        executor.close(keep_logs=not interrupted)
        with contextlib.suppress(Exception):  # runs of workers that had no time to close them
            close_dead_runs(sweep.client)
        if interrupted:
            _logger.info("%s: To resume, run the same command.", sweep.identity)
        raise
    executor.close(keep_logs=bool(failed))
    return failed


def read_grid(options: SweepOptions) -> Grid:
    """Return the grid; refuse a large one that was not confirmed."""
    known = tuple(experiments())
    grid = load_grid(grid_file(options.grid), options_of, known)
    if grid.size > LIMIT and not (options.yes or options.dry_run or options.status):
        raise InputError(
            f"{options.grid} has {grid.size:,} combinations. Expected at most {LIMIT:,} without --yes true. "
            "Check the plan with --dry_run true, then confirm with --yes true."
        )
    return grid


def plan_sweep(grid: Grid, *, recheck: bool = False) -> Sweep:
    """Return the plan of a grid and the ledger of finished runs."""
    plan = make_plan(_with_models_named(grid.options()), grid.entry_point, experiments())
    client = connect()
    ledger = Ledger.read(client, recheck=recheck)
    return Sweep(grid, plan.wanted(ledger.finished), ledger, client)


def _with_models_named(options: Iterable[Any]) -> Iterator[Any]:
    """Yield the options with model URIs resolved to model ids, so that a moved alias gives a new job."""
    models: dict[str, str] = {}
    for one in options:
        uri = getattr(one, "model_uri", AUTO)
        if uri != AUTO and uri not in models:
            models[uri] = resolve(uri)
        yield one if uri == AUTO else replace(one, model_uri=models[uri])


def print_dry_run(sweep: Sweep, options: SweepOptions) -> None:
    """Print the plan with numbers of jobs, cohorts and an estimate of the time."""
    workers = default_workers(options.workers)
    schedule = _schedule(sweep, options, workers)
    together = Counter(schedule.cohorts.values())

    def members(job: Job) -> int:
        cohort = schedule.cohorts[job.fingerprint]
        return 1 if cohort is None else min(together[cohort], schedule.sizes[cohort])

    estimator = Estimator(sweep.client, members)
    gpus = torch.cuda.device_count()
    seconds = estimator.seconds(sweep.plan.jobs[key] for key in sweep.left)
    seconds /= training_at_once(workers, gpus) if gpus else 1  # on a CPU the workers share the cores
    print_plan(sweep.identity, sweep.grid, sweep.plan, sweep.left, schedule.cohorts, schedule.sizes)
    numbers = {
        "finished runs": estimator.measured,
        "a short measurement on this machine": len(sweep.left) - estimator.measured - estimator.unknown,
    }
    sources = " and ".join(f"from {source} for {number} jobs" for source, number in numbers.items() if number)
    answer(f"estimate: {span(seconds)} on {workers} workers, {sources or 'no jobs to run'}")
    if estimator.unknown:
        answer(f"not in the estimate: {estimator.unknown} jobs of experiments without a finished run")


def _schedule(sweep: Sweep, options: SweepOptions, workers: int, on_gpu: bool | None = None) -> Schedule:
    """Return the initial schedule of all jobs."""
    known = experiments()
    cohorts: dict[str, Hashable] = {}
    sizes: dict[Hashable, int] = {}
    gpu = torch.cuda.is_available() if on_gpu is None else on_gpu
    for key in sweep.left:
        job = sweep.plan.jobs[key]
        cohort = known[job.entry_point].cohort(job.options, gpu) if options.cohort_size != 1 else None
        cohorts[key] = None if cohort is None else (job.entry_point, cohort)
        if cohort is not None and cohorts[key] not in sizes:
            sizes[cohorts[key]] = _most_members(job.options, options, workers, gpu)
    return Schedule(sweep.plan, set(sweep.ledger.finished), cohorts, sizes)


def _most_members(job: TrainOptions, options: SweepOptions, workers: int, gpu: bool) -> int:
    if isinstance(options.cohort_size, int):
        return options.cohort_size
    return members_that_fit(job, workers, gpu)


def _run(sweep: Sweep, options: SweepOptions, executor: Executor) -> dict[str, str]:
    """Run the missing jobs in child runs of the sweep's run; return the reasons of failed jobs by fingerprint."""
    schedule = _schedule(sweep, options, executor.workers, executor.gpus > 0)
    experiment_id = current_experiment(sweep.client)
    previous = previous_parent(sweep.client, sweep.identity, experiment_id)
    with open_run(
        kind="sweep",
        method=sweep.grid.entry_point,
        name=f"sweep {sweep.grid.name}",
        params=_params(sweep, options),
        tags={schema.SWEEP: sweep.identity},
        resume_run_id=previous,
        free_params=tuple(_params(sweep, options)),
    ) as parent:
        parent.log_text(grid_file(options.grid).read_text(encoding="utf-8"), "grid.yaml")
        sweep.ledger.save(parent)
        lease.take(parent, sweep.left)
        context = Context(
            mlflow.get_tracking_uri(), parent.experiment_id, parent.run_id, sweep.identity, executor.threads
        )
        if previous is not None:
            parent.log_json({"failed": []}, schema.FAILURES)  # those of the previous attempt
        try:
            _Coordinator(sweep, schedule, executor, context, parent).run()
        finally:
            executor.close()  # before the run ends, because the run holds the lease on the jobs
    print_failures(sweep.plan, schedule.failed)
    _logger.info("%s: %s", sweep.identity, where_to_look(parent.experiment_id, parent.run_id))
    return schedule.failed


def _params(sweep: Sweep, options: SweepOptions) -> dict[str, Any]:
    names = ("grid", "executor", "workers", "cohort_size")
    return {name: getattr(options, name) for name in names} | {"n_jobs": len(sweep.plan.requested)}


@dataclass
class _Coordinator:
    """Submits jobs to the executor until every job has ended."""

    sweep: Sweep
    schedule: Schedule
    executor: Executor
    context: Context
    parent: TrackedRun
    _underway: int = 0
    _saved: float = 0.0
    _logs: dict[str, str] = field(default_factory=dict)
    _listed: int = 0
    _listed_at: float = -math.inf

    def run(self) -> None:
        """Run all jobs of the schedule."""
        self._saved = time.monotonic()
        reporter = Reporter(
            self.sweep.identity, len(self.sweep.plan), len(self.schedule.finished & set(self.sweep.plan.jobs))
        )
        with reporter:
            while not self.schedule.over:
                cancellation.check()
                self._submit()
                self._collect()
                self._list_failures()
                reporter.update(self.schedule)
        self._log_progress()
        self.sweep.ledger.save(self.parent)

    def _submit(self) -> None:
        workers = self.executor.workers
        while self._underway < workers:
            keys = self.schedule.next(training_at_once(workers, self.executor.gpus))
            if keys is None:
                return
            jobs = tuple(self.sweep.plan.jobs[key].spec() for key in keys)
            self.executor.submit(Unit(jobs, self.context))
            self._underway += 1
            self._log_progress()

    def _collect(self) -> None:
        for result in self.executor.wait(POLL_SECONDS):
            self._underway -= 1
            if result.outcomes is None:
                keys = [job.fingerprint for job in result.unit.jobs]
                self.schedule.died(keys, result.reason)
                self._logs |= dict.fromkeys(keys, result.log)
            else:
                self._take(result.outcomes)
            self._log_progress()

    def _take(self, outcomes: list[Outcome]) -> None:
        self.schedule.take(outcomes)
        for outcome in outcomes:
            if outcome.state == "finished":
                self.sweep.ledger.add(outcome.fingerprint, outcome.run_id, self.context.experiment_id)
            else:
                self._logs[outcome.fingerprint] = outcome.log
        if time.monotonic() - self._saved > SUMMARY_SECONDS:
            self._saved = time.monotonic()
            self.sweep.ledger.refresh()
            self.sweep.ledger.save(self.parent)

    def _list_failures(self) -> None:
        """Store failures in ``failures.json``: the first one immediately, later ones every minute and at the end."""
        failed, now = self.schedule.failed, time.monotonic()
        due = self.schedule.over or now - self._listed_at > FAILURES_SECONDS
        if len(failed) > self._listed and due:
            self.parent.log_json({"failed": failure_list(self.sweep.plan, failed, self._logs)}, schema.FAILURES)
            self._listed, self._listed_at = len(failed), now

    def _log_progress(self) -> None:
        """Log the sweep's progress; ``step`` is the number of jobs that have ended."""
        schedule = self.schedule
        done = len(schedule.finished & self.sweep.plan.jobs.keys())
        values = {
            schema.SWEEP_FINISHED: done,
            schema.SWEEP_FAILED: len(schedule.failed),
            schema.SWEEP_RUNNING: len(schedule.running),
            schema.SWEEP_LEFT: schedule.left,
        }
        self.parent.metrics(values, done + len(schedule.failed))
