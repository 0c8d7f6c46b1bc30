"""Turns SIGINT and SIGTERM into an exception while runs are open, so that each can say how it ended."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
INSISTING_SECONDS = 2.0
"""A second signal that comes so much later is no echo of the first: somebody does not want to wait."""
_depth = 0
_shields = 0
_deferrals = 0
_waiting: tuple[int, float] | None = None  # a signal that waits, and since when (monotonic clock)
_previous: dict[int, Any] = {}


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop; ``str()`` names the signal."""


def _raise(number: int, frame: FrameType | None) -> None:
    global _waiting  # noqa: PLW0603
    if _shields:
        return
    if _deferrals:
        _waiting = _waiting or (number, time.monotonic())
        if time.monotonic() - _waiting[1] < INSISTING_SECONDS:
            return
    _waiting = None
    raise Interrupted(f"stopped by {signal.Signals(number).name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block (it may be nested) a signal raises :class:`Interrupted` in the main thread.

    In any other thread nothing changes: Python delivers signals to the main thread only.
    """
    global _depth, _deferrals, _waiting  # noqa: PLW0603 - signal handlers belong to the process
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _depth == 0:
        _deferrals, _waiting = 0, None  # an insisting signal may have come between two lines of deferred()
        for number in _SIGNALS:
            _previous[number] = signal.signal(number, _raise)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            for number in _SIGNALS:
                signal.signal(number, _previous.pop(number))


@contextmanager
def shielded() -> Iterator[None]:
    """Within the block, which must be short, further signals are ignored: the run is being closed already.

    One Ctrl-C often arrives twice, from the terminal and from the runner that forwards it.
    """
    global _shields  # noqa: PLW0603
    _shields += 1
    try:
        yield
    finally:
        _shields -= 1


@contextmanager
def deferred() -> Iterator[None]:
    """Within the block, which must be short, a signal waits for its end; whoever insists need not wait.

    In a thread other than the main one, and where no run is open, nothing changes.
    """
    global _deferrals, _waiting  # noqa: PLW0603
    if _depth == 0 or threading.current_thread() is not threading.main_thread():
        yield
        return
    _deferrals += 1
    try:
        yield
    finally:
        _deferrals -= 1
        if _deferrals == 0 and _waiting is not None:
            number, _waiting = _waiting[0], None
            _raise(number, None)


def is_waiting() -> bool:
    """Whether a signal waits for the end of this thread's :func:`deferred` block: time to leave it."""
    return _waiting is not None and threading.current_thread() is threading.main_thread()
