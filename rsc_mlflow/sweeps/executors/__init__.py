"""Executors, which run units of work.  Sweeps use only :class:`Executor` and the names in :data:`EXECUTORS`.

Each module of this package registers an executor.  The command line imports these modules to list the names, so they
import MLflow, PyTorch and Ray only when an executor is created.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rsc_mlflow.registries import Registry

if TYPE_CHECKING:
    from rsc_mlflow.sweeps.jobs import Outcome
    from rsc_mlflow.sweeps.worker import Unit

GRACE_SECONDS = 30.0
"""Maximum time in which a worker closes its runs after a request to stop."""


@dataclass(frozen=True)
class Result:
    """Result of a unit; if its process failed, ``outcomes`` is None and ``log`` the end of its log, if there is one."""

    unit: "Unit"
    outcomes: "list[Outcome] | None"
    reason: str = ""
    log: str = field(default="", compare=False)


class Executor(Protocol):
    """Runs several units at the same time.

    Attributes:
        workers: maximum number of units that run at the same time.
        threads: number of threads per unit.
        gpus: total number of GPUs.
    """

    workers: int
    threads: int
    gpus: int

    def submit(self, unit: "Unit") -> None:
        """Start a unit; at most ``workers`` units may be running."""

    def wait(self, seconds: float) -> list[Result]:
        """Return the results of units that ended since the last call; wait up to ``seconds`` for the first."""

    def close(self, *, keep_logs: bool = True) -> None:
        """Stop all workers; runs in progress end as KILLED.  Delete the workers' log files unless ``keep_logs``."""


EXECUTORS: Registry[Callable[[int | str, str, int], Executor]] = Registry("executor", "rsc_mlflow.sweeps.executors")
"""Name → function (options ``workers`` and ``ray_address``, number of jobs) that creates the executor."""


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
