"""Signals at a chosen SQL statement, while its cursor is open: the worst moment for a run on SQLite."""

import itertools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy

from rsc_mlflow.tracking.signals import Interrupted

MOST_STATEMENTS = 3000


def interrupted_at(number: int, call: Callable[[], object], signals: Sequence[signal.Signals], gap: int = 1) -> bool:
    """Send the first signal at statement ``number`` of the main thread, each further one ``gap`` statements later.

    Returns:
        False if the call has fewer statements.
    """
    statements = itertools.count()
    left = list(signals)
    due = {len(signals) - i: number + i * gap for i in range(len(signals))}

    def statement_done(*arguments: Any) -> None:
        if threading.current_thread() is threading.main_thread() and left and next(statements) >= due[len(left)]:
            os.kill(os.getpid(), left.pop(0))

    sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", statement_done)
    try:
        call()
    except Interrupted:
        return True
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "after_cursor_execute", statement_done)
    assert len(left) == len(signals), "a signal was not heard"
    return False


def interrupted_everywhere(
    call: Callable[[], object], step: int, signals: Sequence[signal.Signals] = (signal.SIGINT,), gap: int = 1
) -> Iterator[int]:
    """Carries the call out again and again, stopped at every ``step``-th statement, up to its last."""
    for number in range(0, MOST_STATEMENTS, step):
        if not interrupted_at(number, call, signals, gap):
            return
        yield number
    raise AssertionError(f"more than {MOST_STATEMENTS} statements")
