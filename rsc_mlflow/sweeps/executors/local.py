"""Executor ``local``: processes of this machine, each a ``ProcessPoolExecutor`` of one.

A single pool of many will not do: when one of its processes is killed, it gives up all that the others are doing.
What is added to the standard library's pool: processes that end with the sweep, however it ends, and a log file and a
GPU for each.
"""

import contextlib
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


class LocalExecutor:
    """Processes of this machine, kept for many units; they end when the sweep's process does, however it ends.

    Args:
        workers: number of processes.
        gpus: GPUs of the machine, given to the workers in turn.
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
        except BrokenProcessPool:  # its process died while it had nothing to do
            future = self._start(slot).submit(run_unit, unit)
        self._running[future] = (slot, unit)

    def wait(self, seconds: float) -> list[Result]:
        """See :class:`Executor`."""
        ended, _ = futures.wait(self._running, seconds, futures.FIRST_COMPLETED)
        return [self._collect(future) for future in ended]

    def close(self, *, keep_logs: bool = True) -> None:
        """See :class:`Executor`."""
        self._stop.close()
        for pool in self._pools.values():
            pool.shutdown(cancel_futures=True)
        if not keep_logs:
            shutil.rmtree(self.logs, ignore_errors=True)

    def _start(self, slot: int) -> futures.ProcessPoolExecutor:
        log = self.logs / f"worker-{slot}.log"
        self._pools[slot] = futures.ProcessPoolExecutor(
            1, self._context, initializer=_prepare, initargs=(self._lifeline, log, gpu_of(slot, self.gpus))
        )
        return self._pools[slot]

    def _collect(self, future: "futures.Future[list[Outcome]]") -> Result:
        from rsc_mlflow.tracking.store import reason

        slot, unit = self._running.pop(future)
        error = future.exception()
        if isinstance(error, BrokenProcessPool):
            self._pools.pop(slot).shutdown(wait=False)
            return Result(unit, None, "its process was killed, perhaps because memory ran out")
        return Result(unit, None, f"its process gave up ({reason(error)})") if error else Result(unit, future.result())


def _prepare(lifeline: Connection, log: Path, gpu: str | None) -> None:
    """What a worker does first."""
    sys.stdout = sys.stderr = log.open("a", buffering=1)
    for descriptor in (1, 2):  # what is written past Python, too
        os.dup2(sys.stdout.fileno(), descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between units: Ctrl-C reaches the sweep, which asks us to stop
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    if gpu is not None:  # pragma: no cover - needs a GPU
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_sweep, args=(lifeline,), name="rsc-lifeline", daemon=True).start()


def _end_with_sweep(lifeline: Connection) -> None:
    """When the sweep closes its end, or is gone: stop what is under way, whose runs end as KILLED, then the process."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    deadline = time.monotonic() + GRACE_SECONDS
    while cancellation.request() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(1)  # pragma: no cover - only where closing the runs takes longer: the next sweep closes them


@partial(EXECUTORS.register, "local")
def local(workers: int | str, ray_address: str, jobs: int) -> LocalExecutor:
    """Processes of this machine: one per core, or two per GPU where there are any."""
    import torch

    executor = LocalExecutor(min(jobs, default_workers(workers)), torch.cuda.device_count())
    print(f"what the workers print goes to {executor.logs}/worker-N.log", file=sys.stderr)
    return executor
