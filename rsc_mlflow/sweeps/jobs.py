"""What a sweep runs: a job is an entry point with options, and its identity is the fingerprint of its result."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rsc_mlflow.experiments.fields import Options
from rsc_mlflow.tracking.fingerprint import fingerprint


@dataclass(frozen=True)
class Start:
    """A job to carry out now: in the interrupted run ``run_id``, or in a new run, which the experiment opens."""

    options: Any
    run_id: str | None = None


@dataclass(frozen=True)
class Experiment:
    """How a sweep deals with one entry point.

    Attributes:
        name: the entry point.
        options_class: validates the options; its ``identity()`` says what decides the result.
        run: carries out the started jobs, several at once only where ``cohort`` gave them the same key.
        cohort: jobs with the same key train as one stacked model; None: this job runs alone.
        needs: jobs that must be finished before, as (entry point, options); run if they are missing.
        follows: jobs that, if the sweep has them too, run before, because this one looks up their results.
        brings: jobs that the sweep adds where its grid asks for this one, to compare its results with; they run
            before, and this one runs whether they succeed or not.
        shares: names of intermediate results that the first of several jobs makes for all.
        resumes: an interrupted run goes on from its checkpoint; otherwise it is closed and started anew.
    """

    name: str
    options_class: type[Options]
    run: Callable[[Sequence[Start]], None]
    cohort: Callable[[Any], Hashable] = lambda _: None
    needs: Callable[[Any], Sequence[tuple[str, Any]]] = lambda _: ()
    follows: Callable[[Any], Sequence[tuple[str, Any]]] = lambda _: ()
    brings: Callable[[Any], Sequence[tuple[str, Any]]] = lambda _: ()
    shares: Callable[[Any], Sequence[str]] = lambda _: ()
    resumes: bool = False


@dataclass(frozen=True)
class Job:
    """One run that a sweep wants to exist.

    ``requested`` is false for jobs that only serve another one.
    """

    entry_point: str
    options: Any = field(compare=False)
    requested: bool = True

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Everything that decides the result."""
        found: Mapping[str, Any] = self.options.identity()
        return found

    @cached_property
    def fingerprint(self) -> str:
        """The job's identity: the value of tag ``rsc.fingerprint`` of its run."""
        return fingerprint(self.identity)

    @property
    def shown(self) -> str:
        """The options that identify the job for a person."""
        params = self.options.as_params()
        words = [params[key] for key in ("dataset", "model", "optimizer") if key in params]
        return " ".join([self.entry_point, *words])

    def spec(self) -> "JobSpec":
        """What a worker process needs to know."""
        return JobSpec(self.entry_point, self.options.as_params(), self.fingerprint)


@dataclass(frozen=True)
class JobSpec:
    """A job as text, to be sent to another process or machine."""

    entry_point: str
    params: Mapping[str, str]
    fingerprint: str


@dataclass(frozen=True)
class Outcome:
    """What became of a job: ``finished`` or ``failed``."""

    fingerprint: str
    state: str
    reason: str = ""
    run_id: str = ""
