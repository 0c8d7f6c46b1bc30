"""Queues of metric points, and a background thread that sends them so that training does not wait for the store.

MLflow's own asynchronous logging is not used, because it drops points that cannot be sent; these queues keep them and
send them again.  If a response is lost, a point is sent twice but stored once: MLflow's SQL stores identify a
point by run, key, step, timestamp and value.
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
"""Maximum rate of a process: with many open runs, it sends the points of each run less often."""
_BATCH = 999  # MLflow's limit of entries per call, minus the heartbeat
_logger = logging.getLogger(__name__)


@dataclass(eq=False)
class UploadQueue:
    """The points of one run that are not sent yet.  Each call that sends points also sends a heartbeat."""

    client: MlflowClient
    run_id: str
    sent_at: float = field(default_factory=time.monotonic)  # time of the last attempt
    points: list[Metric] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _sending: threading.Lock = field(default_factory=threading.Lock)
    _is_unreachable: bool = False
    _refused: BaseException | None = None

    def add(self, points: Sequence[Metric]) -> None:
        """Queue points; raise the store's error if it permanently refused earlier points."""
        if self._refused is not None:
            raise self._refused
        with self._lock:
            self.points.extend(points)

    def is_due(self, now: float, after: float = SEND_AFTER_SECONDS) -> bool:
        """Return whether points are queued and the last attempt was ``after`` seconds ago, or a heartbeat is due."""
        return self._refused is None and now - self.sent_at >= (after if self.points else HEARTBEAT_SECONDS)

    def send(self) -> None:
        """Send all queued points, or only a heartbeat if there are none.  If it fails, the rest stays queued."""
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
            self._is_unreachable = False

    def try_to_send(self) -> None:
        """Send, as the background thread does.

        Transient errors are logged once and retried later; permanent errors are raised by the next call of :meth:`add`.
        """
        try:
            self.send()
        except Exception as error:
            if not is_transient(error):
                self._refused = error
                return
            if not self._is_unreachable:
                kept = f"{len(self.points)} metric values are kept and will be sent later."
                _logger.warning("Run %s: the tracking store is unreachable (%s). %s", self.run_id, reason(error), kept)
            self._is_unreachable = True

    def flush(self, seconds: float | None = None) -> None:
        """Send all queued points; retry for ``seconds`` (default: the retry timeout) if the store is unreachable.

        Raises:
            Exception: the last error of the store.  Points that were not sent stay queued.
        """
        self.add([])
        if self.points:
            with_retries(self.send, f"run {self.run_id}", seconds)


class BackgroundUploader:
    """A daemon thread that sends the points of all queues of this process."""

    def __init__(self) -> None:
        self._queues: set[UploadQueue] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def register(self, queue: UploadQueue) -> None:
        """Send from this queue until :meth:`release`."""
        with self._lock:
            self._queues.add(queue)
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._loop, name="rsc-uploader", daemon=True)
                self._thread.start()

    def release(self, queue: UploadQueue) -> None:
        """Stop sending from this queue."""
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
