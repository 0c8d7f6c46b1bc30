"""Print the plan, progress, states and failures of a sweep."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from rsc_mlflow.messages import answer
from rsc_mlflow.sweeps.grid import Grid
from rsc_mlflow.sweeps.plan import Plan
from rsc_mlflow.sweeps.schedule import Schedule
from rsc_mlflow.sweeps.state import STATES

_logger = logging.getLogger(__name__)

LINE_SECONDS = 30.0
"""Minimum time between progress lines if standard error is not a terminal."""
SHOWN = 20
"""Maximum number of jobs to list; further ones are counted."""


def print_plan(
    identity: str,
    grid: Grid,
    plan: Plan,
    left: Sequence[str],
    cohorts: Mapping[str, Hashable],
    sizes: Mapping[Hashable, int],
) -> None:
    """Print the numbers of jobs of a plan, and which of them would run together.

    Args:
        identity: name of the sweep.
        grid: the grid.
        plan: all jobs.
        left: fingerprints of the jobs without a finished run.
        cohorts: cohort key of each job, None for jobs that run alone.
        sizes: maximum number of members of each cohort.
    """
    requested = set(plan.requested)
    serving = [key for key in plan.jobs if key not in requested]
    answer(f"{identity}: {grid.about}" if grid.about else identity)
    answer(
        f"{len(requested)} jobs of {grid.entry_point}: {len(requested - set(left))} finished, "
        f"{len(requested & set(left))} to run"
    )
    for name, count in Counter(plan.jobs[key].entry_point for key in serving).items():
        answer(f"additional jobs of {name}, which these depend on or are compared with: {count}")
    table = Table("jobs that run together", "number", "maximum together")
    groups = Counter(cohorts[key] for key in left)
    for key, count in groups.items():
        table.add_row(*_group(plan, left, cohorts, key), str(count), str(sizes[key]) if key is not None else "1")
    if left:
        Console(width=120).print(table)


def _group(plan: Plan, left: Sequence[str], cohorts: Mapping[str, Hashable], key: Hashable) -> tuple[str]:
    first = plan.jobs[next(one for one in left if cohorts[one] == key)]
    if key is not None:
        return (f"cohort: {first.description}",)
    alone = Counter(plan.jobs[one].entry_point for one in left if cohorts[one] is None)
    return ("separately: " + ", ".join(f"{count} {name}" for name, count in alone.items()),)


def print_status(identity: str, plan: Plan, states: Mapping[str, tuple[str, str]]) -> None:
    """Print the number of jobs in each state, and list those that are running, interrupted or failed."""
    counts = Counter(state for state, _ in states.values())
    answer(f"{identity}: {len(plan)} jobs, " + ", ".join(f"{counts[state]} {state}" for state in STATES))
    for state in ("running", "interrupted", "failed"):
        found = [(key, run_id) for key, (one, run_id) in states.items() if one == state]
        for key, run_id in found[:SHOWN]:
            answer(f"  {state}: {plan.jobs[key].description} (run {run_id})")
        if len(found) > SHOWN:
            answer(f"  {state}: and {len(found) - SHOWN} more")


def print_failures(plan: Plan, failed: Mapping[str, str]) -> None:
    """Log the failed jobs and the reasons as one error, if there are any."""
    lines = [f"  {plan.jobs[key].description}: {reason}" for key, reason in list(failed.items())[:SHOWN]]
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more; see the artifact failures.json of the sweep's run")
    if failed:
        _logger.error("\n".join([f"{len(failed)} of {len(plan)} jobs failed:", *lines]))


class Reporter:
    """Shows progress on standard error: a progress bar on a terminal, otherwise a line every :data:`LINE_SECONDS`."""

    def __init__(self, identity: str, total: int, done: int) -> None:
        console = Console(file=sys.stderr)
        self._identity = identity
        self._total = total
        self._first = done
        self._began = time.monotonic()
        self._printed = ""
        self._next_line = 0.0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._lines = not console.is_terminal
        self._task: TaskID = self._bar.add_task(identity, total=total, completed=done, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, schedule: Schedule) -> None:
        """Show the current state of the schedule."""
        done = self._total - schedule.left - len(schedule.failed)
        note = f"{len(schedule.running)} running"
        note += f", {len(schedule.failed)} failed" if schedule.failed else ""
        now = time.monotonic()
        seconds = remaining_seconds(now - self._began, done - self._first, len(schedule.running), schedule.left)
        note += f", about {span(seconds)} left" if seconds else ""
        self._bar.update(self._task, completed=done, note=note)
        line = f"{self._identity}: {done}/{self._total} finished, {note}"
        if self._lines and line != self._printed and (now >= self._next_line or schedule.over):
            _logger.info(line)
            self._printed, self._next_line = line, now + LINE_SECONDS


def remaining_seconds(elapsed: float, finished: int, running: int, left: int) -> float:
    """Return the estimated remaining time of a sweep in seconds; 0 before the first job finishes, and at the end.

    A running job counts as half finished, its expected state.  Otherwise the estimate would increase while a cohort is
    trained, whose jobs all finish at the same time.

    Args:
        elapsed: seconds since the start.
        finished: number of jobs finished since then.
        running: number of running jobs.
        left: number of jobs that have not ended, including running ones.
    """
    if not finished or not left:
        return 0.0
    return elapsed / (finished + running / 2) * (left - running / 2)


def span(seconds: float) -> str:
    """Return a duration as text in seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"
