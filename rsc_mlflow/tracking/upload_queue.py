"""What a run has yet to store, and the threads that send it, so that training never waits for the store.

This is ours, and not an executor of :mod:`concurrent.futures` or MLflow's own asynchronous logging, because order and
failures matter: points and files leave in the order in which they were given, so a checkpoint is stored only after
all metrics logged before it; while the store is away everything is kept and sent again.  A point that is sent twice,
because the answer was lost, is stored once: MLflow's SQL stores identify a point by run, key, step, timestamp and
value.
"""

import logging
import math
import os
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Metric, RunTag
from mlflow.tracking import MlflowClient

from rsc_mlflow import cancellation, tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.store import is_transient, reason, record_outage, with_retries

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

    ``seconds`` is the CPU time that sending took in the background; ``heartbeat_at`` when the store last had a
    heartbeat of the run (monotonic clock).
    """

    client: MlflowClient
    run_id: str
    seconds: float = 0.0
    heartbeat_at: float = field(default_factory=time.monotonic)
    _entries: list[Metric | _Upload] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _waiting_since: float = math.inf
    _store_is_away: bool = False
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
            if entries:
                self._waiting_since = min(self._waiting_since, time.monotonic())

    def __len__(self) -> int:
        return len(self._entries)

    def is_due(self, now: float, after: float = SEND_AFTER_SECONDS) -> bool:
        """Whether the oldest entry has waited for ``after`` seconds, or there are many, or some are urgent."""
        many = len(self._entries) >= SEND_AT_POINTS and not self._store_is_away
        return self._refused is None and (many or now - self._waiting_since >= after)

    def flush_soon(self) -> None:
        """Make everything queued so far due now."""
        self._waiting_since = -math.inf

    def send(self) -> None:
        """Send everything queued now, in order; what could not be sent stays queued, and the error is raised."""
        while not self._sending.acquire(timeout=0.2):  # while another thread sends, which may take long
            cancellation.check()
        try:
            while batch := self._next_batch():
                self._send_batch(batch)
                with self._lock:
                    del self._entries[: len(batch)]
                    self._waiting_since = time.monotonic() if self._entries else math.inf
            self._store_is_away = False
        finally:
            self._sending.release()

    def try_to_send(self) -> None:
        """Send queued entries from the background thread.

        Transient errors are logged once and retried later; permanent ones are raised by the next ``add_…`` call.
        """
        started = time.thread_time()
        try:
            self.send()
        except Exception as error:
            if not is_transient(error):
                self._refused = error
                return
            record_outage()
            self._waiting_since = time.monotonic()
            if not self._store_is_away:
                kept = f"{len(self)} points and files are kept and sent later"
                _logger.warning("run %s: the tracking store is away; %s (%s)", self.run_id, kept, reason(error))
            self._store_is_away = True
        finally:
            self.seconds += time.thread_time() - started

    def flush(self, seconds: float | None = None) -> None:
        """Send everything, repeatedly for ``seconds`` (default: the store's retry timeout) while the store is away.

        A transfer that another thread has begun is waited for to its end.

        Raises:
            Exception: what the store said last; nothing that was not sent is forgotten.
        """
        if self._refused is not None:
            raise self._refused
        with_retries(self.send, f"run {self.run_id}", seconds)

    def discard(self) -> None:
        """Forget what was not sent and remove the copies of files."""
        with self._lock:
            self._entries.clear()
            self._waiting_since = math.inf
        if self._spool is not None:
            shutil.rmtree(self._spool, ignore_errors=True)
            self._spool = None

    def _next_batch(self) -> list[Metric | _Upload]:
        """A file, or all points before the next file, as many as one call may hold."""
        with self._lock:
            files = (at for at, entry in enumerate(self._entries) if isinstance(entry, _Upload))
            return self._entries[: min(next(files, _BATCH) or 1, _BATCH)]

    def _send_batch(self, batch: list[Metric | _Upload]) -> None:
        first = batch[0]
        if isinstance(first, _Upload):
            self.client.log_artifact(self.run_id, str(first.path), first.folder)
            shutil.rmtree(first.path.parent, ignore_errors=True)
        else:
            self._log_batch([entry for entry in batch if isinstance(entry, Metric)])

    def send_heartbeat(self) -> None:
        """Show that the run is alive, unless points did a moment ago."""
        if time.monotonic() - self.heartbeat_at >= HEARTBEAT_SECONDS:
            self._log_batch([])

    def _log_batch(self, points: list[Metric]) -> None:
        self.client.log_batch(self.run_id, metrics=points, tags=[RunTag(schema.HEARTBEAT, f"{time.time():.0f}")])
        self.heartbeat_at = time.monotonic()


class BackgroundUploader:
    """Sends from all queues of this process, and the heartbeats of their runs.

    Two daemon threads: a large file must not delay the heartbeats.
    """

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)  # threads do not survive a fork

    def _reset(self) -> None:
        self._queues: set[UploadQueue] = set()
        self._lock = threading.Lock()
        self._started = False

    def register(self, queue: UploadQueue) -> None:
        """Serve this queue until :meth:`release`."""
        with self._lock:
            self._queues.add(queue)
            if not self._started:
                self._started = True
                for target, name in ((self._send_loop, "rsc-sender"), (self._heartbeat_loop, "rsc-heartbeat")):
                    threading.Thread(target=target, name=name, daemon=True).start()

    def release(self, queue: UploadQueue) -> None:
        """Stop serving this queue."""
        with self._lock:
            self._queues.discard(queue)

    def _open(self) -> list[UploadQueue]:
        with self._lock:
            return list(self._queues)

    def _send_loop(self) -> None:
        while True:
            time.sleep(0.5)
            queues = self._open()
            after = max(SEND_AFTER_SECONDS, len(queues) / SENDS_PER_SECOND)
            for queue in queues:
                if queue.is_due(time.monotonic(), after):
                    queue.try_to_send()

    def _heartbeat_loop(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS / 3)
            for queue in self._open():
                try:
                    queue.send_heartbeat()
                except Exception as error:  # the run continues; its next heartbeat may arrive
                    _logger.debug("run %s: no heartbeat sent (%s)", queue.run_id, reason(error))


UPLOADER = BackgroundUploader()
