"""Turns SIGINT and SIGTERM into an exception while runs are open, so that each can say how it ended."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_depth = 0
_shields = 0
_previous: dict[int, Any] = {}


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to stop; ``str()`` names the signal."""


def _raise(number: int, frame: FrameType | None) -> None:
    if _shields:
        return
    raise Interrupted(f"stopped by {signal.Signals(number).name}")


@contextmanager
def interruptible() -> Iterator[None]:
    """Within the block (it may be nested) a signal raises :class:`Interrupted` in the main thread.

    In any other thread nothing changes: Python delivers signals to the main thread only.
    """
    global _depth  # noqa: PLW0603 - signal handlers belong to the process
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _depth == 0:
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
