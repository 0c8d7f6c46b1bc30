"""Signals at a chosen SQL statement, while its cursor is open: the worst moment for a run on SQLite."""

import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy

import rsc_mlflow
from rsc_mlflow.tracking import signals
from rsc_mlflow.tracking.signals import Interrupted

_PACKAGE = str(Path(rsc_mlflow.__file__).parent)
_TESTS = str(Path(__file__).parent)

MOST_STATEMENTS = 3000


def interrupted_at(number: int, call: Callable[[], object], sent: Sequence[signal.Signals], gap: int = 1) -> bool:
    """Send the first signal at statement ``number`` of the main thread, each further one ``gap`` statements later.

    Returns:
        False if the call has fewer statements.
    """
    statements = itertools.count()
    left = list(sent)
    due = {len(sent) - i: number + i * gap for i in range(len(sent))}

    def statement_done() -> None:
        if left and next(statements) >= due[len(left)]:
            os.kill(os.getpid(), left.pop(0))

    with _after_each_statement(statement_done):
        try:
            call()
        except Interrupted:
            return True
    assert len(left) == len(sent), "a signal was not heard"
    return False


def interrupted_everywhere(
    call: Callable[[], object], step: int, sent: Sequence[signal.Signals] = (signal.SIGINT,), gap: int = 1
) -> Iterator[int]:
    """Carries the call out again and again, stopped at every ``step``-th statement, up to its last."""
    for number in range(0, MOST_STATEMENTS, step):
        if not interrupted_at(number, call, sent, gap):
            return
        yield number
    raise AssertionError(f"more than {MOST_STATEMENTS} statements")


@contextmanager
def exposed_statements() -> Iterator[set[str]]:
    """Places in the package that, within the block, sent SQL which a signal would have broken off in its middle."""
    places: set[str] = set()

    def statement_done() -> None:
        if signals._depth and not signals._deferrals and not signals._shields:
            frame = sys._getframe()
            while frame.f_back is not None:
                frame = frame.f_back
                code = frame.f_code
                if code.co_filename.startswith(_PACKAGE):
                    places.add(f"{code.co_filename}:{frame.f_lineno} ({code.co_qualname})")
                if code.co_filename.startswith((_PACKAGE, _TESTS)):
                    return

    with _after_each_statement(statement_done):
        yield places


@contextmanager
def _after_each_statement(call: Callable[[], None]) -> Iterator[None]:
    """Within the block, call it after each SQL statement of the main thread."""

    def listener(*arguments: Any) -> None:
        if threading.current_thread() is threading.main_thread():
            call()

    sqlalchemy.event.listen(sqlalchemy.Engine, "after_cursor_execute", listener)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "after_cursor_execute", listener)
