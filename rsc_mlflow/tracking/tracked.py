"""One open run and everything that is written to it; :mod:`rsc_mlflow.tracking.run` opens and closes it."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

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
_logger = logging.getLogger(__name__)
_unheard_at = -math.inf  # when an aborted run last could not reach the store (monotonic clock)


class TrackedRun:
    """One open MLflow run.

    Metrics are queued and sent in the background (see :mod:`rsc_mlflow.tracking.upload_queue`); everything else is
    stored at once, files after all metrics logged before them.

    Attributes:
        run_id, experiment_id, name: as in MLflow.
        params: the parameters the run carries by now, as stored.
        logging_seconds: how long callers have waited in here.
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
        self.params: dict[str, str] = dict(run.data.params)
        self.logging_seconds = 0.0
        self._stored = stored_points(client, run) if resumed else {}
        self._last: dict[str, Metric] = {}
        self._queue = UploadQueue(client, self.run_id)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the time of the block as logging."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.logging_seconds += time.perf_counter() - started

    def log_params(self, values: Mapping[str, object]) -> None:
        """Write parameters; those that the run carries already, in whatever spelling, stay as they are.

        ``mlflow run`` has stored its ``-P`` values before, as typed.

        Raises:
            InputError: a key or value that MLflow would refuse or cut.
            MlflowException: a parameter that the run carries with another value.
        """
        known = {key for key, value in values.items() if key in self.params and same_value(self.params[key], value)}
        new = {key: param_text(value) for key, value in values.items() if key not in known}
        for key, value in new.items():
            check_param(key, value)
        if params := [Param(key, value) for key, value in new.items()]:
            with self.timed():
                with_retries(lambda: self.client.log_batch(self.run_id, params=params), "parameters")
        self.params.update(new)

    def set_tags(self, values: Mapping[str, object]) -> None:
        """Write tags now; an existing one is replaced.

        Raises:
            InputError: a key or value that MLflow would refuse or cut.
        """
        tags = [RunTag(key, str(value)) for key, value in values.items()]
        for tag in tags:
            check_tag(tag.key, tag.value)
        with self.timed():
            with_retries(lambda: self.client.log_batch(self.run_id, tags=tags), "tags")

    def add_note(self, text: str) -> None:
        """Add a sentence about the result that a person must know, in tag ``rsc.note`` and the run's description."""
        tags = with_retries(lambda: self.client.get_run(self.run_id), "note").data.tags
        stored = tags.get(schema.NOTE, "")
        if text not in stored:  # a resumed run says it once
            notes = f"{stored}; {text}" if stored else text
            about = tags.get(schema.DESCRIPTION, "").removesuffix(stored).rstrip()
            self.set_tags({schema.NOTE: notes, schema.DESCRIPTION: f"{about}\n\n{notes}".lstrip()})

    def metrics(self, values: Mapping[str, float], step: int, model_id: str | None = None) -> None:
        """Queue one point per metric at ``step`` (the epoch), also as one of a logged model.

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
                    self._last[key] = Metric(key, float(value), now, step, model_id=model_id)
                    points.append(self._last[key])
            self._queue.add(points)

    def last_points(self, step: int) -> list[Metric]:
        """The newest points of this process that belong to ``step``."""
        return [point for point in self._last.values() if point.step == step]

    def log_text(self, text: str, path: str) -> None:
        """Store a text artifact, e.g. ``figures/score_matrix.html``."""
        self.log_bytes(text.encode("utf-8"), path)

    def log_json(self, content: Mapping[str, object], path: str) -> None:
        """Store a JSON artifact that carries a checksum (read it with :func:`artifacts.read_json`)."""
        self.log_text(json_text(content), path)

    def log_bytes(self, data: bytes, path: str) -> None:
        """Store an artifact with this content."""
        folder, _, name = path.rpartition("/")
        with tempdirs.tempdir() as temporary:
            (temporary / name).write_bytes(data)
            self.log_file(temporary / name, folder or None)

    def log_file(self, file: Path, folder: str | None = None) -> None:
        """Store a file in an artifact folder, after all metrics logged so far."""
        if folder is not None and (folder.startswith("/") or ".." in folder.split("/")):
            raise InputError(f"invalid artifact folder {folder!r}; accepted: one below the run's own, without '..'")
        with self.timed():
            self._queue.flush()
            with_retries(lambda: self.client.log_artifact(self.run_id, str(file), folder), file.name)

    def flush(self) -> None:
        """Wait until every point logged so far is stored."""
        with self.timed():
            self._queue.flush()

    def begin(self) -> None:
        """Write the environment down, which shows that artifacts can be written, and start sending."""
        with_retries(self._log_environment, "environment")
        UPLOADER.register(self._queue)

    def _log_environment(self) -> None:
        """A folder that refuses the first artifact will refuse later ones, too, and is said at once."""
        try:
            self.client.log_text(self.run_id, json_text(environment.record()), schema.ENVIRONMENT)
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
        if self._ends:  # last: a signal in whatever came after it would make a finished run KILLED
            with_retries(lambda: self.client.set_terminated(self.run_id, "FINISHED"), "end of run")

    def abort(self, status: str, text: str) -> None:
        """Send what is left and end the run, as far as the store answers; otherwise the next sweep closes it."""
        global _unheard_at  # noqa: PLW0603 - an observation of the process
        UPLOADER.release(self._queue)
        recently = time.monotonic() - _unheard_at < 60  # another run's end was not: such waits must not add up
        seconds = 0.0 if recently else min(_SHUTDOWN_SECONDS, retry_timeout())
        try:
            self._queue.flush(seconds)
        except Exception as error:
            _logger.error("run %s: %d points not stored (%s)", self.run_id, len(self._queue.points), reason(error))
        try:
            end_run(self.client, self.run_id, status, text, seconds, self._ends)
        except Exception as error:
            _unheard_at = time.monotonic()
            _logger.error("run %s: not marked %s (%s); the next sweep closes it", self.run_id, status, reason(error))


def end_run(client: MlflowClient, run_id: str, status: str, text: str, seconds: float, ends: bool = True) -> None:
    """Write ``rsc.error`` and, if the run ends with us, its status, trying for ``seconds``."""
    with_retries(lambda: client.set_tag(run_id, schema.ERROR, text[:500]), "end of run", seconds)
    if ends:
        with_retries(lambda: client.set_terminated(run_id, status), "end of run", seconds)
