"""The fork server of a sweep's workers: what they need is imported once, in it, while the sweep is planned."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver


def start_fork_server() -> None:
    """Start that process, if it is not there yet, and let it begin to import; returns at once."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["rsc_mlflow.sweeps.fork_server_imports"])
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the import itself; each worker sets its own number
    with _ignore_sigint_in_children():
        forkserver.ensure_running()


@contextmanager
def _ignore_sigint_in_children() -> Iterator[None]:
    """Processes started in the block ignore Ctrl-C: the sweep handles it, and asks its workers to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python sets signals in the main thread only
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
