"""Progress of training: a progress bar on a terminal, otherwise a line every few epochs."""

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_logger = logging.getLogger(__name__)

LINES = 10
"""Approximate number of lines per training if standard error is not a terminal."""


class TrainingProgress:
    """Context manager that shows epochs and their metrics on standard error."""

    def __init__(self, what: str, epochs: int, done: int = 0) -> None:
        self._epochs = epochs
        self._what = what
        self._every = max(1, epochs // LINES)
        console = Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._interactive = console.is_terminal
        self._task = self._progress.add_task(what, total=epochs, completed=done, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._progress.stop()

    def update(self, epoch: int, values: Mapping[str, float | None]) -> None:
        """Show a finished epoch.

        Args:
            epoch: number of the epoch, from 1.
            values: metrics by label ("train loss", "test accuracy", "score"); None is not shown.  Scores have 3 digits,
                other values 4.
        """
        note = "  ".join(f"{name} {_digits(name, value)}" for name, value in values.items() if value is not None)
        self._progress.update(self._task, completed=epoch, note=note)
        if not self._interactive and (epoch % self._every == 0 or epoch == self._epochs):
            _logger.info(f"{self._what}: epoch {epoch}/{self._epochs}  {note}".rstrip())


def _digits(name: str, value: float) -> str:
    return f"{value:.3f}" if name.startswith("score") else f"{value:.4f}"
