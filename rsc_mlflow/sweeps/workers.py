"""The process from which a sweep's workers are forked: what they need is imported once, while the sweep is planned."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver


def warm_up() -> None:
    """Start that process, if it is not there yet, and let it begin to import; returns at once."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["rsc_mlflow.sweeps.preloaded"])
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the import itself; each worker sets its own number
    with _deaf_children():
        forkserver.ensure_running()


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes begun in the block do not hear Ctrl-C: the sweep does, and asks its workers to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets signals in the main thread only
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
