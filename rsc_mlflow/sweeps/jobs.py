"""What a sweep runs: a job is an experiment with options, and its identity is the fingerprint of its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rsc_mlflow.tracking.fingerprint import fingerprint


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
    def description(self) -> str:
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
