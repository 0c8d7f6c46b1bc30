"""Cooperative cancellation: SIGINT and SIGTERM set a flag, and long computations check it where they can stop cleanly.

Training checks it between batches, unlearning between steps or solver iterations, and retries between attempts.  What
happens between two checks, such as a database call or an export, is not interrupted.  A second signal ends the process
immediately; the next sweep then closes its runs.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ECHO_SECONDS = 1.0
"""Signals within this time count as one: a Ctrl-C may arrive from the terminal and from a program that forwards it."""
_MESSAGE = b"\nstopping at the next safe point; send the signal again to stop immediately\n"
_depth = 0
_pending: int | None = None  # the signal that check() has not raised yet
_first_at: float | None = None  # time of the first signal (monotonic clock)
_previous: dict[int, Any] = {}


class Cancelled(KeyboardInterrupt):
    """SIGINT or SIGTERM was received; the message names the signal."""


def check() -> None:
    """Raise :class:`Cancelled` if a signal was received.  In threads other than the main thread, do nothing.

    A signal is raised only once, so the code that then closes the runs may call functions that check.

    Raises:
        Cancelled: SIGINT or SIGTERM was received inside :func:`cancellable` and has not been raised yet.
    """
    global _pending
    if _pending is not None and threading.current_thread() is threading.main_thread():
        number, _pending = _pending, None
        raise Cancelled(f"stopped by {signal.Signals(number).name}")


def sleep(seconds: float) -> None:
    """Wait for ``seconds``, or until a signal is received.

    Raises:
        Cancelled: see :func:`check`.
    """
    deadline = time.monotonic() + seconds
    check()
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
        check()


def request(number: int = signal.SIGTERM) -> bool:
    """Act as if the first signal was received.  Further calls have no effect.  Any thread may call this function.

    Returns:
        Whether the main thread is inside :func:`cancellable`, so that the next check stops it.
    """
    global _pending, _first_at
    if _depth and _first_at is None:
        _first_at, _pending = time.monotonic(), number
    return _depth > 0


@contextmanager
def cancellable() -> Iterator[None]:
    """Record SIGINT and SIGTERM for :func:`check` during the block.  Blocks can be nested.

    Python delivers signals only to the main thread.  In other threads, this function has no effect.

    Raises:
        Cancelled: a signal was received, and the block ended without a check.
    """
    global _depth, _pending, _first_at  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _depth == 0:
        _pending = _first_at = None
        for number in SIGNALS:
            _previous[number] = signal.signal(number, _note)
    _depth += 1
    try:
        yield
        check()
    finally:
        _depth -= 1
        if _depth == 0:
            for number in SIGNALS:
                signal.signal(number, _previous.pop(number))


def _note(number: int, frame: object) -> None:
    if _first_at is None:
        request(number)
        os.write(2, _MESSAGE)
    elif time.monotonic() - _first_at >= ECHO_SECONDS:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
