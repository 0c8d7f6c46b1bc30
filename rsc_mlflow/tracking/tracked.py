"""One open run and everything that is written to it; :mod:`rsc_mlflow.tracking.run` opens and closes it."""

import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from rsc_mlflow import tempdirs
from rsc_mlflow.errors import InputError
from rsc_mlflow.tracking import environment, schema
from rsc_mlflow.tracking.artifacts import json_text
from rsc_mlflow.tracking.resuming import stored_points
from rsc_mlflow.tracking.store import StoreError, is_transient, reason, retry_timeout, with_retries
from rsc_mlflow.tracking.upload_queue import UPLOADER, UploadQueue
from rsc_mlflow.tracking.values import check_metric_name, check_param, check_tag, param_text, same_value

_SHUTDOWN_SECONDS = 10.0
"""For how long each of the two steps of an aborted run's end is repeated while the store is away."""
_BATCH = 100  # MLflow's limit of parameters and of tags in one call
Item = TypeVar("Item")
_logger = logging.getLogger(__name__)
_unheard_at = -math.inf  # when an aborted run last could not reach the store (monotonic clock)


class TrackedRun:
    """One open MLflow run.

    Metrics and files are queued and sent in the background (see :mod:`rsc_mlflow.tracking.upload_queue`); parameters
    and tags are written at once.  ``logging_seconds`` counts the wall time callers spent in here and the CPU time
    that sending took beside them.

    Attributes:
        run_id, experiment_id, name: as in MLflow.
        resumed: whether the run had been started before.
        client: for anything not covered here; takes ``run_id`` explicitly.
    """

    def __init__(self, client: MlflowClient, run: Run, *, resumed: bool = False, ends: bool = True) -> None:
        self.client = client
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name or ""
        self.resumed = resumed
        self._ends = ends
        self._ended = False
        self._params: dict[str, str] = dict(run.data.params)
        self._stored = stored_points(client, run) if resumed else {}
        self._last: dict[str, Metric] = {}
        self._queue = UploadQueue(client, self.run_id)
        self._waited = 0.0

    @property
    def params(self) -> dict[str, str]:
        """The parameters the run carries by now, as stored."""
        return dict(self._params)

    @property
    def logging_seconds(self) -> float:
        """Seconds that tracking has cost so far."""
        return self._waited + self._queue.seconds

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of the block as logging."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - started

    def log_params(self, values: Mapping[str, object]) -> None:
        """Write parameters; those that the run carries already, in whatever spelling, stay as they are.

        ``mlflow run`` has stored its ``-P`` values before, as typed.

        Raises:
            InputError: a key or value that MLflow would refuse or cut; a parameter that the run carries with another
                value.
        """
        for key, value in values.items():
            if key in self._params and not same_value(self._params[key], value):
                raise InputError(
                    f"parameter {key} of run {self.run_id} is {self._params[key]!r} and cannot become "
                    f"{param_text(value)!r}; log it under another name"
                )
        new = {key: param_text(value) for key, value in values.items() if key not in self._params}
        for key, value in new.items():
            check_param(key, value)
        with self.timed():
            for chunk in _chunks([Param(key, value) for key, value in new.items()]):
                with_retries(partial(self.client.log_batch, self.run_id, params=chunk), "parameters")
        self._params.update(new)

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Write tags now; an existing one is replaced.

        Raises:
            InputError: a key or value that MLflow would refuse or cut.
        """
        tags = [RunTag(key, str(value)) for key, value in values.items()]
        for tag in tags:
            check_tag(tag.key, tag.value)
        with self.timed():
            for chunk in _chunks(tags):
                with_retries(partial(self.client.log_batch, self.run_id, tags=chunk), "tags")

    def add_note(self, text: str) -> None:
        """Add a sentence about the result that a person must know, in tag ``rsc.note`` and the run's description."""
        tags = with_retries(lambda: self.client.get_run(self.run_id), "note").data.tags
        stored = tags.get(schema.NOTE, "")
        if text not in stored:  # a resumed run says it once
            notes = f"{stored}; {text}" if stored else text
            about = tags.get(schema.DESCRIPTION, "").removesuffix(stored).rstrip()
            self.set_tags({schema.NOTE: notes, schema.DESCRIPTION: f"{about}\n\n{notes}".lstrip()})

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Queue one point per metric at ``step`` (the epoch).

        NaN is stored as NaN; MLflow stores ±infinity as ±1.797e308.  In a resumed run a point that the store has
        already (same metric and step) is left as it is.

        Raises:
            ValueError: a name that MLflow would refuse.
        """
        with self.timed():
            now, step = time.time_ns() // 1_000_000, int(step)
            points = []
            for key, value in values.items():
                check_metric_name(key)
                if stored := self._stored.get((key, step)):
                    self._last[key] = stored
                else:
                    self._last[key] = Metric(key, float(value), now, step)
                    points.append(self._last[key])
            self._queue.add_points(points)

    def last_points(self, step: int) -> list[Metric]:
        """The newest points of this process that belong to ``step``."""
        return [point for point in self._last.values() if point.step == step]

    def log_text(self, text: str, path: str) -> None:
        """Queue a text artifact, e.g. ``figures/score_matrix.html``."""
        self.log_bytes(text.encode("utf-8"), path)

    def log_json(self, content: Mapping[str, object], path: str) -> None:
        """Queue a JSON artifact that carries a checksum (read it with :func:`artifacts.read_json`)."""
        self.log_text(json_text(content), path)

    def log_bytes(self, data: bytes, path: str) -> None:
        """Queue an artifact with this content."""
        folder, _, name = path.rpartition("/")
        with self.timed(), tempdirs.tempdir() as temporary:
            file = temporary / name
            file.write_bytes(data)
            self._queue.add_file(file, folder or None)

    def log_file(self, file: Path, folder: str | None = None) -> None:
        """Queue a file for an artifact folder; it may be replaced or removed at once, but not rewritten in place."""
        with self.timed():
            self._queue.add_file(file, folder)

    def log_checkpoint(self, file: Path) -> None:
        """Queue a checkpoint file and have it sent now, after all metrics logged so far."""
        self.log_file(file, schema.CHECKPOINTS)
        self._queue.flush_soon()

    def flush(self) -> None:
        """Wait until everything logged so far is stored."""
        with self.timed():
            self._queue.flush()

    def begin(self) -> None:
        """Write the environment down, which shows that artifacts can be written, and start sending."""
        text = json_text(environment.record())
        with_retries(partial(self._log_first_text, text, schema.ENVIRONMENT), "environment")
        UPLOADER.register(self._queue)

    def _log_first_text(self, text: str, path: str) -> None:
        """Write an artifact now; a folder that refuses it will refuse it later, too, and is said at once."""
        try:
            self.client.log_text(self.run_id, text, path)
        except Exception as error:
            if isinstance(error, MlflowException) and is_transient(error):  # the server, before it came to the folder
                raise
            raise StoreError(
                f"the run's artifact folder cannot be written ({reason(error)}); make it writable, or choose another "
                "with mlflow server --artifacts-destination, or free some space"
            ) from error

    def finish(self) -> None:
        """Send everything, then end the run as FINISHED (unless its owner does)."""
        step = max((point.step for point in self._last.values()), default=0)
        self._queue.flush()
        self.metrics({schema.LOGGING_SECONDS: self.logging_seconds}, step)
        self._queue.flush()
        UPLOADER.release(self._queue)
        self._queue.discard()
        if self._ends:  # last: a signal in whatever came after it would make a finished run KILLED
            with_retries(lambda: self.client.set_terminated(self.run_id, "FINISHED"), "end of run")

    def abort(self, status: str, text: str) -> None:
        """Send what is left and end the run, as far as the store answers; otherwise a later sweep closes it.

        A thread of its own does it, because one request to a server that hangs takes minutes.
        """
        global _unheard_at  # noqa: PLW0603 - an observation of the process
        UPLOADER.release(self._queue)
        recently = time.monotonic() - _unheard_at < 60  # another run's end was not: such waits must not add up
        seconds = 0.0 if recently else min(_SHUTDOWN_SECONDS, retry_timeout())
        thread = threading.Thread(target=self._abort, args=(status, text, seconds), daemon=True)
        thread.start()
        thread.join(2 * seconds + 2.0)
        if not self._ended:
            _unheard_at = time.monotonic()
            _logger.error("run %s: not marked %s in time; the next sweep closes it", self.run_id, status)

    def _abort(self, status: str, text: str, seconds: float) -> None:
        try:
            self._queue.flush(seconds)
        except Exception as error:
            _logger.error("run %s: %d points and files not stored (%s)", self.run_id, len(self._queue), reason(error))
        try:
            end_run(self.client, self.run_id, status, text, seconds, self._ends)
            self._ended = True
        except Exception as error:
            _logger.error("run %s: could not be marked %s (%s)", self.run_id, status, reason(error))
        self._queue.discard()


def _chunks(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def end_run(client: MlflowClient, run_id: str, status: str, text: str, seconds: float, ends: bool = True) -> None:
    """Write ``rsc.error`` and, if the run ends with us, its status, trying for ``seconds``."""
    with_retries(lambda: client.set_tag(run_id, schema.ERROR, text[:500]), "end of run", seconds)
    if ends:
        with_retries(lambda: client.set_terminated(run_id, status), "end of run", seconds)
