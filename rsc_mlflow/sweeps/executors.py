"""Where units of work run: a sweep knows no more than :class:`Executor`; here are processes of this machine.

``ray_executor`` has the executor that gives units to a Ray cluster.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess, parent_process
from pathlib import Path
from typing import Protocol

from rsc_mlflow.sweeps.jobs import Outcome
from rsc_mlflow.sweeps.worker import Unit, run_unit

GRACE_SECONDS = 30.0
"""How long a worker may take to close its runs after it was asked to stop."""
JOBS_A_WORKER = 200
"""A worker is replaced after about so many jobs: libraries keep something of each for as long as a process lives
(PyTorch's exporter the symbolic shapes of every model; ``python -m benchmarks long_runs --epochs 0``)."""


@dataclass(frozen=True)
class Result:
    """What became of a unit; ``outcomes`` is None if its process died (``reason`` says how)."""

    unit: Unit
    outcomes: list[Outcome] | None
    reason: str = ""


class Executor(Protocol):
    """Runs units, several at a time.

    Attributes:
        workers: how many units run at the same time.
        threads: threads of each.
        gpus: GPUs there are in all.
    """

    workers: int
    threads: int
    gpus: int

    def submit(self, unit: Unit) -> None:
        """Start a unit; at most ``workers`` may be under way."""

    def wait(self, seconds: float) -> list[Result]:
        """Units that have ended since the last call; waits up to ``seconds`` for the first."""

    def close(self) -> None:
        """Stop everything, units under way too; their runs end as KILLED."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    unit: Unit | None = None
    jobs: int = 0


class LocalExecutor:
    """Processes of this machine, kept for many units; they end when the sweep's process does, however it ends.

    Args:
        workers: number of processes.
        log_folder: where each writes what it prints.
        gpus: GPUs of the machine, given to the workers in turn.
        jobs_a_worker: how many jobs a process runs before another takes its place.
    """

    def __init__(self, workers: int, log_folder: Path, gpus: int = 0, *, jobs_a_worker: int = JOBS_A_WORKER) -> None:
        self.workers = workers
        self._jobs_a_worker = jobs_a_worker
        self.threads = max(1, cores() // workers)
        self.gpus = gpus
        self._log_folder = log_folder
        self._context = multiprocessing.get_context("forkserver")
        self._pool: dict[int, _Worker] = {}

    def submit(self, unit: Unit) -> None:
        """See :class:`Executor`."""
        for slot in range(self.workers):
            if slot not in self._pool:
                self._pool[slot] = self._start(slot)
            worker = self._pool[slot]
            if worker.unit is None:
                worker.unit = unit
                with contextlib.suppress(OSError):  # it died: wait() will notice
                    worker.pipe.send(unit)
                return
        raise RuntimeError("no worker is free")

    def wait(self, seconds: float) -> list[Result]:
        """See :class:`Executor`."""
        busy = {slot: worker for slot, worker in self._pool.items() if worker.unit is not None}
        if not busy:
            time.sleep(seconds)
            return []
        wait([worker.pipe for worker in busy.values()], timeout=seconds)
        return [result for slot, worker in busy.items() if (result := self._collect(slot, worker)) is not None]

    def close(self) -> None:
        """See :class:`Executor`."""
        for worker in self._pool.values():
            worker.pipe.close()
            if worker.unit is not None:
                worker.process.terminate()
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._pool.values():
            _end(worker, deadline)
        self._pool.clear()

    def _start(self, slot: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        log = str(self._log_folder / f"worker-{slot}.log")
        gpu = slot % self.gpus if self.gpus else None
        process = self._context.Process(target=_serve, args=(theirs, log, gpu), name=f"rsc-worker-{slot}", daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _collect(self, slot: int, worker: _Worker) -> Result | None:
        assert worker.unit is not None
        unit = worker.unit
        try:
            if not worker.pipe.poll():
                return None
            outcomes: list[Outcome] = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join(5)
            del self._pool[slot]
            return Result(unit, None, _ending(worker.process.exitcode))
        worker.unit = None
        worker.jobs += len(unit.jobs)
        if worker.jobs >= self._jobs_a_worker:
            _end(self._pool.pop(slot), time.monotonic() + GRACE_SECONDS)
        return Result(unit, outcomes)


def _end(worker: _Worker, deadline: float) -> None:
    """See it end, its pipe closed, by the deadline at the latest."""
    worker.pipe.close()
    worker.process.join(max(0.0, deadline - time.monotonic()))
    if worker.process.is_alive():
        worker.process.kill()
        worker.process.join()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with status {code}"


def _serve(pipe: Connection, log: str, gpu: int | None) -> None:
    """A worker's main loop: units in, outcomes out, until the pipe closes."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # between units: Ctrl-C reaches the sweep, which asks us to stop
    if gpu is not None:  # pragma: no cover - needs a GPU
        os.environ["CUDA_VISIBLE_DEVICES"] = str(gpu)
    threading.Thread(target=_end_with_parent, name="rsc-parent", daemon=True).start()
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            pipe.send(run_unit(pipe.recv()))


def _end_with_parent() -> None:
    """When the sweep's process is gone, stop as if asked to: runs end as KILLED, and the next sweep goes on."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)  # pragma: no cover - only where closing the runs takes longer, and an orphan's record is lost
