"""Write parameters, tags, metrics and artifacts to an open run, which :mod:`rsc_mlflow.tracking.run` opens."""

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
from rsc_mlflow.tracking import environment, mlflow_compat, schema
from rsc_mlflow.tracking.artifacts import json_text
from rsc_mlflow.tracking.resuming import stored_points
from rsc_mlflow.tracking.store import StoreError, is_transient, reason, retry_timeout, with_retries
from rsc_mlflow.tracking.upload_queue import UPLOADER, UploadQueue
from rsc_mlflow.tracking.values import check_metric_name, check_param, check_tag, param_text, same_value

_SHUTDOWN_SECONDS = 10.0
"""Retry timeout of each of the two steps that end an aborted run."""
_logger = logging.getLogger(__name__)
_unheard_at = -math.inf  # when the end of an aborted run last failed to reach the store (monotonic clock)


class TrackedRun:
    """One open MLflow run.

    Metrics are queued and sent in the background (see :mod:`rsc_mlflow.tracking.upload_queue`).  Everything else is
    stored immediately, and files only after all metrics that were logged before them.

    Attributes:
        run_id: id of the run.
        experiment_id: id of its experiment.
        name: name of the run in lists.
        params: the stored parameters of the run.
        logging_seconds: time that callers have spent in the methods of this class.
        resumed: whether an earlier process started the run.
        client: client of the run's store, for everything else.
    """

    def __init__(self, client: MlflowClient, run: Run, *, resumed: bool = False, ends: bool = True) -> None:
        self.client = client
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.name: str = run.info.run_name or ""
        self.resumed, self._ends = resumed, ends
        self.params: dict[str, str] = dict(run.data.params)
        self.logging_seconds = 0.0
        self._stored = stored_points(client, run) if resumed else {}
        self._last: dict[str, Metric] = {}
        self._queue = UploadQueue(client, self.run_id)
        mlflow_compat.remember_artifact_folder(client, self.run_id, run.info.artifact_uri)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the duration of the block to ``logging_seconds``."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.logging_seconds += time.perf_counter() - started

    def log_params(self, values: Mapping[str, object]) -> None:
        """Log parameters.  A parameter that the run has already with an equal value, however spelled, is not changed.

        ``mlflow run`` stores the values of ``-P`` as typed, before this is called.

        Raises:
            InputError: MLflow would refuse or truncate a key or value.
            MlflowException: the run has a parameter with another value.
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
        """Set tags immediately; replace existing ones.

        Raises:
            InputError: MLflow would refuse or truncate a key or value.
        """
        tags = [RunTag(key, str(value)) for key, value in values.items()]
        for tag in tags:
            check_tag(tag.key, tag.value)
        with self.timed():
            with_retries(lambda: self.client.log_batch(self.run_id, tags=tags), "tags")

    def add_note(self, text: str) -> None:
        """Add a remark on the result to the tag ``rsc.note`` and to the run's description."""
        tags = with_retries(lambda: self.client.get_run(self.run_id), "note").data.tags
        stored = tags.get(schema.NOTE, "")
        if text not in stored:  # a resumed run may have it already
            notes = f"{stored} {text}".strip()
            about = tags.get(schema.DESCRIPTION, "").removesuffix(stored).rstrip()
            self.set_tags({schema.NOTE: notes, schema.DESCRIPTION: f"{about}\n\n{notes}".lstrip()})

    def metrics(self, values: Mapping[str, float], step: int, model_id: str | None = None) -> None:
        """Queue one point per metric at ``step`` (the epoch); with ``model_id``, it also belongs to that logged model.

        NaN is stored as NaN; MLflow stores ±infinity as ±1.797e308.  In a resumed run, points that the store already
        has (same metric and step) are not changed.

        Raises:
            ValueError: MLflow would refuse a name.
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
        """Return the last point of each metric if it belongs to ``step``."""
        return [point for point in self._last.values() if point.step == step]

    def log_text(self, text: str, path: str) -> None:
        """Store a text artifact, e.g. ``figures/score_matrix.html``."""
        self.log_bytes(text.encode("utf-8"), path)

    def log_json(self, content: Mapping[str, object], path: str) -> None:
        """Store a JSON artifact with a checksum, to be read with :func:`artifacts.read_json`."""
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
            raise InputError(f"Invalid artifact folder {folder!r}. Expected a relative path without '..'.")
        with self.timed():
            self._queue.flush()
            with_retries(lambda: self.client.log_artifact(self.run_id, str(file), folder), file.name)

    def flush(self) -> None:
        """Wait until all points logged so far are stored."""
        with self.timed():
            self._queue.flush()

    def begin(self) -> None:
        """Store the environment, which also shows whether artifacts can be written, and start sending."""
        with_retries(self._log_environment, "environment")
        UPLOADER.register(self._queue)

    def _log_environment(self) -> None:
        """Store the first artifact; if the folder refuses it, raise immediately, because it would refuse others too."""
        try:
            self.client.log_text(self.run_id, json_text(environment.record()), schema.ENVIRONMENT)
        except Exception as error:
            if isinstance(error, MlflowException) and is_transient(error):  # the server failed, not the folder
                raise
            raise StoreError(
                f"The run's artifact folder cannot be written ({reason(error)}). Make it writable, free disk space, or "
                "use another folder (mlflow server --artifacts-destination)."
            ) from error

    def finish(self) -> None:
        """Send all points, then end the run as FINISHED, unless the caller ends it."""
        step = max((point.step for point in self._last.values()), default=0)
        self._queue.flush()
        self.metrics({schema.LOGGING_SECONDS: self.logging_seconds}, step)
        self._queue.flush()
        UPLOADER.release(self._queue)
        if self._ends:  # last: a later signal would mark a finished run as KILLED
            with_retries(lambda: self.client.set_terminated(self.run_id, "FINISHED"), "end of run")

    def abort(self, status: str, text: str) -> None:
        """Send the remaining points and end the run.  If the store is unreachable, the next sweep closes the run."""
        global _unheard_at  # noqa: PLW0603 - of the process
        UPLOADER.release(self._queue)
        recently = time.monotonic() - _unheard_at < 60  # do not add up the waits of many runs
        seconds = 0.0 if recently else min(_SHUTDOWN_SECONDS, retry_timeout())
        try:
            self._queue.flush(seconds)
        except Exception as error:
            _logger.error(
                "Run %s: %d metric values were lost (%s).", self.run_id, len(self._queue.points), reason(error)
            )
        try:
            end_run(self.client, self.run_id, status, text, seconds, self._ends)
        except Exception as error:
            _unheard_at = time.monotonic()
            _logger.error("Run %s is not marked %s (%s). The next sweep closes it.", self.run_id, status, reason(error))


def end_run(client: MlflowClient, run_id: str, status: str, text: str, seconds: float, ends: bool = True) -> None:
    """Set ``rsc.error`` and, if ``ends``, the status; retry for ``seconds``."""
    with_retries(lambda: client.set_tag(run_id, schema.ERROR, text[:500]), "end of run", seconds)
    if ends:
        with_retries(lambda: client.set_terminated(run_id, status), "end of run", seconds)
