"""Executor ``local``: processes on this machine, each in its own ``ProcessPoolExecutor``.

In a single pool, all units would fail if one process was killed.  In addition to what the pool does, the processes end
with the sweep, however it ends, and each has its own log file and GPU.
"""

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from rsc_mlflow import cancellation
from rsc_mlflow.sweeps.executors import EXECUTORS, GRACE_SECONDS, Result, cores
from rsc_mlflow.sweeps.gpus import default_workers, gpu_of

if TYPE_CHECKING:
    from rsc_mlflow.sweeps.jobs import Outcome
    from rsc_mlflow.sweeps.worker import Unit

_logger = logging.getLogger(__name__)


class LocalExecutor:
    """Runs units in processes on this machine, which end with the sweep's process, however it ends.

    Args:
        workers: number of processes.
        gpus: number of GPUs, assigned to the workers in turn.
    """

    def __init__(self, workers: int, gpus: int = 0) -> None:
        self.workers = workers
        self.threads = max(1, cores() // workers)
        self.gpus = gpus
        self.logs = Path(tempfile.mkdtemp(prefix="rsc-sweep-"))
        self._context = multiprocessing.get_context("forkserver")
        self._lifeline, self._stop = self._context.Pipe(duplex=False)
        self._pools: dict[int, futures.ProcessPoolExecutor] = {}
        self._running: dict[futures.Future[list[Outcome]], tuple[int, Unit]] = {}

    def submit(self, unit: "Unit") -> None:
        """See :class:`Executor`."""
        from rsc_mlflow.sweeps.worker import run_unit

        slot = min(set(range(self.workers)) - {busy for busy, _ in self._running.values()})
        pool = self._pools.get(slot) or self._start(slot)
        try:
            future = pool.submit(run_unit, unit)
        except BrokenProcessPool:  # its process died while it was idle
            future = self._start(slot).submit(run_unit, unit)
        self._running[future] = (slot, unit)

    def wait(self, seconds: float) -> list[Result]:
        """See :class:`Executor`."""
        return [self._collect(one) for one in futures.wait(self._running, seconds, futures.FIRST_COMPLETED).done]

    def close(self, *, keep_logs: bool = True) -> None:
        """See :class:`Executor`."""
        self._stop.close()
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)
        if not keep_logs:
            shutil.rmtree(self.logs, ignore_errors=True)

    def _start(self, slot: int) -> futures.ProcessPoolExecutor:
        arguments = (self._lifeline, self.logs / f"worker-{slot}.log", gpu_of(slot, self.gpus))
        self._pools[slot] = futures.ProcessPoolExecutor(1, self._context, initializer=_prepare, initargs=arguments)
        return self._pools[slot]

    def _collect(self, future: "futures.Future[list[Outcome]]") -> Result:
        from rsc_mlflow.sweeps.failures import end_of, explanation

        slot, unit = self._running.pop(future)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self._pools.pop(slot).shutdown(wait=False)
            log = end_of(self.logs / f"worker-{slot}.log")
            return Result(unit, None, "its process was killed, perhaps because memory ran out", log)
        return Result(unit, None, *explanation("its process failed", error)) if error else Result(unit, future.result())


def _prepare(lifeline: Connection, log: Path, gpu: str | None) -> None:
    """Set up a worker process: log file, signals, GPU, and its end with the sweep."""
    sys.stdout = sys.stderr = log.open("a", buffering=1)
    for descriptor in (1, 2):  # also for output from outside Python
        os.dup2(sys.stdout.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the sweep, which stops its workers
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    if gpu is not None:  # pragma: no cover - needs a GPU
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_sweep, args=(lifeline,), name="rsc-lifeline", daemon=True).start()


def _end_with_sweep(lifeline: Connection) -> None:
    """Wait until the sweep closes its end of the pipe or dies; then end the runs as KILLED, and this process."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    deadline = time.monotonic() + GRACE_SECONDS
    while cancellation.request() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(1)  # pragma: no cover - if closing the runs takes longer, the next sweep closes them


@partial(EXECUTORS.register, "local")
def local(workers: int | str, ray_address: str, jobs: int) -> LocalExecutor:
    """Return the executor; by default, it has two processes per GPU of this machine, or one per core without GPUs."""
    import torch

    executor = LocalExecutor(min(jobs, default_workers(workers)), torch.cuda.device_count())
    _logger.info("output of the workers: %s/worker-N.log", executor.logs)
    return executor
