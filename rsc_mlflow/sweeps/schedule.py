"""The schedule of a sweep: which jobs are ready, running, finished and failed.  Independent of stores and processes."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from rsc_mlflow.sweeps.jobs import Outcome
from rsc_mlflow.sweeps.plan import Plan, next_unit

ATTEMPTS = 3
"""A job fails if its process dies this many times."""


@dataclass
class Schedule:
    """The state of every job of a plan.

    Args:
        plan: the jobs and their dependencies.
        finished: fingerprints with a finished run.
        cohorts: cohort key of each job, None for jobs that run alone.
        sizes: maximum number of members of each cohort.
    """

    plan: Plan
    finished: set[str]
    cohorts: dict[str, Hashable]
    sizes: Mapping[Hashable, int]
    failed: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    _left: dict[str, None] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._left = {key: None for key in self.plan.jobs if key not in self.finished}

    @property
    def over(self) -> bool:
        """Whether every job has ended."""
        return not self._left and not self.running

    @property
    def left(self) -> int:
        """Number of jobs that have not ended."""
        return len(self._left) + len(self.running)

    def next(self, workers: int) -> list[str] | None:
        """Return the fingerprints to run together next, or None if no job is ready.

        Args:
            workers: number of workers that train at the same time.
        """
        self._fail_orphans()
        ready = self._ready(beside=workers == 1)
        if not ready:
            return None
        unit = next_unit(ready, self.cohorts, self.sizes, workers)
        for key in unit:
            del self._left[key]
        self.running.update(unit)
        return unit

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Record the results of jobs."""
        for outcome in outcomes:
            self.running.discard(outcome.fingerprint)
            if outcome.state == "finished":
                self.finished.add(outcome.fingerprint)
            else:
                self.failed[outcome.fingerprint] = outcome.reason

    def died(self, keys: Sequence[str], reason: str) -> None:
        """Record that the process of these jobs died.

        They run again, alone from the second time on, and fail the :data:`ATTEMPTS`-th time.
        """
        for key in keys:
            self.running.discard(key)
            self._attempts[key] = self._attempts.get(key, 0) + 1
            if self._attempts[key] >= ATTEMPTS:
                self.failed[key] = f"{reason}, {ATTEMPTS} times"
            else:
                self._left = {key: None, **self._left}
                if self._attempts[key] > 1:
                    self.cohorts[key] = None

    def _ready(self, *, beside: bool) -> list[str]:
        """Return the jobs that can run now, in the plan's order; only the first one if it runs alone.

        With ``beside``, a job is also ready if all jobs that it waits for are in its cohort, which finishes its members
        in this order.  Poisoned models are then trained together with the clean models that they are compared with.
        With several workers, the clean models are trained first, so that all workers can share this work.
        """
        ended = self.finished | self.failed.keys()
        found: list[str] = []
        together: dict[Hashable, set[str]] = defaultdict(set)
        for key in self._left:
            cohort = self.cohorts[key]
            waits = self.plan.after[key] - ended
            if self.plan.before[key] <= self.finished and waits <= together[cohort]:
                found.append(key)
                if beside and cohort is not None:
                    together[cohort].add(key)
                if self.cohorts[found[0]] is None:
                    break
        return found

    def _fail_orphans(self) -> None:
        """Mark jobs as failed that require a failed job."""
        if not self.failed:
            return
        for key in list(self._left):
            lost = self.plan.before[key] & self.failed.keys()
            if lost:
                del self._left[key]
                self.failed[key] = f"requires {self.plan.jobs[min(lost)].description}, which failed"
