"""Where units of work run: a sweep knows no more than :class:`Executor` and the names in :data:`EXECUTORS`.

Each module of this package registers an executor; a further one is a further file.  The command line reads the names,
so these modules import MLflow, PyTorch and Ray only when an executor is made.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rsc_mlflow.registries import Registry

if TYPE_CHECKING:
    from rsc_mlflow.sweeps.jobs import Outcome
    from rsc_mlflow.sweeps.worker import Unit

GRACE_SECONDS = 30.0
"""How long a worker may take to close its runs after it was asked to stop."""


@dataclass(frozen=True)
class Result:
    """What became of a unit; ``outcomes`` is None if it ended without any (``reason`` says why)."""

    unit: "Unit"
    outcomes: "list[Outcome] | None"
    reason: str = ""


class Executor(Protocol):
    """Runs units, several at a time.

    Attributes:
        workers: how many units run at the same time.
        threads: threads of each.
        gpus: GPUs there are in all.
    """

    workers: int
    threads: int
    gpus: int

    def submit(self, unit: "Unit") -> None:
        """Start a unit; at most ``workers`` may be under way."""

    def wait(self, seconds: float) -> list[Result]:
        """Units that have ended since the last call; waits up to ``seconds`` for the first."""

    def close(self, *, keep_logs: bool = True) -> None:
        """Stop everything, units under way too; their runs end as KILLED."""


EXECUTORS: Registry[Callable[[int | str, str, int], Executor]] = Registry("executor", "rsc_mlflow.sweeps.executors")
"""Name → function of the options ``workers`` and ``ray_address`` and the number of jobs that makes the executor."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
