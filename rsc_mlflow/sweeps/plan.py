"""The plan of a sweep: its jobs, their order, and which of them are trained together."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.registry import ExperimentSpec
from rsc_mlflow.sweeps.jobs import Job


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep by fingerprint, in an order that respects their dependencies.

    Attributes:
        jobs: the jobs of the grid and the jobs they depend on.
        before: for each job, the fingerprints of jobs that must have finished before it.
        after: for each job, the fingerprints of jobs that must have ended before it, finished or failed.
    """

    jobs: Mapping[str, Job]
    before: Mapping[str, frozenset[str]]
    after: Mapping[str, frozenset[str]]

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def requested(self) -> list[str]:
        """Fingerprints of the jobs in the grid."""
        return [key for key, job in self.jobs.items() if job.requested]

    def wanted(self, finished: Collection[str]) -> "Plan":
        """Return the plan without dependencies of finished jobs."""
        keep: set[str] = set()
        stack = [key for key in self.requested if key not in finished]
        while stack:
            key = stack.pop()
            if key not in keep:
                keep.add(key)
                stack.extend(() if key in finished else self.before[key] | self.after[key])
        keep |= set(self.requested)
        jobs = {key: job for key, job in self.jobs.items() if key in keep}
        after = {key: self.after[key] & keep for key in keep}
        return Plan(jobs, {key: self.before[key] for key in keep}, after)


def make_plan(options: Iterable[object], entry_point: str, experiments: Mapping[str, ExperimentSpec]) -> Plan:
    """Return the plan of a grid: its jobs, and the jobs that they require or are compared with, each once.

    Args:
        options: options of the grid's jobs; duplicates are merged.
        entry_point: experiment of the grid.
        experiments: all experiments by name.
    """
    builder = _Builder(experiments)
    for one in options:
        builder.add(Job(entry_point, one), ())
    return builder.plan()


@dataclass
class _Builder:
    experiments: Mapping[str, ExperimentSpec]
    jobs: dict[str, Job] = field(default_factory=dict)
    before: dict[str, frozenset[str]] = field(default_factory=dict)
    brought: dict[tuple[str, object], str] = field(default_factory=dict)

    def add(self, job: Job, path: tuple[str, ...]) -> str:
        """Add a job after the jobs it requires; return its fingerprint."""
        key = job.fingerprint
        if key in path:
            raise InputError(f"{job.description} requires itself. Fix the declaration of the experiment.")
        known = self.jobs.get(key)
        if known is not None:
            if job.requested and not known.requested:
                self.jobs[key] = job
            return key
        required = self.experiments[job.entry_point].requires(job.options)
        found = [self.add(Job(name, options, requested=False), (*path, key)) for name, options in required]
        self.jobs[key] = job
        self.before[key] = frozenset(found)
        for name, options in self.experiments[job.entry_point].brings(job.options) if job.requested else ():
            if (name, options) not in self.brought:
                self.brought[name, options] = self.add(Job(name, options, requested=False), ())
        return key

    def plan(self) -> Plan:
        """Return the plan with the jobs in topological order."""
        after = self._runs_after()
        for key, leaders in self._shared().items():
            after[key] |= leaders
        ordered = _ordered(list(self.jobs), {key: self.before[key] | after[key] for key in self.jobs})
        return Plan(
            {key: self.jobs[key] for key in ordered}, self.before, {key: frozenset(after[key]) for key in self.jobs}
        )

    def _runs_after(self) -> dict[str, set[str]]:
        """Return for each job the jobs of the sweep whose results it looks up."""
        cache = dict(self.brought)
        after: dict[str, set[str]] = {}
        for key, job in self.jobs.items():
            after[key] = set()
            experiment = self.experiments[job.entry_point]
            for name, options in (*experiment.runs_after(job.options), *experiment.brings(job.options)):
                if (name, options) not in cache:
                    cache[name, options] = Job(name, options).fingerprint
                other = cache[name, options]
                if other in self.jobs and other != key:
                    after[key].add(other)
        return after

    def _shared(self) -> dict[str, set[str]]:
        """Return for each job that uses a shared result the first such job, which creates the result."""
        users: dict[str, list[str]] = defaultdict(list)
        for key, job in self.jobs.items():
            for name in self.experiments[job.entry_point].shared_artifacts(job.options):
                users[name].append(key)
        after: dict[str, set[str]] = defaultdict(set)
        for keys in users.values():
            for key in keys[1:]:
                after[key].add(keys[0])
        return after


def _ordered(keys: Sequence[str], waits: Mapping[str, Collection[str]]) -> list[str]:
    """Return the keys in topological order (Kahn's algorithm), otherwise in the given order."""
    missing = {key: len(set(waits[key])) for key in keys}
    followers: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        for other in waits[key]:
            followers[other].append(key)
    ready = [key for key in keys if not missing[key]]
    ordered: list[str] = []
    while ready:
        following: list[str] = []
        for key in ready:
            ordered.append(key)
            for other in followers[key]:
                missing[other] -= 1
                if not missing[other]:
                    following.append(other)
        ready = following
    if len(ordered) != len(keys):
        raise InputError("Jobs depend on each other in a cycle. Fix the declarations of the experiments.")
    return ordered


def next_unit(
    ready: Sequence[str], cohorts: Mapping[str, Hashable], sizes: Mapping[Hashable, int], workers: int
) -> list[str]:
    """Return the jobs to run together next: the first one that is ready, and others of its cohort.

    Args:
        ready: fingerprints of jobs that can run now, in the plan's order; not empty.
        cohorts: cohort key of each job, None for jobs that run alone.
        sizes: maximum number of members of each cohort.
        workers: number of worker processes that share the jobs that are ready.
    """
    key = cohorts[ready[0]]
    if key is None:
        return [ready[0]]
    alike = [one for one in ready if cohorts[one] == key]
    fair = -(-len(alike) // max(1, workers))
    return alike[: max(1, min(sizes[key], fair))]
