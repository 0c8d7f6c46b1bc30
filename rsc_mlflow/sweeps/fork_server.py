"""The fork server of a sweep's workers, which imports their modules once, while the sweep is planned."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver


def start_fork_server() -> None:
    """Start the fork server if it is not running, without waiting for its imports."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["rsc_mlflow.sweeps.fork_server_imports"])
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the import itself; each worker sets its own number
    with _ignore_sigint_in_children():
        forkserver.ensure_running()


@contextmanager
def _ignore_sigint_in_children() -> Iterator[None]:
    """Let processes started in the block ignore Ctrl-C; the sweep handles it and stops its workers."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets signals in the main thread only
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
