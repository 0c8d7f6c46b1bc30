"""What a person sees while models train: a bar on a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINES = 10
"""How many lines a whole training prints where there is no terminal."""


class TrainingProgress:
    """Shows epochs and what was measured in each on standard error; used as a context manager."""

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
        """Show one finished epoch.

        Args:
            epoch: counted from 1.
            values: what was measured in this epoch, by the words that name it ("train loss", "test accuracy", "score");
                None: not measured.  Scores are shown with 3 digits, everything else with 4.
        """
        note = "  ".join(f"{name} {_digits(name, value)}" for name, value in values.items() if value is not None)
        self._progress.update(self._task, completed=epoch, note=note)
        if not self._interactive and (epoch % self._every == 0 or epoch == self._epochs):
            print(f"{self._what}: epoch {epoch}/{self._epochs}  {note}".rstrip(), file=sys.stderr, flush=True)


def _digits(name: str, value: float) -> str:
    return f"{value:.3f}" if name.startswith("score") else f"{value:.4f}"
