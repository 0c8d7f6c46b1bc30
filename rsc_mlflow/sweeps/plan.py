"""From a grid to the work that is left: which jobs, in which order, and which of them train together."""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rsc_mlflow.errors import InputError
from rsc_mlflow.experiments.registry import ExperimentSpec
from rsc_mlflow.sweeps.jobs import Job


@dataclass(frozen=True)
class Plan:
    """All jobs of a sweep by fingerprint, in the order in which they would run one after the other.

    Attributes:
        jobs: those of the grid, and those that they need.
        before: fingerprint → fingerprints of jobs that must be finished first, or the job cannot run.
        after: fingerprint → fingerprints of jobs that must have ended first, however they ended.
    """

    jobs: Mapping[str, Job]
    before: Mapping[str, frozenset[str]]
    after: Mapping[str, frozenset[str]]

    def __len__(self) -> int:
        return len(self.jobs)

    @property
    def requested(self) -> list[str]:
        """Fingerprints of the grid's own jobs."""
        return [key for key, job in self.jobs.items() if job.requested]

    def wanted(self, finished: Collection[str]) -> "Plan":
        """The plan without jobs that only served what is finished."""
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
    """The jobs of a grid and everything that they require or are compared with, each once.

    Args:
        options: options objects of the grid; equal ones are merged.
        entry_point: the grid's.
        experiments: name → experiment.
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
        """Add a job after what it requires; returns its fingerprint."""
        key = job.fingerprint
        if key in path:
            raise InputError(f"{job.description} requires itself; this is a fault in the declaration of experiments")
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
        """The jobs, ordered so that nothing comes before what it waits for."""
        after = self._runs_after()
        for key, leaders in self._shared().items():
            after[key] |= leaders
        ordered = _ordered(list(self.jobs), {key: self.before[key] | after[key] for key in self.jobs})
        return Plan(
            {key: self.jobs[key] for key in ordered}, self.before, {key: frozenset(after[key]) for key in self.jobs}
        )

    def _runs_after(self) -> dict[str, set[str]]:
        """Jobs whose results a job looks up, where the sweep has them."""
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
        """The first job that makes a shared result goes before all others that use it."""
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
    """Kahn's algorithm; among those that are ready, the order given."""
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
        raise InputError("jobs wait for each other in a circle; this is a fault in the declaration of experiments")
    return ordered


def next_unit(
    ready: Sequence[str], cohorts: Mapping[str, Hashable], sizes: Mapping[Hashable, int], workers: int
) -> list[str]:
    """The jobs to run together next: the first that is ready, and others of its cohort.

    Args:
        ready: fingerprints of jobs that can run now, in the plan's order; not empty.
        cohorts: fingerprint → cohort key, None for a job that runs alone.
        sizes: cohort key → most members.
        workers: processes among which what is ready is shared out.
    """
    key = cohorts[ready[0]]
    if key is None:
        return [ready[0]]
    alike = [one for one in ready if cohorts[one] == key]
    fair = -(-len(alike) // max(1, workers))
    return alike[: max(1, min(sizes[key], fair))]
