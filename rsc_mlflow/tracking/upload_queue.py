"""Metric points that runs have yet to store, and the thread that sends them, so that training need not wait.

This is ours, and not MLflow's own asynchronous logging, because points must outlast a store that is away: they are
kept and sent again.  A point that is sent twice, because the answer was lost, is stored once: MLflow's SQL stores
identify a point by run, key, step, timestamp and value.
"""

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlflow.entities import Metric, RunTag
from mlflow.tracking import MlflowClient

from rsc_mlflow.tracking import schema
from rsc_mlflow.tracking.store import is_transient, reason, with_retries

SEND_AFTER_SECONDS = 5.0
HEARTBEAT_SECONDS = 15.0
SENDS_PER_SECOND = 20.0
"""A process with many open runs sends to each of them less often, so that it never asks more of the store."""
_BATCH = 999  # MLflow's limit of entries in one call, less the heartbeat
_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class UploadQueue:
    """The points that one run has yet to send; every call that sends some is a heartbeat, too."""

    client: MlflowClient
    run_id: str
    sent_at: float = field(default_factory=time.monotonic)  # when the store was last asked to take something
    points: list[Metric] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _store_is_away: bool = False
    _refused: BaseException | None = None

    def add(self, points: Sequence[Metric]) -> None:
        """Queue points; raises what the store answered if it refused earlier ones for good."""
        if self._refused is not None:
            raise self._refused
        with self._lock:
            self.points.extend(points)

    def is_due(self, now: float, after: float = SEND_AFTER_SECONDS) -> bool:
        """Whether points have waited for ``after`` seconds, or it is time for a heartbeat."""
        return self._refused is None and now - self.sent_at >= (after if self.points else HEARTBEAT_SECONDS)

    def send(self) -> None:
        """Send everything queued now, or a heartbeat alone; where that fails, the rest stays queued."""
        with self._sending:
            self.sent_at = time.monotonic()
            while True:
                with self._lock:
                    batch = self.points[:_BATCH]
                heartbeat = RunTag(schema.HEARTBEAT, f"{time.time():.0f}")
                self.client.log_batch(self.run_id, metrics=batch, tags=[heartbeat])
                with self._lock:
                    del self.points[: len(batch)]
                if not self.points:
                    break
            self._store_is_away = False

    def try_to_send(self) -> None:
        """Send from the background thread.

        Transient errors are logged once and retried later; permanent ones are raised by the next call of :meth:`add`.
        """
        try:
            self.send()
        except Exception as error:
            if not is_transient(error):
                self._refused = error
                return
            if not self._store_is_away:
                kept = f"{len(self.points)} points are kept and sent later"
                _logger.warning("run %s: the tracking store is away; %s (%s)", self.run_id, kept, reason(error))
            self._store_is_away = True

    def flush(self, seconds: float | None = None) -> None:
        """Send everything, repeatedly for ``seconds`` (default: the store's retry timeout) while the store is away.

        Raises:
            Exception: what the store said last; nothing that was not sent is forgotten.
        """
        self.add([])
        if self.points:
            with_retries(self.send, f"run {self.run_id}", seconds)


class BackgroundUploader:
    """A daemon thread that sends from all queues of this process."""

    def __init__(self) -> None:
        self._queues: set[UploadQueue] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def register(self, queue: UploadQueue) -> None:
        """Serve this queue until :meth:`release`."""
        with self._lock:
            self._queues.add(queue)
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._loop, name="rsc-uploader", daemon=True)
                self._thread.start()

    def release(self, queue: UploadQueue) -> None:
        """Stop serving this queue."""
        with self._lock:
            self._queues.discard(queue)

    def _loop(self) -> None:
        while True:
            time.sleep(0.5)
            with self._lock:
                queues = list(self._queues)
            after = max(SEND_AFTER_SECONDS, len(queues) / SENDS_PER_SECOND)
            for queue in queues:
                if queue.is_due(time.monotonic(), after):
                    queue.try_to_send()


UPLOADER = BackgroundUploader()
