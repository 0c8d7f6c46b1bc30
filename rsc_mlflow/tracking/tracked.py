"""One open run and everything that is written to it; :mod:`rsc_mlflow.tracking.run` opens and closes it."""

import logging
import math
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
from rsc_mlflow.tracking.signals import shielded
from rsc_mlflow.tracking.store import StoreError, brief, is_transient, reason, retry_timeout, with_retries
from rsc_mlflow.tracking.upload_queue import UPLOADER, UploadQueue
from rsc_mlflow.tracking.values import check_metric_name, check_param, check_tag, param_text, same_value

_LAST_WORDS_SECONDS = 10.0
_BATCH = 100  # MLflow's limit of parameters and of tags in one call
Item = TypeVar("Item")
_logger = logging.getLogger(__name__)


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
        stored: str = with_retries(lambda: self.client.get_run(self.run_id), "note").data.tags.get(schema.NOTE, "")
        if text not in stored:  # a resumed run says it once
            notes = f"{stored}; {text}" if stored else text
            self.set_tags({schema.NOTE: notes, schema.DESCRIPTION: notes})

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
        UPLOADER.wake()

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
            if about_temporary := tempdirs.disk_error(error):
                raise StoreError(about_temporary) from error
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
        """Last words, as far as the store will hear them; a run it does not hear of is closed by the reaper."""
        UPLOADER.release(self._queue)
        with shielded(), brief(_last_words.seconds()):
            try:
                self._queue.flush(_last_words.seconds())
            except Exception as error:
                _last_words.note(error)
                unsent = len(self._queue)
                _logger.error(
                    "run %s: %d points and files could not be stored (%s)", self.run_id, unsent, reason(error)
                )
            try:
                end_run(self.client, self.run_id, status, text, ends=self._ends)
            except Exception as error:
                _last_words.note(error)
                _logger.error("run %s: could not be marked %s (%s)", self.run_id, status, reason(error))
            self._queue.discard()


class _LastWords:
    """How long a broken-off run waits for the store: once it did not hear one run, the others are brief."""

    def __init__(self) -> None:
        self._unheard_at = -math.inf

    def note(self, error: Exception) -> None:
        if is_transient(error):
            self._unheard_at = time.monotonic()

    def seconds(self) -> float:
        return 0.0 if time.monotonic() - self._unheard_at < 60 else min(_LAST_WORDS_SECONDS, retry_timeout())


_last_words = _LastWords()


def _chunks(items: list[Item]) -> Iterator[list[Item]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


def end_run(client: MlflowClient, run_id: str, status: str, text: str, *, ends: bool = True) -> None:
    """Write ``rsc.error`` and, if the run ends with us, its status."""
    with_retries(lambda: client.set_tag(run_id, schema.ERROR, text[:500]), "end of run", _last_words.seconds())
    if ends:
        with_retries(lambda: client.set_terminated(run_id, status), "end of run", _last_words.seconds())
