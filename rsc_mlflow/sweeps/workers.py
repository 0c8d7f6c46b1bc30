"""The process from which a sweep's workers are forked: what they need is imported once, while the sweep is planned."""

import multiprocessing
import os
from multiprocessing import forkserver


def warm_up() -> None:
    """Start that process, if it is not there yet, and let it begin to import; returns at once."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["rsc_mlflow.sweeps.preloaded"])
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the import itself; each worker sets its own number
    forkserver.ensure_running()
