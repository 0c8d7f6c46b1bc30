"""Jobs of a sweep: an experiment with options, identified by the fingerprint of its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rsc_mlflow.tracking.fingerprint import fingerprint


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        entry_point: name of the experiment.
        options: its options.
        requested: whether the grid contains the job; False for jobs that other jobs depend on.
    """

    entry_point: str
    options: Any = field(compare=False)
    requested: bool = True

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """All options that affect the result."""
        found: Mapping[str, Any] = self.options.identity()
        return found

    @cached_property
    def fingerprint(self) -> str:
        """Hash of :attr:`identity`, stored in the tag ``rsc.fingerprint`` of the run."""
        return fingerprint(self.identity)

    @property
    def description(self) -> str:
        """The main options of the job, for messages."""
        params = self.options.as_params()
        words = [params[key] for key in ("dataset", "model", "optimizer") if key in params]
        return " ".join([self.entry_point, *words])

    def spec(self) -> "JobSpec":
        """Return the job as text for a worker process."""
        return JobSpec(self.entry_point, self.options.as_params(), self.fingerprint)


@dataclass(frozen=True)
class JobSpec:
    """A job as text, which can be sent to another process or machine."""

    entry_point: str
    params: Mapping[str, str]
    fingerprint: str


@dataclass(frozen=True)
class Outcome:
    """The result of a job; ``state`` is ``finished`` or ``failed``, ``log`` an excerpt that explains a failure."""

    fingerprint: str
    state: str
    reason: str = ""
    run_id: str = ""
    log: str = ""
