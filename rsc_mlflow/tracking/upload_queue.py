"""What a run has yet to send, and the one thread per process that sends it, so that training never waits.

Points and files leave in the order in which they were given: a checkpoint is in the store only after all
metrics logged before it, so a run that goes on from a checkpoint has no hole in its curves.  While the store is
away everything is kept and tried again.  A point that was sent twice, because the answer was lost, is stored
once: MLflow's SQL stores identify a point by run, key, step, timestamp and value, and ours keep their timestamp.
"""

import logging
import os
import shutil
import tempfile
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Metric, RunTag
from mlflow.tracking import MlflowClient

from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.store import is_transient, reason, record_outage, retry_timeout, undivided

SEND_AFTER_SECONDS = 5.0
SEND_AT_POINTS = 900
HEARTBEAT_SECONDS = 15.0
SENDS_PER_SECOND = 20.0
"""A process with many open runs sends to each of them less often, so that it never asks more of the store."""
_BATCH = 999  # MLflow's limit of entries in one call, less the heartbeat
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Upload:
    path: Path
    folder: str | None


@dataclass(eq=False)
class UploadQueue:
    """What one run has yet to send.

    ``seconds`` is the CPU time that sending took in the background; ``heard_at`` when the store last had a sign of
    life from the run (monotonic clock).
    """

    client: MlflowClient
    run_id: str
    seconds: float = 0.0
    heard_at: float = field(default_factory=time.monotonic)
    _entries: deque[Metric | _Upload] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _waiting_since: float | None = None
    _not_before: float = 0.0
    _hurried: bool = False
    _warned: bool = False
    _refused: BaseException | None = None
    _spool: Path | None = None

    def add_points(self, points: list[Metric]) -> None:
        """Queue points; raises what the store answered if it refused an earlier entry for good."""
        self._add(list(points))

    def add_file(self, path: Path, folder: str | None) -> None:
        """Queue a copy of a file for the artifact folder ``folder``.

        Raises:
            InputError: the folder would be outside the run's own; MLflow would say so too, but only when it is sent.
        """
        if folder is not None and (folder.startswith("/") or ".." in folder.split("/")):
            raise InputError(f"invalid artifact folder {folder!r}; accepted: one below the run's own, without '..'")
        if self._spool is None:
            self._spool = tempdirs.persistent_tempdir()
        copy = Path(tempfile.mkdtemp(dir=self._spool)) / path.name
        try:
            os.link(path, copy)  # checkpoints are replaced, never rewritten: a second name costs no copy
        except OSError:
            shutil.copyfile(path, copy)
        self._add([_Upload(copy, folder)])

    def _add(self, entries: list[Metric | _Upload]) -> None:
        if self._refused is not None:
            raise self._refused
        with self._lock:
            self._entries.extend(entries)
            if self._waiting_since is None and self._entries:
                self._waiting_since = time.monotonic()

    def __len__(self) -> int:
        return len(self._entries)

    def is_due(self, now: float, after: float = SEND_AFTER_SECONDS) -> bool:
        """Whether the oldest entry has waited for ``after`` seconds, or there are many, or it is urgent."""
        if self._refused is not None or self._waiting_since is None or now < self._not_before:
            return False
        return self._hurried or len(self._entries) >= SEND_AT_POINTS or now - self._waiting_since >= after

    def flush_soon(self) -> None:
        """Make everything queued so far due now."""
        self._hurried = True

    def send(self, wait: float = -1) -> None:
        """Send everything queued now, in order; what could not be sent stays queued, and the error is raised.

        Args:
            wait: seconds to wait while another thread sends; -1: as long as it takes.

        Raises:
            TimeoutError: the other thread has not ended.
        """
        if not self._sending.acquire(timeout=wait):
            raise TimeoutError("what was sent before has not been answered yet")
        try:
            self._hurried = False
            while batch := self._next_batch():
                with undivided():
                    self._send_batch(batch)
                    with self._lock:
                        for _ in range(min(len(batch), len(self._entries))):  # none are left after discard()
                            self._entries.popleft()
                        self._waiting_since = time.monotonic() if self._entries else None
                self._warned = False
                for entry in batch:
                    if isinstance(entry, _Upload):  # only now: a signal may come between any two lines
                        shutil.rmtree(entry.path.parent, ignore_errors=True)
        finally:
            self._sending.release()

    def try_to_send(self) -> None:
        """Like :meth:`send`, in the background: a passing failure is reported once and tried again later."""
        started = time.thread_time()
        try:
            self.send()
        except Exception as error:
            if is_transient(error):
                record_outage()
                self._not_before = time.monotonic() + SEND_AFTER_SECONDS
                if not self._warned:
                    self._warned = True
                    _logger.warning(
                        "run %s: the tracking store is away; %d points and files are kept and sent later (%s)",
                        self.run_id,
                        len(self),
                        reason(error),
                    )
            else:
                self._refused = error
        finally:
            self.seconds += time.thread_time() - started

    def flush(self, seconds: float | None = None) -> None:
        """Send everything, trying again for ``seconds`` (default: the store's patience) while the store is away.

        A transfer that another thread has begun is waited for to its end, or for ``seconds`` where they are given.

        Raises:
            Exception: what the store said last; nothing that was not sent is forgotten.
        """
        if self._refused is not None:
            raise self._refused
        deadline = time.monotonic() + (retry_timeout() if seconds is None else seconds)
        while True:
            try:
                self.send(-1 if seconds is None else max(0.0, deadline - time.monotonic()))
                return
            except Exception as error:
                if not is_transient(error) or time.monotonic() + 0.5 > deadline:
                    raise
                record_outage()
                if not self._warned:
                    self._warned = True
                    _logger.warning("run %s: waiting for the tracking store (%s)", self.run_id, reason(error))
                time.sleep(0.5)

    def discard(self) -> None:
        """Forget what was not sent and remove the copies of files."""
        with self._lock:
            self._entries.clear()
            self._waiting_since = None
        if self._spool is not None:
            shutil.rmtree(self._spool, ignore_errors=True)
            self._spool = None

    def _next_batch(self) -> list[Metric | _Upload]:
        with self._lock:
            batch: list[Metric | _Upload] = []
            for entry in self._entries:
                if isinstance(entry, _Upload):
                    return batch or [entry]
                batch.append(entry)
                if len(batch) == _BATCH:
                    break
            return batch

    def _send_batch(self, batch: list[Metric | _Upload]) -> None:
        first = batch[0]
        if isinstance(first, _Upload):
            self.client.log_artifact(self.run_id, str(first.path), first.folder)
        else:
            points = [entry for entry in batch if isinstance(entry, Metric)]
            self.client.log_batch(self.run_id, metrics=points, tags=[_heartbeat()])
            self.heard_at = time.monotonic()

    def send_heartbeat(self) -> None:
        """Give a sign of life, unless one was given a moment ago together with points."""
        if time.monotonic() - self.heard_at >= HEARTBEAT_SECONDS:
            self.client.log_batch(self.run_id, tags=[_heartbeat()])
            self.heard_at = time.monotonic()


def _heartbeat() -> RunTag:
    return RunTag(schema.HEARTBEAT, f"{time.time():.0f}")


class BackgroundUploader:
    """The sender of all queuees of this process, and the pulse that shows that their runs are alive.

    Two daemon threads: sending a large file must not stop the pulse.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # threads do not survive a fork

    def _reset(self) -> None:
        self._queuees: weakref.WeakSet[UploadQueue] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._started = False

    def register(self, queue: UploadQueue) -> None:
        """Serve this queue until :meth:`release`."""
        with self._lock:
            self._queuees.add(queue)
            if not self._started:
                self._started = True
                for target, name in ((self._send_loop, "rsc-sender"), (self._heartbeat_loop, "rsc-heartbeat")):
                    threading.Thread(target=target, name=name, daemon=True).start()

    def release(self, queue: UploadQueue) -> None:
        """Stop serving this queue."""
        with self._lock:
            self._queuees.discard(queue)

    def wake(self) -> None:
        """Look for due queuees now."""
        self._wake.set()

    def _open(self) -> list[UploadQueue]:
        with self._lock:
            return list(self._queuees)

    def _send_loop(self) -> None:
        while True:
            self._wake.wait(1.0)
            self._wake.clear()
            queuees = self._open()
            after = max(SEND_AFTER_SECONDS, len(queuees) / SENDS_PER_SECOND)
            for queue in queuees:
                if queue.is_due(time.monotonic(), after):
                    queue.try_to_send()

    def _heartbeat_loop(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS / 3)
            for queue in self._open():
                try:
                    queue.send_heartbeat()
                except Exception as error:  # the run goes on; its next pulse may get through
                    _logger.debug("run %s: no heartbeat sent (%s)", queue.run_id, reason(error))


UPLOADER = BackgroundUploader()
