"""Cooperative cancellation: SIGINT and SIGTERM set a flag, and long work looks at it where it can stop cleanly.

Training looks between two batches, unlearning between two steps or solver iterations, waiting for a store between
two attempts.  Everything between two checks, such as a database call or an export, is never interrupted.  A second
signal ends the process at once, and the next sweep closes its runs.
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
"""One Ctrl-C may arrive twice, from the terminal and from a runner that forwards it; what comes later asks again."""
_MESSAGE = b"\nstopping at the next safe point; send the signal again to stop at once\n"
_depth = 0
_pending: int | None = None  # a signal that no check has raised yet
_first_at: float | None = None  # when the first signal came (monotonic clock)
_previous: dict[int, Any] = {}


class Cancelled(KeyboardInterrupt):
    """A signal asked this process to stop; ``str()`` names the signal."""


def check() -> None:
    """Stop here if a signal has asked for it; in threads other than the main one nothing happens.

    One signal raises once: what closes the runs afterwards may call functions that check.

    Raises:
        Cancelled: SIGINT or SIGTERM came inside :func:`cancellable` and has not been raised yet.
    """
    global _pending
    if _pending is not None and threading.current_thread() is threading.main_thread():
        number, _pending = _pending, None
        raise Cancelled(f"stopped by {signal.Signals(number).name}")


def sleep(seconds: float) -> None:
    """Wait, and stop early if a signal asks for it.

    Raises:
        Cancelled: see :func:`check`.
    """
    deadline = time.monotonic() + seconds
    check()
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
        check()


def request(number: int = signal.SIGTERM) -> bool:
    """Stop at the next check as after a first signal, however often this is called; any thread may call it.

    Returns:
        Whether anything was or will be stopped: whether the main thread is inside :func:`cancellable`.
    """
    global _pending, _first_at
    if _depth and _first_at is None:
        _first_at, _pending = time.monotonic(), number
    return _depth > 0


@contextmanager
def cancellable() -> Iterator[None]:
    """Within the block (it may be nested) SIGINT and SIGTERM are noted for :func:`check`.

    Python delivers signals to the main thread only: in any other thread nothing changes.

    Raises:
        Cancelled: a signal came and the block ended without a check.
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
